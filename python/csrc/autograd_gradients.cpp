// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Autograd of the two gradient passes: what double backward, and every order beyond it, is made of. In complex numbers
/// D conjugates w and W conjugates x (they are gradients in PyTorch's convention); their adjoints then need no more.
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include <string>
#include <tuple>
#include <utility>

#include "autograd.h"

namespace longconv::torch_binding {
namespace {

OptionalTensor none() { return OptionalTensor(); }

/// gx = D(gy, w) + bias + residual. With v = dL/dgx:
///   dL/dgy = F(v, w), dL/dw = W(v, gy), dL/dbias = sum of v over batch and time, dL/dresidual = v.
struct DgradBackward final : Node {
  enum Input { kGradY, kWeight, kBias, kResidual };

  variable_list apply(variable_list&& grads) override {
    const WithoutAutocast without_autocast;
    const std::lock_guard<std::mutex> lock(mutex_);
    variable_list result(4);
    const at::Tensor& v = grads[0];
    if (!v.defined()) return result;
    if (task_should_compute_output(kGradY)) result[kGradY] = fprop(v, weight.unpack(), none(), none(), geometry);
    if (task_should_compute_output(kWeight)) {
      const auto grad_dtype = wanted_grad_dtype(*this, {kWeight}, v.scalar_type());
      result[kWeight] = std::get<0>(wgrad(v, grad_y.unpack(), kernel_size, /*bias_grad=*/false, geometry, grad_dtype));
    }
    if (task_should_compute_output(kBias)) result[kBias] = bias_gradient(*this, kBias, v);
    if (task_should_compute_output(kResidual)) result[kResidual] = v;
    return result;
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    grad_y.reset_data();
    weight.reset_data();
  }

  std::string name() const override { return "LongconvDgradBackward"; }

  SavedVariable grad_y, weight;
  std::int64_t kernel_size = 0;
  Geometry<SymInt> geometry;
};

/// The tangent of D(gy, w) + bias + residual.
at::Tensor dgrad_tangent(const at::Tensor& grad_y, const at::Tensor& weight, const at::Tensor& bias,
                         const at::Tensor& residual, const at::Tensor& grad_x, const SymInt& length,
                         const Geometry<SymInt>& geometry) {
  return bilinear_tangent(
      grad_y, weight, bias, residual, grad_x,
      [&](const at::Tensor& grad_y, const at::Tensor& weight, const OptionalTensor& bias,
          const OptionalTensor& residual) { return dgrad(grad_y, weight, bias, residual, length, geometry); });
}

at::Tensor dgrad_autograd(c10::DispatchKeySet keys, const at::Tensor& grad_y, const at::Tensor& weight, SymInt length,
                          std::int64_t stride, SymInt pad_left, SymInt pad_right, StringView pad_mode,
                          std::int64_t dilation, std::int64_t groups, StringView precision,
                          const OptionalTensor& optional_bias, const OptionalTensor& optional_residual) {
  const at::Tensor& bias = value_or_undefined(optional_bias);
  const at::Tensor& residual = value_or_undefined(optional_residual);
  const bool dual = is_dual(grad_y) || is_dual(weight) || is_dual(bias) || is_dual(residual);
  const bool differentiable = wants_grad({&grad_y, &weight, &bias, &residual});
  at::Tensor grad_x = [&] {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return dgrad_op().redispatch(keys & c10::after_autograd_keyset, grad_y, weight, length, stride, pad_left, pad_right,
                                 pad_mode, dilation, groups, precision, optional_bias, optional_residual);
  }();
  if (!dual && !differentiable) return grad_x;

  const auto geometry = make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  if (differentiable) {
    auto node = make_node_for<DgradBackward>({&grad_y, &weight, &bias, &residual});
    node->geometry = geometry;
    node->kernel_size = number(weight, 2);
    if (weight.requires_grad()) node->grad_y = SavedVariable(grad_y, /*is_output=*/false);
    if (grad_y.requires_grad()) node->weight = SavedVariable(weight, /*is_output=*/false);
    torch::autograd::set_history(grad_x, node);
  }
  if (dual) set_tangent(grad_x, dgrad_tangent(grad_y, weight, bias, residual, grad_x, length, geometry));
  return grad_x;
}

at::Tensor& dgrad_out_autograd(c10::DispatchKeySet keys, const at::Tensor& grad_y, const at::Tensor& weight,
                               SymInt length, std::int64_t stride, SymInt pad_left, SymInt pad_right,
                               StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView precision,
                               const OptionalTensor& bias, const OptionalTensor& residual, at::Tensor& out) {
  refuse_derivatives_of_out("longconv::dgrad.out",
                            {&grad_y, &weight, &value_or_undefined(bias), &value_or_undefined(residual), &out});
  const at::AutoDispatchBelowAutograd guard;
  return dgrad_out_op().redispatch(keys & c10::after_autograd_keyset, grad_y, weight, length, stride, pad_left,
                                   pad_right, pad_mode, dilation, groups, precision, bias, residual, out);
}

at::Tensor& dgrad_out_inplace(c10::DispatchKeySet keys, const at::Tensor& grad_y, const at::Tensor& weight,
                              SymInt length, std::int64_t stride, SymInt pad_left, SymInt pad_right,
                              StringView pad_mode, std::int64_t dilation, std::int64_t groups, StringView precision,
                              const OptionalTensor& bias, const OptionalTensor& residual, at::Tensor& out) {
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    dgrad_out_op().redispatch(keys & c10::after_ADInplaceOrView_keyset, grad_y, weight, length, stride, pad_left,
                              pad_right, pad_mode, dilation, groups, precision, bias, residual, out);
  }
  torch::autograd::impl::bump_version(out);
  return out;
}

/// (gw, gb) = (W(x, gy), sum of gy over batch and time). With u = dL/dgw, b = dL/dgb:
///   dL/dx = D(gy, u), dL/dgy = F(x, u) + b,
/// u and b in the operands' type, where the gradients had another one.
struct WgradBackward final : Node {
  enum Input { kX, kGradY };

  variable_list apply(variable_list&& grads) override {
    const WithoutAutocast without_autocast;
    const std::lock_guard<std::mutex> lock(mutex_);
    variable_list result(2);
    const auto as_operand = [this](const at::Tensor& grad) {
      return grad.defined() && grad.scalar_type() != operand_type ? grad.to(operand_type) : grad;
    };
    const at::Tensor u = as_operand(grads[0]);
    const at::Tensor b = grads.size() > 1 ? as_operand(grads[1]) : at::Tensor();
    if (u.defined() && task_should_compute_output(kX))
      result[kX] = dgrad(grad_y.unpack(), u, none(), none(), length, geometry);
    if (task_should_compute_output(kGradY)) {
      if (u.defined()) {
        result[kGradY] = fprop(x.unpack(), u, b.defined() ? OptionalTensor(b) : none(), none(), geometry);
      } else if (b.defined()) {
#if LONGCONV_TORCH_AT_LEAST(2, 0)
        result[kGradY] = b.unsqueeze(1).expand_symint({batch, b.sym_size(0), out_length});
#else
        result[kGradY] = b.unsqueeze(1).expand({batch, b.size(0), out_length});
#endif
      }
    }
    return result;
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    x.reset_data();
    grad_y.reset_data();
  }

  std::string name() const override { return "LongconvWgradBackward"; }

  SavedVariable x, grad_y;
  SymInt batch = 0, length = 0, out_length = 0;
  at::ScalarType operand_type = at::kFloat;
  Geometry<SymInt> geometry;
};

std::tuple<at::Tensor, at::Tensor> wgrad_autograd(c10::DispatchKeySet keys, const at::Tensor& x,
                                                  const at::Tensor& grad_y, std::int64_t kernel_size,
                                                  std::int64_t stride, SymInt pad_left, SymInt pad_right,
                                                  StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                                                  bool bias_grad, StringView precision, OptionalScalarType grad_dtype) {
  const bool dual = is_dual(x) || is_dual(grad_y);
  const bool differentiable = wants_grad({&x, &grad_y});
  at::Tensor grad_weight, grad_bias;
  std::tie(grad_weight, grad_bias) = [&] {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return wgrad_op().redispatch(keys & c10::after_autograd_keyset, x, grad_y, kernel_size, stride, pad_left, pad_right,
                                 pad_mode, dilation, groups, bias_grad, precision, grad_dtype);
  }();
  if (!dual && !differentiable) return {grad_weight, grad_bias};

  const auto geometry = make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  if (differentiable) {
    auto node = make_node_for<WgradBackward>({&x, &grad_y});
    node->geometry = geometry;
    node->batch = symbolic_size(x, 0);
    node->length = symbolic_size(x, 2);
    node->out_length = symbolic_size(grad_y, 2);
    node->operand_type = x.scalar_type();
    if (grad_y.requires_grad()) node->x = SavedVariable(x, /*is_output=*/false);
    if (x.requires_grad()) node->grad_y = SavedVariable(grad_y, /*is_output=*/false);
    torch::autograd::set_history(grad_weight, node);
    // The bias gradient is a function of grad_y alone.
    if (bias_grad && grad_y.requires_grad()) torch::autograd::set_history(grad_bias, node);
  }
  if (dual) {
    at::Tensor weight_t, bias_t;
    if (is_dual(x))
      weight_t = std::get<0>(wgrad(tangent_of(x), primal_of(grad_y), kernel_size, false, geometry, grad_dtype));
    if (is_dual(grad_y)) {
      at::Tensor second;
      std::tie(second, bias_t) = wgrad(primal_of(x), tangent_of(grad_y), kernel_size, bias_grad, geometry, grad_dtype);
      weight_t = sum_of(weight_t, second);
    }
    set_tangent(grad_weight, weight_t);
    if (bias_grad) set_tangent(grad_bias, bias_t);
  }
  return {grad_weight, grad_bias};
}

TORCH_LIBRARY_IMPL(longconv, Autograd, m) {
  m.impl("dgrad", TORCH_FN(dgrad_autograd));
  m.impl("dgrad.out", TORCH_FN(dgrad_out_autograd));
  m.impl("wgrad", TORCH_FN(wgrad_autograd));
}

TORCH_LIBRARY_IMPL(longconv, ADInplaceOrView, m) { m.impl("dgrad.out", TORCH_FN(dgrad_out_inplace)); }

}  // namespace
}  // namespace longconv::torch_binding
