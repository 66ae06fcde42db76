// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The operators as C++ functions: signatures as the dispatcher has them, and calls that go through it.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdint>
#include <tuple>

#include "arguments.h"
#include "compat.h"

namespace longconv::torch_binding {

using FpropSignature = at::Tensor(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                                  const OptionalTensor& residual, std::int64_t stride, SymInt pad_left,
                                  SymInt pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                                  StringView activation, double negative_slope, StringView precision);
using FpropOutSignature = at::Tensor&(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                                      const OptionalTensor& residual, std::int64_t stride, SymInt pad_left,
                                      SymInt pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                                      StringView activation, double negative_slope, StringView precision,
                                      at::Tensor& out);
using DgradSignature = at::Tensor(const at::Tensor& grad_y, const at::Tensor& weight, SymInt length,
                                  std::int64_t stride, SymInt pad_left, SymInt pad_right, StringView pad_mode,
                                  std::int64_t dilation, std::int64_t groups, StringView precision,
                                  const OptionalTensor& bias, const OptionalTensor& residual);
using DgradOutSignature = at::Tensor&(const at::Tensor& grad_y, const at::Tensor& weight, SymInt length,
                                      std::int64_t stride, SymInt pad_left, SymInt pad_right, StringView pad_mode,
                                      std::int64_t dilation, std::int64_t groups, StringView precision,
                                      const OptionalTensor& bias, const OptionalTensor& residual, at::Tensor& out);
using WgradSignature = std::tuple<at::Tensor, at::Tensor>(const at::Tensor& x, const at::Tensor& grad_y,
                                                          std::int64_t kernel_size, std::int64_t stride,
                                                          SymInt pad_left, SymInt pad_right, StringView pad_mode,
                                                          std::int64_t dilation, std::int64_t groups, bool bias_grad,
                                                          StringView precision, OptionalScalarType grad_dtype);
using DgradThroughActivationSignature = at::Tensor(const at::Tensor& grad_y, const at::Tensor& y,
                                                   const at::Tensor& weight, SymInt length, std::int64_t stride,
                                                   SymInt pad_left, SymInt pad_right, StringView pad_mode,
                                                   std::int64_t dilation, std::int64_t groups, StringView activation,
                                                   double negative_slope, StringView precision);
using WgradThroughActivationSignature = std::tuple<at::Tensor, at::Tensor>(
    const at::Tensor& x, const at::Tensor& grad_y, const at::Tensor& y, std::int64_t kernel_size, std::int64_t stride,
    SymInt pad_left, SymInt pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups, bool bias_grad,
    StringView activation, double negative_slope, StringView precision, OptionalScalarType grad_dtype);
using CastParameterSignature = at::Tensor(const at::Tensor& parameter, at::ScalarType dtype);

const c10::TypedOperatorHandle<FpropSignature>& fprop_op();
const c10::TypedOperatorHandle<FpropOutSignature>& fprop_out_op();
const c10::TypedOperatorHandle<DgradSignature>& dgrad_op();
const c10::TypedOperatorHandle<DgradOutSignature>& dgrad_out_op();
const c10::TypedOperatorHandle<WgradSignature>& wgrad_op();
const c10::TypedOperatorHandle<DgradThroughActivationSignature>& dgrad_through_activation_op();
const c10::TypedOperatorHandle<WgradThroughActivationSignature>& wgrad_through_activation_op();
const c10::TypedOperatorHandle<CastParameterSignature>& cast_parameter_op();

// Calls from C++ (autograd formulas), through the whole dispatcher. Undefined bias/residual: none.
at::Tensor fprop(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, const Geometry<SymInt>& geometry);
at::Tensor dgrad(const at::Tensor& grad_y, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, const SymInt& length, const Geometry<SymInt>& geometry);
std::tuple<at::Tensor, at::Tensor> wgrad(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t kernel_size,
                                         bool bias_grad, const Geometry<SymInt>& geometry,
                                         const OptionalScalarType& grad_dtype = {});
// Both of g = grad_y * act'(y), which nobody writes: only where reads_forward_y() (through_activation.h).
at::Tensor dgrad_through_activation(const at::Tensor& grad_y, const at::Tensor& y, const at::Tensor& weight,
                                    const SymInt& length, const Geometry<SymInt>& geometry, const Epilogue& epilogue);
std::tuple<at::Tensor, at::Tensor> wgrad_through_activation(const at::Tensor& x, const at::Tensor& grad_y,
                                                            const at::Tensor& y, std::int64_t kernel_size,
                                                            bool bias_grad, const Geometry<SymInt>& geometry,
                                                            const Epilogue& epilogue,
                                                            const OptionalScalarType& grad_dtype);

}  // namespace longconv::torch_binding
