// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/cp_async.cuh.
#pragma once

#include "ptx/shared_memory.cuh"

namespace longconv {
namespace ptx {

template <int Bytes>
inline void async_copy(uint32_t destination, const void* source, uint32_t valid_bytes = Bytes) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "cp.async moves 4, 8 or 16 bytes");
  longconv_emulator_services->async_copy(destination, source, Bytes, valid_bytes);
}
inline void async_commit() { longconv_emulator_services->async_commit(); }
template <int Pending>
inline void async_wait() {
  longconv_emulator_services->async_wait(Pending);
}

}  // namespace ptx
}  // namespace longconv
