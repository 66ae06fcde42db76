// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// How the weight gradient is cut up: blocks of dw against chunks of (batch, time), both fixed by the problem and the
/// instruction set and never by the number of threads, so that every sum has one order.
#pragma once

#include <cstdint>

#include "longconv/plan.h"
#include "longconv/problem.h"

namespace longconv::cpu {

/// Bytes that partial sums of the chunks and the scratch of all workers may take together stay below 32 MiB.
inline constexpr std::int64_t kWgradPartialBytes = std::int64_t{8} << 20;
inline constexpr std::int64_t kWgradScratchBytes = std::int64_t{23} << 20;

/// Time in tiles: a tile is `rows` neighbouring batch samples x at most time_samples outputs (rows > 1 only when a tile
/// holds whole rows).
struct TimeTiles {
  std::int64_t time_samples = 0;
  std::int64_t rows = 1;
  std::int64_t tiles_per_row = 1;
  std::int64_t count = 0;
};
TimeTiles make_time_tiles(std::int64_t batch, std::int64_t out_length, std::int64_t max_time_samples,
                          std::int64_t max_rows);

/// Chunks of consecutive tiles with a partial sum each: as many as balance the load of many threads over `blocks`, as
/// long as a chunk keeps at least min_tiles and all partials (bytes_per_chunk each) fit. At least 1.
std::int64_t choose_chunks(std::int64_t blocks, std::int64_t tiles, std::int64_t min_tiles,
                           std::int64_t bytes_per_chunk);

/// Workers that have scratch: min(threads, what the budget allows), at least 1.
int workers_with_scratch(int threads, std::int64_t scratch_bytes_per_worker);

/// Support for a pass in one of the real dtypes on the CPU.
Support supports_real_pass(const ConvProblem& problem, const Device& device, Pass pass);

/// Time for `flops` at the speed of the vector loops or for the compulsory bytes, whichever is longer.
Estimate wgrad_estimate(const ConvProblem& problem, const Device& device, double flops, std::int64_t lanes);

/// Hands out 64-byte aligned arrays from a piece of workspace; with a null base it only counts.
class ScratchArena {
 public:
  explicit ScratchArena(void* base) : base_(static_cast<char*>(base)) {}
  template <class T>
  T* take(std::int64_t count) {
    char* const at = base_ == nullptr ? nullptr : base_ + used_bytes_;
    used_bytes_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  std::int64_t used_bytes() const { return used_bytes_; }

 private:
  char* base_;
  std::int64_t used_bytes_ = 0;
};

}  // namespace longconv::cpu
