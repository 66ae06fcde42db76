// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Where an extended position of the signal finds its sample: the padding modes without a padded copy.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "longconv/problem.h"
#include "problem/checked.h"

namespace longconv {

/// Sample index in [0, length) that position p in [-pad_left, length + pad_right) reads, or -1 where nothing is there
/// (zeros). PyTorch's semantics: reflect does not repeat the edge (... 2 1 [0 1 2 ...), circular wraps once.
inline std::int64_t source_index(std::int64_t p, std::int64_t length, PadMode mode) {
  if (static_cast<std::uint64_t>(p) < static_cast<std::uint64_t>(length)) return p;
  switch (mode) {
    case PadMode::zeros: return -1;
    case PadMode::reflect: return p < 0 ? -p : 2 * (length - 1) - p;
    case PadMode::replicate: return p < 0 ? 0 : length - 1;
    case PadMode::circular: return p < 0 ? p + length : p - length;
  }
  return -1;
}

/// Half-open interval of indices; empty when end <= begin.
struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool empty() const { return end <= begin; }
};

inline Interval intersect(Interval a, Interval b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

/// A stretch of extended positions on which source_index is affine: position p reads sample offset + step * p.
struct PadPiece {
  Interval positions;
  std::int64_t offset = 0;
  std::int64_t step = 1;  ///< 1 forwards, -1 mirrored, 0 one sample for all

  std::int64_t source(std::int64_t p) const { return offset + step * p; }

  /// Those of the piece's positions that read a sample of `samples`.
  Interval positions_reading(Interval samples) const {
    if (samples.empty()) return {};
    if (step == 0) return samples.begin <= offset && offset < samples.end ? positions : Interval{};
    const Interval preimage = step > 0 ? Interval{samples.begin - offset, samples.end - offset}
                                       : Interval{offset - samples.end + 1, offset - samples.begin + 1};
    return intersect(positions, preimage);
  }
};

/// The extended signal in order: left padding, the signal itself, right padding. With zeros the first and last are
/// empty.
inline std::array<PadPiece, 3> pad_pieces(const ConvProblem& p) {
  const std::int64_t length = p.length_samples;
  PadPiece left{{-p.pad_left, 0}, 0, 1};
  PadPiece right{{length, length + p.pad_right}, 0, 1};
  switch (p.pad_mode) {
    case PadMode::zeros: left.positions = right.positions = {}; break;
    case PadMode::reflect:
      left.step = right.step = -1;
      right.offset = 2 * (length - 1);
      break;
    case PadMode::replicate:
      left.step = right.step = 0;
      right.offset = length - 1;
      break;
    case PadMode::circular:
      left.offset = length;
      right.offset = -length;
      break;
  }
  return {left, PadPiece{{0, length}, 0, 1}, right};
}

/// The output samples t in [0, out_length) whose position t * stride + tap_position lies in `positions`;
/// tap_position is k * dilation - pad_left.
inline Interval outputs_reading(Interval positions, std::int64_t tap_position, std::int64_t stride,
                                std::int64_t out_length) {
  if (positions.empty()) return {};
  return intersect({ceil_div(positions.begin - tap_position, stride), ceil_div(positions.end - tap_position, stride)},
                   {0, out_length});
}

}  // namespace longconv
