// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

constexpr const char* kFormats[] = {"bf16", "f16", "f32 tf32", "f32"};

class DenseDgradSm80 : public KernelTest {
 protected:
  DenseDgradSm80() : KernelTest("dense_dgrad_sm80", 80) {}
};

TEST_F(DenseDgradSm80, LengthsAroundTiles) {
  for (const char* format : {"bf16", "f32"}) {
    // 17 channels of dx: tiles of 256 or 512 samples; stride 3: of 192 or 384, 16 of each phase a warp.
    for (const std::int64_t length : {1, 255, 256, 257, 513})
      expect_right("n2 c17->16 k1 " + std::string(format), length);
    for (const std::int64_t length : {9, 191, 192, 193, 383, 385})
      expect_right("n1 c17->24 k3 s3 d4 " + std::string(format), length);
  }
}

TEST_F(DenseDgradSm80, EveryConfig) {
  for (const char* format : {"bf16", "f32"})
    expect_every_config_right("n1 c130->40 l400 k5 s2 d3 " + std::string(format));
}

TEST_F(DenseDgradSm80, StridesAndDilations) {
  for (const char* rest :
       {"bf16 c24->40 l301 k1 s2", "f16 c33->20 l600 k7 s2 d3 p(5,0)", "f32 tf32 c20->24 l700 k3 s4 d2 p8",
        "f32 c18->20 l800 k9 s5 d4 p(3,9)", "f16 c65->20 l902 k4 s6 d4 p11", "f32 c40->24 l600 k16 s3 p3",
        "f32 tf32 c16->24 l900 k16 s7 p3", "bf16 c16->40 l1203 k20 s16 d3 p20", "f32 c17->40 l900 k10 s8 p2",
        "f32 c40->16 l2000 k3 d400 p(900,0)", "bf16 c20->12 l400 k40 s2 p20", "f16 c16->40 l9000 k5 s2 d1501 p700"})
    expect_right(std::string("n1 ") + rest);
}

TEST_F(DenseDgradSm80, PaddingModes) {
  for (const char* rest : {"bf16 c33->20 l500 k5 p(4,9) reflect", "f32 c20->24 l400 k4 s3 d2 p5 circular residual"})
    expect_right(std::string("n2 ") + rest);
}

TEST_F(DenseDgradSm80, GroupsResidualsAndLayouts) {
  for (const char* rest : {"bf16 c40->34 l328 k3 g2 p1 bias residual", "f32 c70->40 l333 k3 s2 g2 p1",
                           "f32 tf32 c40->17 l302 k2 s4 residual"}) {
    for (const Layout layout : {Layout::contiguous, Layout::sliced}) {
      Trial trial = make(std::string("n2 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
  Trial repeated = make("n2 f32 c70->40 l333 k3 s2 g2 p1");  // as the gradient of a sum is
  repeated.layout = Layout::expanded_all;
  expect_right(repeated);
}

TEST_F(DenseDgradSm80, Fp32KeepsWideValues) {
  Trial trial = make("n1 c40->64 l300 k3 s2 f32");
  for (const Values values : kValues) {
    trial.values = values;
    expect_right(trial);
  }
}

TEST_F(DenseDgradSm80, NonFiniteNumbersStayInTheirWindows) {
  for (const char* format : {"bf16", "f32"})
    expect_non_finite_right("n1 c20->17 l300 k3 s2 d4 p4 " + std::string(format));
}

TEST_F(DenseDgradSm80, Fp32SpecialValues) { expect_special_values_right("n1 c24->20 l700 k4 s3 p1 f32"); }

TEST_F(DenseDgradSm80, SameBitsOnEveryRun) {
  for (const char* format : kFormats) {
    const Trial trial = make("n2 c50->33 l700 k5 s2 p3 " + std::string(format));
    EXPECT_EQ(result_of(trial), result_of(trial)) << trial.to_string();
  }
}

TEST_F(DenseDgradSm80, ThroughActivations) {
  for (const char* format : kFormats) {
    expect_right_through_activations("n2 c20->33 l301 k3 s2 p1 " + std::string(format));
    expect_right_through_activations("n1 c70->40 l333 k4 d3 g2 p(2,0) reflect " + std::string(format));
  }
  expect_special_values_right("n1 c24->20 l700 k4 s3 p1 f32 leaky_relu(0.25)");
}

}  // namespace
}  // namespace longconv::testing
