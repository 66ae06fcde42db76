// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Data gradient, any groups: register blocks of input channels over packed tiles of dy (dgrad_engine.cpp).
#include "cpu/dgrad_schedule.h"
#include "plan/registry.h"

namespace longconv {
namespace {

class DenseDgrad final : public cpu::DgradKernel {
 public:
  std::string_view name() const override { return "dense_dgrad"; }

 protected:
  cpu::DgradTuning tuning(const ConvProblem&) const override { return {}; }
};

}  // namespace

const Kernel& dense_dgrad() {
  static const DenseDgrad kernel;
  return kernel;
}

}  // namespace longconv
