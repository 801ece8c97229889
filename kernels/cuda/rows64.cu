// Row reductions, softmax, normalizations and chains of f64.

#include "rows.cuh"

#define LAYOUT EXTENTS, STRIDES(a), REDUCED

KERNEL __launch_bounds__(256) reduce_f64(void *y, const void *x, u32 rows, u32 type, u32 kind, u32 warps, LAYOUT) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    FIND_ROW(index)
    reduce<double>(y, x, type, kind, index, team, row);
}

KERNEL __launch_bounds__(256) softmax_f64(void *y, const void *x, u32 rows, u32 type, u32 logarithm, u32 warps, LAYOUT) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    FIND_ROW(index)
    softmax<double>(y, x, type, logarithm, team, row);
}

// What of `outputs` is set is written: bit 0 the means, bit 1 the inverse deviations.
KERNEL __launch_bounds__(256) normalize_f64(void *y, const void *x, float *means, float *invs, const void *scale, const void *bias,
                    u32 rows, u32 n, u32 type, u32 warps, u32 by_root, u32 outputs, float epsilon, u32 scale_type,
                    u32 scale_by, u32 scale_of, u32 bias_type, u32 bias_by, u32 bias_of) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    normalize<double>(y, x, outputs & 1 ? means : nullptr, outputs & 2 ? invs : nullptr, type, n, epsilon, by_root,
                     {scale, scale_type, scale_by, scale_of}, {bias, bias_type, bias_by, bias_of}, index, team);
}

// As `chain_float`.
KERNEL chain_f64(double *y, const double *x, u32 rows, u32 type, u32 product, u32 exclusive, u32 reverse, LAYOUT) {
    u32 index = FIRST;
    if (index >= rows) return;
    FIND_ROW(index)
    double state = product ? 1 : 0;
    for (u32 k = 0; k < n; k++) {
        u64 at = offset(row, reverse ? n - 1 - k : k);
        double after = product ? mul(state, x[at]) : add(state, x[at]);
        store(y, type, at, exclusive ? state : after);
        state = after;
    }
}
