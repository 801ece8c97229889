// targets: 75
// Products of matrices, in batches: `product` of gemm.cuh in tiles of several sizes, and the tree over its parts.
#include "gemm.cuh"

// kinds: a's kind | b's << 4 | a's type << 8 | b's << 12 | a is wide << 16 | b is wide << 17.
#define GEMM(NAME, GM, GN, WM, WN, ANY)                                                                                   \
    KERNEL __launch_bounds__(32 * WM * WN, ANY ? 1 : 2)                                                                   \
        NAME(const u8* a, const u8* b, u8* out, const u8* c, float* pending, u32 m, u32 n, u32 k, u32 kinds, u64 a_stride,  \
             u64 b_stride, u32 tiles_m, u32 tiles_n, u32 tiles, u32 run, u32 splits, u32 levels, u32 extent1, u32 extent2,  \
             u64 a0, u64 a1, u64 a2, u64 b0, u64 b1, u64 b2, float alpha, float beta, u32 flags, u64 c_row, u64 c_column) { \
        Product g;                                                                                                        \
        g.a = {a, a_stride, kinds & 15, kinds >> 8 & 15, m, k, (kinds >> 16 & 1) != 0};                                    \
        g.b = {b, b_stride, kinds >> 4 & 15, kinds >> 12 & 15, n, k, (kinds >> 17 & 1) != 0};                              \
        g.out = out, g.pending = pending;                                                                                 \
        g.finish = {c, c_row, c_column, alpha, beta, flags, ANY ? kinds >> 8 & 15 : F32};                                  \
        g.m = m, g.n = n, g.k = k, g.tiles_m = tiles_m, g.tiles_n = tiles_n, g.tiles = tiles;                              \
        g.run = run, g.splits = splits, g.levels = levels, g.extent1 = extent1, g.extent2 = extent2;                       \
        g.a0 = a0, g.a1 = a1, g.a2 = a2, g.b0 = b0, g.b1 = b1, g.b2 = b2;                                                  \
        product<GM, GN, WM, WN, ANY>(g);                                                                                  \
    }

GEMM(gemm_f32_128x128, 2, 2, 4, 2, false)
GEMM(gemm_f32_64x64, 2, 1, 2, 2, false)
GEMM(gemm_f32_16x128, 1, 1, 1, 4, false)
GEMM(gemm_any_128x128, 2, 2, 4, 2, true)
GEMM(gemm_any_64x64, 2, 1, 2, 2, true)
GEMM(gemm_any_16x128, 1, 1, 1, 4, true)

// y = the tree over `parts` results of subtrees of equal size (the last perhaps smaller), then what comes after.
// part: [parts][count] f32, count = batches * m * n. Grid-stride over count.
KERNEL __launch_bounds__(256) combine(const float* part, u8* out, const u8* c, u64 count, u32 parts, u32 m, u32 n, u32 type, float alpha,
                                      float beta, u32 flags, u64 c_row, u64 c_column) {
    Finish finish = {c, c_row, c_column, alpha, beta, flags, type};
    for (u64 i = (u64)block_x() * 256 + thread_x(); i < count; i += (u64)grid_x() * 256) {
        Tree<8, true> tree{};
#pragma unroll 1
        for (u32 at = 0; at < parts; at++) tree.push(part[at * count + i], at);
        float sum = tree.result(parts);
        if (flags) sum = finish.apply(sum, i / n % m, i % n);
        store(type, out, i, sum);
    }
}
