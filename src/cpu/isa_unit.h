// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The body of an ISA unit: the unit's own .cpp defines LONGCONV_ISA and LONGCONV_VECTOR_BYTES, includes this, and
/// returns table(Isa). See simd.h for what such a unit may include.
#pragma once

#include "cpu/isa_finish.h"
#include "cpu/isa_microkernel.h"
#include "cpu/isa_read.h"
#include "cpu/wgrad_loops.h"

namespace longconv::cpu::LONGCONV_ISA {

constexpr IsaTable make_table(Isa isa) {
  IsaTable table;
  table.isa = isa;
  fill_microkernels(table.f32);
  fill_microkernels(table.f64);
  table.f32.read_samples = read_samples_f32;
  table.f64.read_samples = read_samples_f64;
  table.f32.finish_row = finish_row_f32;
  table.f64.finish_row = finish_row_f64;
  table.f32.wgrad = wgrad_table<float>();
  table.f64.wgrad = wgrad_table<double>();
  table.scatter_rows = scatter_rows;
  return table;
}

}  // namespace longconv::cpu::LONGCONV_ISA
