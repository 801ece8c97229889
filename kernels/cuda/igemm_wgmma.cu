// targets: 90a
// Large products of bytes on Hopper's tensor cores, exact modulo 2^32: the bits of igemm.cu.
//
// wgmma reads both operands from shared memory with their terms together, in rows of 128 bytes whose groups of 16 are permuted
// by the row (the swizzle of 128 bytes), and shared memory is filled fastest by copies of whole tiles. So the operands are first
// packed: made signed, b transposed, padded by zeros to whole tiles, each tile of 128 terms laid out as it will stand in shared
// memory. Sums of rows and columns, for the zero points, are taken on the way, by parts of 1024 terms.
//
// A block has a tile of 256 x 192 results, two warpgroups with 128 rows each, and a thread that copies: a ring of four stages
// of 128 terms, each with two barriers, one that it is full and one that it is empty. A stage of such a tile is 56 KB for 6.3
// million products; with smaller tiles L2 could not feed the tensor cores. Blocks take tiles in turn, so that the copies for the
// next tile go on while the results of this one are stored. Tiles are numbered down bands of eight, so that those computed at the
// same time share operands in L2.
#include "bytes.cuh"
#include "requantize.cuh"

constexpr u32 BM = 256, BN = 192, BK = 128;
constexpr u32 UNIT = 64; // rows or columns that a block packs
constexpr u32 PART = 8;  // steps of BK terms of a partial sum
constexpr u32 STAGES = 4, GROUPS = 2, WARPS = 4 * GROUPS;
constexpr u32 A_BYTES = BM * BK, B_BYTES = BN * BK, STAGE_BYTES = A_BYTES + B_BYTES;
constexpr u32 BAND = 8;

// Where a group of 16 bytes of a row stands in a packed tile.
DEVICE u32 swizzled(u32 row, u32 group) { return row * BK + (group ^ (row & 7)) * 16; }

// The packed bytes of 64 rows for 128 terms: tiles of `tile_units` such, step after step.
DEVICE u8* slab(u8* packed, u32 unit, u32 step, u32 steps, u32 tile_units) {
    return packed + (((u64)(unit / tile_units) * steps + step) * tile_units + unit % tile_units) * (UNIT * BK);
}

// Grid: (64 rows, parts of the terms); block: 128 threads. `parts`: of `pitch` sums each.
KERNEL __launch_bounds__(128)
    pack_rows(const u8* a, u8* packed, i32* parts, u32 m, u32 k, u32 steps, u32 tile_units, u32 pitch, u32 flip, u32 is_wide) {
    u32 unit = block_x(), group = thread_x() % 8;
    u32 end = (block_y() + 1) * PART < steps ? (block_y() + 1) * PART : steps;
    i32 sums[4] = {0, 0, 0, 0};
#pragma unroll 1
    for (u32 step = block_y() * PART; step < end; step++) {
        u8* to = slab(packed, unit, step, steps, tile_units);
        u32 p = step * BK + group * 16;
        u32 words[4][4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 row = unit * UNIT + i * 16 + thread_x() / 8;
            const u8* from = a + (u64)(row < m ? row : 0) * k;
            u32 bound = row < m ? k : 0;
            if (is_wide && p + 16 <= bound) {
                uint4 w = *(const uint4*)(from + p);
                words[i][0] = w.x ^ flip, words[i][1] = w.y ^ flip, words[i][2] = w.z ^ flip, words[i][3] = w.w ^ flip;
            } else {
#pragma unroll
                for (u32 j = 0; j < 4; j++) words[i][j] = four(from, p + 4 * j, bound, flip, false);
            }
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            *(uint4*)(to + swizzled(i * 16 + thread_x() / 8, group)) = {words[i][0], words[i][1], words[i][2], words[i][3]};
#pragma unroll
            for (u32 j = 0; j < 4; j++) sums[i] = dp4a(words[i][j], ONES, sums[i]);
        }
    }
    __shared__ i32 of_groups[8][UNIT];
#pragma unroll
    for (u32 i = 0; i < 4; i++) of_groups[group][i * 16 + thread_x() / 8] = sums[i];
    __syncthreads();
    if (thread_x() >= UNIT) return;
    u32 sum = 0;
#pragma unroll
    for (u32 i = 0; i < 8; i++) sum += (u32)of_groups[i][thread_x()];
    parts[(u64)block_y() * pitch + unit * UNIT + thread_x()] = (i32)sum;
}

// The same of columns of b. A thread transposes four columns by 16 terms; eight neighbours read 32 bytes of a row.
KERNEL __launch_bounds__(128)
    pack_columns(const u8* b, u8* packed, i32* parts, u32 n, u32 k, u32 steps, u32 tile_units, u32 pitch, u32 flip, u32 is_wide) {
    alignas(16) __shared__ u8 turned[2][UNIT * BK];
    u32 unit = block_x(), lane = thread_x() % 32, warp = thread_x() / 32;
    u32 own = (warp % 2 * 8 + lane % 8) * 4, group = warp / 2 * 4 + lane / 8;
    u32 end = (block_y() + 1) * PART < steps ? (block_y() + 1) * PART : steps;
    i32 sums[4] = {0, 0, 0, 0};
#pragma unroll 1
    for (u32 step = block_y() * PART; step < end; step++) {
        u32 p = step * BK + group * 16;
        u32 words[4][4];
#pragma unroll
        for (u32 j = 0; j < 16; j++)
            words[j / 4][j % 4] = p + j < k ? four(b + (u64)(p + j) * n, unit * UNIT + own, n, flip, is_wide) : 0;
#pragma unroll
        for (u32 q = 0; q < 4; q++) transpose(words[q]);
        // Two buffers: before one is written again, all have passed the barrier of the other.
        u8* now = turned[step % 2];
#pragma unroll
        for (u32 c = 0; c < 4; c++) {
            *(uint4*)(now + swizzled(own + c, group)) = {words[0][c], words[1][c], words[2][c], words[3][c]};
#pragma unroll
            for (u32 q = 0; q < 4; q++) sums[c] = dp4a(words[q][c], ONES, sums[c]);
        }
        __syncthreads();
        u8* to = slab(packed, unit, step, steps, tile_units);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 at = (thread_x() + i * 128) * 16;
            *(uint4*)(to + at) = *(const uint4*)(now + at);
        }
    }
    __shared__ i32 of_groups[8][UNIT];
#pragma unroll
    for (u32 c = 0; c < 4; c++) of_groups[group][own + c] = sums[c];
    __syncthreads();
    if (thread_x() >= UNIT) return;
    u32 sum = 0;
#pragma unroll
    for (u32 i = 0; i < 8; i++) sum += (u32)of_groups[i][thread_x()];
    parts[(u64)block_y() * pitch + unit * UNIT + thread_x()] = (i32)sum;
}

// What makes a sum of products of packed bytes that of the operands less their zero points: s - za cb - zb ra + k za zb is
// s + za (k zb - cb) - zb ra. Of each row za and ra, of each column zb and the difference. Grid: as many threads as `pitch`.
KERNEL __launch_bounds__(128)
    add_parts(uint2* corrections, const i32* parts, const u8* a_zero, const u8* b_zero, u32 pitch, u32 count, u32 rows, u32 m, u32 n,
              u32 k, u32 flips, u32 a_zero_step, u32 b_zero_step) {
    u32 at = block_x() * 128 + thread_x();
    if (at >= pitch) return;
    Zeros zeros = {a_zero, b_zero, a_zero_step, b_zero_step, flips & 1 ? 0x80808080u : 0, flips & 2 ? 0x80808080u : 0};
    u32 sum = 0;
    for (u32 i = 0; i < count; i++) sum += (u32)parts[(u64)i * pitch + at];
    if (at < rows) {
        corrections[at] = {at < m ? (u32)zeros.of_row(at) : 0, sum};
    } else {
        u32 zb = at - rows < n ? (u32)zeros.of_column(at - rows) : 0;
        corrections[at] = {zb, k * zb - sum};
    }
}

// Barriers in shared memory (mbarrier), by their addresses there.
DEVICE void set_up(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
DEVICE void wait(u32 barrier, u32 parity) {
    u32 done;
    do {
        asm volatile("{\n\t"
                     ".reg .pred p;\n\t"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                     "selp.b32 %0, 1, 0, p;\n\t"
                     "}"
                     : "=r"(done)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (!done);
}
// By the first lane of a warp; all of them execute it.
DEVICE void arrive_of_warp(u32 barrier, u32 lane) {
    asm volatile("{\n\t"
                 ".reg .pred p;\n\t"
                 "setp.eq.u32 p, %1, 0;\n\t"
                 "@p mbarrier.arrive.shared::cta.b64 _, [%0];\n\t"
                 "}" ::"r"(barrier),
                 "r"(lane)
                 : "memory");
}
DEVICE void expect(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
DEVICE void copy(u32 to, const u8* from, u32 bytes, u32 barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from),
                 "r"(bytes), "r"(barrier)
                 : "memory");
}

// Products of warpgroups. A descriptor says of a matrix in shared memory: its address in units of 16 bytes, 1 (not used with a
// swizzle), 1024 bytes between groups of eight rows, the swizzle of 128 bytes.
DEVICE u64 descriptor(u32 address) { return (u64)(address >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
DEVICE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING> DEVICE void wait_for_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

#define R8(d, i)                                                                                                          \
    "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3]), "+r"(d[i + 4]), "+r"(d[i + 5]), "+r"(d[i + 6]), "+r"(d[i + 7])
#define R32(d, i) R8(d, i), R8(d, i + 8), R8(d, i + 16), R8(d, i + 24)

// d += a b, of 64 rows, 192 columns and 32 terms.
DEVICE void multiply(i32 (&d)[96], u64 a, u64 b) {
    asm volatile("{\n\t"
                 ".reg .pred p;\n\t"
                 "setp.ne.b32 p, 1, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n192k32.s32.s8.s8 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
                 "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
                 "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, "
                 "%68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "
                 "%90, %91, %92, %93, %94, %95}, %96, %97, p;\n\t"
                 "}"
                 : R32(d, 0), R32(d, 32), R32(d, 64)
                 : "l"(a), "l"(b)
                 : "memory");
}
// Sums change here, for all that the compiler knows: none is moved from behind a wait to before it.
DEVICE void hold(i32 (&d)[96]) { asm volatile("" : R32(d, 0), R32(d, 32), R32(d, 64)::"memory"); }

struct Product {
    const u8 *a, *b;     // packed
    const uint2* rows;   // corrections, as many as whole tiles have
    const uint4* columns; // of two each
    u32 m, n;
    u32 steps, tiles_down, tiles_across; // as given: they then need no registers

    DEVICE_METHOD u32 tiles() const { return tiles_down * tiles_across; }
    // The tile of a number: its row and column of tiles.
    DEVICE_METHOD void place(u32 number, u32& down, u32& across) const {
        u32 in_band = BAND * tiles_across, first = number / in_band * BAND;
        u32 height = tiles_down - first < BAND ? tiles_down - first : BAND;
        down = first + number % in_band % height;
        across = number % in_band / height;
    }
};

struct Ring {
    u32 stages, stage, parity;

    DEVICE_METHOD u32 a() const { return stages + stage * STAGE_BYTES; }
    DEVICE_METHOD u32 b() const { return a() + A_BYTES; }
    DEVICE_METHOD u32 full() const { return stages + STAGES * STAGE_BYTES + stage * 8; }
    DEVICE_METHOD u32 empty() const { return full() + STAGES * 8; }
    DEVICE_METHOD void next() {
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        parity ^= stage == 0;
    }
};

// The one thread that copies.
DEVICE void feed(const Product& g, Ring ring) {
#pragma unroll 1
    for (u32 number = block_x(); number < g.tiles(); number += grid_x()) {
        u32 down, across;
        g.place(number, down, across);
        const u8 *a = g.a + (u64)down * g.steps * A_BYTES, *b = g.b + (u64)across * g.steps * B_BYTES;
#pragma unroll 1
        for (u32 step = 0; step < g.steps; step++) {
            wait(ring.empty(), ring.parity ^ 1);
            expect(ring.full(), STAGE_BYTES);
            copy(ring.a(), a, A_BYTES, ring.full());
            copy(ring.b(), b, B_BYTES, ring.full());
            a += A_BYTES, b += B_BYTES;
            ring.next();
        }
    }
}

// From sums to results: of 64 rows, of which a thread has two, two columns at a time; what belongs to columns is read ahead, as
// far as there are registers.
template <class Output>
DEVICE void finish(const Product& g, const i32 (&sums)[96], u32 row0, u32 column0, const Output& output) {
    uint2 of_rows[2];
    typename Output::Row rows[2];
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        of_rows[i] = g.rows[row0 + 8 * i];
        rows[i] = output.of_row(row0 + 8 * i < g.m ? row0 + 8 * i : g.m - 1);
    }
    constexpr u32 AHEAD = Output::AHEAD, KEPT = AHEAD + 1;
    uint4 of_columns[KEPT];
#pragma unroll
    for (u32 j = 0; j < AHEAD; j++) of_columns[j] = g.columns[column0 / 2 + 4 * j];
#pragma unroll
    for (u32 j = 0; j < BN / 8; j++) {
        if (j + AHEAD < BN / 8) of_columns[(j + AHEAD) % KEPT] = g.columns[column0 / 2 + 4 * (j + AHEAD)];
        u32 column = column0 + 8 * j, last = g.n - 1;
        auto columns = output.of_columns(column < last ? column : last, column + 1 < last ? column + 1 : last);
        uint4 c = of_columns[j % KEPT];
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            u32 za = of_rows[i].x, ra = of_rows[i].y;
            u32 one = (u32)sums[4 * j + 2 * i] + za * c.y - c.x * ra, two = (u32)sums[4 * j + 2 * i + 1] + za * c.w - c.z * ra;
            u32 row = row0 + 8 * i;
            if (row < g.m && column < g.n) output.store(rows[i], columns, row, column, one, two);
        }
    }
}

template <class Output> DEVICE void multiply_tiles(const Product& g, const Output& output) {
    extern __shared__ __attribute__((aligned(1024))) u8 shared[];
    u32 lane = thread_x() % 32, warp = thread_x() / 32, group = warp / 4;
    Ring ring = {(u32)(u64)(__attribute__((address_space(3))) u8*)shared, 0, 0};
    if (thread_x() == 0) {
        for (u32 i = 0; i < STAGES; i++, ring.next()) {
            set_up(ring.full(), 1);
            set_up(ring.empty(), WARPS);
        }
        ring.parity = 0;
        // The barriers are there for copies, too.
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
    if (group == GROUPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (thread_x() == 32 * WARPS) feed(g, ring);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
#pragma unroll 1
    for (u32 number = block_x(); number < g.tiles(); number += grid_x()) {
        i32 sums[2][96];
#pragma unroll
        for (u32 i = 0; i < 96; i++) sums[0][i] = sums[1][i] = 0;
        u32 last = 0;
#pragma unroll 1
        for (u32 step = 0; step < g.steps; step++) {
            wait(ring.full(), ring.parity);
            u64 a = descriptor(ring.a() + group * (A_BYTES / GROUPS)), b = descriptor(ring.b());
            begin_products();
#pragma unroll
            for (u32 part = 0; part < BK / 32; part++) {
                multiply(sums[0], a + 2 * part, b + 2 * part);
                multiply(sums[1], a + 64 * BK / 16 + 2 * part, b + 2 * part);
            }
            commit_products();
            // The products of the step before are done, and with its stage.
            wait_for_products<1>();
            if (step > 0) arrive_of_warp(last, lane);
            last = ring.empty();
            ring.next();
        }
        wait_for_products<0>();
        hold(sums[0]);
        hold(sums[1]);
        arrive_of_warp(last, lane);
        u32 down, across;
        g.place(number, down, across);
        u32 row0 = down * BM + group * (BM / GROUPS) + warp % 4 * 16 + lane / 4, column0 = across * BN + lane % 4 * 2;
        finish(g, sums[0], row0, column0, output);
        // As if another column: places of columns are worked out again, for want of registers to keep them.
        asm volatile("" : "+r"(column0));
        finish(g, sums[1], row0 + 64, column0, output);
        // Lanes at an edge have stored less; products want all of them.
        __nvvm_bar_warp_sync(0xffffffffu);
    }
}

#define OPERANDS                                                                                                          \
    const u8 *a, const u8 *b, const uint2 *rows, const uint4 *columns, u8 *y, u32 m, u32 n, u32 steps, u32 tiles_down,           \
        u32 tiles_across
#define SET_UP Product g = {a, b, rows, columns, m, n, steps, tiles_down, tiles_across};

// Stores are written out: of plain ones the compiler makes the halves that two ways have in common.
DEVICE void store(u32* to, u32 one, u32 two) {
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(one), "r"(two) : "memory");
}
DEVICE void store(u32* to, u32 one) { asm volatile("st.global.b32 [%0], %1;" ::"l"(to), "r"(one) : "memory"); }
DEVICE void store(u16* to, u16 one) { asm volatile("st.global.b16 [%0], %1;" ::"l"(to), "h"(one) : "memory"); }
DEVICE void store(u8* to, u8 one) { asm volatile("st.global.b8 [%0], %1;" ::"l"(to), "h"((u16)one) : "memory"); }

struct Sums {
    u32* y;
    u32 n;
    bool pairs; // aligned to two

    static constexpr u32 AHEAD = 4;
    struct Row {};
    struct Columns {};
    DEVICE_METHOD Row of_row(u32) const { return {}; }
    DEVICE_METHOD Columns of_columns(u32, u32) const { return {}; }
    DEVICE_METHOD void store(Row, Columns, u32 row, u32 column, u32 one, u32 two) const {
        u32* to = y + (u64)row * n + column;
        if (pairs) {
            ::store(to, one, two);
        } else {
            ::store(to, one);
            if (column + 1 < n) ::store(to + 1, two);
        }
    }
};

struct Requantized {
    u8* y;
    u32 n;
    bool pairs;
    Requantize to;

    static constexpr u32 AHEAD = 1;
    typedef Requantize::Row Row;
    struct Columns {
        float one, two;
    };
    DEVICE_METHOD Row of_row(u32 row) const { return to.of_row(row); }
    DEVICE_METHOD Columns of_columns(u32 one, u32 two) const { return {to.of_column(one), to.of_column(two)}; }
    DEVICE_METHOD void store(const Row& of_row, Columns columns, u32 row, u32 column, u32 one, u32 two) const {
        u8* at = y + (u64)row * n + column;
        u8 first = to.apply((i32)one, of_row, columns.one), second = to.apply((i32)two, of_row, columns.two);
        if (pairs) {
            ::store((u16*)at, (u16)(first | (u32)second << 8));
        } else {
            ::store(at, first);
            if (column + 1 < n) ::store(at + 1, second);
        }
    }
};

// Three warpgroups: two with 192 sums a thread, and one that copies and gives them of its registers. Each begins with 168 of them,
// so that 240, 240 and 24 is what there is to share.
KERNEL __launch_bounds__(384, 1) igemm_256x192(OPERANDS) {
    SET_UP
    multiply_tiles(g, Sums{(u32*)y, n, n % 2 == 0 && (u64)y % 8 == 0});
}
KERNEL __launch_bounds__(384, 1) qgemm_256x192(OPERANDS, SCALES) {
    SET_UP REQUANTIZE
    multiply_tiles(g, Requantized{y, n, n % 2 == 0 && (u64)y % 2 == 0, to});
}
