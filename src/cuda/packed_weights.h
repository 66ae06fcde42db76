// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Where a launch's packed weights and its small state lie. Packed weights depend on the weights only, so a caller may
/// keep them (LaunchContext::packed_weights); the rest is rewritten by every launch.
///
///   packed: [flags: a word for each block of the packer][inverse scales, f32][weights in the kernel's order]
///   state:  [redo bits][a counter of drawn items, in kernels/tile/drawn_items.cuh]
///
/// each 256-byte aligned. The packer writes all of it, and clears the state: nothing is cleared before.
#pragma once

#include <cstdint>

#include "cuda/dense_fprop_common.h"

namespace longconv::cuda {

struct PackedLayout {
  std::int64_t flag_words = 0, inverse_bytes = 0, weight_bytes = 0, redo_tiles = 0, counters = 0;
  std::int64_t flag_bytes() const { return round_up(4 * flag_words, 256); }
  std::int64_t inverse_offset() const { return flag_bytes(); }
  std::int64_t weight_offset() const { return flag_bytes() + round_up(inverse_bytes, 256); }
  std::int64_t packed_bytes() const { return weight_offset() + round_up(weight_bytes, 256); }
  /// One bit a tile.
  std::int64_t redo_words() const { return ceil_div(redo_tiles, 32); }
  /// In the state.
  std::int64_t counter_offset() const { return 4 * redo_words(); }
  std::int64_t state_words() const { return redo_words() + counters; }
  std::int64_t workspace_bytes() const { return packed_bytes() + round_up(4 * state_words(), 256); }
};

/// The pointers of one launch.
struct PackedMemory {
  char *packed, *state;
  bool must_pack;
  PackedMemory(const PackedLayout& layout, const LaunchContext& context)
      : packed(static_cast<char*>(context.packed_weights != nullptr ? context.packed_weights : context.workspace)),
        state(static_cast<char*>(context.workspace) + (context.packed_weights != nullptr ? 0 : layout.packed_bytes())),
        must_pack(context.packed_weights == nullptr || !context.weights_are_packed) {}
  /// Of drawn items; null where the layout has none.
  void* counter(const PackedLayout& layout) const {
    return layout.counters > 0 ? state + layout.counter_offset() : nullptr;
  }
};

/// Packs the weights and clears the state: by `blocks` of `threads` of `packer`; every weight packer has the same
/// parameters. Where the caller has kept packed weights, the driver clears the state.
void prepare_packed(const Driver& driver, const Function& packer, const TensorView& w, const PackedLayout& layout,
                    const PackedMemory& memory, void* stream, std::int64_t blocks, int threads);

}  // namespace longconv::cuda
