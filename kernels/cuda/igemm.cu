// targets: 75 80
// Products of bytes, exact modulo 2^32: MatMulInteger, and QLinearMatMul with its requantization.
//
// Unsigned bytes are made signed by flipping their highest bit, which is subtracting 128; zero points follow. With sums
// over terms s = a b, ra = a of a row, cb = b of a column, the result is s - za cb - zb ra + K za zb, all modulo 2^32, so any
// order and any unit gives it: mma.sync of signed bytes for tiles (8 x 8 x 16; from compute_80 on 16 x 8 x 32, which newer
// tensor cores take at their full rate), dp4a for few rows. Bytes past K are zeros
// of both (flipped) operands and count in no sum.
//
// A tile stages 64 terms of its rows and columns in shared memory, terms together, in rows of 16 words whose groups of four
// are permuted by the row: reading fragments (eight rows by four words) then meets each bank once. b is row-major, so 4 x 4
// bytes are transposed on the way.
#include "bytes.cuh"
#include "requantize.cuh"

constexpr u32 BK = 64;

struct Integers {
    const u8 *a, *b;
    u32 m, n, k;
    u32 a_flip, b_flip;  // 0x80808080 for unsigned
    bool a_wide, b_wide; // rows aligned to 16 bytes; to 4
};

#if __CUDA_ARCH__ >= 800
// Sixteen rows: `d` has the first eight, `e` the others; `a` and `a8` likewise, of 16 terms and (`_high`) 16 more.
DEVICE void mma(i32 (&d)[2], i32 (&e)[2], u32 a, u32 a8, u32 a_high, u32 a8_high, u32 b, u32 b_high) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(e[0]), "+r"(e[1])
        : "r"(a), "r"(a8), "r"(a_high), "r"(a8_high), "r"(b), "r"(b_high));
}
#else
DEVICE void mma(i32 (&d)[2], u32 a, u32 b) {
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(d[0]), "+r"(d[1])
        : "r"(a), "r"(b));
}
#endif
// The word of a row of staged terms.
DEVICE u32 place(u32 row, u32 word) { return row * 16 + (((word >> 2) ^ (row >> 1 & 3)) << 2 | (word & 3)); }

// WM x WN warps, each 8 MI x 8 NJ of the tile. Grid: (tiles of columns, tiles of rows, batch); batch strides are added by
// the caller.
template <int MI, int NJ, int WM, int WN, class Store> DEVICE void tile(const Integers& g, const Zeros& zeros, Store store) {
    constexpr u32 BM = 8 * MI * WM, BN = 8 * NJ * WN, THREADS = 32 * WM * WN;
    constexpr u32 A_EACH = BM * 4 / THREADS, B_EACH = BN / 4 * 8 / THREADS;
    alignas(16) __shared__ u32 a_shared[2][BM * 16];
    alignas(16) __shared__ u32 b_shared[2][BN * 16];
    __shared__ i32 row_sums[BM * 4];
    __shared__ i32 column_sums[BN * 8];
    u32 thread = thread_x(), lane = thread % 32, warp = thread / 32;
    u32 row_origin = block_y() * BM, column_origin = block_x() * BN;
    u32 row0 = warp % WM * (8 * MI), column0 = warp / WM * (8 * NJ);

    u32 a_words[A_EACH][4], b_words[B_EACH][8];
    i32 a_sums[A_EACH], b_sums[B_EACH][4];
#pragma unroll
    for (u32 i = 0; i < A_EACH; i++) a_sums[i] = 0;
#pragma unroll
    for (u32 i = 0; i < B_EACH; i++) b_sums[i][0] = b_sums[i][1] = b_sums[i][2] = b_sums[i][3] = 0;
    i32 sums[MI][NJ][2];
#pragma unroll
    for (int i = 0; i < MI; i++)
#pragma unroll
        for (int j = 0; j < NJ; j++) sums[i][j][0] = sums[i][j][1] = 0;

    u32 steps = (g.k + BK - 1) / BK;
    for (u32 loaded = 0; steps > 0 && loaded <= steps; loaded++) {
        bool more = loaded < steps;
        if (more) {
#pragma unroll
            for (u32 i = 0; i < A_EACH; i++) {
                u32 u = thread + i * THREADS, row = row_origin + u / 4, p = loaded * BK + u % 4 * 16;
                const u8* from = g.a + (u64)(row < g.m ? row : g.m - 1) * g.k;
                if (g.a_wide && p + 16 <= g.k) {
                    uint4 w = *(const uint4*)(from + p);
                    a_words[i][0] = w.x ^ g.a_flip, a_words[i][1] = w.y ^ g.a_flip;
                    a_words[i][2] = w.z ^ g.a_flip, a_words[i][3] = w.w ^ g.a_flip;
                } else {
#pragma unroll
                    for (u32 j = 0; j < 4; j++) a_words[i][j] = four(from, p + 4 * j, g.k, g.a_flip, false);
                }
            }
#pragma unroll
            for (u32 i = 0; i < B_EACH; i++) {
                u32 u = thread + i * THREADS, column = column_origin + u % (BN / 4) * 4, p = loaded * BK + u / (BN / 4) * 8;
#pragma unroll
                for (u32 j = 0; j < 8; j++)
                    b_words[i][j] = p + j < g.k ? four(g.b + (u64)(p + j) * g.n, column, g.n, g.b_flip, g.b_wide) : 0;
            }
        }
        if (loaded > 0) {
            const u32 *a_now = a_shared[(loaded - 1) % 2], *b_now = b_shared[(loaded - 1) % 2];
            auto a_word = [&](u32 i, u32 group) { return a_now[place(row0 + 8 * i + lane / 4, 4 * group + lane % 4)]; };
            auto b_word = [&](u32 j, u32 group) { return b_now[place(column0 + 8 * j + lane / 4, 4 * group + lane % 4)]; };
#if __CUDA_ARCH__ >= 800
#pragma unroll
            for (u32 group = 0; group < 4; group += 2) {
                u32 a_part[MI][2], b_part[NJ][2];
#pragma unroll
                for (u32 i = 0; i < MI; i++) a_part[i][0] = a_word(i, group), a_part[i][1] = a_word(i, group + 1);
#pragma unroll
                for (u32 j = 0; j < NJ; j++) b_part[j][0] = b_word(j, group), b_part[j][1] = b_word(j, group + 1);
#pragma unroll
                for (int i = 0; i < MI; i += 2)
#pragma unroll
                    for (int j = 0; j < NJ; j++)
                        mma(sums[i][j], sums[i + 1][j], a_part[i][0], a_part[i + 1][0], a_part[i][1], a_part[i + 1][1],
                            b_part[j][0], b_part[j][1]);
            }
#else
#pragma unroll
            for (u32 group = 0; group < 4; group++) {
                u32 a_part[MI], b_part[NJ];
#pragma unroll
                for (u32 i = 0; i < MI; i++) a_part[i] = a_word(i, group);
#pragma unroll
                for (u32 j = 0; j < NJ; j++) b_part[j] = b_word(j, group);
#pragma unroll
                for (int i = 0; i < MI; i++)
#pragma unroll
                    for (int j = 0; j < NJ; j++) mma(sums[i][j], a_part[i], b_part[j]);
            }
#endif
        }
        if (more) {
            u32 *a_next = a_shared[loaded % 2], *b_next = b_shared[loaded % 2];
#pragma unroll
            for (u32 i = 0; i < A_EACH; i++) {
                u32 u = thread + i * THREADS;
                *(uint4*)(a_next + place(u / 4, u % 4 * 4)) = {a_words[i][0], a_words[i][1], a_words[i][2], a_words[i][3]};
#pragma unroll
                for (u32 j = 0; j < 4; j++) a_sums[i] = dp4a(a_words[i][j], ONES, a_sums[i]);
            }
#pragma unroll
            for (u32 i = 0; i < B_EACH; i++) {
                u32 u = thread + i * THREADS, column = u % (BN / 4) * 4, word = u / (BN / 4) * 2;
                u32 first[4] = {b_words[i][0], b_words[i][1], b_words[i][2], b_words[i][3]};
                u32 second[4] = {b_words[i][4], b_words[i][5], b_words[i][6], b_words[i][7]};
                transpose(first);
                transpose(second);
#pragma unroll
                for (u32 c = 0; c < 4; c++) {
                    *(uint2*)(b_next + place(column + c, word)) = {first[c], second[c]};
                    b_sums[i][c] = dp4a(second[c], ONES, dp4a(first[c], ONES, b_sums[i][c]));
                }
            }
        }
        __syncthreads();
    }

    // Sums of rows by their four quarters of each step, of columns by their eighths.
#pragma unroll
    for (u32 i = 0; i < A_EACH; i++) row_sums[thread + i * THREADS] = a_sums[i];
#pragma unroll
    for (u32 i = 0; i < B_EACH; i++) {
        u32 u = thread + i * THREADS;
#pragma unroll
        for (u32 c = 0; c < 4; c++) column_sums[(u % (BN / 4) * 4 + c) * 8 + u / (BN / 4)] = b_sums[i][c];
    }
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < MI; i++) {
        u32 in_tile = row0 + 8 * i + lane / 4, row = row_origin + in_tile;
        if (row >= g.m) continue;
        u32 za = (u32)zeros.of_row(row), ra = 0;
#pragma unroll
        for (u32 q = 0; q < 4; q++) ra += (u32)row_sums[in_tile * 4 + q];
#pragma unroll
        for (u32 j = 0; j < NJ; j++) {
#pragma unroll
            for (u32 h = 0; h < 2; h++) {
                u32 of_tile = column0 + 8 * j + lane % 4 * 2 + h, column = column_origin + of_tile;
                if (column >= g.n) continue;
                u32 zb = (u32)zeros.of_column(column), cb = 0;
#pragma unroll
                for (u32 q = 0; q < 8; q++) cb += (u32)column_sums[of_tile * 8 + q];
                u32 y = (u32)sums[i][j][h] - za * cb - zb * ra + g.k * za * zb;
                store(row, column, (i32)y);
            }
        }
    }
}

// Up to 8 rows: a thread has four columns and a share of the terms, by sixteens; warps' shares are added in shared memory.
// Grid: (ceil(n / 128), m); block: 256 threads, 8 shares.
template <class Store> DEVICE void few(const Integers& g, const Zeros& zeros, Store store) {
    __shared__ i32 parts[8][32 * 4];
    __shared__ i32 columns[8][32 * 4];
    __shared__ i32 rows[8];
    u32 lane = thread_x() % 32, warp = thread_x() / 32;
    u32 column = block_x() * 128 + lane * 4, row = block_y();
    const u8* from = g.a + (u64)row * g.k;
    i32 sums[4] = {0, 0, 0, 0}, of_columns[4] = {0, 0, 0, 0}, of_row = 0;
#pragma unroll 1
    for (u32 begin = warp * 16; begin < g.k; begin += 128) {
        u32 words[4][4];
#pragma unroll
        for (u32 j = 0; j < 16; j++) {
            u32 p = begin + j;
            words[j / 4][j % 4] = p < g.k ? four(g.b + (u64)p * g.n, column, g.n, g.b_flip, g.b_wide) : 0;
        }
#pragma unroll
        for (u32 q = 0; q < 4; q++) {
            transpose(words[q]);
            u32 x = four(from, begin + 4 * q, g.k, g.a_flip, g.a_wide);
            of_row = dp4a(x, ONES, of_row);
#pragma unroll
            for (u32 c = 0; c < 4; c++) {
                sums[c] = dp4a(x, words[q][c], sums[c]);
                of_columns[c] = dp4a(words[q][c], ONES, of_columns[c]);
            }
        }
    }
#pragma unroll
    for (u32 c = 0; c < 4; c++) {
        parts[warp][lane * 4 + c] = sums[c];
        columns[warp][lane * 4 + c] = of_columns[c];
    }
    if (lane == 0) rows[warp] = of_row;
    __syncthreads();
    u32 own = block_x() * 128 + thread_x();
    if (thread_x() >= 128 || own >= g.n) return;
    u32 s = 0, cb = 0, ra = 0;
#pragma unroll
    for (u32 w = 0; w < 8; w++) {
        s += (u32)parts[w][thread_x()];
        cb += (u32)columns[w][thread_x()];
        ra += (u32)rows[w];
    }
    u32 za = (u32)zeros.of_row(row), zb = (u32)zeros.of_column(own);
    store(row, own, (i32)(s - za * cb - zb * ra + g.k * za * zb));
}

#define OPERANDS                                                                                                          \
    const u8 *a, const u8 *b, u8 *y, const u8 *a_zero, const u8 *b_zero, u32 m, u32 n, u32 k, u32 extent1, u32 extent2, u64 a0,  \
        u64 a1, u64 a2, u64 b0, u64 b1, u64 b2, u32 flips, u32 a_zero_step, u32 b_zero_step
#define SET_UP                                                                                                            \
    u32 i2 = block_z() % extent2, i1 = block_z() / extent2 % extent1, i0 = block_z() / extent2 / extent1;                  \
    u32 a_flip = flips & 1 ? 0x80808080u : 0, b_flip = flips & 2 ? 0x80808080u : 0;                                        \
    Integers g = {a + i0 * a0 + i1 * a1 + i2 * a2, b + i0 * b0 + i1 * b1 + i2 * b2, m, n, k, a_flip, b_flip,                 \
                  (flips & 4) != 0, (flips & 8) != 0};                                                                    \
    Zeros zeros = {a_zero, b_zero, a_zero_step, b_zero_step, a_flip, b_flip};                                              \
    u64 origin = (u64)block_z() * m * n;
#define STORE_SUM [&](u32 row, u32 column, i32 sum) __attribute__((always_inline)) { ((i32*)y)[origin + (u64)row * n + column] = sum; }
#define STORE_BYTE                                                                                                        \
    [&](u32 row, u32 column, i32 sum) __attribute__((always_inline)) { y[origin + (u64)row * n + column] = to.apply(sum, row, column); }

KERNEL __launch_bounds__(256) igemm_128x128(OPERANDS) { SET_UP tile<4, 8, 4, 2>(g, zeros, STORE_SUM); }
KERNEL __launch_bounds__(128) igemm_64x64(OPERANDS) { SET_UP tile<4, 4, 2, 2>(g, zeros, STORE_SUM); }
#if __CUDA_ARCH__ < 800
// The same on every architecture.
KERNEL __launch_bounds__(256) igemv(OPERANDS) { SET_UP few(g, zeros, STORE_SUM); }
#endif
KERNEL __launch_bounds__(256) qgemm_128x128(OPERANDS, SCALES) { SET_UP REQUANTIZE tile<4, 8, 4, 2>(g, zeros, STORE_BYTE); }
KERNEL __launch_bounds__(128) qgemm_64x64(OPERANDS, SCALES) { SET_UP REQUANTIZE tile<4, 4, 2, 2>(g, zeros, STORE_BYTE); }
#if __CUDA_ARCH__ < 800
KERNEL __launch_bounds__(256) qgemv(OPERANDS, SCALES) { SET_UP REQUANTIZE few(g, zeros, STORE_BYTE); }
#endif
