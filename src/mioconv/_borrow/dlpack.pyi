# Nothing here is for Python; see dlpack.pxd.
