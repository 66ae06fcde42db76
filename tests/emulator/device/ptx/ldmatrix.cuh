// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/ldmatrix.cuh.
#pragma once

#include "ptx/shared_memory.cuh"

namespace longconv {
namespace ptx {

inline void load_matrix_x1(uint32_t (&m)[1], uint32_t row) {
  longconv_emulator_services->warp(emulator::WarpOperation::load_matrix, ~0u, {nullptr, m, row, 1});
}
inline void load_matrix_x2(uint32_t (&m)[2], uint32_t row) {
  longconv_emulator_services->warp(emulator::WarpOperation::load_matrix, ~0u, {nullptr, m, row, 2});
}
inline void load_matrix_x4(uint32_t (&m)[4], uint32_t row) {
  longconv_emulator_services->warp(emulator::WarpOperation::load_matrix, ~0u, {nullptr, m, row, 4});
}
inline void load_matrix_x2_transposed(uint32_t (&m)[2], uint32_t row) {
  longconv_emulator_services->warp(emulator::WarpOperation::load_transposed, ~0u, {nullptr, m, row, 2});
}
inline void load_matrix_x4_transposed(uint32_t (&m)[4], uint32_t row) {
  longconv_emulator_services->warp(emulator::WarpOperation::load_transposed, ~0u, {nullptr, m, row, 4});
}

#if __CUDA_ARCH__ >= 900
inline void store_matrix_x4(uint32_t row, const uint32_t (&m)[4]) {
  longconv_emulator_services->warp(emulator::WarpOperation::store_matrix, ~0u, {m, nullptr, row, 4});
}
inline void store_matrix_x4_transposed(uint32_t row, const uint32_t (&m)[4]) {
  longconv_emulator_services->warp(emulator::WarpOperation::store_transposed, ~0u, {m, nullptr, row, 4});
}
#endif

}  // namespace ptx
}  // namespace longconv
