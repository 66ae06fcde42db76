// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Forward weights in the order in which the microkernel reads them.
///
/// For each group and each block of its output channels (block_begin in tap_rows.h): one panel [row][channel of block],
/// rows in the order of ChainSplit. Converted to the accumulation type. All panels of `channels` output channels take
/// channels * rows elements, so a block that starts at output channel o of all starts at element o * rows.
#pragma once

#include "cpu/fprop_schedule.h"
#include "longconv/parallel.h"

namespace longconv::cpu {

template <class T>
struct WeightPanels {
  T* weights = nullptr;  ///< out_channels * rows
  T* bias = nullptr;     ///< out_channels; zeros without a bias
  /// Some weight is Inf or NaN: a padding zero must not meet it.
  bool non_finite = false;
};

/// Fills `panels.weights` and `panels.bias`, sets non_finite.
template <class T>
void pack_weights(const ConvProblem& problem, const ChainSplit& chains, const IsaTable& table,
                  const ConvTensors& tensors, Parallel& parallel, WeightPanels<T>& panels);

}  // namespace longconv::cpu
