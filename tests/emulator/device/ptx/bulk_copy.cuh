// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/bulk_copy.cuh. Cache policies are accepted and ignored.
#pragma once

#include "ptx/shared_memory.cuh"

#if __CUDA_ARCH__ >= 900
namespace longconv {
namespace ptx {

inline uint64_t l2_evict_first() { return 1; }
inline uint64_t l2_evict_last() { return 2; }

inline void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier) {
  longconv_emulator_services->bulk_load(destination, source, bytes, barrier, 0);
}
inline void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier, uint64_t) {
  bulk_load(destination, source, bytes, barrier);
}
inline void bulk_load_multicast(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier,
                                uint16_t block_mask) {
  longconv_emulator_services->bulk_load(destination, source, bytes, barrier, block_mask);
}
inline void bulk_store(void* destination, uint32_t source, uint32_t bytes) {
  longconv_emulator_services->bulk_store(destination, source, bytes);
}
inline void bulk_store(void* destination, uint32_t source, uint32_t bytes, uint64_t) {
  bulk_store(destination, source, bytes);
}
inline void bulk_commit() { longconv_emulator_services->bulk_commit(); }
template <int Pending>
inline void bulk_wait_read() {
  longconv_emulator_services->bulk_wait(Pending);
}
template <int Pending>
inline void bulk_wait() {
  longconv_emulator_services->bulk_wait(Pending);
}
inline void bulk_prefetch(const void*, uint32_t) {}

}  // namespace ptx
}  // namespace longconv
#endif
