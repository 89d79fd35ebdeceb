/* A program in C that was written for MIOpen: a convolution and its gradients by Find and execute,
 * with a bias, on memory of the device. It is linked with a library that has all of it; nothing in
 * it knows which. Says "right" where every number is. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mioconv/abi/client.h"

enum { N = 2, C = 3, H = 9, W = 8, K = 4, R = 3, PAD = 1, STRIDE = 2, X = N * C * H * W };

static void miopen(miopenStatus_t status, int line) {
    if (status == miopenStatusSuccess) return;
    printf("line %d: %s\n", line, miopenGetErrorString(status));
    exit(1);
}
static void hip(hipError_t error, int line) {
    if (error == hipSuccess) return;
    printf("line %d: %s\n", line, hipGetErrorString(error));
    exit(1);
}
#define MIOPEN(call) miopen(call, __LINE__)
#define HIP(call) hip(call, __LINE__)

static float* on_device(const float* values, size_t count) {
    void* memory = NULL;
    HIP(hipMalloc(&memory, count * sizeof(float)));
    HIP(hipMemset(memory, 0xFF, count * sizeof(float))); /* NaN, until written */
    if (values != NULL) {
        HIP(hipMemcpy(memory, values, count * sizeof(float), hipMemcpyHostToDevice));
    }
    return memory;
}

static void fill(float* values, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(seed >> 8) / (1 << 23) - 1;
    }
}

/* Reads what the device has and compares; the sums are short, so a few ulp will do. */
static void check(const char* what, const float* memory, const double* wanted, size_t count) {
    float* values = malloc(count * sizeof *values);
    HIP(hipMemcpy(values, memory, count * sizeof(float), hipMemcpyDeviceToHost));
    for (size_t i = 0; i < count; ++i) {
        if (fabs(values[i] - wanted[i]) <= 1e-5 * (1 + fabs(wanted[i]))) continue;
        printf("%s: element %zu is %g, not %g\n", what, i, values[i], wanted[i]);
        exit(1);
    }
    free(values);
}

/* After a call with profiling on. */
static void check_time(miopenHandle_t handle) {
    float ms = -1;
    MIOPEN(miopenGetKernelTime(handle, &ms));
    if (ms > 0 && ms < 60e3f) return;
    printf("a kernel took %g ms\n", ms);
    exit(1);
}

int main(void) {
    hipStream_t stream;
    hipEvent_t event;
    miopenHandle_t handle;
    HIP(hipSetDevice(0));
    HIP(hipStreamCreate(&stream));
    HIP(hipEventCreate(&event));
    MIOPEN(miopenCreateWithStream(&handle, stream));
    MIOPEN(miopenEnableProfiling(handle, true));

    miopenTensorDescriptor_t x_desc, w_desc, y_desc, b_desc;
    miopenConvolutionDescriptor_t conv;
    MIOPEN(miopenCreateTensorDescriptor(&x_desc));
    MIOPEN(miopenCreateTensorDescriptor(&w_desc));
    MIOPEN(miopenCreateTensorDescriptor(&y_desc));
    MIOPEN(miopenCreateTensorDescriptor(&b_desc));
    MIOPEN(miopenCreateConvolutionDescriptor(&conv));
    MIOPEN(miopenSet4dTensorDescriptor(x_desc, miopenFloat, N, C, H, W));
    MIOPEN(miopenSet4dTensorDescriptor(w_desc, miopenFloat, K, C, R, R));
    MIOPEN(miopenSet4dTensorDescriptor(b_desc, miopenFloat, 1, K, 1, 1));
    MIOPEN(
        miopenInitConvolutionDescriptor(conv, miopenConvolution, PAD, PAD, STRIDE, STRIDE, 1, 1));
    int n, k, oh, ow;
    MIOPEN(miopenGetConvolutionForwardOutputDim(conv, x_desc, w_desc, &n, &k, &oh, &ow));
    MIOPEN(miopenSet4dTensorDescriptor(y_desc, miopenFloat, n, k, oh, ow));

    /* The same by its definition. */
    const size_t xs = X, ws = K * C * R * R, ys = (size_t)n * k * oh * ow;
    float *x = malloc(xs * sizeof *x), *w = malloc(ws * sizeof *w), *dy = malloc(ys * sizeof *dy);
    float b[K];
    double *y = calloc(ys, sizeof *y), *dx = calloc(xs, sizeof *dx), *dw = calloc(ws, sizeof *dw);
    double db[K] = {0};
    fill(x, xs, 1), fill(w, ws, 2), fill(dy, ys, 3), fill(b, K, 4);
    for (int i = 0; i < n * k * oh * ow; ++i) {
        const int column = i % ow, row = i / ow % oh, out = i / (ow * oh) % k,
                  image = i / (ow * oh * k);
        for (int j = 0; j < C * R * R; ++j) {
            const int s = j % R, r = j / R % R, c = j / (R * R);
            const int ih = row * STRIDE - PAD + r, iw = column * STRIDE - PAD + s;
            if (ih < 0 || ih >= H || iw < 0 || iw >= W) continue;
            const int at = ((image * C + c) * H + ih) * W + iw, weight = out * C * R * R + j;
            y[i] += (double)x[at] * w[weight];
            dx[at] += (double)dy[i] * w[weight];
            dw[weight] += (double)dy[i] * x[at];
        }
        y[i] += b[out];
        db[out] += dy[i];
    }

    float *x_dev = on_device(x, xs), *w_dev = on_device(w, ws), *b_dev = on_device(b, K);
    float *y_dev = on_device(NULL, ys), *dy_dev = on_device(dy, ys), *dx_dev = on_device(NULL, xs);
    float *dw_dev = on_device(NULL, ws), *db_dev = on_device(NULL, K);
    size_t forward, data, weights;
    MIOPEN(
        miopenConvolutionForwardGetWorkSpaceSize(handle, w_desc, x_desc, conv, y_desc, &forward));
    MIOPEN(
        miopenConvolutionBackwardDataGetWorkSpaceSize(handle, y_desc, w_desc, conv, x_desc, &data));
    MIOPEN(miopenConvolutionBackwardWeightsGetWorkSpaceSize(
        handle, y_desc, x_desc, conv, w_desc, &weights));
    const float one = 1, zero = 0;
    /* With all the workspace that there may be, and with none at all. */
    for (int pass = 0; pass < 2; ++pass) {
        size_t size = forward > data ? forward : data;
        size = pass == 1 ? 0 : size > weights ? size : weights;
        void* space = NULL;
        if (size > 0) HIP(hipMalloc(&space, size));
        miopenConvAlgoPerf_t found;
        int count = 0;
        MIOPEN(miopenFindConvolutionForwardAlgorithm(
            handle, x_desc, x_dev, w_desc, w_dev, conv, y_desc, y_dev, 1, &count, &found, space,
            size, false));
        MIOPEN(miopenConvolutionForward(
            handle, &one, x_desc, x_dev, w_desc, w_dev, conv, found.fwd_algo, &zero, y_desc, y_dev,
            space, size));
        check_time(handle);
        MIOPEN(miopenConvolutionForwardBias(handle, &one, b_desc, b_dev, &zero, y_desc, y_dev));
        check("y", y_dev, y, ys);
        MIOPEN(miopenFindConvolutionBackwardDataAlgorithm(
            handle, y_desc, dy_dev, w_desc, w_dev, conv, x_desc, dx_dev, 1, &count, &found, space,
            size, false));
        MIOPEN(miopenConvolutionBackwardData(
            handle, &one, y_desc, dy_dev, w_desc, w_dev, conv, found.bwd_data_algo, &zero, x_desc,
            dx_dev, space, size));
        check_time(handle);
        check("dx", dx_dev, dx, xs);
        MIOPEN(miopenFindConvolutionBackwardWeightsAlgorithm(
            handle, y_desc, dy_dev, x_desc, x_dev, conv, w_desc, dw_dev, 1, &count, &found, space,
            size, false));
        MIOPEN(miopenConvolutionBackwardWeights(
            handle, &one, y_desc, dy_dev, x_desc, x_dev, conv, found.bwd_weights_algo, &zero,
            w_desc, dw_dev, space, size));
        check_time(handle);
        check("dw", dw_dev, dw, ws);
        MIOPEN(miopenConvolutionBackwardBias(handle, &one, y_desc, dy_dev, &zero, b_desc, db_dev));
        check("db", db_dev, db, K);
        HIP(hipFree(space));
    }

    float* const all[] = {x_dev, w_dev, b_dev, y_dev, dy_dev, dx_dev, dw_dev, db_dev};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) HIP(hipFree(all[i]));
    MIOPEN(miopenDestroyConvolutionDescriptor(conv));
    MIOPEN(miopenDestroyTensorDescriptor(x_desc));
    MIOPEN(miopenDestroyTensorDescriptor(w_desc));
    MIOPEN(miopenDestroyTensorDescriptor(y_desc));
    MIOPEN(miopenDestroyTensorDescriptor(b_desc));
    MIOPEN(miopenDestroy(handle));
    HIP(hipEventDestroy(event));
    HIP(hipStreamDestroy(stream));
    HIP(hipPeekAtLastError());
    free(x), free(w), free(dy), free(y), free(dx), free(dw);
    printf("right\n");
    return 0;
}
