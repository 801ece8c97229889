// Merkle roots of tensors' bytes on the device (SPEC.md, section 6), many tensors in one launch.
//
// A leaf is a thread. A block takes 128 neighbouring leaves (or nodes) of one tensor and combines them in shared memory: an
// aligned group of a power of two is a complete subtree, and the rest is combined in the same way, its last node without
// a neighbour passing upwards.

#include "merkle.cuh"

// What is left of a tensor at some height of its tree.
struct Part {
    u64 at;     // the first byte of its data, or its first hash
    u64 bytes;  // of its data
    u32 count;  // of leaves or hashes
    u32 group;  // its first group's number, which is that group's place in what is written
    u32 base;   // which buffer has its data
    u32 unused;
};

// The part that a group belongs to.
DEVICE Part part_of(const Part *parts, u32 count, u32 group) {
    u32 low = 0;
    for (u32 high = count; high - low > 1;) {
        u32 middle = low + (high - low) / 2;
        if (parts[middle].group <= group) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return parts[low];
}

// out[group] = the root over up to 128 leaves of a tensor; that of a tensor without bytes is the hash of nothing.
KERNEL leaves(u32 *out, const Part *parts, u32 count, const u8 *base0, const u8 *base1, const u8 *base2, const u8 *base3,
              const u8 *base4, const u8 *base5, const u8 *base6, const u8 *base7) {
    u32 group = block_x();
    Part part = part_of(parts, count, group);
    const u8 *base = base0;
    switch (part.base) {
    case 1: base = base1; break;
    case 2: base = base2; break;
    case 3: base = base3; break;
    case 4: base = base4; break;
    case 5: base = base5; break;
    case 6: base = base6; break;
    case 7: base = base7; break;
    }
    u64 first = (u64)(group - part.group) * GROUP;
    u64 left = part.count - first;
    u32 own = left < GROUP ? (u32)left : GROUP;
    u64 mine = first + thread_x();
    Hash hash;
    begin(hash);
    if (thread_x() < own) {
        u64 rest = part.bytes - 1024 * mine;
        hash = leaf(base + part.at + 1024 * mine, rest < 1024 ? (i32)rest : 1024);
    } else if (part.count == 0 && thread_x() == 0) {
        hash = of_nothing();
    }
    hash = combined(hash, own);
    if (thread_x() == 0) store(out + 8 * (u64)group, hash);
}

// out[group] = the root over up to 128 hashes of a tensor.
KERNEL nodes(u32 *out, const Part *parts, u32 count, const u32 *from) {
    u32 group = block_x();
    Part part = part_of(parts, count, group);
    u64 first = (u64)(group - part.group) * GROUP;
    u64 left = part.count - first;
    u32 own = left < GROUP ? (u32)left : GROUP;
    Hash hash;
    begin(hash);
    if (thread_x() < own) {
        hash = loaded(from + 8 * (part.at + first + thread_x()));
    } else if (part.count == 0 && thread_x() == 0) {
        hash = of_nothing();
    }
    hash = combined(hash, own);
    if (thread_x() == 0) store(out + 8 * (u64)group, hash);
}
