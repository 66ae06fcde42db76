// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/pad_index.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace longconv {
namespace {

TEST(PadIndex, PyTorchsTables) {
  // torch.nn.functional.pad of [0 1 2 3] by (3, 2), written as sample indices.
  const struct {
    PadMode mode;
    std::vector<std::int64_t> expected;
  } rows[] = {
      {PadMode::zeros, {-1, -1, -1, 0, 1, 2, 3, -1, -1}},
      {PadMode::reflect, {3, 2, 1, 0, 1, 2, 3, 2, 1}},
      {PadMode::replicate, {0, 0, 0, 0, 1, 2, 3, 3, 3}},
      {PadMode::circular, {1, 2, 3, 0, 1, 2, 3, 0, 1}},
  };
  for (const auto& row : rows) {
    for (std::int64_t p = -3; p < 6; ++p)
      EXPECT_EQ(source_index(p, 4, row.mode), row.expected[p + 3]) << name(row.mode);
  }
}

/// All problems of small size that a mode allows.
template <class Function>
void for_each_padding(Function&& f) {
  for (const PadMode mode : {PadMode::zeros, PadMode::reflect, PadMode::replicate, PadMode::circular}) {
    for (std::int64_t length = 1; length <= 6; ++length) {
      const std::int64_t most = mode == PadMode::reflect ? length - 1 : mode == PadMode::circular ? length : 7;
      for (std::int64_t left = 0; left <= most; ++left) {
        for (std::int64_t right = 0; right <= most; ++right) {
          ConvProblem p;
          p.pad_mode = mode, p.length_samples = length, p.pad_left = left, p.pad_right = right;
          f(p);
        }
      }
    }
  }
}

TEST(PadIndex, PiecesAreTheIndexFunction) {
  for_each_padding([](const ConvProblem& p) {
    std::vector<std::int64_t> from_pieces(p.length_samples + p.pad_left + p.pad_right, -1);
    for (const PadPiece& piece : pad_pieces(p)) {
      for (std::int64_t at = piece.positions.begin; at < piece.positions.end; ++at) {
        EXPECT_EQ(from_pieces[at + p.pad_left], -1) << "pieces overlap";
        from_pieces[at + p.pad_left] = piece.source(at);
      }
    }
    for (std::int64_t at = -p.pad_left; at < p.length_samples + p.pad_right; ++at) {
      ASSERT_EQ(from_pieces[at + p.pad_left], source_index(at, p.length_samples, p.pad_mode)) << p.to_string();
    }
  });
}

TEST(PadIndex, PositionsReadingAreThePreimage) {
  for_each_padding([](const ConvProblem& p) {
    for (const PadPiece& piece : pad_pieces(p)) {
      for (std::int64_t begin = 0; begin <= p.length_samples; ++begin) {
        for (std::int64_t end = begin; end <= p.length_samples; ++end) {
          const Interval got = piece.positions_reading({begin, end});
          for (std::int64_t at = -p.pad_left; at < p.length_samples + p.pad_right; ++at) {
            const bool in_piece = piece.positions.begin <= at && at < piece.positions.end;
            const bool expected = in_piece && begin <= piece.source(at) && piece.source(at) < end;
            ASSERT_EQ(got.begin <= at && at < got.end, expected) << p.to_string() << " at " << at;
          }
        }
      }
    }
  });
}

TEST(PadIndex, OutputsReadingAreThePreimage) {
  for (std::int64_t stride = 1; stride <= 4; ++stride) {
    for (std::int64_t tap = -5; tap <= 5; ++tap) {
      for (std::int64_t begin = -4; begin <= 6; ++begin) {
        for (std::int64_t end = begin - 1; end <= 8; ++end) {
          const Interval got = outputs_reading({begin, end}, tap, stride, 5);
          for (std::int64_t t = 0; t < 5; ++t) {
            const std::int64_t at = t * stride + tap;
            ASSERT_EQ(got.begin <= t && t < got.end, begin <= at && at < end) << stride << " " << tap << " " << t;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace longconv
