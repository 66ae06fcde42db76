// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/polyphase_problem.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace longconv::cuda {

int pad_code(const ConvProblem& problem) {
  if (problem.pad_left == 0 && problem.pad_right == 0) return 0;
  return 1 + static_cast<int>(problem.pad_mode);
}

PolyphaseProblem::PolyphaseProblem(const ConvProblem& p)
    : asked(p),
      is_dgrad(p.pass == Pass::dgrad),
      dtype(p.dtype),
      precision(p.precision),
      activation(p.activation),
      has_bias(p.has_bias),
      has_residual(p.has_residual),
      negative_slope(p.negative_slope),
      batch(p.batch),
      groups(p.groups),
      in_channels(p.in_channels),
      out_channels(p.out_channels),
      length_samples(p.length_samples),
      kernel_size(p.kernel_size),
      stride(p.stride),
      dilation(p.dilation),
      pad_left(p.pad_left),
      pad_code(cuda::pad_code(p)),
      out_length_(p.out_length()) {
  if (!is_dgrad) return;
  // Of the zero-padded convolution; what a padding mode adds is kernels/conv/dgrad_padding.cuh's.
  std::swap(activation, gradient_of);
  std::swap(in_channels, out_channels);
  std::swap(length_samples, out_length_);
  phases = std::exchange(stride, 1);
  const std::int64_t reach = (kernel_size - 1) * dilation - p.pad_left;
  pad_left = reach >= 0 ? reach / phases : -((phases - 1 - reach) / phases);
  phase_shift = reach - pad_left * phases;
  // The last m reads furthest; a phase's last element may be one m less, which only makes padding where none was
  // needed.
  const std::int64_t last = (out_length_ - 1) / phases + offset_span(kernel_size) - pad_left;
  pad_code = pad_left > 0 || last >= length_samples ? 1 : 0;
}

std::int64_t PolyphaseProblem::period() const { return std::min(phases / std::gcd(phases, dilation), kernel_size); }

std::int64_t PolyphaseProblem::row_step() const { return dilation / std::gcd(phases, dilation); }

std::int64_t PolyphaseProblem::offset_span(std::int64_t taps) const {
  if (phases == 1) return (taps - 1) * dilation;
  return std::max<std::int64_t>(0, ((taps - 1) * dilation - phase_shift + phases - 1) / phases);
}

std::int64_t distance_to_forward_y(const TensorView& grad_y, const TensorView& forward_y) {
  if (!forward_y.defined()) return 0;
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(forward_y.data) -
                                   reinterpret_cast<std::uintptr_t>(grad_y.data));
}

ConvTensors polyphase_tensors(const PolyphaseProblem& problem, const ConvTensors& tensors) {
  if (!problem.is_dgrad) return tensors;
  ConvTensors t = tensors;
  std::swap(t.x, t.y);
  std::swap(t.w.strides[0], t.w.strides[1]);
  t.w.data = static_cast<char*>(t.w.data) + (problem.kernel_size - 1) * t.w.strides[2] * size_bytes(problem.dtype);
  t.w.strides[2] = -t.w.strides[2];
  return t;
}

}  // namespace longconv::cuda
