// The order of contractions (SPEC.md, section 3): chunks of 256 terms, and the tree that combines their results.
#pragma once
#include "prelude.cuh"

constexpr u32 CHUNK = 256;

// One operation each, named alike for both precisions.
DEVICE float sum_of(float a, float b) { return __fadd_rn(a, b); }
DEVICE double sum_of(double a, double b) { return __dadd_rn(a, b); }

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
