// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/wgmma.cuh.
#pragma once

#include "ptx/shared_memory.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
namespace longconv {
namespace ptx {

enum class Swizzle : uint32_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

inline uint64_t wgmma_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes,
                                 Swizzle swizzle = Swizzle::none) {
  return (uint64_t)((address & 0x3ffffu) >> 4) | (uint64_t)(leading_bytes >> 4) << 16 |
         (uint64_t)(stride_bytes >> 4) << 32 | (uint64_t)swizzle << 62;
}

inline void wgmma_fence() {}
inline void wgmma_commit() { longconv_emulator_services->wgmma_commit(); }
template <int Pending>
inline void wgmma_wait() {
  longconv_emulator_services->wgmma_wait(Pending);
}
template <int Count>
inline void keep_registers(float (&)[Count]) {}

namespace emulated {
constexpr emulator::Number number(bf16) { return emulator::Number::bf16; }
constexpr emulator::Number number(f16) { return emulator::Number::f16; }
constexpr emulator::Number number(tf32) { return emulator::Number::tf32; }
}  // namespace emulated

template <typename Type, int N, int TransposedA = 0, int TransposedB = 0>
inline void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {
  longconv_emulator_services->wgmma(
      {emulated::number(Type{}), N, nullptr, a, b, TransposedA != 0, TransposedB != 0, accumulate != 0, d});
}
template <typename Type, int N, int TransposedB = 0>
inline void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  longconv_emulator_services->wgmma(
      {emulated::number(Type{}), N, a, 0, b, false, TransposedB != 0, accumulate != 0, d});
}

}  // namespace ptx
}  // namespace longconv
#endif
