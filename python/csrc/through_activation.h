// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Gradients of a convolution with a fused activation on CUDA: g = dL/dy * act'(y), where act' is a function of
/// forward's result y, is formed where dgrad and wgrad read dL/dy, or by a pass of its own that writes it. The rule
/// which.
#pragma once

#include <ATen/core/Tensor.h>

#include "arguments.h"

namespace longconv::torch_binding {

/// The gradients that are wanted of y = act(F(x, w) + bias + residual): dgrad's, and wgrad's with the bias's beside it.
struct WantedGradients {
  at::Tensor weight;  ///< for dgrad; undefined: not wanted
  at::Tensor x;       ///< for wgrad; undefined: not wanted
  SymInt length = 0;  ///< of x
  std::int64_t kernel_size = 0;
  bool bias = false;
  OptionalScalarType grad_dtype;  ///< of wgrad
};

/// Whether the passes read y beside dL/dy. They do where g itself is wanted by nobody (no gradient is recorded here,
/// and the caller wants none of the residual, nor of the bias alone), the tensors are CUDA's, with memory, not wrapped
/// for tracing or transforms, y lies as dL/dy does (lies_beside()), and the plans that read y are expected to take no
/// longer than the others and the pass that writes g.
bool reads_forward_y(const at::Tensor& grad_y, const at::Tensor& y, const WantedGradients& wanted,
                     const Geometry<SymInt>& geometry, const Epilogue& epilogue);

}  // namespace longconv::torch_binding
