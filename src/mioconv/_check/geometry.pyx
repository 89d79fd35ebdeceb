"""Strides, paddings and sizes: parsing what the user gave, checking it, computing shapes.

Every message names the argument, what was given and what was expected, in the words that PyTorch's
users know. All of it happens before any native call.
"""

from operator import index

from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from libc.stdint cimport int64_t
from libc.string cimport memset

from mioconv._borrow.own_tensor cimport sizes
from mioconv._native.native cimport TensorView, W, X, Y, max_dims

cdef extern from *:
    """#define MIOCONV_INT32_MAX 2147483647LL"""
    const int64_t INT32_MAX "MIOCONV_INT32_MAX"

# Of one dimension of a tensor: times any stride or dilation it stays within 64 bits.
cdef int64_t LARGEST = (<int64_t>1) << 31


cdef int64_t integer(object value, str name, object given) except? -1:
    cdef int overflow = 0
    cdef int64_t result
    if not PyLong_CheckExact(value):
        try:
            value = index(value)
        except TypeError:
            raise TypeError(f"{name}: expected integers, but got {given!r}") from None
    result = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or result > INT32_MAX or result < -INT32_MAX:
        raise ValueError(f"{name}: {value} does not fit 32 bits, which the native libraries use")
    return result


cdef int parse_each(object value, str name, int spatial, int64_t minimum, int64_t* out) except -1:
    """An int for all spatial dimensions, or one int for each."""
    cdef int i
    cdef bint one = PyLong_CheckExact(value)
    # Tuples are asked for nothing that they do not have: to look for it takes as long as to parse.
    if not one and not PyTuple_CheckExact(value) and hasattr(value, "__index__"):
        try:
            value = index(value)  # NumPy's and PyTorch's integers
            one = True
        except TypeError:
            pass
    if one or not hasattr(value, "__len__") or isinstance(value, str):
        out[0] = integer(value, name, value)
        for i in range(1, spatial):
            out[i] = out[0]
    else:
        if len(value) != spatial:
            few = "too many" if len(value) > spatial else "not enough"
            raise ValueError(
                f"{name}: {few} values: expected a single integer or {spatial} of them to match "
                f"the convolution's dimensions, but got {name}={value!r}")
        for i in range(spatial):
            out[i] = integer(value[i], name, value)
    for i in range(spatial):
        if out[i] < minimum:
            what = "greater than zero" if minimum == 1 else "non-negative"
            raise ValueError(f"{name}: expected values {what}, but got {name}={value!r}")
    return 0


cdef int parse_geometry(Geometry* geometry, int spatial, object stride, object padding,
                        object dilation, object groups) except -1:
    cdef int i
    memset(geometry, 0, sizeof(Geometry))
    geometry.spatial = spatial
    parse_each(stride, "stride", spatial, 1, geometry.stride)
    parse_each(dilation, "dilation", spatial, 1, geometry.dilation)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(
                f"padding: expected integers, 'same' or 'valid', but got padding={padding!r}")
        geometry.same = padding == "same"
        for i in range(spatial):
            if geometry.same and geometry.stride[i] != 1:
                raise ValueError(
                    f"padding: 'same' is not supported for strided convolutions; got "
                    f"stride={stride!r}")
    else:
        parse_each(padding, "padding", spatial, 0, geometry.padding)
    geometry.groups = integer(groups, "groups", groups)
    if geometry.groups <= 0:
        raise ValueError(f"groups: expected a positive integer, but got groups={groups!r}")
    return 0


cdef int parse_output_padding(Geometry* geometry, object output_padding) except -1:
    """For transposed operators, after `parse_geometry`."""
    cdef int i
    if geometry.same:
        raise ValueError("padding: 'same' is not supported for transposed convolutions")
    parse_each(output_padding, "output_padding", geometry.spatial, 0, geometry.output_padding)
    for i in range(geometry.spatial):
        if geometry.output_padding[i] >= max(geometry.stride[i], geometry.dilation[i]):
            raise ValueError(
                f"output_padding: must be smaller than either stride or dilation, but got "
                f"output_padding={output_padding!r} with stride "
                f"{sizes(geometry.stride, geometry.spatial)} and dilation "
                f"{sizes(geometry.dilation, geometry.spatial)}")
    return 0


cdef int parse_shape(TensorView* tensor, str name, object shape) except -1:
    """A tensor that is only a shape, given as a sequence of int."""
    cdef int i
    if not hasattr(shape, "__len__") or isinstance(shape, str):
        raise TypeError(f"{name}: expected a sequence of integers, but got {shape!r}")
    tensor.ndim = len(shape)
    for i in range(min(<int>tensor.ndim, max_dims)):
        tensor.shape[i] = integer(shape[i], name, shape)
        if tensor.shape[i] < 0:
            raise ValueError(f"{name}: expected non-negative sizes, but got {tuple(shape)}")
    return 0


cdef object shape_text(const TensorView* tensor):
    return sizes(tensor.shape, <int>tensor.ndim) if tensor.ndim <= max_dims else "of that rank"


cdef str text(const char* name):
    return (<bytes>name).decode()


cdef int add_batch(TensorView* tensor) except -1:
    cdef int i
    for i in range(<int>tensor.ndim, 0, -1):
        tensor.shape[i] = tensor.shape[i - 1]
        tensor.strides[i] = tensor.strides[i - 1]
    tensor.shape[0] = 1
    tensor.strides[0] = 1
    tensor.ndim += 1
    return 0


cdef int check_rank(TensorView* tensor, const char* name, int spatial, bint* batched) except -1:
    """Accept N, C, spatial; or C, spatial, to which a batch of 1 is added."""
    batched[0] = tensor.ndim == spatial + 2
    if batched[0]:
        return 0
    if tensor.ndim != spatial + 1:
        raise ValueError(
            f"{text(name)}: expected {spatial + 1}-D (unbatched) or {spatial + 2}-D (batched) for "
            f"a {spatial}-D convolution, but got {tensor.ndim}-D of size {shape_text(tensor)}")
    return add_batch(tensor)


cdef int check_geometry(const Geometry* geometry) except -1 nogil:
    """What `parse_geometry` checks, for numbers that came without Python."""
    cdef int i
    cdef bint fine = 1 <= geometry.spatial <= 3 and 0 < geometry.groups <= INT32_MAX
    for i in range(min(max(geometry.spatial, 0), 3)):
        fine = fine and 0 < geometry.stride[i] <= INT32_MAX
        fine = fine and 0 < geometry.dilation[i] <= INT32_MAX
        fine = fine and 0 <= geometry.padding[i] <= INT32_MAX
    if not fine:
        with gil:
            raise ValueError(
                "expected 1 to 3 spatial dimensions, stride, dilation and groups greater than zero "
                "and padding non-negative, all within 32 bits")
    return 0


cdef int64_t input_channels(const Geometry* geometry, const TensorView* w) noexcept nogil:
    """Of an ordinary convolution, for a weight whose sizes nobody has checked yet."""
    return min(w.shape[1], INT32_MAX) * geometry.groups


cdef bint sizes_fit(const Geometry* geometry, const TensorView* x, const TensorView* w,
                    int64_t channels) noexcept nogil:
    """Ranks, no empty dimension but the batch, and channels: `channels` is what `x` should have."""
    cdef int i, spatial = geometry.spatial
    if w.ndim != spatial + 2:
        return False
    for i in range(spatial + 2):
        # The upper bounds keep what is computed from sizes within 64 bits.
        if not (0 < w.shape[i] <= INT32_MAX and x.shape[i] <= LARGEST):
            return False
        if x.shape[i] < 0 or (x.shape[i] == 0 and i > 0):
            return False
    return w.shape[0] % geometry.groups == 0 and x.shape[1] == channels


cdef int raise_sizes(const Geometry* geometry, const TensorView* x, const TensorView* w,
                     int64_t channels, const char* x_name, const char* w_name) except -1:
    """Say which rule of `sizes_fit` the operands break."""
    cdef int i, spatial = geometry.spatial
    if w.ndim != spatial + 2:
        raise ValueError(
            f"{text(w_name)}: expected a {spatial + 2}-D weight for a {spatial}-D convolution, but "
            f"got {w.ndim}-D of size {shape_text(w)}")
    for i in range(spatial + 2):
        if w.shape[i] < 0 or x.shape[i] < 0 or w.shape[i] > INT32_MAX or x.shape[i] > LARGEST:
            raise ValueError(
                f"{text(x_name)}, {text(w_name)}: sizes {shape_text(x)} and {shape_text(w)} are "
                f"negative or too large")
        if w.shape[i] == 0:
            raise ValueError(
                f"{text(w_name)}: expected no dimension of size zero, but got size {shape_text(w)}")
        if x.shape[i] == 0 and i > 0:
            raise ValueError(
                f"{text(x_name)}: expected no dimension but the batch of size zero, but got size "
                f"{shape_text(x)}")
    if w.shape[0] % geometry.groups:
        raise ValueError(
            f"{text(w_name)}: given groups={geometry.groups}, expected weight to be divisible by "
            f"{geometry.groups} at dimension 0, but got weight of size {shape_text(w)}")
    raise ValueError(
        f"{text(x_name)}: given groups={geometry.groups} and weight of size {shape_text(w)}, "
        f"expected {text(x_name)} of size {shape_text(x)} to have {channels} channels, but got "
        f"{x.shape[1]} channels instead")


cdef int output_sizes(Geometry* geometry, const TensorView* x, const TensorView* w, int64_t* y,
                      const Names* names) except -1 nogil:
    """Sizes of y = conv(x, w); also resolves "same". `x` has its batch dimension."""
    cdef int i, spatial = geometry.spatial
    cdef int64_t reach
    cdef int64_t[3] padded
    cdef bint fits = True
    if not sizes_fit(geometry, x, w, input_channels(geometry, w)):
        with gil:
            raise_sizes(geometry, x, w, input_channels(geometry, w), names.x, names.w)
    y[0] = x.shape[0]
    y[1] = w.shape[0]
    for i in range(spatial):
        reach = geometry.dilation[i] * (w.shape[i + 2] - 1)
        if geometry.same:
            geometry.padding[i] = reach // 2
            geometry.x_end[i] = reach % 2
        padded[i] = x.shape[i + 2] + 2 * geometry.padding[i] + geometry.x_end[i]
        # C++ division truncates towards zero, so a kernel that does not fit must be caught first.
        fits = fits and padded[i] > reach
        y[i + 2] = (padded[i] - reach - 1) // geometry.stride[i] + 1
    if not fits:
        with gil:
            raise ValueError(
                f"{text(names.w)}: calculated padded input size per channel: "
                f"{sizes(padded, spatial)}. Kernel size: {sizes(&w.shape[2], spatial)}, dilation: "
                f"{sizes(geometry.dilation, spatial)}. Kernel size can't be greater than actual "
                f"input size")
    return 0


cdef int transposed_sizes(Geometry* geometry, const TensorView* y, const TensorView* w, int64_t* x,
                          const Names* names) except -1:
    """Sizes of the transposed convolution's output, which is the x of y = conv(x, w)."""
    cdef int i, spatial = geometry.spatial
    if not sizes_fit(geometry, y, w, w.shape[0]):
        raise_sizes(geometry, y, w, w.shape[0], names.y, names.w)
    x[0] = y.shape[0]
    x[1] = w.shape[1] * geometry.groups
    for i in range(spatial):
        x[i + 2] = ((y.shape[i + 2] - 1) * geometry.stride[i] - 2 * geometry.padding[i]
                    + geometry.dilation[i] * (w.shape[i + 2] - 1) + geometry.output_padding[i] + 1)
        if x[i + 2] < 1:
            raise ValueError(
                f"{text(names.y)}: given input size per channel {sizes(&y.shape[2], spatial)}, "
                f"calculated output size {x[i + 2]} in spatial dimension {i}. Output size is too "
                f"small")
    return split_output_padding(geometry)


cdef int transposed_input_sizes(Geometry* geometry, const TensorView* x, const TensorView* w,
                                int64_t* y, const Names* names) except -1:
    """Sizes of the input whose transposed convolution has `x`'s: the inverse of the above."""
    cdef int i, spatial = geometry.spatial
    cdef int64_t steps
    if not sizes_fit(geometry, x, w, input_channels(geometry, w)):
        raise_sizes(geometry, x, w, input_channels(geometry, w), names.x, names.w)
    y[0] = x.shape[0]
    y[1] = w.shape[0]
    for i in range(spatial):
        steps = (x.shape[i + 2] + 2 * geometry.padding[i] - geometry.output_padding[i] - 1
                 - geometry.dilation[i] * (w.shape[i + 2] - 1))
        if steps < 0 or steps % geometry.stride[i]:
            raise ValueError(
                f"{text(names.x)}: size {sizes(&x.shape[2], spatial)} is not an output size of "
                f"this transposed convolution (kernel {sizes(&w.shape[2], spatial)}, stride "
                f"{sizes(geometry.stride, spatial)}, padding {sizes(geometry.padding, spatial)}, "
                f"output_padding {sizes(geometry.output_padding, spatial)})")
        y[i + 2] = steps // geometry.stride[i] + 1
    return split_output_padding(geometry)


cdef int split_output_padding(Geometry* geometry) except -1:
    """Native libraries know output padding below the stride only. Each whole stride of it is the
    same as one more row of zeros behind the input."""
    cdef int i
    for i in range(geometry.spatial):
        geometry.y_end[i] = geometry.output_padding[i] // geometry.stride[i]
    return 0


cdef int check_bias(TensorView* bias, const TensorView* weight, int64_t channels) except -1:
    if bias.ndim != 1 or bias.shape[0] != channels:
        raise ValueError(
            f"bias: given weight of size {shape_text(weight)}, expected bias to be 1-dimensional "
            f"with {channels} elements, but got bias of size {shape_text(bias)}")
    return 0


cdef int check_shape(TensorView* tensor, str name, const int64_t* expected, int ndim,
                     bint batched) except -1:
    """The tensor has exactly these sizes; `expected` counts the batch, also where it is missing.

    A missing batch dimension is added to the tensor.
    """
    cdef int i, skip = 0 if batched else 1
    cdef bint same = tensor.ndim == ndim - skip
    if same:
        for i in range(skip, ndim):
            same = same and tensor.shape[i - skip] == expected[i]
    if not same:
        raise ValueError(
            f"{name}: expected size {sizes(expected + skip, ndim - skip)}, but got "
            f"{shape_text(tensor)}")
    return add_batch(tensor) if not batched else 0


# --- operators ------------------------------------------------------------------------------------

cdef int check_ranks(const Operator* op, tuple names, TensorView* tensors, int spatial, int result,
                     object result_shape, bint* batched) except -1:
    """Ranks of x and y, which may both lack the batch dimension; a shape given for the result."""
    cdef bint other
    if result_shape is not None:
        parse_shape(&tensors[result], names[result], result_shape)
    if result == <int>X:
        check_rank(&tensors[<int>Y], op.names.y, spatial, batched)
    else:
        check_rank(&tensors[<int>X], op.names.x, spatial, batched)
    # The other one is computed, or has to have the batch dimension as well.
    if result == <int>W or result_shape is not None and result == <int>X:
        other = batched[0]
        if result == <int>W:
            check_rank(&tensors[<int>Y], op.names.y, spatial, &other)
        else:
            check_rank(&tensors[<int>X], op.names.x, spatial, &other)
        if other != batched[0]:
            raise ValueError(
                f"{names[<int>X]} and {names[<int>Y]}: expected both with a batch dimension or "
                f"both without")
    return 0


cdef int compute_sizes(const Operator* op, tuple names, Geometry* geometry, TensorView* tensors,
                       int result) except -1:
    """Compute the sizes that follow from the others; compare them where they were given too."""
    cdef int64_t[max_dims] found
    cdef int i, computed, dims = geometry.spatial + 2
    cdef TensorView* x = &tensors[<int>X]
    cdef TensorView* w = &tensors[<int>W]
    cdef TensorView* y = &tensors[<int>Y]
    if not op.transposed:
        computed = <int>Y
        output_sizes(geometry, x, w, found, &op.names)
    elif result == <int>Y:
        computed = <int>Y
        transposed_input_sizes(geometry, x, w, found, &op.names)
    else:
        computed = <int>X
        transposed_sizes(geometry, y, w, found, &op.names)
    if computed == result:
        tensors[result].ndim = dims
        for i in range(dims):
            tensors[result].shape[i] = found[i]
        return 0
    return check_shape(&tensors[computed], names[computed], found, dims, True)
