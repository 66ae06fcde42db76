// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Reading samples of any strides and dtype into rows, and writing finished rows to any strides (for ISA units only).
#pragma once

#include "cpu/isa_convert.h"
#include "cpu/isa_table.h"
#include "cpu/simd.h"

namespace longconv::cpu::LONGCONV_ISA {

using F32x4 = typename VectorOf<float, 4>::type;
using F32x4Unaligned = typename VectorOf<float, 4>::unaligned;

/// Four vectors a, b, c, d of 32-bit elements as columns: a becomes (a0, b0, c0, d0), b (a1, b1, c1, d1), ...
inline void transpose4(F32x4& a, F32x4& b, F32x4& c, F32x4& d) {
  const F32x4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const F32x4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  c = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/// Row of contiguous samples.
inline void read_contiguous(const float* from, float* row, std::int64_t count) {
  __builtin_memcpy(row, from, static_cast<std::size_t>(count) * sizeof(float));
}
inline void read_contiguous(const double* from, double* row, std::int64_t count) {
  __builtin_memcpy(row, from, static_cast<std::size_t>(count) * sizeof(double));
}
template <class Half>
inline void read_contiguous(const Half* from, float* row, std::int64_t count) {
  std::int64_t j = 0;
  for (; j + kLanes<float> <= count; j += kLanes<float>) store(row + j, widen(from + j));
  for (; j < count; ++j) row[j] = widen_one(from[j]);
}

template <class T, class Element>
inline void read_any_stride(const Element* from, std::int64_t stride, T* row, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) row[j] = static_cast<T>(widen_one(from[j * stride]));
}

/// Every S-th of the 4 * S elements from `from` on, by shuffles of whole vectors: in lane i the element i * S lies in
/// vector i * S / 4, lane i * S % 4.
template <int S>
inline F32x4 every_nth(const float* from) {
  const auto at = [&](int v) { return *reinterpret_cast<const F32x4Unaligned*>(from + 4 * v); };
  if constexpr (S == 2) return __builtin_shufflevector(at(0), at(1), 0, 2, 4, 6);
  if constexpr (S == 3) {  // lanes 0 and 3 of vector 0, 2 of 1, 1 of 2
    const F32x4 high = __builtin_shufflevector(at(1), at(2), 2, 5, 2, 5);
    return __builtin_shufflevector(at(0), high, 0, 3, 4, 5);
  }
  if constexpr (S == 4) {
    const F32x4 low = __builtin_shufflevector(at(0), at(1), 0, 4, 0, 4);
    return __builtin_shufflevector(low, __builtin_shufflevector(at(2), at(3), 0, 4, 0, 4), 0, 1, 4, 5);
  }
  if constexpr (S == 5) {  // lane 0 of vector 0, 1 of 1, 2 of 2, 3 of 3
    const F32x4 low = __builtin_shufflevector(at(0), at(1), 0, 5, 0, 5);
    return __builtin_shufflevector(low, __builtin_shufflevector(at(2), at(3), 2, 7, 2, 7), 0, 1, 4, 5);
  }
}

template <int S>
inline void read_every_nth(const float* from, std::int64_t readable, float* row, std::int64_t count) {
  std::int64_t j = 0;
  for (; j + 4 <= count && (j + 4) * S <= readable; j += 4) {
    *reinterpret_cast<F32x4Unaligned*>(row + j) = every_nth<S>(from + j * S);
  }
  read_any_stride(from + j * S, S, row + j, count - j);
}

/// Strides that have a vector path; others read element by element.
inline constexpr std::int64_t kMaxShuffledStride = 5;

inline void read_strided(const float* from, std::int64_t stride, std::int64_t readable, float* row,
                         std::int64_t count) {
  switch (stride) {
    case 2: return read_every_nth<2>(from, readable, row, count);
    case 3: return read_every_nth<3>(from, readable, row, count);
    case 4: return read_every_nth<4>(from, readable, row, count);
    case 5: return read_every_nth<5>(from, readable, row, count);
    default: return read_any_stride(from, stride, row, count);
  }
}
inline void read_strided(const double* from, std::int64_t stride, std::int64_t, double* row, std::int64_t count) {
  read_any_stride(from, stride, row, count);
}
/// 16-bit: widened piece by piece, then as f32.
template <class Half>
inline void read_strided(const Half* from, std::int64_t stride, std::int64_t readable, float* row, std::int64_t count) {
  constexpr std::int64_t kPiece = 128;
  if (stride > kMaxShuffledStride) return read_any_stride(from, stride, row, count);
  alignas(64) float piece[kPiece * kMaxShuffledStride];
  for (std::int64_t j = 0; j < count; j += kPiece) {
    const std::int64_t outputs = count - j < kPiece ? count - j : kPiece;
    const std::int64_t left = readable - j * stride;
    const std::int64_t inputs = outputs * stride < left ? outputs * stride : left;
    read_contiguous(from + j * stride, piece, inputs);
    read_strided(piece, stride, inputs, row + j, outputs);
  }
}

/// Channels side by side in memory (NWC): 4 x 4 blocks through a transpose.
inline std::int64_t read_transposed(const SampleRun& run, const float* from, float* rows, std::int64_t row_pitch) {
  const std::int64_t channels = run.channels & ~std::int64_t{3}, s = run.sample_stride;
  for (std::int64_t c = 0; c < channels; c += 4) {
    std::int64_t j = 0;
    float* row = rows + c * row_pitch;
    for (; j + 4 <= run.count; j += 4) {
      const float* at = from + c + j * s;
      F32x4 a = *reinterpret_cast<const F32x4Unaligned*>(at), b = *reinterpret_cast<const F32x4Unaligned*>(at + s);
      F32x4 d = *reinterpret_cast<const F32x4Unaligned*>(at + 2 * s),
            e = *reinterpret_cast<const F32x4Unaligned*>(at + 3 * s);
      transpose4(a, b, d, e);
      *reinterpret_cast<F32x4Unaligned*>(row + j) = a;
      *reinterpret_cast<F32x4Unaligned*>(row + row_pitch + j) = b;
      *reinterpret_cast<F32x4Unaligned*>(row + 2 * row_pitch + j) = d;
      *reinterpret_cast<F32x4Unaligned*>(row + 3 * row_pitch + j) = e;
    }
    for (; j < run.count; ++j) {
      for (int i = 0; i < 4; ++i) row[i * row_pitch + j] = from[c + i + j * s];
    }
  }
  return channels;
}

template <class T, class Element>
inline void read_samples_as(const SampleRun& run, T* rows, std::int64_t row_pitch) {
  const Element* from = static_cast<const Element*>(run.source);
  std::int64_t c = 0;
  if constexpr (sizeof(Element) == 4) {
    if (run.channel_stride == 1 && run.sample_stride != 1) c = read_transposed(run, from, rows, row_pitch);
  }
  for (; c < run.channels; ++c) {
    const Element* source = from + c * run.channel_stride;
    T* row = rows + c * row_pitch;
    if (run.sample_stride == 1) {
      read_contiguous(source, row, run.count);
    } else if (run.sample_stride > 1 && run.readable >= (run.count - 1) * run.sample_stride + 1) {
      read_strided(source, run.sample_stride, run.readable, row, run.count);
    } else {
      read_any_stride(source, run.sample_stride, row, run.count);
    }
  }
}

inline void read_samples_f32(const SampleRun& run, float* rows, std::int64_t row_pitch) {
  if (run.count <= 0) return;
  switch (run.dtype) {
    case DType::bf16: return read_samples_as<float, Bf16>(run, rows, row_pitch);
    case DType::f16: return read_samples_as<float, F16>(run, rows, row_pitch);
    default: return read_samples_as<float, float>(run, rows, row_pitch);
  }
}
inline void read_samples_f64(const SampleRun& run, double* rows, std::int64_t row_pitch) {
  if (run.count > 0) read_samples_as<double, double>(run, rows, row_pitch);
}

typedef std::uint16_t Bits16 __attribute__((may_alias));
typedef std::uint32_t Bits32 __attribute__((may_alias));
typedef std::uint64_t Bits64 __attribute__((may_alias));

template <class Element>
inline void scatter_as(const ScatterRows& s) {
  const Element* rows = static_cast<const Element*>(s.rows);
  Element* out = static_cast<Element*>(s.out);
  if (s.channel_stride == 1 || s.sample_stride > 64) {  // a short run of channels at each time
    for (std::int64_t t = 0; t < s.count; ++t) {
      Element* to = out + t * s.sample_stride;
      for (std::int64_t c = 0; c < s.channels; ++c) to[c * s.channel_stride] = rows[c * s.row_pitch + t];
    }
  } else {
    for (std::int64_t c = 0; c < s.channels; ++c) {
      Element* to = out + c * s.channel_stride;
      for (std::int64_t t = 0; t < s.count; ++t) to[t * s.sample_stride] = rows[c * s.row_pitch + t];
    }
  }
}
inline void scatter_rows(const ScatterRows& s) {
  switch (s.dtype) {
    case DType::f32: return scatter_as<Bits32>(s);
    case DType::f64: return scatter_as<Bits64>(s);
    default: return scatter_as<Bits16>(s);
  }
}

}  // namespace longconv::cpu::LONGCONV_ISA
