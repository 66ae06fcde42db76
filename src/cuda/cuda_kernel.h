// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What every CUDA kernel's launcher is, beyond longconv::Kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/launch.h"
#include "cuda/launch_functions.h"
#include "longconv/plan.h"

namespace longconv::cuda {

struct LayerLaunch;

/// Reads a config's numbers. Quick where they are asked for in the config's order: every launch reads them.
class ConfigReader {
 public:
  explicit ConfigReader(const Config& config) : config_(config) {}
  std::int64_t get(std::string_view key) {
    if (next_ < config_.values.size() && config_.values[next_].first == key) return config_.values[next_++].second;
    return config_.get(key);
  }

 private:
  const Config& config_;
  std::size_t next_ = 0;
};

class CudaKernel : public Kernel {
 public:
  /// Every specialisation that launch() uses for this problem, config and GPU (weight packer, kernel, repair pass,
  /// ...), in the order of use. Pure: `longconv warmup` and the compile-all check call it without a GPU.
  virtual std::vector<KernelSpec> specs(const ConvProblem& problem, const Config& config,
                                        const Device& device) const = 0;
  /// Whether layer_launch() can say what launch() does: not where the host prepares more than numbers (tensor maps).
  virtual bool is_layer() const { return true; }
  /// What launch() does for the layer of a problem without padding and residual, in dense tensors, at any length. Pure.
  virtual LayerLaunch layer_launch(const ConvProblem& problem, const Config& config, const Device& device) const;
};

}  // namespace longconv::cuda
