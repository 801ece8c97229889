// Operators that move elements of 1, 2, 4 or 8 bytes and compute none.

#include "lanes.cuh"

// y[iy] = x[ix], by the element's size in bytes.
DEVICE void move(void *y, u64 iy, const void *x, u64 ix, u32 size) {
    switch (size) {
    case 1: ((u8 *)y)[iy] = ((const u8 *)x)[ix]; break;
    case 2: ((u16 *)y)[iy] = ((const u16 *)x)[ix]; break;
    case 4: ((u32 *)y)[iy] = ((const u32 *)x)[ix]; break;
    default: ((u64 *)y)[iy] = ((const u64 *)x)[ix];
    }
}

// From one set of strides to another: transposes, slices, concatenations, expansions.
KERNEL copy(void *y, const void *x, u32 n, u32 size, EXTENTS, STRIDES(b), STRIDES(a)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        move(y, ib, x, ia, size);
    }
}

// Matrices of 4-byte elements turned, through a tile in shared memory so that both sides are accessed in order.
// x is [batch][rows][columns]; blocks are of 32 x 8 threads.
KERNEL turn32(u32 *y, const u32 *x, u32 rows, u32 columns) {
    __shared__ u32 tile[32][33];
    u64 matrix = (u64)block_z() * rows * columns;
    u32 tx = thread_x() & 31, ty = thread_x() >> 5;
    u32 c = block_x() * 32 + tx;
#pragma unroll
    for (u32 k = 0; k < 32; k += 8) {
        u32 r = block_y() * 32 + ty + k;
        if (r < rows && c < columns) tile[ty + k][tx] = x[matrix + (u64)r * columns + c];
    }
    __syncthreads();
    u32 r = block_y() * 32 + tx;
#pragma unroll
    for (u32 k = 0; k < 32; k += 8) {
        u32 d = block_x() * 32 + ty + k;
        if (r < rows && d < columns) y[matrix + (u64)d * rows + r] = tile[tx][ty + k];
    }
}

// y[i] = the one element of x, or 0 without one.
KERNEL fill(void *y, const void *x, u32 n, u32 size, u32 given) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        if (given) {
            move(y, i, x, 0, size);
        } else {
            switch (size) {
            case 1: ((u8 *)y)[i] = 0; break;
            case 2: ((u16 *)y)[i] = 0; break;
            case 4: ((u32 *)y)[i] = 0; break;
            default: ((u64 *)y)[i] = 0;
            }
        }
    }
}

// An index into an axis: negative ones count from its end. Any other sets the flag, and 0 stands for it.
DEVICE u32 position(const void *indices, u64 i, u32 type, u32 extent, u32 *flag) {
    i64 at = load_index(indices, type, i);
    if (at < 0) at += extent;
    if (at < 0 || at >= (i64)extent) {
        raise(flag);
        return 0;
    }
    return (u32)at;
}

// y[outer][i][inner] = x[outer][indices[i]][inner], `count` indices into an axis of `extent`, which is not 0.
KERNEL gather(void *y, const void *x, const void *indices, u32 *flag, u32 n, u32 size, u32 type, u32 extent, u32 count, u32 inner) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 slice = (u32)i / inner, within = (u32)i - slice * inner;
        u32 outer = slice / count, at = slice - outer * count;
        u32 row = position(indices, at, type, extent, flag);
        move(y, i, x, ((u64)outer * extent + row) * inner + within, size);
    }
}

// y[i] = x with the position on one axis replaced by indices[i]; STRIDES are x's along the axes of the indices, 0 for
// that axis, whose own stride is `along`.
KERNEL gather_elements(void *y, const void *x, const void *indices, u32 *flag, u32 n, u32 size, u32 type, u32 extent, u32 along,
                       EXTENTS, STRIDES(b), STRIDES(a)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        u32 at = position(indices, ib, type, extent, flag);
        move(y, ib, x, ia + (u64)at * along, size);
    }
}

// y = x above (upper) or below diagonal k of each matrix, the diagonal included, else 0.
KERNEL trilu(void *y, const void *x, u32 n, u32 size, u32 rows, u32 columns, u64 k, u32 upper) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 line = (u32)i / columns;
        i64 c = (u32)i - line * columns, r = line % rows;
        bool keeps = upper ? c - r >= (i64)k : c - r <= (i64)k;
        if (keeps) {
            move(y, i, x, i, size);
        } else {
            switch (size) {
            case 1: ((u8 *)y)[i] = 0; break;
            case 2: ((u16 *)y)[i] = 0; break;
            case 4: ((u32 *)y)[i] = 0; break;
            default: ((u64 *)y)[i] = 0;
            }
        }
    }
}
