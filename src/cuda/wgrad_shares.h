// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Equal shares of a weight gradient, one for each multiprocessor (stream-K with a data-parallel part; Osama et al.,
/// PPoPP 2023). Each tile's first chunks are a few whole shares, at the same times in all tiles, whose blocks thus read
/// the same samples side by side. What is left of all tiles, one tile's rest after the other's, is cut into shares
/// wherever the tiles' borders lie. A share that borders cut is several segments, of as many blocks: the first ones of
/// all shares come first, then the others, longest first, as each begins where a block has ended. A segment is a split
/// of its tile.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/dense_fprop_common.h"

namespace longconv::cuda {

struct WgradShares {
  static constexpr std::int64_t kMostTiles = 128;

  /// As in kernels/tile/wgrad_shares.cuh.
  struct Order {
    std::int64_t quota = 0;                ///< chunks of a share
    std::int32_t whole = 0, shares = 0;    ///< of each tile, within it; of what is left of all tiles
    std::uint8_t second[kMostTiles] = {};  ///< tiles whose rest begins within a share, longest part of it first
  } order;
  std::int64_t segments = 0;  ///< blocks
  std::int64_t splits = 0;    ///< most segments of a tile

  WgradShares() = default;
  /// `chunks` of each of `tiles` tiles, at most kMostTiles and `wanted` shares.
  WgradShares(std::int64_t tiles, std::int64_t chunks, std::int64_t wanted) {
    const std::int64_t quota = ceil_div(tiles * chunks, wanted), whole = chunks / quota, rest = chunks - whole * quota;
    order.quota = quota;
    order.whole = static_cast<std::int32_t>(whole);
    order.shares = static_cast<std::int32_t>(ceil_div(tiles * rest, quota));
    std::int64_t cut = 0;
    splits = whole;
    for (std::int64_t tile = 0; tile < tiles && rest > 0; ++tile) {
      splits = std::max(splits, whole + ((tile + 1) * rest - 1) / quota - tile * rest / quota + 1);
      if (tile * rest % quota != 0) order.second[cut++] = static_cast<std::uint8_t>(tile);
    }
    const auto part = [&](std::int64_t tile) { return std::min(rest, quota - tile * rest % quota); };
    // A launch does this too, so without the memory that a stable sort takes.
    std::sort(order.second, order.second + cut,
              [&](std::int64_t a, std::int64_t b) { return part(a) != part(b) ? part(a) > part(b) : a < b; });
    segments = whole * tiles + order.shares + cut;
  }
};

}  // namespace longconv::cuda
