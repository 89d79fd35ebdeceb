# Nothing here is for Python; see torch_tensor.pxd.
