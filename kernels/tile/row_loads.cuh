// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Windows of NCW rows into shared memory: copies of 16 bytes from the aligned-down address, so that a row may begin on any
// element, and what stands for samples that do not exist.
#pragma once
#include "ptx/cp_async.cuh"
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
  // This much memory holds the window wherever in its first 16 bytes it begins.
  static constexpr int kCopyBytes = round_up(kElements * kBytes + 15, 16);
  static constexpr int kPitch = (kCopyBytes / 16 | 1) * 16;  // odd: 8 rows at one offset lie in different banks

  // A row's parts of 16 bytes, and rows that a warp's instruction copies.
  template <bool kAligned> struct Lanes {
    static constexpr int kParts = (kAligned ? kElements * kBytes : kCopyBytes) / 16, kRows = kParts < 32 ? 32 / kParts : 1;
  };

  // Elements [begin, end) of the window exist.
  int begin, end;
  LC_DEVICE RowWindow(int64_t first, int64_t length)
      : begin(static_cast<int>(min(max(int64_t(0), -first), static_cast<int64_t>(kElements)))),
        end(static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(kElements), length - first)))) {}
  LC_DEVICE bool whole() const { return begin == 0 && end == kElements; }

  // Starts the copies of `rows` rows at distances of `pitch` bytes from `a`, the address of element 0 of the first, by all lanes of a
  // warp: to the caller a group that each lane commits and waits for. Rows are too short for bulk copies, of which a warp starts
  // one at a time: here it starts up to 512 bytes with each instruction. Of the tensor's 16-byte parts, only those are read that
  // hold something of the window. Part i of row r goes to r*kRowBytes + i*kPartBytes. kAligned: rows begin on 16 bytes.
  template <int kRowBytes = kPitch, int kPartBytes = 16, bool kAligned = false>
  LC_DEVICE void load(uint64_t a, uint64_t pitch, int rows, uint32_t dst, int lane) const {
    constexpr int kParts = Lanes<kAligned>::kParts, kRows = Lanes<kAligned>::kRows;
    int row = kRows > 1 ? lane / kParts : 0;
    const int part = lane - row * kParts;
    const uint32_t first = begin * kBytes, last = end * kBytes;
    if (end <= begin || row == kRows) row = rows;
    a += row * pitch, dst += row * kRowBytes + part * kPartBytes;
#pragma unroll 4
    for (; row < rows; row += kRows, a += kRows * pitch, dst += kRows * kRowBytes) {
      const uint32_t low = kAligned ? 0 : static_cast<uint32_t>(a) & 15;
      const char* const from = reinterpret_cast<const char*>(a & ~15ul) + part * 16;
#pragma unroll
      for (int more = 0; more < kParts; more += 32) {
        const uint32_t at = (part + more) * 16;
        if (low + last > at && low + first < at + 16) async_copy<16>(dst + more * kPartBytes, from + more * 16);
      }
    }
  }
  // What this lane adds to a window's address for load_inner().
  template <bool kAligned = false> static LC_DEVICE int64_t inner_offset(int64_t pitch, int lane) {
    const int row = lane / Lanes<kAligned>::kParts;
    return (Lanes<kAligned>::kRows > 1 ? row * pitch : 0) + (lane - (Lanes<kAligned>::kRows > 1 ? row : 0) * Lanes<kAligned>::kParts) * 16;
  }
  // load() of a window that lies within its rows with the 16 bytes behind it, which may be read: an instruction for an
  // address. from: of the window, with inner_offset(). kMost: rows at most, kAll: `rows` is that.
  template <int kMost, bool kAll, int kRowBytes = kPitch, int kPartBytes = 16, bool kAligned = false>
  static LC_DEVICE void load_inner(uint64_t from, uint64_t pitch, int rows, uint32_t dst, int lane) {
    using L = Lanes<kAligned>;
    const int row = L::kRows > 1 ? lane / L::kParts : 0, part = lane - row * L::kParts;
    const int mine = row < L::kRows && part < L::kParts ? (kAll ? kMost : rows) - row : 0;
    dst += row * kRowBytes + part * kPartBytes;
#pragma unroll(kMost / L::kRows > 16 ? 8 : kMost)
    for (int r = 0; r < kMost; r += L::kRows, from += L::kRows * pitch) {
      if (r >= mine) continue;
#pragma unroll
      for (int more = 0; more < L::kParts; more += 32)
        if (more + 32 <= L::kParts || part + more < L::kParts)
          async_copy<16>(dst + r * kRowBytes + more * kPartBytes, reinterpret_cast<const char*>(from & ~15ul) + more * 16);
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
