// Row reductions, softmax and normalizations of f32, f16 and bf16; extremes and sums of integers.

#include "rows.cuh"

#define LAYOUT EXTENTS, STRIDES(a), REDUCED

KERNEL __launch_bounds__(256) reduce_float(void *y, const void *x, u32 rows, u32 type, u32 kind, u32 warps, LAYOUT) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    FIND_ROW(index)
    reduce<float>(y, x, type, kind, index, team, row);
}

KERNEL __launch_bounds__(256) softmax_float(void *y, const void *x, u32 rows, u32 type, u32 logarithm, u32 warps, LAYOUT) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    FIND_ROW(index)
    softmax<float>(y, x, type, logarithm, team, row);
}

// What of `outputs` is set is written: bit 0 the means, bit 1 the inverse deviations.
KERNEL __launch_bounds__(256) normalize_float(void *y, const void *x, float *means, float *invs, const void *scale, const void *bias,
                    u32 rows, u32 n, u32 type, u32 warps, u32 by_root, u32 outputs, float epsilon, u32 scale_type,
                    u32 scale_by, u32 scale_of, u32 bias_type, u32 bias_by, u32 bias_of) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    normalize<float>(y, x, outputs & 1 ? means : nullptr, outputs & 2 ? invs : nullptr, type, n, epsilon, by_root,
                     {scale, scale_type, scale_by, scale_of}, {bias, bias_type, bias_by, bias_of}, index, team);
}

DEVICE i64 joined(u32 kind, u32 type, i64 a, i64 b) {
    bool below = type == U64 ? (u64)a < (u64)b : a < b;
    switch (kind) {
    case MAXIMUM: return below ? b : a;
    case MINIMUM: return below ? a : b;
    case PRODUCT: return (i64)((u64)a * (u64)b);
    default: return (i64)((u64)a + (u64)b);
    }
}

// Integers wrap, so that their sums have no order; `start` is what stands for no elements.
KERNEL __launch_bounds__(256) reduce_int(void *y, const void *x, u32 rows, u32 type, u32 kind, u32 warps, u64 start, LAYOUT) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    FIND_ROW(index)
    i64 result = row_fold<i64>(
        team, row.n, (i64)start, [=](i64 a, i64 b) { return joined(kind, type, a, b); },
        [&](u32 j) {
            i64 v = load_int(x, type, offset(row, j));
            if (kind == SUM_SQUARE) v = (i64)((u64)v * (u64)v);
            if (kind == L1) v = v < 0 && type != U64 ? (i64)(0 - (u64)v) : v;
            return v;
        });
    if (team.leads) store_int(y, type, index, result);
}

// The order of an element among 32-bit numbers: NaN above all, both zeros equal.
DEVICE u32 rank_of(const void *x, u32 type, u64 at, bool smallest) {
    u32 rank;
    if (type == F32 || type == F16 || type == BF16) {
        float v;
        load(x, type, at, v);
        if (is_nan(v)) return 0xffffffffu;
        u32 b = v == 0 ? 0 : bits(v);
        rank = b >> 31 ? ~b : b | 0x80000000u;
    } else {
        i64 v = load_int(x, type, at);
        rank = (u32)v ^ (is_signed(type) ? 0x80000000u : 0u);
    }
    return smallest ? ~rank : rank;
}

// y[row] = the place of the largest or smallest element; of equal ones the first or the last.
KERNEL __launch_bounds__(256) arg_extreme(i64 *y, const void *x, u32 rows, u32 type, u32 smallest, u32 last, u32 warps, LAYOUT) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    FIND_ROW(index)
    u64 best = row_fold<u64>(
        team, row.n, (u64)0, [](u64 a, u64 b) { return a < b ? b : a; },
        [&](u32 j) { return (u64)rank_of(x, type, offset(row, j), smallest) << 32 | (last ? j : ~j); });
    u32 place = (u32)best;
    if (team.leads) y[index] = last ? place : ~place;
}

// The same of elements of eight bytes: first the extreme, then its place.
KERNEL __launch_bounds__(256) arg_extreme_long(i64 *y, const void *x, u32 rows, u32 type, u32 smallest, u32 last, u32 warps, LAYOUT) {
    Team team = team_of(warps);
    u32 index = row_of(team);
    if (index >= rows) return;
    FIND_ROW(index)
    auto greater = [](u64 a, u64 b) { return a < b ? b : a; };
    // NaN is above all both ways.
    auto rank_at = [&](u32 j) {
        u64 own = rank_of_long(x, type, offset(row, j));
        return smallest && !(type == F64 && own == 0xffffffffffffffffull) ? ~own : own;
    };
    u64 best = row_fold<u64>(team, row.n, (u64)0, greater, rank_at);
    u32 place = (u32)row_fold<u64>(team, row.n, (u64)0, greater, [&](u32 j) {
        return (u64)(rank_at(j) == best ? (last ? j : ~j) : 0);
    });
    if (team.leads) y[index] = last ? place : ~place;
}

// A chain along an axis, a thread for each row: y = s after (or before) s = s + x, in f32 for 16-bit floats.
KERNEL chain_float(void *y, const void *x, u32 rows, u32 type, u32 product, u32 exclusive, u32 reverse, LAYOUT) {
    u32 index = FIRST;
    if (index >= rows) return;
    FIND_ROW(index)
    float state = product ? 1 : 0;
    for (u32 k = 0; k < n; k++) {
        u64 at = offset(row, reverse ? n - 1 - k : k);
        float v;
        load(x, type, at, v);
        float after = product ? mul(state, v) : add(state, v);
        store(y, type, at, exclusive ? state : after);
        state = after;
    }
}

KERNEL chain_int(void *y, const void *x, u32 rows, u32 type, u32 product, u32 exclusive, u32 reverse, LAYOUT) {
    u32 index = FIRST;
    if (index >= rows) return;
    FIND_ROW(index)
    u64 state = product ? 1 : 0;
    for (u32 k = 0; k < n; k++) {
        u64 at = offset(row, reverse ? n - 1 - k : k);
        u64 v = (u64)load_int(x, type, at);
        u64 after = product ? state * v : state + v;
        store_int(y, type, at, (i64)(exclusive ? state : after));
        state = after;
    }
}
