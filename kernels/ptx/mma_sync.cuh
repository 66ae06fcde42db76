// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// mma.sync: D = A B + C by one warp (sm_80). A is row-major, B column-major.
///
/// With g = lane / 4 and c = lane % 4, a lane holds, for m16n8k16 of 16-bit elements (two to a register, low half first):
///   a[0] A(g, 2c..), a[1] A(g+8, 2c..), a[2] A(g, 2c+8..), a[3] A(g+8, 2c+8..)
///   b[0] B(2c.., g), b[1] B(2c+8.., g)
///   d[0] D(g, 2c), d[1] D(g, 2c+1), d[2] D(g+8, 2c), d[3] D(g+8, 2c+1)
/// for m16n8k8 of TF32:  a[0] A(g, c), a[1] A(g+8, c), a[2] A(g, c+4), a[3] A(g+8, c+4); b[0] B(c, g), b[1] B(c+4, g)
/// for m8n8k4 of f64:    a A(g, c); b B(c, g); d[0] D(g, 2c), d[1] D(g, 2c+1)
/// for m16n8k8 of f64 (sm_90): a[0] A(g, c), a[1] A(g+8, c), a[2] A(g, c+4), a[3] A(g+8, c+4); b[0] B(c, g),
///   b[1] B(c+4, g); d as for 16-bit elements
/// TF32 operands are floats' bits whose low 13 bits are ignored: round first (round_tf32).
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bf16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], f16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// Fused multiply-adds with one rounding each, as IEEE 754 says.
__device__ __forceinline__ void mma_m8n8k4(double (&d)[2], double a, double b) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+d"(d[0]), "+d"(d[1])
               : "d"(a), "d"(b));
}
#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void mma_m16n8k8(double (&d)[4], const double (&a)[4], const double (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+d"(d[0]), "+d"(d[1]), "+d"(d[2]), "+d"(d[3])
      : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(b[0]), "d"(b[1]));
}
#endif

}  // namespace ptx
}  // namespace longconv
