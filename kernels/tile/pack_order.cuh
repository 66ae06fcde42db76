// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Packed rows: a tap of a strided convolution reads every stride-th sample, so samples are kept by residue (polyphase):
// plane p, row r holds raw element e = r*kStride + residue(p). Tap k is row k*dilation/stride of plane k*dilation mod stride.
#pragma once
#include "tile/common.cuh"
#include "tile/phases.cuh"

// Which residues of time the taps of one group need: all of them, or one plane for each tap.
template <int kStrideSamples, int kDilationSamples, int kGroupTaps> struct Polyphase {
  static constexpr int kStride = kStrideSamples, kDilation = kDilationSamples, kTaps = kGroupTaps;
  static constexpr int kResidueStep = gcd_of(kDilation % kStride ? kDilation % kStride : kStride, kStride);
  static constexpr bool kAllResidues = kTaps >= kStride / kResidueStep;
  static constexpr int kPlanes = kAllResidues ? kStride / kResidueStep : kTaps;
  static LC_CONSTEXPR int plane(int tap) { return kAllResidues ? tap * kDilation % kStride / kResidueStep : tap; }
  static LC_CONSTEXPR int residue(int plane) { return kAllResidues ? plane * kResidueStep : plane * kDilation % kStride; }
  // The row, counted over all planes of `plane_rows` rows, at which a tap's samples begin.
  static LC_DEVICE int tap_row(int tap, int plane_rows) { return plane(tap) * plane_rows + tap * kDilation / kStride; }
  // Rows that a group's taps read beyond those of one tap; samples between the windows of neighbouring groups.
  static constexpr int kTapRows = (kTaps - 1) * kDilation / kStride;
  static constexpr int64_t kGroupStep = static_cast<int64_t>(kTaps) * kDilation;
  // All outputs are of one phase (tile/phases.cuh).
  static constexpr int kPhases = 1, kPeriod = 1;
  static LC_CONSTEXPR int phase(int) { return 0; }
  static LC_CONSTEXPR bool has_taps(int) { return true; }
};

// The taps of outputs in kPhases interleaved phases: the signal is read with stride 1, in one plane. A group has whole periods of
// taps, or is the only one.
template <int kOutPhases, int kDilationSamples, int kShift, int kGroupTaps, int kKernel> struct Interleaved {
  using All = Phases<kOutPhases, kDilationSamples, kShift, kKernel>;
  static constexpr int kPhases = kOutPhases, kPeriod = static_cast<int>(All::kPeriod), kTaps = kGroupTaps;
  static_assert(kTaps % kPeriod == 0 || kTaps == kKernel, "groups begin with the same phase");
  static constexpr int kStride = 1, kDilation = kDilationSamples, kPlanes = 1;
  static LC_CONSTEXPR int residue(int) { return 0; }
  static LC_CONSTEXPR int phase(int tap) { return static_cast<int>(All::phase(tap)); }
  static LC_CONSTEXPR bool has_taps(int phase) { return All::first_tap(phase) < kKernel; }
  static LC_DEVICE int tap_row(int tap, int) { return (tap * kDilation - kShift + kPhases - 1) / kPhases; }
  static constexpr int kTapRows = max_of(0, ((kTaps - 1) * kDilation - kShift + kPhases - 1) / kPhases);
  static constexpr int64_t kGroupStep = static_cast<int64_t>(kTaps) * kDilation / kPhases;
};

// By the number of phases.
template <int kPhases, int kShift, int kStride, int kDilation, int kTaps, int kKernel>
struct TapRows : Interleaved<kPhases, kDilation, kShift, kTaps, kKernel> {};
template <int kShift, int kStride, int kDilation, int kTaps, int kKernel>
struct TapRows<1, kShift, kStride, kDilation, kTaps, kKernel> : Polyphase<kStride, kDilation, kTaps> {};

// Which row of which plane lane-step `i` writes, and the raw element it comes from. When every residue is needed, lanes
// run along raw time (loads without bank conflicts for any stride; kPlaneRows mod 8 is chosen so that the stores have
// none either); otherwise plane by plane.
template <class G> struct PackOrder {
  static constexpr bool kAlongTime = G::kStride > 1 && G::kPlanes == G::kStride;
  static constexpr int kPerPlane = ceil_div(G::kPlaneRows, 32);
  static constexpr int kSteps = kAlongTime ? ceil_div(G::kRawNeeded, 32) : kPerPlane * G::kPlanes;
  int element, row;  // row counted over all planes
  LC_DEVICE PackOrder(int step, int lane) {
    if (kAlongTime) {
      element = min(step * 32 + lane, G::kRawNeeded - 1);
      row = element % G::kStride * G::kPlaneRows + element / G::kStride;
    } else {
      const int plane = step % G::kPlanes, r = min(step / G::kPlanes * 32 + lane, G::kPlaneRows - 1);
      element = min(r * G::kStride + G::residue(plane), G::kRawNeeded - 1);
      row = plane * G::kPlaneRows + r;
    }
  }
};
// Rows of a plane: at least `needed`; see PackOrder for the residue mod 8 (stride 1: whole 8-row blocks).
LC_CONSTEXPR int plane_rows(int needed, int stride) {
  const int want = stride == 1 ? 0 : stride == 2 ? 4 : stride == 4 ? 2 : stride % 8 == 0 ? 1 : stride % 8;
  return needed + ((want - needed) % 8 + 8) % 8;
}

