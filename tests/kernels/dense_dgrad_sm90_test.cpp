// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

class DenseDgradSm90 : public KernelTest {
 protected:
  DenseDgradSm90() : KernelTest("dense_dgrad_sm90", 90) {}
};

/// Stride 1: tiles of 256 (240) samples; stride 3: 80 (or 75) of each phase; stride 8: 32 (or 30).
TEST_F(DenseDgradSm90, LengthsAroundTiles) {
  for (const std::int64_t length : {1, 2, 240, 255, 256, 257, 513}) expect_right("n1 c70->16 k1 bf16", length);
  for (const std::int64_t length : {9, 10, 11, 224, 225, 226, 239, 240, 241, 481, 482})
    expect_right("n1 c70->16 k3 s3 d4 f32 tf32", length);
  for (const std::int64_t length : {12, 13, 239, 240, 241, 255, 256, 257, 513})
    expect_right("n1 c20->16 k12 s8 f16", length);
}

TEST_F(DenseDgradSm90, EveryConfigOfOnePass) { expect_every_config_right("n2 c100->40 l700 k3 s3 d4 bf16"); }
TEST_F(DenseDgradSm90, EveryConfigOfSeveralPasses) { expect_every_config_right("n1 c300->33 l500 k4 s2 p2 f16"); }
TEST_F(DenseDgradSm90, EveryConfigOfFewChannels) { expect_every_config_right("n1 c24->20 l1100 k5 d2 p4 f32 tf32"); }

/// K below, at and above the stride; dilations that share factors with it; padding smaller and larger than the window;
/// samples behind the last window.
TEST_F(DenseDgradSm90, StridesAndDilations) {
  for (const char* rest :
       {"bf16 c24->40 l301 k1 s2", "f16 c33->20 l600 k7 s2 d3 p(5,0)", "f32 tf32 c20->24 l700 k3 s4 d2 p8",
        "bf16 c18->20 l800 k9 s5 d4 p(3,9)", "f16 c65->20 l902 k4 s6 d4 p11", "f32 tf32 c16->24 l1500 k16 s7 p3",
        "bf16 c16->40 l1203 k20 s16 d3 p20", "bf16 c16->40 l1203 k2 s17 d5", "f16 c20->33 l900 k3 s32 p1",
        "bf16 c40->16 l2000 k3 d400 p(900,0)", "bf16 c20->40 l900 k3 s2 d250 p40", "f16 c20->12 l600 k40 s2 p20"})
    expect_right(std::string("n1 ") + rest);
}

/// Tap groups: windows too long for one.
TEST_F(DenseDgradSm90, TapsFarApart) {
  expect_right("n1 c16->40 l12000 k4 d3000 p700 bf16");
  expect_right("n1 c16->40 l9000 k5 s2 d1001 p700 bf16");
}

/// 160 sums a thread, of one, two or four phases; pairs of blocks that share what they load of the weights.
TEST_F(DenseDgradSm90, WideTilesAndClusters) {
  for (const auto& [rest, columns] : {std::pair{"n1 c200->40 l700 k3 p2 bf16", 160},
                                      {"n2 c150->33 l600 k5 s2 f32 tf32", 80},
                                      {"n1 c300->20 l900 k6 s4 p3 f16", 40}}) {
    for (const char* set : {"packers=7,cluster=1", "packers=3,cluster=2", "packers=7,cluster=2"}) {
      Trial trial = make(rest);
      trial.set = "m=2,ways=2,chunks=4,wstep=2,resident=0,stationary=0,slots=3,raw=1,w=2,full=1,rows=8,n=" +
                  std::to_string(columns) + "," + set;
      expect_right(trial);
    }
  }
}

TEST_F(DenseDgradSm90, PaddingModes) {
  for (const char* rest : {"bf16 c33->20 l500 k5 p(4,9) reflect", "f16 c20->24 l400 k4 s3 d2 p5 circular residual",
                           "f32 tf32 c20->24 l300 k3 s2 p(7,0) replicate"})
    expect_right(std::string("n2 ") + rest);
}

TEST_F(DenseDgradSm90, GroupsResidualsAndLayouts) {
  for (const char* rest : {"bf16 c140->34 l328 k3 g2 p1 bias residual", "f16 c70->20 l333 k3 s2 g2 p1",
                           "f32 tf32 c40->17 l302 k2 s4 residual"}) {
    for (const Layout layout : {Layout::contiguous, Layout::sliced}) {
      Trial trial = make(std::string("n2 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

/// As the gradient of a sum is.
TEST_F(DenseDgradSm90, RepeatedGradients) {
  for (const Layout layout : {Layout::expanded_batch, Layout::expanded_all}) {
    Trial trial = make("n2 c20->17 l302 k3 s2 bf16");
    trial.layout = layout;
    expect_right(trial);
  }
}

TEST_F(DenseDgradSm90, NonFiniteNumbersStayInTheirWindows) {
  for (const char* rest : {"k3 s2 d4 p4 bf16", "k3 d2 f16", "k4 s3 p2 f32 tf32"})
    expect_non_finite_right("n1 c70->17 l300 " + std::string(rest));
}

TEST_F(DenseDgradSm90, SameBitsOnEveryRun) {
  const Trial trial = make("n2 c150->33 l700 k5 s2 p3 reflect bf16");
  EXPECT_EQ(result_of(trial), result_of(trial)) << trial.to_string();
}

TEST_F(DenseDgradSm90, ThroughActivations) {
  for (const char* format : {"bf16", "f16", "f32 tf32"})
    expect_right_through_activations("n2 c70->40 l333 k3 s2 p1 " + std::string(format));
  expect_right_through_activations("n1 c48->66 l1024 k4 d3 g2 p(2,0) reflect bf16");
  expect_right_through_activations("n1 c20->300 l1280 k1 f32 tf32");
  expect_every_config_right("n2 c40->70 l704 k3 bf16 tanh");
  expect_every_config_right("n2 c40->70 l701 k3 s3 d2 p1 f32 tf32 leaky_relu(0.3)");
}

}  // namespace
}  // namespace longconv::testing
