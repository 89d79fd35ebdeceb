# For other Cython code: `from mioconv._core cimport conv_forward`.

from mioconv._core.interface cimport (
    Convolution, conv1d_backward_input_view, conv1d_backward_weight_view, conv1d_forward_view,
    conv2d_backward_input_view, conv2d_backward_weight_view, conv2d_forward_view,
    conv3d_backward_input_view, conv3d_backward_weight_view, conv3d_forward_view,
    conv_backward_input, conv_backward_weight, conv_forward, conv_output_shape)
