// ONNX's Attention between and around its products: factors, masks, rows that see nothing.
#include "lanes.cuh"

// y = x * f, f the root of the scale, which is 1 / sqrt(d) if none is given.
KERNEL attention_factor(float* y, const float* x, u64 n, float scale, u32 d, u32 given) {
    float root_of = __fsqrt_rn(__nvvm_ui2f_rn(d));
    float f = __fsqrt_rn(given ? scale : __fdiv_rn(1.0f, root_of));
    for (u64 i = (u64)block_x() * block_width() + thread_x(); i < n; i += (u64)grid_x() * block_width()) y[i] = __fmul_rn(x[i], f);
}

// y = tanh(x / cap) * cap.
KERNEL attention_cap(float* y, const float* x, u64 n, float cap) {
    for (u64 i = (u64)block_x() * block_width() + thread_x(); i < n; i += (u64)grid_x() * block_width())
        y[i] = __fmul_rn(tanh_f32(__fdiv_rn(x[i], cap), 0, 0), cap);
}

constexpr u32 CAUSAL = 1, MASK = 2, MASK_IS_BOOL = 4, HAS_PAST = 8, COUNTED = 16;

// Scores of a row [total], masked in place; seen[row] = whether one of them is not -infinity. A mask is [..][columns] with strides for batch,
// head and query. A block for each row of batch * heads * queries. `left` and `right` below 0: all.
KERNEL __launch_bounds__(256)
    attention_mask(float* scores, u32* seen, const void* mask, const i64* lengths, u32 heads, u32 queries, u32 total, u32 columns, u64 m0,
                   u64 m1, u64 m2, u32 past, i64 left, i64 right, u32 flags) {
    __shared__ u32 any;
    if (thread_x() == 0) any = 0;
    __syncthreads();
    u32 row = block_x(), i = row % queries, head = row / queries % heads, batch = row / queries / heads;
    float* s = scores + (u64)row * total;
    i64 length = flags & COUNTED ? lengths[batch] : 0;
    // The subtraction cannot wrap where a comparison could tell: what is far below 0 stays far below it.
    i64 least = -0x4000000000000000ll;
    if (length < least) length = least;
    i64 before = flags & HAS_PAST ? (i64)past : flags & COUNTED ? length - (i64)queries : 0;
    i64 at = (i64)i + before;
    float none = from_bits(0xff800000u);
    u64 base = batch * m0 + head * m1 + i * m2;
    u32 own = 0;
    for (u32 j = thread_x(); j < total; j += 256) {
        bool sees = !(flags & COUNTED && (i64)j >= length) && !(flags & CAUSAL && (i64)j > at);
        if (left >= 0 && (i64)j + left < at) sees = false;
        if (right >= 0 && (i64)j - right > at) sees = false;
        float v = s[j];
        if (!sees) v = none;
        else if (flags & MASK) {
            if (j >= columns) v = none;
            else if (flags & MASK_IS_BOOL) v = ((const u8*)mask)[base + j] ? v : none;
            else v = __fadd_rn(v, ((const float*)mask)[base + j]);
        }
        s[j] = v;
        own |= v != none;
    }
    if (own) asm volatile("red.shared.or.b32 [%0], 1;" ::"r"((u32)(u64)(__attribute__((address_space(3))) u32*)&any) : "memory");
    __syncthreads();
    if (thread_x() == 0) seen[row] = any;
}

// Rows of `n` elements that saw nothing become +0.
KERNEL attention_blank(float* y, const u32* seen, u64 count, u32 n) {
    for (u64 i = (u64)block_x() * block_width() + thread_x(); i < count; i += (u64)grid_x() * block_width())
        if (!seen[i / n]) y[i] = 0;
}
