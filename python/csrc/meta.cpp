// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Meta kernels: shapes without data, symbolic batch and length. The same checks as every back end's.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "ops.h"

#if LONGCONV_TORCH_AT_LEAST(2, 0)
#include <ATen/native/Resize.h>
#endif

namespace longconv::torch_binding {
namespace {

at::Tensor empty_on(c10::Device device, at::ScalarType type, const std::vector<SymInt>& sizes) {
  const auto options = at::TensorOptions().dtype(type).device(device);
#if LONGCONV_TORCH_AT_LEAST(2, 0)
  return at::empty_symint(sizes, options);
#else
  return at::empty(sizes, options);
#endif
}

at::Tensor& resize_out(const std::vector<SymInt>& sizes, const at::Tensor& like, at::Tensor& out) {
  TORCH_CHECK(out.scalar_type() == like.scalar_type(), "Expected out tensor to have dtype ", like.scalar_type(),
              ", but got ", out.scalar_type(), " instead");
#if LONGCONV_TORCH_AT_LEAST(2, 0)
  at::native::resize_output_symint(out, sizes);
#else
  out.resize_(sizes);
#endif
  return out;
}

at::Tensor fprop_meta(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                      const OptionalTensor& residual, std::int64_t stride, SymInt pad_left, SymInt pad_right,
                      StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView activation,
                      double negative_slope, StringView precision) {
  const auto request =
      request_fprop<SymInt>(x, weight, bias, residual,
                            make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision),
                            {parse_activation(activation), negative_slope});
  return empty_on(x.device(), x.scalar_type(), {request.batch, request.problem.out_channels, request.out_length});
}

at::Tensor& fprop_out_meta(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                           const OptionalTensor& residual, std::int64_t stride, SymInt pad_left, SymInt pad_right,
                           StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView activation,
                           double negative_slope, StringView precision, at::Tensor& out) {
  const auto request =
      request_fprop<SymInt>(x, weight, bias, residual,
                            make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision),
                            {parse_activation(activation), negative_slope});
  return resize_out({request.batch, request.problem.out_channels, request.out_length}, x, out);
}

at::Tensor dgrad_meta(const at::Tensor& grad_y, const at::Tensor& weight, SymInt length, std::int64_t stride,
                      SymInt pad_left, SymInt pad_right, StringView pad_mode, std::int64_t dilation,
                      std::int64_t groups, StringView precision, const OptionalTensor& bias,
                      const OptionalTensor& residual) {
  const auto request =
      request_dgrad<SymInt>(grad_y, weight, bias, residual, length,
                            make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision));
  return empty_on(grad_y.device(), grad_y.scalar_type(), {request.batch, request.problem.in_channels, request.length});
}

at::Tensor& dgrad_out_meta(const at::Tensor& grad_y, const at::Tensor& weight, SymInt length, std::int64_t stride,
                           SymInt pad_left, SymInt pad_right, StringView pad_mode, std::int64_t dilation,
                           std::int64_t groups, StringView precision, const OptionalTensor& bias,
                           const OptionalTensor& residual, at::Tensor& out) {
  const auto request =
      request_dgrad<SymInt>(grad_y, weight, bias, residual, length,
                            make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision));
  return resize_out({request.batch, request.problem.in_channels, request.length}, grad_y, out);
}

std::tuple<at::Tensor, at::Tensor> wgrad_meta(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t kernel_size,
                                              std::int64_t stride, SymInt pad_left, SymInt pad_right,
                                              StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                                              bool bias_grad, StringView precision, OptionalScalarType grad_dtype) {
  const ConvProblem problem =
      request_wgrad<SymInt>(x, grad_y, kernel_size, bias_grad,
                            make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision),
                            grad_dtype)
          .problem;
  const at::ScalarType type = result_type(problem, x.scalar_type());
  return {empty_on(x.device(), type, {problem.out_channels, problem.in_channels_per_group(), kernel_size}),
          empty_on(x.device(), type, {bias_grad ? problem.out_channels : 0})};
}

TORCH_LIBRARY_IMPL(longconv, Meta, m) {
  m.impl("fprop", fprop_meta);
  m.impl("fprop.out", fprop_out_meta);
  m.impl("dgrad", dgrad_meta);
  m.impl("dgrad.out", dgrad_out_meta);
  m.impl("wgrad", wgrad_meta);
}

}  // namespace
}  // namespace longconv::torch_binding
