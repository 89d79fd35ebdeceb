# Nothing here is for Python; see _stream.pxd.
