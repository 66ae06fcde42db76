// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The inner loops of every instruction set, one by one: microkernel, reading, epilogue, scattering.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/pad_index.h"
#include "cpu/tap_rows.h"
#include "support/test_tensor.h"
#include "support/trial.h"

namespace longconv::cpu {
namespace {

using longconv::testing::available_isas;
using longconv::testing::Layout;
using longconv::testing::Random;
using longconv::testing::rounded;
using longconv::testing::TestTensor;

std::vector<const IsaTable*> tables() {
  std::vector<const IsaTable*> list;
  for (const std::string& isa : available_isas()) {
    list.push_back(&isa_table(isa == "portable" ? Isa::portable : isa == "avx2" ? Isa::avx2 : Isa::avx512));
  }
  return list;
}

template <class T>
struct alignas(64) Line {
  T values[64 / sizeof(T)];
};

template <class T>
void check_tile_product(const IsaTable& table, int channels, std::int64_t vectors, std::int64_t rows, bool accumulate,
                        bool has_subtotals) {
  const auto& real = real_table<T>(table);
  const std::int64_t time = vectors * real.lanes, pitch = odd_line_pitch(time, sizeof(T));
  Random random(static_cast<std::uint64_t>(channels * 1000 + vectors * 10 + rows));
  std::vector<T> samples(static_cast<std::size_t>(time + 100)), weights(static_cast<std::size_t>(rows * channels + 1));
  for (T& x : samples) x = static_cast<T>(random.unit() * 2 - 1);
  for (T& w : weights) w = static_cast<T>(random.unit() * 2 - 1);
  std::vector<std::int32_t> offsets;
  for (std::int64_t r = 0; r < rows; ++r) offsets.push_back(static_cast<std::int32_t>(random.integer(-50, 50)));
  std::vector<Line<T>> lines(
      static_cast<std::size_t>((channels * pitch * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 + 1));
  T* sums = lines[0].values;
  const T canary = 12345;
  std::fill(sums, sums + lines.size() * 64 / sizeof(T), canary);
  if (accumulate) {
    for (int o = 0; o < channels; ++o) std::fill(sums + o * pitch, sums + o * pitch + time, T(o + 1));
  }
  std::vector<Line<T>> subtotal_lines(lines.size());
  T* subtotals = subtotal_lines[0].values;
  for (std::size_t at = 0; at < lines.size() * 64 / sizeof(T); ++at) {
    subtotals[at] = static_cast<T>(random.unit() * 2 - 1);
  }
  TileProduct<T> product;
  product.samples = samples.data() + 50;
  product.row_offsets = offsets.data();
  product.weights = weights.data();
  product.row_count = rows;
  product.sums = sums;
  product.sums_pitch = pitch;
  product.time_vectors = vectors;
  product.accumulate = accumulate;
  if (has_subtotals) product.subtotals = subtotals;
  real.tile_product[channels - 1](product);
  for (std::int64_t at = 0; at < static_cast<std::int64_t>(lines.size() * 64 / sizeof(T)); ++at) {
    const std::int64_t o = at / pitch, t = at % pitch;
    if (o >= channels || t >= time) {
      ASSERT_EQ(sums[at], canary) << "written outside: channel " << o << " time " << t;
      continue;
    }
    long double expected = accumulate ? o + 1 : 0, magnitude = expected;
    if (has_subtotals) {
      expected += subtotals[at];
      magnitude += std::fabs(subtotals[at]);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const long double term = static_cast<long double>(weights[r * channels + o]) * product.samples[offsets[r] + t];
      expected += term;
      magnitude += std::fabs(term);
    }
    const long double bound = static_cast<long double>(rows + 3) * std::numeric_limits<T>::epsilon() / 2 * magnitude;
    ASSERT_LE(std::fabs(sums[at] - expected), bound) << "channel " << o << " time " << t;
  }
}

TEST(Microkernel, EveryBlockAndLength) {
  for (const IsaTable* table : tables()) {
    for (std::int64_t vectors = 1; vectors <= 27; ++vectors) {
      for (const std::int64_t rows : {0, 1, 2, 7}) {
        for (const auto& [accumulate, subtotals] :
             {std::pair(false, false), {true, false}, {false, true}, {true, true}}) {
          for (int o = 1; o <= table->f32.max_block_channels; ++o) {
            SCOPED_TRACE(::testing::Message()
                         << name(table->isa) << " channels " << o << " vectors " << vectors << " rows " << rows
                         << " accumulate " << accumulate << " subtotals " << subtotals);
            check_tile_product<float>(*table, o, vectors, rows, accumulate, subtotals);
          }
          for (int o = 1; o <= table->f64.max_block_channels; ++o) {
            SCOPED_TRACE(::testing::Message()
                         << name(table->isa) << " f64 channels " << o << " vectors " << vectors << " rows " << rows
                         << " accumulate " << accumulate << " subtotals " << subtotals);
            check_tile_product<double>(*table, o, vectors, rows, accumulate, subtotals);
          }
        }
      }
    }
  }
}

template <class T>
void check_reading(const IsaTable& table, DType dtype, Layout layout, PadMode mode, std::int64_t step,
                   std::int64_t position, std::int64_t count) {
  constexpr std::int64_t kLength = 61, kChannels = 7;
  const bool outside = position < -kLength + 1 || position + (count - 1) * step > 2 * kLength - 2;
  if (mode != PadMode::zeros && outside) return;  // more padding than the mode has
  TestTensor x(dtype, {2, kChannels, kLength}, layout);
  Random random(7);
  x.fill(random, longconv::testing::Values::uniform);
  const std::int64_t filled = count + 3, pitch = filled + 5;
  std::vector<T> rows(static_cast<std::size_t>(kChannels * pitch), T(77));
  const PaddedSignal signal = padded_signal(x.view(), 1, mode);
  read_padded_rows<T>(table, signal, 1, kChannels - 1, position, step, count, filled, rows.data(), pitch);
  for (std::int64_t c = 0; c < kChannels; ++c) {
    for (std::int64_t j = 0; j < pitch; ++j) {
      T expected = 77;
      if (c + 1 < kChannels && j < filled) expected = 0;
      if (c + 1 < kChannels && j < count) {
        const std::int64_t source = source_index(position + j * step, kLength, mode);
        if (source >= 0) expected = static_cast<T>(x.get((kChannels + c + 1) * kLength + source));
      }
      ASSERT_EQ(rows[static_cast<std::size_t>(c * pitch + j)], expected)
          << name(table.isa) << " " << name(dtype) << " " << name(layout) << " " << name(mode) << " step " << step
          << " position " << position << " count " << count << " channel " << c << " column " << j;
    }
  }
}

TEST(ReadPaddedRows, EveryLayoutModeStepAndEdge) {
  for (const IsaTable* table : tables()) {
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
      for (const Layout layout : longconv::testing::kLayouts) {
        for (const PadMode mode : {PadMode::zeros, PadMode::reflect, PadMode::replicate, PadMode::circular}) {
          for (std::int64_t step = 1; step <= 7; ++step) {
            for (const std::int64_t position : {-60, -9, 0, 3, 57, 62, 100}) {
              for (const std::int64_t count : {1, 9, 30}) {
                if (dtype == DType::f64) {
                  check_reading<double>(*table, dtype, layout, mode, step, position, count);
                } else {
                  check_reading<float>(*table, dtype, layout, mode, step, position, count);
                }
                if (HasFatalFailure()) return;
              }
            }
          }
        }
      }
    }
  }
}

TEST(TapRows, EveryTapFindsItsSamples) {
  for (const std::int64_t stride : {1, 2, 3, 4, 6, 7}) {
    for (const std::int64_t dilation : {1, 2, 3, 4, 9, 12, 100}) {
      for (const std::int64_t taps : {1, 2, 3, 8, 13}) {
        for (const std::int64_t time : {8, 24}) {
          const TapRows rows = make_tap_rows(taps, stride, dilation, time, 4);
          // Write each sample's position where the segments have it; each tap must read its own positions.
          std::vector<std::int64_t> memory(static_cast<std::size_t>(rows.channel_pitch), -1);
          for (std::int64_t s = 0; s < rows.segments; ++s) {
            ASSERT_LE(rows.segment_samples(s, time), rows.segment_pitch);
            for (std::int64_t j = 0; j < rows.segment_samples(s, time); ++j) {
              memory[static_cast<std::size_t>(s * rows.segment_pitch + j)] = s * dilation + j * stride;
            }
          }
          for (std::int64_t k = 0; k < taps; ++k) {
            for (std::int64_t t = 0; t < time; ++t) {
              ASSERT_EQ(memory[static_cast<std::size_t>(rows.offset(k) + t)], t * stride + k * dilation)
                  << "stride " << stride << " dilation " << dilation << " taps " << taps << " tap " << k << " t " << t;
            }
          }
          EXPECT_EQ(rows.segment_pitch * 4 / 64 % 2, 1);
          EXPECT_LE(rows.channel_pitch, taps * odd_line_pitch(2 * time, 4)) << "more than the taps read";
        }
      }
    }
  }
}

TEST(Convert, EveryHalfWidensExactlyAndNarrowsBack) {
  for (const IsaTable* table : tables()) {
    for (const DType dtype : {DType::bf16, DType::f16}) {
      std::vector<std::uint16_t> halves(65536), back(65536);
      for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
      std::vector<float> wide(65536);
      SampleRun run;
      run.source = halves.data();
      run.dtype = dtype;
      run.count = 65536;
      table->f32.read_samples(run, wide.data(), 65536);
      FinishRow<float> row;
      row.sums = wide.data();
      row.out = back.data();
      row.dtype = dtype;
      row.count = 65536;
      row.bias = -0.0f;  // adding it changes nothing, not even the sign of zero
      table->f32.finish_row(row);
      TestTensor one(dtype, {1, 1, 1}, Layout::contiguous);
      for (std::size_t i = 0; i < halves.size(); ++i) {
        std::memcpy(one.view().data, &halves[i], 2);
        const long double expected = one.get(0);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(wide[i])) << i;
          std::memcpy(one.view().data, &back[i], 2);
          ASSERT_TRUE(std::isnan(one.get(0))) << i;
        } else {
          ASSERT_EQ(wide[i], static_cast<float>(expected)) << name(table->isa) << " " << name(dtype) << " " << i;
          ASSERT_EQ(back[i], halves[i]) << name(table->isa) << " " << name(dtype);
        }
      }
    }
  }
}

TEST(Convert, NarrowingRoundsToNearestEvenOnce) {
  std::vector<float> values;
  Random random(3);
  for (int i = 0; i < 200000; ++i) {
    const std::uint32_t pattern = static_cast<std::uint32_t>(random.bits());
    float value;
    std::memcpy(&value, &pattern, 4);
    values.push_back(value);
    // Around f16's range, and exactly between two halves.
    values.push_back(std::ldexp(1.0f + static_cast<float>(random.integer(0, 8192)) / 4096.0f,
                                static_cast<int>(random.integer(-26, 16))));
  }
  for (const float special : {65504.0f, 65519.996f, 65520.0f, 0x1p-24f, 0x1p-25f, 0x1.000002p-25f, 0x1p-14f,
                              0x1.ffep-15f, 3.3895314e38f, 3.3961776e38f, 0.0f, INFINITY, NAN}) {
    values.push_back(special);
    values.push_back(-special);
  }
  while (values.size() % 16 != 0) values.push_back(1);
  for (const IsaTable* table : tables()) {
    for (const DType dtype : {DType::bf16, DType::f16}) {
      std::vector<std::uint16_t> out(values.size());
      FinishRow<float> row;
      row.sums = values.data();
      row.out = out.data();
      row.dtype = dtype;
      row.count = static_cast<std::int64_t>(values.size());
      row.bias = -0.0f;
      table->f32.finish_row(row);
      TestTensor one(dtype, {1, 1, 1}, Layout::contiguous);
      for (std::size_t i = 0; i < values.size(); ++i) {
        std::memcpy(one.view().data, &out[i], 2);
        if (std::isnan(values[i])) {
          ASSERT_TRUE(std::isnan(one.get(0))) << i;
        } else {
          ASSERT_EQ(one.get(0), rounded(values[i], dtype))
              << name(table->isa) << " " << name(dtype) << " " << values[i];
        }
      }
    }
  }
}

long double exact(Activation activation, long double z) {
  switch (activation) {
    case Activation::relu: return z < 0 ? 0 : z;
    case Activation::leaky_relu: return z < 0 ? z * static_cast<long double>(0.01f) : z;
    case Activation::gelu: return 0.5L * z * std::erfc(z * -0.70710678118654752440L);
    case Activation::gelu_tanh: return z / (1 + std::exp(-2 * 0.79788456080286535588L * (z + 0.044715L * z * z * z)));
    case Activation::silu: return z / (1 + std::exp(-z));
    case Activation::tanh: return std::tanh(z);
    case Activation::sigmoid: return 1 / (1 + std::exp(-z));
    default: return z;
  }
}

/// Units in the last place of f32 that each function may be off, and how much of an input's own last place counts: the
/// tails of gelu_tanh are e^-p(z) with a rounded polynomial p.
struct Tolerance {
  Activation activation;
  double ulps, argument_ulps;
};

TEST(Activation, WithinAFewUlpOverTheWholeRange) {
  std::vector<float> inputs;
  for (std::uint32_t pattern = 0; pattern < 0x7f800000u; pattern += 4099) {
    float value;
    std::memcpy(&value, &pattern, 4);
    inputs.push_back(value);
    inputs.push_back(-value);
  }
  Random random(5);
  for (int i = 0; i < 400000; ++i) inputs.push_back(static_cast<float>(random.unit() * 220 - 110));
  for (int i = 0; i < 200000; ++i) inputs.push_back(static_cast<float>(random.unit() * 4 - 2));
  while (inputs.size() % 16 != 0) inputs.push_back(0);
  for (const IsaTable* table : tables()) {
    for (const Tolerance& tolerance :
         {Tolerance{Activation::relu, 0, 0}, Tolerance{Activation::leaky_relu, 1, 0}, Tolerance{Activation::gelu, 6, 0},
          Tolerance{Activation::gelu_tanh, 5, 3}, Tolerance{Activation::silu, 4, 0}, Tolerance{Activation::tanh, 3, 0},
          Tolerance{Activation::sigmoid, 4, 0}}) {
      std::vector<float> out(inputs.size());
      FinishRow<float> row;
      row.sums = inputs.data();
      row.out = out.data();
      row.count = static_cast<std::int64_t>(inputs.size());
      row.activation = tolerance.activation;
      row.negative_slope = 0.01f;
      table->f32.finish_row(row);
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const long double z = inputs[i], expected = exact(tolerance.activation, z);
        const long double ulp =
            std::max(std::ldexp(1.0L, std::ilogb(std::max(std::fabs(expected), 1e-300L)) - 23), 0x1p-149L);
        const long double exponent = 1.6L * std::min(std::fabs(z), 15.0L) * (1 + 0.045L * std::min(z * z, 225.0L));
        const long double bound = (tolerance.ulps + tolerance.argument_ulps * exponent) * ulp;
        ASSERT_LE(std::fabs(out[i] - expected), bound)
            << name(table->isa) << " " << name(tolerance.activation) << " of " << inputs[i] << ": got " << out[i]
            << ", expected " << static_cast<double>(expected) << ", off by "
            << static_cast<double>(std::fabs(out[i] - expected) / ulp) << " ulp";
      }
    }
  }
}

TEST(Activation, LimitsAndNaN) {
  struct Case {
    Activation activation;
    double at_minus_inf, at_plus_inf;
  };
  for (const IsaTable* table : tables()) {
    for (const Case& c : {Case{Activation::none, -INFINITY, INFINITY}, Case{Activation::relu, 0, INFINITY},
                          Case{Activation::leaky_relu, -INFINITY, INFINITY}, Case{Activation::gelu, 0, INFINITY},
                          Case{Activation::gelu_tanh, 0, INFINITY}, Case{Activation::silu, 0, INFINITY},
                          Case{Activation::tanh, -1, 1}, Case{Activation::sigmoid, 0, 1}}) {
      const auto check = [&](auto zero) {
        using T = decltype(zero);
        alignas(64) T in[16] = {-INFINITY, INFINITY, NAN}, out[16] = {};
        FinishRow<T> row;
        row.sums = in;
        row.out = out;
        row.count = 3;
        row.activation = c.activation;
        row.negative_slope = T(0.5);
        row.dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;
        real_table<T>(*table).finish_row(row);
        EXPECT_EQ(out[0], T(c.at_minus_inf)) << name(c.activation) << sizeof(T);
        EXPECT_EQ(out[1], T(c.at_plus_inf)) << name(c.activation) << sizeof(T);
        EXPECT_TRUE(std::isnan(out[2])) << name(c.activation) << sizeof(T);
      };
      check(float{});
      check(double{});
    }
  }
}

}  // namespace
}  // namespace longconv::cpu
