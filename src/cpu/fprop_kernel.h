// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What the CPU's forward kernels have in common: they run fprop_engine.cpp with different tunings.
#pragma once

#include "cpu/fprop_schedule.h"

namespace longconv::cpu {

class FpropKernel : public Kernel {
 public:
  Support supports(const ConvProblem& problem, const Device& device) const override;
  std::vector<Config> configs(const ConvProblem& problem, const Device& device) const override;
  Estimate estimate(const ConvProblem& problem, const Config& config, const Device& device) const override;
  std::int64_t workspace_bytes(const ConvProblem& problem, const Config& config, const Device& device) const override;
  void launch(const ConvProblem& problem, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override;

 protected:
  virtual std::vector<FpropTuning> tunings(const ConvProblem& problem, const Device& device) const = 0;
};

}  // namespace longconv::cpu
