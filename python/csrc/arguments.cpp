// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "arguments.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/native/Resize.h>

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace longconv::torch_binding {
namespace {

std::string_view view(StringView text) { return {text.data(), text.size()}; }

struct Operand {
  const char* name;
  const at::Tensor* tensor;  // null: not given
  std::int64_t rank;
};

const at::Tensor* get(const OptionalTensor& tensor) {
  return tensor.has_value() && tensor->defined() ? &*tensor : nullptr;
}

void check_operands(const char* op, std::initializer_list<Operand> operands) {
  const Operand& first = *operands.begin();
  for (const Operand& operand : operands) {
    if (operand.tensor == nullptr) continue;
    const at::Tensor& tensor = *operand.tensor;
    TORCH_CHECK(tensor.layout() == at::kStrided, op, ": expected a strided (dense) ", operand.name, ", but got layout ",
                tensor.layout());
    TORCH_CHECK(tensor.device() == first.tensor->device(), op, ": expected all tensors to be on the same device, but ",
                first.name, " is on ", first.tensor->device(), " and ", operand.name, " is on ", tensor.device());
    TORCH_CHECK(tensor.scalar_type() == first.tensor->scalar_type(), op, ": ", first.name, " type (",
                first.tensor->scalar_type(), ") and ", operand.name, " type (", tensor.scalar_type(),
                ") should be the same");
    TORCH_CHECK(tensor.dim() == operand.rank, op, ": expected ", operand.name, " to be ", operand.rank,
                "-dimensional, but got ", tensor.dim(), "-dimensional ", operand.name);
  }
}

template <class Int>
Int size_of(const at::Tensor& tensor, std::int64_t dim) {
  if constexpr (std::is_same_v<Int, std::int64_t>) {
    return tensor.size(dim);
  } else {
    return symbolic_size(tensor, dim);
  }
}

template <class Int>
void check_size(const char* op, const char* tensor, const char* axis, const Int& actual, const Int& expected) {
  TORCH_CHECK(actual == expected, op, ": expected ", tensor, " to have ", expected, " ", axis, ", but got ", actual);
}

// Numbers: the problem's own validation says it all.
void resolve(Request<std::int64_t>& request, const Geometry<std::int64_t>& geometry) {
  ConvProblem& problem = request.problem;
  problem.batch = request.batch;
  problem.length_samples = request.length;
  problem.pad_left = geometry.pad_left;
  problem.pad_right = geometry.pad_right;
  with_torch_errors([&] { problem.validate(); });
  request.out_length = problem.out_length();
}

#if LONGCONV_TORCH_AT_LEAST(2, 0)
// Symbols: the rules that involve them become guards; a valid stand-in takes their place in the problem, so that
// every other rule is still the problem's own.
void resolve(Request<c10::SymInt>& request, const Geometry<c10::SymInt>& geometry) {
  ConvProblem& problem = request.problem;
  const auto batch = known(request.batch), length = known(request.length);
  const auto left = known(geometry.pad_left), right = known(geometry.pad_right);
  problem.batch = batch.value_or(1);
  problem.pad_left = left.value_or(0);
  problem.pad_right = right.value_or(0);
  const std::int64_t window =
      problem.kernel_size > 0 && problem.dilation > 0 ? problem.window_samples() : std::int64_t{1};
  problem.length_samples = length.value_or(std::max({window, problem.pad_left + 1, problem.pad_right + 1}));
  const bool symbolic = !length || !left || !right;
  if (symbolic && length) problem.length_samples = std::max(problem.length_samples, window);
  with_torch_errors([&] { problem.validate(); });
  if (!symbolic) {
    request.out_length = problem.out_length();
    return;
  }
  const c10::SymInt padded = request.length + geometry.pad_left + geometry.pad_right;
  TORCH_CHECK(geometry.pad_left >= 0 && geometry.pad_right >= 0, "negative padding is not supported, got (",
              geometry.pad_left, ", ", geometry.pad_right, ")");
  TORCH_CHECK(padded >= window, "Calculated padded input length: ", padded, ". Window: ", window,
              " samples. Window can't be greater than the padded input");
  if (problem.pad_mode == PadMode::reflect || problem.pad_mode == PadMode::circular) {
    const c10::SymInt limit = problem.pad_mode == PadMode::reflect ? request.length - 1 : request.length;
    TORCH_CHECK(geometry.pad_left <= limit && geometry.pad_right <= limit, "padding mode '", name(problem.pad_mode),
                "' can pad at most ", limit, " samples here, but got (", geometry.pad_left, ", ", geometry.pad_right,
                ")");
  }
  request.out_length = (padded - window) / problem.stride + 1;
}
#endif

/// Channels and samples of what fprop and dgrad return: y, x.
template <class Int>
std::pair<std::int64_t, Int> result_sizes(const Request<Int>& request) {
  const ConvProblem& problem = request.problem;
  if (problem.pass == Pass::dgrad) return {problem.in_channels, request.length};
  return {problem.out_channels, request.out_length};
}

/// Bias and residual against the result that they are added to.
template <class Int>
void check_added(const char* op, const Request<Int>& request, const OptionalTensor& bias,
                 const OptionalTensor& residual) {
  const auto [channels, samples] = result_sizes(request);
  if (const at::Tensor* tensor = get(bias)) check_size(op, "bias", "elements", number(*tensor, 0), channels);
  if (const at::Tensor* tensor = get(residual)) {
    check_size<Int>(op, "residual", "batches", size_of<Int>(*tensor, 0), request.batch);
    check_size<Int>(op, "residual", "channels", size_of<Int>(*tensor, 1), channels);
    check_size<Int>(op, "residual", "samples", size_of<Int>(*tensor, 2), samples);
  }
}

template <class Int>
ConvProblem base_problem(Pass pass, const char* op, const at::Tensor& tensor, const Geometry<Int>& geometry) {
  ConvProblem problem;
  problem.pass = pass;
  problem.dtype = to_dtype(tensor.scalar_type(), op);
  problem.pad_mode = geometry.pad_mode;
  problem.stride = geometry.stride;
  problem.dilation = geometry.dilation;
  problem.groups = geometry.groups;
  TORCH_CHECK(geometry.groups > 0, op, ": non-positive groups is not supported, got groups=", geometry.groups);
  return problem;
}

}  // namespace

PadMode parse_pad_mode(StringView name) {
  PadMode mode;
  TORCH_CHECK_VALUE(parse(view(name), mode),
                    "padding mode must be one of zeros, reflect, replicate, circular, but got '", name, "'");
  return mode;
}

Activation parse_activation(StringView name) {
  Activation activation;
  TORCH_CHECK_VALUE(parse(view(name), activation),
                    "activation must be one of none, relu, leaky_relu, gelu, gelu_tanh, silu, tanh, sigmoid, but got '",
                    name, "'");
  return activation;
}

PrecisionRequest parse_precision(StringView name) {
  for (PrecisionRequest request : {PrecisionRequest::follow, PrecisionRequest::fp32, PrecisionRequest::tf32}) {
    if (view(name) == name_of(request)) return request;
  }
  TORCH_CHECK_VALUE(false, "precision must be one of follow, fp32, tf32, but got '", name, "'");
}

const char* name_of(PrecisionRequest precision) {
  switch (precision) {
    case PrecisionRequest::follow: return "follow";
    case PrecisionRequest::fp32: return "fp32";
    case PrecisionRequest::tf32: return "tf32";
  }
  return "";
}

DType to_dtype(at::ScalarType type, const char* op) {
  switch (type) {
    case at::kFloat: return DType::f32;
    case at::kDouble: return DType::f64;
    case at::kBFloat16: return DType::bf16;
    case at::kHalf: return DType::f16;
    case at::kComplexFloat: return DType::c64;
    case at::kComplexDouble: return DType::c128;
    case at::kLong: return DType::i64;
    default: break;
  }
  TORCH_CHECK_NOT_IMPLEMENTED(false, "\"", op, "\" not implemented for '", type,
                              "'; expected Float, Double, BFloat16, Half, ComplexFloat, ComplexDouble or Long");
}

void rethrow(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_value: TORCH_CHECK_VALUE(false, error.what());
    case ErrorCode::not_supported: TORCH_CHECK_NOT_IMPLEMENTED(false, error.what());
    case ErrorCode::out_of_memory: TORCH_CHECK_WITH(OutOfMemoryError, false, error.what());
    case ErrorCode::invalid_argument:
    case ErrorCode::overflow:
    case ErrorCode::unavailable:
    case ErrorCode::device:
    case ErrorCode::internal: break;
  }
  TORCH_CHECK(false, error.what());
}

template <class Int>
Request<Int> request_fprop(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                           const OptionalTensor& residual, const Geometry<Int>& geometry, const Epilogue& epilogue) {
  constexpr const char* op = "longconv::fprop";
  check_operands(op,
                 {{"input", &x, 3}, {"weight", &weight, 3}, {"bias", get(bias), 1}, {"residual", get(residual), 3}});
  Request<Int> request;
  ConvProblem& problem = request.problem = base_problem(Pass::fprop, op, x, geometry);
  problem.activation = epilogue.activation;
  problem.negative_slope = epilogue.negative_slope;
  problem.has_bias = get(bias) != nullptr;
  problem.has_residual = get(residual) != nullptr;
  problem.in_channels = number(x, 1);
  problem.out_channels = number(weight, 0);
  problem.kernel_size = number(weight, 2);
  request.batch = size_of<Int>(x, 0);
  request.length = size_of<Int>(x, 2);
  const std::int64_t per_group = number(weight, 1);
  TORCH_CHECK(problem.in_channels % problem.groups == 0 && problem.in_channels / problem.groups == per_group,
              "Given groups=", problem.groups, ", weight of size [", problem.out_channels, ", ", per_group, ", ",
              problem.kernel_size, "], expected input[", request.batch, ", ", problem.in_channels, ", ", request.length,
              "] to have ", problem.groups, " * ", per_group, " channels, but got ", problem.in_channels,
              " channels instead");
  resolve(request, geometry);
  check_added(op, request, bias, residual);
  return request;
}

void prepare_out(const Request<std::int64_t>& request, const at::Tensor& signal, const at::Tensor& weight,
                 const OptionalTensor& bias, const OptionalTensor& residual, const at::Tensor& out) {
  TORCH_CHECK(out.device() == signal.device(), "Expected out tensor to be on ", signal.device(), ", but got ",
              out.device(), " instead");
  TORCH_CHECK(out.scalar_type() == signal.scalar_type(), "Expected out tensor to have dtype ", signal.scalar_type(),
              ", but got ", out.scalar_type(), " instead");
  const auto [channels, samples] = result_sizes(request);
  at::native::resize_output(out, {request.batch, channels, samples});
  at::assert_no_internal_overlap(out);
  at::assert_no_overlap(out, signal);
  at::assert_no_overlap(out, weight);
  if (request.problem.has_bias) at::assert_no_overlap(out, *bias);
  // The residual may be the result itself, element for element.
  if (request.problem.has_residual) at::assert_no_partial_overlap(out, *residual);
}

template <class Int>
Request<Int> request_dgrad(const at::Tensor& grad_y, const at::Tensor& weight, const OptionalTensor& bias,
                           const OptionalTensor& residual, const Int& length, const Geometry<Int>& geometry) {
  constexpr const char* op = "longconv::dgrad";
  check_operands(
      op,
      {{"input (grad_y)", &grad_y, 3}, {"weight", &weight, 3}, {"bias", get(bias), 1}, {"residual", get(residual), 3}});
  Request<Int> request;
  ConvProblem& problem = request.problem = base_problem(Pass::dgrad, op, grad_y, geometry);
  problem.has_bias = get(bias) != nullptr;
  problem.has_residual = get(residual) != nullptr;
  problem.out_channels = number(weight, 0);
  problem.kernel_size = number(weight, 2);
  const std::int64_t per_group = number(weight, 1);
  TORCH_CHECK(per_group <= INT64_MAX / problem.groups, op, ": ", problem.groups, " groups of ", per_group,
              " input channels overflow 64 bits");
  problem.in_channels = per_group * problem.groups;
  request.batch = size_of<Int>(grad_y, 0);
  request.length = length;
  resolve(request, geometry);
  check_size<Int>(op, "grad_y", "channels", size_of<Int>(grad_y, 1), problem.out_channels);
  check_size<Int>(op, "grad_y", "samples", size_of<Int>(grad_y, 2), request.out_length);
  check_added(op, request, bias, residual);
  return request;
}

void add_forward_y(Request<std::int64_t>& request, const char* op, const at::Tensor& grad_y, const at::Tensor& y,
                   const Epilogue& epilogue) {
  check_operands(op, {{"grad_y", &grad_y, 3}, {"y", &y, 3}});
  TORCH_CHECK(y.sizes() == grad_y.sizes(), op, ": expected y of size ", grad_y.sizes(), " as grad_y, but got ",
              y.sizes());
  TORCH_CHECK_VALUE(epilogue.activation != Activation::none, op, ": expected an activation, but got none");
  request.problem.activation = epilogue.activation;
  request.problem.negative_slope = epilogue.negative_slope;
  with_torch_errors([&] { request.problem.validate(); });
}

at::ScalarType result_type(const ConvProblem& problem, at::ScalarType operands) {
  return problem.f32_result ? at::kFloat : operands;
}

template <class Int>
Request<Int> request_wgrad(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t kernel_size, bool bias_grad,
                           const Geometry<Int>& geometry, const OptionalScalarType& grad_dtype) {
  constexpr const char* op = "longconv::wgrad";
  check_operands(op, {{"input", &x, 3}, {"grad_y", &grad_y, 3}});
  Request<Int> request;
  ConvProblem& problem = request.problem = base_problem(Pass::wgrad, op, x, geometry);
  if (grad_dtype.has_value() && *grad_dtype != x.scalar_type()) {
    TORCH_CHECK(*grad_dtype == at::kFloat && (problem.dtype == DType::bf16 || problem.dtype == DType::f16), op,
                ": expected grad_dtype to be the operands' type (", x.scalar_type(),
                "), or Float for BFloat16 and Half operands, but got ", *grad_dtype);
    problem.f32_result = true;
  }
  problem.has_bias = bias_grad;
  problem.in_channels = number(x, 1);
  problem.out_channels = number(grad_y, 1);
  problem.kernel_size = kernel_size;
  request.batch = size_of<Int>(x, 0);
  request.length = size_of<Int>(x, 2);
  resolve(request, geometry);
  check_size<Int>(op, "grad_y", "batches", size_of<Int>(grad_y, 0), request.batch);
  check_size<Int>(op, "grad_y", "samples", size_of<Int>(grad_y, 2), request.out_length);
  return request;
}

#define LONGCONV_INSTANTIATE(Int)                                                                         \
  template Request<Int> request_fprop<Int>(const at::Tensor&, const at::Tensor&, const OptionalTensor&,   \
                                           const OptionalTensor&, const Geometry<Int>&, const Epilogue&); \
  template Request<Int> request_dgrad<Int>(const at::Tensor&, const at::Tensor&, const OptionalTensor&,   \
                                           const OptionalTensor&, const Int&, const Geometry<Int>&);      \
  template Request<Int> request_wgrad<Int>(const at::Tensor&, const at::Tensor&, std::int64_t, bool,      \
                                           const Geometry<Int>&, const OptionalScalarType&);
LONGCONV_INSTANTIATE(std::int64_t)
#if LONGCONV_TORCH_AT_LEAST(2, 0)
LONGCONV_INSTANTIATE(c10::SymInt)
#endif
#undef LONGCONV_INSTANTIATE

}  // namespace longconv::torch_binding
