# Nothing here is for Python; see _dlpack.pxd.
