// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/control.cuh. Register counts are checked at compile time and mean nothing else here. Launches
/// never overlap, but where they may, what the kernel before has written is out of reach before the wait.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

inline void named_barrier_sync(uint32_t id, uint32_t threads) {
  longconv_emulator_services->block_barrier(id, threads, true);
}
inline void named_barrier_arrive(uint32_t id, uint32_t threads) {
  longconv_emulator_services->block_barrier(id, threads, false);
}

inline void schedule_border(bool never) {
  if (never) longconv_emulator_services->fail("schedule_border: never is true");
}

#if __CUDA_ARCH__ >= 900
/// What this thread has stored, or seen of others, may from here on be read by the asynchronous proxy.
inline void fence_proxy_async() { longconv_emulator_thread->fenced = ++*longconv_emulator_thread->clock; }
/// All lanes must come.
inline bool elect_one() { return __ballot_sync(~0u, 1) != 0 && threadIdx.x % 32 == 0; }
inline uint32_t cluster_block_rank() { return longconv_emulator_thread->cluster_rank; }
inline void cluster_sync() { longconv_emulator_services->cluster_barrier(); }
#endif

inline void wait_for_previous_kernel() { longconv_emulator_services->wait_for_previous_kernel(); }
inline void allow_next_kernel() {}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
template <int Count>
inline void increase_registers() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
}
template <int Count>
inline void decrease_registers() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
}
#endif

constexpr bool register_pool_suffices(int consumers, int consumer_registers, int producers, int producer_registers) {
  return consumers * consumer_registers + producers * producer_registers <=
         (consumers + producers) * (65536 / (consumers + producers) / 8 * 8);
}

}  // namespace ptx
}  // namespace longconv
