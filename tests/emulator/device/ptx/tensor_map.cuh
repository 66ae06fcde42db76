// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/tensor_map.cuh. A map is what the emulated driver wrote (emulator/tensor_map.h).
#pragma once

#include "ptx/types.cuh"

#if __CUDA_ARCH__ >= 900
namespace longconv {
namespace ptx {

struct alignas(64) TensorMap {
  uint64_t words[16];
};

inline void tensor_load_multicast(uint32_t destination, const TensorMap& map, int c0, int c1, int c2, uint32_t barrier,
                                  uint16_t block_mask) {
  const int from[3] = {c0, c1, c2};
  longconv_emulator_services->tensor_load(destination, &map, from, barrier, block_mask);
}
inline void tensor_load(uint32_t destination, const TensorMap& map, int c0, int c1, int c2, uint32_t barrier) {
  tensor_load_multicast(destination, map, c0, c1, c2, barrier, 0);
}
inline void tensor_load_multicast(uint32_t destination, const TensorMap& map, int c0, int c1, int c2, uint32_t barrier,
                                  uint16_t block_mask, uint64_t) {
  tensor_load_multicast(destination, map, c0, c1, c2, barrier, block_mask);
}
inline void tensor_load(uint32_t destination, const TensorMap& map, int c0, int c1, int c2, uint32_t barrier, uint64_t) {
  tensor_load(destination, map, c0, c1, c2, barrier);
}

}  // namespace ptx
}  // namespace longconv
#endif
