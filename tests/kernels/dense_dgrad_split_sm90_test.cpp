// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

class DenseDgradSplitSm90 : public KernelTest {
 protected:
  DenseDgradSplitSm90() : KernelTest("dense_dgrad_split_sm90", 90) {}
};

/// Stride 1: tiles of 128 (120) samples; stride 3: 40 (37) of each phase.
TEST_F(DenseDgradSplitSm90, LengthsAroundTiles) {
  for (const std::int64_t length : {1, 2, 119, 120, 121, 127, 128, 129, 257}) expect_right("n1 c70->16 k1 f32", length);
  for (const std::int64_t length : {9, 10, 110, 111, 112, 119, 120, 121, 241})
    expect_right("n1 c70->16 k3 s3 d4 f32", length);
}

TEST_F(DenseDgradSplitSm90, EveryConfigOfOnePass) { expect_every_config_right("n2 c100->40 l500 k3 s3 d4 f32"); }
TEST_F(DenseDgradSplitSm90, EveryConfigOfSeveralPasses) { expect_every_config_right("n1 c300->33 l300 k5 s2 p2 f32"); }
TEST_F(DenseDgradSplitSm90, EveryConfigOfFewChannels) { expect_every_config_right("n1 c24->20 l700 k7 d2 p4 f32"); }

TEST_F(DenseDgradSplitSm90, StridesAndDilations) {
  for (const char* rest : {"c24->40 l301 k1 s2", "c33->20 l600 k7 s2 d3 p(5,0)", "c20->24 l700 k3 s4 d2 p8",
                           "c18->20 l800 k9 s5 d4 p(3,9)", "c65->20 l902 k4 s6 d4 p11", "c16->24 l1203 k12 s8 p3",
                           "c16->40 l1203 k20 s16 d3 p20", "c40->16 l2000 k3 d400 p(900,0)", "c20->12 l400 k40 s2 p20"})
    expect_right(std::string("n1 f32 ") + rest);
}

TEST_F(DenseDgradSplitSm90, PaddingModes) {
  for (const char* rest : {"c33->20 l500 k5 p(4,9) reflect", "c20->24 l400 k4 s3 d2 p5 circular residual"})
    expect_right(std::string("n2 f32 ") + rest);
}

TEST_F(DenseDgradSplitSm90, GroupsResidualsAndLayouts) {
  for (const char* rest : {"c140->34 l328 k3 g2 p1 bias residual", "c70->40 l333 k3 s2 g2 p1"}) {
    for (const Layout layout : {Layout::contiguous, Layout::sliced}) {
      Trial trial = make(std::string("n2 f32 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DenseDgradSplitSm90, KeepsWideValues) {
  Trial trial = make("n1 c70->64 l300 k3 s2 f32");
  for (const Values values : kValues) {
    trial.values = values;
    expect_right(trial);
  }
}

TEST_F(DenseDgradSplitSm90, NonFiniteNumbersStayInTheirWindows) {
  expect_non_finite_right("n1 c70->17 l300 k3 s2 d4 p4 f32");
}

TEST_F(DenseDgradSplitSm90, SpecialValues) { expect_special_values_right("n1 c70->20 l700 k4 s3 p1 f32"); }

TEST_F(DenseDgradSplitSm90, SameBitsOnEveryRun) {
  const Trial trial = make("n2 c150->33 l500 k5 s2 p3 f32");
  EXPECT_EQ(result_of(trial), result_of(trial)) << trial.to_string();
}

TEST_F(DenseDgradSplitSm90, ThroughActivations) {
  expect_right_through_activations("n2 c70->40 l333 k3 s2 p1 f32");
  expect_right_through_activations("n1 c48->66 l1024 k4 d3 g2 p(2,0) reflect f32");
  expect_right_through_activations("n1 c20->300 l1280 k1 f32");
  expect_every_config_right("n2 c40->70 l701 k3 s3 d2 p1 f32 sigmoid");
  expect_special_values_right("n1 c24->20 l700 k4 s3 p1 f32 leaky_relu(0.25)");
}

}  // namespace
}  // namespace longconv::testing
