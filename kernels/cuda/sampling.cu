// The next token of a sequence (SPEC.md, "Sampling"): a block for each row of logits.
//
// Reductions find extremes alone, which have no order; the sum of a probability has that of row reductions, and those that top_p
// asks for take one number after another. Noise is a function of seed, request, position and token. Equals go to the lower token.
#include "contract.cuh"
#include "lanes.cuh"

constexpr u32 THREADS = 512;

// How the token that follows a row is chosen.
struct Choice {
    u64 logits;  // the row's first one
    u64 copy;    // where its penalized ones go
    float temperature, top_p, min_p, repetition, presence, frequency;
    u32 top_k;
    u32 first, penalties;  // tokens that have occurred, each with how often it was generated
    u32 seed0, seed1, nonce0, nonce1, position;
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

DEVICE float value_of(u64 key) {
    u32 b = (u32)(key >> 32);
    return from_bits(b >> 31 ? b & 0x7fffffffu : ~b);
}

// The values of a row, and keys that have been put together.
struct Values {
    const float *x;
    float temperature;
    u32 n;
    DEVICE_METHOD float scaled(u32 i) const { return __fdiv_rn(x[i], temperature); }
    DEVICE_METHOD u64 operator[](u32 i) const { return key(scaled(i), i); }
};
struct Keys {
    u64 *keys;
    u32 n;
    DEVICE_METHOD u64 operator[](u32 i) const { return keys[i]; }
};

// No value's key, and greater than any.
constexpr u64 ABOVE_ALL = 0xffffffffffffffffull;

// A key from which on, and below `below`, there are `rank` to `room` keys: with both alike that of the `rank`th in descending
// order, or a lesser one that there is not. By eight of its bits after another, the lower ones 0 once there is room.
template <typename From> DEVICE u64 key_of_rank(const From &all, u64 below, u32 rank, u32 room) {
    __shared__ u32 counts[256];
    __shared__ u32 digit, passed;
    u32 t = thread_x();
    u64 known = 0;
    int shift = 64;
    for (bool is_found = false; !is_found;) {
        shift -= 8;
        __syncthreads();
        if (t < 256) counts[t] = 0;
        __syncthreads();
        for (u32 i = t; i < all.n; i += THREADS) {
            u64 own = all[i];
            if (own < below && (shift == 56 || own >> (shift + 8) == known)) {
                // A number of equals has no order.
                asm volatile("red.add.u32 [%0], 1;" : : "l"(counts + (own >> shift & 255)) : "memory");
            }
        }
        __syncthreads();
        if (t == 0) {
            u32 at = 255, before = 0;
            while (before + counts[at] < rank) before += counts[at--];
            digit = at, passed = before;
        }
        __syncthreads();
        known = known << 8 | digit;
        rank -= passed, room -= passed;
        is_found = shift == 0 || counts[digit] <= room;
    }
    return known << shift;
}

// What numbers that are added one after another do to a sum of doubles, each sum rounded, while it stays below the next power of
// two: they raise it by so many units of its last place. How many depends on the sum only by whether its last bit is set, as
// halves of a unit go to the even neighbour. So what two runs of numbers do follows from what each of them does.
struct Raise {
    u64 even, odd;
};

// No sum stays below the next power of two with so many units.
constexpr u64 TOO_MANY = 1ull << 52;

DEVICE Raise both(Raise a, Raise b) {
    u64 even = a.even + (a.even & 1 ? b.odd : b.even), odd = a.odd + (a.odd & 1 ? b.even : b.odd);
    return {even < TOO_MANY ? even : TOO_MANY, odd < TOO_MANY ? odd : TOO_MANY};
}

// What a number from 0 to 1 does to a sum with this exponent, as its bits say it. Nothing is said of sums that are much smaller.
DEVICE Raise raise_by(float x, u32 exponent) {
    u32 own = bits(x) >> 23, digits = bits(x) & 0x7fffff;
    if (own > 0) digits |= 0x800000;
    else own = 1;
    // x = digits * 2^(own - 150), and a unit is 2^(exponent - 1075).
    i32 shift = (i32)own - (i32)exponent + 925;
    if (digits == 0) return {0, 0};
    if (shift > 29) return {TOO_MANY, TOO_MANY};
    if (shift >= 0) return {(u64)digits << shift, (u64)digits << shift};
    // Less than half of a unit.
    if (shift < -24) return {0, 0};
    u32 whole = digits >> -shift, rest = digits - (whole << -shift), half = 1u << (-shift - 1);
    return {whole + (rest > half || (rest == half && whole & 1)), whole + (rest > half || (rest == half && !(whole & 1)))};
}

// Of a batch: as many as are added or sorted at once.
constexpr u32 EACH = 2, BATCH = EACH * THREADS;
// And so many are put together before they are sorted: `MANY` of the launch.
constexpr u32 MANY = 16384;

// The sum of exp(value - first) of those that have at least the key `least`, one after another by token, in f64. Of a batch each
// thread finds out what its numbers do to the sum so far; only where it gets to a power of two a thread has to add them.
DEVICE double sum_of_kept(const Values &all, float first, u64 least) {
    __shared__ float weights[BATCH];
    __shared__ Raise raises[THREADS];
    __shared__ double sum;
    u32 t = thread_x();
    if (t == 0) sum = 0.0;
    __syncthreads();
    for (u32 done = 0; done < all.n; done += BATCH) {
        u32 exponent = (u32)(bits(sum) >> 52);
        Raise own = {0, 0};
#pragma unroll 1
        for (u32 i = EACH * t; i < EACH * t + EACH; i++) {
            float weight = 0.0f;
            if (done + i < all.n && all[done + i] >= least) weight = exp_f32(__fsub_rn(all.scaled(done + i), first), 0, 0);
            weights[i] = weight;
            own = both(own, raise_by(weight, exponent));
        }
        raises[t] = own;
        __syncthreads();
        for (u32 stride = 1; stride < THREADS; stride *= 2) {
            if (t % (2 * stride) == 0) raises[t] = both(raises[t], raises[t + stride]);
            __syncthreads();
        }
        if (t == 0) {
            u64 before = bits(sum), after = before + (before & 1 ? raises[0].odd : raises[0].even);
            if (after >> 52 == before >> 52) {
                sum = from_bits(after);
            } else {
                double chain = sum;
#pragma unroll 8
                for (u32 i = 0; i < BATCH; i++) chain = __dadd_rn(chain, (double)weights[i]);
                sum = chain;
            }
        }
        __syncthreads();
    }
    return sum;
}

// Puts the keys from `from` on, and below `below`, together; how many there are.
template <typename From> DEVICE u32 gather(u64 *keys, const From &all, u64 from, u64 below) {
    __shared__ u32 found;
    u32 t = thread_x();
    if (t == 0) found = 0;
    __syncthreads();
    for (u32 i = t; i < all.n; i += THREADS) {
        u64 own = all[i];
        if (own < from || own >= below) continue;
        u32 at;
        asm volatile("atom.add.u32 %0, [%1], 1;" : "=r"(at) : "l"(&found) : "memory");
        keys[at] = own;
    }
    __syncthreads();
    return found;
}

// The key of the last of the shortest beginning of `kept` values, in descending order, whose sum of exp(value - first), one after
// another in f64, is at least `wanted`; `least`, that of the last of them, where there is none. Sorted a batch at a time, as far as it
// is needed. Batches are taken out of MANY, so that all values are not looked at for each.
DEVICE u64 last_of_beginning(const Values &all, u64 *room, float first, u32 kept, u64 least, double wanted) {
    __shared__ u64 keys[BATCH];
    __shared__ float weights[BATCH];
    __shared__ u32 end;
    u32 t = thread_x();
    Keys many = {room, 0};
    u64 below = ABOVE_ALL, least_of_many = ABOVE_ALL;
    double sum = 0.0;  // the first thread's
    for (u32 held = 0;;) {
        if (held == 0) {
            u64 from = kept <= MANY ? least : key_of_rank(all, below, MANY / 4, MANY);
            least_of_many = from > least ? from : least;
            held = many.n = gather(room, all, least_of_many, below);
        }
        u64 from = held <= BATCH ? least_of_many : key_of_rank(many, below, BATCH / 4, BATCH);
        u32 count = gather(keys, many, from, below), size = 2;
        // No two keys are alike, so they have one order, wherever they were put. Those that fill up are less than any.
        while (size < count) size *= 2;
        for (u32 i = count + t; i < size; i += THREADS) keys[i] = 0;
        __syncthreads();
        for (u32 run = 2; run <= size; run *= 2) {
            for (u32 apart = run / 2; apart > 0; apart /= 2) {
                for (u32 i = t; i < size / 2; i += THREADS) {
                    u32 at = i / apart * 2 * apart + i % apart;
                    u64 here = keys[at], there = keys[at + apart];
                    if (at & run ? here > there : here < there) keys[at] = there, keys[at + apart] = here;
                }
                __syncthreads();
            }
        }
        for (u32 i = t; i < count; i += THREADS) weights[i] = exp_f32(__fsub_rn(value_of(keys[i]), first), 0, 0);
        __syncthreads();
        if (t == 0) {
            u32 i = 0;
#pragma unroll 1
            for (; i < count; i++) {
                sum = __dadd_rn(sum, (double)weights[i]);
                if (sum >= wanted) break;
            }
            end = i;
        }
        __syncthreads();
        if (end < count) return keys[end];
        if (count == kept) return least;
        kept -= count, held -= count, below = from;
    }
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
    choose(Chosen *out, const Choice *choices, const u32 *occurred, const float *logits, float *copies, u64 *keys,
           u32 n) {
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
        bool weighs = c.top_p < 1.0f || c.min_p > 0.0f;
        Best first = {-__builtin_inff(), NONE};
        for (u32 i = t; i < n && weighs; i += THREADS) {
            Best own = {__fdiv_rn(x[i], c.temperature), i};
            if (is_better(own, first)) first = own;
        }
        if (weighs) first = best_of(first);
        u32 kept = c.top_k > 0 && c.top_k < n ? c.top_k : n;
        Values all = {x, c.temperature, n};
        u64 least = kept < n ? key_of_rank(all, ABOVE_ALL, kept, kept) : 0;
        // Where the first is infinite its weight is NaN, and so is the sum of all: none is enough, and no NaN is kept beside the first.
        bool is_finite = __fsub_rn(first.value, first.value) == 0.0f;
        if (c.top_p < 1.0f && is_finite) {
            double wanted = __dmul_rn(sum_of_kept(all, first.value, least), (double)c.top_p);
            least = last_of_beginning(all, keys + (u64)block_x() * MANY, first.value, kept, least, wanted);
        }
        weighs = c.min_p > 0.0f || (weighs && !is_finite);
        for (u32 i = t; i < n; i += THREADS) {
            if (all[i] < least) continue;
            float scaled = all.scaled(i);
            if (weighs && i != first.token && !(exp_f32(__fsub_rn(scaled, first.value), 0, 0) >= c.min_p)) continue;
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
