// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "support/kernel_trials.h"

namespace longconv::testing {
namespace {

const KernelTrials dgrad("depthwise_dgrad");

TEST(DepthwiseDgrad, LengthsAroundVectorsAndTiles) {
  dgrad.lengths("n2 c4->4 g4 k3 p1",
                {1,   2,   3,   4,   5,   7,   8,   9,   15,   16,   17,   23,   24,   25,   31,   32,
                 33,  47,  48,  49,  63,  64,  65,  95,  96,   97,   191,  193,  239,  240,  241,  255,
                 256, 257, 479, 480, 481, 511, 512, 513, 1919, 1920, 1921, 1923, 2047, 2048, 2049, 3841},
                {"f32", "f64"});
}

TEST(DepthwiseDgrad, StridesDilationsAndPaddingModes) { dgrad.strides_dilations_and_padding_modes("n1 c4->4 g4"); }

TEST(DepthwiseDgrad, PaddingAsLargeAsTheMode) {
  dgrad.padding_as_large_as_the_mode("n2 c2->4 g2 k3 d2");
  expect_right(dgrad("n1 c2->4 g2 l7 k3 p(3000,1500) replicate f32"));  // more padding than signal
}

TEST(DepthwiseDgrad, WindowsThatSeeOnlyPadding) {
  dgrad.all_right({"n1 c2->4 g2 l5 k3 d9 p(40,60) f32", "n1 c2->4 g2 l5 k3 s7 p(40,60) f32",
                   "n1 c1->1 l1 k1 p(300,300) bf16", "n1 c1->1 l100 k2 d5000 p(5000,40) f32"});
}

TEST(DepthwiseDgrad, DtypesLayoutsAndOperands) {
  dgrad.dtypes_layouts_and_operands(
      {"n2 c5->5 g5 l2100 k4 p(3,0)", "n2 c3->6 g3 l300 k7 s2 p3", "n1 c3->3 g3 l900 k5 s3 p(1,4) reflect"},
      {"", "bias residual"});
}

TEST(DepthwiseDgrad, EveryIsaTakesEveryStrideAndDtype) {
  dgrad.every_isa_takes_every_stride_and_dtype("n1 c6->6 g6 l555 k5 d3 p6");
}

TEST(DepthwiseDgrad, Multipliers) {
  for (const std::int64_t multiplier : {1, 2, 3, 5, 7, 70, 600}) {
    for (const char* shape : {"l2600 k3 p2", "l900 k5 s3 d2 p4 reflect"}) {
      Trial trial = dgrad("n1 c3->3 g3 f32 " + std::string(shape));
      trial.problem.out_channels = 3 * multiplier;
      expect_right(trial);
    }
  }
}

TEST(DepthwiseDgrad, LongKernels) {
  dgrad.all_values_right({"n1 c1->1 l9000 k1025 f32", "n2 c3->3 g3 l9000 k4100 p(4099,0) f32",
                          "n1 c2->4 g2 l6000 k600 d7 f32", "n1 c2->2 g2 l6000 k600 s3 d2 f64",
                          "n1 c1->1 l9000 k1025 bf16 p512 circular"});
}

TEST(DepthwiseDgrad, AccumulatesInPlace) { dgrad.accumulates_in_place({"n2 c3->6 g3 l2600 k5 s2 p3"}); }

TEST(DepthwiseDgrad, LargeResultsBypassTheCaches) { dgrad.bypasses_the_caches("n1 c3->3 g3 l2000003 k7 f32"); }

TEST(DepthwiseDgrad, SameBitsForEveryThreadCount) {
  dgrad.same_bits_for_every_thread_count(
      {"n2 c7->14 g7 l5000 k5 f32", "n1 c1->1 l20000 k1025 f32", "n1 c4->4 g4 l3000 k9 s2 bf16"});
}

TEST(DepthwiseDgrad, NonFiniteValues) {
  dgrad.non_finite_values({"n1 c2->4 g2 l2500 k3 d2 p4"}, {"f32"}, {&TestTensors::y, &TestTensors::w});
}

TEST(DepthwiseDgrad, IndicesBeyond31Bits) {
  dgrad.all_right({"n1 c2->4 g2 l5 k3 s2000000000 p4000000000 f32",
                   "n1 c2->4 g2 l9 k4 s3 d3000000001 p(3000000004,6000000000) f32"});
}

TEST(DepthwiseDgrad, WorkspaceStaysWithinItsPromise) {
  dgrad.workspace_stays_within_its_promise(
      {"n1 c4096->4096 g4096 l8192 k4 f32", "n1 c96->96 g96 l16384 k8192 f32", "n1 c1->1 l3000000 k1000000 f64",
       "n1 c100000->100000 l1000000 k9 g100000 f32", "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64"});
}

}  // namespace
}  // namespace longconv::testing
