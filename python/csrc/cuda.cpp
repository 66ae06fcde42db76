// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// CUDA kernels: forward pass and data gradient; one clear refusal for what has no kernel yet. Never a silent detour
/// through the host.
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "cpu_runtime.h"
#include "cuda_runtime.h"
#include "ops.h"

namespace longconv::torch_binding {
namespace {

/// The kernels write rows of consecutive samples, and read a residual that is not the result.
bool written_in_place(const at::Tensor& y, const OptionalTensor& residual) {
  return (y.size(2) <= 1 || y.stride(2) == 1) &&
         !(residual && residual->defined() && residual->data_ptr() == y.data_ptr());
}

/// The pass that the problem names, between x and y (in dgrad their gradients, and forward_y what forward wrote).
void run(ConvProblem problem, PrecisionRequest precision, const at::Tensor& x, const at::Tensor& weight,
         const at::Tensor& y, const OptionalTensor& bias, const OptionalTensor& residual,
         const at::Tensor& forward_y = {}) {
  const c10::DeviceGuard guard(weight.device());
  // Vectors and tensors whose layout the kernels do not read: dense copies, small or asked for by the caller's layout.
  const at::Tensor bias_vector = problem.has_bias ? bias->contiguous() : at::Tensor();
  at::Tensor residual_rows;
  if (problem.has_residual)
    residual_rows = residual->size(2) <= 1 || residual->stride(2) == 1 ? *residual : residual->contiguous();
  with_torch_errors([&] {
    problem.precision = precision_on_cuda(precision, problem.dtype);
    const auto plan = plan_on_cuda(problem, weight.get_device());
    ConvTensors tensors;
    tensors.x = view_of(x, problem.dtype);
    tensors.w = view_of(weight, problem.dtype);
    tensors.y = view_of(y, problem.dtype);
    if (problem.has_bias) tensors.bias = view_of(bias_vector, problem.dtype);
    if (problem.has_residual) tensors.residual = view_of(residual_rows, problem.dtype);
    if (problem.has_forward_y()) tensors.forward_y = view_of(forward_y, problem.dtype);
    execute_on_cuda(*plan, tensors, weight);
  });
}

/// Has `compute` write `out`, or where the kernels cannot, a dense result that is then copied there.
template <class Compute>
at::Tensor& write(at::Tensor& out, const OptionalTensor& residual, Compute&& compute) {
  if (written_in_place(out, residual)) {
    compute(out);
  } else {
    const at::Tensor dense = at::empty(out.sizes(), out.options());
    compute(dense);
    out.copy_(dense);
  }
  return out;
}

at::Tensor fprop_cuda(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                      const OptionalTensor& residual, std::int64_t stride, std::int64_t pad_left,
                      std::int64_t pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                      StringView activation, double negative_slope, StringView precision) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  const auto request =
      request_fprop<std::int64_t>(x, weight, bias, residual, geometry, {parse_activation(activation), negative_slope});
  at::Tensor y = at::empty({request.batch, request.problem.out_channels, request.out_length}, x.options());
  run(request.problem, geometry.precision, x, weight, y, bias, residual);
  return y;
}

at::Tensor& fprop_out_cuda(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                           const OptionalTensor& residual, std::int64_t stride, std::int64_t pad_left,
                           std::int64_t pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                           StringView activation, double negative_slope, StringView precision, at::Tensor& out) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  const auto request =
      request_fprop<std::int64_t>(x, weight, bias, residual, geometry, {parse_activation(activation), negative_slope});
  prepare_out(request, x, weight, bias, residual, out);
  return write(out, residual,
               [&](const at::Tensor& y) { run(request.problem, geometry.precision, x, weight, y, bias, residual); });
}

at::Tensor dgrad_cuda(const at::Tensor& grad_y, const at::Tensor& weight, std::int64_t length, std::int64_t stride,
                      std::int64_t pad_left, std::int64_t pad_right, StringView pad_mode, std::int64_t dilation,
                      std::int64_t groups, StringView precision, const OptionalTensor& bias,
                      const OptionalTensor& residual) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  const auto request = request_dgrad<std::int64_t>(grad_y, weight, bias, residual, length, geometry);
  at::Tensor grad_x = at::empty({request.batch, request.problem.in_channels, request.length}, grad_y.options());
  run(request.problem, geometry.precision, grad_x, weight, grad_y, bias, residual);
  return grad_x;
}

at::Tensor dgrad_through_activation_cuda(const at::Tensor& grad_y, const at::Tensor& y, const at::Tensor& weight,
                                         std::int64_t length, std::int64_t stride, std::int64_t pad_left,
                                         std::int64_t pad_right, StringView pad_mode, std::int64_t dilation,
                                         std::int64_t groups, StringView activation, double negative_slope,
                                         StringView precision) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  auto request = request_dgrad<std::int64_t>(grad_y, weight, {}, {}, length, geometry);
  add_forward_y(request, "longconv::dgrad_through_activation", grad_y, y,
                {parse_activation(activation), negative_slope});
  at::Tensor grad_x = at::empty({request.batch, request.problem.in_channels, request.length}, grad_y.options());
  run(request.problem, geometry.precision, grad_x, weight, grad_y, {}, {}, y);
  return grad_x;
}

at::Tensor& dgrad_out_cuda(const at::Tensor& grad_y, const at::Tensor& weight, std::int64_t length, std::int64_t stride,
                           std::int64_t pad_left, std::int64_t pad_right, StringView pad_mode, std::int64_t dilation,
                           std::int64_t groups, StringView precision, const OptionalTensor& bias,
                           const OptionalTensor& residual, at::Tensor& out) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  const auto request = request_dgrad<std::int64_t>(grad_y, weight, bias, residual, length, geometry);
  prepare_out(request, grad_y, weight, bias, residual, out);
  return write(out, residual, [&](const at::Tensor& grad_x) {
    run(request.problem, geometry.precision, grad_x, weight, grad_y, bias, residual);
  });
}

TORCH_LIBRARY_IMPL(longconv, CUDA, m) {
  m.impl("fprop", fprop_cuda);
  m.impl("fprop.out", fprop_out_cuda);
  m.impl("dgrad", dgrad_cuda);
  m.impl("dgrad.out", dgrad_out_cuda);
  m.impl("dgrad_through_activation", dgrad_through_activation_cuda);
}

}  // namespace
}  // namespace longconv::torch_binding
