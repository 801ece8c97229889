// What becomes of exact sums of products of bytes.
#pragma once
#include "prelude.cuh"

// y = the sum, plus a bias, times f, rounded, plus the zero point, saturated; f = (a_scale * b_scale) / y_scale.
struct Requantize {
    const float *a_scale, *b_scale, *y_scale;
    const u8* y_zero;
    const i32* bias;     // one a row, or null: 0
    u32 a_step, b_step, scale_step, zero_step;
    u32 is_signed;

    DEVICE_METHOD u8 apply(i32 sum, u32 row, u32 column) const {
        if (bias) sum = (i32)((u32)sum + (u32)bias[row]);
        float f = __fdiv_rn(__fmul_rn(a_scale[row * a_step], b_scale[column * b_step]), y_scale[row * scale_step]);
        float x = __fmul_rn(of_int(sum), f);
        // Rounds ties to even, saturates, and makes 0 of NaN.
        i32 q;
        asm("cvt.rni.s32.f32 %0, %1;" : "=r"(q) : "f"(x));
        q = q > 100000 ? 100000 : q < -100000 ? -100000 : q;
        u8 zero = y_zero[row * zero_step];
        q += is_signed ? (i32)(i8)zero : (i32)zero;
        i32 least = is_signed ? -128 : 0, most = is_signed ? 127 : 255;
        return (u8)(q < least ? least : q > most ? most : q);
    }
};

#define SCALES                                                                                                            \
    const float *a_scale, const float *b_scale, const float *y_scale, const u8 *y_zero, const i32 *bias, u32 a_scale_step,       \
        u32 b_scale_step, u32 y_scale_step, u32 y_zero_step, u32 is_signed
#define REQUANTIZE                                                                                                        \
    Requantize to = {a_scale, b_scale, y_scale, y_zero, bias, a_scale_step, b_scale_step, y_scale_step, y_zero_step, is_signed};
