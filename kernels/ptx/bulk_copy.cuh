// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// 1-D bulk copies between global and shared memory by the asynchronous proxy (sm_90). Addresses and sizes are multiples
/// of 16 bytes, or the behaviour is undefined.
#pragma once

#include "ptx/shared_memory.cuh"

#if __CUDA_ARCH__ >= 900
namespace longconv {
namespace ptx {

/// How the second-level cache treats a copy's lines.
__device__ __forceinline__ uint64_t l2_evict_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t l2_evict_last() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/// Global to this block's shared memory; completes `bytes` on the mbarrier. Issued by one thread.
__device__ __forceinline__ void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(destination),
               "l"(source), "r"(bytes), "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier,
                                          uint64_t l2_policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
          destination),
      "l"(source), "r"(bytes), "r"(barrier), "l"(l2_policy)
      : "memory");
}

/// The same to every block of the cluster whose bit in `block_mask` is set: to the same offset, completing on the barrier
/// at the same offset, in each.
__device__ __forceinline__ void bulk_load_multicast(uint32_t destination, const void* source, uint32_t bytes,
                                                    uint32_t barrier, uint16_t block_mask) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(
          destination),
      "l"(source), "r"(bytes), "r"(barrier), "h"(block_mask)
      : "memory");
}

/// This block's shared memory to global, as part of the thread's current bulk group. What generic code wrote there must
/// have been followed by fence_proxy_async() in the writing threads.
__device__ __forceinline__ void bulk_store(void* destination, uint32_t source, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(destination), "r"(source), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void bulk_store(void* destination, uint32_t source, uint32_t bytes, uint64_t l2_policy) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%0], [%1], %2, %3;" ::"l"(destination),
               "r"(source), "r"(bytes), "l"(l2_policy)
               : "memory");
}

__device__ __forceinline__ void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Waits until all but the latest `Pending` groups of this thread have read their source, which may then be reused.
template <int Pending>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}
/// Waits until all but the latest `Pending` groups of this thread are complete.
template <int Pending>
__device__ __forceinline__ void bulk_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Brings global memory into the second-level cache.
__device__ __forceinline__ void bulk_prefetch(const void* source, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(source), "r"(bytes) : "memory");
}

}  // namespace ptx
}  // namespace longconv
#endif
