// Small integers from floats and back.

#include "lanes.cuh"

// Which scale an element has: one for all (`extent` 0), one for each position of an axis (`block` 0), or one for each
// block of positions.
#define GRAIN u32 extent, u32 inner, u32 block, u32 blocks
#define SCALE_OF(i)                                                                                                    \
    u32 s = 0;                                                                                                         \
    if (extent) {                                                                                                      \
        u32 line = (u32)i / inner, within = (u32)i - line * inner;                                                     \
        u32 outer = line / extent, along = line - outer * extent;                                                      \
        s = block ? (outer * blocks + along / block) * inner + within : along;                                         \
    }

// To the nearest integer, ties to even; NaN is 0. What is beyond 2^40 stays there: all types end long before.
DEVICE i64 whole(float v) {
    float limit = from_bits(0x53800000u);
    if (v != v) return 0;
    if (v > limit) v = limit;
    if (v < -limit) v = -limit;
    return __nvvm_f2ll_rn(v);
}

DEVICE i64 limited(i64 v, u32 type) {
    i64 low = is_signed(type) ? -(1ll << (width_of(type) - 1)) : 0;
    i64 high = low + (1ll << width_of(type)) - 1;
    return v < low ? low : v > high ? high : v;
}

// y = round(x / scale) + zero, limited to y's type.
KERNEL quantize(void *y, const float *x, const float *scale, const void *zero, u32 n, u32 type, u32 has_zero, GRAIN) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        SCALE_OF(i)
        i64 z = has_zero ? load_short(zero, type, s) : 0;
        store_int(y, type, i, limited(whole(__fdiv_rn(x[i], scale[s])) + z, type));
    }
}

// y = (x - zero) * scale, the difference exact and then rounded to f32.
KERNEL dequantize(void *y, const void *x, const void *scale, const void *zero, u32 n, u32 type, u32 scale_type, u32 to, u32 has_zero,
                  GRAIN) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        SCALE_OF(i)
        i64 v = type == I32 ? ((const i32 *)x)[i] : load_short(x, type, i);
        if (has_zero) v -= type == I32 ? ((const i32 *)zero)[s] : load_short(zero, type, s);
        float f;
        load(scale, scale_type, s, f);
        store(y, to, i, __fmul_rn(__nvvm_ll2f_rn(v), f));
    }
}

// Scale and zero point from the least and greatest element, and what they make of x.
KERNEL dynamic_quantize(u8 *y, float *scale, u8 *zero, const float *x, const float *least, const float *greatest, u32 n) {
    float low = smaller(0, *least), high = larger(0, *greatest);
    float by = high == low ? 1 : __fdiv_rn(__fsub_rn(high, low), from_bits(0x437f0000u));
    i64 z = limited(whole(__fdiv_rn(-low, by)), U8);
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) y[i] = (u8)limited(whole(__fdiv_rn(x[i], by)) + z, U8);
    if (FIRST == 0) {
        *scale = canonical_f32(by);
        *zero = (u8)z;
    }
}
