// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Forward pass with one input channel per group (depthwise, with any depth multiplier; also a single filtered signal):
// bound by memory, so tiles are long, samples are read where they lie (fprop_engine.cpp) and large results bypass the
// caches.
#include "cpu/fprop_kernel.h"
#include "plan/registry.h"

namespace longconv {
namespace {

class DepthwiseFprop final : public cpu::FpropKernel {
 public:
  std::string_view name() const override { return "depthwise_fprop"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    if (!problem.is_depthwise()) {
      return Support::no("takes one input channel per group, not " + std::to_string(problem.in_channels_per_group()));
    }
    return FpropKernel::supports(problem, device);
  }

 protected:
  std::vector<cpu::FpropTuning> tunings(const ConvProblem& problem, const Device&) const override {
    constexpr double kCachedBytes = 32 << 20;  // larger results would only push everything else out
    cpu::FpropTuning tuning;
    tuning.time_samples = 1920;
    tuning.non_temporal = problem.compulsory_bytes() > kCachedBytes;
    return {tuning};
  }
};

}  // namespace

const Kernel& depthwise_fprop() {
  static const DepthwiseFprop kernel;
  return kernel;
}

}  // namespace longconv
