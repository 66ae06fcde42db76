// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the command line asks of the CUDA engine beside convolutions.
#pragma once

#include <string_view>

#include "longconv/plan.h"

namespace longconv::torch_binding {

/// The plan that a problem has on a GPU: for "cuda" and "cuda:1" with what was tuned there, for the name of a model
/// (Device::known) the planner's own.
Plan plan_on_gpu(const ConvProblem& problem, std::string_view device);

}  // namespace longconv::torch_binding
