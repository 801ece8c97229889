// ONNX's Attention between and around its products: factors, masks, rows that see nothing; in f32, and all of it again in f64.
#include "lanes.cuh"

DEVICE float tanh_of(float x) { return tanh_f32(x, 0, 0); }
DEVICE double tanh_of(double x) { return tanh_f64(x, 0, 0); }
// Scores may be shown, so their NaN is the one of tensors.
DEVICE float shown(float x) { return canonical_f32(x); }
DEVICE double shown(double x) { return canonical_f64(x); }
DEVICE void count_of(u32 n, float &y) { y = __nvvm_ui2f_rn(n); }
DEVICE void count_of(u32 n, double &y) { y = (double)n; }

// y = x * f, f the root of the scale, which is 1 / sqrt(d) if none is given.
template <typename W> DEVICE void multiply(W *y, const W *x, u64 n, float scale, u32 d, u32 given) {
    W count;
    count_of(d, count);
    W f = root(given ? (W)scale : div((W)1, root(count)));
    for (u64 i = (u64)block_x() * block_width() + thread_x(); i < n; i += (u64)grid_x() * block_width()) y[i] = mul(x[i], f);
}

// y = tanh(x / cap) * cap.
template <typename W> DEVICE void cap_all(W *y, const W *x, u64 n, W cap) {
    for (u64 i = (u64)block_x() * block_width() + thread_x(); i < n; i += (u64)grid_x() * block_width())
        y[i] = shown(mul(tanh_of(div(x[i], cap)), cap));
}

constexpr u32 CAUSAL = 1, MASK = 2, MASK_IS_BOOL = 4, HAS_PAST = 8, COUNTED = 16;

// What a kernel of masks is given: scores of a row [total], masked in place; seen[row] = whether one of them is not -infinity. A mask
// is [..][columns] with strides for batch, head and query. A block for each row of batch * heads * queries. `left` and `right` below
// 0: all.
struct Masking {
    u32 *seen;
    const void *mask;
    const i64 *lengths;
    u32 heads, queries, total, columns;
    u64 m0, m1, m2;
    u32 past;
    i64 left, right;
    u32 flags;
};

template <typename W> DEVICE void mask_row(W *scores, const Masking &g) {
    __shared__ u32 any;
    if (thread_x() == 0) any = 0;
    __syncthreads();
    u32 row = block_x(), i = row % g.queries, head = row / g.queries % g.heads, batch = row / g.queries / g.heads;
    W *s = scores + (u64)row * g.total;
    i64 length = g.flags & COUNTED ? g.lengths[batch] : 0;
    // The subtraction cannot wrap where a comparison could tell: what is far below 0 stays far below it.
    i64 least = -0x4000000000000000ll;
    if (length < least) length = least;
    i64 before = g.flags & HAS_PAST ? (i64)g.past : g.flags & COUNTED ? length - (i64)g.queries : 0;
    i64 at = (i64)i + before;
    W none = -(W)__builtin_inff();
    u64 base = batch * g.m0 + head * g.m1 + i * g.m2;
    u32 own = 0;
    for (u32 j = thread_x(); j < g.total; j += 256) {
        bool sees = !(g.flags & COUNTED && (i64)j >= length) && !(g.flags & CAUSAL && (i64)j > at);
        if (g.left >= 0 && (i64)j + g.left < at) sees = false;
        if (g.right >= 0 && (i64)j - g.right > at) sees = false;
        W v = s[j];
        if (!sees) v = none;
        else if (g.flags & MASK) {
            if (j >= g.columns) v = none;
            else if (g.flags & MASK_IS_BOOL) v = ((const u8 *)g.mask)[base + j] ? v : none;
            else v = shown(add(v, ((const W *)g.mask)[base + j]));
        }
        s[j] = v;
        own |= v != none;
    }
    if (own) asm volatile("red.shared.or.b32 [%0], 1;" ::"r"((u32)(u64)(__attribute__((address_space(3))) u32 *)&any) : "memory");
    __syncthreads();
    if (thread_x() == 0) g.seen[row] = any;
}

// Rows of `n` elements that saw nothing become +0.
template <typename W> DEVICE void blank(W *y, const u32 *seen, u64 count, u32 n) {
    for (u64 i = (u64)block_x() * block_width() + thread_x(); i < count; i += (u64)grid_x() * block_width())
        if (!seen[i / n]) y[i] = 0;
}

#define ATTENTION(W, SUFFIX)                                                                                              \
    KERNEL attention_factor##SUFFIX(W *y, const W *x, u64 n, float scale, u32 d, u32 given) {                              \
        multiply(y, x, n, scale, d, given);                                                                               \
    }                                                                                                                     \
    KERNEL attention_cap##SUFFIX(W *y, const W *x, u64 n, float cap) { cap_all(y, x, n, (W)cap); }                         \
    KERNEL __launch_bounds__(256)                                                                                         \
        attention_mask##SUFFIX(W *scores, u32 *seen, const void *mask, const i64 *lengths, u32 heads, u32 queries,          \
                               u32 total, u32 columns, u64 m0, u64 m1, u64 m2, u32 past, i64 left, i64 right, u32 flags) { \
        mask_row(scores, {seen, mask, lengths, heads, queries, total, columns, m0, m1, m2, past, left, right, flags});     \
    }                                                                                                                     \
    KERNEL attention_blank##SUFFIX(W *y, const u32 *seen, u64 count, u32 n) { blank(y, seen, count, n); }

ATTENTION(float, )
ATTENTION(double, _f64)
