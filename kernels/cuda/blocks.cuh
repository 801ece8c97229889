// Elements of weights in blocks (SPEC.md, section 7.6): panels of 16 columns, cut into blocks of 32 or 256 positions;
// in a block the column runs fastest. Products of a scale and a factor are exact, as d has 11 bits and a factor 8.
#pragma once
#include "prelude.cuh"

constexpr u32 Q8_0 = 8, Q4_0 = 9, Q4_1 = 10, Q4_K = 11, Q6_K = 12;

DEVICE constexpr u32 block_positions(u32 format) { return format >= Q4_K ? 256 : 32; }
DEVICE constexpr u32 block_bytes(u32 format) {
    return format == Q8_0 ? 544 : format == Q4_0 ? 288 : format == Q4_1 ? 320 : format == Q4_K ? 2368 : 3360;
}

// Scales of one column for the 16 positions from a multiple of 16 on: an element is fma(scale, q, least), or scale * q, and
// then `least` is nothing.
struct Scale {
    float scale, least;
};

// `block`: the block's first byte; `position`: in the block; `column`: in the panel.
DEVICE Scale scale_of(u32 format, const u8* block, u32 position, u32 column) {
    float d = widen_f16(((const u16*)block)[column]);
    if (format == Q4_1) return {d, widen_f16(((const u16*)block)[16 + column])};
    if (format == Q4_K) {
        u32 at = position / 32 * 16 + column;
        float least = __fmul_rn(widen_f16(((const u16*)block)[16 + column]), of_int(block[192 + at]));
        return {__fmul_rn(d, of_int(block[64 + at])), from_bits(bits(least) ^ 0x80000000u)};
    }
    if (format == Q6_K) return {__fmul_rn(d, of_int((i8)block[32 + position / 16 * 16 + column])), d};
    return {d, d};
}

// The element of integer `q`.
DEVICE float element_of(u32 format, Scale s, i32 q) {
    return format == Q4_1 || format == Q4_K ? __fmaf_rn(s.scale, of_int(q), s.least) : __fmul_rn(s.scale, of_int(q));
}

// The integers of four neighbouring columns at a position; `column` is a multiple of 4.
DEVICE void integers4(u32 format, const u8* block, u32 position, u32 column, i32 (&q)[4]) {
    u32 raw, high = 0;
    u32 low_shift = position % 2 * 4;
    if (format == Q8_0) raw = *(const u32*)(block + 32 + position * 16 + column);
    else {
        u32 start = format == Q4_0 ? 32 : format == Q4_1 ? 64 : format == Q4_K ? 320 : 288;
        raw = *(const u32*)(block + start + position / 2 * 16 + column);
        if (format == Q6_K) high = *(const u32*)(block + 2336 + position / 4 * 16 + column);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        u32 byte = raw >> (8 * i) & 0xff;
        if (format == Q8_0) q[i] = (i8)byte;
        else {
            i32 nibble = byte >> low_shift & 15;
            if (format == Q4_0) q[i] = nibble - 8;
            else if (format == Q6_K) q[i] = (i32)((high >> (8 * i + 2 * (position % 4)) & 3) << 4 | nibble) - 32;
            else q[i] = nibble;
        }
    }
}

// Four neighbouring columns at a position of the whole matrix of `k` positions.
DEVICE float4 load_blocks4(u32 format, const u8* base, u32 k, u32 position, u32 column) {
    u32 positions = block_positions(format);
    u64 index = (u64)(column / 16) * (k / positions) + position / positions;
    const u8* block = base + index * block_bytes(format);
    u32 p = position % positions, c = column % 16;
    i32 q[4];
    integers4(format, block, p, c, q);
    float4 y;
    y.x = element_of(format, scale_of(format, block, p, c), q[0]);
    y.y = element_of(format, scale_of(format, block, p, c + 1), q[1]);
    y.z = element_of(format, scale_of(format, block, p, c + 2), q[2]);
    y.w = element_of(format, scale_of(format, block, p, c + 3), q[3]);
    return y;
}

// One element of the whole matrix.
DEVICE float load_block(u32 format, const u8* base, u32 k, u32 position, u32 column) {
    u32 positions = block_positions(format);
    const u8* block = base + ((u64)(column / 16) * (k / positions) + position / positions) * block_bytes(format);
    u32 p = position % positions, c = column % 16;
    i32 q[4];
    integers4(format, block, p, c / 4 * 4, q);
    i32 own = c % 4 == 0 ? q[0] : c % 4 == 1 ? q[1] : c % 4 == 2 ? q[2] : q[3];
    return element_of(format, scale_of(format, block, p, c), own);
}
