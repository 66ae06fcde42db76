// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The vocabulary of a convolution problem: passes, element types, padding modes, activations, precisions.
#pragma once

#include <cstdint>
#include <string_view>

namespace longconv {

/// Which of the three bilinear passes is asked for.
/// With y[n,o,t] = sum_{i,k} w[o,i,k] * x[n,i, t*stride + k*dilation - pad_left]:
enum class Pass : std::uint8_t {
  fprop,  ///< y from x and w (forward)
  dgrad,  ///< dL/dx from dL/dy and w (data gradient; the transposed convolution's forward)
  wgrad,  ///< dL/dw (and dL/dbias) from dL/dy and x (weight gradient)
};

/// Element type of every tensor of a problem. Accumulation: f32 for f32/bf16/f16, f64 for f64,
/// wrap-around modulo 2^64 for i64; c64/c128 are pairs (re, im) of f32/f64.
enum class DType : std::uint8_t { f32, f64, bf16, f16, c64, c128, i64 };

/// What lies outside the signal. Only `zeros` exists as "nothing is multiplied"; the others read the signal again.
enum class PadMode : std::uint8_t { zeros, reflect, replicate, circular };

/// Epilogue activation, applied after bias and residual, in the accumulation type, before the one rounding to dtype.
enum class Activation : std::uint8_t { none, relu, leaky_relu, gelu, gelu_tanh, silu, tanh, sigmoid };

/// Whether act'(z) is a function of act(z) (none, relu, tanh, sigmoid, leaky_relu whose negative_slope is at least 0),
/// so that the gradient needs the result alone.
bool has_derivative_from_result(Activation activation, double negative_slope);

/// How f32 tensors are multiplied. `tf32` exists on CUDA only and only where the caller allows it.
enum class Precision : std::uint8_t { fp32, tf32 };

/// Size of one element in bytes.
constexpr std::int64_t size_bytes(DType dtype) {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::f64: return 8;
    case DType::bf16: return 2;
    case DType::f16: return 2;
    case DType::c64: return 8;
    case DType::c128: return 16;
    case DType::i64: return 8;
  }
  return 0;
}

constexpr bool is_complex(DType dtype) { return dtype == DType::c64 || dtype == DType::c128; }

/// Real component type of a complex dtype; a real dtype is returned as it is.
constexpr DType real_dtype(DType dtype) {
  return dtype == DType::c64 ? DType::f32 : dtype == DType::c128 ? DType::f64 : dtype;
}

/// Names as they appear in a printed problem: "fprop", "f32", "reflect", "gelu_tanh", "tf32".
std::string_view name(Pass);
std::string_view name(DType);
std::string_view name(PadMode);
std::string_view name(Activation);
std::string_view name(Precision);

/// Inverse of name(); false when `text` names nothing.
bool parse(std::string_view text, Pass& out);
bool parse(std::string_view text, DType& out);
bool parse(std::string_view text, PadMode& out);
bool parse(std::string_view text, Activation& out);
bool parse(std::string_view text, Precision& out);

}  // namespace longconv
