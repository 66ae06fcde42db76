// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// One line per kernel, defined in the file of the same name (integer_direct: src/cpu/integer_direct.cpp,
/// direct_fprop: src/cuda/direct_fprop.cpp; CUDA's dgrad is defined where the fprop of the same kernel is).
/// Each returns a stateless object that lives as long as the program. all_kernels() lists them in registry.cpp.
#pragma once

#include "longconv/plan.h"

namespace longconv {

const Kernel& integer_direct();
const Kernel& complex_split();
const Kernel& depthwise_fprop();
const Kernel& dense_fprop();
const Kernel& depthwise_dgrad();
const Kernel& dense_dgrad();
const Kernel& depthwise_wgrad();
const Kernel& dense_wgrad();
const Kernel& dense_fprop_sm90();
const Kernel& dense_fprop_split_sm90();
const Kernel& dense_fprop_sm80();
const Kernel& direct_fprop();
const Kernel& dense_dgrad_sm90();
const Kernel& dense_dgrad_split_sm90();
const Kernel& dense_dgrad_sm80();
const Kernel& direct_dgrad();
const Kernel& dense_wgrad_tma_sm90();
const Kernel& dense_wgrad_sm90();
const Kernel& dense_wgrad_sm80();
const Kernel& direct_wgrad();

}  // namespace longconv
