// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/mbarrier.cuh. A wait lets other threads run; when none can, the launch ends with a report.
#pragma once

#include "ptx/shared_memory.cuh"

#if __CUDA_ARCH__ >= 900
namespace longconv {
namespace ptx {

constexpr uint32_t kBarrierBytes = 8;

inline void barrier_init(uint32_t barrier, uint32_t arrivals) {
  longconv_emulator_services->barrier_init(barrier, arrivals);
}
inline void fence_barrier_init() {}
inline void barrier_arrive(uint32_t barrier) { longconv_emulator_services->barrier_arrive(barrier, 0, ~0u); }
inline void barrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  longconv_emulator_services->barrier_arrive(barrier, bytes, ~0u);
}
inline void barrier_arrive_remote(uint32_t barrier, uint32_t block_rank) {
  longconv_emulator_services->barrier_arrive(barrier, 0, block_rank);
}
inline bool barrier_try_wait(uint32_t barrier, uint32_t parity) {
  return longconv_emulator_services->barrier_test(barrier, parity);
}
inline bool barrier_test_wait(uint32_t barrier, uint32_t parity) {
  return longconv_emulator_services->barrier_test(barrier, parity);
}
inline void barrier_wait(uint32_t barrier, uint32_t parity) {
  longconv_emulator_services->barrier_wait(barrier, parity);
}

}  // namespace ptx
}  // namespace longconv
#endif
