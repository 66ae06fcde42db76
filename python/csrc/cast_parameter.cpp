// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// An f32 parameter in a 16-bit type, with a gradient in f32. The engine rounds a gradient to the type that the node it
/// goes to expects; behind PyTorch's own cast that is the lower type, behind this one it is f32. The convolutions'
/// nodes ask what is expected (gradient_is_wanted_in_f32) and sum their weight and bias gradients into it.
#include <torch/library.h>

#include <string>
#include <utility>

#include "autograd.h"

namespace longconv::torch_binding {
namespace {

at::Tensor cast_parameter(const at::Tensor& parameter, at::ScalarType dtype) {
  TORCH_CHECK(parameter.scalar_type() == at::kFloat && (dtype == at::kBFloat16 || dtype == at::kHalf),
              "longconv::cast_parameter: expected a Float parameter and BFloat16 or Half as its new type, but got ",
              parameter.scalar_type(), " and ", dtype);
  return parameter.to(dtype);
}

/// Of a map that differs from the identity by rounding alone.
struct CastParameterBackward final : Node {
  variable_list apply(variable_list&& grads) override { return std::move(grads); }
  std::string name() const override { return "LongconvCastParameterBackward"; }
};

at::Tensor cast_parameter_autograd(c10::DispatchKeySet keys, const at::Tensor& parameter, at::ScalarType dtype) {
  at::Tensor result = [&] {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return cast_parameter_op().redispatch(keys & c10::after_autograd_keyset, parameter, dtype);
  }();
  if (wants_grad({&parameter})) {
    auto node = make_node_for<CastParameterBackward>({&parameter});
    const auto number = node->add_input_metadata(parameter);  // not result: this is what the engine goes by
    torch::autograd::impl::set_gradient_edge(result, {std::move(node), number});
  }
  if (is_dual(parameter)) set_tangent(result, cast_parameter_op().call(tangent_of(parameter), dtype));
  return result;
}

TORCH_LIBRARY_IMPL(longconv, Autograd, m) { m.impl("cast_parameter", TORCH_FN(cast_parameter_autograd)); }

TORCH_LIBRARY_IMPL(longconv, CompositeExplicitAutograd, m) { m.impl("cast_parameter", TORCH_FN(cast_parameter)); }

// Compilers know PyTorch's cast, and fuse it.
TORCH_LIBRARY_IMPL(longconv, Functionalize, m) { m.impl("cast_parameter", TORCH_FN(cast_parameter)); }

}  // namespace
}  // namespace longconv::torch_binding
