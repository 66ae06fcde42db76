// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/fprop_schedule.h"

#include <algorithm>
#include <cmath>

#include "problem/checked.h"

namespace longconv::cpu {
namespace {

// Terms of a chain: the taps of 16 channels within these limits, more for sums so long that adding up the chains would
// round more than the chains do.
constexpr std::int64_t kChainChannels = 16, kShortChain = 32, kChain = 64, kLongestChain = 512;
constexpr std::int64_t kMaxBlockRows = 4096;  // offsets of a packed block: 16 KiB
constexpr std::int64_t kSmallestScratch = 64 << 10;

std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return ceil_div(n, multiple) * multiple; }
std::int64_t line_bytes(std::int64_t bytes) { return round_up(bytes, kRowAlignBytes); }

/// All block shapes of the microkernel step through a multiple of this many samples.
std::int64_t step_samples(int lanes) { return 6 * lanes; }

struct Sizes {
  const ConvProblem& problem;
  std::int64_t element_bytes;  // of the accumulation type

  std::int64_t channel_bytes(const ChainSplit& chains, std::int64_t pieces, std::int64_t time) const {
    // Pieces differ by at most one tap; any `pieces` of them have at most as many taps as so many of the longest.
    const std::int64_t taps = std::min(chains.taps, pieces * ceil_div(chains.taps, chains.tap_pieces));
    return make_tap_rows(taps, problem.stride, problem.dilation, time, element_bytes).channel_pitch * element_bytes;
  }
};

/// Largest blocks within `pack_bytes`; at least one chain.
void choose_blocks(const Sizes& sizes, std::int64_t pack_bytes, FpropSchedule& s) {
  const ChainSplit& chains = s.chains;
  const std::int64_t chunk = chains.channels_per_chunk;
  const std::int64_t whole = chunk * sizes.channel_bytes(chains, chains.tap_pieces, s.time_samples);
  if (whole <= pack_bytes && chunk * chains.taps <= kMaxBlockRows) {
    const std::int64_t chunks = std::min(pack_bytes / whole, kMaxBlockRows / (chunk * chains.taps));
    s.blocks = ceil_div(chains.channel_chunks, chunks);
    s.chunks_per_block = ceil_div(chains.channel_chunks, s.blocks);
    s.blocks = ceil_div(chains.channel_chunks, s.chunks_per_block);
    s.pieces_per_block = chains.tap_pieces;
    s.pack_bytes = std::min(chains.channels, s.chunks_per_block * chunk) * (whole / chunk);
    return;
  }
  s.chunks_per_block = 1;
  std::int64_t pieces = 1;
  const std::int64_t piece_rows = chunk * ceil_div(chains.taps, chains.tap_pieces);
  while (pieces * 2 < chains.tap_pieces && pieces * 2 * piece_rows <= kMaxBlockRows &&
         chunk * sizes.channel_bytes(chains, pieces * 2, s.time_samples) <= pack_bytes) {
    pieces *= 2;
  }
  s.pieces_per_block = pieces;
  s.blocks = chains.channel_chunks * ceil_div(chains.tap_pieces, pieces);
  s.pack_bytes = chunk * sizes.channel_bytes(chains, pieces, s.time_samples);
}

void choose_outputs(const ConvProblem& problem, int max_block, std::int64_t element_bytes,
                    std::int64_t wanted_sum_bytes, FpropSchedule& s) {
  s.panels = block_count(problem.out_channels_per_group(), max_block);
  s.sum_pitch = odd_line_pitch(s.time_samples, element_bytes);
  const std::int64_t panel_bytes = max_block * s.sum_pitch * element_bytes;
  // One packed block: each panel is finished at once, a task takes all. Else their sums wait for the next block.
  const std::int64_t most =
      s.blocks == 1 ? s.panels : std::clamp<std::int64_t>(wanted_sum_bytes / panel_bytes, 1, s.panels);
  s.out_slices = ceil_div(s.panels, most);
  s.panels_per_slice = ceil_div(s.panels, s.out_slices);
  s.out_slices = ceil_div(s.panels, s.panels_per_slice);
  s.sum_bytes = (s.blocks == 1 ? 1 : s.panels_per_slice) * panel_bytes;
}

}  // namespace

ChainSplit make_chain_split(std::int64_t channels, std::int64_t taps) {
  const double terms = static_cast<double>(channels) * static_cast<double>(taps);
  const std::int64_t wanted = std::clamp(kChainChannels * std::min(taps, kChain), kShortChain, kChain);
  const std::int64_t longest = std::clamp(static_cast<std::int64_t>(std::sqrt(terms)), wanted, kLongestChain);
  ChainSplit split;
  split.channels = channels;
  split.taps = taps;
  split.tap_pieces = ceil_div(taps, longest);
  split.channels_per_chunk = std::min(channels, std::max<std::int64_t>(longest / taps, 1));
  split.channel_chunks = ceil_div(channels, split.channels_per_chunk);
  return split;
}

Config FpropTuning::config() const {
  return Config{
      {{"time", time_samples}, {"pack_kib", pack_bytes >> 10}, {"sum_kib", sum_bytes >> 10}, {"stream", non_temporal}}};
}

FpropTuning FpropTuning::from(const Config& config) {
  return {config.get("time"), config.get("pack_kib") << 10, config.get("sum_kib") << 10, config.get("stream") != 0};
}

FpropSchedule make_fprop_schedule(const ConvProblem& problem, const Device& device, const FpropTuning& tuning) {
  const bool is_double = problem.dtype == DType::f64;
  const IsaTable& table = isa_table(device.isa);
  const int lanes = is_double ? table.f64.lanes : table.f32.lanes;
  const int max_block = is_double ? table.f64.max_block_channels : table.f32.max_block_channels;
  const std::int64_t element_bytes = is_double ? 8 : 4;
  const Sizes sizes{problem, element_bytes};
  const std::int64_t out_length = problem.out_length();
  const std::int64_t scratch_limit = std::max(kMaxScratchBytes / std::max(device.threads, 1), kSmallestScratch);

  FpropSchedule s;
  s.chains = make_chain_split(problem.in_channels_per_group(), problem.kernel_size);
  std::int64_t time = tuning.time_samples;
  for (;; time = std::max<std::int64_t>(time / 2, lanes)) {
    // Equal tiles, whole steps of the microkernel where there is more than one.
    s.tiles = ceil_div(out_length, time);
    s.time_samples = round_up(ceil_div(out_length, s.tiles),
                              time >= step_samples(lanes) && s.tiles > 1 ? step_samples(lanes) : lanes);
    s.tiles = ceil_div(out_length, s.time_samples);
    choose_blocks(sizes, std::min(tuning.pack_bytes, scratch_limit / 2), s);
    choose_outputs(problem, max_block, element_bytes, std::min(tuning.sum_bytes, scratch_limit / 4), s);
    s.offset_bytes =
        line_bytes(std::min(s.chains.rows(), kMaxBlockRows) * static_cast<std::int64_t>(sizeof(std::int32_t)));
    s.residual_bytes = problem.has_residual ? line_bytes(s.time_samples * element_bytes) : 0;
    s.out_bytes = line_bytes(max_block * s.time_samples * size_bytes(problem.dtype));
    s.tasks = problem.batch * problem.groups * s.out_slices * s.tiles;
    const bool too_large = s.worker_bytes() > scratch_limit;
    const bool too_few = s.tasks < 4 * std::int64_t{device.threads} && time >= 4 * step_samples(lanes);
    if (time <= lanes || !(too_large || too_few)) break;
  }
  const std::int64_t most_workers = std::max<std::int64_t>(1, kMaxScratchBytes / s.worker_bytes());
  s.workers = static_cast<int>(std::clamp<std::int64_t>(device.threads, 1, most_workers));
  s.bias_bytes = line_bytes(problem.out_channels * element_bytes);
  s.weight_bytes = line_bytes(problem.out_channels * s.chains.rows() * element_bytes) + s.bias_bytes;
  return s;
}

}  // namespace longconv::cpu
