// targets: 75
// The two products of attention, in the order of contractions: raw scores of queries and keys, and sums of values by
// weights. Between them attention_weights.cu makes weights of scores. Keys and values lie in rows of positions, or in pages
// of 256 such rows. Rows of few queries (the heads that share a key) go through tiles of 16 rows, whose terms are split over
// blocks by chunks as those of any product. Where `live` is given, a row is the last of as many positions as stand there, and the
// grid has tiles and splits for any number up to one that the host knows.
#include "gemm.cuh"

#define ATTENTION(NAME, GM, GN, WM, WN, MODE, A_KIND, B_KIND)                                                             \
    KERNEL __launch_bounds__(32 * WM * WN) NAME(                                                                          \
        const u8* a, const u8* b, u8* out, float* pending, const u32* pages, u32 m, u32 n, u32 k, u32 wide, u64 a_stride,   \
        u64 b_stride, u32 tiles_m, u32 tiles_n, u32 tiles, u32 run, u32 splits, u32 levels, u32 extent1, u32 extent2,      \
        u64 a1, u64 a2, u64 b1, u64 b2, u64 out_row, u64 out1, u64 out2, u32 position, u32 step, u32 window,               \
        const u32* live) {                                                                                                 \
        if (live) {                                                                                                       \
            position = *live - 1;                                                                                         \
            if (MODE == SCORES) n = *live;                                                                                \
            else k = *live;                                                                                               \
        }                                                                                                                 \
        Product g;                                                                                                        \
        g.a = {a, a_stride, A_KIND, F32, m, k, (wide & 1) != 0};                                                          \
        g.b = {b, b_stride, B_KIND, F32, n, k, (wide & 2) != 0, pages};                                                   \
        g.out = out, g.pending = pending;                                                                                 \
        g.finish = {nullptr, 0, 0, 1.0f, 1.0f, 0, F32};                                                                   \
        g.m = m, g.n = n, g.k = k, g.tiles_m = tiles_m, g.tiles_n = tiles_n, g.tiles = tiles;                              \
        g.run = run, g.splits = splits, g.levels = levels, g.extent1 = extent1, g.extent2 = extent2;                       \
        g.a0 = 0, g.a1 = a1, g.a2 = a2, g.b0 = 0, g.b1 = b1, g.b2 = b2;                                                    \
        g.out_row = out_row, g.out1 = out1, g.out2 = out2;                                                                \
        g.position = position, g.step = step, g.window = window;                                                         \
        product<GM, GN, WM, WN, false, MODE>(g);                                                                          \
    }

ATTENTION(scores_128x128, 2, 2, 4, 2, SCORES, TERMS, TERMS)
ATTENTION(scores_16x128, 1, 1, 1, 4, SCORES, TERMS, TERMS)
ATTENTION(values_128x64, 2, 1, 4, 2, VALUES, TERMS, OUTERS)
ATTENTION(values_16x64, 1, 1, 1, 2, VALUES, TERMS, OUTERS)
