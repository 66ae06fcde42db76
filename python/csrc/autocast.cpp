// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Autocast: the forward operators run in the lower precision, as PyTorch's convolutions do: fprop, and dgrad as the
/// transposed convolution. Gradients follow the tensors that were saved: backward() is without autocast (autograd.h).
#include <ATen/autocast_mode.h>
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

template <c10::DispatchKey key, c10::DeviceType device>
at::Tensor fprop_autocast(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, std::int64_t stride, SymInt pad_left, SymInt pad_right,
                          StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView activation,
                          double negative_slope, StringView precision) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  return fprop_op().call(cast<device>(x), cast<device>(weight), cast<device>(bias), cast<device>(residual), stride,
                         pad_left, pad_right, pad_mode, dilation, groups, activation, negative_slope, precision);
}

template <c10::DispatchKey key, c10::DeviceType device>
at::Tensor dgrad_autocast(const at::Tensor& grad_y, const at::Tensor& weight, SymInt length, std::int64_t stride,
                          SymInt pad_left, SymInt pad_right, StringView pad_mode, std::int64_t dilation,
                          std::int64_t groups, StringView precision, const OptionalTensor& bias,
                          const OptionalTensor& residual) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  return dgrad_op().call(cast<device>(grad_y), cast<device>(weight), length, stride, pad_left, pad_right, pad_mode,
                         dilation, groups, precision, cast<device>(bias), cast<device>(residual));
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
