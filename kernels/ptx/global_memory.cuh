// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Loads from global memory. The accesses are volatile: the compiler keeps their order, so that loads issued early stay early.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

/// The element's bits, or 0 without touching memory; no kernel in flight may write it. Marked as first to leave the first-level cache: streamed data must
/// not push out what is read again.
__device__ __forceinline__ uint32_t load_streamed_or_zero(const float* p, bool wanted) {
  uint32_t value;
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %2, 0;\nmov.b32 %0, 0;\n@p ld.global.nc.L1::evict_first.b32 %0, [%1];\n}"
               : "=r"(value)
               : "l"(p), "r"((int)wanted));
  return value;
}
__device__ __forceinline__ uint32_t load_streamed_or_zero_u16(const void* p, bool wanted) {
  uint16_t value;
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %2, 0;\nmov.b16 %0, 0;\n@p ld.global.nc.L1::evict_first.b16 %0, [%1];\n}"
               : "=h"(value)
               : "l"(p), "r"((int)wanted));
  return value;
}
__device__ __forceinline__ uint32_t load_streamed_or_zero(const bf16* p, bool wanted) { return load_streamed_or_zero_u16(p, wanted); }
__device__ __forceinline__ uint32_t load_streamed_or_zero(const f16* p, bool wanted) { return load_streamed_or_zero_u16(p, wanted); }

/// 16 bytes at a multiple of 16. On Hopper the kernel before may have written them while this one ran already
/// (wait_for_previous_kernel): not by the path for constant data.
__device__ __forceinline__ void load_global_v4(uint32_t (&v)[4], const void* p) {
#if __CUDA_ARCH__ >= 900
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "l"(p));
#else
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "l"(p));
#endif
}

}  // namespace ptx
}  // namespace longconv
