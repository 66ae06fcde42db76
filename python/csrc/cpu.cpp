// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// CPU kernels: tensors to views, a plan, and off.
#include <torch/library.h>

#include <tuple>

#include "cpu_runtime.h"
#include "ops.h"

namespace longconv::torch_binding {
namespace {

/// The pass that the problem names, between x and y (in dgrad their gradients).
void run(const ConvProblem& problem, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& y,
         const OptionalTensor& bias, const OptionalTensor& residual) {
  with_torch_errors([&] {
    const auto plan = plan_on_cpu(problem);
    ConvTensors tensors;
    tensors.x = view_of(x, problem.dtype);
    tensors.w = view_of(weight, problem.dtype);
    tensors.y = view_of(y, problem.dtype);
    if (problem.has_bias) tensors.bias = view_of(*bias, problem.dtype);
    if (problem.has_residual) tensors.residual = view_of(*residual, problem.dtype);
    execute_on_cpu(*plan, tensors);
  });
}

at::Tensor fprop_cpu(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, std::int64_t stride, std::int64_t pad_left, std::int64_t pad_right,
                     StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView activation,
                     double negative_slope, StringView precision) {
  const auto request = request_fprop<std::int64_t>(
      x, weight, bias, residual,
      make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision),
      {parse_activation(activation), negative_slope});
  at::Tensor y = empty_on_cpu({request.batch, request.problem.out_channels, request.out_length}, x.scalar_type());
  run(request.problem, x, weight, y, bias, residual);
  return y;
}

at::Tensor& fprop_out_cpu(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, std::int64_t stride, std::int64_t pad_left,
                          std::int64_t pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                          StringView activation, double negative_slope, StringView precision, at::Tensor& out) {
  const auto request = request_fprop<std::int64_t>(
      x, weight, bias, residual,
      make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision),
      {parse_activation(activation), negative_slope});
  prepare_out(request, x, weight, bias, residual, out);
  run(request.problem, x, weight, out, bias, residual);
  return out;
}

at::Tensor dgrad_cpu(const at::Tensor& grad_y, const at::Tensor& weight, std::int64_t length, std::int64_t stride,
                     std::int64_t pad_left, std::int64_t pad_right, StringView pad_mode, std::int64_t dilation,
                     std::int64_t groups, StringView precision, const OptionalTensor& bias,
                     const OptionalTensor& residual) {
  const auto request = request_dgrad<std::int64_t>(
      grad_y, weight, bias, residual, length,
      make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision));
  at::Tensor grad_x = empty_on_cpu({request.batch, request.problem.in_channels, request.length}, grad_y.scalar_type());
  run(request.problem, grad_x, weight, grad_y, bias, residual);
  return grad_x;
}

at::Tensor& dgrad_out_cpu(const at::Tensor& grad_y, const at::Tensor& weight, std::int64_t length, std::int64_t stride,
                          std::int64_t pad_left, std::int64_t pad_right, StringView pad_mode, std::int64_t dilation,
                          std::int64_t groups, StringView precision, const OptionalTensor& bias,
                          const OptionalTensor& residual, at::Tensor& out) {
  const auto request = request_dgrad<std::int64_t>(
      grad_y, weight, bias, residual, length,
      make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision));
  prepare_out(request, grad_y, weight, bias, residual, out);
  run(request.problem, out, weight, grad_y, bias, residual);
  return out;
}

std::tuple<at::Tensor, at::Tensor> wgrad_cpu(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t kernel_size,
                                             std::int64_t stride, std::int64_t pad_left, std::int64_t pad_right,
                                             StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                                             bool bias_grad, StringView precision, OptionalScalarType grad_dtype) {
  const auto request = request_wgrad<std::int64_t>(
      x, grad_y, kernel_size, bias_grad,
      make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision), grad_dtype);
  const ConvProblem& problem = request.problem;
  const at::ScalarType type = result_type(problem, x.scalar_type());
  at::Tensor grad_weight = empty_on_cpu({problem.out_channels, problem.in_channels_per_group(), kernel_size}, type);
  at::Tensor grad_bias = empty_on_cpu({bias_grad ? problem.out_channels : 0}, type);
  with_torch_errors([&] {
    const auto plan = plan_on_cpu(problem);
    ConvTensors tensors;
    tensors.x = view_of(x, problem.dtype);
    tensors.w = view_of(grad_weight, problem.result_dtype());
    tensors.y = view_of(grad_y, problem.dtype);
    if (bias_grad) tensors.bias = view_of(grad_bias, problem.result_dtype());
    execute_on_cpu(*plan, tensors);
  });
  return {grad_weight, grad_bias};
}

TORCH_LIBRARY_IMPL(longconv, CPU, m) {
  m.impl("fprop", fprop_cpu);
  m.impl("fprop.out", fprop_out_cpu);
  m.impl("dgrad", dgrad_cpu);
  m.impl("dgrad.out", dgrad_out_cpu);
  m.impl("wgrad", wgrad_cpu);
}

}  // namespace
}  // namespace longconv::torch_binding
