// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What differs between PyTorch 1.13 and the newest, in one place.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/SymInt.h>
#include <c10/util/string_view.h>
#include <torch/csrc/api/include/torch/version.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#define LONGCONV_TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) || (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

namespace longconv::torch_binding {

// Symbolic sizes: from 2.0 on a custom operator's schema can have them.
#if LONGCONV_TORCH_AT_LEAST(2, 0)
#define LONGCONV_SYMINT "SymInt"
using SymInt = c10::SymInt;
inline c10::SymInt symbolic_size(const at::Tensor& tensor, std::int64_t dim) { return tensor.sym_size(dim); }
inline c10::SymIntArrayRef symbolic_sizes(const at::Tensor& tensor) { return tensor.sym_sizes(); }
/// The number of a size that is no symbol.
inline std::optional<std::int64_t> known(const c10::SymInt& value) {
  if (value.is_symbolic()) return std::nullopt;
  return value.guard_int(__FILE__, __LINE__);
}
/// Channels and taps are numbers in every problem: a symbol is specialised to its value.
inline std::int64_t number(const at::Tensor& tensor, std::int64_t dim) {
  return tensor.sym_size(dim).guard_int(__FILE__, __LINE__);
}
#else
#define LONGCONV_SYMINT "int"
using SymInt = std::int64_t;
inline std::int64_t symbolic_size(const at::Tensor& tensor, std::int64_t dim) { return tensor.size(dim); }
inline at::IntArrayRef symbolic_sizes(const at::Tensor& tensor) { return tensor.sizes(); }
inline std::optional<std::int64_t> known(std::int64_t value) { return value; }
inline std::int64_t number(const at::Tensor& tensor, std::int64_t dim) { return tensor.size(dim); }
#endif

/// The types of a schema's `str`, `Tensor?` and `ScalarType?` in kernel signatures.
using StringView = c10::string_view;
using OptionalTensor = c10::optional<at::Tensor>;
using OptionalScalarType = c10::optional<at::ScalarType>;
inline std::string to_string(StringView text) { return std::string(text.data(), text.size()); }

/// Autograd nodes are held by std::shared_ptr in older and by c10::intrusive_ptr in newer releases.
using NodePtr = decltype(torch::autograd::Edge::function);

template <class NodeType, class... Args>
auto make_node(Args&&... args) {
  if constexpr (std::is_same_v<NodePtr, std::shared_ptr<torch::autograd::Node>>) {
    // deleteNode is found through the argument: newer releases do not have it.
    return std::shared_ptr<NodeType>(new NodeType(std::forward<Args>(args)...), [](auto* node) { deleteNode(node); });
  } else {
    return c10::make_intrusive<NodeType>(std::forward<Args>(args)...);
  }
}

template <class NodeType>
NodePtr pointer_to(NodeType* node) {
  if constexpr (std::is_same_v<NodePtr, std::shared_ptr<torch::autograd::Node>>) {
    return node->shared_from_this();
  } else {
    return node->getptr();
  }
}

/// The type that the engine rounds gradients to which go to this input of a node: newer releases let a tensor choose
/// another one than its own (Tensor.grad_dtype), or any.
template <class Metadata>
OptionalScalarType expected_grad_type(const Metadata& metadata) {
  if constexpr (requires { metadata.grad_dtype(); }) {
    return metadata.grad_dtype();
  } else {
    return c10::typeMetaToScalarType(metadata.options().dtype());
  }
}

}  // namespace longconv::torch_binding
