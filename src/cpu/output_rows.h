// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Finished sums on their way into a tensor of any strides: bias, residual, activation, one rounding, store.
#pragma once

#include "cpu/tap_rows.h"
#include "longconv/plan.h"

namespace longconv::cpu {

/// to[c] = bias[c], converted to the type of the sums.
template <class T>
void read_bias(const IsaTable& table, const TensorView& bias, T* to);

/// Writes rows of sums of one pass's result (fprop: y, dgrad: x).
template <class T>
class OutputRows {
 public:
  /// `residual` may be undefined; it may be the same memory as `out`.
  OutputRows(const IsaTable& table, const ConvProblem& problem, const TensorView& out, const TensorView& residual,
             bool non_temporal);

  /// out[batch, channel + i, time + j * time_step] = act(sums[i * sum_pitch + j] + bias[i] + residual[same]) for
  /// i < channels, j < count. `residual_row`: scratch of count T (with a residual); `out_rows`: scratch of
  /// channels * count elements of the dtype. `sums` are readable up to whole vectors.
  void write(std::int64_t batch, std::int64_t channel, std::int64_t channels, std::int64_t time, std::int64_t time_step,
             std::int64_t count, const T* sums, std::int64_t sum_pitch, const T* bias, T* residual_row,
             void* out_rows) const;

 private:
  const IsaTable& table_;
  const ConvProblem& problem_;
  const TensorView& out_;
  const TensorView& residual_;
  bool non_temporal_;
};

}  // namespace longconv::cpu
