# Nothing here is for Python; see _cupy_array.pxd.
