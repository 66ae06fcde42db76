// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// 64-bit size algebra that cannot wrap silently. Results are empty once anything overflowed.
#pragma once

#include <cstdint>

namespace longconv {

/// A 64-bit signed integer, or "does not fit": arithmetic on it propagates the latter.
/// checked(a) * b + c is empty if any step left the range of std::int64_t.
class CheckedInt64 {
 public:
  constexpr CheckedInt64(std::int64_t value) : value_(value) {}  // NOLINT: numbers convert

  constexpr bool fits() const { return fits_; }
  /// The number; only when fits().
  constexpr std::int64_t value() const { return value_; }

  friend constexpr CheckedInt64 operator*(CheckedInt64 a, CheckedInt64 b) {
    std::int64_t result = 0;
    if (!a.fits() || !b.fits() || __builtin_mul_overflow(a.value_, b.value_, &result)) return overflown();
    return result;
  }
  friend constexpr CheckedInt64 operator+(CheckedInt64 a, CheckedInt64 b) {
    std::int64_t result = 0;
    if (!a.fits() || !b.fits() || __builtin_add_overflow(a.value_, b.value_, &result)) return overflown();
    return result;
  }
  friend constexpr CheckedInt64 operator-(CheckedInt64 a, CheckedInt64 b) {
    std::int64_t result = 0;
    if (!a.fits() || !b.fits() || __builtin_sub_overflow(a.value_, b.value_, &result)) return overflown();
    return result;
  }

 private:
  static constexpr CheckedInt64 overflown() {
    CheckedInt64 none(0);
    none.fits_ = false;
    return none;
  }
  std::int64_t value_;
  bool fits_ = true;
};

constexpr CheckedInt64 checked(std::int64_t value) { return value; }

/// Quotients rounded towards minus and plus infinity; divisor > 0.
constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a / b + (a % b > 0 ? 1 : 0); }

}  // namespace longconv
