// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Windows of NCW rows into shared memory: bulk copies from the aligned-down address, so that a row may begin on any element,
// and what stands for samples that do not exist.
#pragma once
#include "ptx/bulk_copy.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/shared_memory.cuh"
#include "tile/signal.cuh"

// Whether a value of this type with these bits is Inf or NaN.
template <class E> LC_DEVICE bool not_finite(uint32_t bits);
template <> LC_DEVICE bool not_finite<float>(uint32_t bits) { return (bits & 0x7f800000u) == 0x7f800000u; }
template <> LC_DEVICE bool not_finite<bf16>(uint32_t bits) { return (bits & 0x7f80u) == 0x7f80u; }
template <> LC_DEVICE bool not_finite<f16>(uint32_t bits) { return (bits & 0x7c00u) == 0x7c00u; }

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

  // Starts the copies of `rows` rows at distances of `pitch` bytes from `a`, the address of element 0 of the first; the barrier
  // expects their bytes. One lane does all: a copy from diverging lanes becomes a loop over lanes.
  LC_DEVICE void load(uint64_t a, uint64_t pitch, int rows, uint32_t dst, uint32_t barrier) const {
    if (end <= begin || rows <= 0) return;
    if (ample) {
      barrier_expect(barrier, rows * kCopyBytes);
#pragma unroll 4
      for (; rows > 0; --rows, a += pitch, dst += kPitch) bulk_load(dst, reinterpret_cast<const void*>(a & ~15ul), kCopyBytes, barrier);
    } else {
#pragma unroll 1
      for (; rows > 0; --rows, a += pitch, dst += kPitch) {
        const uint32_t low = static_cast<uint32_t>(a) & 15, head = (low + begin * kBytes) & ~15u, tail = (low + end * kBytes + 15) & ~15u;
        barrier_expect(barrier, tail - head);
        bulk_load(dst + head, reinterpret_cast<const void*>((a & ~15ul) + head), tail - head, barrier);
      }
    }
  }
  // After the copies have arrived, by a warp: zeros for what does not exist. True if `look` and a value that does is Inf or NaN.
  // a, pitch: of the addresses the low bits matter.
  LC_DEVICE bool complete(uint32_t a, uint32_t pitch, int rows, uint32_t dst, bool look, int lane) const {
    bool special = false;
#pragma unroll 1
    for (; rows > 0; --rows, a += pitch, dst += kPitch) {
#pragma unroll 1
      for (int e = lane; e < kElements; e += 32) {
        const uint32_t at = dst + (a & 15) + e * kBytes;
        if (e < begin || e >= end) store(at, 0);
        else if (look) special |= not_finite<E>(load_element(at));
      }
    }
    return special;
  }
  // Instead of copies, by a warp: element by element, for any time stride and padding mode. x: sample 0 of row 0; strides in elements.
  template <Pad kPad>
  static LC_DEVICE void gather(const E* x, int64_t row_stride, int64_t time_stride, int rows, int64_t first, int64_t length,
                               uint32_t a, uint32_t pitch, uint32_t dst, int lane) {
#pragma unroll 1
    for (int e = lane; e < kElements; e += 32) {
      const int64_t t = padded_index<kPad>(first + e, length);
#pragma unroll 4
      for (int r = 0; r < rows; ++r)
        store(dst + r * kPitch + ((a + r * pitch) & 15) + e * kBytes, t >= 0 ? bits_of(x[r * row_stride + t * time_stride]) : 0);
    }
  }
  static LC_DEVICE void store(uint32_t address, uint32_t bits) {
    if (kBytes == 2) store_shared_u16(address, bits);
    else store_shared_u32(address, bits);
  }
  static LC_DEVICE uint32_t load_element(uint32_t address) { return kBytes == 2 ? load_shared_u16(address) : load_shared_u32(address); }

};
