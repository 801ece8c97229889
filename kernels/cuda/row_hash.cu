// What steps give, row by row, as leaves of the rows' logs (SPEC.md, "Sequence programs"): many steps in one launch.
//
// A row of an output is a tensor of its own: its bytes are cut into leaves, a thread each; then a block for each row of a step
// combines them, binds the root to the row's type and shape, and hashes the step's number with the digests of all its outputs.

#include "merkle.cuh"

// Rows of one output.
struct Rows {
    u64 at;             // the first byte of the first row
    u64 bytes;          // of a row
    u32 first;          // its first leaf's number among all
    u32 leaves;         // of a row
    u32 binding;        // where what stands before the root begins, and its bytes
    u32 binding_bytes;
};

// Rows of a step.
struct Step {
    u64 to;       // the place of the first row's leaf among digests, and what lies between rows
    u64 stride;
    u32 first;    // its first row's block
    u32 output;   // its first output
    u32 outputs;
    u32 number;
};

// The last of `count` items whose first number is `at` or less; the first one begins with 0.
template <typename T> DEVICE u32 item_of(const T *items, u32 count, u32 at) {
    u32 low = 0;
    for (u32 high = count; high - low > 1;) {
        u32 middle = low + (high - low) / 2;
        if (items[middle].first <= at) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// out[i] = leaf number i of all rows of all outputs.
KERNEL row_leaves(u32 *out, const Rows *outputs, u32 count, u32 leaves, const u8 *base) {
    for (u32 i = block_x() * GROUP + thread_x(); i < leaves; i += grid_x() * GROUP) {
        Rows rows = outputs[item_of(outputs, count, i)];
        u32 row = (i - rows.first) / rows.leaves;
        u64 begin = 1024 * (u64)((i - rows.first) % rows.leaves);
        u64 rest = rows.bytes - begin;
        Hash hash = leaf(base + rows.at + row * rows.bytes + begin, rest < 1024 ? (i32)rest : 1024);
        store(out + 8 * (u64)i, hash);
    }
}

// The root over `count` leaves: thread 0 of the block gets it. Groups are complete subtrees but for the last one; their roots are
// combined as a binary counter, smallest first at the end.
DEVICE Hash root_of(const u32 *leaves, u32 count) {
    __shared__ u32 waiting[32][8];
    if (count == 0) return of_nothing();
    u32 groups = (count + GROUP - 1) / GROUP;
    Hash own;
    begin(own);
    for (u32 group = 0; group < groups; group++) {
        u32 first = group * GROUP;
        u32 here = count - first < GROUP ? count - first : GROUP;
        if (thread_x() < here) own = loaded(leaves + 8 * (u64)(first + thread_x()));
        own = combined(own, here);
        if (thread_x() == 0) {
            bool is_last = group == groups - 1;
            u32 level = 0;
            for (u32 full = group; full != 0 && (is_last || (full & 1)); full >>= 1, level++) {
                if (!(full & 1)) continue;
                own = node(loaded(waiting[level]), own);
            }
            if (!is_last) store(waiting[level], own);
        }
    }
    return own;
}

// Byte `i` of what follows a message of `bytes` bytes up to `end`: 80, zeros, the number of bits.
DEVICE u8 padding(u32 i, u32 bytes, u32 end) {
    if (i == bytes) return 0x80;
    return i + 4 >= end ? (u8)((8 * bytes) >> (8 * (end - 1 - i))) : 0;
}

// A block of 64 bytes of a message into the state.
DEVICE void absorb(Hash &s, const u32 *message) {
    u32 w[16];
#pragma unroll
    for (int j = 0; j < 16; j++) w[j] = turned(message[j]);
    compress(s, w);
}

// out[to + row * stride] = the leaf of a step's row. Bindings have up to 1024 bytes.
KERNEL row_steps(u32 *out, const Step *steps, u32 count, const Rows *outputs, const u8 *bindings, const u32 *leaves) {
    alignas(16) __shared__ u32 message[(1024 + 32 + 64) / 4];
    alignas(16) __shared__ u32 said[32];
    __shared__ u32 root[8];
    u32 t = thread_x();
    Step step = steps[item_of(steps, count, block_x())];
    u32 row = block_x() - step.first;
    // The leaf's message: a zero byte, the step's number, the outputs' digests; its blocks are hashed as they fill up.
    Hash leaf;
    begin(leaf);
    u8 *text = (u8 *)said;
    u32 filled = 5, done = 0;
    if (t == 0) {
        text[0] = 0;
        for (u32 i = 0; i < 4; i++) text[1 + i] = (u8)(step.number >> (8 * i));
    }
    for (u32 k = 0; k < step.outputs; k++) {
        Rows rows = outputs[step.output + k];
        Hash own = root_of(leaves + 8 * ((u64)rows.first + (u64)row * rows.leaves), rows.leaves);
        if (t == 0) store(root, own);
        __syncthreads();
        u32 bytes = rows.binding_bytes + 32, end = (bytes + 9 + 63) / 64 * 64;
        for (u32 i = t; i < end; i += GROUP) {
            u8 byte = padding(i, bytes, end);
            if (i < rows.binding_bytes) {
                byte = bindings[rows.binding + i];
            } else if (i < bytes) {
                byte = ((const u8 *)root)[i - rows.binding_bytes];
            }
            ((u8 *)message)[i] = byte;
        }
        __syncthreads();
        if (t == 0) {
            Hash digest;
            begin(digest);
            for (u32 block = 0; block < end / 64; block++) absorb(digest, message + 16 * block);
#pragma unroll
            for (u32 j = 0; j < 8; j++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) text[filled + 4 * j + i] = (u8)(digest.h[j] >> (24 - 8 * i));
            }
            filled += 32;
            if (filled >= 64) {
                absorb(leaf, said);
                filled -= 64, done += 64;
                for (u32 i = 0; i < filled; i++) text[i] = text[64 + i];
            }
        }
    }
    if (t == 0) {
        u32 end = filled + 9 <= 64 ? 64 : 128;
        // The padding counts the blocks before, too.
        for (u32 i = filled; i < end; i++) text[i] = padding(done + i, done + filled, done + end);
#pragma unroll 1
        for (u32 at = 0; at < end; at += 64) absorb(leaf, said + at / 4);
        store(out + 8 * (step.to + row * step.stride), leaf);
    }
}
