// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What cmake/EmbedKernels.cmake generates. Use kernel_source.h.
#pragma once

#include <cstddef>

namespace longconv::cuda::embedded {

struct Kernel {
  const char* name;
  const char* const* pieces;
  std::size_t piece_count;
};

extern const Kernel kernels[];
extern const std::size_t kernel_count;

}  // namespace longconv::cuda::embedded
