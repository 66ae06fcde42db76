// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Warpgroup matrix multiply (sm_90a): D[64, N] += A[64, k] * B[N, k]^T, both operands in shared memory, K-major,
// without swizzle. An operand is a grid of core matrices, 8 rows x 16 bytes, each 128 contiguous bytes:
//   leading byte offset: from a core matrix to the next along k;  stride byte offset: to the next 8 rows.
// One instruction takes k = 32 bytes: 16 elements of 16 bits, 8 of TF32.
#pragma once
#include "ptx/types.cuh"

LC_DEVICE u64 wgmma_descriptor(u32 address, int leading_bytes, int stride_bytes) {
  return static_cast<u64>((address >> 4) & 0x3FFF) | (static_cast<u64>(leading_bytes >> 4) << 16) |
         (static_cast<u64>(stride_bytes >> 4) << 32);
}
LC_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
LC_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> LC_DEVICE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }

// After a wait and before ordinary code reads accumulators: keeps the compiler from moving reads above the wait
// and from serialising the wgmmas (ptxas warning C7514).
template <int N> LC_DEVICE void accumulators_ready(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// How the tensor core reads the operands.
struct mma_tf32 {};
struct mma_bf16 {};
struct mma_f16 {};

#define LC_ACC4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LC_ACC16(d, i) LC_ACC4(d, i), LC_ACC4(d, i + 4), LC_ACC4(d, i + 8), LC_ACC4(d, i + 12)
#define LC_ACC32(d, i) LC_ACC16(d, i), LC_ACC16(d, i + 16)
#define LC_ACC64(d, i) LC_ACC32(d, i), LC_ACC32(d, i + 32)
#define LC_ACC128(d, i) LC_ACC64(d, i), LC_ACC64(d, i + 64)
#define LC_NAMES16 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define LC_NAMES32 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LC_NAMES64 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define LC_NAMES128 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63," \
  "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79," \
  "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95," \
  "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111," \
  "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

// d: N/2 accumulators of this thread. accumulate = 0 starts from zero.
template <class Type, int N> struct Wgmma;
#define LC_WGMMA(TYPE, N, ACC, INSTRUCTION, TAIL, A, B, P)                                                     \
  template <> struct Wgmma<TYPE, N> {                                                                          \
    static LC_DEVICE void multiply(float (&d)[ACC], u64 a, u64 b, int accumulate) {                            \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #P ", 0;\nwgmma.mma_async.sync.aligned." INSTRUCTION    \
                   " {" LC_NAMES##ACC "}, %" #A ", %" #B ", p, 1, 1" TAIL ";\n}\n"                             \
                   : LC_ACC##ACC(d, 0) : "l"(a), "l"(b), "r"(accumulate));                                     \
    }                                                                                                          \
  };
#define LC_WGMMA_TYPES(N, ACC, A, B, P)                                               \
  LC_WGMMA(mma_tf32, N, ACC, "m64n" #N "k8.f32.tf32.tf32", "", A, B, P)               \
  LC_WGMMA(mma_bf16, N, ACC, "m64n" #N "k16.f32.bf16.bf16", ", 0, 0", A, B, P)        \
  LC_WGMMA(mma_f16, N, ACC, "m64n" #N "k16.f32.f16.f16", ", 0, 0", A, B, P)
LC_WGMMA_TYPES(256, 128, 128, 129, 130)
LC_WGMMA_TYPES(128, 64, 64, 65, 66)
LC_WGMMA_TYPES(64, 32, 32, 33, 34)
LC_WGMMA_TYPES(32, 16, 16, 17, 18)
#undef LC_WGMMA_TYPES
#undef LC_WGMMA
