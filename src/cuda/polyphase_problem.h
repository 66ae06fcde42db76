// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// fprop and dgrad as the kernels that write rows of a signal see them: one equation for both.
///
///   y[n, o, p + phases * m] = sum over i and the taps k of phase p: w[o,i,k] * x[n, i, m * stride + offset(k) -
///   pad_left]
///
/// fprop has one phase, to which all taps belong, and offset(k) = k * dilation. dgrad reads dy with stride 1 and writes
/// dx in as many phases as the convolution has stride: with the taps in reverse order, tap k reaches the positions of
///   phase(k) = (phase_shift - k * dilation) mod phases,   offset(k) = (k * dilation + phase(k) - phase_shift) /
///   phases.
/// Among `period()` consecutive taps no two have the same phase; those of one phase lie `period()` taps and
/// `row_step()` samples apart. kernels/tile/phases.cuh is the same in device code.
#pragma once

#include <cstdint>

#include "longconv/plan.h"

namespace longconv::cuda {

/// Pad of kernels/tile/signal.cuh.
int pad_code(const ConvProblem& problem);

/// Names are those of ConvProblem, seen from the kernel: `in` is what it reads (dgrad: dy), `out` what it writes (dx).
struct PolyphaseProblem {
  ConvProblem asked;
  bool is_dgrad = false;  ///< weights are transposed: (in, out/groups, tap)
  DType dtype = DType::f32;
  Precision precision = Precision::fp32;
  Activation activation = Activation::none;   ///< of y
  Activation gradient_of = Activation::none;  ///< dgrad: forward's; x is then dL/dz, made of dL/dy and forward's result
  bool has_bias = false, has_residual = false;
  double negative_slope = 0;
  std::int64_t batch = 1, groups = 1, in_channels = 1, out_channels = 1;
  std::int64_t length_samples = 1;  ///< of x
  std::int64_t kernel_size = 1, stride = 1, dilation = 1, phases = 1, phase_shift = 0;
  std::int64_t pad_left = 0;  ///< below 0: the first window begins after the first sample
  int pad_code = 0;           ///< Pad of kernels/tile/signal.cuh: none where no window leaves the signal

  explicit PolyphaseProblem(const ConvProblem& problem);

  std::int64_t out_length() const { return out_length_; }
  std::int64_t in_channels_per_group() const { return in_channels / groups; }
  std::int64_t out_channels_per_group() const { return out_channels / groups; }
  /// Tensors that x is read from: dL/dy and forward's result, or one.
  std::int64_t signals() const { return gradient_of == Activation::none ? 1 : 2; }
  std::int64_t period() const;
  std::int64_t row_step() const;
  /// The most taps that a phase has.
  std::int64_t phase_taps() const { return (kernel_size + period() - 1) / period(); }
  /// Samples from the first to the last that the first `taps` taps read for one m, less one.
  std::int64_t offset_span(std::int64_t taps) const;

 private:
  std::int64_t out_length_ = 0;
};

/// Bytes from an element of dL/dy to the same of forward's result; 0 where there is none.
std::int64_t distance_to_forward_y(const TensorView& grad_y, const TensorView& forward_y);

/// The tensors in the same roles: x is read, y written, w has strides (out, in, tap), its taps in the kernel's order.
ConvTensors polyphase_tensors(const PolyphaseProblem& problem, const ConvTensors& tensors);

}  // namespace longconv::cuda
