// Elements named by index tensors: scatters, slices, places that are on, and the first k of a row.
//
// Where several updates name one element the last one stays: the greatest number of an update wins it by an atomic maximum
// of integers, and writes it afterwards.

#include "indices.cuh"

DEVICE void claim(u32 *winner, u32 number) {
    asm volatile("red.max.u32 [%0], %1;" : : "l"(winner), "r"(number) : "memory");
}
DEVICE void put(void *y, u64 iy, const void *x, u64 ix, u32 size) {
    switch (size) {
    case 1: ((u8 *)y)[iy] = ((const u8 *)x)[ix]; break;
    case 2: ((u16 *)y)[iy] = ((const u16 *)x)[ix]; break;
    case 4: ((u32 *)y)[iy] = ((const u32 *)x)[ix]; break;
    default: ((u64 *)y)[iy] = ((const u64 *)x)[ix];
    }
}

// The slice that a tuple of up to six indices names.
DEVICE bool slice_of(const void *indices, u32 type, u32 *flag, u32 t, EXTENTS_OF_DATA, u32 &slice) {
    slice = 0;
    u32 at = 0;
#define ONE(k)                                                                                                         \
    if (tuple > k) {                                                                                                   \
        if (!place(indices, (u64)t * tuple + k, type, d##k, flag, at)) return false;                                   \
        slice = slice * d##k + at;                                                                                     \
    }
    ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5)
    return true;
}

// ScatterND, first: each of the n tuples claims its slice; winners begin at 0.
KERNEL claim_slices(u32 *winners, const void *indices, u32 *flag, u32 n, u32 type, EXTENTS_OF_DATA) {
    u64 step = STEP;
    for (u64 t = FIRST; t < n; t += step) {
        u32 slice;
        if (slice_of(indices, type, flag, (u32)t, tuple, d0, d1, d2, d3, d4, d5, slice)) claim(winners + slice, (u32)t + 1);
    }
}
// Then: element i of the updates goes to its slice if that slice is its tuple's.
KERNEL scatter_slices(void *y, const void *updates, const u32 *winners, const void *indices, u32 *flag, u32 n, u32 size, u32 inner,
                      u32 type, EXTENTS_OF_DATA) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 t = (u32)i / inner, within = (u32)i - t * inner;
        u32 slice;
        if (!slice_of(indices, type, flag, t, tuple, d0, d1, d2, d3, d4, d5, slice)) continue;
        if (winners[slice] == t + 1) put(y, (u64)slice * inner + within, updates, i, size);
    }
}

// GatherND: element i of y is of the slice that its tuple names, in the tuple's own part of `slices` slices; `per` tuples are of
// one part.
KERNEL gather_slices(void *y, const void *x, const void *indices, u32 *flag, u32 n, u32 size, u32 inner, u32 per, u32 slices, u32 type,
                     EXTENTS_OF_DATA) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 t = (u32)i / inner, within = (u32)i - t * inner;
        u32 slice;
        if (!slice_of(indices, type, flag, t, tuple, d0, d1, d2, d3, d4, d5, slice)) continue;
        put(y, i, x, ((u64)(t / per) * slices + slice) * inner + within, size);
    }
}

// ScatterElements: STRIDES are those of y along the axes of the indices, 0 for the axis whose own stride is `along`.
KERNEL claim_elements(u32 *winners, const void *indices, u32 *flag, u32 n, u32 type, u32 extent, u32 along, EXTENTS, STRIDES(b),
                      STRIDES(a)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        u32 at;
        if (place(indices, ib, type, extent, flag, at)) claim(winners + ia + (u64)at * along, (u32)i + 1);
    }
}
KERNEL scatter_elements(void *y, const void *updates, const u32 *winners, const void *indices, u32 *flag, u32 n, u32 size, u32 type,
                        u32 extent, u32 along, EXTENTS, STRIDES(b), STRIDES(a)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        u32 at;
        if (!place(indices, ib, type, extent, flag, at)) continue;
        u64 to = ia + (u64)at * along;
        if (winners[to] == (u32)i + 1) put(y, to, updates, ib, size);
    }
}

KERNEL zero_words(u32 *y, u32 n) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) y[i] = 0;
}

// The order of an element among 32-bit numbers: NaN above all, both zeros equal.
DEVICE u32 rank_of(const void *x, u32 type, u64 at) {
    if (type == F32 || type == F16 || type == BF16) {
        float v;
        load(x, type, at, v);
        if (is_nan(v)) return 0xffffffffu;
        u32 b = v == 0 ? 0 : bits(v);
        return b >> 31 ? ~b : b | 0x80000000u;
    }
    return (u32)load_int(x, type, at) ^ (is_signed(type) ? 0x80000000u : 0u);
}

// TopK: an element's place is how many elements of its row come before it, which is the same in any order of counting.
// x is [outer][length][inner], y and places [outer][k][inner]; the first `wanted` bits say which of the two are wanted.
#define TOP_K(NAME, RANK, RANK_OF)                                                                                     \
    KERNEL NAME(void *y, i64 *places, const void *x, u32 n, u32 size, u32 type, u32 length, u32 inner, u32 k, u32 largest,  \
                u32 wanted) {                                                                                          \
        u64 step = STEP;                                                                                               \
        for (u64 i = FIRST; i < n; i += step) {                                                                        \
            u32 line = (u32)i / inner, within = (u32)i - line * inner;                                                 \
            u32 outer = line / length, own = line - outer * length;                                                    \
            u64 base = (u64)outer * length * inner + within;                                                           \
            RANK rank = RANK_OF(x, type, i);                                                                           \
            u32 before = 0;                                                                                            \
            for (u32 j = 0; j < length; j++) {                                                                         \
                RANK other = RANK_OF(x, type, base + (u64)j * inner);                                                  \
                bool precedes = largest ? other > rank : other < rank;                                                 \
                before += precedes || (other == rank && j < own);                                                      \
            }                                                                                                          \
            if (before < k) {                                                                                          \
                u64 to = ((u64)outer * k + before) * inner + within;                                                   \
                if (wanted & 1) put(y, to, x, i, size);                                                                \
                if (wanted & 2) places[to] = own;                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

TOP_K(top_k, u32, rank_of)
TOP_K(top_k_long, u64, rank_of_long)

// OneHot: y is [outer][depth][inner], indices [outer][inner]; values are off and on. What is out of range is nowhere on.
KERNEL one_hot(void *y, const i64 *indices, const void *values, u32 n, u32 size, u32 depth, u32 inner, u32 is_unsigned) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 line = (u32)i / inner, within = (u32)i - line * inner;
        u32 outer = line / depth, at = line - outer * depth;
        i64 index = indices[(u64)outer * inner + within];
        if (index < 0 && !is_unsigned) index += depth;
        put(y, i, values, index == (i64)at ? 1 : 0, size);
    }
}
