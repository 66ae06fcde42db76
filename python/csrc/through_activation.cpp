// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "through_activation.h"

#include <ATen/TensorSubclassLikeUtils.h>
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include "autograd.h"
#include "cpu_runtime.h"
#include "cuda_runtime.h"
#include "longconv/error.h"

namespace longconv::torch_binding {
namespace {

bool is_plain(const at::Tensor& tensor) {
  return !tensor.defined() ||
         (tensor.is_cuda() && tensor.layout() == at::kStrided && !at::isTensorSubclassLike(tensor) && !is_dual(tensor));
}

/// What a launch of PyTorch's pass over dL/dy, y and g takes beyond their bytes.
constexpr double kPassLaunchSeconds = 5e-6;
/// The cost models tell too little of what forming g costs (measured on an H100: six shapes, three precisions).
constexpr double kFormingShare = 1.35;

struct Seconds {
  double reading = 0, separate = 0;
};

/// Expected seconds of a pass that reads y, and of one that is given g.
Seconds expected_seconds(ConvProblem problem, const Epilogue& epilogue, PrecisionRequest precision, int ordinal) {
  problem.precision = precision_on_cuda(precision, problem.dtype);
  const double separate = plan_on_cuda(problem, ordinal)->chosen.estimate.seconds;
  problem.activation = epilogue.activation;
  problem.negative_slope = epilogue.negative_slope;
  return {plan_on_cuda(problem, ordinal)->chosen.estimate.seconds, separate};
}

/// Expected seconds of the pass that makes g of dL/dy and y.
double pass_seconds(const ConvProblem& problem, int ordinal) {
  const Device& device = plan_on_cuda(problem, ordinal)->device;
  const double bytes = 3.0 * static_cast<double>(problem.batch) * static_cast<double>(problem.out_channels) *
                       static_cast<double>(problem.out_length()) * static_cast<double>(size_bytes(problem.dtype));
  return kPassLaunchSeconds + (device.memory_bytes_per_second > 0 ? bytes / (0.9 * device.memory_bytes_per_second) : 0);
}

void refuse_derivatives(const char* op, std::initializer_list<const at::Tensor*> tensors) {
  bool wanted = wants_grad(tensors);
  for (const at::Tensor* tensor : tensors) wanted = wanted || is_dual(*tensor);
  TORCH_CHECK(!wanted, op, ": has no derivative; autograd calls it where none is recorded");
}

at::Tensor dgrad_autograd(c10::DispatchKeySet keys, const at::Tensor& grad_y, const at::Tensor& y,
                          const at::Tensor& weight, SymInt length, std::int64_t stride, SymInt pad_left,
                          SymInt pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                          StringView activation, double negative_slope, StringView precision) {
  refuse_derivatives("longconv::dgrad_through_activation", {&grad_y, &y, &weight});
  const at::AutoDispatchBelowADInplaceOrView guard;
  return dgrad_through_activation_op().redispatch(keys & c10::after_autograd_keyset, grad_y, y, weight, length, stride,
                                                  pad_left, pad_right, pad_mode, dilation, groups, activation,
                                                  negative_slope, precision);
}

std::tuple<at::Tensor, at::Tensor> wgrad_autograd(c10::DispatchKeySet keys, const at::Tensor& x,
                                                  const at::Tensor& grad_y, const at::Tensor& y,
                                                  std::int64_t kernel_size, std::int64_t stride, SymInt pad_left,
                                                  SymInt pad_right, StringView pad_mode, std::int64_t dilation,
                                                  std::int64_t groups, bool bias_grad, StringView activation,
                                                  double negative_slope, StringView precision,
                                                  OptionalScalarType grad_dtype) {
  refuse_derivatives("longconv::wgrad_through_activation", {&x, &grad_y, &y});
  const at::AutoDispatchBelowADInplaceOrView guard;
  return wgrad_through_activation_op().redispatch(keys & c10::after_autograd_keyset, x, grad_y, y, kernel_size, stride,
                                                  pad_left, pad_right, pad_mode, dilation, groups, bias_grad,
                                                  activation, negative_slope, precision, grad_dtype);
}

TORCH_LIBRARY_IMPL(longconv, Autograd, m) {
  m.impl("dgrad_through_activation", TORCH_FN(dgrad_autograd));
  m.impl("wgrad_through_activation", TORCH_FN(wgrad_autograd));
}

}  // namespace

bool reads_forward_y(const at::Tensor& grad_y, const at::Tensor& y, const WantedGradients& wanted,
                     const Geometry<SymInt>& geometry, const Epilogue& epilogue) {
  if (epilogue.activation == Activation::none || at::GradMode::is_enabled()) return false;
  if (!wanted.weight.defined() && !wanted.x.defined()) return false;
  if (!is_plain(grad_y) || !is_plain(y) || !is_plain(wanted.weight) || !is_plain(wanted.x)) return false;
  const auto left = known(geometry.pad_left), right = known(geometry.pad_right), length = known(wanted.length);
  if (!left || !right || !length || grad_y.scalar_type() != y.scalar_type() || grad_y.numel() == 0) return false;
  const Geometry<std::int64_t> numbers{
      geometry.stride, *left, *right, geometry.pad_mode, geometry.dilation, geometry.groups, geometry.precision};
  try {
    const DType dtype = to_dtype(y.scalar_type(), "longconv::fprop");
    if (!lies_beside(view_of(y, dtype), view_of(grad_y, dtype))) return false;
    const int ordinal = y.get_device();
    Seconds all;
    const auto add = [&](const ConvProblem& problem) {
      const Seconds seconds = expected_seconds(problem, epilogue, geometry.precision, ordinal);
      all.reading += seconds.reading;
      all.separate += seconds.separate;
      return problem;
    };
    ConvProblem problem;
    if (wanted.weight.defined())
      problem = add(request_dgrad<std::int64_t>(grad_y, wanted.weight, {}, {}, *length, numbers).problem);
    if (wanted.x.defined())
      problem =
          add(request_wgrad<std::int64_t>(wanted.x, grad_y, wanted.kernel_size, wanted.bias, numbers, wanted.grad_dtype)
                  .problem);
    problem.precision = precision_on_cuda(geometry.precision, problem.dtype);
    return kFormingShare * (all.reading - all.separate) <= pass_seconds(problem, ordinal);
  } catch (const Error& error) {
    // A kernel, or a config of it, that tests force and that has none of these.
    if (error.code() == ErrorCode::not_supported || error.code() == ErrorCode::invalid_value) return false;
    rethrow(error);
  }
}

}  // namespace longconv::torch_binding
