// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Forward pass, any groups: register blocks of output channels over packed tiles of time (fprop_engine.cpp).
#include "cpu/fprop_kernel.h"
#include "plan/registry.h"

namespace longconv {
namespace {

class DenseFprop final : public cpu::FpropKernel {
 public:
  std::string_view name() const override { return "dense_fprop"; }

 protected:
  std::vector<cpu::FpropTuning> tunings(const ConvProblem&, const Device&) const override {
    std::vector<cpu::FpropTuning> list;
    for (const std::int64_t time : {480, 240, 960, 1920}) {
      list.emplace_back();
      list.back().time_samples = time;
    }
    return list;
  }
};

}  // namespace

const Kernel& dense_fprop() {
  static const DenseFprop kernel;
  return kernel;
}

}  // namespace longconv
