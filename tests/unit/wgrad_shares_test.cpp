// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/wgrad_shares.h"

#include <gtest/gtest.h>

#include <queue>
#include <vector>

namespace longconv::cuda {
namespace {

struct Segment {
  std::int64_t tile, split, first, chunks;
};

/// As kernels/tile/wgrad_shares.cuh finds them.
Segment segment_of(const WgradShares& s, std::int64_t tiles, std::int64_t chunks, std::int64_t index) {
  const std::int64_t quota = s.order.quota, whole = s.order.whole;
  if (index < whole * tiles) return {index % tiles, index / tiles, index / tiles * quota, quota};
  index -= whole * tiles;
  const std::int64_t rest = chunks - whole * quota;
  const std::int64_t begin = index < s.order.shares ? index * quota : s.order.second[index - s.order.shares] * rest;
  const std::int64_t tile = begin / rest, end = std::min((begin / quota + 1) * quota, (tile + 1) * rest);
  return {tile, whole + begin / quota - tile * rest / quota, chunks - rest + begin - tile * rest, end - begin};
}

/// Every chunk of every tile is summed once, in splits that follow each other; blocks, begun in their order wherever
/// one has ended, end together.
TEST(WgradShares, CoverEveryTileOnceAndEndTogether) {
  for (const std::int64_t wanted : {1, 3, 8, 132}) {
    for (std::int64_t tiles = 1; tiles <= std::min(wanted, WgradShares::kMostTiles); tiles += tiles < 12 ? 1 : 7) {
      for (const std::int64_t chunks : {1, 2, 7, 100, 999, 2730, 100000}) {
        if (chunks * tiles < wanted) continue;
        const WgradShares s(tiles, chunks, wanted);
        std::vector<std::vector<std::int64_t>> ends(static_cast<std::size_t>(tiles));
        std::priority_queue<std::int64_t, std::vector<std::int64_t>, std::greater<>> busy;
        for (std::int64_t i = 0; i < wanted; ++i) busy.push(0);
        std::int64_t latest = 0;
        std::vector<Segment> by_split;
        for (std::int64_t index = 0; index < s.segments; ++index) {
          const Segment segment = segment_of(s, tiles, chunks, index);
          ASSERT_GT(segment.chunks, 0);
          ASSERT_LT(segment.split, s.splits);
          by_split.push_back(segment);
          const std::int64_t end = busy.top() + segment.chunks;
          busy.pop();
          busy.push(end);
          latest = std::max(latest, end);
        }
        std::stable_sort(by_split.begin(), by_split.end(), [](const Segment& a, const Segment& b) {
          return a.tile != b.tile ? a.tile < b.tile : a.split < b.split;
        });
        std::vector<std::int64_t> summed(static_cast<std::size_t>(tiles)), next(static_cast<std::size_t>(tiles));
        for (const Segment& segment : by_split) {
          const auto tile = static_cast<std::size_t>(segment.tile);
          ASSERT_EQ(segment.split, next[tile]++) << tiles << " tiles of " << chunks << " on " << wanted;
          ASSERT_EQ(segment.first, summed[tile]) << tiles << " tiles of " << chunks << " on " << wanted;
          summed[tile] += segment.chunks;
        }
        for (const std::int64_t sum : summed) ASSERT_EQ(sum, chunks);
        EXPECT_LE(latest, s.order.quota + s.order.quota / 10 + 1)
            << tiles << " tiles of " << chunks << " on " << wanted;
      }
    }
  }
}

}  // namespace
}  // namespace longconv::cuda
