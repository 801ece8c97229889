// Products of matrices of f64 and of integers, in batches, in the order of contractions; integers wrap, whatever their sign.
//
// A block computes tiles of 16 x 16 outputs, a thread one of them: whole chains, and the tree over its chunks. 16 terms at a time
// are staged for all.
#include "contract.cuh"

constexpr u32 SIDE = 16, THREADS = SIDE * SIDE;
// Levels of the tree: for as many terms as launches take.
constexpr u32 LEVELS = 20;

// The tree over parts that arrive one after another, as a binary counter: level `l` holds the result of 2^l parts. Each thread has
// its own, a column of shared memory, as levels in registers would be as many for few terms as for the most.
template <typename T> DEVICE void push(T (&levels)[LEVELS][THREADS], T part, u32 count) {
    u32 l = 0;
#pragma unroll 1
    for (; count >> l & 1; l++) part = sum_of(levels[l][thread_x()], part);
    levels[l][thread_x()] = part;
}

// The result over `count` parts: the smaller subtrees are the right ones. Of no parts, +0.
template <typename T> DEVICE T result_of(T (&levels)[LEVELS][THREADS], u32 count) {
    if (count == 0) return 0;
    u32 l = 0;
    while (!(count >> l & 1)) l++;
    T sum = levels[l++][thread_x()];
#pragma unroll 1
    for (; count >> l; l++)
        if (count >> l & 1) sum = sum_of(levels[l][thread_x()], sum);
    return sum;
}

DEVICE void factor_of(u64 raw, double &y) { y = from_bits(raw); }
DEVICE void factor_of(u64 raw, u32 &y) { y = (u32)raw; }
DEVICE void factor_of(u64 raw, u64 &y) { y = raw; }
DEVICE double times(double a, double b) { return __dmul_rn(a, b); }
DEVICE u32 times(u32 a, u32 b) { return a * b; }
DEVICE u64 times(u64 a, u64 b) { return a * b; }

// After the contraction, as in element.cuh: t = s, or alpha * s; then t + c, or beta * c + t.
constexpr u32 HAS_ALPHA = 1, HAS_C = 2, HAS_BETA = 4;

// Element (outer o, term p) of an operand is at o * outer + p * term; one of the two is 1.
struct Strides {
    u64 outer, term;
};

// What a thread brings to a tile: 16 outers by 16 terms from (origin, begin) on, zeros where there are none, neighbouring threads
// neighbours in memory. A zero's product changes no bit, as a chunk ends with + (+0).
template <typename T>
DEVICE void stage(T (&to)[SIDE][SIDE + 1], const T* from, Strides by, u32 origin, u32 begin, u32 extent, u32 k) {
    u32 near = thread_x() % SIDE, far = thread_x() / SIDE;
    u32 outer = by.term == 1 ? far : near, term = by.term == 1 ? near : far;
    bool is_in = origin + outer < extent && begin + term < k;
    to[term][outer] = is_in ? from[(origin + outer) * by.outer + (begin + term) * by.term] : T(0);
}

// alpha and beta: an f64's bits, or an integer. Element (row, column) of c is at row * c_row + column * c_column.
#define PRODUCT(NAME, T)                                                                                                  \
    KERNEL __launch_bounds__(THREADS)                                                                                     \
        NAME(const T* a, const T* b, T* out, const T* c, u32 m, u32 n, u32 k, u64 a_outer, u64 a_term, u64 b_outer,         \
             u64 b_term, u32 tiles_n, u32 tiles, u32 extent1, u32 extent2, u64 a0, u64 a1, u64 a2, u64 b0, u64 b1, u64 b2,  \
             u64 alpha, u64 beta, u32 flags, u64 c_row, u64 c_column) {                                                    \
        __shared__ T a_terms[SIDE][SIDE + 1], b_terms[SIDE][SIDE + 1], levels[LEVELS][THREADS];                            \
        T alpha_of, beta_of;                                                                                              \
        factor_of(alpha, alpha_of), factor_of(beta, beta_of);                                                             \
        u32 of_one = (m + SIDE - 1) / SIDE * tiles_n;                                                                     \
        for (u32 tile = block_x(); tile < tiles; tile += grid_x()) {                                                      \
            u32 batch = tile / of_one, in_matrix = tile % of_one;                                                         \
            u32 i2 = batch % extent2, i1 = batch / extent2 % extent1, i0 = batch / extent2 / extent1;                      \
            const T* a_own = a + i0 * a0 + i1 * a1 + i2 * a2;                                                             \
            const T* b_own = b + i0 * b0 + i1 * b1 + i2 * b2;                                                             \
            u32 row_origin = in_matrix / tiles_n * SIDE, column_origin = in_matrix % tiles_n * SIDE;                       \
            u32 row = thread_x() / SIDE, column = thread_x() % SIDE;                                                      \
            T sum = 0;                                                                                                    \
            u32 parts = 0;                                                                                                \
            _Pragma("unroll 1") for (u32 begin = 0; begin < k; begin += SIDE) {                                            \
                stage(a_terms, a_own, {a_outer, a_term}, row_origin, begin, m, k);                                         \
                stage(b_terms, b_own, {b_outer, b_term}, column_origin, begin, n, k);                                      \
                __syncthreads();                                                                                          \
                _Pragma("unroll") for (u32 p = 0; p < SIDE; p++) sum = chained(a_terms[p][row], b_terms[p][column], sum);  \
                __syncthreads();                                                                                          \
                if ((begin + SIDE) % CHUNK == 0 || begin + SIDE >= k) {                                                    \
                    push(levels, sum_of(sum, T(0)), parts++);                                                             \
                    sum = 0;                                                                                              \
                }                                                                                                         \
            }                                                                                                             \
            row += row_origin, column += column_origin;                                                                   \
            if (row >= m || column >= n) continue;                                                                        \
            T y = result_of(levels, parts);                                                                               \
            if (flags & HAS_ALPHA) y = times(alpha_of, y);                                                                \
            if (flags & HAS_C) {                                                                                          \
                T other = c[row * c_row + column * c_column];                                                             \
                y = flags & HAS_BETA ? chained(beta_of, other, y) : sum_of(y, other);                                      \
            }                                                                                                             \
            out[((u64)batch * m + row) * n + column] = stored(y);                                                         \
        }                                                                                                                 \
    }

PRODUCT(product_f64, double)
PRODUCT(product_u32, u32)
PRODUCT(product_u64, u64)
