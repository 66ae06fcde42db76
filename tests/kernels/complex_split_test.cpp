// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "longconv/error.h"
#include "support/trial.h"

namespace longconv::testing {
namespace {

const char* const kDTypes[] = {"c64", "c128"};

TEST(ComplexSplit, EveryPassModeAndLayout) {
  std::uint64_t seed = 100;
  for (const char* pass : {"fprop", "dgrad", "wgrad"}) {
    for (const char* dtype : kDTypes) {
      for (const char* mode : {"zeros", "reflect", "replicate", "circular"}) {
        for (const Layout layout : kLayouts) {
          for (const char* shape : {"n2 c4->6 l17 k3 s2 d3 g2 p(4,2)", "n1 c1->3 l40 k4 p8", "n3 c4->4 l11 k2 g4"}) {
            const std::string text = std::string(pass) + " " + shape + " " + mode + " " + dtype;
            EXPECT_EQ(run_trial({.problem = ConvProblem::parse(text),
                                 .kernel = "complex_split",
                                 .threads = seed % 2 == 0 ? 1 : 3,
                                 .layout = layout,
                                 .values = kValues[seed % 3],
                                 .seed = seed}),
                      "");
            ++seed;
          }
        }
      }
    }
  }
}

TEST(ComplexSplit, BiasAndResidualAlsoInPlace) {
  for (const char* dtype : kDTypes) {
    for (const char* text : {"fprop n2 c2->4 l20 k3 p1 bias", "fprop n2 c2->4 l20 k3 p1 residual",
                             "fprop n2 c2->4 l20 k3 p1 bias residual", "dgrad n2 c2->4 l20 k3 s2 p1 bias residual",
                             "wgrad n2 c2->4 l20 k3 s2 p1 bias"}) {
      const ConvProblem problem = ConvProblem::parse(std::string(text) + " " + dtype);
      for (const Layout layout : kLayouts) {
        EXPECT_EQ(run_trial({.problem = problem, .kernel = "complex_split", .layout = layout}), "");
      }
      if (problem.has_residual) {
        EXPECT_EQ(run_trial({.problem = problem, .kernel = "complex_split", .in_place = true}), "");
      }
    }
  }
}

TEST(ComplexSplit, LongEnoughForEveryBlock) {
  for (const char* text :
       {"fprop n2 c9->7 l1500 k5 p2", "dgrad n2 c9->7 l1500 k5 p2", "wgrad n2 c9->7 l1500 k5 p2 bias"}) {
    for (const char* dtype : kDTypes) {
      EXPECT_EQ(run_trial({.problem = ConvProblem::parse(std::string(text) + " " + dtype), .threads = 2}), "");
    }
  }
}

TEST(ComplexSplit, AnInfinityReachesItsWindowsOnly) {
  const Trial trial{.problem = ConvProblem::parse("fprop n1 c2->3 l60 k3 c64"), .kernel = "complex_split"};
  TestTensors tensors = make_tensors(trial);
  tensors.x.set(30, INFINITY, 1);
  EXPECT_EQ(run_trial(trial, tensors), "");
}

TEST(ComplexSplit, SaysWhatItDoesNotDo) {
  EXPECT_THROW(make_plan(ConvProblem::parse("l9 k3 c64 relu"), Device{}), Error);
  try {
    make_plan(ConvProblem::parse("l9 k3 c64 relu"), Device{}, "complex_split");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_supported);
    EXPECT_NE(std::string(error.what()).find("complex numbers have no activation relu"), std::string::npos);
  }
}

}  // namespace
}  // namespace longconv::testing
