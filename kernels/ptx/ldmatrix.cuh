// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// ldmatrix and stmatrix: 8 x 8 matrices of 16-bit elements between shared memory and the fragments of mma.sync.
/// Each lane gives the address of one 16-byte row: lanes 0-7 of the first matrix, 8-15 of the second, and so on. A lane
/// receives elements (lane / 4, 2 * (lane % 4)) and the next one of each matrix; with `transposed` those of its transpose.
#pragma once

#include "ptx/shared_memory.cuh"

namespace longconv {
namespace ptx {

__device__ __forceinline__ void load_matrix_x1(uint32_t (&m)[1], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(m[0]) : "r"(row));
}
__device__ __forceinline__ void load_matrix_x2(uint32_t (&m)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(m[0]), "=r"(m[1]) : "r"(row));
}
__device__ __forceinline__ void load_matrix_x4(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row));
}
__device__ __forceinline__ void load_matrix_x2_transposed(uint32_t (&m)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(m[0]), "=r"(m[1]) : "r"(row));
}
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row));
}

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void store_matrix_x4(uint32_t row, const uint32_t (&m)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(m[0]), "r"(m[1]),
               "r"(m[2]), "r"(m[3])
               : "memory");
}
__device__ __forceinline__ void store_matrix_x4_transposed(uint32_t row, const uint32_t (&m)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(m[0]), "r"(m[1]),
               "r"(m[2]), "r"(m[3])
               : "memory");
}
#endif

}  // namespace ptx
}  // namespace longconv
