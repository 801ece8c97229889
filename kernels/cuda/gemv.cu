// targets: 75
// Few rows times a matrix: y = a x b for 1 to 8 rows, as decoding has it. Weights are read once.
//
// A thread owns one column and up to 8 rows; a warp owns 32 neighbouring columns, so that each of its loads takes whole
// sectors of 32 bytes or more. The warps of a block cut the terms into runs of a power of two of chunks; a run is a
// complete subtree (the last perhaps smaller), and so the block adds the runs by the same tree in shared memory. 32 terms
// are in flight for each thread before the first is used: 16 warps of 2-byte weights keep 32 KiB a multiprocessor on the way.
// Rows of `a` are f32, each aligned to 16 bytes (`rows` makes them so); they are the same address in the whole warp and come
// from the first-level cache.
#include "blocks.cuh"
#include "contract.cuh"
#include "element.cuh"

// Weights in floats. `at`: the column's first element; the next term is `step` elements further.
template <u32 TYPE> struct Strided {
    static constexpr bool WHOLE = false;  // whether terms come by whole steps
    const u8* at;
    u64 step;
    float v[32];

    template <int N> DEVICE_METHOD void load_terms(u32 p) {
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = load(TYPE, at, (p + i) * step);
    }
    DEVICE_METHOD float one(u32 p) const { return load(TYPE, at, p * step); }
};

// Terms of a column lie together.
template <u32 TYPE> struct Contiguous {
    static constexpr bool WHOLE = false;
    const u8* at;
    bool wide;
    float v[32];

    template <int N> DEVICE_METHOD void load_terms(u32 p) {
        const u8* from = at + ((u64)p << shift_of(TYPE));
        if (wide) {
#pragma unroll
            for (int i = 0; i < N; i += 4) {
                float4 x = load4(TYPE, from + (i << shift_of(TYPE)));
                v[i] = x.x, v[i + 1] = x.y, v[i + 2] = x.z, v[i + 3] = x.w;
            }
        } else {
#pragma unroll
            for (int i = 0; i < N; i++) v[i] = load(TYPE, from, i);
        }
    }
    DEVICE_METHOD float one(u32 p) const { return load(TYPE, at, p); }
};

// Weights in blocks. K is a multiple of 32, and 32 positions lie in one block.
template <u32 FORMAT> struct Blocks {
    static constexpr bool WHOLE = true;
    const u8* panel;
    u32 column;
    float v[32];

    template <int N> DEVICE_METHOD void load_terms(u32 p) {
        constexpr u32 POSITIONS = block_positions(FORMAT), BYTES = block_bytes(FORMAT);
        constexpr u32 START = FORMAT == Q4_0 ? 32 : FORMAT == Q4_1 ? 64 : FORMAT == Q4_K ? 320 : 288;
        const u8* block = panel + (u64)(p / POSITIONS) * BYTES;
        u32 position = p % POSITIONS;
        u8 raw[N], high[N / 4];
        if (FORMAT == Q8_0) {
#pragma unroll
            for (int i = 0; i < N; i++) raw[i] = block[32 + (position + i) * 16 + column];
        } else {
#pragma unroll
            for (int i = 0; i < N / 2; i++) raw[i] = block[START + (position / 2 + i) * 16 + column];
        }
        if (FORMAT == Q6_K) {
#pragma unroll
            for (int i = 0; i < N / 4; i++) high[i] = block[2336 + (position / 4 + i) * 16 + column];
        }
        Scale scale[N / 16];
#pragma unroll
        for (int i = 0; i < N / 16; i++)
            scale[i] = FORMAT == Q6_K || i == 0 ? scale_of(FORMAT, block, position + 16 * i, column) : scale[0];
#pragma unroll
        for (int i = 0; i < N; i++) {
            i32 q;
            if (FORMAT == Q8_0) q = (i8)raw[i];
            else {
                q = raw[i / 2] >> (i % 2 * 4) & 15;
                if (FORMAT == Q4_0) q -= 8;
                if (FORMAT == Q6_K) q = (i32)((high[i / 4] >> (i % 4 * 2) & 3) << 4 | q) - 32;
            }
            v[i] = element_of(FORMAT, scale[i / 16], q);
        }
    }
};

// Grid: ceil(n / 32); block: 32 threads for each run of `run` chunks, at most 32 runs, 16 for 8 rows. `a`: element (row, p) at
// row * a_stride + p, a_stride a multiple of 4.
template <int ROWS, class Weights>
DEVICE void product(Weights& weights, const float* a, u64 a_stride, u8* out, u32 m, u32 n, u32 k, u32 run,
                    const Finish& finish) {
    constexpr int AHEAD = ROWS > 4 ? 16 : 32;
    __shared__ float parts[32 * ROWS * 32];
    u32 lane = thread_x() % 32, warp = thread_x() / 32, warps = block_width() / 32;
    const float* rows[ROWS];
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) rows[r] = a + (r < m ? r : m - 1) * a_stride;

    Tree<4, true> tree[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) tree[r] = {};
    u32 begin = warp * run * CHUNK, done = 0;
    for (; done < run && begin < k; done++, begin += CHUNK) {
        u32 end = begin + CHUNK < k ? begin + CHUNK : k;
        float sums[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) sums[r] = 0.0f;
        u32 p = begin;
#pragma unroll 1
        for (; p + AHEAD <= end; p += AHEAD) {
            weights.template load_terms<AHEAD>(p);
#pragma unroll
            for (int i = 0; i < AHEAD; i += 4) {
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    float4 x = *(const float4*)(rows[r] + p + i);
                    sums[r] = __fmaf_rn(x.x, weights.v[i], sums[r]);
                    sums[r] = __fmaf_rn(x.y, weights.v[i + 1], sums[r]);
                    sums[r] = __fmaf_rn(x.z, weights.v[i + 2], sums[r]);
                    sums[r] = __fmaf_rn(x.w, weights.v[i + 3], sums[r]);
                }
            }
        }
        if constexpr (!Weights::WHOLE) {
#pragma unroll 1
            for (; p < end; p++) {
                float weight = weights.one(p);
#pragma unroll
                for (int r = 0; r < ROWS; r++) sums[r] = __fmaf_rn(rows[r][p], weight, sums[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) tree[r].push(__fadd_rn(sums[r], 0.0f), done);
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) parts[(warp * ROWS + r) * 32 + lane] = tree[r].result(done);
    __syncthreads();
    for (u32 at = thread_x(); at < ROWS * 32; at += block_width()) {
        u32 row = at / 32, column = block_x() * 32 + at % 32;
        Tree<(ROWS > 4 ? 5 : 6), true> all{};
#pragma unroll 1
        for (u32 w = 0; w < warps; w++) all.push(parts[w * ROWS * 32 + at], w);
        if (row < m && column < n) {
            float y = all.result(warps);
            if (finish.flags) y = finish.apply(y, row, column);
            store(finish.type, out, (u64)row * n + column, y);
        }
    }
}

DEVICE u32 own_column(u32 n) {
    u32 column = block_x() * 32 + thread_x() % 32;
    return column < n ? column : n - 1;
}

// panels: b is in panels of 16 columns; otherwise row-major, `b_stride` elements a row. type: the result's and c's.
#define STRIDED(NAME, TYPE, ROWS)                                                                                         \
    KERNEL __launch_bounds__(ROWS > 4 ? 512 : 1024) NAME(const float* a, const u8* b, u8* out, const u8* c, u64 a_stride, u64 b_stride, u32 panels, \
                                        u32 type, u32 m, u32 n, u32 k, u32 run, float alpha, float beta, u32 flags, u64 c_row,  \
                                        u64 c_column) {                                                                    \
        u32 column = own_column(n);                                                                                       \
        u64 first = panels ? (u64)(column / 16) * k * 16 + column % 16 : column;                                           \
        Strided<TYPE> weights{b + (first << shift_of(TYPE)), panels ? 16 : b_stride, {}};                                  \
        product<ROWS>(weights, a, a_stride, out, m, n, k, run, {c, c_row, c_column, alpha, beta, flags, type});             \
    }
// Column `j` of b has its terms together, at j * b_stride; b_wide: columns are aligned to four elements.
#define CONTIGUOUS(NAME, TYPE, ROWS)                                                                                      \
    KERNEL __launch_bounds__(ROWS > 4 ? 512 : 1024) NAME(const float* a, const u8* b, u8* out, const u8* c, u64 a_stride, u64 b_stride, u32 b_wide, \
                                        u32 type, u32 m, u32 n, u32 k, u32 run, float alpha, float beta, u32 flags, u64 c_row,  \
                                        u64 c_column) {                                                                    \
        Contiguous<TYPE> weights{b + (own_column(n) * b_stride << shift_of(TYPE)), b_wide != 0, {}};                        \
        product<ROWS>(weights, a, a_stride, out, m, n, k, run, {c, c_row, c_column, alpha, beta, flags, type});             \
    }
#define BLOCKS(NAME, FORMAT, ROWS)                                                                                        \
    KERNEL __launch_bounds__(ROWS > 4 ? 512 : 1024) NAME(const float* a, const u8* b, u8* out, u64 a_stride, u32 m, u32 n, u32 k, u32 run) {   \
        u32 column = own_column(n);                                                                                       \
        const u8* panel = b + (u64)(column / 16) * (k / block_positions(FORMAT)) * block_bytes(FORMAT);                    \
        Blocks<FORMAT> weights{panel, column % 16, {}};                                                                    \
        product<ROWS>(weights, a, a_stride, out, m, n, k, run, {nullptr, 0, 0, 1.0f, 1.0f, 0, F32});                         \
    }
#define EACH(MACRO, NAME, WHAT) MACRO(NAME##_1, WHAT, 1) MACRO(NAME##_4, WHAT, 4) MACRO(NAME##_8, WHAT, 8)

EACH(STRIDED, gemv_f32, F32)
EACH(STRIDED, gemv_f16, F16)
EACH(STRIDED, gemv_bf16, BF16)
EACH(CONTIGUOUS, gemv_f32_t, F32)
EACH(CONTIGUOUS, gemv_f16_t, F16)
EACH(CONTIGUOUS, gemv_bf16_t, BF16)
EACH(BLOCKS, gemv_q8_0, Q8_0)
EACH(BLOCKS, gemv_q4_0, Q4_0)
EACH(BLOCKS, gemv_q4_1, Q4_1)
EACH(BLOCKS, gemv_q4_k, Q4_K)
EACH(BLOCKS, gemv_q6_k, Q6_K)

// Rows of any type and alignment as f32, `stride` elements a row, a multiple of 4. Grid: (ceil(k / 256), m).
KERNEL __launch_bounds__(256) rows(const u8* a, float* out, u32 type, u32 k, u64 stride) {
    u32 p = block_x() * 256 + thread_x();
    if (p < k) out[block_y() * stride + p] = load(type, a, (u64)block_y() * k + p);
}
