// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The weight gradient on CUDA.
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <tuple>

#include "cpu_runtime.h"
#include "cuda_runtime.h"
#include "ops.h"

namespace longconv::torch_binding {
namespace {

/// forward_y: what forward wrote, where the problem has an activation.
std::tuple<at::Tensor, at::Tensor> run(ConvProblem problem, PrecisionRequest precision, const at::Tensor& x,
                                       const at::Tensor& grad_y, const at::Tensor& forward_y) {
  const c10::DeviceGuard guard(x.device());
  const auto options = x.options().dtype(result_type(problem, x.scalar_type()));
  at::Tensor grad_weight =
      at::empty({problem.out_channels, problem.in_channels_per_group(), problem.kernel_size}, options);
  at::Tensor grad_bias = at::empty({problem.has_bias ? problem.out_channels : 0}, options);
  with_torch_errors([&] {
    problem.precision = precision_on_cuda(precision, problem.dtype);
    const auto plan = plan_on_cuda(problem, x.get_device());
    ConvTensors tensors;
    tensors.x = view_of(x, problem.dtype);
    tensors.w = view_of(grad_weight, problem.result_dtype());
    tensors.y = view_of(grad_y, problem.dtype);
    if (problem.has_bias) tensors.bias = view_of(grad_bias, problem.result_dtype());
    if (problem.has_forward_y()) tensors.forward_y = view_of(forward_y, problem.dtype);
    execute_on_cuda(*plan, tensors, grad_weight);
  });
  return {grad_weight, grad_bias};
}

std::tuple<at::Tensor, at::Tensor> wgrad_cuda(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t kernel_size,
                                              std::int64_t stride, std::int64_t pad_left, std::int64_t pad_right,
                                              StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                                              bool bias_grad, StringView precision, OptionalScalarType grad_dtype) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  const auto request = request_wgrad<std::int64_t>(x, grad_y, kernel_size, bias_grad, geometry, grad_dtype);
  return run(request.problem, geometry.precision, x, grad_y, {});
}

std::tuple<at::Tensor, at::Tensor> wgrad_through_activation_cuda(
    const at::Tensor& x, const at::Tensor& grad_y, const at::Tensor& y, std::int64_t kernel_size, std::int64_t stride,
    std::int64_t pad_left, std::int64_t pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
    bool bias_grad, StringView activation, double negative_slope, StringView precision, OptionalScalarType grad_dtype) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  auto request = request_wgrad<std::int64_t>(x, grad_y, kernel_size, bias_grad, geometry, grad_dtype);
  add_forward_y(request, "longconv::wgrad_through_activation", grad_y, y,
                {parse_activation(activation), negative_slope});
  return run(request.problem, geometry.precision, x, grad_y, y);
}

TORCH_LIBRARY_IMPL(longconv, CUDA, m) {
  m.impl("wgrad", wgrad_cuda);
  m.impl("wgrad_through_activation", wgrad_through_activation_cuda);
}

}  // namespace
}  // namespace longconv::torch_binding
