// targets: 75
// Attention between its two products, and rotary positions.
#include "contract.cuh"
#include "lanes.cuh"

// Weights of a row in place of its raw scores: s * scale, perhaps capped; the exact maximum; softmax_exp(s - maximum); the row sum
// (SPEC.md, section 4) over all positions up to the row's, of which those before the window count as +0; e * (1 / sum). One block
// for each row; row `r` of the `m` rows of a matrix is at `position + r * step`. What the second product may load but must
// not see, up to the end of the row's tile of `tile` rows, becomes 0. Where `live` is given, as many positions as stand there are all
// that there are, and the row is the last one.
KERNEL __launch_bounds__(256) attention_weights(float* scores, u32 m, u64 stride, u32 k, u32 position, u32 step, u32 window, u32 tile,
                                                float scale, float softcap, const u32* live) {
    if (live) k = *live, position = k - 1;
    __shared__ float shared[256];
    __shared__ float row_sum, levels[32];
    u32 t = thread_x(), row = block_x() % m;
    float* s = scores + block_x() * stride;
    u32 last = position + row * step;
    u32 first = window && last + 1 > window ? last + 1 - window : 0;

    float most = from_bits(0xff800000u);
    for (u32 j = first + t; j <= last; j += 256) {
        float x = __fmul_rn(s[j], scale);
        if (softcap > 0.0f) x = __fmul_rn(tanh_f32(__fdiv_rn(x, softcap), 0, 0), softcap);
        s[j] = x;
        most = larger(most, x);
    }
    shared[t] = most;
    __syncthreads();
    for (u32 half = 128; half > 0; half /= 2) {
        if (t < half) shared[t] = larger(shared[t], shared[t + half]);
        __syncthreads();
    }
    most = shared[0];
    for (u32 j = first + t; j <= last; j += 256) s[j] = softmax_exp(__fsub_rn(s[j], most));
    __syncthreads();

    // Four blocks of 4096 at a time, 64 threads for the 64 accumulators of each.
    // Results of complete subtrees, as a binary counter, by one thread.
    u32 blocks = last / 4096 + 1;
    for (u32 done = 0; done < blocks; done += 4) {
        u32 begin = (done + t / 64) * 4096 + t % 64;
        float sum = 0.0f;
#pragma unroll 4
        for (u32 i = 0; i < 64; i++) {
            u32 j = begin + i * 64;
            if (j >= first && j <= last) sum = __fadd_rn(sum, s[j]);
        }
        shared[t] = sum;
        __syncthreads();
        for (u32 half = 32; half > 0; half /= 2) {
            if (t % 64 < half) shared[t] = __fadd_rn(shared[t], shared[t + half]);
            __syncthreads();
        }
        if (t == 0) {
#pragma unroll 1
            for (u32 i = 0; i < 4 && done + i < blocks; i++) {
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
        row_sum = sum;
    }
    __syncthreads();
    float factor = __fdiv_rn(1.0f, row_sum);
    u32 row_end = (row / tile + 1) * tile < m ? (row / tile + 1) * tile : m;
    u32 fill = (position + (row_end - 1) * step + 8) / 8 * 8;
    fill = fill < k ? fill : k;
    for (u32 j = t; j < fill; j += 256) s[j] = j >= first && j <= last ? __fmul_rn(s[j], factor) : 0.0f;
}

// A row of keys and a row of values behind those of the positions before it, in pages of 256: it is the last of as many positions as
// `live` says.
KERNEL __launch_bounds__(256) sequence_append(const float* k, const float* v, float* keys, float* values, const u32* pages, const u32* live,
                                              u32 key_columns, u32 value_columns) {
    u32 position = *live - 1;
    u64 place = (u64)pages[position / 256] * 256 + position % 256;
    for (u32 i = block_x() * 256 + thread_x(); i < key_columns + value_columns; i += grid_x() * 256) {
        u32 at = i - key_columns;
        if (i < key_columns) keys[place * key_columns + i] = k[i];
        else values[place * value_columns + at] = v[at];
    }
}

// The tree over the parts of splits of `run` chunks, for as many terms as `live` says: parts of splits that begin later are not read.
KERNEL __launch_bounds__(256) sequence_combine(const float* part, float* out, u32 count, u32 run, const u32* live) {
    u32 chunks = (*live + CHUNK - 1) / CHUNK, parts = (chunks + run - 1) / run;
    for (u32 i = block_x() * 256 + thread_x(); i < count; i += grid_x() * 256) {
        Tree<8, true> tree{};
#pragma unroll 1
        for (u32 at = 0; at < parts; at++) tree.push(part[(u64)at * count + i], at);
        out[i] = canonical(tree.result(parts));
    }
}

// Pairs of a head's first 2 * half elements turned by angles of cos and sin [rows][half]; the others copied. Grid-stride
// over rows * heads * (d - half), of which the first `half` of a head are pairs.
KERNEL __launch_bounds__(256) sequence_rotary(const float* x, const float* cos, const float* sin, float* y, u64 count, u32 heads, u32 d,
                                              u32 half, u32 interleaved) {
    u32 items = d - half;
    for (u64 i = (u64)block_x() * 256 + thread_x(); i < count; i += (u64)grid_x() * 256) {
        u32 item = i % items;
        u64 head = i / items, row = head / heads;
        u64 start = head * d;
        if (item < half) {
            u64 one = start + (interleaved ? 2 * item : item), other = one + (interleaved ? 1 : half);
            float c = cos[row * half + item], s = sin[row * half + item], a = x[one], b = x[other];
            y[one] = canonical(__fsub_rn(__fmul_rn(c, a), __fmul_rn(s, b)));
            y[other] = canonical(__fadd_rn(__fmul_rn(s, a), __fmul_rn(c, b)));
        } else {
            u64 at = start + half + item;
            y[at] = x[at];
        }
    }
}
