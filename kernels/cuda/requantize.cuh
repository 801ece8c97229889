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

    static DEVICE_METHOD i32 rounded(float x) {
        // Rounds ties to even, saturates, and makes 0 of NaN.
        i32 q;
        asm("cvt.rni.s32.f32 %0, %1;" : "=r"(q) : "f"(x));
        return q > 100000 ? 100000 : q < -100000 ? -100000 : q;
    }
    DEVICE_METHOD u8 saturated(i32 q, u8 zero) const {
        q += is_signed ? (i32)(i8)zero : (i32)zero;
        i32 least = is_signed ? -128 : 0, most = is_signed ? 127 : 255;
        return (u8)(q < least ? least : q > most ? most : q);
    }

    DEVICE_METHOD u8 apply(i32 sum, u32 row, u32 column) const {
        if (bias) sum = (i32)((u32)sum + (u32)bias[row]);
        float f = __fdiv_rn(__fmul_rn(a_scale[row * a_step], b_scale[column * b_step]), y_scale[row * scale_step]);
        i32 q = rounded(__fmul_rn(of_int(sum), f));
        return saturated(q, y_zero[row * zero_step]);
    }

    // The same with what belongs to a row or a column read once.
    struct Row {
        float a_scale, y_scale;
        u8 zero;
        i32 bias;
    };
    DEVICE_METHOD Row of_row(u32 row) const {
        return {a_scale[row * a_step], y_scale[row * scale_step], y_zero[row * zero_step], bias ? bias[row] : 0};
    }
    DEVICE_METHOD float of_column(u32 column) const { return b_scale[column * b_step]; }
    DEVICE_METHOD u8 apply(i32 sum, const Row& row, float b) const {
        float f = __fdiv_rn(__fmul_rn(row.a_scale, b), row.y_scale);
        return saturated(rounded(__fmul_rn(of_int((i32)((u32)sum + (u32)row.bias)), f)), row.zero);
    }
};

#define SCALES                                                                                                            \
    const float *a_scale, const float *b_scale, const float *y_scale, const u8 *y_zero, const i32 *bias, u32 a_scale_step,       \
        u32 b_scale_step, u32 y_scale_step, u32 y_zero_step, u32 is_signed
#define REQUANTIZE                                                                                                        \
    Requantize to = {a_scale, b_scale, y_scale, y_zero, bias, a_scale_step, b_scale_step, y_scale_step, y_zero_step, is_signed};
