// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What padding modes other than zeros add to the data gradient, by kernels/conv/dgrad_padding.cuh.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "cuda/cuda_kernel.h"
#include "cuda/polyphase_problem.h"

namespace longconv::cuda {

/// The elements of a row of dx that padding shows again: two ranges [begin, end) that do not meet, either may be empty.
/// Both are empty for fprop, zero padding and no padding.
struct PaddingGradient {
  std::array<std::int64_t, 2> begin{}, end{};
  explicit PaddingGradient(const ConvProblem& problem);
  bool empty() const { return begin[0] >= end[0] && begin[1] >= end[1]; }
};

/// Why a problem's bias cannot be added, or empty: elements that are computed again get none.
std::string no_bias_in_dgrad_padding(const ConvProblem& problem);
/// Computes these elements again, whole, after a kernel that takes the padding for zeros. Nothing where there are none.
/// `tensors`: of polyphase_tensors(). A residual is added: it must not be the result, unless the kernel before has left
/// these elements alone.
/// The function of add_dgrad_padding_spec() is functions[index].
void launch_dgrad_padding(const LaunchFunctions& functions, std::size_t index, const PolyphaseProblem& problem,
                          const Device& device, const ConvTensors& tensors, void* stream);
/// Appends the specialisation that launch_dgrad_padding() uses, if any.
void add_dgrad_padding_spec(const PolyphaseProblem& problem, std::vector<KernelSpec>& specs);

}  // namespace longconv::cuda
