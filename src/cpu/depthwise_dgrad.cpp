// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Data gradient with one input channel per group (depthwise, with any depth multiplier): bound by memory, so tiles are
// long, dy is read where it lies (dgrad_engine.cpp) and large results bypass the caches.
#include <string>

#include "cpu/dgrad_schedule.h"
#include "plan/registry.h"

namespace longconv {
namespace {

class DepthwiseDgrad final : public cpu::DgradKernel {
 public:
  std::string_view name() const override { return "depthwise_dgrad"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    if (!problem.is_depthwise()) {
      return Support::no("takes one input channel per group, not " + std::to_string(problem.in_channels_per_group()));
    }
    return DgradKernel::supports(problem, device);
  }

 protected:
  cpu::DgradTuning tuning(const ConvProblem& problem) const override {
    constexpr double kCachedBytes = 32 << 20;  // larger results would only push everything else out
    cpu::DgradTuning tuning;
    tuning.time_samples = 1920;
    tuning.non_temporal = problem.compulsory_bytes() > kCachedBytes;
    return tuning;
  }
};

}  // namespace

const Kernel& depthwise_dgrad() {
  static const DepthwiseDgrad kernel;
  return kernel;
}

}  // namespace longconv
