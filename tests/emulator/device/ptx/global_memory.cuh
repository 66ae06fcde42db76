// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/global_memory.cuh.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

inline uint32_t load_streamed_or_zero(const float* p, bool wanted) { return wanted ? __float_as_uint(__ldg(p)) : 0; }
inline uint32_t load_streamed_or_zero(const bf16* p, bool wanted) { return wanted ? __ldg(p).bits : 0; }
inline uint32_t load_streamed_or_zero(const f16* p, bool wanted) { return wanted ? __ldg(p).bits : 0; }
inline void load_global_v4(uint32_t (&v)[4], const void* p) {
  const uint4 u = __ldg(static_cast<const uint4*>(p));
  v[0] = u.x, v[1] = u.y, v[2] = u.z, v[3] = u.w;
}

}  // namespace ptx
}  // namespace longconv
