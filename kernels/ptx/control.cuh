// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Fences, named barriers, register redistribution, clusters, dependent launches.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

/// Barrier `id` (1 to 15; 0 is __syncthreads) among `threads` threads, a multiple of 32.
__device__ __forceinline__ void named_barrier_sync(uint32_t id, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// Counts for the barrier without waiting.
__device__ __forceinline__ void named_barrier_arrive(uint32_t id, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// Ptxas moves no instruction of weight (loads, mma) across this: it bounds how many values are live. `never`: false, as the
/// caller knows and the compilers cannot.
__device__ __forceinline__ void schedule_border(bool never) {
  if (never) asm volatile("exit;");
}

#if __CUDA_ARCH__ >= 900
/// Orders generic writes to shared memory before asynchronous reads of it (wgmma, bulk_store). Either: stores, this fence by
/// every writing thread, then the arrive or barrier. Or (PTX: a proxy fence anywhere along the path of causality): stores,
/// arrive, the reader's wait, then this fence by every reading thread; for writers with loads under way, which the fence waits
/// for. The other way round (asynchronous reads have ended, generic writes follow) needs no fence.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// True for one lane of the warp, whose lanes all call this. Ptxas knows what it is, and does not make bulk copies behind it
/// loops over lanes, as it does behind a comparison.
__device__ __forceinline__ bool elect_one() {
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
}

/// Rank of the block in its cluster.
__device__ __forceinline__ uint32_t cluster_block_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// Barrier of all threads of the cluster; also keeps a block's shared memory alive while others use it.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
#endif

// In launches that may overlap the kernel ahead of them in the stream (LaunchShape::overlap_previous): wait_for_previous_kernel()
// waits until that kernel has ended and what it wrote can be read. Every block of such a launch calls it, so that when one kernel
// has ended, those before it have. allow_next_kernel(), by any thread: the next kernel may start once every block has called this
// or ended; a matter of speed only. Without such launches, and before Hopper, both do nothing.
#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void wait_for_previous_kernel() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void allow_next_kernel() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#else
__device__ __forceinline__ void wait_for_previous_kernel() {}
__device__ __forceinline__ void allow_next_kernel() {}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// Registers of every thread of this warpgroup from here on: a multiple of 8, 24 to 256. All four warps execute it. The
/// pool is what the launch took (threads times its registers, not 65536): an increase that it cannot give waits forever.
/// register_pool_suffices() checks that at compile time.
template <int Count>
__device__ __forceinline__ void increase_registers() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
__device__ __forceinline__ void decrease_registers() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}
#endif

/// Whether `consumers` threads of `consumer_registers` and `producers` of `producer_registers` fit into what a launch of
/// one block per multiprocessor takes (__launch_bounds__(consumers + producers, 1)).
__host__ __device__ constexpr bool register_pool_suffices(int consumers, int consumer_registers, int producers, int producer_registers) {
  return consumers * consumer_registers + producers * producer_registers <=
         (consumers + producers) * (65536 / (consumers + producers) / 8 * 8);
}

}  // namespace ptx
}  // namespace longconv
