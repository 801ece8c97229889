// SHA-256 and Merkle trees (SPEC.md, section 6), as the kernels that hash have them in common.
//
// Both prefixes, of leaves and of inner nodes, are one byte, so that every word of a message is cut from two neighbouring
// words of the data: one byte permutation, which also turns the order of bytes around.
#pragma once
#include "prelude.cuh"

#define GROUP 128

static __device__ __constant__ u32 ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

struct Hash {
    u32 h[8];
};

DEVICE u32 rotate(u32 x, u32 n) { return __builtin_rotateright32(x, n); }
// Bytes 6, 5, 4, 3 of the eight bytes of a, b, from the lowest up: b's first three after a's last, high byte first.
DEVICE u32 after_last_byte(u32 a, u32 b) { return __nvvm_prmt(a, b, 0x3456); }
DEVICE u32 turned(u32 x) { return __nvvm_prmt(x, 0, 0x0123); }

DEVICE void begin(Hash &s) {
    s.h[0] = 0x6a09e667, s.h[1] = 0xbb67ae85, s.h[2] = 0x3c6ef372, s.h[3] = 0xa54ff53a;
    s.h[4] = 0x510e527f, s.h[5] = 0x9b05688c, s.h[6] = 0x1f83d9ab, s.h[7] = 0x5be0cd19;
}

// Sixteen words of a message into the state (FIPS 180-4, 6.2.2); the words are lost.
DEVICE void compress(Hash &s, u32 (&w)[16]) {
    u32 a = s.h[0], b = s.h[1], c = s.h[2], d = s.h[3], e = s.h[4], f = s.h[5], g = s.h[6], h = s.h[7];
#pragma unroll 1
    for (int t = 0; t < 64; t += 16) {
        if (t > 0) {
#pragma unroll
            for (int j = 0; j < 16; j++) {
                u32 x = w[(j + 1) & 15], y = w[(j + 14) & 15];
                u32 s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >> 3);
                u32 s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >> 10);
                w[j] += s0 + w[(j + 9) & 15] + s1;
            }
        }
#pragma unroll
        for (int j = 0; j < 16; j++) {
            u32 s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
            u32 t1 = h + s1 + (g ^ (e & (f ^ g))) + ROUND[t + j] + w[j];
            u32 s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
            u32 t2 = s0 + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
    }
    s.h[0] += a, s.h[1] += b, s.h[2] += c, s.h[3] += d, s.h[4] += e, s.h[5] += f, s.h[6] += g, s.h[7] += h;
}

// Four bytes of the padded message of a leaf of `bytes` bytes, the first of them at data[at]; at = -1 is the prefix.
DEVICE u32 edge_word(const u8 *data, i32 at, i32 bytes) {
    u32 word = 0;
    for (i32 k = 0; k < 4; k++, at++) {
        u32 byte = at == bytes ? 0x80u : at >= 0 && at < bytes ? data[at] : 0u;
        word = word << 8 | byte;
    }
    return word;
}

// The hash of a leaf: of a zero byte and up to 1024 bytes of data.
DEVICE Hash leaf(const u8 *data, i32 bytes) {
    Hash s;
    begin(s);
    // The prefix, a byte 80 and eight of length are added.
    i32 blocks = (bytes + 10 + 63) / 64;
    bool aligned = ((u64)data & 15) == 0;
    // The word before the data stands for the prefix.
    u32 last = 0;
#pragma unroll 1
    for (i32 k = 0; k < blocks; k++) {
        u32 w[16];
        if (aligned && 64 * (k + 1) <= bytes) {
            const uint4 *from = (const uint4 *)(data + 64 * k);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                uint4 four = from[j];
                w[4 * j] = after_last_byte(last, four.x);
                w[4 * j + 1] = after_last_byte(four.x, four.y);
                w[4 * j + 2] = after_last_byte(four.y, four.z);
                w[4 * j + 3] = after_last_byte(four.z, four.w);
                last = four.w;
            }
        } else {
#pragma unroll
            for (int j = 0; j < 16; j++) w[j] = edge_word(data, 64 * k + 4 * j - 1, bytes);
            if (k == blocks - 1) w[15] = 8 * (u32)(bytes + 1);
        }
        compress(s, w);
    }
    return s;
}

// The hash of an inner node: of a byte 01 and both hashes.
DEVICE Hash node(const Hash &left, const Hash &right) {
    Hash s;
    begin(s);
    u32 w[16];
    // Hashes are words already: neighbours are shifted by a byte into each other.
    w[0] = 0x01000000u | left.h[0] >> 8;
#pragma unroll
    for (int j = 1; j < 8; j++) w[j] = left.h[j - 1] << 24 | left.h[j] >> 8;
    w[8] = left.h[7] << 24 | right.h[0] >> 8;
#pragma unroll
    for (int j = 1; j < 8; j++) w[8 + j] = right.h[j - 1] << 24 | right.h[j] >> 8;
    compress(s, w);
    w[0] = right.h[7] << 24 | 0x00800000u;
#pragma unroll
    for (int j = 1; j < 15; j++) w[j] = 0;
    w[15] = 65 * 8;
    compress(s, w);
    return s;
}

// The hash of no bytes (FIPS 180-4): a constant.
DEVICE Hash of_nothing() {
    return {{0xe3b0c442, 0x98fc1c14, 0x9afbf4c8, 0x996fb924, 0x27ae41e4, 0x649b934c, 0xa495991b, 0x7852b855}};
}

// A hash whose bytes lie in order.
DEVICE Hash loaded(const u32 *words) {
    Hash hash;
#pragma unroll
    for (int j = 0; j < 8; j++) hash.h[j] = turned(words[j]);
    return hash;
}
DEVICE void store(u32 *words, const Hash &hash) {
#pragma unroll
    for (int j = 0; j < 8; j++) words[j] = turned(hash.h[j]);
}

// The root over the hashes of a block's threads, of which the first `count` have one: thread 0 gets it.
DEVICE Hash combined(Hash own, u32 count) {
    __shared__ u32 words[8][GROUP];
    u32 t = thread_x();
    if (t < count) {
#pragma unroll
        for (int j = 0; j < 8; j++) words[j][t] = own.h[j];
    }
    __syncthreads();
    while (count > 1) {
        u32 pairs = count / 2;
        bool pairs_up = t < pairs, passes = t == pairs && count % 2 == 1;
        if (pairs_up || passes) {
            Hash left, right;
#pragma unroll
            for (int j = 0; j < 8; j++) left.h[j] = words[j][2 * t];
            own = left;
            if (pairs_up) {
#pragma unroll
                for (int j = 0; j < 8; j++) right.h[j] = words[j][2 * t + 1];
                own = node(left, right);
            }
        }
        __syncthreads();
        if (pairs_up || passes) {
#pragma unroll
            for (int j = 0; j < 8; j++) words[j][t] = own.h[j];
        }
        __syncthreads();
        count -= pairs;
    }
    return own;
}
