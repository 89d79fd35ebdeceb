# Nothing here is for Python; see stream.pxd.
