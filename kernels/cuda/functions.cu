// Functions of f32, f16 and bf16 that are more than basic arithmetic.
//
// A module of its own: it is long, and not every program needs it.

#include "lanes.cuh"

// y[i] = f(x[i]): all other functions.
KERNEL unary_function(void *__restrict__ y, const void *__restrict__ x, u32 n, u32 type, u32 code, float p, float q) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        float v;
        load(x, type, i, v);
        store(y, type, i, function_f32_by(code, v, p, q));
    }
}

KERNEL pow_float(void *y, const void *a, const void *b, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        float u, v;
        load(a, type, ia, u);
        load(b, type, ib, v);
        store(y, type, i, pow_f32(u, v));
    }
}
