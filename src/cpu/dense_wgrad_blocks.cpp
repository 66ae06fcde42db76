// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/dense_wgrad.h"
#include "problem/checked.h"

namespace longconv::cpu {
namespace {

/// Sums of a block in double, the x rows of a tile and the transposed dy together fit a second-level cache of 512 KiB.
constexpr std::int64_t kSumsPerBlock = 12288;
constexpr std::int64_t kXRowsBytes = std::int64_t{256} << 10;
constexpr std::int64_t kTileBytes = 768;  ///< of one channel of dy: 192 samples in float
constexpr std::int64_t kMaxRows = 64;
constexpr std::int64_t kMinTilesPerChunk = 8;

/// Size of the pieces when `total` is cut evenly into pieces of at most `most`.
std::int64_t even_piece(std::int64_t total, std::int64_t most) { return ceil_div(total, ceil_div(total, most)); }

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return ceil_div(value, multiple) * multiple; }

std::int64_t element_bytes(const ConvProblem& p) { return p.dtype == DType::f64 ? 8 : 4; }

std::int64_t x_rows_bytes(const ConvProblem& p, const DenseWgradBlocks& b) {
  const TapRows rows =
      p.dtype == DType::f64 ? dense_wgrad_rows<double>(p, b, b.taps) : dense_wgrad_rows<float>(p, b, b.taps);
  return b.tiles.rows * rows.channel_pitch * element_bytes(p);
}

}  // namespace

Config dense_wgrad_config(const ConvProblem& p, std::int64_t lanes) {
  const std::int64_t outputs = p.out_channels_per_group(), inputs = p.in_channels_per_group();
  DenseWgradBlocks b;
  // One vector of outputs (slower by about a sixth) where two would idle more than that.
  const bool narrow = 5 * round_up(outputs, lanes) < 4 * round_up(outputs, 2 * lanes);
  b.width = narrow ? lanes : 2 * lanes;
  // With few products a sample of dy, larger blocks of outputs spare reading x again.
  const std::int64_t most_outputs = inputs * p.kernel_size >= 192 ? 64 : 128;
  b.outputs = round_up(even_piece(outputs, most_outputs), b.width);
  const std::int64_t most_products = std::max<std::int64_t>(1, kSumsPerBlock / b.outputs);
  b.taps = even_piece(p.kernel_size, most_products);
  b.tiles = make_time_tiles(p.batch, p.out_length(), kTileBytes / element_bytes(p), kMaxRows);
  while (b.tiles.rows > 4 && x_rows_bytes(p, b) * 16 > kXRowsBytes) b.tiles.rows /= 2;
  while (b.taps > 1 && x_rows_bytes(p, b) > kXRowsBytes) b.taps = ceil_div(b.taps, 2);  // taps far apart
  const std::int64_t affordable = std::max<std::int64_t>(1, kXRowsBytes / x_rows_bytes(p, b));
  b.inputs = even_piece(inputs, std::min(affordable, most_products / b.taps));
  return Config{{{"oc", b.outputs},
                 {"ic", b.inputs},
                 {"taps", b.taps},
                 {"width", b.width},
                 {"rows", b.tiles.rows},
                 {"time", kTileBytes / element_bytes(p)}}};
}

DenseWgradBlocks dense_wgrad_blocks(const ConvProblem& p, const Config& config) {
  DenseWgradBlocks b;
  b.outputs = config.get("oc");
  b.inputs = config.get("ic");
  b.taps = config.get("taps");
  b.width = config.get("width");
  b.output_blocks = ceil_div(p.out_channels_per_group(), b.outputs);
  b.input_blocks = ceil_div(p.in_channels_per_group(), b.inputs);
  b.tap_blocks = ceil_div(p.kernel_size, b.taps);
  b.tiles = make_time_tiles(p.batch, p.out_length(), config.get("time"), config.get("rows"));
  const std::int64_t blocks = p.groups * b.blocks_per_group();
  b.chunks = choose_chunks(blocks, b.tiles.count, kMinTilesPerChunk,
                           blocks * b.sums_per_block() * static_cast<std::int64_t>(sizeof(double)));
  return b;
}

}  // namespace longconv::cpu
