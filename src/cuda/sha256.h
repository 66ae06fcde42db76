// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// SHA-256 (FIPS 180-4), for the keys and checksums of the cubin cache. Of our own, because a cryptographic library
/// would be the core's only dependency for these few lines; cryptographic, because two kernels that share a key would
/// silently run one in place of the other: a collision must be out of the question, not only unlikely.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace longconv::cuda {

class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;

  void update(const void* data, std::size_t size_bytes);
  void update(std::string_view text) { update(text.data(), text.size()); }
  /// A field of a record: its length, then its bytes, so that ("ab","c") and ("a","bc") differ.
  void update_field(std::string_view text);
  /// Ends the message; the object is used up.
  Digest finish();

  static Digest of(std::string_view text);

 private:
  void compress(const std::uint8_t* block);
  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> buffer_{};
  std::uint64_t size_bytes_ = 0;
};

/// Lower-case hexadecimal.
std::string to_hex(const Sha256::Digest& digest);

}  // namespace longconv::cuda
