# Nothing here is for Python; see cupy_array.pxd.
