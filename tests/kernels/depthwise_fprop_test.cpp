// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "support/trial.h"

namespace longconv::testing {
namespace {

constexpr const char* kModes[] = {"zeros", "reflect", "replicate", "circular"};

Trial depthwise(const std::string& text) { return {.problem = ConvProblem::parse(text), .kernel = "depthwise_fprop"}; }

void expect_right(Trial trial) {
  static std::uint64_t seed = 0;
  trial.seed = ++seed;
  EXPECT_EQ(run_trial(trial), "");
}

TEST(DepthwiseFprop, LengthsAroundVectorsAndTiles) {
  for (const std::string& isa : available_isas()) {
    for (const std::int64_t length : {1,  2,   3,   7,   8,   9,   15,   16,   17,   31,   33,   95,   96,   97,
                                      99, 100, 191, 192, 193, 960, 1919, 1920, 1921, 1923, 3839, 3840, 3841, 3850}) {
      for (const char* dtype : {"f32", "f64", "bf16"}) {
        Trial trial = depthwise("n2 c3->3 g3 k4 p(3,0) " + std::string(dtype));
        trial.problem.length_samples = length;
        trial.isa = isa;
        trial.threads = 2;
        expect_right(trial);
      }
    }
  }
}

TEST(DepthwiseFprop, MultipliersStridesDilations) {
  for (const std::int64_t multiplier : {1, 2, 3, 5, 7, 13}) {
    for (std::int64_t stride = 1; stride <= 6; ++stride) {
      for (const std::int64_t dilation : {1, 3, 512}) {
        for (const char* mode : kModes) {
          Trial trial = depthwise("n1 c4->4 g4 l2600 k3 f32 bias " + std::string(mode));
          trial.problem.out_channels = 4 * multiplier;
          trial.problem.stride = stride;
          trial.problem.dilation = dilation;
          trial.problem.pad_left = 5;
          trial.problem.pad_right = 70;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseFprop, LongKernels) {
  for (const char* text :
       {"n1 c1->1 l9000 k1025 f32", "n2 c3->3 g3 l9000 k4100 p(4099,0) f32", "n1 c2->4 g2 l6000 k600 d7 f32",
        "n1 c2->2 g2 l6000 k600 s3 d2 f64", "n1 c1->1 l9000 k1025 bf16 p512 circular"}) {
    for (const Values values : kValues) {
      Trial trial = depthwise(text);
      trial.values = values;
      expect_right(trial);
    }
  }
}

TEST(DepthwiseFprop, DtypesLayoutsAndEpilogues) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
    for (const Layout layout : kLayouts) {
      for (const char* epilogue : {"", "bias silu", "residual", "bias residual gelu", "sigmoid"}) {
        for (const char* shape : {"n2 c5->5 g5 l2100 k4 p(3,0)", "n2 c3->6 g3 l300 k7 s2 p3"}) {
          Trial trial = depthwise(std::string(shape) + " " + dtype + " " + epilogue);
          trial.layout = layout;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseFprop, LargeResultsBypassTheCaches) {
  Trial trial = depthwise("n1 c2->2 g2 l2100003 k7 f32 bias");  // rows at every alignment
  ASSERT_NE(plan_of(trial).chosen.config.get("stream"), 0);
  trial.threads = 2;
  for (const std::string& isa : available_isas()) {
    trial.isa = isa;
    expect_right(trial);
  }
}

TEST(DepthwiseFprop, SameBitsForEveryThreadCount) {
  for (const char* text : {"n2 c7->14 g7 l5000 k5 f32", "n1 c1->1 l20000 k1025 f32", "n1 c4->4 g4 l3000 k9 s2 bf16"}) {
    Trial trial = depthwise(text);
    std::vector<unsigned char> expected;
    for (trial.threads = 1; trial.threads <= 5; ++trial.threads) {
      TestTensors tensors = make_tensors(trial);
      EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(trial.threads)), "");
      if (trial.threads == 1) expected = tensors.y.snapshot();
      EXPECT_EQ(tensors.y.snapshot(), expected) << trial.to_string();
    }
  }
}

TEST(DepthwiseFprop, NonFiniteValues) {
  for (const char* mode : kModes) {
    for (const long double special : {INFINITY, -INFINITY, NAN}) {
      const Trial trial = depthwise("n1 c2->4 g2 l2500 k3 d2 p4 f32 " + std::string(mode));
      TestTensors tensors = make_tensors(trial);
      tensors.x.set(2499, special);
      tensors.x.set(3000, special);
      EXPECT_EQ(run_trial(trial, tensors), "");
      tensors = make_tensors(trial);
      tensors.w.set(0, special);
      tensors.w.set(8, special);
      EXPECT_EQ(run_trial(trial, tensors), "");
    }
  }
}

}  // namespace
}  // namespace longconv::testing
