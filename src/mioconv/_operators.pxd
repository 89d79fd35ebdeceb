# The operators on Python objects, for mioconv.conv.

cdef object operate(
    int which, int spatial, object x, object w, object y, object bias, object z, object alpha,
    bint relu, object stride, object padding, object output_padding, object dilation, object
    groups, object out, object benchmark, object deterministic, object allow_tf32, object
    solution, object workspace_limit, object stream)
cdef tuple gradients(
    bint transposed, int spatial, object input, object grad_output, object weight, object stride,
    object padding, object output_padding, object dilation, object groups, object mask, object
    outs, object benchmark, object deterministic, object allow_tf32, object solutions, object
    workspace_limit, object stream)
cdef object bias_gradient(int spatial, object gradient, object out, object stream)
