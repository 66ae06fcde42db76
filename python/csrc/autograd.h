// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the autograd kernels of the three passes share.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/sum.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <cstddef>
#include <initializer_list>
#include <mutex>

#include "ops.h"

namespace longconv::torch_binding {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

/// Gradients are computed in the dtype of what was saved, even where backward() is called under autocast.
class WithoutAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard_{c10::autocast_dispatch_keyset};
};

inline const at::Tensor& value_or_undefined(const OptionalTensor& tensor) {
  static const at::Tensor undefined;
  return tensor.has_value() ? *tensor : undefined;
}

inline bool is_dual(const at::Tensor& tensor) { return tensor.defined() && tensor._fw_grad(/*level=*/0).defined(); }

/// The forward-mode tangent, undefined if there is none.
inline at::Tensor tangent_of(const at::Tensor& tensor) { return tensor.defined() ? tensor._fw_grad(0) : tensor; }

/// The tensor without its tangent, still connected for reverse mode.
inline at::Tensor primal_of(const at::Tensor& tensor) {
  return is_dual(tensor) ? tensor._fw_primal(/*level=*/0) : tensor;
}

/// The sum of two tensors of which either may be undefined.
inline at::Tensor sum_of(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined()) return b;
  return b.defined() ? a.add(b) : a;
}

/// The tangent of f(signal, weight, bias, residual) = B(signal, weight) + bias + residual, B bilinear, at its value
/// `result`.
template <class Function>
at::Tensor bilinear_tangent(const at::Tensor& signal, const at::Tensor& weight, const at::Tensor& bias,
                            const at::Tensor& residual, const at::Tensor& result, Function&& f) {
  const auto optional = [](const at::Tensor& tensor) {
    return tensor.defined() ? OptionalTensor(tensor) : OptionalTensor();
  };
  const at::Tensor signal_t = tangent_of(signal), weight_t = tangent_of(weight), bias_t = tangent_of(bias);
  at::Tensor sum = tangent_of(residual);
  if (!signal_t.defined() && !weight_t.defined()) {
    if (!bias_t.defined()) return sum;
    const at::Tensor column = bias_t.unsqueeze(1);
    return sum.defined() ? sum.add(column) : column.expand_as(result);
  }
  // The later terms ride on the earlier ones' epilogue.
  OptionalTensor pending_bias = optional(bias_t);
  if (signal_t.defined()) {
    sum = f(signal_t, primal_of(weight), pending_bias, optional(sum));
    pending_bias = OptionalTensor();
  }
  if (weight_t.defined()) sum = f(primal_of(signal), weight_t, pending_bias, optional(sum));
  return sum;
}

inline void set_tangent(const at::Tensor& tensor, const at::Tensor& tangent) {
  if (tangent.defined()) tensor._set_fw_grad(tangent, /*level=*/0, /*is_inplace_op=*/false);
}

/// A node of the graph: next_edges of `inputs`, in order (an undefined input has none).
template <class NodeType>
auto make_node_for(std::initializer_list<const at::Tensor*> inputs) {
  auto node = make_node<NodeType>();
  torch::autograd::edge_list edges;
  edges.reserve(inputs.size());
  for (const at::Tensor* input : inputs) {
    edges.push_back(input->defined() ? torch::autograd::impl::gradient_edge(*input) : torch::autograd::Edge());
  }
  node->set_next_edges(std::move(edges));
  return node;
}

inline bool wants_grad(std::initializer_list<const at::Tensor*> inputs) {
  if (!at::GradMode::is_enabled()) return false;
  for (const at::Tensor* input : inputs) {
    if (input->defined() && input->requires_grad()) return true;
  }
  return false;
}

/// Float if one of these inputs, of a 16-bit type, is to have its gradient in f32: a parameter that cast_parameter
/// rounded, or in newer releases a tensor whose grad_dtype says so. Where the others are not, the engine rounds theirs.
inline OptionalScalarType wanted_grad_dtype(const Node& node, std::initializer_list<std::size_t> inputs,
                                            at::ScalarType operands) {
  if (operands != at::kBFloat16 && operands != at::kHalf) return {};
  for (const std::size_t input : inputs) {
    const torch::autograd::Edge& edge = node.next_edge(input);
    if (!edge.is_valid()) continue;
    const OptionalScalarType expected = expected_grad_type(edge.function->input_metadata(edge.input_nr));
    if (expected == OptionalScalarType(at::kFloat)) return expected;
  }
  return {};
}

/// dL/dbias: the sum over batch and time, rounded once.
inline at::Tensor bias_gradient(const Node& node, std::size_t input, const at::Tensor& grad) {
  const auto dtype = wanted_grad_dtype(node, {input}, grad.scalar_type());
  return at::sum(grad, at::IntArrayRef({0, 2}), /*keepdim=*/false, dtype);
}

/// out= is for callers who want no derivative.
inline void refuse_derivatives_of_out(const char* op, std::initializer_list<const at::Tensor*> tensors) {
  TORCH_CHECK(!wants_grad(tensors), op,
              ": functions with out=... arguments don't support automatic differentiation, but one of the arguments "
              "requires grad.");
  for (const at::Tensor* tensor : tensors) {
    TORCH_CHECK_NOT_IMPLEMENTED(!is_dual(*tensor), op,
                                ": out=... does not support forward mode automatic differentiation");
  }
}

}  // namespace longconv::torch_binding
