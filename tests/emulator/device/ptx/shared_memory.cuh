// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/shared_memory.cuh. Every access is checked: inside the launch's shared memory, aligned.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

inline uint32_t shared_address(const void* pointer) { return longconv_emulator_services->shared_address(pointer); }

inline uint32_t load_shared_u16(uint32_t address) { return emulator::load<uint16_t>(address); }
inline uint32_t load_shared_u32(uint32_t address) { return emulator::load<uint32_t>(address); }
inline float load_shared_f32(uint32_t address) { return emulator::load<float>(address); }
inline uint4 load_shared_v4(uint32_t address) { return emulator::load<uint4>(address); }

inline void store_shared_u16(uint32_t address, uint32_t value) { emulator::store(address, (uint16_t)value); }
inline void store_shared_u32(uint32_t address, uint32_t value) { emulator::store(address, value); }
inline void store_shared_f32(uint32_t address, float value) { emulator::store(address, value); }
inline void store_shared_v2(uint32_t address, float x, float y) { emulator::store(address, float2{x, y}); }
inline void store_shared_v4(uint32_t address, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
  emulator::store(address, uint4{x, y, z, w});
}

}  // namespace ptx
}  // namespace longconv
