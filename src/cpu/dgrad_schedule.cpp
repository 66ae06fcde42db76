// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/dgrad_schedule.h"

#include <cmath>
#include <numeric>

#include "cpu/isa_table.h"
#include "cpu/tap_rows.h"
#include "cpu/wgrad_blocking.h"
#include "problem/checked.h"

namespace longconv::cpu {
namespace {

constexpr std::int64_t kMaxBlockTerms = 16384;  // offsets: 64 KiB
constexpr std::int64_t kPanelSumBytes = 128 << 10;
constexpr std::int64_t kWaitingSumBytes = 160 << 10;  // sums that wait for further blocks
constexpr std::int64_t kLongStrideSamples = 1024;     // tile where the stride is longer than most tiles
constexpr std::int64_t kShortChain = 32, kChain = 64, kLongestChain = 512;
constexpr std::int64_t kFewestBlockTerms = 64;
constexpr std::int64_t kWantedTasks = 128;

std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return ceil_div(n, multiple) * multiple; }
std::int64_t even_piece(std::int64_t total, std::int64_t most) { return ceil_div(total, ceil_div(total, most)); }

template <class T>
std::int64_t scratch_bytes(const ConvProblem& p, const DgradSchedule& s) {
  std::int64_t bytes = 0;
  DgradScratch<T>(p, s, nullptr, &bytes);
  return bytes;
}

/// Tile of `time` samples of dy for each class.
void set_tile(const ConvProblem& p, std::int64_t time, std::int64_t lanes, DgradSchedule& s) {
  s.tile_samples = p.stride > kLongStrideSamples ? kLongStrideSamples : time * p.stride;
  s.tile_samples = std::min(s.tile_samples, round_up(p.length_samples, 64));
  s.tiles = ceil_div(p.length_samples, s.tile_samples);
  s.slot_samples = round_up(ceil_div(s.tile_samples, p.stride), lanes);
  s.slots = std::min(s.classes.count, s.tile_samples);
}

/// Output channels and members that are packed at once: all if they fit, else fewer members down to what makes a
/// sensible chain, then fewer channels.
void set_blocks(const ConvProblem& p, std::int64_t pack_bytes, std::int64_t element_bytes, DgradSchedule& s) {
  const std::int64_t outputs = p.out_channels_per_group();
  const auto channel_bytes = [&](std::int64_t members) {
    return make_dy_rows(s.classes, members, s.slot_samples, s.slots, element_bytes).pitch * element_bytes;
  };
  const auto fewest_outputs = [&](std::int64_t members) {
    return std::min(outputs, ceil_div(kFewestBlockTerms, members));
  };
  std::int64_t members = s.classes.members();
  while (members > 1 && (channel_bytes(members) * fewest_outputs(members) > pack_bytes ||
                         members * std::min(s.slots, s.classes.count) * fewest_outputs(members) > kMaxBlockTerms)) {
    members = ceil_div(members, 2);
  }
  const std::int64_t affordable = std::max(
      std::min(pack_bytes / channel_bytes(members), kMaxBlockTerms / (members * s.slots)), fewest_outputs(members));
  s.members_per_block = members;
  s.member_blocks = ceil_div(s.classes.members(), members);
  s.outputs_per_block = even_piece(outputs, std::min(affordable, outputs));
  s.output_blocks = ceil_div(outputs, s.outputs_per_block);
  s.row_pitch = channel_bytes(members) / element_bytes;
}

/// Rounding errors grow with the steps that a product takes part in: terms of its chain + chains of its subtotal +
/// subtotals. Chains of 32 to 64 terms, as their ends cost time too, and as many subtotals as chains in each; longer
/// chains where n is so large that this is still the least.
void set_chains(const ConvProblem& p, DgradSchedule& s) {
  const double terms = static_cast<double>(p.out_channels_per_group()) * static_cast<double>(s.classes.members());
  const auto whole = [](double x) { return static_cast<std::int64_t>(x); };
  s.most_chain_terms = std::max(std::clamp(whole(std::sqrt(terms)), kShortChain, kChain),
                                std::min(whole(std::cbrt(terms)), kLongestChain));
  const double chains = std::ceil(terms / static_cast<double>(s.most_chain_terms));
  s.most_subtotal_chains = whole(std::ceil(std::sqrt(chains)));
  const std::int64_t block_chains = block_count(s.outputs_per_block * s.members_per_block, s.most_chain_terms);
  s.blocks_per_subtotal = std::max<std::int64_t>(s.most_subtotal_chains / block_chains, 1);
}

}  // namespace

TapClasses make_tap_classes(const ConvProblem& p) {
  TapClasses c;
  c.taps = p.kernel_size;
  c.stride = p.stride;
  c.dilation = p.dilation;
  const std::int64_t common = std::gcd(p.stride, p.dilation);
  c.cycle = p.stride / common;
  c.gap_samples = p.dilation / common;
  c.count = std::min(c.cycle, c.taps);
  return c;
}

DyRows make_dy_rows(const TapClasses& c, std::int64_t members, std::int64_t slot_samples, std::int64_t slots,
                    std::int64_t element_bytes) {
  DyRows rows;
  // A class starts at the tile's first q or the one after; its last vector may reach beyond its last position.
  const std::int64_t own = slot_samples + 1;
  const std::int64_t reach = c.shift(c.count - 1) + (members - 1) * c.gap_samples;
  const std::int64_t segments = slots * members;
  rows.shared = own + reach <= segments * own;
  rows.segment_samples = rows.shared ? own + reach : own;
  rows.segment_pitch = odd_line_pitch(rows.segment_samples, element_bytes);
  rows.pitch = (rows.shared ? 1 : segments) * rows.segment_pitch;
  return rows;
}

Config DgradTuning::config() const {
  return Config{{{"time", time_samples}, {"pack_kib", pack_bytes >> 10}, {"stream", non_temporal}}};
}

DgradTuning DgradTuning::from(const Config& config) {
  return {config.get("time"), config.get("pack_kib") << 10, config.get("stream") != 0};
}

DgradSchedule make_dgrad_schedule(const ConvProblem& p, const Device& device, const DgradTuning& tuning) {
  const bool is_double = p.dtype == DType::f64;
  const IsaTable& table = isa_table(device.isa);
  const std::int64_t lanes = is_double ? table.f64.lanes : table.f32.lanes;
  const std::int64_t most_channels = is_double ? table.f64.max_block_channels : table.f32.max_block_channels;
  const std::int64_t element_bytes = is_double ? 8 : 4;
  const std::int64_t inputs = p.in_channels_per_group();
  const std::int64_t step = 12 * lanes;  // all register blocks advance by a divisor of this
  const std::int64_t shortest = 2 * lanes;
  const auto shorter = [&](std::int64_t time) {
    return time > step ? std::max(step, time * 2 / 3 / step * step)
                       : std::max(shortest, time / 2 / shortest * shortest);
  };

  DgradSchedule s;
  s.classes = make_tap_classes(p);
  s.panels = block_count(inputs, most_channels);
  s.panel_channels = ceil_div(inputs, s.panels);

  // The longest tile whose rows can all be packed at once, or the wanted one cut into several blocks.
  std::int64_t time = round_up(tuning.time_samples, step);
  const auto panel_bytes = [&] { return s.panel_channels * s.tile_samples * element_bytes; };
  for (set_tile(p, time, lanes, s); time > shortest && panel_bytes() > kPanelSumBytes; set_tile(p, time, lanes, s)) {
    time = shorter(time);
  }
  const std::int64_t longest = time;
  for (;; time = shorter(time)) {
    set_tile(p, time, lanes, s);
    set_blocks(p, tuning.pack_bytes, element_bytes, s);
    if (s.blocks() == 1 || time <= step) break;
  }
  if (s.blocks() > 1) {
    time = longest;
    set_tile(p, time, lanes, s);
    set_blocks(p, tuning.pack_bytes, element_bytes, s);
  }
  set_chains(p, s);
  // Too few tasks for many threads: shorter tiles (the blocks, and so the order of sums, stay).
  while (time > step && p.batch * p.groups * s.tiles < kWantedTasks) {
    time = shorter(time);
    set_tile(p, time, lanes, s);
  }
  s.row_pitch = make_dy_rows(s.classes, s.members_per_block, s.slot_samples, s.slots, element_bytes).pitch;
  s.sum_pitch = odd_line_pitch(s.slot_samples, element_bytes);
  s.tile_pitch = odd_line_pitch(s.tile_samples, element_bytes);
  const std::int64_t waiting_sums = s.blocks_per_subtotal > 1 ? 2 : 1;
  const std::int64_t waiting_bytes = waiting_sums * s.panel_channels * s.slots * s.sum_pitch * element_bytes;
  const std::int64_t most_panels =
      s.blocks() == 1 ? s.panels : std::clamp<std::int64_t>(kWaitingSumBytes / waiting_bytes, 1, s.panels);
  s.panels_per_slice = even_piece(s.panels, most_panels);
  s.slices = ceil_div(s.panels, s.panels_per_slice);
  s.tasks = p.batch * p.groups * s.slices * s.tiles;
  s.bias_bytes = p.has_bias ? round_up(p.in_channels * element_bytes, 64) : 0;
  s.weight_bytes =
      round_up(p.in_channels * p.out_channels_per_group() * p.kernel_size * element_bytes, 64) + s.bias_bytes;
  s.worker_bytes = is_double ? scratch_bytes<double>(p, s) : scratch_bytes<float>(p, s);
  s.workers = workers_with_scratch(device.threads, s.worker_bytes);
  return s;
}

template <class T>
DgradScratch<T>::DgradScratch(const ConvProblem& p, const DgradSchedule& s, void* base, std::int64_t* bytes) {
  ScratchArena arena(base);
  const std::int64_t waiting = s.blocks() == 1 ? 1 : s.panels_per_slice;
  const std::int64_t tile = s.panel_channels * s.tile_pitch;
  const bool folds = p.pad_mode != PadMode::zeros;
  rows = arena.take<T>(s.outputs_per_block * s.row_pitch);
  offsets = arena.take<std::int32_t>(s.outputs_per_block * s.members_per_block * s.slots);
  sums = arena.take<T>(waiting * s.slots * s.panel_channels * s.sum_pitch);
  subtotals = arena.take<T>((s.blocks_per_subtotal > 1 ? waiting * s.slots : 1) * s.panel_channels * s.sum_pitch);
  this->tile = arena.take<T>(tile);
  folded = arena.take<T>(folds ? tile : 0);
  residual_row = arena.take<T>(p.has_residual ? s.tile_samples : 0);
  out_rows = arena.take<T>(s.panel_channels * s.tile_samples);
  slots = arena.take<Slot>(s.slots);
  if (bytes != nullptr) *bytes = arena.used_bytes();
}

template struct DgradScratch<float>;
template struct DgradScratch<double>;

Estimate estimate_dgrad(const ConvProblem& p, const Device& device, const DgradTuning& tuning) {
  const DgradSchedule s = make_dgrad_schedule(p, device, tuning);
  const IsaTable& table = isa_table(device.isa);
  const std::int64_t lanes = p.dtype == DType::f64 ? table.f64.lanes : table.f32.lanes;
  // A block of few channels is bound by loads: c channels cost about as much as c + 1.
  const double channels = static_cast<double>(p.in_channels_per_group()) / static_cast<double>(s.panels);
  Estimate estimate = wgrad_estimate(p, device, p.flops() * (1 + 1 / channels), lanes);
  constexpr double kTaskSeconds = 0.3e-6;
  estimate.seconds += kTaskSeconds * std::ceil(static_cast<double>(s.tasks) / s.workers);
  return estimate;
}

}  // namespace longconv::cpu
