// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Autograd of the forward operator. The passes are the three maps of one trilinear form, so that every derivative of
/// one, of any order, is made of the others; only the activation is PyTorch's.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/leaky_relu_backward.h>
#include <ATen/ops/sigmoid_backward.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh_backward.h>
#include <ATen/ops/threshold_backward.h>
#include <torch/library.h>

#include <string>
#include <utility>

#include "autograd.h"
#include "through_activation.h"

namespace longconv::torch_binding {
namespace {

/// PyTorch's own activation, for the compositions.
at::Tensor activate(const at::Tensor& tensor, const Epilogue& epilogue) {
  switch (epilogue.activation) {
    case Activation::none: return tensor;
    case Activation::relu: return tensor.relu();
    case Activation::leaky_relu: return at::leaky_relu(tensor, epilogue.negative_slope);
    case Activation::gelu: return at::gelu(tensor, "none");
    case Activation::gelu_tanh: return at::gelu(tensor, "tanh");
    case Activation::silu: return at::silu(tensor);
    case Activation::tanh: return tensor.tanh();
    case Activation::sigmoid: return tensor.sigmoid();
  }
  return tensor;
}

/// dL/d(pre-activation) from dL/dy and y.
at::Tensor through_activation(const at::Tensor& grad_y, const at::Tensor& y, const Epilogue& epilogue) {
  switch (epilogue.activation) {
    case Activation::relu: return at::threshold_backward(grad_y, y, 0);
    case Activation::leaky_relu:
      return at::leaky_relu_backward(grad_y, y, epilogue.negative_slope, /*self_is_result=*/true);
    case Activation::tanh: return at::tanh_backward(grad_y, y);
    case Activation::sigmoid: return at::sigmoid_backward(grad_y, y);
    default: return grad_y;
  }
}

/// y = act(F(x, w) + bias + residual). With g = dL/d(pre-activation):
///   dL/dx = D(g, w), dL/dw = W(x, g), dL/dbias = sum of g over batch and time, dL/dresidual = g.
struct FpropBackward final : Node {
  enum Input { kX, kWeight, kBias, kResidual };

  variable_list apply(variable_list&& grads) override {
    const WithoutAutocast without_autocast;
    const std::lock_guard<std::mutex> lock(mutex_);
    variable_list result(4);
    if (!grads[0].defined()) return result;
    at::Tensor grad = grads[0];
    const bool bias_grad = task_should_compute_output(kBias), residual_grad = task_should_compute_output(kResidual);
    WantedGradients wanted;
    if (task_should_compute_output(kX)) wanted.weight = weight.unpack(), wanted.length = length;
    if (task_should_compute_output(kWeight)) {
      wanted.x = x.unpack(), wanted.kernel_size = kernel_size, wanted.bias = bias_grad;
      wanted.grad_dtype = wanted_grad_dtype(*this, {kWeight, kBias}, grad.scalar_type());
    }
    if (epilogue.activation != Activation::none) {
      const at::Tensor forward_y = y.unpack(pointer_to(this));
      const bool wants_g = residual_grad || (bias_grad && !wanted.x.defined());  // itself, its sum
      if (!wants_g && reads_forward_y(grad, forward_y, wanted, geometry, epilogue)) {
        compute(
            wanted, result,
            [&] { return dgrad_through_activation(grad, forward_y, wanted.weight, length, geometry, epilogue); },
            [&] {
              return wgrad_through_activation(wanted.x, grad, forward_y, kernel_size, bias_grad, geometry, epilogue,
                                              wanted.grad_dtype);
            });
        return result;
      }
      grad = through_activation(grad, forward_y, epilogue);
    }
    compute(
        wanted, result,
        [&] { return dgrad(grad, wanted.weight, OptionalTensor(), OptionalTensor(), length, geometry); },
        [&] { return wgrad(wanted.x, grad, kernel_size, bias_grad, geometry, wanted.grad_dtype); });
    if (bias_grad && !wanted.x.defined()) result[kBias] = bias_gradient(*this, kBias, grad);
    if (residual_grad) result[kResidual] = grad;
    return result;
  }

  void release_variables() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    x.reset_data();
    weight.reset_data();
    y.reset_data();
  }

  std::string name() const override { return "LongconvFpropBackward"; }

  template <class Dgrad, class Wgrad>
  static void compute(const WantedGradients& wanted, variable_list& result, Dgrad&& dgrad, Wgrad&& wgrad) {
    if (wanted.weight.defined()) result[kX] = dgrad();
    if (!wanted.x.defined()) return;
    at::Tensor grad_bias;
    std::tie(result[kWeight], grad_bias) = wgrad();
    if (wanted.bias) result[kBias] = grad_bias;
  }

  SavedVariable x, weight, y;  // each only if a gradient needs it
  SymInt length = 0;
  std::int64_t kernel_size = 0;
  Geometry<SymInt> geometry;
  Epilogue epilogue;
};

/// The tangent of F(x, w) + bias + residual.
at::Tensor fprop_tangent(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         const at::Tensor& residual, const at::Tensor& y, const Geometry<SymInt>& geometry) {
  return bilinear_tangent(x, weight, bias, residual, y,
                          [&](const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                              const OptionalTensor& residual) { return fprop(x, weight, bias, residual, geometry); });
}

at::Tensor fprop_autograd(c10::DispatchKeySet keys, const at::Tensor& x, const at::Tensor& weight,
                          const OptionalTensor& optional_bias, const OptionalTensor& optional_residual,
                          std::int64_t stride, SymInt pad_left, SymInt pad_right, StringView pad_mode,
                          std::int64_t dilation, std::int64_t groups, StringView activation, double negative_slope,
                          StringView precision) {
  const at::Tensor& bias = value_or_undefined(optional_bias);
  const at::Tensor& residual = value_or_undefined(optional_residual);
  const bool dual = is_dual(x) || is_dual(weight) || is_dual(bias) || is_dual(residual);
  const bool differentiable = wants_grad({&x, &weight, &bias, &residual});
  const auto below = [&] {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return fprop_op().redispatch(keys & c10::after_autograd_keyset, x, weight, optional_bias, optional_residual, stride,
                                 pad_left, pad_right, pad_mode, dilation, groups, activation, negative_slope,
                                 precision);
  };
  if (!dual && !differentiable) return below();

  const Epilogue epilogue{parse_activation(activation), negative_slope};
  const bool fused = epilogue.activation == Activation::none ||
                     (!dual && has_derivative_from_result(epilogue.activation, epilogue.negative_slope));
  if (!fused) {
    const at::Tensor linear = fprop_op().call(x, weight, optional_bias, optional_residual, stride, pad_left, pad_right,
                                              pad_mode, dilation, groups, "none", negative_slope, precision);
    return activate(linear, epilogue);
  }

  const auto geometry = make_geometry<SymInt>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  at::Tensor y = below();
  if (differentiable) {
    auto node = make_node_for<FpropBackward>({&x, &weight, &bias, &residual});
    node->geometry = geometry;
    node->epilogue = epilogue;
    node->length = symbolic_size(x, 2);
    node->kernel_size = number(weight, 2);
    if (weight.requires_grad()) node->x = SavedVariable(x, /*is_output=*/false);
    if (x.requires_grad()) node->weight = SavedVariable(weight, /*is_output=*/false);
    torch::autograd::set_history(y, node);
    if (epilogue.activation != Activation::none) node->y = SavedVariable(y, /*is_output=*/true);
  }
  if (dual) set_tangent(y, fprop_tangent(x, weight, bias, residual, y, geometry));
  return y;
}

at::Tensor& fprop_out_autograd(c10::DispatchKeySet keys, const at::Tensor& x, const at::Tensor& weight,
                               const OptionalTensor& bias, const OptionalTensor& residual, std::int64_t stride,
                               SymInt pad_left, SymInt pad_right, StringView pad_mode, std::int64_t dilation,
                               std::int64_t groups, StringView activation, double negative_slope, StringView precision,
                               at::Tensor& out) {
  refuse_derivatives_of_out("longconv::fprop.out",
                            {&x, &weight, &value_or_undefined(bias), &value_or_undefined(residual), &out});
  const at::AutoDispatchBelowAutograd guard;
  return fprop_out_op().redispatch(keys & c10::after_autograd_keyset, x, weight, bias, residual, stride, pad_left,
                                   pad_right, pad_mode, dilation, groups, activation, negative_slope, precision, out);
}

at::Tensor& fprop_out_inplace(c10::DispatchKeySet keys, const at::Tensor& x, const at::Tensor& weight,
                              const OptionalTensor& bias, const OptionalTensor& residual, std::int64_t stride,
                              SymInt pad_left, SymInt pad_right, StringView pad_mode, std::int64_t dilation,
                              std::int64_t groups, StringView activation, double negative_slope, StringView precision,
                              at::Tensor& out) {
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    fprop_out_op().redispatch(keys & c10::after_ADInplaceOrView_keyset, x, weight, bias, residual, stride, pad_left,
                              pad_right, pad_mode, dilation, groups, activation, negative_slope, precision, out);
  }
  torch::autograd::impl::bump_version(out);  // a saved tensor that was overwritten is noticed in backward
  return out;
}

TORCH_LIBRARY_IMPL(longconv, Autograd, m) {
  m.impl("fprop", TORCH_FN(fprop_autograd));
  m.impl("fprop.out", TORCH_FN(fprop_out_autograd));
}

TORCH_LIBRARY_IMPL(longconv, ADInplaceOrView, m) { m.impl("fprop.out", TORCH_FN(fprop_out_inplace)); }

}  // namespace
}  // namespace longconv::torch_binding
