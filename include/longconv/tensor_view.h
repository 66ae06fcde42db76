// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// TensorView: memory that the caller owns, with sizes and strides in elements. No allocation, no reference count.
#pragma once

#include <array>
#include <cstdint>

#include "longconv/types.h"

namespace longconv {

/// Up to three dimensions, used by this library as (batch, channel, time), (out, in, tap) or (channel).
/// Strides are in elements, may be any value for inputs (0 for expanded, negative never); an output's
/// elements must not overlap. `data` needs the alignment of one real component of the dtype.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  std::array<std::int64_t, 3> sizes{0, 0, 0};
  std::array<std::int64_t, 3> strides{0, 0, 0};

  bool defined() const { return rank != 0; }

  /// A dense row-major view.
  static TensorView contiguous(void* data, DType dtype, std::array<std::int64_t, 3> sizes) {
    return {data, dtype, 3, sizes, {sizes[1] * sizes[2], sizes[2], 1}};
  }
  static TensorView vector(void* data, DType dtype, std::int64_t size) {
    return {data, dtype, 1, {size, 0, 0}, {1, 0, 0}};
  }
};

/// The operands of one pass. fprop reads x, w, bias, residual and writes y; dgrad reads y (dL/dy), w, bias, residual
/// and writes x (dL/dx); wgrad reads x, y (dL/dy) and writes w (dL/dw) and, with has_bias, bias (dL/dbias).
struct ConvTensors {
  TensorView x;         ///< (batch, in_channels, length_samples)
  TensorView w;         ///< (out_channels, in_channels/groups, kernel_size)
  TensorView y;         ///< (batch, out_channels, out_length)
  TensorView bias;      ///< (out_channels; dgrad: in_channels), only with has_bias
  TensorView residual;  ///< shaped as the result (fprop: y, dgrad: x), only with has_residual
  /// What the forward pass wrote, shaped as y; dgrad and wgrad, only with an activation. See lies_beside().
  TensorView forward_y{};
};

/// Whether a gradient pass can read forward's result beside dL/dy, at one distance from it: equal strides, consecutive
/// samples, and both begin on the same place of 16 bytes. Where not, the caller makes dL/dz itself.
bool lies_beside(const TensorView& forward_y, const TensorView& y);

}  // namespace longconv
