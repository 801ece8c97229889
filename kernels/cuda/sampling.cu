// The next token of a sequence (SPEC.md, "Sampling"): a block for each row of logits.
//
// Reductions find extremes alone, which have no order; the sum of a probability has that of row reductions. Noise is a function of
// seed, request, position and token. Equals go to the lower token.
#include "contract.cuh"
#include "lanes.cuh"

constexpr u32 THREADS = 512;

// How the token that follows a row is chosen.
struct Choice {
    u64 logits;  // the row's first one
    u64 copy;    // where its penalized ones go
    float temperature, min_p, repetition, presence, frequency;
    u32 top_k;
    u32 first, penalties;  // tokens that have occurred, each with how often it was generated
    u32 seed0, seed1, nonce0, nonce1, position;
    u32 unused;
};

struct Chosen {
    u32 token;
    u32 is_bad;  // its logit is none
    float log_probability;
    float logit;
};

struct Best {
    float value;
    u32 token;
};

// A token that none is.
constexpr u32 NONE = 0xffffffff;

DEVICE bool is_better(Best a, Best b) { return a.value > b.value || (a.value == b.value && a.token < b.token); }

DEVICE Best best_of(Best own) {
    __shared__ float values[THREADS];
    __shared__ u32 tokens[THREADS];
    u32 t = thread_x();
    __syncthreads();
    values[t] = own.value, tokens[t] = own.token;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) {
            Best here = {values[t], tokens[t]}, other = {values[t + half], tokens[t + half]};
            if (is_better(other, here)) values[t] = other.value, tokens[t] = other.token;
        }
        __syncthreads();
    }
    return {values[0], tokens[0]};
}

DEVICE float penalized(float logit, const Choice &c, u32 count) {
    if (c.repetition != 1.0f) logit = logit > 0.0f ? __fdiv_rn(logit, c.repetition) : __fmul_rn(logit, c.repetition);
    if (count > 0) {
        logit = __fsub_rn(logit, __fmul_rn(of_int((i32)count), c.frequency));
        logit = __fsub_rn(logit, c.presence);
    }
    return logit;
}

// A token's number in (0, 1): a word of Philox4x32-10.
DEVICE float noise(const Choice &c, u32 token) {
    u32 k0 = c.seed0, k1 = c.seed1;
    u32 x0 = token / 4, x1 = c.position, x2 = c.nonce0, x3 = c.nonce1;
#pragma unroll 1
    for (int round = 0; round < 10; round++) {
        u64 a = (u64)0xd2511f53u * x0, b = (u64)0xcd9e8d57u * x2;
        x0 = (u32)(b >> 32) ^ x1 ^ k0, x1 = (u32)b, x2 = (u32)(a >> 32) ^ x3 ^ k1, x3 = (u32)a;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    u32 word = token % 4 == 0 ? x0 : token % 4 == 1 ? x1 : token % 4 == 2 ? x2 : x3;
    // Exact: 23 bits and a half, and a power of two.
    return __fmul_rn(__fadd_rn(of_int((i32)(word >> 9)), 0.5f), 0x1p-23f);
}

// Greater values have greater keys, and of equals the lower token.
DEVICE u64 key(float value, u32 token) {
    u32 b = value == 0.0f ? 0 : bits(value);
    b = b >> 31 ? ~b : b | 0x80000000u;
    return (u64)b << 32 | ~token;
}

// The key of the `rank`th of `n` values in descending order, the first being 1, by eight of its bits after another.
DEVICE u64 key_of_rank(const float *x, float temperature, u32 n, u32 rank) {
    __shared__ u32 counts[256];
    __shared__ u32 digit, left;
    u32 t = thread_x();
    u64 known = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        __syncthreads();
        if (t < 256) counts[t] = 0;
        __syncthreads();
        for (u32 i = t; i < n; i += THREADS) {
            u64 own = key(__fdiv_rn(x[i], temperature), i);
            if (shift == 56 || own >> (shift + 8) == known) {
                // A number of equals has no order.
                asm volatile("red.add.u32 [%0], 1;" : : "l"(counts + (own >> shift & 255)) : "memory");
            }
        }
        __syncthreads();
        if (t == 0) {
            u32 at = 255, before = 0;
            while (before + counts[at] < rank) before += counts[at--];
            digit = at, left = rank - before;
        }
        __syncthreads();
        known = known << 8 | digit;
        rank = left;
    }
    return known;
}

// The sum of exp(x[i] - most) in the order of row reductions (SPEC.md, section 4).
DEVICE float sum_of_weights(const float *x, float most, u32 n) {
    __shared__ float shared[THREADS];
    __shared__ float levels[32];
    __shared__ float total;
    u32 t = thread_x(), blocks = (n + 4095) / 4096;
    for (u32 done = 0; done < blocks; done += THREADS / 64) {
        u32 begin = (done + t / 64) * 4096 + t % 64;
        float sum = 0.0f;
        for (u32 i = 0; i < 64; i++) {
            u32 at = begin + i * 64;
            if (at < n) sum = __fadd_rn(sum, exp_f32(__fsub_rn(x[at], most), 0, 0));
        }
        shared[t] = sum;
        __syncthreads();
        for (u32 half = 32; half > 0; half /= 2) {
            if (t % 64 < half) shared[t] = __fadd_rn(shared[t], shared[t + half]);
            __syncthreads();
        }
        if (t == 0) {
            // Complete subtrees, as a binary counter.
#pragma unroll 1
            for (u32 i = 0; i < THREADS / 64 && done + i < blocks; i++) {
                float part = shared[64 * i];
                u32 level = 0;
#pragma unroll 1
                for (; (done + i) >> level & 1; level++) part = __fadd_rn(levels[level], part);
                levels[level] = part;
            }
        }
        __syncthreads();
    }
    if (t == 0) {
        u32 level = 0;
        while (!(blocks >> level & 1)) level++;
        float sum = levels[level++];
#pragma unroll 1
        for (; blocks >> level; level++)
            if (blocks >> level & 1) sum = __fadd_rn(levels[level], sum);
        total = sum;
    }
    __syncthreads();
    return total;
}

// out[r] = the token that follows row `r` of `n` logits. A row with a logit that is NaN or infinite gives the first such token.
KERNEL __launch_bounds__(THREADS)
    choose(Chosen *out, const Choice *choices, const u32 *occurred, const float *logits, float *copies, u32 n) {
    u32 t = thread_x();
    const Choice c = choices[block_x()];
    const float *raw = logits + c.logits;
    Chosen *to = out + block_x();

    Best bad = {0.0f, NONE}, most = {-__builtin_inff(), NONE};
    for (u32 i = t; i < n; i += THREADS) {
        float x = raw[i];
        if (is_nan(x) || x == __builtin_inff()) bad.token = i < bad.token ? i : bad.token;
        most.value = larger(most.value, x);
    }
    bad = best_of(bad);
    if (bad.token != NONE) {
        if (t == 0) *to = {bad.token, 1, 0.0f, raw[bad.token]};
        return;
    }
    const float *x = raw;
    if (c.penalties > 0) {
        float *copy = copies + c.copy;
        for (u32 i = t; i < n; i += THREADS) copy[i] = raw[i];
        __syncthreads();
        for (u32 i = t; i < c.penalties; i += THREADS) {
            u32 token = occurred[2 * (c.first + i)];
            copy[token] = penalized(copy[token], c, occurred[2 * (c.first + i) + 1]);
        }
        __syncthreads();
        x = copy;
    }

    // Without temperature the greatest; else the greatest with noise of those that are considered.
    Best best = {0.0f, NONE};
    if (c.temperature == 0.0f) {
        for (u32 i = t; i < n; i += THREADS) {
            Best own = {x[i], i};
            if (best.token == NONE || is_better(own, best)) best = own;
        }
    } else {
        Best first = {-__builtin_inff(), NONE};
        for (u32 i = t; i < n && c.min_p > 0.0f; i += THREADS) {
            Best own = {__fdiv_rn(x[i], c.temperature), i};
            if (is_better(own, first)) first = own;
        }
        if (c.min_p > 0.0f) first = best_of(first);
        u64 least = c.top_k > 0 && c.top_k < n ? key_of_rank(x, c.temperature, n, c.top_k) : 0;
        for (u32 i = t; i < n; i += THREADS) {
            float scaled = __fdiv_rn(x[i], c.temperature);
            if (key(scaled, i) < least) continue;
            if (c.min_p > 0.0f && i != first.token && !(exp_f32(__fsub_rn(scaled, first.value), 0, 0) >= c.min_p)) continue;
            float gumbel = log_f32(-log_f32(noise(c, i), 0, 0), 0, 0);
            Best own = {__fsub_rn(scaled, gumbel), i};
            if (best.token == NONE || is_better(own, best)) best = own;
        }
    }
    if (best.token == NONE) best.value = -__builtin_inff();
    best = best_of(best);

    // Its probability as the model gives it.
    __shared__ float shared[THREADS];
    shared[t] = most.value;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) shared[t] = larger(shared[t], shared[t + half]);
        __syncthreads();
    }
    float maximum = shared[0];
    float sum = sum_of_weights(raw, maximum, n);
    if (t == 0) {
        float own = raw[best.token];
        float logarithm = log_f32(sum, 0, 0);
        *to = {best.token, 0, canonical(__fsub_rn(__fsub_rn(own, maximum), logarithm)), own};
    }
}
