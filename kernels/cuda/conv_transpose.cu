// Transposed convolutions over one or two axes, a thread for each output.
#include "contract.cuh"

// The row (or column) that a tap takes: (position + pad - tap * dilation) / stride where that is whole and in the image; else
// one out of it.
DEVICE u32 source(u32 position, u32 pad, u32 tap, u32 dilation, u32 stride) {
    i32 at = (i32)(position + pad) - (i32)(tap * dilation);
    if (at < 0) return 0xffffffffu;
    u32 from = (u32)at / stride;
    return from * stride == (u32)at ? from : 0xffffffffu;
}

// w is [groups * channels][m][kernel], m: outputs of a group, channels: of a group of x. Terms run over (channel, tap), those
// outside of the image keeping their places. Grid-stride over count = images * groups * m * outputs.
KERNEL __launch_bounds__(256) conv_transpose(const float* w, const float* x, float* out, const float* bias, u64 count, u32 m, u32 outputs,
                                             u32 channels, u32 groups, u32 flags, u32 height, u32 width, u32 kernel_y, u32 kernel_x,
                                             u32 stride_y, u32 stride_x, u32 dilation_y, u32 dilation_x, u32 pad_y, u32 pad_x,
                                             u32 out_width) {
    u64 taps = (u64)kernel_y * kernel_x;
    for (u64 i = (u64)block_x() * 256 + thread_x(); i < count; i += (u64)grid_x() * 256) {
        u32 at = i % outputs, channel = i / outputs % ((u64)groups * m);
        u64 image = i / outputs / ((u64)groups * m);
        u32 group = channel / m, own = channel - group * m;
        u32 y = at / out_width, z = at - y * out_width;
        const float* plane = x + (image * groups + group) * channels * height * width;
        const float* weight = w + ((u64)group * channels * m + own) * taps;
        Tree<12> tree{};
        float sum = 0.0f;
        u32 p = 0, parts = 0;
#pragma unroll 1
        for (u32 c = 0; c < channels; c++, plane += (u64)height * width, weight += m * taps) {
#pragma unroll 1
            for (u32 ky = 0; ky < kernel_y; ky++) {
                u32 row = source(y, pad_y, ky, dilation_y, stride_y);
#pragma unroll 1
                for (u32 kx = 0; kx < kernel_x; kx++) {
                    u32 column = source(z, pad_x, kx, dilation_x, stride_x);
                    if (row < height && column < width)
                        sum = __fmaf_rn(plane[(u64)row * width + column], weight[ky * kernel_x + kx], sum);
                    if (++p == CHUNK) {
                        tree.push(__fadd_rn(sum, 0.0f), parts++);
                        sum = 0.0f;
                        p = 0;
                    }
                }
            }
        }
        if (p > 0) tree.push(__fadd_rn(sum, 0.0f), parts++);
        float result = tree.result(parts);
        out[i] = canonical(flags ? __fadd_rn(result, bias[channel]) : result);
    }
}
