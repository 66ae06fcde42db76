// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the emulated driver writes into a tensor map, and the emulated device reads from it.
#pragma once

#include <cstdint>

namespace longconv::emulator {

struct TensorMap {
  static constexpr std::uint64_t kMark = 0x74656e736f724d61;
  std::uint64_t mark = kMark;
  const unsigned char* base = nullptr;
  std::uint64_t sizes[3] = {};          ///< elements; the first dimension's lie one after the other
  std::uint64_t strides_bytes[3] = {};  ///< the first: an element
  std::uint32_t box[3] = {};
  std::uint32_t swizzled = 0;  ///< 128 bytes

  std::uint32_t box_bytes() const { return box[0] * box[1] * box[2] * static_cast<std::uint32_t>(strides_bytes[0]); }
};
static_assert(sizeof(TensorMap) <= 128, "as many bytes as the driver's");

}  // namespace longconv::emulator
