// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "support/trial.h"

namespace longconv::testing {
namespace {

TEST(IntegerDirect, EveryPassModeAndLayout) {
  std::uint64_t seed = 1;
  for (const char* pass : {"fprop", "dgrad", "wgrad"}) {
    for (const char* mode : {"zeros", "reflect", "replicate", "circular"}) {
      for (const Layout layout : kLayouts) {
        for (const char* shape :
             {"n2 c4->6 l17 k3 s2 d3 g2 p(4,2)", "n1 c1->3 l9 k4 p(8,8)", "n3 c2->2 l11 k1 s3 g2", "n1 c3->1 l5 k5"}) {
          const std::string text = std::string(pass) + " " + shape + " " + mode + " i64";
          for (const int threads : {1, 3}) {
            EXPECT_EQ(run_trial({.problem = ConvProblem::parse(text),
                                 .kernel = "integer_direct",
                                 .threads = threads,
                                 .layout = layout,
                                 .seed = ++seed}),
                      "");
          }
        }
      }
    }
  }
}

TEST(IntegerDirect, LengthsAroundTheBlock) {
  for (const std::int64_t length : {1, 2, 511, 512, 513, 1023, 1024, 1025, 1600}) {
    for (const char* mode : {"zeros", "reflect", "replicate", "circular"}) {
      for (const Pass pass : {Pass::fprop, Pass::dgrad, Pass::wgrad}) {
        for (const std::int64_t stride : {1, 2, 5}) {
          ConvProblem problem = ConvProblem::parse(std::string("n1 c2->2 k3 d2 i64 ") + mode);
          problem.pass = pass;
          problem.length_samples = length;
          problem.stride = stride;
          problem.pad_left = std::min<std::int64_t>(length - 1, 600);
          problem.pad_right = std::min<std::int64_t>(length - 1, 5);
          if (length + problem.pad_left + problem.pad_right < problem.window_samples()) continue;
          EXPECT_EQ(run_trial({.problem = problem, .threads = 2}), "");
        }
      }
    }
  }
}

TEST(IntegerDirect, BiasAndResidual) {
  for (const Layout layout : kLayouts) {
    for (const char* text : {"fprop n2 c2->4 l20 k3 p1 i64 bias", "fprop n2 c2->4 l20 k3 p1 i64 bias residual",
                             "dgrad n2 c2->4 l20 k3 s2 p1 i64 bias residual", "wgrad n2 c2->4 l20 k3 s2 p1 i64 bias"}) {
      EXPECT_EQ(run_trial({.problem = ConvProblem::parse(text), .layout = layout}), "");
    }
  }
  for (const char* text : {"fprop n2 c2->4 l20 k3 p1 i64 residual", "dgrad n2 c2->4 l20 k3 s2 p1 i64 residual"}) {
    EXPECT_EQ(run_trial({.problem = ConvProblem::parse(text), .in_place = true}), "");
  }
}

}  // namespace
}  // namespace longconv::testing
