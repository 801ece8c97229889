// Elements of every type, loaded, computed with and stored: what element-wise kernels and reductions share.
//
// Names of element types are ONNX's numbers, as in SPEC.md, 1.1. A float is computed in f32 (f32, f16, bf16) or f64
// and rounded once at its store, which makes NaN canonical.
#pragma once

#include "prelude.cuh"

DEVICE float __double2float_rn(double x) { return __nvvm_d2f_rn(x); }

#include "generated/scalar.cuh"

#define F32 1
#define U8 2
#define I8 3
#define U16 4
#define I16 5
#define I32 6
#define I64 7
#define BOOL 9
#define F16 10
#define F64 11
#define U32 12
#define U64 13
#define BF16 16

// One operation each, named alike for both precisions.
DEVICE float add(float a, float b) { return __fadd_rn(a, b); }
DEVICE float sub(float a, float b) { return __fsub_rn(a, b); }
DEVICE float mul(float a, float b) { return __fmul_rn(a, b); }
DEVICE float div(float a, float b) { return __fdiv_rn(a, b); }
DEVICE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE float root(float a) { return __fsqrt_rn(a); }
DEVICE float exp(float a) { return exp_f32(a, 0, 0); }
DEVICE float softmax_exp(float a) { return softmax_exp_f32(a); }
DEVICE float log(float a) { return log_f32(a, 0, 0); }
DEVICE float larger(float a, float b) { return max_f32(a, b); }
DEVICE float smaller(float a, float b) { return min_f32(a, b); }
DEVICE float magnitude(float a) { return abs_f32(a, 0, 0); }
DEVICE float power(float a, float b) { return pow_f32(a, b); }
DEVICE double add(double a, double b) { return __dadd_rn(a, b); }
DEVICE double sub(double a, double b) { return __dsub_rn(a, b); }
DEVICE double mul(double a, double b) { return __dmul_rn(a, b); }
DEVICE double div(double a, double b) { return __ddiv_rn(a, b); }
DEVICE double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
DEVICE double root(double a) { return __dsqrt_rn(a); }
DEVICE double exp(double a) { return exp_f64(a, 0, 0); }
DEVICE double softmax_exp(double a) { return exp_f64(a, 0, 0); }
DEVICE double log(double a) { return log_f64(a, 0, 0); }
DEVICE double larger(double a, double b) { return max_f64(a, b); }
DEVICE double smaller(double a, double b) { return min_f64(a, b); }
DEVICE double magnitude(double a) { return abs_f64(a, 0, 0); }
DEVICE double power(double a, double b) { return pow_f64(a, b); }

// An element of a float tensor, in the type that it is computed in: f64 is a double, all others are floats. The
// type is the same for all threads.
DEVICE void load(const void *x, u32 type, u64 i, float &y) {
    if (type == F32) {
        y = ((const float *)x)[i];
    } else {
        u16 h = ((const u16 *)x)[i];
        y = type == F16 ? widen_f16(h) : widen_bf16(h);
    }
}
DEVICE void load(const void *x, u32 type, u64 i, double &y) { y = ((const double *)x)[i]; }
// Narrowing gives the canonical NaN; a canonical f32 passes unchanged.
DEVICE void store(void *y, u32 type, u64 i, float x) {
    if (type == F32) {
        ((float *)y)[i] = canonical_f32(x);
    } else {
        ((u16 *)y)[i] = type == F16 ? narrow_f16(x) : narrow_bf16(x);
    }
}
DEVICE void store(void *y, u32 type, u64 i, double x) { ((double *)y)[i] = canonical_f64(x); }

// An integer or bool, extended by its own sign or by zeros to 64 bits.
DEVICE i64 load_int(const void *x, u32 type, u64 i) {
    switch (type) {
    case U8:
    case BOOL: return ((const u8 *)x)[i];
    case I8: return ((const i8 *)x)[i];
    case U16: return ((const u16 *)x)[i];
    case I16: return ((const i16 *)x)[i];
    case U32: return ((const u32 *)x)[i];
    case I32: return ((const i32 *)x)[i];
    default: return ((const i64 *)x)[i];
    }
}
// An integer of 8 or 16 bits.
DEVICE i64 load_short(const void *x, u32 type, u64 i) {
    if (type == U8) return ((const u8 *)x)[i];
    if (type == I8) return ((const i8 *)x)[i];
    if (type == U16) return ((const u16 *)x)[i];
    return ((const i16 *)x)[i];
}
// An index: of 32 or 64 bits.
DEVICE i64 load_index(const void *x, u32 type, u64 i) {
    return type == I32 ? ((const i32 *)x)[i] : ((const i64 *)x)[i];
}
// The low bits.
DEVICE void store_int(void *y, u32 type, u64 i, i64 x) {
    switch (type) {
    case U8:
    case BOOL:
    case I8: ((u8 *)y)[i] = (u8)x; break;
    case U16:
    case I16: ((u16 *)y)[i] = (u16)x; break;
    case U32:
    case I32: ((u32 *)y)[i] = (u32)x; break;
    default: ((i64 *)y)[i] = x;
    }
}
DEVICE u32 width_of(u32 type) {
    switch (type) {
    case U8:
    case BOOL:
    case I8: return 8;
    case U16:
    case I16: return 16;
    case U32:
    case I32: return 32;
    default: return 64;
    }
}
DEVICE bool is_signed(u32 type) { return type == I8 || type == I16 || type == I32 || type == I64; }

// The order of an element of eight bytes: NaN above all, both zeros equal.
DEVICE u64 rank_of_long(const void *x, u32 type, u64 i) {
    u64 b = ((const u64 *)x)[i];
    if (type == U64) return b;
    if (type == F64) {
        if ((b & 0x7fffffffffffffffull) > 0x7ff0000000000000ull) return 0xffffffffffffffffull;
        if ((b & 0x7fffffffffffffffull) == 0) b = 0;
        if (b >> 63) return ~b;
    }
    return b ^ 0x8000000000000000ull;
}

// Tells the host of a fault. Several threads may do so at once, all with the same word.
DEVICE void raise(u32 *flag) { asm volatile("red.or.b32 [%0], %1;" : : "l"(flag), "r"(1) : "memory"); }

// The first element that a thread takes, and how far apart they are.
#define FIRST (block_x() * block_width() + thread_x())
#define STEP (grid_x() * block_width())

// Up to six axes of an index space, the last one the innermost, `rank` of them used: counted from the last. Strides
// are in elements and wrap, so that negative ones need no sign.
#define EXTENTS u32 rank, u32 e0, u32 e1, u32 e2, u32 e3, u32 e4, u32 e5
#define STRIDES(s) u64 s##0, u64 s##1, u64 s##2, u64 s##3, u64 s##4, u64 s##5
// Runs BODY(k, position on axis k) from the innermost axis outwards.
#define AXIS(k, BODY)                                                                                                  \
    if (rank > 5 - k) {                                                                                                \
        u32 above = rest / e##k;                                                                                       \
        u32 at = rest - above * e##k;                                                                                  \
        BODY(k)                                                                                                        \
        rest = above;                                                                                                  \
    }
#define AXES(BODY) AXIS(5, BODY) AXIS(4, BODY) AXIS(3, BODY) AXIS(2, BODY) AXIS(1, BODY) AXIS(0, BODY)

// Offsets of the operands of element i.
#define TWO_OFFSETS                                                                                                    \
    u64 ia = 0, ib = 0;                                                                                                \
    if (rank <= 1) {                                                                                                   \
        ia = i * a5;                                                                                                   \
        ib = i * b5;                                                                                                   \
    } else {                                                                                                           \
        u32 rest = (u32)i;                                                                                             \
        AXES(TWO_STEPS)                                                                                                \
    }
#define TWO_STEPS(k)                                                                                                   \
    ia += at * a##k;                                                                                                   \
    ib += at * b##k;
