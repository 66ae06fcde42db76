// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The self-test behind longconv::cuda::diagnose() (include/longconv/cuda.h).
#pragma once

#include "cuda/compiler.h"

namespace longconv::cuda {

/// Compiles, loads and runs kernels/selftest.cuh on the GPU and checks every element. Throws Error.
void run_self_test(Compiler& compiler, int ordinal);

}  // namespace longconv::cuda
