// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Runs again what failing cases printed, a line each:
//   LONGCONV_REPLAY='fprop c3->4 l9 k3 f32 | layout sliced seed 7' longconv_kernels_tests --gtest_filter=Replay.*
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>

#include "support/trial.h"

namespace longconv::testing {
namespace {

TEST(Replay, FromEnvironment) {
  const char* const text = std::getenv("LONGCONV_REPLAY");
  if (text == nullptr) GTEST_SKIP() << "LONGCONV_REPLAY is not set";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const Trial trial = Trial::parse(line);
    std::cout << plan_of(trial).to_string();
    EXPECT_EQ(run_trial(trial), "");
  }
}

TEST(Replay, LineReadsBack) {
  const Trial trial{.problem = ConvProblem::parse("dgrad n2 c4->6 l50 k3 s2 d3 g2 p(1,0) reflect f16 residual"),
                    .kernel = "dense_dgrad",
                    .config = 2,
                    .set = "slots=3,raw=1",
                    .capability = 86,
                    .isa = "avx2",
                    .threads = 3,
                    .layout = Layout::stepped,
                    .values = Values::wide,
                    .seed = 18446744073709551615u,
                    .in_place = true,
                    .kept_weights = true};
  const Trial read = Trial::parse(trial.to_string());
  EXPECT_EQ(read.to_string(), trial.to_string());
  EXPECT_EQ(read.problem, trial.problem);
  EXPECT_EQ(read.seed, trial.seed);
}

}  // namespace
}  // namespace longconv::testing
