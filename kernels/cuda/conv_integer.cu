// Convolutions of bytes, exact modulo 2^32: pixels spread out for the products of igemm.cu, and small groups directly.
#include "requantize.cuh"

// Pixels of images as matrices [terms][positions] of bytes: where a tap is outside of the image stands the zero point, so that its
// product counts nothing. `zero` may be null: 0. Grid-stride over count = images * terms * positions.
KERNEL __launch_bounds__(256) spread_pixels(u8* y, const u8* x, const u8* zero, u64 count, u32 terms, u32 positions, u32 height, u32 width,
                                            u32 kernel_y, u32 kernel_x, u32 stride_y, u32 stride_x, u32 dilation_y, u32 dilation_x,
                                            u32 pad_y, u32 pad_x, u32 out_width) {
    u8 nothing = zero ? *zero : 0;
    for (u64 i = (u64)block_x() * 256 + thread_x(); i < count; i += (u64)grid_x() * 256) {
        u64 line = i / positions;
        u32 at = i - line * positions, p = line % terms;
        u32 tap = p % (kernel_y * kernel_x);
        // Planes of all images follow each other.
        u64 plane = line / (kernel_y * kernel_x);
        u32 row = at / out_width * stride_y + tap / kernel_x * dilation_y - pad_y;
        u32 column = at % out_width * stride_x + tap % kernel_x * dilation_x - pad_x;
        y[i] = row < height && column < width ? x[(plane * height + row) * width + column] : nothing;
    }
}

constexpr u32 X_SIGNED = 1, W_SIGNED = 2, ZERO_BY_CHANNEL = 4;

// One output a thread; m: outputs of a group, channels: of a group. x_zero, w_zero and bias may be null. Sums are stored as they are, or
// requantized if `y_scale` is not null. Grid-stride over count = images * groups * m * outputs.
KERNEL __launch_bounds__(256) conv_bytes(void* out, const u8* x, const u8* w, const u8* x_zero, const u8* w_zero, u64 count, u32 m,
                                         u32 outputs, u32 channels, u32 groups, u32 flags, SCALES, u32 height, u32 width, u32 kernel_y,
                                         u32 kernel_x, u32 stride_y, u32 stride_x, u32 dilation_y, u32 dilation_x, u32 pad_y, u32 pad_x,
                                         u32 out_width) {
    REQUANTIZE
    u32 xs = flags & X_SIGNED, ws = flags & W_SIGNED;
    auto wide = [](u8 v, u32 is_signed) { return is_signed ? (i32)(i8)v : (i32)v; };
    i32 zx = x_zero ? wide(*x_zero, xs) : 0;
    for (u64 i = (u64)block_x() * 256 + thread_x(); i < count; i += (u64)grid_x() * 256) {
        u32 at = i % outputs, channel = i / outputs % ((u64)groups * m);
        u64 image = i / outputs / ((u64)groups * m);
        u32 group = channel / m;
        u32 y0 = at / out_width * stride_y - pad_y, x0 = at % out_width * stride_x - pad_x;
        const u8* plane = x + (image * groups + group) * channels * height * width;
        const u8* weight = w + (u64)channel * channels * kernel_y * kernel_x;
        i32 zw = w_zero ? wide(w_zero[flags & ZERO_BY_CHANNEL ? channel : 0], ws) : 0;
        u32 sum = 0;
#pragma unroll 1
        for (u32 c = 0; c < channels; c++, plane += (u64)height * width) {
#pragma unroll 1
            for (u32 ky = 0; ky < kernel_y; ky++) {
                u32 row = y0 + ky * dilation_y;
#pragma unroll 1
                for (u32 kx = 0; kx < kernel_x; kx++, weight++) {
                    u32 column = x0 + kx * dilation_x;
                    if (row < height && column < width)
                        sum += (u32)((wide(plane[(u64)row * width + column], xs) - zx) * (wide(*weight, ws) - zw));
                }
            }
        }
        if (y_scale) ((u8*)out)[i] = to.apply((i32)sum, channel, 0);
        else ((i32*)out)[i] = (i32)sum;
    }
}
