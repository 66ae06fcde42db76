// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Where a launch's packed weights and its small state lie. Packed weights depend on the weights only, so a caller may
/// keep them (LaunchContext::packed_weights); the rest is rewritten by every launch.
///
///   packed: [flags: 256 bytes][inverse scales, f32, 256-byte aligned][weights in the kernel's order]
///   state:  [redo bits]
#pragma once

#include <cstdint>
#include <functional>

#include "cuda/dense_fprop_common.h"

namespace longconv::cuda {

struct PackedLayout {
  std::int64_t inverse_bytes = 0, weight_bytes = 0, redo_tiles = 0;
  bool reads_flags = true;  ///< something in the launch asks for them; else they are cleared for later launches only
  static constexpr std::int64_t kFlagBytes = 256;
  std::int64_t inverse_offset() const { return kFlagBytes; }
  std::int64_t weight_offset() const { return kFlagBytes + round_up(inverse_bytes, 256); }
  std::int64_t packed_bytes() const { return weight_offset() + round_up(weight_bytes, 256); }
  /// One bit a tile, in words of 32.
  std::int64_t redo_bytes() const { return redo_tiles == 0 ? 0 : round_up(ceil_div(redo_tiles, 32) * 4, 256); }
  std::int64_t workspace_bytes() const { return packed_bytes() + redo_bytes(); }
};

/// The pointers of one launch.
struct PackedMemory {
  char *packed, *state;
  bool must_pack, kept;
  PackedMemory(const PackedLayout& layout, const LaunchContext& context)
      : packed(static_cast<char*>(context.packed_weights != nullptr ? context.packed_weights : context.workspace)),
        state(static_cast<char*>(context.workspace) + (context.packed_weights != nullptr ? 0 : layout.packed_bytes())),
        must_pack(context.packed_weights == nullptr || !context.weights_are_packed),
        kept(context.packed_weights != nullptr) {}
};

/// Clears what a launch only sets bits in (flags, redo bits), and packs the weights unless the caller has kept them: by
/// `blocks` of `threads` of the kernel that `make_spec` names, whose parameters every weight packer shares.
void prepare_packed(Compiler& compiler, const PolyphaseProblem& problem, const Device& device, const TensorView& w,
                    const PackedLayout& layout, const PackedMemory& memory, void* stream, std::int64_t blocks,
                    int threads, const std::function<KernelSpec()>& make_spec);

}  // namespace longconv::cuda
