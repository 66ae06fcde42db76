// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "support/test_tensor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace longconv::testing {
namespace {

constexpr std::string_view kLayoutNames[] = {"contiguous", "aligned",        "channels_last", "sliced",
                                             "stepped",    "expanded_batch", "expanded_all"};
constexpr std::string_view kValuesNames[] = {"uniform", "positive", "wide"};
constexpr std::size_t kMarginBytes = 256;  // readable NaN before each tensor
constexpr unsigned char kCanary = 0xff;

template <class Enum, std::size_t N>
bool find(const std::string_view (&names)[N], std::string_view text, Enum& out) {
  const auto at = std::find(std::begin(names), std::end(names), text);
  if (at == std::end(names)) return false;
  out = static_cast<Enum>(at - std::begin(names));
  return true;
}

/// An IEEE binary format by its field widths, computed with arithmetic alone.
struct Format {
  int fraction_bits;
  int exponent_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }

  long double round(long double value) const {
    if (!std::isfinite(value) || value == 0) return value;
    const int exponent = std::max(std::ilogb(value), 1 - bias());
    const long double unit = std::ldexp(1.0L, exponent - fraction_bits);
    const long double result = std::nearbyint(value / unit) * unit;
    const long double largest = std::ldexp(2.0L - std::ldexp(1.0L, -fraction_bits), bias());
    return std::fabs(result) > largest ? std::copysign(std::numeric_limits<long double>::infinity(), value) : result;
  }

  std::uint16_t encode(long double value) const {
    const auto sign = static_cast<unsigned>(std::signbit(value)) << (fraction_bits + exponent_bits);
    const unsigned all_exponent_bits = ((1u << exponent_bits) - 1) << fraction_bits;
    if (std::isnan(value)) return static_cast<std::uint16_t>(sign | all_exponent_bits | (1u << (fraction_bits - 1)));
    const long double magnitude = std::fabs(round(value));
    if (std::isinf(magnitude)) return static_cast<std::uint16_t>(sign | all_exponent_bits);
    if (magnitude == 0) return static_cast<std::uint16_t>(sign);
    const int exponent = std::max(std::ilogb(magnitude), 1 - bias());
    // With the hidden bit included, a carry into the exponent field is what makes the number normal.
    const auto significand = static_cast<unsigned>(std::ldexp(magnitude, fraction_bits - exponent));
    return static_cast<std::uint16_t>(sign |
                                      (significand + (static_cast<unsigned>(exponent + bias() - 1) << fraction_bits)));
  }

  long double decode(std::uint16_t bits) const {
    const unsigned fraction = bits & ((1u << fraction_bits) - 1);
    const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const long double sign = bits >> (fraction_bits + exponent_bits) ? -1.0L : 1.0L;
    if (exponent == (1 << exponent_bits) - 1) {
      return fraction != 0 ? std::numeric_limits<long double>::quiet_NaN()
                           : sign * std::numeric_limits<long double>::infinity();
    }
    const unsigned hidden = exponent != 0 ? 1u << fraction_bits : 0u;
    return sign *
           std::ldexp(static_cast<long double>(fraction + hidden), std::max(exponent, 1) - bias() - fraction_bits);
  }
};

constexpr Format kBfloat16{7, 8};
constexpr Format kFloat16{10, 5};

template <class T>
T load(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
void store(unsigned char* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

std::array<std::int64_t, 3> strides_of(const std::vector<std::int64_t>& sizes, Layout layout) {
  if (sizes.size() == 1) {
    const bool expanded = layout == Layout::expanded_batch || layout == Layout::expanded_all;
    return {expanded ? 0 : layout == Layout::stepped ? 2 : 1, 0, 0};
  }
  const std::int64_t channels = sizes[1], samples = sizes[2];
  switch (layout) {
    case Layout::contiguous:
    case Layout::aligned: return {channels * samples, samples, 1};
    case Layout::channels_last: return {channels * samples, 1, channels};
    case Layout::sliced: return {(channels + 2) * (samples + 3) + 1, samples + 3, 1};
    case Layout::stepped: return {channels * (2 * samples + 1), 2 * samples + 1, 2};
    case Layout::expanded_batch: return {0, samples, 1};
    case Layout::expanded_all: return {0, 0, 0};
  }
  return {};
}

}  // namespace

GuardedMemory::GuardedMemory(std::size_t bytes, std::size_t alignment) : bytes_(bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t aligned_bytes = (bytes + alignment - 1) / alignment * alignment;
  readable_bytes_ = (aligned_bytes + kMarginBytes + page - 1) / page * page;
  mapping_bytes_ = readable_bytes_ + page;
  void* const memory = mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mapped_ = static_cast<unsigned char*>(memory);
  std::memset(mapped_, kCanary, readable_bytes_);
  mprotect(mapped_ + readable_bytes_, page, PROT_NONE);
  data_ = mapped_ + readable_bytes_ - aligned_bytes;
}

GuardedMemory::~GuardedMemory() {
  if (mapped_ != nullptr) munmap(mapped_, mapping_bytes_);
}

GuardedMemory::GuardedMemory(GuardedMemory&& other) noexcept
    : mapped_(std::exchange(other.mapped_, nullptr)),
      mapping_bytes_(other.mapping_bytes_),
      readable_bytes_(other.readable_bytes_),
      data_(other.data_),
      bytes_(other.bytes_) {}

GuardedMemory& GuardedMemory::operator=(GuardedMemory&& other) noexcept {
  std::swap(mapped_, other.mapped_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  std::swap(readable_bytes_, other.readable_bytes_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

std::string_view name(Layout value) { return kLayoutNames[static_cast<std::size_t>(value)]; }
std::string_view name(Values value) { return kValuesNames[static_cast<std::size_t>(value)]; }
bool parse(std::string_view text, Layout& out) { return find(kLayoutNames, text, out); }
bool parse(std::string_view text, Values& out) { return find(kValuesNames, text, out); }

std::uint64_t Random::bits() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::int64_t Random::integer(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(high - low + 1));
}

long double rounded(long double value, DType dtype) {
  switch (dtype) {
    case DType::f32: return static_cast<float>(value);
    case DType::f64: return static_cast<double>(value);
    case DType::bf16: return kBfloat16.round(value);
    case DType::f16: return kFloat16.round(value);
    default: return value;
  }
}

TestTensor::TestTensor(DType dtype, std::vector<std::int64_t> sizes, Layout layout, std::int64_t tail_elements) {
  view_.dtype = dtype;
  view_.rank = static_cast<int>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), view_.sizes.begin());
  view_.strides = strides_of(sizes, layout);
  std::int64_t span = 1;
  for (int i = 0; i < view_.rank; ++i) span += (std::max<std::int64_t>(sizes[i], 1) - 1) * view_.strides[i];
  const std::int64_t alignment = layout == Layout::aligned ? 256 : size_bytes(real_dtype(dtype));
  memory_ = GuardedMemory(static_cast<std::size_t>((span + tail_elements) * size_bytes(dtype)),
                          static_cast<std::size_t>(alignment));
  view_.data = memory_.data();
}

std::int64_t TestTensor::element_count() const {
  std::int64_t count = defined() ? 1 : 0;
  for (int i = 0; i < view_.rank; ++i) count *= view_.sizes[i];
  return count;
}

unsigned char* TestTensor::element(std::int64_t flat) const {
  std::int64_t offset = 0;
  for (int i = view_.rank - 1; i >= 0; --i) {
    offset += flat % view_.sizes[i] * view_.strides[i];
    flat /= view_.sizes[i];
  }
  return memory_.data() + offset * size_bytes(view_.dtype);
}

long double TestTensor::get(std::int64_t flat, int c) const {
  const DType real = real_dtype(view_.dtype);
  const unsigned char* const at = element(flat) + c * size_bytes(real);
  switch (real) {
    case DType::f32: return load<float>(at);
    case DType::f64: return load<double>(at);
    case DType::bf16: return kBfloat16.decode(load<std::uint16_t>(at));
    case DType::f16: return kFloat16.decode(load<std::uint16_t>(at));
    default: return static_cast<long double>(load<std::int64_t>(at));
  }
}

void TestTensor::set(std::int64_t flat, long double value, int c) {
  const DType real = real_dtype(view_.dtype);
  unsigned char* const at = element(flat) + c * size_bytes(real);
  switch (real) {
    case DType::f32: return store(at, static_cast<float>(value));
    case DType::f64: return store(at, static_cast<double>(value));
    case DType::bf16: return store(at, kBfloat16.encode(value));
    case DType::f16: return store(at, kFloat16.encode(value));
    default: return store(at, static_cast<std::int64_t>(value));
  }
}

std::int64_t TestTensor::get_integer(std::int64_t flat) const { return load<std::int64_t>(element(flat)); }
void TestTensor::set_integer(std::int64_t flat, std::int64_t value) { store(element(flat), value); }

void TestTensor::fill(Random& random, Values values) {
  const int spread = view_.dtype == DType::f16 ? 4 : 12;  // octaves
  for (std::int64_t flat = 0; flat < element_count(); ++flat) {
    if (view_.dtype == DType::i64) {
      set_integer(flat, static_cast<std::int64_t>(random.bits()));
      continue;
    }
    for (int c = 0; c < components(); ++c) {
      switch (values) {
        case Values::uniform: set(flat, 2 * random.unit() - 1, c); break;
        case Values::positive: set(flat, 1 - random.unit(), c); break;
        case Values::wide: {
          const auto exponent = static_cast<int>(random.integer(-spread, spread));
          set(flat, std::ldexp(2 * random.unit() - 1, exponent), c);
          break;
        }
      }
    }
  }
}

std::vector<unsigned char> TestTensor::snapshot() const {
  return {memory_.mapped(), memory_.mapped() + memory_.mapped_bytes()};
}

std::string TestTensor::stray_write() const {
  std::vector<bool> owned(memory_.mapped_bytes(), false);
  const std::int64_t bytes = size_bytes(view_.dtype);
  for (std::int64_t flat = 0; flat < element_count(); ++flat) {
    const std::ptrdiff_t begin = element(flat) - memory_.mapped();
    std::fill(owned.begin() + begin, owned.begin() + begin + bytes, true);
  }
  for (std::size_t at = 0; at < memory_.mapped_bytes(); ++at) {
    if (owned[at] || memory_.mapped()[at] == kCanary) continue;
    const std::ptrdiff_t offset = memory_.mapped() + at - memory_.data();
    return "byte " + std::to_string(offset) + " from the first element, which belongs to no element, was written";
  }
  return {};
}

}  // namespace longconv::testing
