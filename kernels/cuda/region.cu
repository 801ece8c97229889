// Fused regions where no compiler is at hand: one kernel that follows a small program, element by element.
//
// Every thread computes one element after the other. Values are in shared memory, a column for each thread, in slots that
// the host assigns; a truth value is a word, 0 or 1. An instruction is eight words: what it does, the number of its
// function, the slot of its result, up to three slots of arguments, two parameters. All threads follow the same
// instructions, so no branch diverges.

#include "lanes.cuh"

// In the order of `What` in the launches.
enum What {
    LOAD_NUMBER,
    LOAD_TRUTH,
    STORE_NUMBER,
    STORE_TRUTH,
    ARITHMETIC,
    FUNCTION,
    BINARY,
    POWER,
    COMPARE,
    CLASSIFY,
    LOGIC,
    NOT,
    CHOOSE,
    TO_NUMBER,
    TO_TRUTH,
    CLIP,
};

#define INPUTS                                                                                                         \
    const void *x0, const void *x1, const void *x2, const void *x3, const void *x4, const void *x5, const void *x6,    \
        const void *x7, const void *x8, const void *x9, const void *x10, const void *x11, const void *x12,             \
        const void *x13, const void *x14, const void *x15
#define OUTPUTS void *y0, void *y1, void *y2, void *y3, void *y4, void *y5, void *y6, void *y7
#define CASE(name, k)                                                                                                  \
    case k: from = name##k; break;

extern __shared__ u32 slots[];

// `steps` holds for each input its strides along the six axes.
KERNEL __launch_bounds__(128) region(const u32 *code, u32 count, const u64 *steps, u32 n, EXTENTS, INPUTS, OUTPUTS) {
    u32 width = block_width();
    u32 *mine = slots + thread_x();
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 p0 = 0, p1 = 0, p2 = 0, p3 = 0, p4 = 0, p5 = 0;
        if (rank <= 1) {
            p5 = (u32)i;
        } else {
            u32 rest = (u32)i;
#define KEEP(k) p##k = at;
            AXES(KEEP)
        }
#pragma unroll 1
        for (u32 pc = 0; pc < count; pc++) {
            uint4 head = ((const uint4 *)code)[2 * pc], tail = ((const uint4 *)code)[2 * pc + 1];
            u32 function = head.y;
            u32 *result = mine + head.z * width;
            u32 *a = mine + head.w * width, *b = mine + tail.x * width, *c = mine + tail.y * width;
            switch (head.x) {
            case LOAD_NUMBER:
            case LOAD_TRUTH: {
                const void *from = x0;
                switch (function) {
                    CASE(x, 1) CASE(x, 2) CASE(x, 3) CASE(x, 4) CASE(x, 5) CASE(x, 6) CASE(x, 7) CASE(x, 8)
                    CASE(x, 9) CASE(x, 10) CASE(x, 11) CASE(x, 12) CASE(x, 13) CASE(x, 14) CASE(x, 15)
                }
                const u64 *s = steps + 6 * function;
                u64 at = p0 * s[0] + p1 * s[1] + p2 * s[2] + p3 * s[3] + p4 * s[4] + p5 * s[5];
                *result = head.x == LOAD_NUMBER ? ((const u32 *)from)[at] : ((const u8 *)from)[at] != 0;
                break;
            }
            case STORE_NUMBER:
            case STORE_TRUTH: {
                void *from = y0;
                switch (function) {
                    CASE(y, 1) CASE(y, 2) CASE(y, 3) CASE(y, 4) CASE(y, 5) CASE(y, 6) CASE(y, 7)
                }
                if (head.x == STORE_NUMBER) {
                    ((float *)from)[i] = canonical_f32(from_bits(*a));
                } else {
                    ((u8 *)from)[i] = *a;
                }
                break;
            }
            case ARITHMETIC:
                *result = bits(arithmetic_f32_by(function, from_bits(*a), from_bits(tail.z), from_bits(tail.w)));
                break;
            case FUNCTION:
                *result = bits(function_f32_by(function, from_bits(*a), from_bits(tail.z), from_bits(tail.w)));
                break;
            case BINARY: *result = bits(binary_f32_by(function, from_bits(*a), from_bits(*b))); break;
            case POWER: *result = bits(pow_f32(from_bits(*a), from_bits(*b))); break;
            case COMPARE: *result = compare_f32_by(function, from_bits(*a), from_bits(*b)); break;
            case CLASSIFY: *result = classify_f32_by(function, from_bits(*a)); break;
            case LOGIC: *result = logic_bool_by(function, *a, *b); break;
            case NOT: *result = *a == 0; break;
            case CHOOSE: *result = *a ? *b : *c; break;
            case TO_NUMBER: *result = *a ? 0x3f800000u : 0; break;
            case TO_TRUTH: *result = !(from_bits(*a) == 0); break;
            default: *result = bits(clip_f32(from_bits(*a), from_bits(*b), from_bits(*c)));
            }
        }
    }
}
