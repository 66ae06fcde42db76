// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the CUDA engine needs from PyTorch: the current stream, memory, and plans that were made before. No CUDA
/// header: the one thing that PyTorch's device-neutral interface does not give, a stream's handle, is asked of
/// libc10_cuda.so.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "arguments.h"
#include "longconv/plan.h"

namespace longconv::torch_binding {

/// fp32 or TF32 for f32 tensors: the request, or with `follow` what torch.backends.cudnn.allow_tf32 (newer:
/// torch.backends.cudnn.conv.fp32_precision) says of convolutions.
Precision precision_on_cuda(PrecisionRequest request, DType dtype);

/// The plan for the problem on a GPU, from a bounded process-wide cache. Throws longconv::Error as make_plan() does,
/// and Error{unavailable} without driver or GPU.
std::shared_ptr<const Plan> plan_on_cuda(const ConvProblem& problem, int ordinal);

/// Launches on the current stream of the GPU, with a workspace from PyTorch's caching allocator. Asynchronous; may be
/// captured into a graph. The GPU must be the current device. `weight` is the tensor that tensors.w is a view of:
/// packed weights are kept with it where reuse_packed_weights() says so.
void execute_on_cuda(const Plan& plan, const ConvTensors& tensors, const at::Tensor& weight);

/// Whether packed weights are kept between calls (PackedWeightCache). At first what LONGCONV_REUSE_PACKED_WEIGHTS says
/// (1: yes), then no. Switching it off frees what is kept.
void reuse_packed_weights(bool enabled);
bool reuses_packed_weights();

}  // namespace longconv::torch_binding
