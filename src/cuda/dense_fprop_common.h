// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the dense launchers of fprop and dgrad share: the parameters of kernels/tile/schedule.cuh, the geometry of
/// packed rows (kernels/tile/pack_order.cuh), and the repair passes by kernels/conv/direct_fprop.cuh.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "cuda/cuda_kernel.h"
#include "cuda/polyphase_problem.h"
#include "longconv/error.h"

namespace longconv::cuda {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// As FpropParams in kernels/tile/schedule.cuh, for every element type.
struct FpropParams {
  const void* x;
  const void* weights;
  void* y;
  const void* bias;
  const void* residual;
  std::int64_t x_batch, x_channel, x_time, y_batch, y_channel, residual_batch, residual_channel;
  std::int64_t length, out_length, pad_left;
  std::int32_t batch, groups;
  float negative_slope;
};

/// As PackOrder's geometry: rows of packed time for one tap group, by residue of the stride.
struct PackGeometry {
  std::int64_t planes, plane_rows, raw_needed, stride;
  PackGeometry(std::int64_t span, std::int64_t taps, std::int64_t stride, std::int64_t dilation);
  PackGeometry(std::int64_t span, std::int64_t taps, const PolyphaseProblem& problem);
  std::int64_t chunk_rows() const { return planes * plane_rows; }
  /// PackOrder::kSteps, of 32 rows.
  std::int64_t steps() const {
    return stride > 1 && planes == stride ? ceil_div(raw_needed, 32) : ceil_div(plane_rows, 32) * planes;
  }
};

/// Columns of a phase's accumulators: the widest tile of wgmma of which all phases together have at most `most`; 0:
/// none.
std::int64_t phase_columns(const PolyphaseProblem& problem, std::int64_t most);
/// RowStore::kPhaseStep in kernels/tile/store_rows.cuh. full: tiles advance by their whole width.
std::int64_t phase_step(const PolyphaseProblem& problem, std::int64_t columns, bool full);
/// What wgmma with so few columns keeps of its rate: both operands come from shared memory.
inline double narrow_rate(std::int64_t columns) {
  const auto n = static_cast<double>(columns);
  return n >= 64 ? 1.0 : 2 * n / (64 + n);
}
/// Store of kernels/tile/store_rows.cuh. aligned: the output's rows begin on 16-byte boundaries.
std::int64_t store_code(const PolyphaseProblem& problem, bool full, bool aligned, std::int64_t stage_rows);
/// Bytes of a row that is staged on its way out, as RowStore::kPitchBytes there.
std::int64_t stage_pitch_bytes(std::int64_t phases, std::int64_t columns, std::int64_t element_bytes);
/// Fewest products of a sum that two f16 planes compute within c(n) (docs/design/numerics.md).
constexpr std::int64_t kFewestSplitProducts = 16;
/// Refuses fp32 sums of fewer; ok otherwise.
Support supports_split(const PolyphaseProblem& problem);
/// Taps that a group may have, most first: all, or an even part of them, of whole periods, of about each
/// of `sizes`.
std::vector<std::int64_t> tap_groups(const PolyphaseProblem& problem, std::initializer_list<std::int64_t> sizes);

/// Shared memory that a block may opt in to on Hopper.
constexpr std::int64_t kHopperSharedBytes = 232448;

/// Hopper's packers gather element by element what bulk copies of whole rows would not serve: strides so large that a
/// raw window would be mostly samples nobody needs, and signals whose time stride is not 1. Without `x`: a dense one.
bool gathers(const PolyphaseProblem& problem);
bool gathers(const PolyphaseProblem& problem, const TensorView& x);

/// LC_IN_CHANNELS ... LC_RESIDUAL: the definitions every kernel of these passes takes.
std::vector<Define> problem_defines(const PolyphaseProblem& problem);
/// Whether every row of the output is whole vectors of 16 bytes, which Hopper's tiles can store from registers.
bool has_aligned_rows(const PolyphaseProblem& problem, const TensorView& y);
/// Pointers, strides and sizes of a launch. `tensors`: of polyphase_tensors().
FpropParams make_params(const PolyphaseProblem& problem, const ConvTensors& tensors);

/// The reasons that every dense kernel of a pass shares: the pass, on CUDA, a real floating dtype, sizes that an item
/// index and a compile-time constant can hold.
Support supports_dense(const ConvProblem& problem, Pass pass, const Device& device);
/// Throws Error for layouts that only the direct kernel writes: an output whose time stride is not 1, a residual that
/// is the output itself where a repair pass would add it twice.
void check_layout(const PolyphaseProblem& problem, const ConvTensors& tensors, bool repairs);

/// Parameters of a Hopper kernel; mirrors kernels/tile/drawn_items.cuh.
struct HopperParams : FpropParams {
  void* drawn;  ///< null: equal shares
};
/// What the blocks of a persistent Hopper launch do (Schedule in kernels/tile/schedule.cuh): items are tiles, or a
/// tile's passes over output channels. One block for each multiprocessor, or fewer where there is less work; whole
/// clusters.
struct HopperItems {
  std::int64_t tiles_per_row, count;
  LaunchShape shape;
  HopperItems(const PolyphaseProblem& problem, std::int64_t step, std::int64_t items_per_tile,
              std::int64_t cluster_blocks, const Device& device);
  /// Whether blocks draw most of their items: they have many, and none of them must keep step with another.
  bool draws() const { return shape.cluster_blocks == 1 && count > kFew * shape.blocks; }
  /// Whether blocks have so few that another launch for their repair would cost as much.
  bool repairs_itself() const { return shape.cluster_blocks == 1 && !draws(); }

 private:
  static constexpr std::int64_t kFew = 6;
};
/// Shared memory for drawn items. The look-ahead of raw rows (units, and units of an item) and of weights (stages, and
/// stages of an item), and slots of packed rows (of the block, of an item).
std::int64_t drawn_items_bytes(std::int64_t raw_units, std::int64_t units, std::int64_t weight_stages,
                               std::int64_t item_stages, std::int64_t slots, std::int64_t item_slots);

/// Blocks that may share what they load of the weights: pairs, where L2 would deliver many to each. Where x stays in
/// shared memory, or weights are few, drawing tiles is worth more.
std::vector<std::int64_t> cluster_sizes(const PolyphaseProblem& problem, std::int64_t resident);

/// Whether the environment's LONGCONV_CUDA_CANDIDATES asks for longer lists, to measure the planner.
bool lists_more_candidates();
/// The first `count` configs that differ, quickest first; more where the environment's LONGCONV_CUDA_CANDIDATES asks
/// for them, to measure the planner. `found`: expected seconds and config.
std::vector<Config> quickest(std::vector<std::pair<double, Config>> found, std::size_t count);

/// Adds the `count` quickest of `tried` to `found`; three times as many with LONGCONV_CUDA_CANDIDATES.
void keep_quickest(std::vector<std::pair<double, Config>>& tried, std::size_t count,
                   std::vector<std::pair<double, Config>>& found);

/// Peak rates that estimates use, from the device's plain values; calibrated on an H100 (docs/design/gpu-engine.md).
struct Rates {
  double bytes_per_second, tensor_flops_per_second;  // 16-bit, dense; TF32 half of it
  explicit Rates(const Device& device);
};

/// What a launch costs beyond its work: the packing of weights, the kernel and its repairs.
constexpr double kLaunchSeconds = 10e-6;

/// For rows that turn out not to begin on 16 bytes, a Hopper tile that stores directly gives some of its rings' memory
/// to staging; weights are packed alike.
template <class Geometry, class Tile>
Tile with_staging(const PolyphaseProblem& problem, Tile t, bool gather) {
  if (t.stage_rows > 0 || !t.full) return t;
  t.stage_rows = 4;
  while (!Geometry(problem, t, gather).fits) {
    if (t.raw_stages > 1) {
      --t.raw_stages;
    } else if (!t.stationary && t.w_stages > 2) {
      --t.w_stages;
    } else if (t.resident) {
      t.resident = 0;
      t.slots = 4;
    } else if (t.slots > 2) {
      --t.slots;
    } else {
      break;
    }
  }
  return t;
}

/// A repair by the direct kernel of what a tensor-core kernel cannot do exactly.
struct Repair {
  int mode = 0;  ///< LC_MODE of kernels/conv/direct_fprop.cuh
  const void* redo = nullptr;
  const void* flags = nullptr;
  std::int64_t flag_words = 0;
  std::int64_t redo_step = 1, redo_span = 1, redo_tiles = 1;
};
KernelSpec direct_spec(const PolyphaseProblem& problem, int mode);
/// LC_ELEMENT of kernels/conv/direct_fprop.cuh.
std::int64_t direct_element_code(DType dtype);
/// `function`: of direct_spec(problem, repair.mode).
void launch_direct(const Driver& driver, const Function& function, const PolyphaseProblem& problem,
                   const Device& device, const ConvTensors& tensors, void* stream, const Repair& repair);

}  // namespace longconv::cuda
