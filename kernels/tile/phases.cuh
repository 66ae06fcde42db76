// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Outputs in interleaved phases: y[p + kPhases*m] takes the taps of phase p, which read x at m + offset(k).
//
//   phase(k) = (kShift - k*kDilation) mod kPhases,   offset(k) = (k*kDilation + phase(k) - kShift) / kPhases
//
// That is a convolution's data gradient (kPhases its stride, k counted from its last tap, kShift what of the first offset is no whole
// step): see src/cuda/polyphase_problem.h. Among kPeriod consecutive taps no two have the same phase, and tap
// k + kPeriod has tap k's phase, kRowStep samples on. With one phase: phase 0, offset k*kDilation.
#pragma once
#include "tile/common.cuh"

LC_CONSTEXPR int64_t gcd_of_wide(int64_t a, int64_t b) { return b ? gcd_of_wide(b, a % b) : a; }

template <int64_t kPhases, int64_t kDilation, int64_t kShift, int64_t kKernel> struct Phases {
  static constexpr int64_t kDivisor = gcd_of_wide(kPhases, kDilation), kCycle = kPhases / kDivisor;
  static constexpr int64_t kPeriod = kCycle < kKernel ? kCycle : kKernel, kRowStep = kDilation / kDivisor;

  static LC_CONSTEXPR int64_t phase(int64_t tap) { return ((kShift - tap * kDilation) % kPhases + kPhases) % kPhases; }
  static LC_CONSTEXPR int64_t offset(int64_t tap) { return (tap * kDilation + phase(tap) - kShift) / kPhases; }
  // The first of a phase's taps; kCycle or more, or not below kKernel: it has none.
  static LC_CONSTEXPR int64_t first_tap(int64_t phase) {
    const int64_t wanted = kShift - phase;
    if (wanted % kDivisor != 0) return kKernel;
    return ((wanted / kDivisor % kCycle + kCycle) * kInverse) % kCycle;
  }

 private:
  // kRowStep * kInverse = 1 modulo kCycle.
  static LC_CONSTEXPR int64_t inverse(int64_t a, int64_t n) {
    int64_t r0 = n, r1 = a % n, t0 = 0, t1 = 1;
    while (r1 != 0) {
      const int64_t q = r0 / r1, r2 = r0 - q * r1, t2 = t0 - q * t1;
      r0 = r1, r1 = r2, t0 = t1, t1 = t2;
    }
    return (t0 % n + n) % n;
  }
  static constexpr int64_t kInverse = kCycle == 1 ? 0 : inverse(kRowStep, kCycle);
};
