// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the CPU engine needs from PyTorch: threads, memory, and plans that were made before.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "longconv/plan.h"

namespace longconv::torch_binding {

/// A view of the tensor's memory, whatever its strides. The tensor has at most three dimensions and no conj/neg bit.
TensorView view_of(const at::Tensor& tensor, DType dtype);

/// A new dense CPU tensor. Large ones ask for huge pages: first-touch faults of 4 KiB pages can cost more than the
/// convolution.
at::Tensor empty_on_cpu(at::IntArrayRef sizes, at::ScalarType type);

/// The plan for the problem on this machine with at::get_num_threads() threads (1 inside a parallel region), from a
/// bounded process-wide cache. Throws longconv::Error as make_plan() does.
std::shared_ptr<const Plan> plan_on_cpu(const ConvProblem& problem);

/// Executes with PyTorch's threads and a workspace from PyTorch's CPU allocator.
void execute_on_cpu(const Plan& plan, const ConvTensors& tensors);

}  // namespace longconv::torch_binding
