// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

constexpr const char* kFormats[] = {"bf16", "f16", "f32 tf32", "f32"};

class DenseFpropSm80 : public KernelTest {
 protected:
  DenseFpropSm80() : KernelTest("dense_fprop_sm80", 80) {}
};

TEST_F(DenseFpropSm80, LengthsAroundTiles) {
  for (const char* format : kFormats) {
    // 17 channels: one warp over channels, tiles of 256 or 512 steps; 70: four warps, 64 or 128 steps.
    for (const std::int64_t length : {1, 255, 256, 257, 511, 512, 513, 1025})
      expect_right("n2 c16->17 k1 " + std::string(format), length);
    for (const std::int64_t length : {63, 64, 65, 127, 128, 129, 257})
      expect_right("n1 c24->70 k3 p1 " + std::string(format), length);
  }
}

TEST_F(DenseFpropSm80, EveryConfig) {
  for (const char* format : kFormats)
    expect_every_config_right("n1 c40->130 l400 k5 s2 d3 bias " + std::string(format));
}

TEST_F(DenseFpropSm80, StridesDilationsAndPaddingModes) {
  for (const char* rest : {"bf16 c16->20 l900 k3 s3 d4 p(5,0)", "f16 c33->40 l600 k4 s2 d5 p4 reflect",
                           "f32 c20->24 l700 k9 s4 d2 p8 circular", "f32 tf32 c18->33 l800 k2 s5 d512 p300 replicate",
                           "bf16 c16->64 l2500 k3 s17 d5", "f32 c12->65 l300 k40 p20"}) {
    expect_right(std::string("n1 ") + rest);
  }
}

TEST_F(DenseFpropSm80, GroupsEpiloguesAndLayouts) {
  for (const char* rest : {"bf16 c34->40 l300 k3 g2 p1 bias relu", "f16 c20->18 l333 k3 residual gelu",
                           "f32 c17->19 l300 k3 p2 bias residual silu", "f32 tf32 c17->40 l300 k2 tanh"}) {
    for (const Layout layout : {Layout::contiguous, Layout::sliced}) {
      Trial trial = make(std::string("n2 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DenseFpropSm80, Fp32KeepsWideValues) {
  Trial trial = make("n1 c64->40 l300 k3 f32");
  for (const Values values : kValues) {
    trial.values = values;
    expect_right(trial);
  }
}

TEST_F(DenseFpropSm80, NonFiniteNumbersStayInTheirWindows) {
  for (const char* format : {"bf16", "f32"})
    expect_non_finite_right("n1 c17->20 l300 k3 s2 d4 p4 bias " + std::string(format));
}

TEST_F(DenseFpropSm80, Fp32SpecialValues) { expect_special_values_right("n1 c20->24 l700 k3 p1 f32"); }

TEST_F(DenseFpropSm80, SameBitsOnEveryRun) {
  for (const char* format : kFormats) {
    const Trial trial = make("n2 c33->50 l700 k5 s2 p3 bias " + std::string(format));
    EXPECT_EQ(result_of(trial), result_of(trial)) << trial.to_string();
  }
}

}  // namespace
}  // namespace longconv::testing
