// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Copies of boxes of a tensor that a tensor map describes, from global to shared memory by the asynchronous proxy
/// (sm_90). What of a box lies outside the tensor arrives as zeros, and counts as bytes like the rest.
#pragma once

#include "ptx/types.cuh"

#if __CUDA_ARCH__ >= 900
namespace longconv {
namespace ptx {

/// As the driver's cuTensorMapEncodeTiled writes it. A kernel's parameter (__grid_constant__), used where it lies.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

/// The box of a map of three dimensions that begins at (c0, c1, c2), which may lie outside. c0, along the rows, is a multiple of
/// 16 bytes: anything else is an illegal instruction (seen on an H100, of every type and swizzle). `destination` is a multiple of 128 bytes (1024 where the map swizzles). Completes the box's bytes on the mbarrier. Issued by one thread.
__device__ __forceinline__ void tensor_load(uint32_t destination, const TensorMap& map, int c0, int c1, int c2, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(
          destination),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier)
      : "memory");
}

/// The same with a policy of the second-level cache (ptx/bulk_copy.cuh).
__device__ __forceinline__ void tensor_load(uint32_t destination, const TensorMap& map, int c0, int c1, int c2,
                                            uint32_t barrier, uint64_t l2_policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3, %4}], [%5], "
      "%6;" ::"r"(destination),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier), "l"(l2_policy)
      : "memory");
}

/// To every block of the cluster whose bit in `block_mask` is set: to the same offset, completing on the barrier
/// at the same offset, in each.
__device__ __forceinline__ void tensor_load_multicast(uint32_t destination, const TensorMap& map, int c0, int c1, int c2,
                                                      uint32_t barrier, uint16_t block_mask) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3, %4}], "
      "[%5], %6;" ::"r"(destination),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier), "h"(block_mask)
      : "memory");
}

__device__ __forceinline__ void tensor_load_multicast(uint32_t destination, const TensorMap& map, int c0, int c1, int c2,
                                                      uint32_t barrier, uint16_t block_mask, uint64_t l2_policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint [%0], [%1, "
      "{%2, %3, %4}], [%5], %6, %7;" ::"r"(destination),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier), "h"(block_mask), "l"(l2_policy)
      : "memory");
}

}  // namespace ptx
}  // namespace longconv
#endif
