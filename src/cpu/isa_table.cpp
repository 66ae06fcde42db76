// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/isa_table.h"

namespace longconv::cpu {

const IsaTable& isa_table(Isa isa) {
  if (isa >= Isa::avx512 && isa_table_avx512() != nullptr) return *isa_table_avx512();
  if (isa >= Isa::avx2 && isa_table_avx2() != nullptr) return *isa_table_avx2();
  return *isa_table_portable();
}

}  // namespace longconv::cpu
