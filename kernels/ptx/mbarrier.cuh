// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// mbarrier: arrivals and transaction bytes counted in shared memory (sm_90).
///
/// A barrier has phases. It is waited for by the parity of the phase that must have ended: a fresh barrier's first phase
/// has parity 0, and a wait for parity 1 on a fresh barrier returns at once (what a producer wants of an empty slot).
#pragma once

#include "ptx/shared_memory.cuh"

#if __CUDA_ARCH__ >= 900
namespace longconv {
namespace ptx {

/// Bytes of one barrier, which must be 8-byte aligned.
constexpr uint32_t kBarrierBytes = 8;

/// Sets the number of arrivals of a phase. By one thread; then fence_barrier_init() and a block (or cluster) barrier.
__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the asynchronous proxy and to the cluster.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives and adds the bytes that copies will complete in this phase.
__device__ __forceinline__ void barrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/// Arrives at the same barrier of another block of the cluster. Without `.release.cluster`, which costs an ERRBAR: what
/// is handed over must not be plain writes (an empty slot, read by wgmma or by loads that have returned, is fine).
__device__ __forceinline__ void barrier_arrive_remote(uint32_t barrier, uint32_t block_rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(barrier),
      "r"(block_rank)
      : "memory");
}

/// Whether the phase of this parity has ended; may wait a short, bounded time.
__device__ __forceinline__ bool barrier_try_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred done;\nmbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\nselp.u32 %0, 1, 0, done;\n}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

/// The same without waiting.
__device__ __forceinline__ bool barrier_test_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred done;\nmbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\nselp.u32 %0, 1, 0, done;\n}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

/// Waits until the phase of this parity has ended. The loop is C++: a label inside inline PTX would be defined twice when
/// the function is inlined twice. With -DLONGCONV_WAIT_LIMIT_NS=n a wait of more than n nanoseconds traps: while a kernel
/// is being written, a deadlock then ends as an error.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
#ifdef LONGCONV_WAIT_LIMIT_NS
  uint64_t start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  while (!barrier_try_wait(barrier, parity)) {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    if (now - start > LONGCONV_WAIT_LIMIT_NS) asm volatile("trap;");
  }
#else
  while (!barrier_try_wait(barrier, parity)) {
  }
#endif
}

}  // namespace ptx
}  // namespace longconv
#endif
