// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "longconv/problem.h"

#include <bit>
#include <cmath>
#include <string>

#include "longconv/error.h"
#include "problem/checked.h"

namespace longconv {
namespace {

[[noreturn]] void reject(const ConvProblem& problem, const std::string& what) {
  throw Error(ErrorCode::invalid_argument, what + " [" + problem.to_string() + "]");
}

void require_positive(const ConvProblem& problem, const char* what, std::int64_t value) {
  if (value <= 0) reject(problem, std::string(what) + " should be greater than zero, but got " + std::to_string(value));
}

void require_divisible(const ConvProblem& problem, const char* what, std::int64_t value) {
  if (value % problem.groups != 0) {
    reject(problem, std::string(what) + " must be divisible by groups, but got " + what + "=" + std::to_string(value) +
                        " and groups=" + std::to_string(problem.groups));
  }
}

void require_fits(const ConvProblem& problem, const char* what, CheckedInt64 value) {
  if (!value.fits()) {
    throw Error(ErrorCode::overflow, std::string(what) + " does not fit in 63 bits [" + problem.to_string() + "]");
  }
}

void check_pads(const ConvProblem& p) {
  const auto check_side = [&p](const char* side, std::int64_t pad) {
    const std::string got = std::string(", but got ") + side + "=" + std::to_string(pad) + " for length " +
                            std::to_string(p.length_samples);
    if (pad < 0)
      reject(p, std::string("negative padding is not supported, but got ") + side + "=" + std::to_string(pad));
    if (p.pad_mode == PadMode::reflect && pad >= p.length_samples) {
      reject(p, "reflect: Padding size should be less than the corresponding input dimension" + got);
    }
    if (p.pad_mode == PadMode::circular && pad > p.length_samples) {
      reject(p, "circular: Padding value causes wrapping around more than once" + got);
    }
  };
  check_side("pad_left", p.pad_left);
  check_side("pad_right", p.pad_right);
}

void check_options(const ConvProblem& p) {
  const std::string pass(name(p.pass));
  if (p.has_forward_y()) {
    if (!has_derivative_from_result(p.activation, p.negative_slope)) {
      reject(p,
             pass +
                 " takes activations whose derivative is a function of the result (relu, tanh, sigmoid, leaky_relu " +
                 "with a negative_slope of at least 0), but got " + std::string(name(p.activation)) +
                 (p.activation == Activation::leaky_relu ? " with " + std::to_string(p.negative_slope) : ""));
    }
    if (p.pass == Pass::dgrad && (p.has_residual || p.has_bias)) {
      reject(p, "dgrad through an activation adds nothing to its result, but got a " +
                    std::string(p.has_residual ? "residual" : "bias"));
    }
  }
  if (p.has_residual && p.pass == Pass::wgrad) {
    reject(p, "a residual exists in fprop and dgrad only, but got one in wgrad");
  }
  if (p.f32_result && (p.pass != Pass::wgrad || (p.dtype != DType::bf16 && p.dtype != DType::f16))) {
    reject(p, "f32_result exists in wgrad of bf16 and f16 only, but got it in " + pass + " of " +
                  std::string(name(p.dtype)));
  }
  if (p.precision == Precision::tf32 && p.dtype != DType::f32) {
    reject(p, "precision tf32 exists for f32 only, but got " + std::string(name(p.dtype)));
  }
  if (p.activation == Activation::leaky_relu && !std::isfinite(p.negative_slope)) {
    reject(p, "negative_slope of leaky_relu should be finite, but got " + std::to_string(p.negative_slope));
  }
}

/// Element count and byte size of a tensor; an empty batch counts as one, so that a kernel's per-item sizes fit too.
void check_tensor(const ConvProblem& p, const char* what, std::int64_t a, std::int64_t b, std::int64_t c) {
  require_fits(p, what, checked(a > 0 ? a : 1) * b * c * size_bytes(p.dtype));
}

/// The slope that takes part in comparison and hash: equal bits for equal slopes, also for -0.0 and NaN.
std::uint64_t slope_bits(const ConvProblem& p) {
  return p.activation == Activation::leaky_relu ? std::bit_cast<std::uint64_t>(p.negative_slope + 0.0) : 0;
}

}  // namespace

bool has_derivative_from_result(Activation activation, double negative_slope) {
  switch (activation) {
    case Activation::none:
    case Activation::relu:
    case Activation::tanh:
    case Activation::sigmoid: return true;
    case Activation::leaky_relu: return negative_slope >= 0;  // else the result's sign says nothing
    case Activation::gelu:
    case Activation::gelu_tanh:
    case Activation::silu: return false;
  }
  return false;
}

void ConvProblem::validate() const {
  if (batch < 0) reject(*this, "batch should not be negative, but got " + std::to_string(batch));
  require_positive(*this, "in_channels", in_channels);
  require_positive(*this, "out_channels", out_channels);
  require_positive(*this, "length", length_samples);
  require_positive(*this, "kernel size", kernel_size);
  require_positive(*this, "stride", stride);
  require_positive(*this, "dilation", dilation);
  require_positive(*this, "groups", groups);
  require_divisible(*this, "in_channels", in_channels);
  require_divisible(*this, "out_channels", out_channels);
  check_pads(*this);
  check_options(*this);

  const CheckedInt64 padded = checked(length_samples) + pad_left + pad_right;
  require_fits(*this, "the padded length", padded);
  const CheckedInt64 window = checked(kernel_size - 1) * dilation + 1;
  require_fits(*this, "the dilated kernel size", window);
  if (window.value() > padded.value()) {
    reject(*this, "Calculated padded input size per channel: (" + std::to_string(padded.value()) + "). Kernel size: (" +
                      std::to_string(window.value()) + "). Kernel size can't be greater than actual input size");
  }
  check_tensor(*this, "the byte size of the input", batch, in_channels, length_samples);
  check_tensor(*this, "the byte size of the weight", out_channels, in_channels_per_group(), kernel_size);
  check_tensor(*this, "the byte size of the output", batch, out_channels, out_length());
}

double ConvProblem::flops() const {
  const double multiply_adds = static_cast<double>(batch) * static_cast<double>(out_channels) *
                               static_cast<double>(out_length()) * static_cast<double>(in_channels_per_group()) *
                               static_cast<double>(kernel_size);
  return multiply_adds * (is_complex(dtype) ? 8.0 : 2.0);
}

double ConvProblem::compulsory_bytes() const {
  const auto elements = [](std::int64_t a, std::int64_t b, std::int64_t c) {
    return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
  };
  const double x = elements(batch, in_channels, length_samples);
  const double w = elements(out_channels, in_channels_per_group(), kernel_size);
  const double y = elements(batch, out_channels, out_length());
  const double bias = has_bias ? static_cast<double>(bias_channels()) : 0.0;
  const double residual = !has_residual ? 0.0 : pass == Pass::dgrad ? x : y;
  return (x + y * (has_forward_y() ? 2 : 1) + residual) * static_cast<double>(size_bytes(dtype)) +
         (w + bias) * static_cast<double>(size_bytes(result_dtype()));
}

bool ConvProblem::operator==(const ConvProblem& other) const {
  return pass == other.pass && dtype == other.dtype && precision == other.precision && pad_mode == other.pad_mode &&
         activation == other.activation && has_bias == other.has_bias && f32_result == other.f32_result &&
         has_residual == other.has_residual && slope_bits(*this) == slope_bits(other) && batch == other.batch &&
         in_channels == other.in_channels && out_channels == other.out_channels &&
         length_samples == other.length_samples && kernel_size == other.kernel_size && stride == other.stride &&
         dilation == other.dilation && groups == other.groups && pad_left == other.pad_left &&
         pad_right == other.pad_right;
}

std::size_t ConvProblem::hash() const {
  std::uint64_t state = 0;
  // splitmix64's finaliser after each word: every field reaches every bit.
  const auto mix = [&state](auto value) {
    state += static_cast<std::uint64_t>(value) + 0x9e3779b97f4a7c15u;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebu;
    state ^= state >> 31;
  };
  mix(pass), mix(dtype), mix(precision), mix(pad_mode), mix(activation), mix(has_bias), mix(f32_result),
      mix(has_residual);
  mix(slope_bits(*this));
  mix(batch), mix(in_channels), mix(out_channels), mix(length_samples), mix(kernel_size), mix(stride), mix(dilation);
  mix(groups), mix(pad_left), mix(pad_right);
  return static_cast<std::size_t>(state);
}

}  // namespace longconv
