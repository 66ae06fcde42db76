// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/packed_weights.h"

namespace longconv::cuda {

void prepare_packed(Compiler& compiler, const PolyphaseProblem& problem, const Device& device, const TensorView& w,
                    const PackedLayout& layout, const PackedMemory& memory, void* stream, std::int64_t blocks,
                    int threads, const std::function<KernelSpec()>& make_spec) {
  const bool clear_flags = memory.must_pack && (layout.reads_flags || memory.kept);
  if (clear_flags || layout.redo_bytes() > 0) {
    const ContextScope scope(compiler.driver(), compiler.context(device.ordinal));
    const auto clear = [&](char* data, std::int64_t bytes) {
      compiler.driver().memset_d8_async(reinterpret_cast<CUdeviceptr>(data), 0, static_cast<std::size_t>(bytes),
                                        static_cast<CUstream>(stream));
    };
    if (clear_flags) clear(memory.packed, PackedLayout::kFlagBytes);
    if (layout.redo_bytes() > 0) clear(memory.state, layout.redo_bytes());
  }
  if (!memory.must_pack) return;
  struct {
    const void* w;
    void *packed, *inverse, *flags;
    std::int64_t w_out, w_in, w_tap;
  } p{w.data,
      memory.packed + layout.weight_offset(),
      memory.packed + layout.inverse_offset(),
      memory.packed,
      w.strides[0],
      w.strides[1],
      w.strides[2]};
  LaunchShape shape;
  shape.blocks = blocks;
  shape.threads = threads;
  launch(compiler.driver(), compiler.get_function(device.ordinal, make_spec(), &problem.asked), shape, stream, p);
}

}  // namespace longconv::cuda
