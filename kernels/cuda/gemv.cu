// targets: 75
// Rows times a matrix, few rows: weights are read once, coalesced, a thread for each column.
#include "contract.cuh"

// y[row][column] = contraction over k of a[row][k] and b[k][column], b row-major; grid (ceil(n / 128), m). k < 2^24.
KERNEL __launch_bounds__(128) gemv_f32(const float* a, const float* b, float* y, u32 n, u32 k) {
    u32 column = block_x() * 128 + thread_x();
    u32 row = block_y();
    if (column >= n) return;
    const float* weights = b + column;
    const float* factors = a + (u64)row * k;
    Tree<16> tree{};
    u32 chunks = 0;
    for (u32 begin = 0; begin < k; begin += CHUNK, chunks++) {
        u32 end = begin + CHUNK < k ? begin + CHUNK : k;
        float sum = 0.0f;
#pragma unroll 4
        for (u32 p = begin; p < end; p++, weights += n) sum = __fmaf_rn(factors[p], *weights, sum);
        tree.push(__fadd_rn(sum, 0.0f), chunks);
    }
    y[(u64)row * n + column] = canonical(tree.result(chunks));
}
