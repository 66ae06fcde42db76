// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Windows of NCW rows into shared memory: bulk copies from the aligned-down address, so that a row may begin on any element,
// and what stands for samples that do not exist.
#pragma once
#include "ptx/bulk_copy.cuh"
#include "ptx/shared_memory.cuh"
#include "tile/signal.cuh"

// kElements: of a window. Element e of row r lies at r*kPitch + (address of its element 0 in memory mod 16) + e*kBytes.
template <class E, int kElements> struct RowWindow {
  static constexpr int kBytes = sizeof(E);
  // A copy of this size holds the window wherever in its first 16 bytes it begins; it reads at most 30 bytes more.
  static constexpr int kCopyBytes = round_up(kElements * kBytes + 15, 16);
  static constexpr int kPitch = (kCopyBytes / 16 | 1) * 16;  // odd: 8 rows at one offset lie in different banks

  // Elements [begin, end) of the window exist.
  int begin, end;
  bool ample;  // and so do those that a copy of kCopyBytes reads
  LC_DEVICE RowWindow(int64_t first, int64_t length)
      : begin(static_cast<int>(min(max(int64_t(0), -first), static_cast<int64_t>(kElements)))),
        end(static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(kElements), length - first)))),
        ample(first >= 0 && first + kElements + 32 / kBytes <= length) {}
  LC_DEVICE bool whole() const { return begin == 0 && end == kElements; }
  LC_DEVICE bool empty() const { return end <= begin; }

  // Bytes that load() will bring. a: address of element 0 of row 0; pitch: bytes between rows.
  LC_DEVICE uint32_t load_bytes(uint64_t a, uint64_t pitch, int rows) const {
    if (empty() || rows <= 0) return 0;
    if (ample) return rows * kCopyBytes;
    if ((pitch & 15) == 0) return rows * (tail(a) - head(a));
    uint32_t total = 0;
    for (int r = 0; r < rows; ++r, a += pitch) total += tail(a) - head(a);
    return total;
  }
  // One lane issues all: a copy from diverging lanes becomes a loop over lanes.
  template <int kMostRows> LC_DEVICE void load(uint64_t a, uint64_t pitch, int rows, uint32_t dst, uint32_t barrier) const {
    if (empty()) return;
    if (ample) {
#pragma unroll 4
      for (int r = 0; r < kMostRows; ++r, a += pitch, dst += kPitch) {
        if (r >= rows) break;
        bulk_load(dst, reinterpret_cast<const void*>(a & ~15ul), kCopyBytes, barrier);
      }
    } else {
#pragma unroll 1
      for (int r = 0; r < rows; ++r, a += pitch, dst += kPitch)
        bulk_load(dst + head(a), reinterpret_cast<const void*>((a & ~15ul) + head(a)), tail(a) - head(a), barrier);
    }
  }
  // After the copies have arrived, by a warp: zeros for what does not exist.
  LC_DEVICE void clear_missing(uint64_t a, uint64_t pitch, int rows, uint32_t dst, int lane) const {
    for (int r = 0; r < rows; ++r, a += pitch, dst += kPitch) {
      const uint32_t row = dst + (static_cast<uint32_t>(a) & 15);
      for (int e = lane; e < begin; e += 32) store(row + e * kBytes, 0);
      for (int e = max(begin, end) + lane; e < kElements; e += 32) store(row + e * kBytes, 0);
    }
  }
  // Instead of copies, by a warp: element by element, for any time stride and padding mode. x: sample 0 of row 0; strides in elements.
  template <Pad kPad>
  static LC_DEVICE void gather(const E* x, int64_t row_stride, int64_t time_stride, int rows, int64_t first, int64_t length,
                               uint64_t a, uint64_t pitch, uint32_t dst, int lane) {
    for (int e = lane; e < kElements; e += 32) {
      const int64_t t = padded_index<kPad>(first + e, length);
#pragma unroll 4
      for (int r = 0; r < rows; ++r)
        store(dst + r * kPitch + (static_cast<uint32_t>(a + r * pitch) & 15) + e * kBytes, t >= 0 ? bits_of(x[r * row_stride + t * time_stride]) : 0);
    }
  }
  static LC_DEVICE void store(uint32_t address, uint32_t bits) {
    if (kBytes == 2) store_shared_u16(address, bits);
    else store_shared_u32(address, bits);
  }
  static LC_DEVICE uint32_t load_element(uint32_t address) { return kBytes == 2 ? load_shared_u16(address) : load_shared_u32(address); }

 private:
  LC_DEVICE uint32_t head(uint64_t a) const { return ((static_cast<uint32_t>(a) & 15) + begin * kBytes) & ~15u; }
  LC_DEVICE uint32_t tail(uint64_t a) const { return ((static_cast<uint32_t>(a) & 15) + end * kBytes + 15) & ~15u; }
};

// Whether a value of this type with these bits is Inf or NaN.
template <class E> LC_DEVICE bool not_finite(uint32_t bits);
template <> LC_DEVICE bool not_finite<float>(uint32_t bits) { return (bits & 0x7f800000u) == 0x7f800000u; }
template <> LC_DEVICE bool not_finite<bf16>(uint32_t bits) { return (bits & 0x7f80u) == 0x7f80u; }
template <> LC_DEVICE bool not_finite<f16>(uint32_t bits) { return (bits & 0x7c00u) == 0x7c00u; }
