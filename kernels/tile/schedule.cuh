// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Which tiles a persistent block does, in which order; and the parameters every dense forward kernel takes.
#pragma once
#include "tile/common.cuh"
#include "tile/divisor.cuh"

template <class Element> struct FpropParams {
  const Element* x;
  const uint8_t* weights;  // packed by pack_weights.cuh in the order of consumption
  Element* y;
  const Element* bias;
  const Element* residual;
  int64_t x_batch, x_channel, x_time;  // strides in elements
  int64_t y_batch, y_channel;
  int64_t residual_batch, residual_channel;
  int64_t length, out_length, pad_left;
  int batch, groups;
  float negative_slope;
};

// A tile of time of one (batch, group): all output-channel passes (kResident) or one.
struct Item {
  int batch, group, tile, pass;
};

// C: kStep (time steps between tiles), kPasses, kResident (x stays for all passes), kCluster (blocks that share weights:
// they do neighbouring tiles in the same pass, in step; the last of an odd number of tiles is done twice, with equal results).
template <class C> struct Schedule {
  static constexpr int kItemsPerTile = C::kResident ? 1 : C::kPasses, kPassesPerItem = C::kResident ? C::kPasses : 1;
  int tiles_per_row, tiles, groups, begin, end, step;
  Divisor by_row;
  template <class P>
  LC_DEVICE explicit Schedule(const P& p)
      : tiles_per_row(static_cast<int>((p.out_length + C::kStep - 1) / C::kStep)), groups(p.groups), by_row(tiles_per_row) {
    tiles = tiles_per_row * p.batch * p.groups;
    begin = blockIdx.x / C::kCluster;
    end = (tiles + C::kCluster - 1) / C::kCluster * kItemsPerTile;
    step = gridDim.x / C::kCluster;
  }
  LC_DEVICE Item item(int index) const {
    int tile = index / kItemsPerTile;
    if (C::kCluster > 1) tile = min(tile * C::kCluster + static_cast<int>(blockIdx.x % C::kCluster), tiles - 1);
    int column;
    const int row = by_row.divide(tile, column), batch = groups == 1 ? row : row / groups;
    return {batch, row - batch * groups, column, C::kResident ? 0 : index % kItemsPerTile};
  }
};
