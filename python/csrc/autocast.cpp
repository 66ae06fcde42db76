// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Autocast: the forward operator runs in the lower precision, as PyTorch's convolutions do. The gradients follow the
/// tensors that were saved.
#include <ATen/autocast_mode.h>
#include <torch/library.h>

#include "ops.h"

namespace longconv::torch_binding {
namespace {

template <c10::DispatchKey key, c10::DeviceType device>
at::Tensor fprop_autocast(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, std::int64_t stride, SymInt pad_left, SymInt pad_right,
                          StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView activation,
                          double negative_slope, StringView precision) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  const at::ScalarType type = at::autocast::get_lower_precision_fp_from_device_type(device);
  const auto cast = [&](const at::Tensor& tensor) { return at::autocast::cached_cast(type, tensor, device); };
  const auto cast_optional = [&](const OptionalTensor& tensor) {
    return tensor.has_value() && tensor->defined() ? OptionalTensor(cast(*tensor)) : OptionalTensor();
  };
  return fprop_op().call(cast(x), cast(weight), cast_optional(bias), cast_optional(residual), stride, pad_left,
                         pad_right, pad_mode, dilation, groups, activation, negative_slope, precision);
}

TORCH_LIBRARY_IMPL(longconv, AutocastCPU, m) {
  m.impl("fprop", fprop_autocast<c10::DispatchKey::AutocastCPU, c10::DeviceType::CPU>);
}

TORCH_LIBRARY_IMPL(longconv, Autocast, m) {
  m.impl("fprop", fprop_autocast<c10::DispatchKey::Autocast, c10::DeviceType::CUDA>);
}

}  // namespace
}  // namespace longconv::torch_binding
