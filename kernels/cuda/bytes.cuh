// Bytes as operands of exact products: signs, zero points, sums of four, transposition.
//
// Unsigned bytes are made signed by flipping their highest bit, zero points like the bytes that they belong to.
#pragma once
#include "prelude.cuh"

struct Zeros {
    const u8 *a, *b;     // or null: 0
    u32 a_step, b_step;  // 0: one for all
    u32 a_flip, b_flip;

    static DEVICE_METHOD i32 one(const u8* at, u32 index, u32 flip) { return at ? (i32)(i8)(u8)(at[index] ^ flip) : (i32)(i8)(u8)flip; }
    DEVICE_METHOD i32 of_row(u32 row) const { return one(a, row * a_step, a_flip & 0xff); }
    DEVICE_METHOD i32 of_column(u32 column) const { return one(b, column * b_step, b_flip & 0xff); }
};

DEVICE i32 dp4a(u32 a, u32 b, i32 c) {
    i32 d;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
DEVICE u32 prmt(u32 a, u32 b, u32 selectors) {
    u32 d;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selectors));
    return d;
}
constexpr u32 ONES = 0x01010101;

// Columns of four words that are rows: word j becomes byte j of each.
DEVICE void transpose(u32 (&w)[4]) {
    u32 low01 = prmt(w[0], w[1], 0x5140), high01 = prmt(w[0], w[1], 0x7362);
    u32 low23 = prmt(w[2], w[3], 0x5140), high23 = prmt(w[2], w[3], 0x7362);
    w[0] = prmt(low01, low23, 0x5410), w[1] = prmt(low01, low23, 0x7632);
    w[2] = prmt(high01, high23, 0x5410), w[3] = prmt(high01, high23, 0x7632);
}

// Four bytes of a row of b (columns from `column` on) or of a (terms from `column` on), of which those below `end` count.
DEVICE u32 four(const u8* row, u32 column, u32 end, u32 flip, bool wide) {
    if (wide && column + 4 <= end) return *(const u32*)(row + column) ^ flip;
    u32 word = 0;
#pragma unroll
    for (u32 i = 0; i < 4; i++)
        if (column + i < end) word |= (u32)(row[column + i] ^ (flip & 0xff)) << (8 * i);
    return word;
}
