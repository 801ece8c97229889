// targets: 75
// Columns of a matrix by number: y[s][p] = w[p][tokens[s]], in f32.
#include "blocks.cuh"
#include "element.cuh"

constexpr u32 ROWS = 0, COLUMNS = 1, BLOCKS = 3;  // else panels

// place: how w lies: [k][n], [n][k], panels of 16 columns, or panels of blocks, whose format is `type`. A token that is
// not below n sets `fault`, and its row is not written. Grid: (ceil(k / 256), tokens).
KERNEL __launch_bounds__(256) embedding(const i64* tokens, const u8* w, float* y, u32* fault, u32 n, u32 k, u32 place, u32 type) {
    u32 p = block_x() * 256 + thread_x();
    if (p >= k) return;
    u64 row = block_y() + (u64)block_z() * grid_y();
    u64 token = (u64)tokens[row];
    if (token >= n) {
        mark(fault);
        return;
    }
    u32 column = (u32)token;
    float x;
    if (place == BLOCKS) x = load_block(type, w, k, p, column);
    else if (place == ROWS) x = load(type, w, (u64)p * n + column);
    else if (place == COLUMNS) x = load(type, w, (u64)column * k + p);
    else x = load(type, w, (u64)(column / 16) * k * 16 + p * 16 + column % 16);
    y[row * k + p] = canonical(x);
}
