// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/packed_weights.h"

namespace longconv::cuda {

void prepare_packed(const Driver& driver, const Function& packer, const TensorView& w, const PackedLayout& layout,
                    const PackedMemory& memory, void* stream, std::int64_t blocks, int threads) {
  if (!memory.must_pack) {
    if (layout.state_words() == 0) return;
    const ContextScope scope(driver, packer.context);
    driver.memset_d8_async(reinterpret_cast<CUdeviceptr>(memory.state), 0,
                           static_cast<std::size_t>(4 * layout.state_words()), static_cast<CUstream>(stream));
    return;
  }
  struct {
    const void* w;
    void *packed, *inverse, *flags;
    std::int64_t w_out, w_in, w_tap;
    void* state;
    std::int64_t state_words;
  } p{w.data,
      memory.packed + layout.weight_offset(),
      memory.packed + layout.inverse_offset(),
      memory.packed,
      w.strides[0],
      w.strides[1],
      w.strides[2],
      memory.state,
      layout.state_words()};
  LaunchShape shape;
  shape.blocks = blocks;
  shape.threads = threads;
  launch(driver, packer, shape, stream, p);
}

}  // namespace longconv::cuda
