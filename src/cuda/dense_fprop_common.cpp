// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/dense_fprop_common.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>
#include <utility>

#include "cuda/dgrad_padding.h"

namespace longconv::cuda {

PackGeometry::PackGeometry(std::int64_t span, std::int64_t taps, std::int64_t time_stride, std::int64_t dilation)
    : stride(time_stride) {
  const std::int64_t residue_step = std::gcd(dilation % stride != 0 ? dilation % stride : stride, stride);
  const bool all_residues = taps >= stride / residue_step;
  planes = all_residues ? stride / residue_step : taps;
  const std::int64_t needed = span + (taps - 1) * dilation / stride;
  const std::int64_t want = stride == 1 ? 0 : stride == 2 ? 4 : stride == 4 ? 2 : stride % 8 == 0 ? 1 : stride % 8;
  plane_rows = needed + ((want - needed) % 8 + 8) % 8;
  raw_needed = (span - 1) * stride + (taps - 1) * dilation + 1;
}

PackGeometry::PackGeometry(std::int64_t span, std::int64_t taps, const PolyphaseProblem& problem)
    : PackGeometry(span, taps, problem.stride, problem.dilation) {
  if (problem.phases == 1) return;
  planes = 1;
  raw_needed = span + problem.offset_span(taps);
  plane_rows = round_up(raw_needed, 8);
}

std::int64_t phase_columns(const PolyphaseProblem& problem, std::int64_t most) {
  for (const std::int64_t columns : {256, 128, 80, 64, 48, 40, 32, 24, 16, 8}) {
    if (columns * problem.phases <= most) return columns;
  }
  return 0;
}

std::vector<std::int64_t> cluster_sizes(const PolyphaseProblem& problem, std::int64_t resident) {
  const std::int64_t weight_bytes = problem.out_channels_per_group() * problem.in_channels_per_group() *
                                    problem.kernel_size * size_bytes(problem.dtype);
  return resident || weight_bytes < 1'500'000 ? std::vector<std::int64_t>{1} : std::vector<std::int64_t>{1, 2};
}

std::int64_t phase_step(const PolyphaseProblem& problem, std::int64_t columns, bool full) {
  const std::int64_t sector = 32 / size_bytes(problem.dtype);
  if (full) return columns;
  return columns - (problem.phases == 1 ? sector : ceil_div(sector - 1, problem.phases));
}

std::int64_t store_code(const PolyphaseProblem& problem, bool full, bool aligned, std::int64_t stage_rows) {
  enum Store : std::int64_t { kWindows, kEnds, kDirect, kWhole, kSectors };
  if (!full) return stage_rows == 0 ? kSectors : kWindows;
  if (!aligned) return kEnds;
  return problem.phases == 1 && stage_rows == 0 ? kDirect : kWhole;
}

std::int64_t stage_pitch_bytes(std::int64_t phases, std::int64_t columns, std::int64_t element_bytes) {
  const std::int64_t room = phases * columns * element_bytes + (element_bytes == 2 ? 16 : 32);
  if (element_bytes == 2) return room + (room % 32 == 16 ? 0 : 16);
  return phases % 2 == 1 ? room + (room % 64 == 32 ? 0 : 32) : room + (192 - room % 128) % 128;
}

Support supports_split(const PolyphaseProblem& problem) {
  const std::int64_t products = problem.in_channels_per_group() * (problem.kernel_size / problem.period());
  if (products >= kFewestSplitProducts) return Support::yes();
  return Support::no("a sum of fewer than " + std::to_string(kFewestSplitProducts) +
                     " products is not exact enough in two f16 planes");
}

std::vector<std::int64_t> tap_groups(const PolyphaseProblem& problem, std::initializer_list<std::int64_t> sizes) {
  const std::int64_t taps = problem.kernel_size, period = problem.period();
  std::vector<std::int64_t> groups{taps};
  for (const std::int64_t size : sizes) {
    const std::int64_t even = round_up(ceil_div(taps, ceil_div(taps, std::max(size, period))), period);
    if (even < groups.back()) groups.push_back(even);
  }
  return groups;
}

bool gathers(const PolyphaseProblem& problem) { return problem.stride >= 16; }
bool gathers(const PolyphaseProblem& problem, const TensorView& x) {
  return gathers(problem) || (x.sizes[2] > 1 && x.strides[2] != 1);
}

std::vector<Define> problem_defines(const PolyphaseProblem& problem) {
  return {{"LC_IN_CHANNELS", problem.in_channels_per_group()},
          {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
          {"LC_KERNEL_SIZE", problem.kernel_size},
          {"LC_STRIDE", problem.stride},
          {"LC_DILATION", problem.dilation},
          {"LC_PHASES", problem.phases},
          {"LC_PHASE_SHIFT", problem.phase_shift},
          {"LC_TRANSPOSED", std::int64_t{problem.is_dgrad}},
          {"LC_PAD", std::int64_t{problem.pad_code}},
          {"LC_ACTIVATION", static_cast<std::int64_t>(problem.activation)},
          {"LC_ACTIVATION_GRADIENT", static_cast<std::int64_t>(problem.gradient_of)},
          {"LC_BIAS", std::int64_t{problem.has_bias}},
          {"LC_RESIDUAL", std::int64_t{problem.has_residual}}};
}

bool has_aligned_rows(const PolyphaseProblem& problem, const TensorView& y) {
  const auto aligned = [&](std::int64_t elements) { return elements * size_bytes(problem.dtype) % 16 == 0; };
  return reinterpret_cast<std::uintptr_t>(y.data) % 16 == 0 && aligned(y.strides[0]) && aligned(y.strides[1]) &&
         aligned(problem.out_length());
}

FpropParams make_params(const PolyphaseProblem& problem, const ConvTensors& tensors) {
  FpropParams p{};
  p.x = tensors.x.data;
  p.y = tensors.y.data;
  p.bias = problem.has_bias ? tensors.bias.data : nullptr;
  p.residual = problem.has_residual ? tensors.residual.data : nullptr;
  p.x_batch = tensors.x.strides[0];
  p.x_channel = tensors.x.strides[1];
  p.x_time = tensors.x.strides[2];
  p.y_batch = tensors.y.strides[0];
  p.y_channel = tensors.y.strides[1];
  if (problem.has_residual) {
    p.residual_batch = tensors.residual.strides[0];
    p.residual_channel = tensors.residual.strides[1];
  }
  p.length = problem.length_samples;
  p.out_length = problem.out_length();
  p.pad_left = problem.pad_left;
  p.batch = static_cast<std::int32_t>(problem.batch);
  p.groups = static_cast<std::int32_t>(problem.groups);
  p.negative_slope = static_cast<float>(problem.negative_slope);
  return p;
}

Support supports_dense(const ConvProblem& asked, Pass pass, const Device& device) {
  if (device.kind != Device::Kind::cuda) return Support::no("a CUDA kernel");
  if (asked.pass != pass) return Support::no("does " + std::string(name(pass)) + " only");
  if (is_complex(asked.dtype) || asked.dtype == DType::i64) {
    return Support::no("has no kernel for " + std::string(name(asked.dtype)));
  }
  if (std::string why = no_bias_in_dgrad_padding(asked); !why.empty()) return Support::no(std::move(why));
  const PolyphaseProblem problem(asked);
  constexpr std::int64_t kMaxInt = 0x7fffffff;
  // Items are tiles of at least 64 outputs of one (batch, group), times passes over output channels.
  const double items = static_cast<double>(problem.batch) * static_cast<double>(problem.groups) *
                       (static_cast<double>(problem.out_length()) / 64 + 1) *
                       (static_cast<double>(problem.out_channels_per_group()) / 32 + 1);
  if (items > static_cast<double>(kMaxInt)) return Support::no("more than 2^31 tiles");
  if (asked.kernel_size > (1 << 20) || asked.stride > (1 << 20) || asked.dilation > (1 << 26)) {
    return Support::no("kernel size or stride above 2^20, or dilation above 2^26");
  }
  if (problem.in_channels_per_group() > (1 << 24) || problem.out_channels_per_group() > (1 << 24)) {
    return Support::no("more than 2^24 channels in a group");
  }
  return Support::yes();
}

void check_layout(const PolyphaseProblem& problem, const ConvTensors& tensors, bool repairs) {
  const std::string result = problem.is_dgrad ? "x" : "y";
  const auto time_stride_is_1 = [&](const TensorView& view) { return view.sizes[2] == 1 || view.strides[2] == 1; };
  if (!time_stride_is_1(tensors.y)) {
    throw Error(ErrorCode::not_supported,
                result + ": expected time stride 1 for this kernel, but got " + std::to_string(tensors.y.strides[2]));
  }
  if (problem.has_bias && tensors.bias.sizes[0] > 1 && tensors.bias.strides[0] != 1) {
    throw Error(ErrorCode::not_supported,
                "bias: expected stride 1 for this kernel, but got " + std::to_string(tensors.bias.strides[0]));
  }
  if (problem.has_residual && !time_stride_is_1(tensors.residual)) {
    throw Error(ErrorCode::not_supported, "residual: expected time stride 1 for this kernel, but got " +
                                              std::to_string(tensors.residual.strides[2]));
  }
  if (repairs && problem.has_residual && tensors.residual.data == tensors.y.data) {
    throw Error(ErrorCode::not_supported,
                "residual: expected memory other than that of " + result + " for this kernel");
  }
}

HopperItems::HopperItems(const PolyphaseProblem& problem, std::int64_t step, std::int64_t items_per_tile,
                         std::int64_t cluster_blocks, const Device& device)
    : tiles_per_row(ceil_div(problem.out_length(), step)) {
  const std::int64_t tiles = problem.batch * problem.groups * tiles_per_row;
  count = tiles * items_per_tile;
  const std::int64_t clusters = std::min<std::int64_t>(ceil_div(tiles, cluster_blocks) * items_per_tile,
                                                       std::max<std::int64_t>(1, device.sm_count / cluster_blocks));
  shape.blocks = clusters * cluster_blocks;
  shape.cluster_blocks = static_cast<int>(cluster_blocks);
}

std::int64_t drawn_items_bytes(std::int64_t raw_units, std::int64_t units, std::int64_t weight_stages,
                               std::int64_t item_stages, std::int64_t slots, std::int64_t item_slots) {
  const std::int64_t ahead = std::max(ceil_div(raw_units, units) + 1, ceil_div(weight_stages, item_stages) + 3);
  std::int64_t places = 4;
  while (places < ahead + ceil_div(slots, item_slots) + 3) places *= 2;
  return 12 * places;
}

/// What LONGCONV_CUDA_CANDIDATES asks for; 0: nothing.
static std::size_t asked_candidates() {
  const char* text = std::getenv("LONGCONV_CUDA_CANDIDATES");
  const long count = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  return count > 0 ? static_cast<std::size_t>(count) : 0;
}

bool lists_more_candidates() { return asked_candidates() > 0; }

std::vector<Config> quickest(std::vector<std::pair<double, Config>> found, std::size_t count) {
  count = std::max(count, asked_candidates());
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Config> configs;
  for (const auto& entry : found) {
    if (configs.size() == count) break;
    const Config& config = entry.second;
    if (std::none_of(configs.begin(), configs.end(), [&](const Config& c) { return c.values == config.values; }))
      configs.push_back(config);
  }
  return configs;
}

void keep_quickest(std::vector<std::pair<double, Config>>& tried, std::size_t count,
                   std::vector<std::pair<double, Config>>& found) {
  std::stable_sort(tried.begin(), tried.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  if (lists_more_candidates()) count *= 3;
  tried.resize(std::min(tried.size(), count));
  std::move(tried.begin(), tried.end(), std::back_inserter(found));
}

Rates::Rates(const Device& device) {
  bytes_per_second = 0.9 * (device.memory_bytes_per_second > 0 ? device.memory_bytes_per_second : 1e12);
  const double clock = device.clock_hz > 0 ? device.clock_hz : 1.5e9;
  // Dense 16-bit FLOPs of a multiprocessor and clock: 4096 on Hopper and newer, 2048 before; sustained 0.75 of it.
  tensor_flops_per_second = 0.75 * clock * device.sm_count * (device.compute_capability >= 90 ? 4096 : 2048);
}

}  // namespace longconv::cuda
