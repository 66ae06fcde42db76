// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Tensors for tests: any layout, in memory that shows every stray read and write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longconv/tensor_view.h"

namespace longconv::testing {

/// Bytes that end where an unreadable page begins (an overread crashes, with and without sanitizers) and start out as
/// 0xff, which is NaN in every floating-point dtype and -1 in i64.
class GuardedMemory {
 public:
  /// `alignment`: of the first byte; at most 4096. Sizes that are no multiple of it leave slack before the guard.
  explicit GuardedMemory(std::size_t bytes, std::size_t alignment = 1);
  ~GuardedMemory();
  GuardedMemory(GuardedMemory&& other) noexcept;
  GuardedMemory& operator=(GuardedMemory&& other) noexcept;

  unsigned char* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  /// All bytes that the program may touch: slack before and after data() included.
  unsigned char* mapped() const { return mapped_; }
  std::size_t mapped_bytes() const { return readable_bytes_; }

 private:
  unsigned char* mapped_ = nullptr;
  std::size_t mapping_bytes_ = 0;
  std::size_t readable_bytes_ = 0;
  unsigned char* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// How a tensor lies in memory.
enum class Layout : std::uint8_t {
  contiguous,      ///< row-major, from any element on
  aligned,         ///< row-major from 256 bytes on, as PyTorch allocates
  channels_last,   ///< (n, t, c) in memory
  sliced,          ///< cut out of a larger tensor: gaps between rows, channels and items
  stepped,         ///< every second sample, tap or channel of a larger tensor
  expanded_batch,  ///< inputs: first stride 0; outputs contiguous
  expanded_all,    ///< inputs: all strides 0, as the gradient of a sum is; outputs contiguous
};
inline constexpr Layout kLayouts[] = {Layout::contiguous, Layout::aligned,        Layout::channels_last, Layout::sliced,
                                      Layout::stepped,    Layout::expanded_batch, Layout::expanded_all};
std::string_view name(Layout);
bool parse(std::string_view text, Layout& out);

/// What the elements are drawn from.
enum class Values : std::uint8_t {
  uniform,   ///< [-1, 1); i64: all 64 bits
  positive,  ///< (0, 1]: no cancellation, rounding errors add up
  wide,      ///< +-2^[-12, 12]: neighbours of very different size (f16: +-2^[-4, 4])
};
inline constexpr Values kValues[] = {Values::uniform, Values::positive, Values::wide};
std::string_view name(Values);
bool parse(std::string_view text, Values& out);

/// splitmix64: the same numbers on every machine and standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits();
  /// Uniform in [0, 1) with 53 bits.
  double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  /// Uniform in [low, high].
  std::int64_t integer(std::int64_t low, std::int64_t high);

 private:
  std::uint64_t state_;
};

/// An owned tensor of rank 1 or 3. Elements are read and written as long double, rounded to nearest even of the dtype.
class TestTensor {
 public:
  TestTensor() = default;
  /// `tail_elements`: distance to the guard page, which varies the alignment (but of Layout::aligned).
  TestTensor(DType dtype, std::vector<std::int64_t> sizes, Layout layout, std::int64_t tail_elements = 0);

  const TensorView& view() const { return view_; }
  bool defined() const { return view_.defined(); }
  std::int64_t element_count() const;
  /// Real numbers per element: 2 for complex dtypes.
  int components() const { return is_complex(view_.dtype) ? 2 : 1; }

  /// Component `c` of the element at row-major index `flat`.
  long double get(std::int64_t flat, int c = 0) const;
  void set(std::int64_t flat, long double value, int c = 0);
  std::int64_t get_integer(std::int64_t flat) const;
  void set_integer(std::int64_t flat, std::int64_t value);
  void fill(Random& random, Values values);

  /// The allocation around the elements, to copy it to a GPU and back.
  const GuardedMemory& memory() const { return memory_; }
  /// All bytes of the allocation, to find writes that should not have been.
  std::vector<unsigned char> snapshot() const;
  /// Empty if the bytes that belong to no element are as they were made; else where the first stray write is.
  std::string stray_write() const;

 private:
  unsigned char* element(std::int64_t flat) const;
  GuardedMemory memory_{0};
  TensorView view_;
};

/// Value of a real number rounded to a dtype (real dtypes other than i64).
long double rounded(long double value, DType dtype);

}  // namespace longconv::testing
