// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace longconv::cuda {
namespace {

std::string hex_of(std::string_view text) { return to_hex(Sha256::of(text)); }

// The examples of FIPS 180-4 and of NIST's CAVS long message.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(hex_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex_of(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Every length around the block size and the padding's edge, whole and in two pieces cut anywhere.
TEST(Sha256, PiecesGiveTheSameAsTheWhole) {
  for (std::size_t length = 0; length <= 130; ++length) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += static_cast<char>(i * 37 + length);
    const std::string whole = hex_of(text);
    for (std::size_t cut = 0; cut <= length; ++cut) {
      Sha256 hash;
      hash.update(std::string_view(text).substr(0, cut));
      hash.update(std::string_view(text).substr(cut));
      ASSERT_EQ(to_hex(hash.finish()), whole) << "length " << length << " cut " << cut;
    }
  }
}

TEST(Sha256, FieldsDoNotRunTogether) {
  const auto of = [](std::string_view a, std::string_view b) {
    Sha256 hash;
    hash.update_field(a);
    hash.update_field(b);
    return hash.finish();
  };
  EXPECT_EQ(of("ab", "c"), of("ab", "c"));
  EXPECT_NE(of("ab", "c"), of("a", "bc"));
  EXPECT_NE(of("", "abc"), of("abc", ""));
}

}  // namespace
}  // namespace longconv::cuda
