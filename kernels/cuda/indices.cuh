// Elements that index tensors name.
#pragma once

#include "lanes.cuh"

// The position on an axis; one out of range raises the flag and names nothing.
DEVICE bool place(const void *indices, u64 i, u32 type, u32 extent, u32 *flag, u32 &at) {
    i64 index = load_index(indices, type, i);
    if (index < 0) index += extent;
    if (index < 0 || index >= (i64)extent) {
        raise(flag);
        return false;
    }
    at = (u32)index;
    return true;
}

// The extents of up to six axes that a tuple of indices names a slice by.
#define EXTENTS_OF_DATA u32 tuple, u32 d0, u32 d1, u32 d2, u32 d3, u32 d4, u32 d5
