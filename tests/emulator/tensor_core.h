// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The arithmetic of warp operations and of wgmma, on operands already found.
///
/// As far as hardware is known: products of 16-bit and TF32 numbers are exact; those of one k-step and the accumulator
/// are added (here: in double) and the sum is truncated to float. f64: fused multiply-adds, rounded to nearest.
#pragma once

#include "emulator/device/services.h"

namespace longconv::emulator {

/// Does an operation that all lanes of `mask` have come to. `rows[lane]`: the host address that a lane's parameter
/// means for ldmatrix and stmatrix. Other lanes' arguments are not looked at.
void perform(WarpOperation, unsigned mask, const WarpArgument (&lanes)[32], unsigned char* const (&rows)[32]);

const char* name(WarpOperation);
/// Whether its parameter is a shared address, and whether it writes there.
bool takes_rows(WarpOperation);
bool stores_rows(WarpOperation);

/// The operands of one wgmma, unpacked: 32 bytes along K.
struct WgmmaTile {
  static constexpr int kRows = 64, kMaxColumns = 256, kMaxDepth = 16;
  double a[kRows][kMaxDepth];
  double b[kMaxDepth][kMaxColumns];
};

/// Elements of 16 bytes of a type.
constexpr int chunk_elements(Number type) { return type == Number::tf32 ? 4 : 8; }
/// 16 bytes to numbers, exactly; `step` doubles apart. TF32: the low 13 bits do not count.
void unpack_chunk(Number type, const unsigned char* bytes, double* to, int step);

/// D = A B (+ D): accumulators of the warpgroup's 128 threads in wgmma's layout.
void multiply(const WgmmaTile& tile, int columns, int depth, bool accumulate, float* const (&d)[128]);

}  // namespace longconv::emulator
