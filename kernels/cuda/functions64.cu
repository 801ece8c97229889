// Functions of f64 that are more than basic arithmetic; those that take thousands of operations (erf) have no kernel.

#include "lanes.cuh"

KERNEL function_f64(double *__restrict__ y, const double *__restrict__ x, u32 n, u32 code, float p, float q) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) y[i] = canonical_f64(function_f64_by(code, x[i], p, q));
}

KERNEL pow_f64_kernel(double *y, const double *a, const double *b, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        y[i] = canonical_f64(pow_f64(a[ia], b[ib]));
    }
}
