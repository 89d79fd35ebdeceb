#include "output_dims.hpp"

#include "status.hpp"

namespace mioconv::provider {

Dims output_dims(
    const miopenConvolutionDescriptor& conv, const miopenTensorDescriptor& x,
    const miopenTensorDescriptor& w) {
    require(x.rank == conv.spatial_rank + 2 && w.rank == x.rank && conv.groups >= 1);
    const bool transposed = conv.transposed();
    // Weights are [Cout, Cin/groups, ...], transposed [Cin, Cout/groups, ...].
    const std::int64_t cin = transposed ? w.dims[0] : w.dims[1] * conv.groups;
    require(x.dims[1] == cin && w.dims[0] % conv.groups == 0);
    if (conv.mode == miopenDepthwise) require(conv.groups == x.dims[1]);

    Dims y{};
    y[0] = x.dims[0];
    y[1] = transposed ? w.dims[1] * conv.groups : w.dims[0];
    for (int i = 0; i < conv.spatial_rank; ++i) {
        const std::int64_t in = x.dims[i + 2], pad = conv.padding[i], step = conv.stride[i];
        const std::int64_t reach = std::int64_t{conv.dilation[i]} * (w.dims[i + 2] - 1) + 1;
        if (transposed) {
            y[i + 2] = (in - 1) * step - 2 * pad + reach + conv.output_padding[i];
            require(y[i + 2] >= 1);
        } else {
            // Checked before the division: C++ rounds a negative quotient toward zero.
            require(in + 2 * pad >= reach);
            y[i + 2] = (in + 2 * pad - reach) / step + 1;
        }
    }
    return y;
}

}  // namespace mioconv::provider
