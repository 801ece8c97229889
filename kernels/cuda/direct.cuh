// Convolutions over one or two axes and their transposes, a thread for each output, in f32 and f64: terms run over (channel, tap), those
// outside of the image keeping their places, in the order of contractions.
#pragma once
#include "contract.cuh"

// The row (or column) that a tap takes: position * stride - pad + tap * dilation; transposed (position + pad - tap * dilation) /
// stride where that is whole. One out of the image is a great number.
template <bool TRANSPOSED> DEVICE u32 source(u32 position, u32 pad, u32 tap, u32 dilation, u32 stride) {
    if (!TRANSPOSED) return position * stride - pad + tap * dilation;
    i32 at = (i32)(position + pad) - (i32)(tap * dilation);
    if (at < 0) return 0xffffffffu;
    u32 from = (u32)at / stride;
    return from * stride == (u32)at ? from : 0xffffffffu;
}

// w is [groups * m][channels][kernel], transposed [groups * channels][m][kernel]; m: outputs of a group, channels: of a group of x.
// Grid-stride over count = images * groups * m * outputs.
#define DIRECT(NAME, T, TRANSPOSED)                                                                                       \
    KERNEL __launch_bounds__(256) NAME(const T* w, const T* x, T* out, const T* bias, u64 count, u32 m, u32 outputs,        \
                                       u32 channels, u32 groups, u32 flags, u32 height, u32 width, u32 kernel_y,           \
                                       u32 kernel_x, u32 stride_y, u32 stride_x, u32 dilation_y, u32 dilation_x,           \
                                       u32 pad_y, u32 pad_x, u32 out_width) {                                              \
        u64 taps = (u64)kernel_y * kernel_x;                                                                              \
        for (u64 i = (u64)block_x() * 256 + thread_x(); i < count; i += (u64)grid_x() * 256) {                             \
            u32 at = i % outputs, channel = i / outputs % ((u64)groups * m);                                               \
            u64 image = i / outputs / ((u64)groups * m);                                                                  \
            u32 group = channel / m, own = channel - group * m;                                                           \
            u32 y = at / out_width, z = at - y * out_width;                                                               \
            const T* plane = x + (image * groups + group) * channels * height * width;                                    \
            const T* weight = w + (TRANSPOSED ? (u64)group * channels * m + own : (u64)channel * channels) * taps;         \
            u64 between = TRANSPOSED ? m * taps : taps;                                                                    \
            Tree<12, false, T> tree{};                                                                                    \
            T sum = 0;                                                                                                    \
            u32 p = 0, parts = 0;                                                                                         \
            _Pragma("unroll 1") for (u32 c = 0; c < channels; c++, plane += (u64)height * width, weight += between) {      \
                _Pragma("unroll 1") for (u32 ky = 0; ky < kernel_y; ky++) {                                                \
                    u32 row = source<TRANSPOSED>(y, pad_y, ky, dilation_y, stride_y);                                      \
                    _Pragma("unroll 1") for (u32 kx = 0; kx < kernel_x; kx++) {                                            \
                        u32 column = source<TRANSPOSED>(z, pad_x, kx, dilation_x, stride_x);                               \
                        if (row < height && column < width)                                                               \
                            sum = chained(plane[(u64)row * width + column], weight[ky * kernel_x + kx], sum);              \
                        if (++p == CHUNK) {                                                                               \
                            tree.push(sum_of(sum, T(0)), parts++);                                                        \
                            sum = 0;                                                                                      \
                            p = 0;                                                                                        \
                        }                                                                                                 \
                    }                                                                                                     \
                }                                                                                                         \
            }                                                                                                             \
            if (p > 0) tree.push(sum_of(sum, T(0)), parts++);                                                             \
            T result = tree.result(parts);                                                                                \
            out[i] = stored(flags ? sum_of(result, bias[channel]) : result);                                              \
        }                                                                                                                 \
    }
