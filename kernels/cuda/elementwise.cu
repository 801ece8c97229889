// Element-wise operators as kernels of their own: floats by the functions of repops, integers, casts, selection.
//
// One thread computes one element after the other; which operator, and on which types, is a number that all threads
// share. Operands broadcast by strides of 0.

#include "lanes.cuh"

// y[i] = f(x[i]): basic arithmetic, four elements in flight.
KERNEL unary_arithmetic(void *__restrict__ y, const void *__restrict__ x, u32 n, u32 type, u32 code, float p, float q) {
    u32 step = STEP;
    for (u64 first = FIRST; first < n; first += 4 * (u64)step) {
        float v[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            u64 i = first + (u64)k * step;
            if (i < n) load(x, type, i, v[k]);
        }
#pragma unroll
        for (int k = 0; k < 4; k++) {
            u64 i = first + (u64)k * step;
            if (i < n) store(y, type, i, arithmetic_f32_by(code, v[k], p, q));
        }
    }
}

KERNEL arithmetic_f64(double *__restrict__ y, const double *__restrict__ x, u32 n, u32 code, float p, float q) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) y[i] = canonical_f64(arithmetic_f64_by(code, x[i], p, q));
}

KERNEL binary_float(void *y, const void *a, const void *b, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        float u, v;
        load(a, type, ia, u);
        load(b, type, ib, v);
        store(y, type, i, binary_f32_by(code, u, v));
    }
}

KERNEL binary_f64(double *y, const double *a, const double *b, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        y[i] = canonical_f64(binary_f64_by(code, a[ia], b[ib]));
    }
}

KERNEL compare_float(u8 *y, const void *a, const void *b, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        if (type == F64) {
            y[i] = compare_f64_by(code, ((const double *)a)[ia], ((const double *)b)[ib]);
        } else {
            float u, v;
            load(a, type, ia, u);
            load(b, type, ib, v);
            y[i] = compare_f32_by(code, u, v);
        }
    }
}

KERNEL classify(u8 *y, const void *x, u32 n, u32 type, u32 code) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        if (type == F64) {
            y[i] = classify_f64_by(code, ((const double *)x)[i]);
        } else {
            float v;
            load(x, type, i, v);
            y[i] = classify_f32_by(code, v);
        }
    }
}

KERNEL logic(u8 *y, const u8 *a, const u8 *b, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        y[i] = (u8)logic_bool_by(code, a[ia] != 0, b[ib] != 0);
    }
}

KERNEL logic_not(u8 *y, const u8 *x, u32 n) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) y[i] = x[i] == 0;
}

// Integer operators, in 64 bits of which the type's remain; the order is that of `INT_BINARY` in the launches.
// Division by zero sets the flag and stores 0.
DEVICE i64 integer_by(u32 code, u32 type, i64 a, i64 b, u32 *flag) {
    bool wide = type == U64;
    bool below = wide ? (u64)a < (u64)b : a < b;
    if (code >= 3 && code <= 5) {
        if (b == 0) {
            raise(flag);
            return 0;
        }
        i64 quotient, rest;
        if (wide) {
            quotient = (i64)((u64)a / (u64)b);
            rest = (i64)((u64)a % (u64)b);
        } else if (b == -1) {
            // The least number divided by -1 is itself.
            quotient = (i64)(0 - (u64)a);
            rest = 0;
        } else {
            quotient = a / b;
            rest = a % b;
        }
        if (code == 3) return quotient;
        bool moves = code == 4 && !wide && rest != 0 && (rest < 0) != (b < 0);
        return moves ? rest + b : rest;
    }
    u32 bits = width_of(type);
    bool out = (u64)b >= bits;
    u32 count = out ? 0 : (u32)b;
    switch (code) {
    case 0: return (i64)((u64)a + (u64)b);
    case 1: return (i64)((u64)a - (u64)b);
    case 2: return (i64)((u64)a * (u64)b);
    case 6: return below ? b : a;
    case 7: return below ? a : b;
    case 8: return a & b;
    case 9: return a | b;
    case 10: return a ^ b;
    case 11: return out ? 0 : (i64)((u64)a << count);
    case 12:
        if (wide) return out ? 0 : (i64)((u64)a >> count);
        return out ? (a < 0 ? -1 : 0) : a >> count;
    default: return !wide && a < 0 ? (i64)((u64)a * (u64)b) : a;
    }
}

KERNEL binary_int(void *y, const void *a, const void *b, u32 *flag, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        store_int(y, type, i, integer_by(code, type, load_int(a, type, ia), load_int(b, type, ib), flag));
    }
}

KERNEL compare_int(u8 *y, const void *a, const void *b, u32 n, u32 type, u32 code, EXTENTS, STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        TWO_OFFSETS
        i64 u = load_int(a, type, ia), v = load_int(b, type, ib);
        bool below = type == U64 ? (u64)u < (u64)v : u < v;
        bool equal = u == v;
        bool result;
        switch (code) {
        case 0: result = equal; break;
        case 1: result = below; break;
        case 2: result = below | equal; break;
        case 3: result = !(below | equal); break;
        default: result = !below;
        }
        y[i] = result;
    }
}

// The order is that of `INT_UNARY` in the launches.
KERNEL unary_int(void *y, const void *x, u32 n, u32 type, u32 code) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        i64 v = load_int(x, type, i);
        // An unsigned number of 64 bits is never below 0.
        bool negative = v < 0 && type != U64;
        i64 result;
        switch (code) {
        case 0: result = negative ? (i64)(0 - (u64)v) : v; break;
        case 1: result = (i64)(0 - (u64)v); break;
        case 2: result = negative ? -1 : v != 0; break;
        case 3: result = negative ? 0 : v; break;
        default: result = ~v;
        }
        store_int(y, type, i, result);
    }
}

// An f32 that, rounded to f16 or bf16, gives the exact value rounded once: rounded toward zero, the last bit set where
// anything was lost (SPEC.md, 2.4; rounding to odd).
DEVICE float odd_of(float nearest, bool lost, bool too_far) {
    u32 b = bits(nearest) - (too_far ? 1u : 0u);
    return lost ? from_bits(b | 1u) : nearest;
}
DEVICE float odd_of(double v) {
    float nearest = __double2float_rn(v);
    double back = (double)nearest;
    bool lost = v == v && back != v;
    return odd_of(nearest, lost, lost && abs_f64(v, 0, 0) < abs_f64(back, 0, 0));
}
DEVICE float nearest_of(u64 v) { return __nvvm_ull2f_rn(v); }
DEVICE float odd_of(bool negative, u64 v) {
    float nearest = nearest_of(v);
    // 2^64 is the one float here that has no u64.
    bool whole = bits(nearest) == 0x5f800000u;
    u64 back = whole ? 0 : __nvvm_f2ull_rz(nearest);
    float odd = odd_of(nearest, whole || back != v, whole || back > v);
    return negative ? from_bits(bits(odd) | 0x80000000u) : odd;
}

// Truncated toward zero, limited to the type's range; NaN is 0.
DEVICE i64 integer_of(double v, u32 type) {
    if (v != v) return 0;
    u32 bits = width_of(type);
    bool signs = is_signed(type);
    // Powers of two, made of their bits.
    double top = from_bits((u64)(1023 + bits - (signs ? 1 : 0)) << 52);
    double bottom = signs ? from_bits(((u64)(1023 + bits - 1) << 52) | 0x8000000000000000ull) : 0.0;
    if (!(v < top)) return signs ? (i64)((1ull << (bits - 1)) - 1) : (i64)(~0ull >> (64 - bits));
    if (!(bottom < v)) return signs ? (i64)(0 - (1ull << (bits - 1))) : 0;
    return signs ? __nvvm_d2ll_rz(v) : (i64)__nvvm_d2ull_rz(v);
}

// Conversions between all types but the narrow ones: SPEC.md, 2.4.
KERNEL cast(void *y, const void *x, u32 n, u32 from, u32 to) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        bool is_float = from == F32 || from == F64 || from == F16 || from == BF16;
        if (is_float) {
            double v;
            if (from == F64) {
                v = ((const double *)x)[i];
            } else {
                float w;
                load(x, from, i, w);
                v = (double)w;
            }
            switch (to) {
            case F32: ((float *)y)[i] = canonical_f32(__double2float_rn(v)); break;
            case F64: ((double *)y)[i] = canonical_f64(v); break;
            case F16:
            case BF16: store(y, to, i, odd_of(v)); break;
            case BOOL: ((u8 *)y)[i] = !(v == 0.0); break;
            default: store_int(y, to, i, integer_of(v, to));
            }
        } else {
            i64 v = load_int(x, from, i);
            bool negative = v < 0 && from != U64;
            u64 size = negative ? 0 - (u64)v : (u64)v;
            u64 sign = negative ? 0x8000000000000000ull : 0;
            switch (to) {
            case F32: ((float *)y)[i] = from_bits(bits(nearest_of(size)) | (u32)(sign >> 32)); break;
            case F64: ((u64 *)y)[i] = bits(__nvvm_ull2d_rn(size)) | sign; break;
            case F16:
            case BF16: store(y, to, i, odd_of(negative, size)); break;
            case BOOL: ((u8 *)y)[i] = v != 0; break;
            default: store_int(y, to, i, v);
            }
        }
    }
}

#define THREE_STEPS(k)                                                                                                 \
    ic += at * c##k;                                                                                                   \
    ia += at * a##k;                                                                                                   \
    ib += at * b##k;

// y[i] = c[i] ? a[i] : b[i], elements of 1, 2, 4 or 8 bytes as they are.
KERNEL where(void *y, const u8 *c, const void *a, const void *b, u32 n, u32 size, EXTENTS, STRIDES(c), STRIDES(a), STRIDES(b)) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u64 ic = 0, ia = 0, ib = 0;
        u32 rest = (u32)i;
        AXES(THREE_STEPS)
        const void *from = c[ic] ? a : b;
        u64 at = c[ic] ? ia : ib;
        switch (size) {
        case 1: ((u8 *)y)[i] = ((const u8 *)from)[at]; break;
        case 2: ((u16 *)y)[i] = ((const u16 *)from)[at]; break;
        case 4: ((u32 *)y)[i] = ((const u32 *)from)[at]; break;
        default: ((u64 *)y)[i] = ((const u64 *)from)[at];
        }
    }
}

// One channel's multiply-add: s = scale / sqrt(var + epsilon), t = fma(-mean, s, bias), y = fma(x, s, t).
template <typename W>
DEVICE void batch_norm(void *y, const void *x, const void *scale, const void *bias, const void *mean, const void *var,
                       u32 n, u32 type, u32 scale_type, u32 bias_type, u32 mean_type, u32 var_type, u32 plane,
                       u32 channels, W epsilon) {
    u64 step = STEP;
    for (u64 i = FIRST; i < n; i += step) {
        u32 c = (u32)i / plane % channels;
        W v, s, b, m, d;
        load(x, type, i, v);
        load(scale, scale_type, c, s);
        load(bias, bias_type, c, b);
        load(mean, mean_type, c, m);
        load(var, var_type, c, d);
        W factor = div(s, root(add(d, epsilon)));
        W shift = fma(-m, factor, b);
        store(y, type, i, fma(v, factor, shift));
    }
}
#define BATCH_NORM(NAME, W)                                                                                            \
    KERNEL NAME(void *y, const void *x, const void *scale, const void *bias, const void *mean, const void *var, u32 n,     \
                u32 type, u32 scale_type, u32 bias_type, u32 mean_type, u32 var_type, u32 plane, u32 channels,             \
                float epsilon) {                                                                                       \
        batch_norm<W>(y, x, scale, bias, mean, var, n, type, scale_type, bias_type, mean_type, var_type, plane, channels,  \
                      epsilon);                                                                                        \
    }

BATCH_NORM(batch_norm_float, float)
// All inputs are of f64.
BATCH_NORM(batch_norm_f64, double)
