// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Operand lists for inline PTX with many accumulators, here and nowhere else:
///   LONGCONV_ASM_REGISTERS_n       "%0, %1, ..., %n-1"
///   LONGCONV_ASM_OUTPUTS_n(d, i)   "+f"(d[i]), ..., "+f"(d[i + n - 1])
#pragma once

#define LONGCONV_ASM_REGISTERS_4 \
  "%0, %1, %2, %3"
#define LONGCONV_ASM_REGISTERS_8 \
  LONGCONV_ASM_REGISTERS_4 \
  ", %4, %5, %6, %7"
#define LONGCONV_ASM_REGISTERS_16 \
  LONGCONV_ASM_REGISTERS_8 \
  ", %8, %9, %10, %11, %12, %13, %14, %15"
#define LONGCONV_ASM_REGISTERS_32 \
  LONGCONV_ASM_REGISTERS_16 \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LONGCONV_ASM_REGISTERS_48 \
  LONGCONV_ASM_REGISTERS_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define LONGCONV_ASM_REGISTERS_64 \
  LONGCONV_ASM_REGISTERS_48 \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LONGCONV_ASM_REGISTERS_96 \
  LONGCONV_ASM_REGISTERS_64 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define LONGCONV_ASM_REGISTERS_128 \
  LONGCONV_ASM_REGISTERS_96 \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define LONGCONV_ASM_OUTPUTS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LONGCONV_ASM_OUTPUTS_8(d, i) LONGCONV_ASM_OUTPUTS_4(d, i), LONGCONV_ASM_OUTPUTS_4(d, i + 4)
#define LONGCONV_ASM_OUTPUTS_16(d, i) LONGCONV_ASM_OUTPUTS_8(d, i), LONGCONV_ASM_OUTPUTS_8(d, i + 8)
#define LONGCONV_ASM_OUTPUTS_32(d, i) LONGCONV_ASM_OUTPUTS_16(d, i), LONGCONV_ASM_OUTPUTS_16(d, i + 16)
#define LONGCONV_ASM_OUTPUTS_48(d, i) LONGCONV_ASM_OUTPUTS_32(d, i), LONGCONV_ASM_OUTPUTS_16(d, i + 32)
#define LONGCONV_ASM_OUTPUTS_64(d, i) LONGCONV_ASM_OUTPUTS_32(d, i), LONGCONV_ASM_OUTPUTS_32(d, i + 32)
#define LONGCONV_ASM_OUTPUTS_96(d, i) LONGCONV_ASM_OUTPUTS_64(d, i), LONGCONV_ASM_OUTPUTS_32(d, i + 64)
#define LONGCONV_ASM_OUTPUTS_128(d, i) LONGCONV_ASM_OUTPUTS_64(d, i), LONGCONV_ASM_OUTPUTS_64(d, i + 64)
