// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// 128-bit vectors: what every machine of the architecture has (SSE2 on x86-64).
#define LONGCONV_ISA isa_portable
#define LONGCONV_VECTOR_BYTES 16
#include "cpu/isa_unit.h"

namespace longconv::cpu {

const IsaTable* isa_table_portable() {
  static constexpr IsaTable table = LONGCONV_ISA::make_table(Isa::portable);
  return &table;
}

}  // namespace longconv::cpu
