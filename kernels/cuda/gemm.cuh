// Products of matrices, tile by tile: y = a x b in the order of contractions, for any M, N, K, batch and layout.
//
// A block computes a tile of BM x BN; a warp 16 GM x 32 GN of it, a thread 4 GM x 4 GN, in groups of four rows and four
// columns, so that operands come from shared memory by 16-byte loads: of a warp's 32 threads four different ones read
// rows and eight columns, which is one access each without bank conflicts. 8 terms are staged while the 8 before are
// computed (two buffers, one barrier for 8 terms).
//
// Threads span outputs; a thread runs whole chains. At the end of a chunk of 256 terms its results are combined with
// those of earlier chunks by the tree. Results of complete subtrees wait in global memory (`pending`), laid out so that a
// warp's accesses are coalesced and each thread reads what itself wrote: about one write and one read of the tile for each
// chunk, a few bytes a cycle, which the second-level cache serves.
//
// Terms past K are zeros of both operands: a chunk ends with + (+0), so they change no bit. Rows and columns past the
// end are computed from repeated ones and never stored.
#pragma once
#include "blocks.cuh"
#include "contract.cuh"
#include "element.cuh"

// How an operand lies: element (outer o, term p), o being a row of a or a column of b.
constexpr u32 TERMS = 0;   // at o * stride + p
constexpr u32 OUTERS = 1;  // at p * stride + o
constexpr u32 PANELS = 2;  // at (o / 16) * K * 16 + p * 16 + o % 16
constexpr u32 BLOCKS = 3;  // panels of blocks of integers; the type is the format

constexpr u32 BK = 8;

// What a product is for. SCORES: of queries and keys; tiles that no row sees are left out. VALUES: of weights and values;
// terms that a row does not see are skipped, whatever numbers they hold. IMAGE: a convolution; b is the image, and its columns
// are positions of the output.
constexpr int PLAIN = 0, SCORES = 1, VALUES = 2, IMAGE = 3;

struct Matrix {
    const u8* base;
    u64 stride;
    u32 kind, type, extent, terms;
    // Four elements that lie together may be loaded at once wherever a unit begins.
    bool wide;
    // Of positions in pages of 256: where each page lies, in pages from the base; or null.
    const u32* pages = nullptr;

    DEVICE_METHOD u64 place(u32 position) const {
        return pages ? (u64)pages[position / 256] * 256 + position % 256 : position;
    }

    // Left operands are never in panels.
    template <bool RIGHT> DEVICE_METHOD u64 index(u32 o, u32 p) const {
        if (kind == TERMS) return place(o) * stride + p;
        if (!RIGHT || kind == OUTERS) return place(p) * stride + o;
        return (u64)(o / 16) * terms * 16 + p * 16 + o % 16;
    }
};

// Four elements of an operand that a thread brings from global to shared memory in each step.
template <int EXTENT, bool RIGHT> struct Unit {
    const u8* at;    // of the first element, for wide loads
    u64 advance;     // bytes between steps
    u32 o, p;        // outer index in the matrix, term within a step
    u32 slot;        // where it goes in shared memory
    float v[4];

    DEVICE_METHOD void init(const Matrix& m, u32 u, u32 origin) {
        u32 in_tile;
        if (m.kind == TERMS) {
            in_tile = u / 2;
            p = u % 2 * 4;
        } else if (!RIGHT || m.kind == OUTERS) {
            in_tile = u % (EXTENT / 4) * 4;
            p = u / (EXTENT / 4);
        } else {
            in_tile = u / 32 * 16 + u % 4 * 4;
            p = u / 4 % 8;
        }
        slot = p * (EXTENT + 4) + in_tile;
        o = origin + in_tile;
        // What lies past the end is never stored; it only has to be readable.
        u32 clamped = o;
        if (m.kind == TERMS) clamped = min(o, m.extent - 1);
        else if (!RIGHT || m.kind == OUTERS) clamped = m.wide ? min(o, m.extent - 4) : o;
        else clamped = min(o, (m.extent - 1) / 16 * 16 + 12);
        o = clamped;
        at = m.base, advance = 0;
        if (!RIGHT || m.kind != BLOCKS) {
            u32 shift = shift_of(m.type);
            at = m.base + (m.index<RIGHT>(clamped, p) << shift);
            u64 elements = m.kind == TERMS ? BK : !RIGHT || m.kind == OUTERS ? BK * m.stride : BK * 16;
            advance = elements << shift;
        }
    }

    static DEVICE_METHOD u32 min(u32 a, u32 b) { return a < b ? a : b; }

    template <bool ANY> DEVICE_METHOD void load_step(const Matrix& m, u32 begin) {
        if (m.pages && m.kind == OUTERS && begin + p < m.terms) at = m.base + (m.index<RIGHT>(o, begin + p) << shift_of(m.type));
        if (ANY && RIGHT && m.kind == BLOCKS) {
            float4 x = begin + p < m.terms ? load_blocks4(m.type, m.base, m.terms, begin + p, o) : float4{};
            v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
            return;
        }
        u32 type = ANY ? m.type : F32;
        if (m.wide && begin + BK <= m.terms) {
            float4 x = load4(type, at);
            v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
        } else {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                u32 outer = m.kind == TERMS ? o : min(o + i, RIGHT && m.kind == PANELS ? o + i : m.extent - 1);
                u32 term = begin + (m.kind == TERMS ? p + i : p);
                v[i] = term < m.terms ? load(type, m.base, m.index<RIGHT>(outer, term)) : 0.0f;
            }
        }
        at += advance;
    }

    DEVICE_METHOD void put(const Matrix& m, float* shared) const {
        if (m.kind == TERMS) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) shared[slot + i * (EXTENT + 4)] = v[i];
        } else {
            *(float4*)(shared + slot) = {v[0], v[1], v[2], v[3]};
        }
    }
};

// What a convolution reads: term (c, ky, kx) of output (oy, ox) is pixel (oy * stride_y - pad_y + ky * dilation_y, ..).
struct Image {
    u32 height, width, kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x, out_width;
    // Set where a weight is not finite: taps outside of the image are then skipped one by one. Otherwise they are zeros:
    // their products are zeros, and a chunk ends with + (+0), so they change no bit.
    const u32* skips;
};

// Stands for a tap outside of the image where such are skipped. No element has these bits, as NaN is canonical.
constexpr u32 OUTSIDE = 0x7fffffff;

// Four neighbouring outputs' pixels for one term, of a plane after another.
template <int EXTENT> struct Pixels {
    u32 p, slot;
    i32 y[4], x[4];
    float v[4];

    DEVICE_METHOD void init(const Matrix& m, const Image& image, u32 u, u32 origin) {
        u32 in_tile = u % (EXTENT / 4) * 4;
        p = u / (EXTENT / 4);
        slot = p * (EXTENT + 4) + in_tile;
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 at = origin + in_tile + i;
            at = at < m.extent ? at : m.extent - 1;
            y[i] = (i32)(at / image.out_width * image.stride_y) - (i32)image.pad_y;
            x[i] = (i32)(at % image.out_width * image.stride_x) - (i32)image.pad_x;
        }
    }

    DEVICE_METHOD void load_step(const Matrix& m, const Image& image, u32 begin, float outside) {
        u32 term = begin + p;
        if (term >= m.terms) {
            v[0] = v[1] = v[2] = v[3] = 0.0f;
            return;
        }
        u32 taps = image.kernel_y * image.kernel_x, tap = term % taps;
        i32 dy = tap / image.kernel_x * image.dilation_y, dx = tap % image.kernel_x * image.dilation_x;
        const float* plane = (const float*)m.base + (u64)(term / taps) * image.height * image.width;
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 row = y[i] + dy, column = x[i] + dx;
            bool is_inside = row < image.height && column < image.width;
            v[i] = is_inside ? plane[(u64)row * image.width + column] : outside;
        }
    }

    DEVICE_METHOD void put(float* shared) const { *(float4*)(shared + slot) = {v[0], v[1], v[2], v[3]}; }
};

struct Product {
    Matrix a, b;
    u8* out;
    float* pending;
    Finish finish;
    u32 m, n, k;
    u32 tiles_m, tiles_n, tiles;  // tiles: over all batches and splits
    u32 run, splits;              // chunks of a split; several splits write f32 parts, one after another
    u32 extent1, extent2;         // of the batch's last two axes
    u64 a0, a1, a2, b0, b1, b2;   // elements between matrices along the batch's axes
    u32 levels;                   // of the tree, that wait in `pending`
    u64 out_row, out1, out2;      // SCORES and VALUES, unsplit: elements between rows and matrices of the output
    Image image;                  // IMAGE
    u32 position, step, window;   // row `r` is at `position + r * step` and sees `window` positions up to it, or all (0)

    DEVICE_METHOD u32 position_of(u32 row) const { return position + row * step; }
    DEVICE_METHOD u32 first_of(u32 row) const {
        u32 end = position_of(row) + 1;
        return window && end > window ? end - window : 0;
    }
};

template <int GM, int GN, int WM, int WN, bool ANY, int MODE = PLAIN> DEVICE void product(Product& g) {
    constexpr int BM = 16 * GM * WM, BN = 32 * GN * WN, THREADS = 32 * WM * WN;
    constexpr int A_UNITS = BM * BK / 4, B_UNITS = BN * BK / 4;
    constexpr int A_EACH = (A_UNITS + THREADS - 1) / THREADS, B_EACH = (B_UNITS + THREADS - 1) / THREADS;
    constexpr int QUADS = 4 * GM * GN;  // float4s of results of a thread
    alignas(16) __shared__ float a_shared[2][BK * (BM + 4)];
    alignas(16) __shared__ float b_shared[2][BK * (BN + 4)];

    u32 thread = thread_x(), lane = thread % 32, warp = thread / 32;
    u32 row0 = warp % WM * (16 * GM) + lane / 8 * 4;
    u32 column0 = warp / WM * (32 * GN) + lane % 8 * 4;
    float4* pending = (float4*)g.pending + (u64)block_x() * g.levels * QUADS * THREADS + thread;
    const u8 *a_base = g.a.base, *b_base = g.b.base, *c_base = g.finish.c;
    bool skips = MODE == IMAGE && *g.image.skips != 0;
    float outside = skips ? from_bits(OUTSIDE) : 0.0f;

    for (u32 tile = block_x(); tile < g.tiles; tile += grid_x()) {
        // Eight rows of tiles at a time go through the columns, so that neighbours in time share operands in the cache.
        u32 of_one = g.tiles_m * g.tiles_n;
        u32 matrix = tile / of_one, in_matrix = tile % of_one;
        u32 split = matrix % g.splits, batch = matrix / g.splits;
        u32 band = in_matrix / (8 * g.tiles_n) * 8;
        u32 height = g.tiles_m - band < 8 ? g.tiles_m - band : 8;
        u32 in_band = in_matrix - band * g.tiles_n;
        u32 row_origin = (band + in_band % height) * BM, column_origin = in_band / height * BN;

        u32 last_row = row_origin + BM < g.m ? row_origin + BM - 1 : g.m - 1;
        if (MODE == SCORES && (column_origin > g.position_of(last_row) || column_origin + BN <= g.first_of(row_origin))) continue;

        u32 i2 = batch % g.extent2, i1 = batch / g.extent2 % g.extent1, i0 = batch / g.extent2 / g.extent1;
        g.a.base = a_base + ((i0 * g.a0 + i1 * g.a1 + i2 * g.a2) << shift_of(ANY ? g.a.type : F32));
        if (!ANY || g.b.kind != BLOCKS) {
            g.b.base = b_base + ((i0 * g.b0 + i1 * g.b1 + i2 * g.b2) << shift_of(ANY ? g.b.type : F32));
        }

        // A bias of the group's channels.
        if (MODE == IMAGE && g.finish.flags) g.finish.c = c_base + (u64)i2 * g.m * 4;

        u32 first = split * g.run * CHUNK;
        u32 end = g.splits > 1 && first + g.run * CHUNK < g.k ? first + g.run * CHUNK : g.k;
        if (MODE == VALUES && end > g.position_of(last_row) + 1) end = g.position_of(last_row) + 1;
        u32 steps = end > first ? (end - first + BK - 1) / BK : 0;

        Unit<BM, false> a_units[A_EACH];
        Unit<BN, true> b_units[MODE == IMAGE ? 1 : B_EACH];
        Pixels<BN> pixels[MODE == IMAGE ? B_EACH : 1];
#pragma unroll
        for (int i = 0; i < A_EACH; i++) {
            a_units[i].init(g.a, thread + i * THREADS, row_origin);
            a_units[i].at += first / BK * a_units[i].advance;
        }
#pragma unroll
        for (int i = 0; i < B_EACH; i++) {
            if constexpr (MODE == IMAGE) {
                pixels[i].init(g.b, g.image, thread + i * THREADS, column_origin);
                continue;
            }
            b_units[i].init(g.b, thread + i * THREADS, column_origin);
            b_units[i].at += first / BK * b_units[i].advance;
        }
        auto load_step = [&](u32 begin) __attribute__((always_inline)) {
#pragma unroll
            for (int i = 0; i < A_EACH; i++)
                if (A_UNITS % THREADS == 0 || thread + i * THREADS < A_UNITS) a_units[i].template load_step<ANY>(g.a, begin);
#pragma unroll
            for (int i = 0; i < B_EACH; i++)
                if (B_UNITS % THREADS == 0 || thread + i * THREADS < B_UNITS) {
                    if constexpr (MODE == IMAGE) pixels[i].load_step(g.b, g.image, begin, outside);
                    else b_units[i].template load_step<ANY>(g.b, begin);
                }
        };
        auto put = [&](u32 buffer) __attribute__((always_inline)) {
#pragma unroll
            for (int i = 0; i < A_EACH; i++)
                if (A_UNITS % THREADS == 0 || thread + i * THREADS < A_UNITS) a_units[i].put(g.a, a_shared[buffer]);
#pragma unroll
            for (int i = 0; i < B_EACH; i++)
                if (B_UNITS % THREADS == 0 || thread + i * THREADS < B_UNITS) {
                    if constexpr (MODE == IMAGE) pixels[i].put(b_shared[buffer]);
                    else b_units[i].put(g.b, b_shared[buffer]);
                }
        };

        float sums[4 * GM][4 * GN];
#pragma unroll
        for (int r = 0; r < 4 * GM; r++)
#pragma unroll
            for (int c = 0; c < 4 * GN; c++) sums[r][c] = 0.0f;

        // Terms of a step are loaded while those before it are computed. The last barrier of a tile lets the next one write.
        for (u32 loaded = 0; steps > 0 && loaded <= steps; loaded++) {
            bool more = loaded < steps;
            if (more) load_step(first + loaded * BK);
            u32 step = loaded - 1;
            if (loaded > 0) {
                const float* a_now = a_shared[step % 2] + row0;
                const float* b_now = b_shared[step % 2] + column0;
                u32 term = first + step * BK;
                bool is_edge = MODE == VALUES && (term + BK > g.position_of(row_origin) + 1 || term < g.first_of(last_row));
                if (is_edge || skips) {
#pragma unroll 1
                    for (u32 p = 0; p < BK; p++) {
#pragma unroll
                        for (u32 r = 0; r < 4 * GM; r++) {
                            u32 row = row_origin + row0 + r / 4 * 16 + r % 4;
                            bool is_in_reach = MODE == IMAGE || (term + p <= g.position_of(row) && term + p >= g.first_of(row));
                            float x = a_now[p * (BM + 4) + r / 4 * 16 + r % 4];
#pragma unroll
                            for (int c = 0; c < 4 * GN; c++) {
                                float y = b_now[p * (BN + 4) + c / 4 * 32 + c % 4];
                                bool is_seen = is_in_reach && (MODE != IMAGE || bits(y) != OUTSIDE);
                                float sum = __fmaf_rn(x, y, sums[r][c]);
                                sums[r][c] = is_seen ? sum : sums[r][c];
                            }
                        }
                    }
                } else {
#pragma unroll ANY ? 4 : 8
                for (int p = 0; p < (int)BK; p++) {
                    float4 a_part[GM], b_part[GN];
#pragma unroll
                    for (int i = 0; i < GM; i++) a_part[i] = *(const float4*)(a_now + p * (BM + 4) + 16 * i);
#pragma unroll
                    for (int i = 0; i < GN; i++) b_part[i] = *(const float4*)(b_now + p * (BN + 4) + 32 * i);
#pragma unroll
                    for (int r = 0; r < 4 * GM; r++) {
                        float4 x4 = a_part[r / 4];
                        float x = r % 4 == 0 ? x4.x : r % 4 == 1 ? x4.y : r % 4 == 2 ? x4.z : x4.w;
#pragma unroll
                        for (int c = 0; c < GN; c++) {
                            float4 y4 = b_part[c];
                            sums[r][4 * c] = __fmaf_rn(x, y4.x, sums[r][4 * c]);
                            sums[r][4 * c + 1] = __fmaf_rn(x, y4.y, sums[r][4 * c + 1]);
                            sums[r][4 * c + 2] = __fmaf_rn(x, y4.z, sums[r][4 * c + 2]);
                            sums[r][4 * c + 3] = __fmaf_rn(x, y4.w, sums[r][4 * c + 3]);
                        }
                    }
                }
                }
                if (step % (CHUNK / BK) == CHUNK / BK - 1 || !more) {
                    u32 chunk = step / (CHUNK / BK);
                    // Which zero a score is cannot be seen in its weight.
                    if (MODE != SCORES) {
#pragma unroll
                        for (int r = 0; r < 4 * GM; r++)
#pragma unroll
                            for (int c = 0; c < 4 * GN; c++) sums[r][c] = __fadd_rn(sums[r][c], 0.0f);
                    }
                    // The bits of `chunk` are the subtrees that wait. The last chunk meets all of them, smallest first;
                    // another one those without a gap, and then waits itself.
                    u32 waiting = chunk;
                    u32 level = 0;
                    for (; waiting != 0 && (!more || (waiting & 1)); waiting >>= 1, level++) {
                        if (!(waiting & 1)) continue;
                        const float4* from = pending + (u64)level * QUADS * THREADS;
#pragma unroll
                        for (int q = 0; q < QUADS; q++) {
                            float4 left = from[q * THREADS];
                            float* right = &sums[q / GN][q % GN * 4];
                            right[0] = __fadd_rn(left.x, right[0]);
                            right[1] = __fadd_rn(left.y, right[1]);
                            right[2] = __fadd_rn(left.z, right[2]);
                            right[3] = __fadd_rn(left.w, right[3]);
                        }
                    }
                    if (more) {
                        float4* to = pending + (u64)level * QUADS * THREADS;
#pragma unroll
                        for (int q = 0; q < QUADS; q++) {
                            float* from = &sums[q / GN][q % GN * 4];
                            to[q * THREADS] = {from[0], from[1], from[2], from[3]};
                            from[0] = from[1] = from[2] = from[3] = 0.0f;
                        }
                    }
                }
            }
            if (more) put(loaded % 2);
            __syncthreads();
        }

        u32 type = g.splits > 1 ? F32 : g.finish.type;
        // Parts of splits and plain results lie one after another.
        bool is_placed = MODE != PLAIN && g.splits == 1;
        u64 origin = is_placed ? i1 * g.out1 + i2 * g.out2
                               : ((u64)split * (g.tiles / of_one / g.splits) + batch) * g.m * g.n;
        u64 out_row = is_placed ? g.out_row : g.n;
        u8* out = g.out + (origin << shift_of(type));
        bool wide = g.n % 4 == 0 && out_row % 4 == 0 && ((u64)out & 15) == 0;
#pragma unroll
        for (int r = 0; r < 4 * GM; r++) {
            u32 row = row_origin + row0 + r / 4 * 16 + r % 4;
            if (row >= g.m) continue;
#pragma unroll
            for (int c = 0; c < GN; c++) {
                u32 column = column_origin + column0 + c * 32;
                float y[4];
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    y[i] = sums[r][4 * c + i];
                    if (g.splits == 1 && g.finish.flags && column + i < g.n) y[i] = g.finish.apply(y[i], row, column + i);
                }
                u64 at = row * out_row + column;
                if (wide && column < g.n) store4(type, out + (at << shift_of(type)), y[0], y[1], y[2], y[3]);
                else {
#pragma unroll
                    for (u32 i = 0; i < 4; i++)
                        if (column + i < g.n) store(type, out, at + i, y[i]);
                }
            }
        }
    }
}

