// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Reading a signal beyond its ends, without a padded copy.
#pragma once
#include "tile/common.cuh"

// As longconv::PadMode; `none` is zeros with both pads 0: then no window leaves the signal.
enum class Pad { none, zeros, reflect, replicate, circular };

// Sample that stands at position p of the padded signal (p counted from the first real sample), or -1 for "nothing".
// Positions beyond what any window reads (tile overhang) may be far outside: they give some sample or nothing.
template <Pad kPad> LC_DEVICE int64_t padded_index(int64_t p, int64_t length) {
  if (kPad == Pad::reflect) {
    if (p < 0) p = -p;
    if (p >= length) p = 2 * (length - 1) - p;
  } else if (kPad == Pad::replicate) {
    p = p < 0 ? 0 : p >= length ? length - 1 : p;
  } else if (kPad == Pad::circular) {
    if (p < 0) p += length;
    if (p >= length) p -= length;
  }
  return p >= 0 && p < length ? p : -1;
}
