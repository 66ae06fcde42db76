// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the weight-gradient launchers share: how the reduction over (batch, time) is split, where partial sums lie, the
/// kernel that adds them up, and the repair of what tensor cores cannot sum exactly.
///
/// A launch is
///   clear_wgrad_flags()       where the main kernel sets flags
///   the main kernel           writes every partial sum of every split: weight[split][group][o][i][k] and, for a bias
///                             gradient, bias[split][out channel]; sets flags[split] where it could not
///   launch_wgrad_repair()     the direct kernel computes the flagged splits again (LC_MODE 1)
///   launch_reduce_wgrad()     adds the splits in order and writes w and bias
/// Splits and their ranges are a function of problem, config and device: results are the same bits every time.
///
/// A main kernel sets flags[split] (any value but 0, no atomic needed) when its partial sums may be wrong: a value that
/// its operands cannot carry (fp32 as two f16 planes), or a tile in which zeros stand for samples that do not exist
/// (zero padding, steps behind the end of a range) while either operand has an Inf or NaN there: 0 * Inf would be NaN.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cuda/cuda_kernel.h"
#include "cuda/dense_fprop_common.h"
#include "cuda/layer_launch.h"

namespace longconv::cuda {

/// Scratch that a weight gradient may take.
constexpr std::int64_t kMaxWgradWorkspaceBytes = std::int64_t{64} << 20;

/// As WgradRanges in kernels/tile/wgrad_ranges.cuh.
struct WgradRanges {
  std::int64_t chunk_steps, chunks_per_signal, chunks, splits;
  /// Chunks of `chunk_steps` outputs, dealt to at most `most_splits` splits (at least one chunk each).
  WgradRanges(const ConvProblem& problem, std::int64_t chunk_steps, std::int64_t most_splits);
  std::int64_t begin(std::int64_t split) const { return split * chunks / splits; }
};

/// The workspace: [flags][partial sums of the weight][of the bias], each 256-byte aligned.
struct WgradLayout {
  std::int64_t splits, weight_elements, bias_elements, sum_bytes;
  WgradLayout(const ConvProblem& problem, std::int64_t splits);
  /// How many splits fit into kMaxWgradWorkspaceBytes; 0: not even one.
  static std::int64_t most_splits(const ConvProblem& problem);
  std::int64_t flag_offset() const { return 0; }
  std::int64_t weight_offset() const { return round_up(splits * 4, 256); }
  std::int64_t bias_offset() const { return weight_offset() + round_up(splits * weight_elements * sum_bytes, 256); }
  std::int64_t workspace_bytes() const { return bias_offset() + round_up(splits * bias_elements * sum_bytes, 256); }
};

/// Sets `splits` so that blocks (`tiles` for each split) make one wave or a few, as full as they get; at least
/// `fewest`, and as `fits` allows, which is asked of each candidate. False if not even the fewest fit.
bool choose_wgrad_splits(std::int64_t tiles, const Device& device, std::int64_t fewest, std::int64_t& splits,
                         const std::function<bool()>& fits);

/// As WgradPartials in kernels/tile/wgrad_ranges.cuh, for every type of sum.
struct WgradPartials {
  void *weight, *bias, *flags;
  WgradPartials(const WgradLayout& layout, void* workspace)
      : weight(static_cast<char*>(workspace) + layout.weight_offset()),
        bias(layout.bias_elements > 0 ? static_cast<char*>(workspace) + layout.bias_offset() : nullptr),
        flags(static_cast<char*>(workspace) + layout.flag_offset()) {}
};

/// The reasons that every weight-gradient kernel shares: wgrad on CUDA, a real floating dtype, sizes that indices and
/// compile-time constants can hold.
Support supports_wgrad(const ConvProblem& problem, const Device& device);

/// The least number of products that a weight's gradient sums.
std::int64_t fewest_products(const ConvProblem& problem);

/// `context`: of the launch's functions.
void clear_wgrad_flags(const Driver& driver, CUcontext context, const WgradLayout& layout, void* workspace,
                       void* stream);

/// direct_wgrad on the flagged splits, whose ranges are the main kernel's.
LayerStep wgrad_repair_step(const ConvProblem& problem);
void launch_wgrad_repair(const Driver& driver, const Function& function, const ConvProblem& problem,
                         const Device& device, const ConvTensors& tensors, const WgradRanges& ranges,
                         const WgradLayout& layout, void* workspace, void* stream);

LayerStep reduce_wgrad_step(const ConvProblem& problem);
void launch_reduce_wgrad(const Driver& driver, const Function& function, const ConvProblem& problem,
                         const ConvTensors& tensors, const WgradLayout& layout, void* workspace, void* stream);

/// Whether a main kernel that computes chunks of `chunk_steps` may flag splits. 16-bit operands are exact; they need a
/// repair where zeros stand for samples or steps that do not exist.
bool wgrad_needs_repair(const ConvProblem& problem, std::int64_t chunk_steps);

/// The specs of launch_wgrad(), in its order.
std::vector<KernelSpec> wgrad_specs(KernelSpec main, const ConvProblem& problem, bool repair);

/// The whole launch, of the functions that wgrad_specs() names: `main` is the first one's shape and parameters.
template <typename Params>
void launch_wgrad(const LaunchFunctions& functions, const LaunchShape& main, const Params& params, bool repair,
                  const ConvProblem& problem, const Device& device, const ConvTensors& tensors,
                  const WgradRanges& ranges, const WgradLayout& layout, const LaunchContext& context) {
  const Driver& driver = functions.driver();
  if (repair) clear_wgrad_flags(driver, functions[0].context, layout, context.workspace, context.stream);
  launch(driver, functions[0], main, context.stream, params);
  if (repair)
    launch_wgrad_repair(driver, functions[1], problem, device, tensors, ranges, layout, context.workspace,
                        context.stream);
  launch_reduce_wgrad(driver, functions[repair ? 2 : 1], problem, tensors, layout, context.workspace, context.stream);
}

/// The gradients of an empty batch: zeros. Without a workspace.
void write_zero_gradients(const ConvProblem& problem, const Device& device, const ConvTensors& tensors,
                          const LaunchContext& context);

}  // namespace longconv::cuda
