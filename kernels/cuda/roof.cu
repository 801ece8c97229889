// What a device can do at most: fused multiply-adds that wait for nothing but the eight before them. For measurements.

#include "prelude.cuh"

// Eight chains a thread; the sum of their ends keeps them all.
KERNEL __launch_bounds__(256) roof_fma(float *out, float factor, float term, u32 rounds) {
    float chains[8];
    u32 thread = block_x() * block_width() + thread_x();
#pragma unroll
    for (u32 k = 0; k < 8; k++) chains[k] = (float)(thread % 64 + k);
#pragma unroll 1
    for (u32 round = 0; round < rounds; round++) {
#pragma unroll
        for (u32 step = 0; step < 16; step++) {
#pragma unroll
            for (u32 k = 0; k < 8; k++) chains[k] = __fmaf_rn(chains[k], factor, term);
        }
    }
    float sum = chains[0];
#pragma unroll
    for (u32 k = 1; k < 8; k++) sum = __fadd_rn(sum, chains[k]);
    out[thread] = sum;
}
