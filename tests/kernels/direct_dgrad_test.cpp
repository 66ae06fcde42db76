// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

class DirectDgrad : public KernelTest {
 protected:
  DirectDgrad() : KernelTest("direct_dgrad", 80) {}
};

/// Small tiles with long stages, for problems that leave multiprocessors idle.
TEST_F(DirectDgrad, EveryConfig) {
  for (const char* problem :
       {"n1 c40->70 l300 k3 s3 d4 f32", "n2 c20->33 l130 k5 p2 bf16", "n1 c24->40 l90 k9 s2 p3 f16"})
    expect_every_config_right(problem);
}

TEST_F(DirectDgrad, DtypesAndEdgeLengths) {
  for (const char* dtype : {"f32", "f64", "bf16"}) {
    // 8 channels take tiles of 256 steps of each phase.
    for (const std::int64_t length : {3, 4, 255, 256, 257, 513})
      expect_right("n2 c8->3 k3 p1 " + std::string(dtype), length);
    for (const std::int64_t length : {3, 511, 512, 513, 514})
      expect_right("n2 c8->3 k3 s2 " + std::string(dtype), length);
  }
}

/// K below, at and above the stride, dilations that share factors with it, samples behind the last window.
TEST_F(DirectDgrad, EveryStride) {
  constexpr const char* kRests[] = {"c3->2 l140 k3 d4 p(5,3)", "c2->3 l200 k20 d6 p(30,1)", "c3->2 l97 k1",
                                    "c3->2 l123 k7 d3 p8"};
  for (std::int64_t stride = 1; stride <= 17; ++stride) {
    Trial trial = make(std::string("n2 f32 ") + kRests[stride % 4]);
    trial.problem.stride = stride;
    expect_right(trial);
  }
  expect_right("n2 f32 c3->2 l97 k1 s3");
  expect_right("n2 f32 c3->2 l123 k7 s6 d4 p8");
}

TEST_F(DirectDgrad, PaddingModes) {
  for (const char* rest : {"c3->5 l60 k3 d3 p(4,7) reflect f32", "c5->3 l50 k4 s3 p(3,0) circular bf16",
                           "c5->3 l50 k4 s3 p(0,5) replicate f64", "c2->3 l61 k5 s2 d7 p(0,9) residual replicate f16",
                           "c33->40 l70 k3 s5 p6 circular f32", "c2->3 l9 k3 s2 p8 reflect f32",
                           "c2->3 l9 k3 s2 p9 circular f32", "c1->2 l300 k31 s4 p(40,2) reflect residual f32"})
    expect_right(std::string("n2 ") + rest);
  expect_right("n1 c2->3 l7 k3 p(3000,1500) replicate f32");  // more padding than signal
  expect_right("n1 c1->1 l1 k1 p(300,300) replicate f64");
}

TEST_F(DirectDgrad, PaddingBeyondTheWindow) {
  for (const char* rest : {"c2->3 l5 k3 d9 p(40,60)", "c2->3 l5 k3 s7 p(40,60)", "c1->1 l1 k1 p(300,300)",
                           "c1->1 l100 k2 d5000 p(5000,40)"})
    expect_right(std::string("n1 f32 ") + rest);
}

TEST_F(DirectDgrad, Groups) {
  for (const char* rest : {"c12->18 l100 k3 g3 bf16", "c6->6 l300 k5 p2 g6 f32", "c8->4 l90 k3 s2 g4 f64 bias residual",
                           "c6->30 l333 k5 s2 g2 p2 f32", "c4->8 l120 k4 s3 d2 g4 f16 reflect p3"})
    expect_right(std::string("n3 ") + rest);
}

TEST_F(DirectDgrad, EveryLayout) {
  for (const Layout layout : kLayouts) {
    for (const char* rest : {"l200 k3 p1 f32", "l200 k3 s2 p2 reflect residual bf16"}) {
      Trial trial = make("n2 c9->5 " + std::string(rest));
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DirectDgrad, AccumulatesInPlace) {
  for (const char* rest : {"k3 p1 f32", "k2 s3 p(7,1) circular f64", "k5 s2 p4 reflect f16"}) {
    Trial trial = make(std::string("n2 c5->9 l300 residual ") + rest);
    trial.in_place = true;
    expect_right(trial);
  }
}

TEST_F(DirectDgrad, Tf32OperandsAreRounded) {
  expect_right("n1 c12->20 l300 k3 p1 f32 tf32");
  expect_right("n1 c12->20 l100 k3 s2 p1 circular f32 tf32");
}

TEST_F(DirectDgrad, SumsAreBlocked) {
  Trial trial = make("n1 c8->70 l260 k40 s2 f32");
  trial.values = Values::positive;
  expect_right(trial);
}

TEST_F(DirectDgrad, NonFiniteNumbersStayInTheirWindows) {
  for (const char* mode : {"zeros", "reflect"})
    expect_non_finite_right("n1 c5->3 l100 k3 s2 d4 p3 f32 " + std::string(mode));
}

TEST_F(DirectDgrad, PositionsBeyond31Bits) {
  expect_right("n1 c2->3 l5 k3 s2000000000 p4000000000 f32");
  expect_right("n1 c2->3 l9 k4 s3 d3000000001 p(3000000004,6000000000) f32");
}

TEST_F(DirectDgrad, ThroughActivations) {
  for (const char* rest :
       {"c9->5 l131 k3 s2 p1 f32", "c3->8 l257 k4 d3 g1 p(2,0) bf16", "c5->3 l90 k3 f16 g1 p3 reflect",
        "c4->6 l77 k3 s3 g2 circular p2 f64", "c8->12 l100 k3 f32 tf32 replicate p1"})
    expect_right_through_activations("n2 " + std::string(rest));
}

}  // namespace
}  // namespace longconv::testing
