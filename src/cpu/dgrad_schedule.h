// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// How the data gradient is cut. In positions u = s + pad_left of the extended signal,
///   dxpad[u] = sum_{o,k} w[o,i,k] * dy[o, (u - k * dilation) / stride]   over the taps k that divide.
///
/// Taps fall into classes by k * dilation modulo the stride: class i holds the taps k = i + j * cycle with
/// cycle = stride / gcd(stride, dilation), i < min(cycle, kernel_size), and reaches the positions u = stride * q +
/// residue(i):
///   dxpad[stride * q + residue(i)] = sum_{o,j} w[o, i + j * cycle] * dy[o, q - shift(i) - j * gap]
/// Each class is a dense convolution of dy at unit stride; nothing is multiplied with inserted zeros.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/tap_rows.h"
#include "longconv/plan.h"

namespace longconv::cpu {

struct TapClasses {
  std::int64_t taps = 1, stride = 1, dilation = 1;
  std::int64_t cycle = 1;        ///< taps i and i + cycle are of one class
  std::int64_t gap_samples = 1;  ///< and lie this far apart in dy
  std::int64_t count = 1;        ///< classes that have taps

  std::int64_t residue(std::int64_t i) const { return i * dilation % stride; }
  std::int64_t shift(std::int64_t i) const { return i * dilation / stride; }
  std::int64_t taps_of(std::int64_t i) const { return (taps - i + cycle - 1) / cycle; }
  /// Members j of the longest class.
  std::int64_t members() const { return (taps + cycle - 1) / cycle; }
};
TapClasses make_tap_classes(const ConvProblem& problem);

/// Rows of dy that are packed at once: output channels x members of every class. Terms (o, j) of one class and one
/// block, o outermost, are cut into chains (ChainTree).
struct DgradBlock {
  std::int64_t first_output, outputs;  ///< within the group
  std::int64_t first_member, members;

  /// Members of class i in the block.
  std::int64_t members_of(const TapClasses& c, std::int64_t i) const {
    return std::clamp<std::int64_t>(c.taps_of(i) - first_member, 0, members);
  }
  /// Terms before class i's: of the group's earlier blocks, and of the block's earlier classes.
  std::int64_t first_term(const TapClasses& c, std::int64_t i) const {
    const std::int64_t begin = first_member * c.cycle, taps = std::min(c.taps, begin + members * c.cycle) - begin;
    const std::int64_t earlier_classes = taps / c.cycle * i + std::min(i, taps % c.cycle);
    return first_output * c.taps + outputs * (begin + earlier_classes);
  }
};

/// How the terms of one class and one block are added: terms into chains, chains into subtotals, these into the total.
/// A large block has several subtotals; a subtotal of small ones is of several blocks.
struct ChainTree {
  std::int64_t terms = 0, chains = 0, subtotals = 0;
  bool opens = true;         ///< the first subtotal begins here, not in an earlier block
  bool closes = true;        ///< the last subtotal goes into the total here, not in a later block
  bool total_begun = false;  ///< earlier blocks have stored a total

  /// First term of a chain; first chain of a subtotal. The index may be the number of them.
  std::int64_t first_term(std::int64_t chain) const { return block_begin(terms, chains, chain); }
  std::int64_t first_chain(std::int64_t subtotal) const { return block_begin(chains, subtotals, subtotal); }
};

/// Tuning parameters; values in a Config.
struct DgradTuning {
  std::int64_t time_samples = 480;      ///< "time": wanted samples of dy that a tile advances
  std::int64_t pack_bytes = 192 << 10;  ///< "pack_kib": wanted size of the packed rows
  bool non_temporal = false;            ///< "stream": stores bypass the caches

  Config config() const;
  static DgradTuning from(const Config& config);
};

struct DgradSchedule {
  TapClasses classes;
  std::int64_t outputs_per_block = 1, members_per_block = 1;
  std::int64_t output_blocks = 1, member_blocks = 1;
  std::int64_t most_chain_terms = 64, most_subtotal_chains = 1, blocks_per_subtotal = 1;
  std::int64_t tile_samples = 1;                              ///< positions u of a tile
  std::int64_t tiles = 1;                                     ///< of length_samples
  std::int64_t slot_samples = 1;                              ///< most positions of one class in a tile
  std::int64_t slots = 1;                                     ///< most classes that meet a tile
  std::int64_t panels = 1, panels_per_slice = 1, slices = 1;  ///< blocks of result channels in a group; of a task
  std::int64_t row_pitch = 0;                                 ///< elements from one packed output channel to the next
  std::int64_t sum_pitch = 0;       ///< elements from one channel's sums of a class to the next
  std::int64_t tile_pitch = 0;      ///< elements from one channel's finished positions to the next
  std::int64_t panel_channels = 1;  ///< most channels of a panel
  std::int64_t tasks = 1;
  std::int64_t weight_bytes = 0;  ///< packed weights, then bias; shared
  std::int64_t bias_bytes = 0;    ///< of these, the bias
  std::int64_t worker_bytes = 0;
  int workers = 1;

  std::int64_t blocks() const { return output_blocks * member_blocks; }
  DgradBlock block(std::int64_t index, std::int64_t group_outputs) const {
    const std::int64_t o = index / member_blocks * outputs_per_block, j = index % member_blocks * members_per_block;
    return {o, std::min(outputs_per_block, group_outputs - o), j, std::min(members_per_block, classes.members() - j)};
  }
  /// Of the `terms` of a class in block `index`. A block without terms of the class may have to close a subtotal: it
  /// has an empty chain.
  ChainTree chain_tree(std::int64_t index, std::int64_t terms) const {
    const std::int64_t chains = block_count(terms, most_chain_terms), next = index + 1;
    if (blocks_per_subtotal == 1) {
      return {terms, chains, block_count(chains, most_subtotal_chains), true, true, index > 0};
    }
    return {terms,
            std::max<std::int64_t>(chains, 1),
            1,
            index % blocks_per_subtotal == 0,
            next % blocks_per_subtotal == 0 || next == blocks(),
            index >= blocks_per_subtotal};
  }
  std::int64_t workspace_bytes() const { return weight_bytes + workers * worker_bytes; }
};

DgradSchedule make_dgrad_schedule(const ConvProblem& problem, const Device& device, const DgradTuning& tuning);

/// Elements of a channel's packed rows: one segment that all taps of a block share, or one for each tap where that is
/// less (long gaps). `slot_samples` positions of each class are readable in whole vectors.
struct DyRows {
  bool shared = true;
  std::int64_t segment_samples = 0;
  std::int64_t segment_pitch = 0;
  std::int64_t pitch = 0;  ///< of a channel
};
DyRows make_dy_rows(const TapClasses& classes, std::int64_t members, std::int64_t slot_samples, std::int64_t slots,
                    std::int64_t element_bytes);

/// One worker's memory.
template <class T>
struct DgradScratch {
  struct Slot {
    std::int64_t tap_class, first_q, count;
  };
  T* rows;                ///< [outputs_per_block][row_pitch]
  std::int32_t* offsets;  ///< [terms of a block]
  T* sums;                ///< [panels waiting][slots][panel_channels][sum_pitch]
  T* subtotals;           ///< the same if they wait for further blocks, else of one class and panel
  T* tile;                ///< [panel_channels][tile_pitch]
  T* folded;              ///< the same, with a padding mode that reads the signal
  T* residual_row;
  void* out_rows;
  Slot* slots;

  DgradScratch(const ConvProblem& problem, const DgradSchedule& schedule, void* base, std::int64_t* bytes = nullptr);
};

Estimate estimate_dgrad(const ConvProblem& problem, const Device& device, const DgradTuning& tuning);

void run_dgrad(const ConvProblem& problem, const Device& device, const DgradTuning& tuning, const ConvTensors& tensors,
               const LaunchContext& context);

/// What the two kernels of the pass have in common.
class DgradKernel : public Kernel {
 public:
  Support supports(const ConvProblem& problem, const Device& device) const override;
  std::vector<Config> configs(const ConvProblem& problem, const Device& device) const override;
  Estimate estimate(const ConvProblem& problem, const Config& config, const Device& device) const override;
  std::int64_t workspace_bytes(const ConvProblem& problem, const Config& config, const Device& device) const override;
  void launch(const ConvProblem& problem, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override;

 protected:
  virtual DgradTuning tuning(const ConvProblem& problem) const = 0;
};

}  // namespace longconv::cpu
