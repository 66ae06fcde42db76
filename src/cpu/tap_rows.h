// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Polyphase layout: how the taps of a strided, dilated window become rows that the microkernel reads at unit stride.
///
/// Output t and tap k of a tile read position base + t * stride + k * dilation. Taps whose k * dilation agree modulo
/// the stride read the same phase of the signal; they are every `classes`-th tap (classes = stride / gcd(stride,
/// dilation)), each `gap` = dilation / gcd samples of that phase after the one before:
///
///   segment i (taps i, i + classes, ...):  sample j = position base + i * dilation + j * stride
///   tap i + q * classes at output t     =  sample t + q * gap of segment i
///
/// Where the gap is longer than the tile, sharing a segment would store samples that no tap reads: each tap then gets a
/// segment of its own. So a tile never stores more than taps * time samples a channel, however large the dilation.
#pragma once

#include <cstdint>

#include "cpu/isa_table.h"
#include "longconv/problem.h"
#include "longconv/tensor_view.h"

namespace longconv::cpu {

template <class T>
const IsaTable::Real<T>& real_table(const IsaTable& table) {
  if constexpr (sizeof(T) == 4)
    return table.f32;
  else
    return table.f64;
}

struct TapRows {
  std::int64_t taps = 1, stride = 1, dilation = 1;
  std::int64_t time_samples = 0;  ///< outputs of the tile, rounded up to whole vectors
  std::int64_t classes = 1;       ///< taps i and i + classes share a phase
  std::int64_t gap_samples = 1;   ///< and lie this far apart in it
  bool shared = true;             ///< taps of one phase share a segment
  std::int64_t segments = 1;
  std::int64_t segment_pitch = 0;  ///< elements; rows of T at an odd multiple of 64 bytes
  std::int64_t channel_pitch = 0;  ///< elements: segments * segment_pitch

  std::int64_t taps_of_segment(std::int64_t segment) const {
    return shared ? (taps - segment + classes - 1) / classes : 1;
  }
  /// Samples that a tile of `time` <= time_samples outputs reads of a segment.
  std::int64_t segment_samples(std::int64_t segment, std::int64_t time) const {
    return time + (taps_of_segment(segment) - 1) * gap_samples;
  }
  /// Where tap `tap` of a channel's rows starts, in elements from the channel's first segment.
  std::int64_t offset(std::int64_t tap) const {
    return shared ? (tap % classes) * segment_pitch + (tap / classes) * gap_samples : tap * segment_pitch;
  }
};

/// `time_samples`: a multiple of the vector length. `element_bytes`: of the row's type.
TapRows make_tap_rows(std::int64_t taps, std::int64_t stride, std::int64_t dilation, std::int64_t time_samples,
                      std::int64_t element_bytes);

/// Elements in a row of at least `elements`, rounded up to an odd multiple of 64 bytes: rows a power of two apart would
/// all fall into one set of the first-level cache.
std::int64_t odd_line_pitch(std::int64_t elements, std::int64_t element_bytes);

/// Splits `n` output channels into blocks of at most `max_block`, sizes differing by at most one.
inline std::int64_t block_count(std::int64_t n, std::int64_t max_block) { return (n + max_block - 1) / max_block; }
inline std::int64_t block_begin(std::int64_t n, std::int64_t blocks, std::int64_t index) {
  return index * (n / blocks) + (index < n % blocks ? index : n % blocks);
}

/// A signal to read with padding, all channels of one batch sample.
struct PaddedSignal {
  const char* data = nullptr;  ///< element (channel 0, time 0)
  DType dtype = DType::f32;
  PadMode pad_mode = PadMode::zeros;
  std::int64_t length_samples = 0;
  std::int64_t channel_stride = 0, time_stride = 0;  ///< elements
};
PaddedSignal padded_signal(const TensorView& tensor, std::int64_t batch_index, PadMode mode);

/// rows[c * row_pitch + j] = signal at (first_channel + c, position + j * step) for j < count, converted to T;
/// positions outside [0, length) follow the padding mode. Then zeros up to `filled` samples (filled >= count).
template <class T>
void read_padded_rows(const IsaTable& table, const PaddedSignal& signal, std::int64_t first_channel,
                      std::int64_t channels, std::int64_t position, std::int64_t step, std::int64_t count,
                      std::int64_t filled, T* rows, std::int64_t row_pitch);

}  // namespace longconv::cpu
