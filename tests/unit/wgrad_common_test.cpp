// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// How weight gradients are planned on GPUs: splits, their ranges, and what they take.
#include "cuda/wgrad_common.h"

#include <gtest/gtest.h>

#include "longconv/plan.h"

namespace longconv::cuda {
namespace {

constexpr const char* kShapes[] = {"n64 c64->128 l524280 k3 s3 d4", "n2 c512->640 l262144 k5",
                                   "n16 c1->512 l480000 k10 s5",    "n256 c12->64 l5000 k15 s2 bias",
                                   "n32 c1->80 l48000 k251",        "n8 c4096->4096 l8192 k4 g4096",
                                   "n8 c512->512 l65536 k3 g32",    "n1 c1->1 l16777216 k4097",
                                   "n1 c8192->8192 l40 k1",         "n1 c1->1 l1",
                                   "n1 c3->3 l9 k3 p100",           "n100000 c16->16 l3 k3 bias",
                                   "n1 c64->64 l100000000000 k3",   "n1 c2->2 l4000000 k1000 d3000 s7"};
constexpr const char* kTypes[] = {"f32", "f32 tf32", "bf16", "f16 f32_result", "f64"};

template <class Check>
void for_each_plan(const Check& check) {
  for (const char* gpu : {"h100", "a100", "l4"})
    for (const char* shape : kShapes)
      for (const char* type : kTypes)
        check(make_plan(ConvProblem::parse(std::string("wgrad ") + shape + " " + type), Device::known(gpu)));
}

TEST(WgradCommon, EveryCandidateKeepsToTheWorkspaceAndHasACost) {
  for_each_plan([](const Plan& plan) {
    std::vector<Plan::Candidate> candidates = plan.runners_up;
    candidates.push_back(plan.chosen);
    for (const Plan::Candidate& candidate : candidates) {
      EXPECT_LE(candidate.workspace_bytes, kMaxWgradWorkspaceBytes) << plan.to_string();
      EXPECT_GT(candidate.estimate.seconds, 0) << plan.to_string();
      EXPECT_GT(candidate.estimate.bytes, 0) << plan.to_string();
      EXPECT_GE(candidate.config.get("splits"), 1) << plan.to_string();
    }
  });
}

TEST(WgradCommon, RangesAreDisjointAndCoverEverything) {
  for_each_plan([](const Plan& plan) {
    for (const std::int64_t steps : {1, 32, 100})
      for (const std::int64_t most : {1, 7, 1000}) {
        if (plan.problem.out_length() / steps * plan.problem.batch > (std::int64_t{1} << 40)) continue;
        const WgradRanges ranges(plan.problem, steps, most);
        ASSERT_LE(ranges.splits, most);
        ASSERT_GE(ranges.chunks_per_signal * steps, plan.problem.out_length());
        EXPECT_EQ(ranges.begin(0), 0);
        EXPECT_EQ(ranges.begin(ranges.splits), ranges.chunks);
        for (std::int64_t split = 0; split < ranges.splits; ++split)
          ASSERT_LT(ranges.begin(split), ranges.begin(split + 1)) << plan.problem.to_string();
      }
  });
}

TEST(WgradCommon, TheLayoutHoldsAsManySplitsAsItSays) {
  for_each_plan([](const Plan& plan) {
    const std::int64_t most = WgradLayout::most_splits(plan.problem);
    if (most > 0) {
      EXPECT_LE(WgradLayout(plan.problem, most).workspace_bytes(), kMaxWgradWorkspaceBytes);
    }
    EXPECT_GT(WgradLayout(plan.problem, most + 1).workspace_bytes(), kMaxWgradWorkspaceBytes - 1024);
  });
}

TEST(WgradCommon, TensorCoresTakeDenseProblemsAndLeaveTheRest) {
  const auto chosen = [](const char* problem, const char* device = "a100") {
    return std::string(make_plan(ConvProblem::parse(problem), Device::known(device)).chosen.kernel->name());
  };
  EXPECT_EQ(chosen("wgrad n64 c64->128 l524280 k3 s3 d4 bf16", "h100"), "dense_wgrad_sm90");
  // Rows and taps that begin on 16 bytes need no packing.
  for (const char* aligned : {"wgrad n16 c256->256 l131072 k1 bf16", "wgrad n16 c256->256 l131072 k1 f32 tf32 bias",
                              "wgrad n8 c64->128 l160000 k2 d512 bf16"})
    EXPECT_EQ(chosen(aligned, "h100"), "dense_wgrad_tma_sm90") << aligned;
  for (const char* other : {"wgrad n16 c256->256 l131070 k1 bf16", "wgrad n16 c256->256 l131072 k1 f32",
                            "wgrad n8 c64->128 l160000 k2 bf16", "wgrad n8 c64->128 l160000 k2 d512 s2 bf16"})
    EXPECT_NE(chosen(other, "h100"), "dense_wgrad_tma_sm90") << other;
  EXPECT_EQ(chosen("wgrad n64 c64->128 l524280 k3 s3 d4 f32", "h100"), "dense_wgrad_sm90");
  EXPECT_NE(chosen("wgrad n1 c64->64 l30 k3 f32", "h100"), "dense_wgrad_sm90");  // nor are 28 for pairs
  EXPECT_EQ(chosen("wgrad n64 c64->128 l524280 k3 s3 d4 bf16"), "dense_wgrad_sm80");
  EXPECT_EQ(chosen("wgrad n64 c64->128 l524280 k3 s3 d4 f32"), "dense_wgrad_sm80");
  EXPECT_EQ(chosen("wgrad n64 c64->128 l524280 k3 s3 d4 f64"), "direct_wgrad");
  EXPECT_EQ(chosen("wgrad n8 c4096->4096 l8192 k4 g4096 f32"), "direct_wgrad");
  EXPECT_EQ(chosen("wgrad n1 c64->64 l5 k3 f32"), "direct_wgrad");  // three products are too few for two planes
}

}  // namespace
}  // namespace longconv::cuda
