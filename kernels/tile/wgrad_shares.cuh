// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Which segment of which tile a block sums, where the reduction of all tiles is cut into equal shares
// (src/cuda/wgrad_shares.h).
#pragma once
#include "ptx/shared_memory.cuh"
#include "tile/common.cuh"

struct ShareOrder {
  int64_t quota;        // chunks of a share
  int whole, shares;    // shares of each tile that lie within it; shares of what is left of all tiles
  uint8_t second[128];  // tiles whose rest begins within a share, longest part of it in that share first
};

// A block's segment, in shared memory: 16 bytes.
struct Segment {
  static constexpr int kBytes = 16;
  int tile, split, first, chunks;  // split: of its tile; first: chunk of the tile
  bool last;                       // of its tile

  // chunks_of_tile: chunks of each of `tiles` tiles.
  LC_DEVICE Segment(const ShareOrder& order, int64_t chunks_of_tile, int tiles, int index) {
    if (index < order.whole * tiles) {
      tile = index % tiles, split = index / tiles;
      first = static_cast<int>(split * order.quota), chunks = static_cast<int>(order.quota);
      last = first + chunks == chunks_of_tile;
      return;
    }
    index -= order.whole * tiles;
    const int64_t rest = chunks_of_tile - order.whole * order.quota;
    const int64_t begin = index < order.shares ? index * order.quota : order.second[index - order.shares] * rest;
    tile = static_cast<int>(begin / rest);
    const int64_t share = begin / order.quota, tile_begin = tile * rest, tile_end = tile_begin + rest;
    const int64_t end = min((share + 1) * order.quota, tile_end);
    split = order.whole + static_cast<int>(share - tile_begin / order.quota);
    first = static_cast<int>(chunks_of_tile - rest + begin - tile_begin), chunks = static_cast<int>(end - begin);
    last = end == tile_end;
  }
  LC_DEVICE explicit Segment(uint32_t shared) {
    const uint4 v = load_shared_v4(shared);
    tile = static_cast<int>(v.x), split = static_cast<int>(v.y), first = static_cast<int>(v.z), chunks = static_cast<int>(v.w >> 1);
    last = v.w & 1;
  }
  LC_DEVICE void store(uint32_t shared) const {
    store_shared_v4(shared, static_cast<uint32_t>(tile), static_cast<uint32_t>(split), static_cast<uint32_t>(first), static_cast<uint32_t>(chunks) << 1 | (last ? 1u : 0u));
  }
};
