// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Every wrapper of kernels/ptx on a real GPU, against results that the host knows exactly.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "gpu/gpu_fixture.h"

namespace longconv::cuda {
namespace {

std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
float float_of(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Round to nearest, ties to even, to a type with `mantissa` explicit bits and the least exponent `least`; what is
/// above `largest` becomes Inf. In double: exact for any float.
double round_to(float value, int mantissa, int least, double largest) {
  if (std::isnan(value) || std::isinf(value) || value == 0) return value;
  const int exponent = std::max(std::ilogb(value), least);
  const double unit = std::ldexp(1.0, exponent - mantissa);
  const double rounded = std::nearbyint(value / unit) * unit;
  return std::fabs(rounded) > largest ? std::copysign(std::numeric_limits<double>::infinity(), rounded) : rounded;
}
double to_bf16(float value) { return round_to(value, 7, -126, std::ldexp(255.0, 120)); }
double to_f16(float value) { return round_to(value, 10, -14, 65504.0); }
/// Ties away, saturating for finite values, as kernels/ptx/types.cuh promises. The low 13 bits do not count.
std::uint32_t to_tf32(float value) {
  const std::uint32_t bits = bits_of(value);
  if (std::isnan(value)) return 0x7fc00000;
  if (std::isinf(value)) return bits;
  const double magnitude = std::fabs(static_cast<double>(value));
  const double unit = value == 0 ? 1.0 : std::ldexp(1.0, std::max(std::ilogb(value), -126) - 10);
  const double rounded = std::min(std::floor(magnitude / unit + 0.5) * unit, static_cast<double>(float_of(0x7f7fe000)));
  return bits_of(std::copysign(static_cast<float>(rounded), value));
}

class PtxTest : public GpuTest {
 protected:
  bool is_hopper() const { return device().compute_capability == 90; }
  template <typename... Arguments>
  void run(const std::string& entry, LaunchShape shape, const Arguments&... arguments) {
    launch(driver(), module().function(entry, shape.dynamic_shared_bytes), shape, stream_.get(), arguments...);
    stream_.synchronize();
  }
  /// Compiled once, by whichever test is first; takes seconds. Lives as long as the process, as the context does.
  const TestModule& module() {
    static const auto* module = new TestModule(compiler_, 0, "ptx_checks.cuh");
    return *module;
  }
};

TEST_F(PtxTest, Conversions) {
  std::vector<float> x;
  // Every sign and exponent, with mantissas around the rounding points of all three types, and random ones.
  std::uint32_t random = 1;
  for (std::uint32_t high = 0; high < 512; ++high) {
    for (const std::uint32_t low :
         {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x1fffu, 0x2000u, 0x3000u, 0x7fffu, 0x8000u, 0x8001u, 0x18000u, 0x7fefffu,
          0x7ff000u, 0x7f7fffu, 0x7f8000u, 0x7fffffu, 0x400000u}) {
      x.push_back(float_of(high << 23 | low));
    }
    for (int i = 0; i < 200; ++i) {
      random = random * 1664525u + 1013904223u;
      x.push_back(float_of(high << 23 | random >> 9));
    }
  }
  const int count = static_cast<int>(x.size());
  const auto device_x = upload(x);
  const auto out = allocate<std::uint32_t>(x.size() * 4), back = allocate<float>(x.size() * 4);
  run("check_conversions", {(count + 255) / 256, 256}, device_x->data(), out->data(), back->data(), count);
  const auto words = download<std::uint32_t>(*out);
  const auto values = download<float>(*back);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto same = [](float actual, double expected) {
      return std::isnan(expected) ? std::isnan(actual)
                                  : actual == expected && std::signbit(actual) == std::signbit(expected);
    };
    const double b = to_bf16(x[i]), h = to_f16(x[i]);
    ASSERT_TRUE(same(values[4 * i], b)) << std::hex << bits_of(x[i]) << " bf16 " << values[4 * i];
    ASSERT_TRUE(same(values[4 * i + 1], h)) << std::hex << bits_of(x[i]) << " f16 " << values[4 * i + 1];
    const std::uint32_t tf32 = words[4 * i + 3] & ~0x1fffu;
    if (std::isnan(x[i])) {
      ASSERT_TRUE(std::isnan(float_of(tf32))) << std::hex << bits_of(x[i]) << " tf32 " << tf32;
      continue;  // the packed forms of a NaN and of its negative need not be each other's negative
    }
    ASSERT_TRUE(same(values[4 * i + 2], b)) << std::hex << bits_of(x[i]) << " packed bf16 " << values[4 * i + 2];
    ASSERT_TRUE(same(values[4 * i + 3], h)) << std::hex << bits_of(x[i]) << " packed f16 " << values[4 * i + 3];
    // Subnormals keep no promise of relative accuracy, but adding half a unit is exact there too.
    ASSERT_EQ(tf32, to_tf32(x[i])) << std::hex << bits_of(x[i]);
  }
}

TEST_F(PtxTest, CpAsyncFillsWithZeros) {
  constexpr int kThreads = 128;
  std::vector<char> in(32 * kThreads);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<char>(1 + i % 97);
  const auto source = upload(in);
  const auto out = allocate<char>(in.size());
  run("check_cp_async", {1, kThreads, 1, 32 * kThreads}, source->data(), out->data());
  const auto copied = download<char>(*out);
  for (int i = 0; i < 32 * kThreads; ++i) {
    const int valid = i / 32 % 17, at = i % 32;
    const bool copies = at < 28, inside = at < 16 ? at < valid : at < 24 ? at - 16 < valid : at - 24 < valid;
    ASSERT_EQ(copied[static_cast<std::size_t>(i)], !copies ? 99 : inside ? in[static_cast<std::size_t>(i)] : 0) << i;
  }
}

TEST_F(PtxTest, LdmatrixAndStmatrix) {
  std::vector<std::uint16_t> in(256);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint16_t>(1000 + i);
  const auto element = [&](int matrix, int row, int column) {
    return std::uint32_t{in[static_cast<std::size_t>(matrix * 64 + row * 8 + column)]};
  };
  const auto source = upload(in);
  const auto out = allocate<std::uint32_t>(13 * 32);
  run("check_ldmatrix", {1, 32}, source->data(), out->data());
  const auto fragments = download<std::uint32_t>(*out);
  const struct {
    int first, matrices;
    bool transposed;
  } loads[] = {{0, 4, false}, {4, 4, true}, {8, 2, false}, {10, 2, true}, {12, 1, false}};
  for (const auto& load : loads) {
    for (int m = 0; m < load.matrices; ++m) {
      for (int lane = 0; lane < 32; ++lane) {
        const int row = lane / 4, column = 2 * (lane % 4);
        const std::uint32_t expected = load.transposed ? element(m, column, row) | element(m, column + 1, row) << 16
                                                       : element(m, row, column) | element(m, row, column + 1) << 16;
        ASSERT_EQ(fragments[static_cast<std::size_t>((load.first + m) * 32 + lane)], expected)
            << load.first + m << " " << lane;
      }
    }
  }
  if (device().compute_capability < 90) return;
  const auto stored = allocate<std::uint16_t>(512);
  run("check_stmatrix", {1, 32}, source->data(), stored->data());
  const auto back = download<std::uint16_t>(*stored);
  for (int i = 0; i < 256; ++i) {
    ASSERT_EQ(back[static_cast<std::size_t>(i)], in[static_cast<std::size_t>(i)]) << i;
    ASSERT_EQ(back[static_cast<std::size_t>(256 + i)], element(i / 64, i % 8, i / 8 % 8)) << i;
  }
}

enum class Type { bf16, f16, tf32 };
int size_bytes(Type type) { return type == Type::tf32 ? 4 : 2; }
const char* name(Type type) { return type == Type::bf16 ? "bf16" : type == Type::f16 ? "f16" : "tf32"; }

/// The bits of a small integer in a type.
std::uint32_t encode(Type type, int value) {
  const std::uint32_t bits = bits_of(static_cast<float>(value));
  if (type == Type::tf32) return bits;
  if (type == Type::bf16) return bits >> 16;
  if (value == 0) return 0;
  return (bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) | (bits >> 13 & 0x3ff);
}
/// A matrix of integers in [-8, 8], not symmetric in any way.
std::vector<int> matrix(int rows, int columns, unsigned seed) {
  std::vector<int> values(static_cast<std::size_t>(rows * columns));
  for (int& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<int>(seed >> 20) % 17 - 8;
  }
  return values;
}
/// sum_k a[m][k] * b[n][k]
int product(const std::vector<int>& a, const std::vector<int>& b, int depth, int m, int n) {
  int sum = 0;
  for (int k = 0; k < depth; ++k)
    sum += a[static_cast<std::size_t>(m * depth + k)] * b[static_cast<std::size_t>(n * depth + k)];
  return sum;
}
/// Row-major, or packed as [16-byte chunk][row][16 bytes].
std::vector<char> bytes_of(Type type, const std::vector<int>& values, int rows, bool packed) {
  const int depth = static_cast<int>(values.size()) / rows, size = size_bytes(type), per_chunk = 16 / size;
  std::vector<char> bytes(values.size() * static_cast<std::size_t>(size));
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < depth; ++k) {
      const std::uint32_t code = encode(type, values[static_cast<std::size_t>(row * depth + k)]);
      const int at = packed ? (k / per_chunk * rows + row) * 16 + k % per_chunk * size : (row * depth + k) * size;
      std::memcpy(bytes.data() + at, &code, static_cast<std::size_t>(size));
    }
  }
  return bytes;
}

TEST_F(PtxTest, MmaSync) {
  for (const Type type : {Type::bf16, Type::f16, Type::tf32}) {
    const int depth = 32 / size_bytes(type);
    const auto a = matrix(16, depth, 1), b = matrix(8, depth, 2);
    const auto device_a = upload(bytes_of(type, a, 16, false)), device_b = upload(bytes_of(type, b, 8, false));
    const auto d = allocate<float>(128);
    run(std::string("check_mma_") + name(type), {1, 32}, device_a->data(), device_b->data(), d->data());
    const auto result = download<float>(*d);
    for (int i = 0; i < 128; ++i) {
      ASSERT_EQ(result[static_cast<std::size_t>(i)], product(a, b, depth, i / 8, i % 8)) << name(type) << " " << i;
    }
  }
}

TEST_F(PtxTest, MmaF64) {
  const struct {
    const char* entry;
    int rows, depth, oldest;
  } cases[] = {{"check_mma_f64", 8, 4, 80}, {"check_mma_f64_k8", 16, 8, 90}};
  for (const auto& c : cases) {
    if (device().compute_capability < c.oldest) continue;
    const auto a = matrix(c.rows, c.depth, 3), b = matrix(8, c.depth, 4);
    const auto device_a = upload(std::vector<double>(a.begin(), a.end())),
               device_b = upload(std::vector<double>(b.begin(), b.end()));
    const auto d = allocate<double>(static_cast<std::size_t>(c.rows * 8));
    run(c.entry, {1, 32}, device_a->data(), device_b->data(), d->data());
    const auto result = download<double>(*d);
    for (int i = 0; i < c.rows * 8; ++i) {
      ASSERT_EQ(result[static_cast<std::size_t>(i)], product(a, b, c.depth, i / 8, i % 8)) << c.entry << " " << i;
    }
  }
}

TEST_F(PtxTest, Wgmma) {
  if (!is_hopper()) GTEST_SKIP() << "wgmma is an instruction of compute capability 9.0";
  for (const Type type : {Type::bf16, Type::f16, Type::tf32}) {
    for (const int n : {8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256}) {
      const int depth = 64 / size_bytes(type);
      const auto a = matrix(64, depth, 5), b = matrix(n, depth, 6);
      const auto device_a = upload(bytes_of(type, a, 64, true)), device_b = upload(bytes_of(type, b, n, true));
      const auto d = allocate<float>(static_cast<std::size_t>(2 * 64 * n));
      run(std::string("check_wgmma_") + name(type) + "_" + std::to_string(n), {1, 128, 1, 1024 + 64 * (64 + n)},
          device_a->data(), device_b->data(), d->data());
      const auto result = download<float>(*d);
      for (int i = 0; i < 2 * 64 * n; ++i) {
        ASSERT_EQ(result[static_cast<std::size_t>(i)], product(a, b, depth, i / n % 64, i % n))
            << name(type) << " n" << n << (i < 64 * n ? " shared " : " registers ") << i / n % 64 << "," << i % n;
      }
    }
  }
}

/// Packed as [16-byte chunk of 8 rows][40 lines][16 bytes], 16-bit types; k is line k + 3, the other lines are NaN.
std::vector<char> transposed_bytes_of(Type type, const std::vector<int>& values, int rows) {
  constexpr int kLines = 40;
  const int depth = static_cast<int>(values.size()) / rows;
  std::vector<char> bytes(static_cast<std::size_t>(rows * kLines * 2), '\x7f');
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < depth; ++k) {
      const std::uint32_t code = encode(type, values[static_cast<std::size_t>(row * depth + k)]);
      std::memcpy(bytes.data() + (row / 8 * kLines + k + 3) * 16 + row % 8 * 2, &code, 2);
    }
  }
  return bytes;
}

TEST_F(PtxTest, WgmmaTransposed) {
  if (!is_hopper()) GTEST_SKIP() << "wgmma is an instruction of compute capability 9.0";
  const struct {
    Type type;
    int n;
  } cases[] = {{Type::bf16, 8}, {Type::bf16, 64}, {Type::bf16, 192}, {Type::f16, 128}};
  for (const auto& [type, n] : cases) {
    constexpr int kDepth = 32;
    const auto a = matrix(64, kDepth, 7), b = matrix(n, kDepth, 8);
    const auto device_a = upload(bytes_of(type, a, 64, true)), device_b = upload(bytes_of(type, b, n, true)),
               device_at = upload(transposed_bytes_of(type, a, 64)),
               device_bt = upload(transposed_bytes_of(type, b, n));
    const auto d = allocate<float>(static_cast<std::size_t>(4 * 64 * n));
    run(std::string("check_transposed_") + name(type) + "_" + std::to_string(n),
        {1, 128, 1, 1024 + (64 + 80) * (64 + n)}, device_a->data(), device_b->data(), device_at->data(),
        device_bt->data(), d->data());
    const auto result = download<float>(*d);
    for (int i = 0; i < 4 * 64 * n; ++i) {
      const char* const forms[] = {" A and B ", " A ", " B ", " B, A in registers "};
      ASSERT_EQ(result[static_cast<std::size_t>(i)], product(a, b, kDepth, i / n % 64, i % n))
          << name(type) << " n" << n << forms[i / (64 * n)] << i / n % 64 << "," << i % n;
    }
  }
}

TEST_F(PtxTest, ElectOneOfEachWarp) {
  if (device().compute_capability < 90) GTEST_SKIP() << "elect.sync needs compute capability 9.0";
  const auto out = allocate<std::uint32_t>(96);
  run("check_elect_one", {1, 96}, out->data());
  const auto elected = download<std::uint32_t>(*out);
  for (std::size_t warp = 0; warp < 3; ++warp) {
    std::uint32_t sum = 0;
    for (std::size_t lane = 0; lane < 32; ++lane) sum += elected[32 * warp + lane];
    EXPECT_EQ(sum, 3u) << "warp " << warp;
  }
}

TEST_F(PtxTest, BulkCopiesBarriersAndClusters) {
  if (device().compute_capability < 90) GTEST_SKIP() << "bulk copies need compute capability 9.0";
  for (const std::uint32_t bytes : {16u, 48u, 4096u, 65536u}) {
    constexpr int kRounds = 7;
    std::vector<std::uint32_t> in(bytes / 4 * kRounds);
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint32_t>(i * 2654435761u);
    const auto source = upload(in);
    const auto out = allocate<std::uint32_t>(2 * in.size());
    const int rounds = kRounds;
    run("check_bulk_copies", {2, 64, 2, 128 + bytes}, source->data(), out->data(), bytes, rounds);
    const auto copied = download<std::uint32_t>(*out);
    for (std::size_t i = 0; i < copied.size(); ++i) {
      ASSERT_EQ(copied[i], in[i % in.size()] + 1) << bytes << " bytes, word " << i;
    }
  }
}

/// Where 16 bytes are in a row of 128 that is swizzled.
std::size_t swizzled_unit(std::size_t row, std::size_t unit) { return unit ^ (row & 7); }

TEST_F(PtxTest, TensorLoads) {
  if (!is_hopper()) GTEST_SKIP() << "its kernels are of compute capability 9.0";
  // Rows of 72 elements of 16 bits, of which 69 exist; 40 rows of a signal, 2 signals. Element values are their places.
  constexpr std::uint64_t kSizes[3] = {69, 40, 2}, kStrides[2] = {144, 40 * 144};
  constexpr std::uint32_t kBox[3] = {64, 16, 1}, kEvery[3] = {1, 1, 1};
  std::vector<std::uint16_t> in(2 * 40 * 72);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint16_t>(i + 1);
  const auto source = upload(in);
  CUtensorMap map;
  driver().tensor_map_encode_tiled(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 3, source->data(), kSizes, kStrides, kBox,
                                   kEvery, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  for (const auto& [c0, c1, c2] : {std::array<int, 3>{0, 0, 0}, {16, 3, 1}, {-8, -5, 0}, {24, 20, 1}, {0, 0, 2}}) {
    const auto out = allocate<std::uint16_t>(6 * 16 * 64);
    run("check_tensor_loads", {2, 64, 2, 1024 + 3 * 16 * 128}, map, out->data(), c0, c1, c2);
    const auto result = download<std::uint16_t>(*out);
    for (std::size_t i = 0; i < result.size(); ++i) {
      const std::size_t box = i / (16 * 64), row = i / 64 % 16, unit = swizzled_unit(row, i / 8 % 8);
      const int time = c0 + static_cast<int>(unit * 8 + i % 8);
      const int rank = static_cast<int>(box / 3), which = static_cast<int>(box % 3);
      const int channel = c1 + static_cast<int>(row) + (which == 0 ? rank : 16 + which - 1);
      const bool exists = time >= 0 && time < 69 && channel >= 0 && channel < 40 && c2 < 2;
      const int expected = exists ? (c2 * 40 + channel) * 72 + time + 1 : 0;
      ASSERT_EQ(result[i], expected) << "box " << box << " row " << row << " element " << i % 64 << " at " << c0 << ","
                                     << c1 << "," << c2;
    }
  }
}

TEST_F(PtxTest, WgmmaSwizzled) {
  if (!is_hopper()) GTEST_SKIP() << "wgmma is an instruction of compute capability 9.0";
  constexpr int kDepth = 64;
  const auto a = matrix(64, kDepth, 9), b = matrix(64, kDepth, 10);
  const auto swizzled = [&](const std::vector<int>& values) {
    std::vector<char> bytes(64 * 128);
    for (std::size_t row = 0; row < 64; ++row) {
      for (std::size_t k = 0; k < kDepth; ++k) {
        const std::uint32_t code = encode(Type::bf16, values[row * kDepth + k]);
        std::memcpy(bytes.data() + row * 128 + swizzled_unit(row, k / 8) * 16 + k % 8 * 2, &code, 2);
      }
    }
    return bytes;
  };
  const auto device_a = upload(swizzled(a)), device_b = upload(swizzled(b));
  const auto d = allocate<float>(64 * 64);
  run("check_swizzled_wgmma", {1, 128, 1, 1024 + 2 * 64 * 128}, device_a->data(), device_b->data(), d->data());
  const auto result = download<float>(*d);
  for (int i = 0; i < 64 * 64; ++i)
    ASSERT_EQ(result[static_cast<std::size_t>(i)], product(a, b, kDepth, i / 64, i % 64)) << i / 64 << "," << i % 64;
}

}  // namespace
}  // namespace longconv::cuda
