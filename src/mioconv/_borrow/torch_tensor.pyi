# Nothing here is for Python; see _torch_tensor.pxd.
