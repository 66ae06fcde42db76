// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// AVX2, FMA and F16C, compiled with their flags (see src/CMakeLists.txt).
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define LONGCONV_ISA isa_avx2
#define LONGCONV_VECTOR_BYTES 32
#include "cpu/isa_unit.h"

namespace longconv::cpu {

const IsaTable* isa_table_avx2() {
  static constexpr IsaTable table = LONGCONV_ISA::make_table(Isa::avx2);
  return &table;
}

}  // namespace longconv::cpu

#else
#include "cpu/isa_table.h"

namespace longconv::cpu {

const IsaTable* isa_table_avx2() { return nullptr; }

}  // namespace longconv::cpu

#endif
