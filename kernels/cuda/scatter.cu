// Scatters that combine: the updates of an element are applied one after another in their order.
//
// Updates are counted by the element that they name, which gives each element a run of places; threads put the numbers of their
// updates there in whatever order they come; then one thread for each element sorts its run and applies it. Integer
// atomics alone, and nothing depends on their order.

#include "indices.cuh"

// The element that update i names, and whether it names one: by a tuple of indices (`tuple` > 0; slices of `inner` elements), or by an
// index along one axis.
#define TARGETS                                                                                                        \
    const void *indices, u32 *flag, u32 n, u32 type, u32 inner, EXTENTS_OF_DATA, u32 extent,                           \
        u32 along, EXTENTS, STRIDES(b), STRIDES(a)
#define ONE(k)                                                                                                         \
    if (named && tuple > k) {                                                                                          \
        u32 at = 0;                                                                                                    \
        named = place(indices, (u64)t * tuple + k, type, d##k, flag, at);                                              \
        slice = slice * d##k + at;                                                                                     \
    }
#define FIND_TARGET                                                                                                    \
    bool named = true;                                                                                                 \
    u64 target = 0;                                                                                                    \
    if (tuple) {                                                                                                       \
        u32 t = (u32)i / inner, within = (u32)i - t * inner, slice = 0;                                                \
        ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5)                                                                      \
        target = (u64)slice * inner + within;                                                                          \
    } else {                                                                                                           \
        TWO_OFFSETS                                                                                                    \
        u32 at = 0;                                                                                                    \
        named = place(indices, ib, type, extent, flag, at);                                                            \
        target = ia + (u64)at * along;                                                                                 \
    }

KERNEL count_updates(u32 *counts, TARGETS) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        FIND_TARGET
        if (named) asm volatile("red.add.u32 [%0], 1;" : : "l"(counts + target) : "memory");
    }
}

// starts[e] = the sum of the counts before e; and once more in `ends`, which placing counts up. One block: each thread has a run of
// elements, whose sums are scanned.
KERNEL __launch_bounds__(256) scan_counts(u32 *starts, u32 *ends, const u32 *counts, u32 n) {
    __shared__ u32 sums[256];
    u32 t = thread_x(), each = n / 256 + 1;
    u64 from = (u64)t * each, to = from + each < n ? from + each : n;
    u32 own = 0;
    for (u64 e = from; e < to; e++) own += counts[e];
    sums[t] = own;
    __syncthreads();
    for (u32 by = 1; by < 256; by *= 2) {
        u32 before = t >= by ? sums[t - by] : 0;
        __syncthreads();
        sums[t] += before;
        __syncthreads();
    }
    u32 start = sums[t] - own;
    for (u64 e = from; e < to; e++) {
        starts[e] = start;
        ends[e] = start;
        start += counts[e];
    }
}

KERNEL place_updates(u32 *ends, u32 *runs, TARGETS) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        FIND_TARGET
        if (!named) continue;
        u32 at;
        asm volatile("atom.add.u32 %0, [%1], 1;" : "=r"(at) : "l"(ends + target) : "memory");
        runs[at] = (u32)i;
    }
}

// A run in ascending order, by a heap: the greatest of what is left goes to its end.
DEVICE void sink(u32 *run, u32 at, u32 count) {
    u32 value = run[at];
    for (;;) {
        u32 child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && run[child + 1] > run[child]) child++;
        if (run[child] <= value) break;
        run[at] = run[child];
        at = child;
    }
    run[at] = value;
}
DEVICE void sort(u32 *run, u32 count) {
    for (u32 at = count / 2; at > 0; at--) sink(run, at - 1, count);
    for (u32 left = count; left > 1; left--) {
        u32 greatest = run[0];
        run[0] = run[left - 1];
        run[left - 1] = greatest;
        sink(run, 0, left - 1);
    }
}

enum { ADD, MULTIPLY, MAXIMUM, MINIMUM };
template <typename W> DEVICE W joined(u32 kind, W a, W b) {
    switch (kind) {
    case ADD: return add(a, b);
    case MULTIPLY: return mul(a, b);
    case MAXIMUM: return larger(a, b);
    default: return smaller(a, b);
    }
}

#define APPLIES void *y, const void *updates, const u32 *starts, const u32 *counts, u32 *runs, u32 n, u32 type, u32 kind

// Each step is rounded to the type.
template <typename W> DEVICE void apply(APPLIES) {
    u64 step = STEP;
    for (u64 e = FIRST; e < n; e += step) {
        u32 *run = runs + starts[e], count = counts[e];
        sort(run, count);
        for (u32 k = 0; k < count; k++) {
            W a, b;
            load(y, type, e, a);
            load(updates, type, run[k], b);
            store(y, type, e, joined(kind, a, b));
        }
    }
}
KERNEL apply_float(APPLIES) { apply<float>(y, updates, starts, counts, runs, n, type, kind); }
KERNEL apply_f64(APPLIES) { apply<double>(y, updates, starts, counts, runs, n, type, kind); }
// Integers wrap.
KERNEL apply_int(APPLIES) {
    u64 step = STEP;
    for (u64 e = FIRST; e < n; e += step) {
        u32 *run = runs + starts[e], count = counts[e];
        sort(run, count);
        i64 a = load_int(y, type, e);
        for (u32 k = 0; k < count; k++) {
            i64 b = load_int(updates, type, run[k]);
            bool below = type == U64 ? (u64)a < (u64)b : a < b;
            switch (kind) {
            case ADD: a = (i64)((u64)a + (u64)b); break;
            case MULTIPLY: a = (i64)((u64)a * (u64)b); break;
            case MAXIMUM: a = below ? b : a; break;
            default: a = below ? a : b;
            }
            // As wide as the type, so that the next comparison is of what is stored.
            store_int(y, type, e, a);
            a = load_int(y, type, e);
        }
    }
}
