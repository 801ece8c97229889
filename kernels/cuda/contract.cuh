// The order of contractions (SPEC.md, section 3): chunks of 256 terms, and the tree that combines their results.
#pragma once
#include "prelude.cuh"

constexpr u32 CHUNK = 256;

// One operation each, named alike for both precisions and for integers, which wrap.
DEVICE float sum_of(float a, float b) { return __fadd_rn(a, b); }
DEVICE double sum_of(double a, double b) { return __dadd_rn(a, b); }
DEVICE u32 sum_of(u32 a, u32 b) { return a + b; }
DEVICE u64 sum_of(u64 a, u64 b) { return a + b; }
DEVICE float chained(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE double chained(double a, double b, double c) { return __fma_rn(a, b, c); }
DEVICE u32 chained(u32 a, u32 b, u32 c) { return a * b + c; }
DEVICE u64 chained(u64 a, u64 b, u64 c) { return a * b + c; }

// As a tensor holds it.
DEVICE float stored(float x) { return canonical(x); }
DEVICE double stored(double x) {
    return (bits(x) & 0x7fffffffffffffffull) > 0x7ff0000000000000ull ? from_bits((u64)0x7ff8000000000000ull) : x;
}
DEVICE u32 stored(u32 x) { return x; }
DEVICE u64 stored(u64 x) { return x; }

// The tree over parts that arrive one after another, as a binary counter: level `l` holds the result of 2^l parts.
// Levels are counted at compile time, so that the counter lives in registers. FULL: there are at most 2^(LEVELS - 1) parts, so
// that the last level is the result of all of them.
template <int LEVELS, bool FULL = false, typename T = float> struct Tree {
    T level[LEVELS];

    // `count`: the parts before this one.
    DEVICE_METHOD void push(T part, u32 count) {
        bool carries = true;
#pragma unroll
        for (int l = 0; l < LEVELS; l++) {
            if (FULL && l == LEVELS - 1) {
                level[l] = carries ? part : level[l];
                continue;
            }
            bool full = (count >> l) & 1u;
            T sum = sum_of(level[l], part);
            level[l] = carries && !full ? part : level[l];
            part = carries && full ? sum : part;
            carries = carries && full;
        }
    }

    // The result over `count` parts: the smaller subtrees are the right ones. Of no parts, +0.
    DEVICE_METHOD T result(u32 count) const {
        T sum = 0;
        bool any = false;
#pragma unroll
        for (int l = 0; l < LEVELS; l++) {
            if ((count >> l) & 1u) {
                sum = any && !(FULL && l == LEVELS - 1) ? sum_of(level[l], sum) : level[l];
                any = true;
            }
        }
        return sum;
    }
};
