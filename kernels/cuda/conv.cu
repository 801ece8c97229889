// targets: 75
// Convolutions over one or two axes: those with many channels of a group as products of weights and pixels, which are
// gathered as they are staged; others directly, a thread for each output.
#include "direct.cuh"
#include "gemm.cuh"

#define CONV(NAME, GM, GN, WM, WN)                                                                                        \
    KERNEL __launch_bounds__(32 * WM * WN) NAME(                                                                          \
        const u8* w, const u8* x, u8* out, const u8* bias, float* pending, const u32* skips, u32 m, u32 n, u32 k, u32 wide,  \
        u32 tiles_m, u32 tiles_n, u32 tiles, u32 run, u32 splits, u32 levels, u32 images, u32 groups, u64 w2, u64 x1, u64 x2, \
        u32 flags, u32 height, u32 width, u32 kernel_y, u32 kernel_x, u32 stride_y, u32 stride_x, u32 dilation_y,           \
        u32 dilation_x, u32 pad_y, u32 pad_x, u32 out_width) {                                                            \
        Product g;                                                                                                        \
        g.a = {w, k, TERMS, F32, m, k, wide != 0};                                                                         \
        g.b = {x, 0, OUTERS, F32, n, k, false};                                                                            \
        g.out = out, g.pending = pending;                                                                                 \
        g.finish = {bias, 1, 0, 1.0f, 1.0f, flags & HAS_C, F32};                                                              \
        g.m = m, g.n = n, g.k = k, g.tiles_m = tiles_m, g.tiles_n = tiles_n, g.tiles = tiles;                              \
        g.run = run, g.splits = splits, g.levels = levels, g.extent1 = images, g.extent2 = groups;                         \
        g.a0 = 0, g.a1 = 0, g.a2 = w2, g.b0 = 0, g.b1 = x1, g.b2 = x2;                                                     \
        g.out_row = n, g.out1 = (u64)groups * m * n, g.out2 = (u64)m * n;                                                  \
        g.image = {height,     width,      kernel_y, kernel_x, stride_y,  stride_x,                                        \
                   dilation_y, dilation_x, pad_y,    pad_x,    out_width, skips};                                          \
        g.position = 0, g.step = 0, g.window = 0;                                                                         \
        product<GM, GN, WM, WN, false, IMAGE>(g);                                                                          \
    }

CONV(conv_128x128, 2, 2, 4, 2)
CONV(conv_64x64, 2, 1, 2, 2)
CONV(conv_16x128, 1, 1, 1, 4)

// Sets the flag if a number is not finite.
KERNEL __launch_bounds__(256) find_infinite(const float* x, u32* flag, u64 count) {
    for (u64 i = (u64)block_x() * 256 + thread_x(); i < count; i += (u64)grid_x() * 256)
        if ((bits(x[i]) & 0x7f800000u) == 0x7f800000u) mark(flag);
}

DIRECT(conv_direct, float, false)
DIRECT(conv_direct_f64, double, false)
