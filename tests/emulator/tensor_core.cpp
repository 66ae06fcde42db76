// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "emulator/tensor_core.h"

#include <cmath>
#include <cstdint>
#include <cstring>

// The innermost loops for the machine that runs them.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define LONGCONV_VECTORISED __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define LONGCONV_VECTORISED
#endif

namespace longconv::emulator {
namespace {

template <typename To, typename From>
To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

double bf16_value(std::uint32_t bits) { return static_cast<double>(bits_as<float>(bits << 16)); }
double f16_value(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fff, sign = (bits & 0x8000) << 16;
  if (magnitude >= 0x7c00) return static_cast<double>(bits_as<float>(sign | 0x7f800000 | magnitude << 13));
  return static_cast<double>(bits_as<float>(sign | bits_as<std::uint32_t>(bits_as<float>(magnitude << 13) * 0x1p112f)));
}
double tf32_value(std::uint32_t bits) { return static_cast<double>(bits_as<float>(bits & ~0x1fffu)); }

/// To float, towards zero. What is beyond float's range becomes Inf.
inline float truncated(double value) {
  const float nearest = static_cast<float>(value);
  const bool above = std::fabs(static_cast<double>(nearest)) > std::fabs(value) && std::fabs(value) < 0x1p128;
  return bits_as<float>(bits_as<std::uint32_t>(nearest) - static_cast<std::uint32_t>(above));
}

/// Element i of a lane's registers: word i of the type's, or half of one.
double element(Number type, const std::uint32_t* words, int i) {
  if (type == Number::tf32) return tf32_value(words[i]);
  const std::uint32_t half = words[i / 2] >> (16 * (i & 1)) & 0xffff;
  return type == Number::bf16 ? bf16_value(half) : f16_value(half);
}

/// m16n8kD, or m8n8k4 when `rows` is 8. Fragment layouts as kernels/ptx/mma_sync.cuh says.
void mma(Number type, int rows, int depth, const WarpArgument (&lanes)[32]) {
  const int per_word = type == Number::bf16 || type == Number::f16 ? 2 : 1, width = 4 * per_word;
  const int a_words = depth / width * (rows / 8);
  const auto read = [&](int lane, int i) {
    return type == Number::f64 ? static_cast<const double*>(lanes[lane].in)[i]
                               : element(type, static_cast<const std::uint32_t*>(lanes[lane].in), i);
  };
  double a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, c = lane % 4;
    for (int block = 0; block < depth / width; ++block) {
      for (int e = 0; e < per_word; ++e) {
        const int k = block * width + c * per_word + e;
        for (int h = 0; h < rows / 8; ++h) a[8 * h + g][k] = read(lane, (block * (rows / 8) + h) * per_word + e);
        b[k][g] = read(lane, (a_words + block) * per_word + e);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < rows / 4; ++i) {
      const int m = lane / 4 + 8 * (i / 2), n = 2 * (lane % 4) + i % 2;
      if (type == Number::f64) {
        double& d = static_cast<double*>(lanes[lane].out)[i];
        for (int k = 0; k < depth; ++k) d = std::fma(a[m][k], b[k][n], d);
      } else {
        float& d = static_cast<float*>(lanes[lane].out)[i];
        double sum = 0;
        for (int k = 0; k < depth; ++k) sum += a[m][k] * b[k][n];
        d = truncated(sum + static_cast<double>(d));
      }
    }
  }
}

/// Rows of matrix m come from lanes 8m to 8m + 7; element (r, c) of it is a 16-bit number.
void move_matrices(bool store, bool transposed, const WarpArgument (&lanes)[32], unsigned char* const (&rows)[32]) {
  const unsigned count = lanes[0].count;
  std::uint16_t matrix[4][8][8];
  if (!store) {
    for (unsigned m = 0; m < count; ++m)
      for (int r = 0; r < 8; ++r) std::memcpy(matrix[m][r], rows[8 * m + static_cast<unsigned>(r)], 16);
  }
  for (unsigned m = 0; m < count; ++m) {
    for (int lane = 0; lane < 32; ++lane) {
      const int r = lane / 4, c = 2 * (lane % 4);
      std::uint16_t& low = transposed ? matrix[m][c][r] : matrix[m][r][c];
      std::uint16_t& high = transposed ? matrix[m][c + 1][r] : matrix[m][r][c + 1];
      if (store) {
        const std::uint32_t word = static_cast<const std::uint32_t*>(lanes[lane].in)[m];
        low = static_cast<std::uint16_t>(word), high = static_cast<std::uint16_t>(word >> 16);
      } else {
        static_cast<std::uint32_t*>(lanes[lane].out)[m] = low | std::uint32_t{high} << 16;
      }
    }
  }
  if (store) {
    for (unsigned m = 0; m < count; ++m)
      for (int r = 0; r < 8; ++r) std::memcpy(rows[8 * m + static_cast<unsigned>(r)], matrix[m][r], 16);
  }
}

}  // namespace

bool stores_rows(WarpOperation operation) {
  return operation == WarpOperation::store_matrix || operation == WarpOperation::store_transposed;
}
bool takes_rows(WarpOperation operation) {
  return stores_rows(operation) || operation == WarpOperation::load_matrix ||
         operation == WarpOperation::load_transposed;
}

const char* name(WarpOperation operation) {
  switch (operation) {
    case WarpOperation::sync: return "__syncwarp";
    case WarpOperation::shuffle_xor: return "__shfl_xor_sync";
    case WarpOperation::shuffle: return "__shfl_sync";
    case WarpOperation::reduce_max: return "__reduce_max_sync";
    case WarpOperation::reduce_min: return "__reduce_min_sync";
    case WarpOperation::ballot: return "__ballot_sync";
    case WarpOperation::load_matrix:
    case WarpOperation::load_transposed: return "ldmatrix";
    case WarpOperation::store_matrix:
    case WarpOperation::store_transposed: return "stmatrix";
    default: return "mma.sync";
  }
}

void perform(WarpOperation operation, unsigned mask, const WarpArgument (&lanes)[32],
             unsigned char* const (&rows)[32]) {
  std::uint32_t word[32] = {};
  const auto has = [mask](unsigned lane) { return (mask >> lane & 1) != 0; };
  const auto result = [&](unsigned lane, std::uint32_t value) { std::memcpy(lanes[lane].out, &value, 4); };
  if (operation >= WarpOperation::shuffle_xor && operation <= WarpOperation::ballot) {
    for (unsigned lane = 0; lane < 32; ++lane)
      if (has(lane)) std::memcpy(&word[lane], lanes[lane].in, 4);
  }
  switch (operation) {
    case WarpOperation::sync: return;
    case WarpOperation::shuffle_xor:
    case WarpOperation::shuffle:
      for (unsigned lane = 0; lane < 32; ++lane) {
        if (!has(lane)) continue;
        const unsigned from =
            operation == WarpOperation::shuffle ? lanes[lane].parameter & 31 : (lane ^ lanes[lane].parameter) & 31;
        result(lane, has(from) ? word[from] : 0xffffffffu);  // of a lane that takes no part: undefined
      }
      return;
    case WarpOperation::reduce_max:
    case WarpOperation::reduce_min:
    case WarpOperation::ballot: {
      std::uint32_t all = operation == WarpOperation::reduce_min ? 0xffffffffu : 0;
      for (unsigned lane = 0; lane < 32; ++lane) {
        if (!has(lane)) continue;
        if (operation == WarpOperation::ballot)
          all |= static_cast<std::uint32_t>(word[lane] != 0) << lane;
        else if (operation == WarpOperation::reduce_max ? word[lane] > all : word[lane] < all)
          all = word[lane];
      }
      for (unsigned lane = 0; lane < 32; ++lane)
        if (has(lane)) result(lane, all);
      return;
    }
    case WarpOperation::load_matrix: return move_matrices(false, false, lanes, rows);
    case WarpOperation::load_transposed: return move_matrices(false, true, lanes, rows);
    case WarpOperation::store_matrix: return move_matrices(true, false, lanes, rows);
    case WarpOperation::store_transposed: return move_matrices(true, true, lanes, rows);
    case WarpOperation::mma_bf16: return mma(Number::bf16, 16, 16, lanes);
    case WarpOperation::mma_f16: return mma(Number::f16, 16, 16, lanes);
    case WarpOperation::mma_tf32: return mma(Number::tf32, 16, 8, lanes);
    case WarpOperation::mma_f64: return mma(Number::f64, 8, 4, lanes);
    case WarpOperation::mma_f64_k8: return mma(Number::f64, 16, 8, lanes);
  }
}

void unpack_chunk(Number type, const unsigned char* bytes, double* to, int step) {
  std::uint32_t words[4];
  std::memcpy(words, bytes, 16);
  for (int i = 0; i < chunk_elements(type); ++i) to[i * step] = element(type, words, i);
}

LONGCONV_VECTORISED
void multiply(const WgmmaTile& tile, int columns, int depth, bool accumulate, float* const (&d)[128]) {
  for (int m = 0; m < WgmmaTile::kRows; ++m) {
    const int first = 32 * (m / 16) + 4 * (m % 8), h = m % 16 / 8;
    double row[WgmmaTile::kMaxColumns];
    float result[WgmmaTile::kMaxColumns];
    for (int n = 0; n < columns; ++n) row[n] = 0;
    for (int k = 0; k < depth; ++k) {
      const double a = tile.a[m][k];
      const double* const b = tile.b[k];
      for (int n = 0; n < columns; ++n) row[n] += a * b[n];
    }
    if (accumulate) {
      for (int c = 0; c < 4; ++c) {
        const float* const from = d[first + c] + 2 * h;
        for (int j = 0; j < columns / 8; ++j) {
          row[8 * j + 2 * c] += static_cast<double>(from[4 * j]);
          row[8 * j + 2 * c + 1] += static_cast<double>(from[4 * j + 1]);
        }
      }
    }
    for (int n = 0; n < columns; ++n) result[n] = truncated(row[n]);
    for (int c = 0; c < 4; ++c) {
      float* const to = d[first + c] + 2 * h;
      for (int j = 0; j < columns / 8; ++j) {
        to[4 * j] = result[8 * j + 2 * c];
        to[4 * j + 1] = result[8 * j + 2 * c + 1];
      }
    }
  }
}

}  // namespace longconv::emulator
