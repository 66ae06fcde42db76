// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// wgmma: D (64 x N, float) = A B + D by one warpgroup, operands in shared memory (A also in registers) (sm_90a).
///
///   wgmma_fence();                                  // accumulators and shared memory are ready
///   wgmma<bf16, 256>(d, a, b, accumulate);          // any number; accumulate = 0: D = A B
///   wgmma_commit();
///   wgmma_wait<0>();                                // all but the latest 0 groups have ended
///   keep_registers(d);                              // before d is read
///
/// N is 8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192 or 256. A step covers k = 16 elements of bf16 and f16, 8 of tf32: 32 bytes.
/// With g = lane / 4, c = lane % 4 and w = the warp's place in its warpgroup, d[4*j + 2*h + e] is
/// D(16*w + 8*h + g, 8*j + 2*c + e). A from registers: the four 32-bit registers of mma.sync's m16n8k16 (tf32: m16n8k8),
/// rows 16*w to 16*w + 15.
///
/// The tensor core truncates when it accumulates: promote long sums into registers of their own.
#pragma once

#include "ptx/shared_memory.cuh"
#include "ptx/wgmma_operands.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
namespace longconv {
namespace ptx {

/// How a tile lies in shared memory.
enum class Swizzle : uint32_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

/// A matrix descriptor. Without swizzle: core matrices of 8 lines x 16 bytes, each 128 bytes in one piece. K-major: a line is
/// a row of M or N, its 16 bytes lie along K; transposed: a line is one k, its 16 bytes are 8 rows. Either way
/// `leading_bytes` is from one core matrix to the next along K, `stride_bytes` along M or N. The start is a multiple of 16
/// bytes, any line of a core matrix when those along the lines follow each other; moving it by s bytes is adding s >> 4. All three numbers are below 2^18. Do not build one from a literal zero
/// address: that crashes some compilers.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes,
                                                     Swizzle swizzle = Swizzle::none) {
  return (uint64_t)((address & 0x3ffffu) >> 4) | (uint64_t)(leading_bytes >> 4) << 16 |
         (uint64_t)(stride_bytes >> 4) << 32 | (uint64_t)swizzle << 62;
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/// Ties accumulators to this point of the program. Without it ptxas may serialise every wgmma (warning C7514).
template <int Count>
__device__ __forceinline__ void keep_registers(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

template <typename Type, int N>
struct WgmmaInstruction;

// One definition for each (type, N). The instruction's operands are numbered after the accumulators, D of them:
//   both operands in shared memory:  A is %D, B %D+1, accumulate %D+2, transposition of A and B %D+3, %D+4
//   A in registers:                  A is %D to %D+3, B %D+4, accumulate %D+5, transposition of B %D+6
#define LONGCONV_WGMMA_16BIT(TYPE, TEXT, N, D, P0, P1, P2, P3, P4, P5, P6)                                              \
  template <>                                                                                                          \
  struct WgmmaInstruction<TYPE, N> {                                                                                   \
    template <int TransposedA, int TransposedB>                                                                        \
    static __device__ __forceinline__ void shared(float (&d)[D], uint64_t a, uint64_t b, int accumulate) {             \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P2 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TEXT   \
                   "." TEXT " {" LONGCONV_ASM_REGISTERS_##D "}, " P0 ", " P1 ", p, 1, 1, " P3 ", " P4 ";\n}"            \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(TransposedA), "n"(TransposedB));                             \
    }                                                                                                                  \
    template <int TransposedB>                                                                                         \
    static __device__ __forceinline__ void registers(float (&d)[D], const uint32_t (&a)[4], uint64_t b,                \
                                                     int accumulate) {                                                 \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P5 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TEXT   \
                   "." TEXT " {" LONGCONV_ASM_REGISTERS_##D "}, {" P0 ", " P1 ", " P2 ", " P3 "}, " P4                 \
                   ", p, 1, 1, " P6 ";\n}"                                                                             \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TransposedB));           \
    }                                                                                                                  \
  };

// tf32 has no transposition: both operands are K-major.
#define LONGCONV_WGMMA_TF32(N, D, P0, P1, P2, P3, P4, P5)                                                               \
  template <>                                                                                                          \
  struct WgmmaInstruction<tf32, N> {                                                                                   \
    template <int TransposedA, int TransposedB>                                                                        \
    static __device__ __forceinline__ void shared(float (&d)[D], uint64_t a, uint64_t b, int accumulate) {             \
      static_assert(TransposedA == 0 && TransposedB == 0, "tf32 operands are K-major");                                \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P2 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N                  \
                   "k8.f32.tf32.tf32 {" LONGCONV_ASM_REGISTERS_##D "}, " P0 ", " P1 ", p, 1, 1;\n}"                    \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "l"(a), "l"(b), "r"(accumulate));                                                                 \
    }                                                                                                                  \
    template <int TransposedB>                                                                                         \
    static __device__ __forceinline__ void registers(float (&d)[D], const uint32_t (&a)[4], uint64_t b,                \
                                                     int accumulate) {                                                 \
      static_assert(TransposedB == 0, "tf32 operands are K-major");                                                    \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P5 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N                  \
                   "k8.f32.tf32.tf32 {" LONGCONV_ASM_REGISTERS_##D "}, {" P0 ", " P1 ", " P2 ", " P3 "}, " P4          \
                   ", p, 1, 1;\n}"                                                                                     \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));                             \
    }                                                                                                                  \
  };

#define LONGCONV_WGMMA(N, D, P0, P1, P2, P3, P4, P5, P6)                            \
  LONGCONV_WGMMA_16BIT(bf16, "bf16", N, D, P0, P1, P2, P3, P4, P5, P6)              \
  LONGCONV_WGMMA_16BIT(f16, "f16", N, D, P0, P1, P2, P3, P4, P5, P6)                \
  LONGCONV_WGMMA_TF32(N, D, P0, P1, P2, P3, P4, P5)

LONGCONV_WGMMA(8, 4, "%4", "%5", "%6", "%7", "%8", "%9", "%10")
LONGCONV_WGMMA(16, 8, "%8", "%9", "%10", "%11", "%12", "%13", "%14")
LONGCONV_WGMMA(24, 12, "%12", "%13", "%14", "%15", "%16", "%17", "%18")
LONGCONV_WGMMA(32, 16, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
LONGCONV_WGMMA(40, 20, "%20", "%21", "%22", "%23", "%24", "%25", "%26")
LONGCONV_WGMMA(48, 24, "%24", "%25", "%26", "%27", "%28", "%29", "%30")
LONGCONV_WGMMA(64, 32, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
LONGCONV_WGMMA(80, 40, "%40", "%41", "%42", "%43", "%44", "%45", "%46")
LONGCONV_WGMMA(96, 48, "%48", "%49", "%50", "%51", "%52", "%53", "%54")
LONGCONV_WGMMA(128, 64, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
LONGCONV_WGMMA(160, 80, "%80", "%81", "%82", "%83", "%84", "%85", "%86")
LONGCONV_WGMMA(192, 96, "%96", "%97", "%98", "%99", "%100", "%101", "%102")
LONGCONV_WGMMA(256, 128, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

#undef LONGCONV_WGMMA
#undef LONGCONV_WGMMA_TF32
#undef LONGCONV_WGMMA_16BIT

/// D = A B (+ D when accumulate is not 0), both operands in shared memory. Transposed: the operand is M- or N-major (16-bit
/// types only).
template <typename Type, int N, int TransposedA = 0, int TransposedB = 0>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {
  WgmmaInstruction<Type, N>::template shared<TransposedA, TransposedB>(d, a, b, accumulate);
}

/// The same with A in registers.
template <typename Type, int N, int TransposedB = 0>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  WgmmaInstruction<Type, N>::template registers<TransposedB>(d, a, b, accumulate);
}

}  // namespace ptx
}  // namespace longconv
#endif
