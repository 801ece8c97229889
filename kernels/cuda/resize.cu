// Resize: elements taken, or interpolated along one axis, as tables say that the host has made (SPEC.md: weights depend on sizes
// alone). Float and double in their own precision; 16-bit floats are widened before and rounded after all axes.
#include "contract.cuh"
#include "lanes.cuh"

// Where each axis of y finds its part of `places`: for each position the one in x, or -1 for none.
#define TABLES u32 p0, u32 p1, u32 p2, u32 p3, u32 p4, u32 p5

// y[i] = the element of x at the places of its position, or the one of `outside`. STRIDES are x's.
KERNEL resize_nearest(void* y, const void* x, const void* outside, const i32* places, u32 n, u32 size, TABLES, EXTENTS, STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 rest = (u32)i;
        u64 from = 0;
        bool inside = true;
#define FIND(k)                                                                                                        \
    i32 source##k = places[p##k + at];                                                                                 \
    inside = inside && source##k >= 0;                                                                                 \
    from += (u64)(i64)source##k * b##k;
        AXES(FIND)
        const void* of = inside ? x : outside;
        u64 at = inside ? from : 0;
        switch (size) {
        case 1: ((u8*)y)[i] = ((const u8*)of)[at]; break;
        case 2: ((u16*)y)[i] = ((const u16*)of)[at]; break;
        case 4: ((u32*)y)[i] = ((const u32*)of)[at]; break;
        default: ((u64*)y)[i] = ((const u64*)of)[at];
        }
    }
}

// A position of y along the axis: its taps are `count` entries from `first` on.
struct Stencil {
    u32 kind, first, count, unused;
};
enum { OUTSIDE, ONE_ELEMENT, TWO_ELEMENTS, MANY };

DEVICE void widen_weight(float w, float& y) { y = w; }
DEVICE void widen_weight(float w, double& y) { y = (double)w; }

// y is [outer][to][inner], x [outer][from][inner]: along one axis. Not more than a chunk of taps.
template <typename W>
DEVICE void interpolate(W* y, const W* x, const Stencil* stencils, const u32* taps, const float* weights, u32 n, u32 inner, u32 from, u32 to) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 line = (u32)i / inner, column = (u32)i - line * inner;
        u32 outer = line / to, position = line - outer * to;
        Stencil s = stencils[position];
        const W* at = x + (u64)outer * from * inner + column;
        W v = 0;
        if (s.kind == ONE_ELEMENT) v = at[(u64)taps[s.first] * inner];
        if (s.kind == TWO_ELEMENTS) {
            u64 place = (u64)taps[s.first] * inner;
            W low = at[place], w;
            widen_weight(weights[s.first], w);
            v = fma(w, sub(at[place + inner], low), low);
        }
        if (s.kind == MANY) {
#pragma unroll 1
            for (u32 p = s.first; p < s.first + s.count; p++) {
                W w;
                widen_weight(weights[p], w);
                v = fma(at[(u64)taps[p] * inner], w, v);
            }
            v = add(v, (W)0);
        }
        y[i] = v;
    }
}

KERNEL interpolate_f32(float* y, const float* x, const Stencil* stencils, const u32* taps, const float* weights, u32 n, u32 inner, u32 from,
                       u32 to) {
    interpolate<float>(y, x, stencils, taps, weights, n, inner, from, to);
}
KERNEL interpolate_f64(double* y, const double* x, const Stencil* stencils, const u32* taps, const float* weights, u32 n, u32 inner,
                       u32 from, u32 to) {
    interpolate<double>(y, x, stencils, taps, weights, n, inner, from, to);
}

// The values that interpolation gives, rounded to y's type; where an axis has no place, `outside`.
KERNEL resize_finish_f32(void* y, const float* x, const i32* places, float outside, u32 n, u32 type, TABLES, EXTENTS) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 rest = (u32)i;
        bool inside = true;
#define LOOK(k) inside = inside && places[p##k + at] >= 0;
        AXES(LOOK)
        store(y, type, i, inside ? x[i] : outside);
    }
}
KERNEL resize_finish_f64(double* y, const double* x, const i32* places, float outside, u32 n, u32 type, TABLES, EXTENTS) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 rest = (u32)i;
        bool inside = true;
        AXES(LOOK)
        y[i] = canonical_f64(inside ? x[i] : (double)outside);
    }
}
