// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/wgrad_blocking.h"

#include <algorithm>
#include <string>

#include "problem/checked.h"

namespace longconv::cpu {

TimeTiles make_time_tiles(std::int64_t batch, std::int64_t out_length, std::int64_t max_time_samples,
                          std::int64_t max_rows) {
  TimeTiles tiles;
  tiles.tiles_per_row = ceil_div(out_length, max_time_samples);
  tiles.time_samples = std::min(out_length, max_time_samples);
  if (tiles.tiles_per_row == 1) {
    tiles.rows = std::clamp<std::int64_t>(max_time_samples / out_length, 1, std::min(max_rows, batch));
  }
  tiles.count = tiles.tiles_per_row == 1 ? ceil_div(batch, tiles.rows) : batch * tiles.tiles_per_row;
  return tiles;
}

std::int64_t choose_chunks(std::int64_t blocks, std::int64_t tiles, std::int64_t min_tiles,
                           std::int64_t bytes_per_chunk) {
  constexpr std::int64_t kTasks = 256;  // enough to share evenly among some hundred threads
  const std::int64_t wanted = ceil_div(kTasks, blocks);
  const std::int64_t affordable = kWgradPartialBytes / bytes_per_chunk;
  return std::max<std::int64_t>(1, std::min({wanted, affordable, tiles / min_tiles}));
}

int workers_with_scratch(int threads, std::int64_t scratch_bytes_per_worker) {
  const std::int64_t affordable = kWgradScratchBytes / std::max<std::int64_t>(1, scratch_bytes_per_worker);
  return static_cast<int>(std::clamp<std::int64_t>(affordable, 1, threads));
}

Support supports_real_pass(const ConvProblem& p, const Device& device, Pass pass) {
  if (device.kind != Device::Kind::cpu) return Support::no("runs on the CPU only");
  if (p.pass != pass) return Support::no("for " + std::string(name(pass)) + " only, not " + std::string(name(p.pass)));
  if (p.has_forward_y()) return Support::no("forms no gradient of an activation: the caller does");
  switch (p.dtype) {
    case DType::f32:
    case DType::f64:
    case DType::bf16:
    case DType::f16: return Support::yes();
    default: return Support::no("for real floating-point dtypes, not " + std::string(name(p.dtype)));
  }
}

Estimate wgrad_estimate(const ConvProblem& p, const Device& device, double flops, std::int64_t lanes) {
  // A core of about 3 GHz: two multiply-adds of a vector a cycle with FMA, half of that without; a share of the memory.
  const double flops_per_second = static_cast<double>(lanes) * (device.isa == Isa::portable ? 4e9 : 10e9);
  constexpr double kBytesPerSecond = 1.2e10, kMostBytesPerSecond = 1e11;
  const double threads = device.threads;
  const double compute_seconds = flops / (flops_per_second * threads);
  const double memory_seconds = p.compulsory_bytes() / std::min(kBytesPerSecond * threads, kMostBytesPerSecond);
  return {p.compulsory_bytes(), flops, std::max(compute_seconds, memory_seconds)};
}

}  // namespace longconv::cpu
