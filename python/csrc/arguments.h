// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The operators' arguments: parsed, checked against each other, and turned into a ConvProblem. One implementation for
/// numbers (Int = std::int64_t, every back end) and symbols (Int = c10::SymInt, Meta).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>

#include "compat.h"
#include "longconv/error.h"
#include "longconv/problem.h"

namespace longconv::torch_binding {

/// The operator's `precision`: what the user asks for; `follow` takes PyTorch's own switches.
enum class PrecisionRequest : std::uint8_t { follow, fp32, tf32 };

/// What the three passes have in common.
template <class Int>
struct Geometry {
  std::int64_t stride = 1;
  Int pad_left = 0;
  Int pad_right = 0;
  PadMode pad_mode = PadMode::zeros;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  PrecisionRequest precision = PrecisionRequest::follow;
};

struct Epilogue {
  Activation activation = Activation::none;
  double negative_slope = 0.01;
};

// Names to values. Throw c10::ValueError for a name that means nothing, with the names that do.
PadMode parse_pad_mode(StringView name);
Activation parse_activation(StringView name);
PrecisionRequest parse_precision(StringView name);
/// The name that parse_precision() reads.
const char* name_of(PrecisionRequest precision);

template <class Int>
Geometry<Int> make_geometry(std::int64_t stride, const Int& pad_left, const Int& pad_right, StringView pad_mode,
                            std::int64_t dilation, std::int64_t groups, StringView precision) {
  return {stride, pad_left, pad_right, parse_pad_mode(pad_mode), dilation, groups, parse_precision(precision)};
}

/// The library's element type for PyTorch's; c10::NotImplementedError naming `op` where there is none.
DType to_dtype(at::ScalarType type, const char* op);

/// Throws what PyTorch throws for the library's error: RuntimeError, ValueError or NotImplementedError.
[[noreturn]] void rethrow(const Error& error);

/// Runs `body`, translating the library's errors into PyTorch's.
template <class Body>
decltype(auto) with_torch_errors(Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    rethrow(error);
  }
}

/// A checked request. With symbolic sizes `problem` holds stand-ins in their place: use the Ints.
template <class Int>
struct Request {
  ConvProblem problem;
  Int batch = 0;
  Int length = 0;
  Int out_length = 0;
};

// Check the tensors against each other and the numbers (device, dtype, rank, sizes, the problem's own rules). Throw
// c10::Error (RuntimeError) with the expected and the actual value; nothing was done by then.
template <class Int>
Request<Int> request_fprop(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                           const OptionalTensor& residual, const Geometry<Int>& geometry, const Epilogue& epilogue);
template <class Int>
Request<Int> request_dgrad(const at::Tensor& grad_y, const at::Tensor& weight, const OptionalTensor& bias,
                           const OptionalTensor& residual, const Int& length, const Geometry<Int>& geometry);
/// grad_dtype: of the weight's and the bias's gradient; x's, or Float for 16-bit operands.
template <class Int>
Request<Int> request_wgrad(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t kernel_size, bool bias_grad,
                           const Geometry<Int>& geometry, const OptionalScalarType& grad_dtype);
/// Makes a request of dgrad or wgrad one through forward's activation, whose result y lies beside grad_y.
void add_forward_y(Request<std::int64_t>& request, const char* op, const at::Tensor& grad_y, const at::Tensor& y,
                   const Epilogue& epilogue);
/// PyTorch's element type for what the pass writes; operands are of type `operands`.
at::ScalarType result_type(const ConvProblem& problem, at::ScalarType operands);
/// Checks `out` against a request of fprop or dgrad (device, dtype, no overlap with an input; the residual may be `out`
/// itself, element for element), and resizes it as PyTorch's out= does. `signal`: x, in dgrad grad_y.
void prepare_out(const Request<std::int64_t>& request, const at::Tensor& signal, const at::Tensor& weight,
                 const OptionalTensor& bias, const OptionalTensor& residual, const at::Tensor& out);

}  // namespace longconv::torch_binding
