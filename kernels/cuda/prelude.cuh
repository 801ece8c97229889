// What CUDA's headers would give, as far as these kernels use it, so that clang alone compiles them.
//
// Arithmetic on floats only by the functions below: each is one IEEE-754 operation, rounded to nearest even, and
// PTX that says so (`.rn`) is never fused by the driver's compiler. A bare operator would be.
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __restrict__ __restrict
#define DEVICE static __device__ __forceinline__
#define DEVICE_METHOD __device__ __forceinline__
#define KERNEL extern "C" __global__ void

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { u32 x, y; };
struct alignas(16) uint4 { u32 x, y, z, w; };
struct alignas(16) int4 { i32 x, y, z, w; };

DEVICE u32 thread_x() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE u32 thread_y() { return __nvvm_read_ptx_sreg_tid_y(); }
DEVICE u32 thread_z() { return __nvvm_read_ptx_sreg_tid_z(); }
DEVICE u32 block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE u32 block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE u32 block_z() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE u32 block_width() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE u32 grid_x() { return __nvvm_read_ptx_sreg_nctaid_x(); }
DEVICE u32 grid_y() { return __nvvm_read_ptx_sreg_nctaid_y(); }
DEVICE u32 grid_z() { return __nvvm_read_ptx_sreg_nctaid_z(); }

// `__syncthreads` is a builtin of the compiler.

// One IEEE-754 operation each.
DEVICE float __fmaf_rn(float a, float b, float c) { return __nvvm_fma_rn_f(a, b, c); }
DEVICE float __fadd_rn(float a, float b) { return __nvvm_add_rn_f(a, b); }
DEVICE float __fsub_rn(float a, float b) { return __nvvm_add_rn_f(a, -b); }
DEVICE float __fmul_rn(float a, float b) { return __nvvm_mul_rn_f(a, b); }
DEVICE float __fdiv_rn(float a, float b) { return __nvvm_div_rn_f(a, b); }
DEVICE float __fsqrt_rn(float a) { return __nvvm_sqrt_rn_f(a); }
DEVICE double __fma_rn(double a, double b, double c) { return __nvvm_fma_rn_d(a, b, c); }
DEVICE double __dadd_rn(double a, double b) { return __nvvm_add_rn_d(a, b); }
DEVICE double __dsub_rn(double a, double b) { return __nvvm_add_rn_d(a, -b); }
DEVICE double __dmul_rn(double a, double b) { return __nvvm_mul_rn_d(a, b); }
// Written out, for the compiler would make a division of 1 a reciprocal, which is another instruction.
DEVICE double __ddiv_rn(double a, double b) {
    double y;
    asm("div.rn.f64 %0, %1, %2;" : "=d"(y) : "d"(a), "d"(b));
    return y;
}
DEVICE double __dsqrt_rn(double a) { return __nvvm_sqrt_rn_d(a); }

DEVICE u32 bits(float x) { return __builtin_bit_cast(u32, x); }
DEVICE float from_bits(u32 x) { return __builtin_bit_cast(float, x); }
DEVICE u64 bits(double x) { return __builtin_bit_cast(u64, x); }
DEVICE double from_bits(u64 x) { return __builtin_bit_cast(double, x); }

DEVICE bool is_nan(float x) { return (bits(x) & 0x7fffffffu) > 0x7f800000u; }
// The one NaN of SPEC.md, 2.2. Every store of a float to a tensor goes through this.
DEVICE float canonical(float x) { return is_nan(x) ? from_bits(0x7fc00000u) : x; }

// 16-bit floats by their bits. f16 widens and narrows by the one instruction for each, bf16 by integers, which
// every architecture has.
DEVICE float widen_f16(u16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
DEVICE u16 narrow_f16(float x) {
    u16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return is_nan(x) ? (u16)0x7e00 : y;
}
DEVICE float widen_bf16(u16 x) { return from_bits((u32)x << 16); }
DEVICE u16 narrow_bf16(float x) {
    // Half of the lowest kept bit, less one, plus that bit: to nearest, ties to even; the carry is the exponent's.
    u32 b = bits(x);
    return is_nan(x) ? (u16)0x7fc0 : (u16)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}

// The float nearest to an integer, ties to even.
DEVICE float of_int(i32 x) {
    float y;
    asm("cvt.rn.f32.s32 %0, %1;" : "=f"(y) : "r"(x));
    return y;
}
