// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "support/kernel_trials.h"

namespace longconv::testing {
namespace {

const KernelTrials fprop("depthwise_fprop");

TEST(DepthwiseFprop, LengthsAroundVectorsAndTiles) {
  fprop.lengths("n2 c3->3 g3 k4 p(3,0)", {1,  2,   3,   7,   8,   9,   15,   16,   17,   31,   33,   95,   96,   97,
                                          99, 100, 191, 192, 193, 960, 1919, 1920, 1921, 1923, 3839, 3840, 3841, 3850},
                {"f32", "f64", "bf16"});
}

TEST(DepthwiseFprop, StridesDilationsAndPaddingModes) { fprop.strides_dilations_and_padding_modes("n1 c4->4 g4"); }

TEST(DepthwiseFprop, MultipliersStridesDilations) {
  for (const std::int64_t multiplier : {1, 2, 3, 5, 7, 13}) {
    for (std::int64_t stride = 1; stride <= 6; ++stride) {
      for (const std::int64_t dilation : {1, 3, 512}) {
        for (const char* mode : kPadModes) {
          Trial trial = fprop("n1 c4->4 g4 l2600 k3 f32 bias p(5,70) " + std::string(mode));
          trial.problem.out_channels = 4 * multiplier;
          trial.problem.stride = stride;
          trial.problem.dilation = dilation;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseFprop, PaddingAsLargeAsTheMode) { fprop.padding_as_large_as_the_mode("n2 c2->4 g2 k3 d2"); }

TEST(DepthwiseFprop, LongKernels) {
  fprop.all_values_right({"n1 c1->1 l9000 k1025 f32", "n2 c3->3 g3 l9000 k4100 p(4099,0) f32",
                          "n1 c2->4 g2 l6000 k600 d7 f32", "n1 c2->2 g2 l6000 k600 s3 d2 f64",
                          "n1 c1->1 l9000 k1025 bf16 p512 circular"});
}

TEST(DepthwiseFprop, DtypesLayoutsAndEpilogues) {
  fprop.dtypes_layouts_and_operands({"n2 c5->5 g5 l2100 k4 p(3,0)", "n2 c3->6 g3 l300 k7 s2 p3"},
                                    {"", "bias silu", "residual", "bias residual gelu", "sigmoid"});
}

TEST(DepthwiseFprop, LargeResultsBypassTheCaches) { fprop.bypasses_the_caches("n1 c2->2 g2 l2100003 k7 f32 bias"); }

TEST(DepthwiseFprop, SameBitsForEveryThreadCount) {
  fprop.same_bits_for_every_thread_count(
      {"n2 c7->14 g7 l5000 k5 f32", "n1 c1->1 l20000 k1025 f32", "n1 c4->4 g4 l3000 k9 s2 bf16"});
}

TEST(DepthwiseFprop, NonFiniteValues) {
  fprop.non_finite_values({"n1 c2->4 g2 l2500 k3 d2 p4"}, {"f32"}, {&TestTensors::x, &TestTensors::w});
}

TEST(DepthwiseFprop, WorkspaceStaysWithinItsPromise) {
  fprop.workspace_stays_within_its_promise({"n1 c1->1 l10000000 k1000000 f32",
                                            "n1 c100000->100000 l1000000 k9 g100000 f32",
                                            "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64"});
}

}  // namespace
}  // namespace longconv::testing
