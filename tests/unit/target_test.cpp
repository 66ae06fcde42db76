// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/target.h"

#include <gtest/gtest.h>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

const std::vector<int> kArchs117{35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87};
const std::vector<int> kArchs118{35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90};
const std::vector<int> kArchs130{75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};

TEST(Target, TheBestThatNvrtcCanMake) {
  struct Case {
    int capability, version;
    const std::vector<int>& archs;
    const char* expected;
  };
  const Case cases[] = {
      {80, 11070, kArchs117, "sm_80"},       {86, 11070, kArchs117, "sm_86"},   {89, 11070, kArchs117, "sm_87"},
      {90, 11070, kArchs117, "compute_87"},  {90, 11080, kArchs118, "sm_90"},   {100, 11080, kArchs118, "compute_90"},
      {80, 13000, kArchs130, "sm_80"},       {90, 13000, kArchs130, "sm_90a"},  {100, 13000, kArchs130, "sm_100"},
      {103, 13000, kArchs130, "sm_103"},     {120, 13000, kArchs130, "sm_120"}, {122, 13000, kArchs130, "sm_121"},
      {130, 13000, kArchs130, "compute_121"}};
  for (const Case& c : cases) {
    EXPECT_EQ(choose_target(c.capability, c.version, c.archs).name(), c.expected) << c.capability << " " << c.version;
  }
}

TEST(Target, RefusesWhatIsTooOld) {
  EXPECT_THROW(choose_target(75, 13000, kArchs130), Error);
  EXPECT_THROW(choose_target(90, 11010, {35, 50, 70, 75}), Error);
  EXPECT_THROW(choose_target(90, 13000, {}), Error);
}

TEST(Target, ReadsItsName) {
  for (const char* name : {"sm_80", "sm_90a", "compute_90", "sm_120"}) EXPECT_EQ(Target::parse(name).name(), name);
  EXPECT_EQ(Target::parse("sm_90a").option(), "--gpu-architecture=sm_90a");
  for (const char* bad : {"", "sm_", "90", "sm_90b", "sm_90aa", "sm_x", "compute90"}) {
    EXPECT_THROW(Target::parse(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace longconv::cuda
