// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The CUDA engine's own doors: where its compiler is looked for, what state it is in, compiling ahead of time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longconv/plan.h"

namespace longconv {
namespace cuda {

/// Folders in which NVRTC is looked for, after LONGCONV_NVRTC and before the toolkit. Has an effect until the first GPU
/// plan is executed.
void add_nvrtc_folders(const std::vector<std::string>& folders);

/// What `longconv doctor` prints.
struct Diagnosis {
  bool usable = false;  ///< driver, NVRTC and at least one supported GPU are there, and every GPU passed its self-test
  std::string text;  ///< several lines: driver, NVRTC, cache, each GPU with its architecture and self-test, or what is
                     ///< wrong and what to do about it
};
/// Looks at everything, compiles and runs a small kernel on every GPU. Never throws for what it finds.
Diagnosis diagnose(Compiler* compiler = nullptr);

/// What compile_ahead did.
struct WarmupReport {
  int kernels = 0;   ///< specialisations that the plan uses
  int compiled = 0;  ///< of those, not found in the cache
  double compile_seconds = 0;
};
/// Compiles everything that executing the plan needs into the disk cache. Needs NVRTC, but neither a GPU nor a driver:
/// the plan may be for Device::known(...). A plan for the CPU needs nothing. Throws Error.
WarmupReport compile_ahead(const Plan& plan, Compiler* compiler = nullptr);

/// The layer of a forward problem without padding, groups, residual and activation, as JSON: the chosen kernels with
/// their definitions, grids and memory layout as numbers that hold for every batch and length, and the source text they
/// need. What `longconv eject` writes files from; src/cuda/layer_launch.h has the meaning. Pure. Throws Error.
std::string describe_layer(const ConvProblem& problem, const Device& device);

}  // namespace cuda
}  // namespace longconv
