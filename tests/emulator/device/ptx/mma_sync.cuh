// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/mma_sync.cuh.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {
namespace emulated {

template <class T, int kA, int kB>
inline void mma(emulator::WarpOperation operation, const T (&a)[kA], const T (&b)[kB], void* d) {
  T in[kA + kB];
  for (int i = 0; i < kA; ++i) in[i] = a[i];
  for (int i = 0; i < kB; ++i) in[kA + i] = b[i];
  longconv_emulator_services->warp(operation, ~0u, {in, d, 0, kA + kB});
}

}  // namespace emulated

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bf16) {
  emulated::mma(emulator::WarpOperation::mma_bf16, a, b, d);
}
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], f16) {
  emulated::mma(emulator::WarpOperation::mma_f16, a, b, d);
}
inline void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32) {
  emulated::mma(emulator::WarpOperation::mma_tf32, a, b, d);
}
inline void mma_m8n8k4(double (&d)[2], double a, double b) {
  const double a1[1] = {a}, b1[1] = {b};
  emulated::mma(emulator::WarpOperation::mma_f64, a1, b1, d);
}
#if __CUDA_ARCH__ >= 900
inline void mma_m16n8k8(double (&d)[4], const double (&a)[4], const double (&b)[2]) {
  emulated::mma(emulator::WarpOperation::mma_f64_k8, a, b, d);
}
#endif

}  // namespace ptx
}  // namespace longconv
