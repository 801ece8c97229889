// Elements of tensors that are stored in 16 or 32 bits and computed in f32; what comes after a contraction.
#pragma once
#include "prelude.cuh"

// As launches name types; `shift` is the logarithm of an element's bytes.
constexpr u32 F32 = 0, F16 = 1, BF16 = 2;
DEVICE u32 shift_of(u32 type) { return type == F32 ? 2 : 1; }

DEVICE float widen(u32 type, u16 x) { return type == F16 ? widen_f16(x) : widen_bf16(x); }

DEVICE float load(u32 type, const u8* base, u64 index) {
    if (type == F32) return ((const float*)base)[index];
    return widen(type, ((const u16*)base)[index]);
}

// Four elements that lie together, aligned to four elements.
DEVICE float4 load4(u32 type, const u8* at) {
    if (type == F32) return *(const float4*)at;
    uint2 raw = *(const uint2*)at;
    return {widen(type, (u16)raw.x), widen(type, (u16)(raw.x >> 16)), widen(type, (u16)raw.y), widen(type, (u16)(raw.y >> 16))};
}

DEVICE u16 narrow(u32 type, float x) { return type == F16 ? narrow_f16(x) : narrow_bf16(x); }

DEVICE void store(u32 type, u8* base, u64 index, float x) {
    if (type == F32) ((float*)base)[index] = canonical(x);
    else ((u16*)base)[index] = narrow(type, x);
}

DEVICE void store4(u32 type, u8* at, float x, float y, float z, float w) {
    if (type == F32) {
        *(float4*)at = {canonical(x), canonical(y), canonical(z), canonical(w)};
    } else {
        u32 low = narrow(type, x) | (u32)narrow(type, y) << 16;
        *(uint2*)at = {low, narrow(type, z) | (u32)narrow(type, w) << 16};
    }
}

// After a contraction: t = s, or alpha * s; then t + c, or fma(beta, c, t). Element (row, column) of c is at
// row * c_row + column * c_column.
constexpr u32 HAS_ALPHA = 1, HAS_C = 2, HAS_BETA = 4;
struct Finish {
    const u8* c;
    u64 c_row, c_column;
    float alpha, beta;
    u32 flags, type;

    DEVICE_METHOD float apply(float s, u64 row, u64 column) const {
        float t = flags & HAS_ALPHA ? __fmul_rn(alpha, s) : s;
        if (flags & HAS_C) {
            float bias = load(type, c, row * c_row + column * c_column);
            t = flags & HAS_BETA ? __fmaf_rn(beta, bias, t) : __fadd_rn(t, bias);
        }
        return t;
    }
};

// Sets a flag that many threads may set at once.
DEVICE void mark(u32* flag) { asm volatile("red.or.b32 [%0], 1;" ::"l"(flag) : "memory"); }
