// Reductions of rows in SPEC.md's order (section 4), and what is made of them: means, norms, softmax.
//
// A warp takes a block of 4096 elements: thread t holds accumulators t and t + 32, so that the first fold is its own
// and the others are shuffles. A team is the warps of a row: one where a row is one block, else eight, whose results one
// thread combines by the tree in the order of the blocks, as a binary counter.

#pragma once

#include "lanes.cuh"

#define DEVICE_MEMBER __device__ __forceinline__
#define TEAM_MAX 8
#define BLOCK_ELEMENTS 4096

DEVICE u32 shuffle_down(u32 v, u32 by) { return __nvvm_shfl_sync_down_i32(0xffffffffu, v, by, 31); }
DEVICE u32 shuffle_first(u32 v) { return __nvvm_shfl_sync_idx_i32(0xffffffffu, v, 0, 31); }
DEVICE float down(float v, u32 by) { return from_bits(shuffle_down(bits(v), by)); }
DEVICE u64 down(u64 v, u32 by) { return (u64)shuffle_down((u32)(v >> 32), by) << 32 | shuffle_down((u32)v, by); }
DEVICE i64 down(i64 v, u32 by) { return (i64)down((u64)v, by); }
DEVICE double down(double v, u32 by) { return from_bits(down(bits(v), by)); }
DEVICE float first(float v) { return from_bits(shuffle_first(bits(v))); }
DEVICE u64 first(u64 v) { return (u64)shuffle_first((u32)(v >> 32)) << 32 | shuffle_first((u32)v); }
DEVICE i64 first(i64 v) { return (i64)first((u64)v); }
DEVICE double first(double v) { return from_bits(first(bits(v))); }

DEVICE float as_float(float v) { return v; }
DEVICE float as_float(double v) { return __double2float_rn(v); }

// A number of elements, rounded.
DEVICE void count_of(u32 n, float &y) { y = __nvvm_ui2f_rn(n); }
DEVICE void count_of(u32 n, double &y) { y = (double)n; }

// The elements of a row: `n` of them, in row-major order of up to three reduced axes.
#define REDUCED u32 n, u32 f1, u32 f2, u64 t0, u64 t1, u64 t2
struct Row {
    u64 base, t0, t1, t2;
    u32 n, f1, f2;
};
DEVICE u64 offset(const Row &row, u32 j) {
    if (row.f1 == 0) return row.base + j * row.t2;
    u32 above = j / row.f2, last = j - above * row.f2;
    u32 top = above / row.f1, middle = above - top * row.f1;
    return row.base + top * row.t0 + middle * row.t1 + last * row.t2;
}
#define ROW_STEPS(k) base += at * a##k;
#define FIND_ROW(index)                                                                                                \
    u64 base = 0;                                                                                                      \
    {                                                                                                                  \
        u32 rest = index;                                                                                              \
        AXES(ROW_STEPS)                                                                                                \
    }                                                                                                                  \
    Row row = {base, t0, t1, t2, n, f1, f2};

// The warps of a row, what they share, and which of the block's rows this thread works on.
struct Team {
    u32 warps, warp, lane;
    bool leads;
};
DEVICE Team team_of(u32 warps) {
    u32 warp = thread_x() / 32, lane = thread_x() % 32;
    Team team = {warps, warps == 1 ? 0 : warp, lane, warps == 1 ? lane == 0 : thread_x() == 0};
    return team;
}
// The row of this thread's team, in the grid.
DEVICE u32 row_of(const Team &team) { return team.warps == 1 ? block_x() * TEAM_MAX + thread_x() / 32 : block_x(); }

struct Sum {
    static DEVICE_MEMBER float start(float) { return 0; }
    static DEVICE_MEMBER double start(double) { return 0; }
    template <typename W> static DEVICE_MEMBER W join(W a, W b) { return add(a, b); }
};
struct Product {
    static DEVICE_MEMBER float start(float) { return 1; }
    static DEVICE_MEMBER double start(double) { return 1; }
    template <typename W> static DEVICE_MEMBER W join(W a, W b) { return mul(a, b); }
};

// The sum of a row in the order of the specification, for every thread of its team. What is LIGHT costs little more
// than its loads.
template <typename W, typename Op, bool LIGHT, typename Element> DEVICE W row_sum(const Team &team, u32 n, Element element) {
    __shared__ W parts[TEAM_MAX];
    __shared__ W levels[24];
    u32 blocks = (u32)(((u64)n + BLOCK_ELEMENTS - 1) / BLOCK_ELEMENTS);
    W result = Op::start((W)0);
    // The compiler may read levels that it then does not use.
    if (team.warps != 1 && thread_x() < 24) levels[thread_x()] = result;
    u32 done = 0;
    for (u32 next = 0; next < blocks; next += team.warps) {
        u32 block = next + team.warp;
        W low = Op::start((W)0), high = low;
        if (block < blocks) {
            u32 from = block * BLOCK_ELEMENTS;
            u32 left = n - from;
            u32 end = left < BLOCK_ELEMENTS ? left : BLOCK_ELEMENTS;
            u32 i = team.lane;
            if (LIGHT) {
                // Eight elements in flight; each accumulator takes its own in ascending order.
                for (; i + 7 * 32 < end; i += 8 * 32) {
                    W v[8];
#pragma unroll
                    for (u32 k = 0; k < 8; k++) v[k] = element(from + i + 32 * k);
#pragma unroll
                    for (u32 k = 0; k < 8; k += 2) {
                        low = Op::join(low, v[k]);
                        high = Op::join(high, v[k + 1]);
                    }
                }
            }
            for (bool odd = false; i < end; i += 32, odd = !odd) {
                W after = Op::join(odd ? high : low, element(from + i));
                low = odd ? low : after;
                high = odd ? after : high;
            }
        }
        W sum = Op::join(low, high);
#pragma unroll
        for (u32 stride = 16; stride > 0; stride /= 2) sum = Op::join(sum, down(sum, stride));
        if (team.warps == 1) {
            // One block is all there is.
            result = sum;
        } else {
            if (team.lane == 0) parts[team.warp] = sum;
            __syncthreads();
            if (team.leads) {
                u32 here = blocks - next < team.warps ? blocks - next : team.warps;
                for (u32 k = 0; k < here; k++) {
                    W part = parts[k];
                    u32 level = 0;
                    for (; (done >> level) & 1; level++) part = Op::join(levels[level], part);
                    levels[level] = part;
                    done++;
                }
            }
            __syncthreads();
        }
    }
    if (team.warps == 1) return first(result);
    if (team.leads) {
        bool begun = false;
#pragma unroll 1
        for (u32 level = 0; done >> level; level++) {
            if ((done >> level) & 1) {
                result = begun ? Op::join(levels[level], result) : levels[level];
                begun = true;
            }
        }
        parts[0] = result;
    }
    __syncthreads();
    result = parts[0];
    __syncthreads();
    return result;
}

DEVICE void infinity(float &y) { y = from_bits(0x7f800000u); }
DEVICE void infinity(double &y) { y = from_bits(0x7ff0000000000000ull); }

// What does not depend on the order: extremes, and integers.
template <typename V, typename Join, typename Element>
DEVICE V row_fold(const Team &team, u32 n, V start, Join join, Element element) {
    __shared__ V parts[TEAM_MAX];
    V best = start;
    for (u32 i = team.warp * 32 + team.lane; i < n; i += 32 * team.warps) best = join(best, element(i));
#pragma unroll
    for (u32 stride = 16; stride > 0; stride /= 2) best = join(best, down(best, stride));
    if (team.warps == 1) return first(best);
    if (team.lane == 0) parts[team.warp] = best;
    __syncthreads();
    best = parts[0];
    for (u32 k = 1; k < team.warps; k++) best = join(best, parts[k]);
    __syncthreads();
    return best;
}

template <typename W> DEVICE W row_maximum(const Team &team, u32 n, const void *x, u32 type, const Row &row) {
    W lowest;
    infinity(lowest);
    return row_fold<W>(
        team, n, -lowest, [](W a, W b) { return larger(a, b); },
        [&](u32 j) {
            W v;
            load(x, type, offset(row, j), v);
            return v;
        });
}

// The numbers of reductions, in the order of `REDUCTIONS` in the launches.
enum Reduction { SUM, MEAN, L1, L2, LOG_SUM, LOG_SUM_EXP, SUM_SQUARE, PRODUCT, MAXIMUM, MINIMUM };

template <typename W> DEVICE void reduce(void *y, const void *x, u32 type, u32 kind, u32 index, const Team &team, const Row &row) {
    W result;
    if (kind == MAXIMUM || kind == MINIMUM) {
        W start;
        infinity(start);
        bool smallest = kind == MINIMUM;
        start = smallest ? start : -start;
        result = row_fold<W>(
            team, row.n, start, [=](W a, W b) { return smallest ? smaller(a, b) : larger(a, b); },
            [&](u32 j) {
                W v;
                load(x, type, offset(row, j), v);
                return v;
            });
    } else if (kind == PRODUCT) {
        result = row_sum<W, Product, true>(team, row.n, [&](u32 j) {
            W v;
            load(x, type, offset(row, j), v);
            return v;
        });
    } else if (kind == LOG_SUM_EXP) {
        W m = row_maximum<W>(team, row.n, x, type, row);
        W limit;
        infinity(limit);
        m = magnitude(m) == limit ? (W)0 : m;
        W sum = row_sum<W, Sum, false>(team, row.n, [&](u32 j) {
            W v;
            load(x, type, offset(row, j), v);
            return exp(sub(v, m));
        });
        result = add(log(sum), m);
    } else {
        bool squares = kind == L2 || kind == SUM_SQUARE;
        result = row_sum<W, Sum, true>(team, row.n, [&](u32 j) {
            W v;
            load(x, type, offset(row, j), v);
            return squares ? mul(v, v) : kind == L1 ? magnitude(v) : v;
        });
        W count;
        count_of(row.n, count);
        if (kind == MEAN) result = div(result, count);
        if (kind == L2) result = root(result);
        if (kind == LOG_SUM) result = log(result);
    }
    if (team.leads) store(y, type, index, result);
}

template <typename W>
DEVICE void softmax(void *y, const void *x, u32 type, u32 logarithm, const Team &team, const Row &row) {
    W m = row_maximum<W>(team, row.n, x, type, row);
    W sum = row_sum<W, Sum, false>(team, row.n, [&](u32 j) {
        W v;
        load(x, type, offset(row, j), v);
        return softmax_exp(sub(v, m));
    });
    sum = logarithm ? log(sum) : div((W)1, sum);
    for (u32 j = team.warp * 32 + team.lane; j < row.n; j += 32 * team.warps) {
        W v;
        u64 at = offset(row, j);
        load(x, type, at, v);
        v = sub(v, m);
        store(y, type, at, logarithm ? sub(v, sum) : mul(softmax_exp(v), sum));
    }
}

// Where the factor or summand of an element is: at (element / by) mod of.
struct Channel {
    const void *values;
    u32 type, by, of;
};
template <typename W> DEVICE W channel(const Channel &c, u32 at) {
    W v;
    load(c.values, c.type, at / c.by % c.of, v);
    return v;
}

// Rows that follow each other. Mean: ((x - mean) * inv) * scale + bias; without (`by_root`): (x / root) * scale.
template <typename W>
DEVICE void normalize(void *y, const void *x, float *means, float *invs, u32 type, u32 n, W epsilon, u32 by_root,
                      Channel scale, Channel bias, u32 index, const Team &team) {
    u32 base = index * n;
    W count;
    count_of(n, count);
    auto element = [&](u32 j) {
        W v;
        load(x, type, base + j, v);
        return v;
    };
    W mean = 0;
    if (!by_root) mean = div(row_sum<W, Sum, true>(team, n, element), count);
    W squares = row_sum<W, Sum, true>(team, n, [&](u32 j) {
        W v = element(j);
        if (!by_root) v = sub(v, mean);
        return mul(v, v);
    });
    W deviation = root(add(div(squares, count), epsilon));
    W inv = by_root ? deviation : div((W)1, deviation);
    for (u32 j = team.warp * 32 + team.lane; j < n; j += 32 * team.warps) {
        W v = element(j);
        v = by_root ? div(v, inv) : mul(sub(v, mean), inv);
        if (scale.of) v = mul(v, channel<W>(scale, base + j));
        if (bias.of) v = add(v, channel<W>(bias, base + j));
        store(y, type, base + j, v);
    }
    if (team.leads && means) store(means, F32, index, as_float(mean));
    if (team.leads && invs) store(invs, F32, index, as_float(inv));
}
