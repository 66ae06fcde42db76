// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Shared memory by 32-bit address: plain loads and stores, 8x8 matrix moves.
#pragma once
#include "ptx/types.cuh"

LC_DEVICE u32 shared_address(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }

LC_DEVICE u32 load_shared_u16(u32 a) {
  u16 v;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(a));
  return v;
}
LC_DEVICE u32 load_shared_u32(u32 a) {
  u32 v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(a));
  return v;
}
LC_DEVICE void load_shared(u32 a, float (&v)[4]) {
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3]) : "r"(a));
}
LC_DEVICE void store_shared(u32 a, u32 x, u32 y, u32 z, u32 w) {
  asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(a), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}
LC_DEVICE void store_shared(u32 a, u32 x, u32 y) {
  asm volatile("st.shared.v2.b32 [%0], {%1,%2};" ::"r"(a), "r"(x), "r"(y) : "memory");
}
LC_DEVICE void store_shared(u32 a, u32 x) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(a), "r"(x) : "memory"); }
LC_DEVICE void store_shared_u16(u32 a, u32 x) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(a), "h"(static_cast<u16>(x)) : "memory");
}

// Four 8x8 blocks of 16-bit elements, transposed on the way into registers; lane l names row l%8 of block l/8.
LC_DEVICE void load_matrix_transposed(u32 (&v)[4], u32 a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "r"(a));
}
#if __CUDA_ARCH__ >= 900
LC_DEVICE void store_matrix(u32 a, const u32 (&v)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};"
               ::"r"(a), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]) : "memory");
}
#endif
