// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// AVX-512 (F, BW, DQ, VL), compiled with its flags (see src/CMakeLists.txt).
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define LONGCONV_ISA isa_avx512
#define LONGCONV_VECTOR_BYTES 64
#include "cpu/isa_unit.h"

namespace longconv::cpu {

const IsaTable* isa_table_avx512() {
  static constexpr IsaTable table = LONGCONV_ISA::make_table(Isa::avx512);
  return &table;
}

}  // namespace longconv::cpu

#else
#include "cpu/isa_table.h"

namespace longconv::cpu {

const IsaTable* isa_table_avx512() { return nullptr; }

}  // namespace longconv::cpu

#endif
