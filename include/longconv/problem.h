// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// ConvProblem: what is asked. A value: comparable, hashable, printable, and its printed form can be read back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "longconv/types.h"

namespace longconv {

/// One 1-D convolution pass. Sizes are those of the forward convolution in every pass:
///   x (batch, in_channels, length_samples)            n c l
///   w (out_channels, in_channels/groups, kernel_size) o i k
///   y (batch, out_channels, out_length())             n o t
///   y[n,o,t] = act( sum_{i,k} w[o,i,k] * xpad[n, g(o)*in_channels/groups + i, t*stride + k*dilation - pad_left]
///                   + bias[o] + residual[n,o,t] )
/// where xpad extends x by pad_left/pad_right samples according to pad_mode.
/// Example of the printed form: "fprop n64 c64->128 l524280 k3 s3 d4 f32".
struct ConvProblem {
  Pass pass = Pass::fprop;
  DType dtype = DType::f32;
  Precision precision = Precision::fp32;
  PadMode pad_mode = PadMode::zeros;
  /// fprop: of the result. dgrad, wgrad: of the forward pass, whose result is ConvTensors::forward_y. Then y is
  /// dL/dact(z), and wherever the pass says y it means dL/dz = y * act'(z), rounded to dtype. Only where
  /// has_derivative_from_result(), without residual, and in dgrad without bias.
  Activation activation = Activation::none;
  bool has_bias = false;         ///< fprop, dgrad: added to the result; wgrad: the bias gradient is computed too
  bool f32_result = false;       ///< wgrad of bf16 and f16: the gradients are f32, not the operands' dtype
  bool has_residual = false;     ///< fprop, dgrad: a tensor shaped as the result is added; may be the result itself
  double negative_slope = 0.01;  ///< leaky_relu only; printed (and compared) only there

  std::int64_t batch = 1;
  std::int64_t in_channels = 1;
  std::int64_t out_channels = 1;
  std::int64_t length_samples = 1;
  std::int64_t kernel_size = 1;
  std::int64_t stride = 1;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  std::int64_t pad_left = 0;
  std::int64_t pad_right = 0;

  /// Samples spanned by one window: (kernel_size - 1) * dilation + 1.
  std::int64_t window_samples() const { return (kernel_size - 1) * dilation + 1; }
  /// Number of output samples: floor((length + pads - window) / stride) + 1. Call validate() first.
  std::int64_t out_length() const { return (length_samples + pad_left + pad_right - window_samples()) / stride + 1; }
  std::int64_t in_channels_per_group() const { return in_channels / groups; }
  std::int64_t out_channels_per_group() const { return out_channels / groups; }
  /// Element type of what the pass writes.
  DType result_dtype() const { return f32_result ? DType::f32 : dtype; }
  /// A gradient pass that reads forward's result beside dL/dy.
  bool has_forward_y() const { return pass != Pass::fprop && activation != Activation::none; }
  bool is_depthwise() const { return in_channels == groups; }
  /// Elements of the bias: channels of y, in dgrad (whose result is x) of x.
  std::int64_t bias_channels() const { return pass == Pass::dgrad ? in_channels : out_channels; }

  /// Throws Error naming the first violated rule with the expected and the actual value: positive sizes
  /// (batch may be 0), groups dividing both channel counts, pads that the mode allows (reflect: < length,
  /// circular: <= length), at least one output sample, every tensor's element count and byte size and every
  /// padded index within 63 bits, epilogue only where the pass has one.
  void validate() const;

  /// 2 * multiply-adds of the pass (complex: 8 real operations per complex multiply-add), as a double: may exceed 2^63.
  double flops() const;
  /// Compulsory bytes: each operand read once, each result written once.
  double compulsory_bytes() const;

  /// One line; defaults are left out ("g1", "p0", "zeros", "fp32").
  std::string to_string() const;
  /// Reads to_string()'s form; words in any order, `nN cI->O lL kK sS dD gG pP | p(L,R)`, dtype, padding mode,
  /// "tf32", "bias", "f32_result", "residual", activation name, "leaky_relu(0.2)". Missing words take the defaults
  /// above; the pass word may be left out (fprop). Throws Error{invalid_value} naming the word that was not understood.
  /// Does not validate().
  static ConvProblem parse(std::string_view text);

  bool operator==(const ConvProblem& other) const;
  bool operator!=(const ConvProblem& other) const { return !(*this == other); }
  std::size_t hash() const;
};

}  // namespace longconv

template <>
struct std::hash<longconv::ConvProblem> {
  std::size_t operator()(const longconv::ConvProblem& problem) const { return problem.hash(); }
};
