// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Epilogue of a 64 x N accumulator tile (wgmma layout): bias, residual, activation, one rounding, NCW rows out.
//
//   thread (warp w, g = lane/4, c = lane%4) of a warpgroup holds rows 16w+g and 16w+g+8, columns 8j+2c and 8j+2c+1:
//   acc[4j + 2h + i] = D[16w + g + 8h][8j + 2c + i]
//
// With several phases (tile/phases.cuh) there is an accumulator tile for each, and column x of phase p is column
// x * kPhases + p of the rows: a lane's two columns of all phases are 2 * kPhases neighbours.
//
// Each warp stages a few rows in its own shared memory and lets the copy engine write them; no other warp waits. One lane, the
// elected one, starts the copies and waits for them: behind another condition ptxas makes them a loop over lanes.
// Store modes:
//   windows  memory-bound problems. Each row writes the part of its N columns that begins on its own 32-byte sector:
//            columns [s, s + N - sector). Tiles advance by N - sector; no partial sectors between tiles.
//   ends     compute-bound problems with unaligned rows. Tiles advance by N; the aligned middle goes by bulk store, the
//            two ragged ends (together one sector) by plain stores.
//   direct   rows on 16-byte boundaries: straight from registers, no staging. One phase.
//   whole    rows on 16-byte boundaries: as ends, but all columns go by bulk store.
//   sectors  f32, one phase: as windows, straight from registers. Lanes of a quad exchange columns so that they hold one
//            whole sector of their row; a warp's store writes eight of them. No staging, nothing to wait for.
#pragma once
#include "ptx/bulk_copy.cuh"
#include "ptx/control.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/shared_memory.cuh"
#include "tile/activation.cuh"

enum class Store { windows, ends, direct, whole, sectors };

template <class E> LC_DEVICE void store_element(E* p, uint32_t bits);
template <> LC_DEVICE void store_element<float>(float* p, uint32_t bits) { *reinterpret_cast<uint32_t*>(p) = bits; }
template <> LC_DEVICE void store_element<bf16>(bf16* p, uint32_t bits) { p->bits = static_cast<uint16_t>(bits); }
template <> LC_DEVICE void store_element<f16>(f16* p, uint32_t bits) { p->bits = static_cast<uint16_t>(bits); }

// Where a warp's 16 rows go. Row r of the warp is y + r*pitch elements, valid for r < rows; columns are valid below `columns`
// (and never below 0).
template <class E> struct RowsOut {
  E* y;              // row 0, column 0 of this window
  int64_t pitch;         // elements between rows
  int rows;          // valid rows, may be <= 0
  int columns;       // valid columns of the window, may exceed its width or be <= 0
  bool first, last;  // first / last window of the row
};

// P: Element, kColumns (N, of a phase), kPhases, kStore, kStageRows (4 or 8).
template <class P> struct RowStore {
  using E = typename P::Element;
  static constexpr int kBytes = sizeof(E), kN = P::kColumns, kPhases = P::kPhases, kSector = 32 / kBytes, kAlign = 16 / kBytes;
  static constexpr bool kStaged = P::kStore != Store::direct && P::kStore != Store::sectors;
  static constexpr bool kWindowed = P::kStore == Store::windows || P::kStore == Store::sectors;
  static constexpr int kWidth = kN * kPhases;  // columns of a window
  // Steps between windows, of a phase and of the row: the next window begins to write on its first sector boundary.
  static constexpr int kPhaseStep = !kWindowed ? kN : kPhases == 1 ? kN - kSector : kN - ceil_div(kSector - 1, kPhases);
  static constexpr int kStep = kPhaseStep * kPhases;
  static constexpr bool kWholeSectors = kStep % kSector == 0;  // every window begins as far from a sector as the others
  static constexpr int kRows = P::kStageRows;
  // Room for a row's place in its first sector; and the fragment's stores, of 8 bytes (16-bit: 4) of four lanes of a row, 2 * kPhases
  // elements apart, meet in few banks: rows begin an odd number of sectors apart, of f32 and an even number of phases 64 bytes more
  // than a multiple of 128, of 16 bits an odd number of 16 bytes.
  static constexpr int kRoom = kWidth * kBytes + (kBytes == 2 ? 16 : 32);
  static constexpr int kPitchBytes = kBytes == 2       ? kRoom + (kRoom % 32 == 16 ? 0 : 16)
                                     : kPhases % 2 == 1 ? kRoom + (kRoom % 64 == 32 ? 0 : 32)
                                                        : kRoom + (192 - kRoom % 128) % 128;
  static_assert(kPhases == 1 || kStaged, "phases meet in shared memory");
  using Accumulators = const float (&)[kPhases][kN / 2];
  static constexpr int kStageBytes = kStaged ? kRows * kPitchBytes : 0;  // of one warp

  static LC_DEVICE uint32_t misalignment(const E* p) { return static_cast<uint32_t>(reinterpret_cast<uint64_t>(p) & 15) / kBytes; }
  // Columns to the next sector boundary.
  static LC_DEVICE int to_sector(const E* p) { return static_cast<int>(0u - static_cast<uint32_t>(reinterpret_cast<uint64_t>(p)) & 31u) / kBytes; }

  static LC_DEVICE void store(Accumulators acc, const RowsOut<E>& out, uint32_t stage, int lane) {
    if constexpr (P::kStore == Store::direct) store_direct(acc[0], out, lane);
    else if constexpr (P::kStore == Store::sectors) store_sectors(acc[0], out, lane);
    else store_staged(acc, out, stage, lane);
  }
  // Of a row that begins at `row`, columns [begin, end) are this window's to write; `columns` exist.
  static LC_DEVICE int begin_column(const E* row, bool first) { return kWindowed && !first ? to_sector(row) : 0; }
  static LC_DEVICE int end_column(const E* row, int columns, bool last) { return min(columns, kWindowed && !last ? window_end(row) : kWidth); }
  // Before the kernel ends: shared memory must outlive the copies that read it.
  static LC_DEVICE void finish() {
    if constexpr (kStaged) {
      if (elect_one()) bulk_wait<0>();
      __syncwarp();
    }
  }

 private:
  static LC_DEVICE void stage_row(Accumulators acc, int h, uint32_t a, bool odd) {
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
      for (int e = 0; e < kPhases; ++e) {  // pairs of the 2 * kPhases neighbours
        const float v0 = acc[2 * e % kPhases][4 * j + 2 * h + 2 * e / kPhases];
        const float v1 = acc[(2 * e + 1) % kPhases][4 * j + 2 * h + (2 * e + 1) / kPhases];
        const uint32_t to = a + (8 * j * kPhases + 2 * e) * kBytes;
        if constexpr (kBytes == 2) {
          const uint32_t v = pack2<E>(v0, v1);
          if (!odd) store_shared_u32(to, v);
          else { store_shared_u16(to, v); store_shared_u16(to + 2, v >> 16); }
        } else if (!odd) {
          store_shared_v2(to, v0, v1);
        } else {
          store_shared_u32(to, __float_as_uint(v0));
          store_shared_u32(to + 4, __float_as_uint(v1));
        }
      }
    }
  }

  static LC_DEVICE void store_staged(Accumulators acc, const RowsOut<E>& out, uint32_t stage, int lane) {
    const int g = lane >> 2, c = lane & 3;
    const bool edge = P::kStore == Store::windows ? out.first || out.last || out.columns < kWidth : out.columns < kWidth;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int q = 0; q < 8 / kRows; ++q) {
        const int row0 = h * 8 + q * kRows;
        if (elect_one()) bulk_wait_read<0>();
        __syncwarp();
        if (kRows == 8 || g / kRows == q) {
          const uint32_t pad = misalignment(out.y + (h * 8 + g) * out.pitch);
          stage_row(acc, h, stage + (g % kRows) * kPitchBytes + (pad + 2 * c * kPhases) * kBytes, pad & 1);
        }
        fence_proxy_async();
        __syncwarp();
        if (!edge) {
          if (elect_one()) {
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
              if (row0 + r >= out.rows) continue;
              E* row = out.y + (row0 + r) * out.pitch;
              const int s = P::kStore == Store::whole ? 0 : to_sector(row);
              const int columns = P::kStore == Store::whole  ? kWidth
                                  : P::kStore == Store::ends ? kWidth - kSector
                                  : kWholeSectors            ? kStep
                                                             : window_end(row) - s;
              bulk_store(row + s, stage + r * kPitchBytes + (misalignment(row) + s) * kBytes, columns * kBytes);
            }
            bulk_commit();
          }
          if constexpr (P::kStore == Store::ends) {
#pragma unroll
            for (int i = 0; i < kRows * kSector / 32; ++i) {
              const int r = (i * 32 + lane) / kSector, e = (i * 32 + lane) % kSector;
              E* row = out.y + (row0 + r) * out.pitch;
              const int column = e < to_sector(row) ? e : kWidth - kSector + e;
              if (row0 + r < out.rows) store_element(row + column, staged(stage, r, row, column));
            }
          }
        } else {
#pragma unroll 1
          for (int r = 0; r < kRows && row0 + r < out.rows; ++r) {
            E* row = out.y + (row0 + r) * out.pitch;
            const int end = end_column(row, out.columns, out.last);
            for (int column = begin_column(row, out.first) + lane; column < end; column += 32)
              store_element(row + column, staged(stage, r, row, column));
          }
        }
      }
    }
  }

  // The column at which the next window begins to write.
  static LC_DEVICE int window_end(const E* row) { return kStep + to_sector(kWholeSectors ? row : row + kStep); }

  static LC_DEVICE uint32_t staged(uint32_t stage, int r, const E* row, int column) {
    const uint32_t a = stage + r * kPitchBytes + (misalignment(row) + column) * kBytes;
    return kBytes == 2 ? load_shared_u16(a) : load_shared_u32(a);
  }

  // Row r's sectors begin at column s = to_sector(row). Of sector m, lane c of the quad writes columns x = s + 8m + 2c + i,
  // i = 0, 1. With d = s + i, x is in group m + (c + d/2)/4 of eight columns, at lane (c + d/2) mod 4 and place d mod 2 of
  // its pair: for each i one shuffle, before which a lane chooses the register that its reader wants.
  static LC_DEVICE void store_sectors(const float (&acc)[kN / 2], const RowsOut<E>& out, int lane) {
    static_assert(kBytes == 4, "a quad holds one sector of f32");
    const int g = lane >> 2, c = lane & 3;
    const bool edge = out.first || out.last || out.columns < kN;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      E* row = out.y + (h * 8 + g) * out.pitch;
      const bool valid = h * 8 + g < out.rows;
      const int s = to_sector(row);
      if (!edge) {
        const bool odd = s & 1;
        const int d0 = s >> 1, d1 = (s + 1) >> 1, from0 = (lane & ~3) | ((c + d0) & 3), from1 = (lane & ~3) | ((c + d1) & 3);
        const bool wrap0 = c < d0, wrap1 = c < d1;
#pragma unroll
        for (int m = 0; m < kN / 8 - 1; ++m) {
          const float even = acc[4 * m + 2 * h], uneven = acc[4 * m + 2 * h + 1];
          const float next_even = acc[4 * m + 4 + 2 * h], next_uneven = acc[4 * m + 5 + 2 * h];
          const float a = odd ? (wrap0 ? next_uneven : uneven) : (wrap0 ? next_even : even);
          const float b = odd ? (wrap1 ? next_even : even) : (wrap1 ? next_uneven : uneven);
          const float2 pair = make_float2(__shfl_sync(~0u, a, from0), __shfl_sync(~0u, b, from1));
          if (valid) *reinterpret_cast<float2*>(row + s + 8 * m + 2 * c) = pair;
        }
      } else if (valid) {
        const int begin = begin_column(row, out.first), end = end_column(row, out.columns, out.last);
#pragma unroll
        for (int i = 0; i < kN / 4; ++i) {
          const int column = i / 2 * 8 + 2 * c + i % 2;
          if (column >= begin && column < end) row[column] = acc[4 * (i / 2) + 2 * h + i % 2];
        }
      }
    }
  }

  static LC_DEVICE void store_direct(const float (&acc)[kN / 2], const RowsOut<E>& out, int lane) {
    const int g = lane >> 2, c = lane & 3;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if constexpr (kBytes == 4) {
        // Two lanes exchange pairs so that each holds 4 consecutive columns: a quad writes two sectors of its row at once.
        const bool odd = c & 1;
#pragma unroll
        for (int j = 0; j < kN / 8; j += 2) {
          const float* own = acc + 4 * j + 2 * h;  // pairs of groups j and j + 1: own[0], own[1] and own[4], own[5]
          const float a = __shfl_xor_sync(~0u, odd ? own[0] : own[4], 1), b = __shfl_xor_sync(~0u, odd ? own[1] : own[5], 1);
          const int column = 8 * (j + odd) + 4 * (c >> 1);
          if (h * 8 + g < out.rows && column < out.columns)
            *reinterpret_cast<float4*>(out.y + (h * 8 + g) * out.pitch + column) =
                odd ? make_float4(a, b, own[4], own[5]) : make_float4(own[0], own[1], a, b);
        }
      }
      if constexpr (kBytes == 2) {
        // The four lanes of a quad exchange pairs so that each holds 8 consecutive columns (a 4x4 transpose of words).
        const bool odd = c & 1, high = c & 2;
#pragma unroll
        for (int m = 0; m < kN / 32; ++m) {
          uint32_t p[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) p[i] = pack2<E>(acc[4 * (4 * m + i) + 2 * h], acc[4 * (4 * m + i) + 2 * h + 1]);
          const uint32_t r0 = __shfl_xor_sync(~0u, odd ? p[0] : p[1], 1), r1 = __shfl_xor_sync(~0u, odd ? p[2] : p[3], 1);
          const uint32_t a0 = odd ? r0 : p[0], a1 = odd ? p[1] : r0, b0 = odd ? r1 : p[2], b1 = odd ? p[3] : r1;
          const uint32_t q0 = __shfl_xor_sync(~0u, high ? a0 : b0, 2), q1 = __shfl_xor_sync(~0u, high ? a1 : b1, 2);
          const uint4 v = high ? make_uint4(q0, q1, b0, b1) : make_uint4(a0, a1, q0, q1);
          const int column = (4 * m + c) * 8;
          if (h * 8 + g < out.rows && column < out.columns)
            *reinterpret_cast<uint4*>(out.y + (h * 8 + g) * out.pitch + column) = v;
        }
      }
    }
  }
};

// Bias, residual and activation on the fragment of one phase, in f32. residual: row 0, column 0 of the window, or null.
template <class E, Activation kActivation, int kN, int kPhases>
LC_DEVICE void apply_epilogue(float (&acc)[kN / 2], int phase, const RowsOut<E>& out, const E* bias, const E* residual,
                              int64_t residual_pitch, float negative_slope, int lane) {
  const int g = lane >> 2, c = lane & 3;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = h * 8 + g;
    const bool valid = r < out.rows;
    const float b = bias && valid ? to_float(bias[r]) : 0.f;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& v = acc[4 * j + 2 * h + i];
        const int column = (8 * j + 2 * c + i) * kPhases + phase;
        v += b;
        if (residual && valid && column < out.columns) v += to_float(residual[r * residual_pitch + column]);
        v = activate<kActivation>(v, negative_slope);
      }
    }
  }
}
