// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Warp matrix multiply of sm_80 and newer: D[16, 8] += A[16, k] * B[k, 8], k = 32 bytes. With g = lane/4, c = lane%4 and
// "word" = 4 bytes along k (two 16-bit elements or one TF32):
//   a[0..3] = A[g][word c], A[g+8][word c], A[g][word c+4], A[g+8][word c+4]
//   b[0..1] = B[word c][g], B[word c+4][g]          d[0..3] = D[g][2c], D[g][2c+1], D[g+8][2c], D[g+8][2c+1]
#pragma once
#include "ptx/types.cuh"

struct mma_sync_bf16 {};
struct mma_sync_f16 {};
struct mma_sync_tf32 {};

#define LC_MMA_SYNC(TYPE, INSTRUCTION)                                                                             \
  LC_DEVICE void mma_sync(TYPE, float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {                                \
    asm volatile("mma.sync.aligned." INSTRUCTION " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"          \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                  \
  }
LC_MMA_SYNC(mma_sync_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
LC_MMA_SYNC(mma_sync_f16, "m16n8k16.row.col.f32.f16.f16.f32")
LC_MMA_SYNC(mma_sync_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef LC_MMA_SYNC

// Four 8 x 16-byte blocks; lane l names row l%8 of block l/8; lane gets word c of row g of each.
LC_DEVICE void load_matrix(u32 (&v)[4], u32 a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "r"(a));
}
