// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

class DirectFprop : public KernelTest {
 protected:
  DirectFprop() : KernelTest("direct_fprop", 80) {}
};

TEST_F(DirectFprop, DtypesAndEdgeLengths) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
    // 8 channels take tiles of 256 steps.
    for (const std::int64_t length : {1, 2, 255, 256, 257, 513})
      expect_right("n2 c3->8 k3 p1 bias " + std::string(dtype), length);
  }
}

TEST_F(DirectFprop, PaddingModesStridesAndDilations) {
  for (const char* rest :
       {"c3->5 l300 k3 s2 d3 p(4,7) reflect", "c2->33 l150 k4 s3 p3 circular", "c5->1 l280 k5 d7 p9 replicate",
        "c9->2 l700 k2 s17 d5 p(1,40)", "c1->1 l2000 k257 p128", "c40->40 l260 k9 s2 d130 p600"}) {
    expect_right(std::string("n1 f32 ") + rest);
  }
}

/// Small tiles with long stages, for problems that leave multiprocessors idle.
TEST_F(DirectFprop, EveryConfig) {
  for (const char* problem : {"n1 c70->40 l300 k3 s3 d4 f32 bias relu", "n2 c33->20 l130 k5 p2 bf16 residual",
                              "n1 c18->60 l70 k3 g3 p1 f64 reflect", "n1 c40->24 l90 k40 p20 f16 circular"})
    expect_every_config_right(problem);
}

TEST_F(DirectFprop, GroupsAndEpilogues) {
  for (const char* rest :
       {"c12->18 l100 k3 g3 bf16 bias relu", "c6->6 l300 k5 p2 g6 f32 gelu", "c8->4 l90 k3 g4 f64 bias residual silu",
        "c4->6 l64 k2 f16 residual leaky_relu(0.3)", "c3->4 l70 k1 f64 gelu_tanh bias", "c3->4 l70 k3 f32 tanh",
        "c3->9 l70 k3 bf16 sigmoid residual bias"}) {
    expect_right(std::string("n3 ") + rest);
  }
}

TEST_F(DirectFprop, EveryLayout) {
  for (const Layout layout : kLayouts) {
    for (const char* dtype : {"f32", "bf16"}) {
      Trial trial = make("n2 c5->9 l200 k3 p1 bias residual " + std::string(dtype));
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DirectFprop, AccumulatesInPlace) {
  for (const char* dtype : {"f32", "f64", "f16"}) {
    Trial trial = make("n2 c5->9 l300 k3 p1 residual " + std::string(dtype));
    trial.in_place = true;
    expect_right(trial);
  }
}

TEST_F(DirectFprop, Tf32OperandsAreRounded) { expect_right("n1 c20->12 l300 k3 p1 f32 tf32"); }

TEST_F(DirectFprop, SumsAreBlocked) {
  Trial trial = make("n1 c70->8 l260 k40 f32");
  trial.values = Values::positive;
  expect_right(trial);
}

TEST_F(DirectFprop, NonFiniteNumbersStayInTheirWindows) {
  expect_non_finite_right("n1 c3->5 l100 k3 s2 d4 p3 bias f32");
}

}  // namespace
}  // namespace longconv::testing
