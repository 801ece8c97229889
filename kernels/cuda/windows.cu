// Pools: windows over an image of up to three axes.
//
// A thread computes one output. Its taps, those of the window that lie inside of the image, are numbered in row-major order
// of the window; an average sums them in the order of row reductions (SPEC.md, section 4), of one block: accumulator t has
// taps t, t + 64 ..., and accumulators are folded by halving strides. Folding like that is a tree whose leaves are in the
// order of their numbers with six bits reversed, so a binary counter takes them one after the other.

#include "lanes.cuh"

// Of each axis: the image's extent, the output's, the window's, its step, the distance of its taps, the pads.
#define AXIS_OF(k) u32 image##k, u32 out##k, u32 window##k, u32 step##k, u32 apart##k, u32 begin##k, u32 end##k
#define WINDOW AXIS_OF(0), AXIS_OF(1), AXIS_OF(2)

// The first tap of an axis inside of the image, how many are, and how many are inside of image and pads.
struct Span {
    i64 first;
    u32 count, padded;
};
DEVICE Span span(u32 at, u32 image, u32 window, u32 step, u32 apart, u32 begin, u32 end) {
    i64 start = (i64)at * step - begin;
    i64 skipped = start < 0 ? (-start + apart - 1) / apart : 0;
    i64 first = start + skipped * apart;
    i64 room = (i64)image - first;
    i64 count = room > 0 ? (room + apart - 1) / apart : 0;
    i64 left = (i64)window - skipped;
    count = count < left ? count : left;
    i64 all = ((i64)image + end - start + apart - 1) / apart;
    all = all < (i64)window ? all : (i64)window;
    Span s = {first, (u32)(count > 0 ? count : 0), (u32)(all > 0 ? all : 0)};
    return s;
}

// The position of output i on every axis, and the spans there.
#define SPANS                                                                                                          \
    u32 rest = (u32)i;                                                                                                 \
    u32 at2 = rest % out2;                                                                                             \
    rest /= out2;                                                                                                      \
    u32 at1 = rest % out1;                                                                                             \
    rest /= out1;                                                                                                      \
    u32 at0 = rest % out0;                                                                                             \
    u64 plane = (u64)(rest / out0) * image0 * image1 * image2;                                                         \
    Span s0 = span(at0, image0, window0, step0, apart0, begin0, end0);                                                 \
    Span s1 = span(at1, image1, window1, step1, apart1, begin1, end1);                                                 \
    Span s2 = span(at2, image2, window2, step2, apart2, begin2, end2);                                                 \
    u32 taps = s0.count * s1.count * s2.count;

// The offset of a tap in its plane.
#define TAP(t)                                                                                                         \
    ((u64)(s0.first + (i64)((t) / (s1.count * s2.count)) * apart0) * image1 +                                          \
     (u64)(s1.first + (i64)((t) / s2.count % s1.count) * apart1)) *                                                    \
            image2 +                                                                                                   \
        (u64)(s2.first + (i64)((t) % s2.count) * apart2)

KERNEL average_pool(void *y, const void *x, u32 n, u32 type, u32 with_pads, WINDOW) {
    u64 stride = STEP;
    for (u64 i = FIRST; i < n; i += stride) {
        SPANS
        float l0 = 0, l1 = 0, l2 = 0, l3 = 0, l4 = 0, l5 = 0, sum = 0;
#pragma unroll 1
        for (u32 k = 0; k < 64; k++) {
            u32 t = __builtin_bitreverse32(k) >> 26;
            float v = 0;
            for (; t < taps; t += 64) {
                float w;
                load(x, type, plane + TAP(t), w);
                v = add(v, w);
            }
            // Up the tree as far as k is a right branch.
            bool up = true;
#define LEVEL(b)                                                                                                       \
    if (up) {                                                                                                          \
        up = (k >> b) & 1;                                                                                             \
        v = up ? add(l##b, v) : v;                                                                                     \
        l##b = v;                                                                                                      \
    }
            LEVEL(0) LEVEL(1) LEVEL(2) LEVEL(3) LEVEL(4) LEVEL(5)
            sum = v;
        }
        u32 count = with_pads ? s0.padded * s1.padded * s2.padded : taps;
        store(y, type, i, div(sum, __nvvm_ui2f_rn(count)));
    }
}

// The place of the maximum is that of the first tap that no later one exceeds, or of the first NaN.
KERNEL max_pool_float(void *y, i64 *places, const void *x, u32 n, u32 type, u32 indexed, WINDOW) {
    u64 stride = STEP;
    for (u64 i = FIRST; i < n; i += stride) {
        SPANS
        float best = from_bits(0xff800000u);
        i64 place = -1;
        for (u32 t = 0; t < taps; t++) {
            u64 from = plane + TAP(t);
            float v;
            load(x, type, from, v);
            bool first = place < 0 || v > best || (is_nan(v) && !is_nan(best));
            if (first) place = (i64)from;
            best = larger(best, v);
        }
        store(y, type, i, best);
        if (indexed) places[i] = place;
    }
}

KERNEL max_pool_int(void *y, i64 *places, const void *x, u32 n, u32 type, u32 indexed, u64 least, WINDOW) {
    u64 stride = STEP;
    for (u64 i = FIRST; i < n; i += stride) {
        SPANS
        i64 best = (i64)least;
        i64 place = -1;
        for (u32 t = 0; t < taps; t++) {
            u64 from = plane + TAP(t);
            i64 v = load_int(x, type, from);
            if (place < 0 || v > best) {
                place = (i64)from;
                best = v;
            }
        }
        store_int(y, type, i, best);
        if (indexed) places[i] = place;
    }
}
