// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What every CUDA kernel's launcher is, beyond longconv::Kernel.
#pragma once

#include <vector>

#include "cuda/compiler.h"
#include "cuda/launch.h"
#include "longconv/plan.h"

namespace longconv::cuda {

struct LayerLaunch;

class CudaKernel : public Kernel {
 public:
  /// Every specialisation that launch() uses for this problem, config and GPU (weight packer, kernel, repair pass,
  /// ...), in the order of use. Pure: `longconv warmup` and the compile-all check call it without a GPU.
  virtual std::vector<KernelSpec> specs(const ConvProblem& problem, const Config& config,
                                        const Device& device) const = 0;
  /// What launch() does for the layer of a problem without padding and residual, in dense tensors, at any length. Pure.
  virtual LayerLaunch layer_launch(const ConvProblem& problem, const Config& config, const Device& device) const;

 protected:
  static Compiler& compiler_of(const LaunchContext& context) {
    return context.compiler != nullptr ? *context.compiler : Compiler::instance();
  }
};

}  // namespace longconv::cuda
