"""The seam: the C ABI of MIOpen and HIP, the table of its functions, statuses as exceptions."""
