// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// cp.async: copies from global to shared memory that each thread issues for itself (sm_80).
#pragma once

#include "ptx/shared_memory.cuh"

namespace longconv {
namespace ptx {

/// Copies `Bytes` (4, 8 or 16; both addresses aligned to it). Only the first `valid_bytes` are read, the rest of the
/// destination becomes zero; with 0 the source is not touched (but must be a global address).
template <int Bytes>
__device__ __forceinline__ void async_copy(uint32_t destination, const void* source, uint32_t valid_bytes = Bytes) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "cp.async moves 4, 8 or 16 bytes");
  if (Bytes == 16) {  // past the first-level cache, which only this size can
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(source), "r"(valid_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(destination), "l"(source), "n"(Bytes),
                 "r"(valid_bytes)
                 : "memory");
  }
}

__device__ __forceinline__ void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until all but the latest `Pending` groups of this thread are complete. Other threads see them after a barrier.
template <int Pending>
__device__ __forceinline__ void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace ptx
}  // namespace longconv
