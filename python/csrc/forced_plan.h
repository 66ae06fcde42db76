// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Another plan than the planner's, for tests and comparisons: every kernel in every one of its configs must be right,
/// also where the planner would never pick it.
#pragma once

#include <string_view>

#include "longconv/plan.h"

namespace longconv::torch_binding {

/// The plan that CUDA tensors get: the planner's, or what LONGCONV_CUDA_KERNEL, LONGCONV_CUDA_CONFIG or the operator
/// longconv::force_cuda_plan ask for.
Plan cuda_plan(const ConvProblem& problem, const Device& device);

/// Changes whenever something else is forced: plans made before are then void.
int forced_plan_generation();

/// Candidate `candidate` of the kernel's plan, of every kernel's where the name is empty; 0 is the best. Throws
/// Error{invalid_value} where there are fewer.
Plan nth_plan(const ConvProblem& problem, const Device& device, std::string_view kernel, std::int64_t candidate);

}  // namespace longconv::torch_binding
