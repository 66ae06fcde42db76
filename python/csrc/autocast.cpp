// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Autocast: the forward operators run in the lower precision, as PyTorch's convolutions do: fprop, and dgrad as the
/// transposed convolution. Gradients of signals follow the tensors that were saved, those of f32 weights and biases
/// come in f32 (cast_parameter.cpp); backward() is without autocast (autograd.h).
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include "ops.h"

namespace longconv::torch_binding {
namespace {

template <c10::DeviceType device>
at::Tensor cast(const at::Tensor& tensor) {
  return at::autocast::cached_cast(at::autocast::get_lower_precision_fp_from_device_type(device), tensor, device);
}

template <c10::DeviceType device>
OptionalTensor cast(const OptionalTensor& tensor) {
  return tensor.has_value() && tensor->defined() ? OptionalTensor(cast<device>(*tensor)) : OptionalTensor();
}

/// A weight or bias: an f32 one keeps a gradient in f32. PyTorch's cache of casts is passed by then, since what it
/// holds has gradients in the lower type.
template <c10::DeviceType device>
at::Tensor cast_weight(const at::Tensor& weight) {
  const at::ScalarType lower = at::autocast::get_lower_precision_fp_from_device_type(device);
  const bool halves = lower == at::kBFloat16 || lower == at::kHalf;
  if (halves && at::GradMode::is_enabled() && weight.scalar_type() == at::kFloat && weight.device().type() == device &&
      weight.layout() == at::kStrided) {
    return cast_parameter_op().call(weight, lower);
  }
  return cast<device>(weight);
}

template <c10::DeviceType device>
OptionalTensor cast_weight(const OptionalTensor& bias) {
  return bias.has_value() && bias->defined() ? OptionalTensor(cast_weight<device>(*bias)) : OptionalTensor();
}

template <c10::DispatchKey key, c10::DeviceType device>
at::Tensor fprop_autocast(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, std::int64_t stride, SymInt pad_left, SymInt pad_right,
                          StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView activation,
                          double negative_slope, StringView precision) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  return fprop_op().call(cast<device>(x), cast_weight<device>(weight), cast_weight<device>(bias),
                         cast<device>(residual), stride, pad_left, pad_right, pad_mode, dilation, groups, activation,
                         negative_slope, precision);
}

template <c10::DispatchKey key, c10::DeviceType device>
at::Tensor dgrad_autocast(const at::Tensor& grad_y, const at::Tensor& weight, SymInt length, std::int64_t stride,
                          SymInt pad_left, SymInt pad_right, StringView pad_mode, std::int64_t dilation,
                          std::int64_t groups, StringView precision, const OptionalTensor& bias,
                          const OptionalTensor& residual) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  return dgrad_op().call(cast<device>(grad_y), cast_weight<device>(weight), length, stride, pad_left, pad_right,
                         pad_mode, dilation, groups, precision, cast_weight<device>(bias), cast<device>(residual));
}

TORCH_LIBRARY_IMPL(longconv, AutocastCPU, m) {
  m.impl("fprop", fprop_autocast<c10::DispatchKey::AutocastCPU, c10::DeviceType::CPU>);
  m.impl("dgrad", dgrad_autocast<c10::DispatchKey::AutocastCPU, c10::DeviceType::CPU>);
}

TORCH_LIBRARY_IMPL(longconv, Autocast, m) {
  m.impl("fprop", fprop_autocast<c10::DispatchKey::Autocast, c10::DeviceType::CUDA>);
  m.impl("dgrad", dgrad_autocast<c10::DispatchKey::Autocast, c10::DeviceType::CUDA>);
}

}  // namespace
}  // namespace longconv::torch_binding
