# Nothing here is for Python; see _tensor.pxd.
