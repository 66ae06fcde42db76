// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/wgrad_fixture.h"

namespace longconv::testing {
namespace {

class DirectWgrad : public WgradTest {
 protected:
  DirectWgrad() : WgradTest("direct_wgrad", 80) {}
};

TEST_F(DirectWgrad, DtypesAndEdgeLengths) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16", "bf16 f32_result", "f16 f32_result"}) {
    for (const std::int64_t length : {1, 2, 63, 64, 65, 300})
      expect_right("n2 c3->8 k3 p1 bias " + std::string(dtype), length);
  }
}

TEST_F(DirectWgrad, PaddingModesStridesAndDilations) {
  for (const char* rest :
       {"c3->5 l300 k3 s2 d3 p(4,7) reflect", "c2->33 l150 k4 s3 p3 circular", "c5->1 l280 k5 d7 p9 replicate",
        "c9->2 l700 k2 s17 d5 p(1,40)", "c1->1 l2000 k257 p128", "c40->70 l260 k9 s2 d130 p600"}) {
    expect_right(std::string("n1 f32 ") + rest);
  }
}

TEST_F(DirectWgrad, Groups) {
  for (const char* rest : {"c12->18 l100 k3 g3 bf16 bias", "c6->6 l3000 k5 p2 g6 f32 bias", "c8->4 l90 k3 g4 f64",
                           "c70->70 l40 k1 f16", "c4->12 l200 k3 g4 f32 tf32 bias"}) {
    expect_right(std::string("n3 ") + rest);
  }
}

TEST_F(DirectWgrad, EveryLayout) {
  for (const Layout layout : kLayouts) {
    for (const char* dtype : {"f32", "bf16", "f64"}) {
      Trial trial = make("n2 c5->9 l200 k3 p1 bias " + std::string(dtype));
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DirectWgrad, Tf32OperandsAreRoundedForTheWeightOnly) { expect_right("n2 c20->12 l300 k3 p1 f32 tf32 bias"); }

TEST_F(DirectWgrad, SumsAreBlocked) {
  for (const Values values : kValues) {
    Trial trial = make("n3 c2->3 l20000 k2 f32 bias");
    trial.values = values;
    expect_right(trial);
  }
}

TEST_F(DirectWgrad, NonFiniteNumbersStayInTheirWindows) {
  for (const char* dtype : {"f32", "bf16", "f64"})
    expect_non_finite_right("n1 c3->5 l100 k3 s2 d4 p3 bias " + std::string(dtype));
}

TEST_F(DirectWgrad, SameBitsOnEveryRun) { expect_same_bits("n2 c3->5 l3000 k5 s2 p3 bias f32"); }

TEST_F(DirectWgrad, AnEmptyBatchGivesZeros) {
  for (const Layout layout : {Layout::contiguous, Layout::stepped}) {
    Trial trial = make("n0 c3->5 l30 k3 bias bf16 f32_result");
    trial.layout = layout;
    expect_right(trial);
  }
}

TEST_F(DirectWgrad, WeightsTooManyForPartialSums) { expect_right("n1 c4100->4100 l2 k1 bias f32"); }

TEST_F(DirectWgrad, ThroughActivations) {
  for (const char* rest :
       {"c3->8 l200 k3 p1 f32 bias", "c3->5 l131 k4 s2 d3 p(2,0) bf16", "c6->4 l90 k3 g2 p3 f16 bias reflect",
        "c4->6 l77 k3 s3 f64 bias", "c8->12 l100 k3 f32 tf32 p1 bias", "c3->5 l99 k2 bf16 f32_result bias"})
    expect_right_through_activations("n2 " + std::string(rest));
}

}  // namespace
}  // namespace longconv::testing
