// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/tap_rows.h"

#include <algorithm>
#include <numeric>

#include "cpu/isa_table.h"
#include "problem/checked.h"

namespace longconv::cpu {

std::int64_t odd_line_pitch(std::int64_t elements, std::int64_t element_bytes) {
  const std::int64_t lines = (elements * element_bytes + kRowAlignBytes - 1) / kRowAlignBytes;
  return (lines | 1) * kRowAlignBytes / element_bytes;
}

TapRows make_tap_rows(std::int64_t taps, std::int64_t stride, std::int64_t dilation, std::int64_t time_samples,
                      std::int64_t element_bytes) {
  TapRows rows;
  rows.taps = taps;
  rows.stride = stride;
  rows.dilation = dilation;
  rows.time_samples = time_samples;
  const std::int64_t common = std::gcd(stride, dilation);
  rows.classes = stride / common;
  rows.gap_samples = dilation / common;
  rows.shared = rows.gap_samples <= time_samples;
  rows.segments = rows.shared ? std::min(rows.classes, taps) : taps;
  rows.segment_pitch = odd_line_pitch(rows.segment_samples(0, time_samples), element_bytes);
  rows.channel_pitch = rows.segments * rows.segment_pitch;
  return rows;
}

PaddedSignal padded_signal(const TensorView& tensor, std::int64_t batch_index, PadMode mode) {
  PaddedSignal signal;
  signal.data = static_cast<const char*>(tensor.data) + batch_index * tensor.strides[0] * size_bytes(tensor.dtype);
  signal.dtype = tensor.dtype;
  signal.pad_mode = mode;
  signal.length_samples = tensor.sizes[2];
  signal.channel_stride = tensor.strides[1];
  signal.time_stride = tensor.strides[2];
  return signal;
}

namespace {

template <class T>
struct Reader {
  const IsaTable& table;
  const PaddedSignal& signal;
  std::int64_t first_channel, channels;
  T* rows;
  std::int64_t row_pitch;

  /// Samples index, index + step, ... of the signal into columns [begin, end).
  void copy(std::int64_t begin, std::int64_t end, std::int64_t index, std::int64_t step) const {
    if (begin >= end) return;
    SampleRun run;
    run.source =
        signal.data + (first_channel * signal.channel_stride + index * signal.time_stride) * size_bytes(signal.dtype);
    run.dtype = signal.dtype;
    run.channels = channels;
    run.channel_stride = signal.channel_stride;
    run.count = end - begin;
    run.sample_stride = run_stride(run.count, step, signal.time_stride);
    run.readable = signal.time_stride == 1 ? signal.length_samples - index : 0;
    real_table<T>(table).read_samples(run, rows + begin, row_pitch);
  }
  void zeros(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t c = 0; c < channels && begin < end; ++c) {
      std::fill(rows + c * row_pitch + begin, rows + c * row_pitch + end, T{});
    }
  }
};

}  // namespace

template <class T>
void read_padded_rows(const IsaTable& table, const PaddedSignal& signal, std::int64_t first_channel,
                      std::int64_t channels, std::int64_t position, std::int64_t step, std::int64_t count,
                      std::int64_t filled, T* rows, std::int64_t row_pitch) {
  const Reader<T> reader{table, signal, first_channel, channels, rows, row_pitch};
  const std::int64_t length = signal.length_samples;
  // Columns [0, begin) lie left of the signal, [begin, end) in it, [end, count) right of it.
  const std::int64_t begin = position >= 0 ? 0 : std::min(count, ceil_div(-position, step));
  const std::int64_t end = position >= length ? begin : std::clamp(ceil_div(length - position, step), begin, count);
  const std::int64_t right = end < count ? position + end * step : 0;
  switch (signal.pad_mode) {
    case PadMode::zeros:
      reader.zeros(0, begin);
      reader.zeros(end, count);
      break;
    case PadMode::reflect:
      reader.copy(0, begin, -position, -step);
      reader.copy(end, count, 2 * (length - 1) - right, -step);
      break;
    case PadMode::replicate:
      reader.copy(0, begin, 0, 0);
      reader.copy(end, count, length - 1, 0);
      break;
    case PadMode::circular:
      reader.copy(0, begin, position + length, step);
      reader.copy(end, count, right - length, step);
      break;
  }
  reader.copy(begin, end, position + begin * step, step);
  reader.zeros(count, filled);
}

template void read_padded_rows<float>(const IsaTable&, const PaddedSignal&, std::int64_t, std::int64_t, std::int64_t,
                                      std::int64_t, std::int64_t, std::int64_t, float*, std::int64_t);
template void read_padded_rows<double>(const IsaTable&, const PaddedSignal&, std::int64_t, std::int64_t, std::int64_t,
                                       std::int64_t, std::int64_t, std::int64_t, double*, std::int64_t);

}  // namespace longconv::cpu
