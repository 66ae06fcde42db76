// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "support/kernel_trials.h"

namespace longconv::testing {
namespace {

const KernelTrials wgrad("dense_wgrad");

TEST(DenseWgrad, LengthsAroundVectorsAndTiles) {
  wgrad.lengths("n2 c3->5 k3 p1 bias",
                {1,   2,   3,   4,   5,   7,   8,   9,   15,  16,  17,  23,  24,  25,  31,  32,
                 33,  47,  48,  49,  63,  64,  65,  95,  96,  97,  191, 193, 239, 240, 241, 255,
                 256, 257, 479, 480, 481, 511, 512, 513, 527, 528, 529, 767, 768, 769, 961, 1025},
                {"f32", "f64"});
}

TEST(DenseWgrad, StridesDilationsAndPaddingModes) { wgrad.strides_dilations_and_padding_modes("n1 c3->5 bias"); }

TEST(DenseWgrad, PaddingAsLargeAsTheMode) {
  wgrad.padding_as_large_as_the_mode("n2 c2->3 k3 d2 bias");
  expect_right(wgrad("n1 c2->3 l7 k3 p(3000,1500) replicate f32"));  // more padding than signal
}

TEST(DenseWgrad, WindowsThatSeeOnlyPadding) {
  wgrad.all_right({"n1 c2->3 l5 k3 d9 p(40,60) f32", "n1 c2->3 l5 k3 s7 p(40,60) f32 bias",
                   "n1 c1->1 l1 k1 p(300,300) bf16 bias", "n1 c1->1 l100 k2 d5000 p(5000,40) f32 bias"});
}

TEST(DenseWgrad, DtypesLayoutsAndOperands) {
  wgrad.dtypes_layouts_and_operands(
      {"n2 c9->7 l150 k3 p2", "n2 c4->13 l300 k5 s3 p(1,4) reflect", "n1 c5->6 l90 k2 s6", "n2 c6->40 l100 k3 g2"},
      {"", "bias"});
}

TEST(DenseWgrad, EveryIsaTakesEveryStrideAndDtype) {
  wgrad.every_isa_takes_every_stride_and_dtype("n1 c6->8 l555 k5 d3 p6 bias");
}

TEST(DenseWgrad, EveryBlockOfChannels) {
  for (std::int64_t inputs = 1; inputs <= 7; ++inputs) {
    wgrad.channels(&ConvProblem::out_channels, 40, {"n1 c" + std::to_string(inputs) + "->1 l260 k4 bias"});
  }
}

TEST(DenseWgrad, Groups) {
  wgrad.all_right({"n2 c12->18 l100 k3 g3 f32 bias", "n1 c8->4 l100 k3 g4 f32", "n1 c6->30 l333 k5 s2 g2 p2 f32",
                   "n3 c32->32 l50 k3 g8 f64 bias", "n1 c7->21 l64 k3 g7 f32", "n2 c64->64 l700 k3 g4 f32"});
}

TEST(DenseWgrad, BlocksOfWeights) {
  wgrad.all_values_right(
      {"n1 c300->150 l300 k3 f32 bias", "n1 c3->4 l1600 k700 f32 bias", "n1 c1->2 l9000 k5000 f32",
       "n1 c40->3 l900 k130 s3 d2 f32", "n1 c130->200 l500 k3 p1 f32", "n1 c2->2 l40000 k300 d120 s2 f32",
       "n1 c70->513 l300 k2 d250 f64", "n1 c3->20 l9000 k320 s320 f32", "n1 c2->3 l9000 k2 s1500 f32",
       "n1 c2->3 l20000 k3 s3001 d2000 f32 bias"},
      2);
}

/// Batches of short rows share a tile.
TEST(DenseWgrad, ShortRows) {
  for (const std::int64_t batch : {1, 2, 5, 63, 64, 65, 200}) {
    for (const std::int64_t length : {3, 4, 10, 40, 100, 130}) {
      for (const char* shape : {"k3 f32 bias", "k3 p1 f32 bias", "k2 s2 d2 p1 reflect f64", "k3 s3 p2 circular bf16"}) {
        Trial trial = wgrad("n1 c5->7 " + std::string(shape));
        trial.problem.batch = batch;
        trial.problem.length_samples = length;
        expect_right(trial);
      }
    }
  }
}

TEST(DenseWgrad, SameBitsForEveryThreadCount) {
  wgrad.same_bits_for_every_thread_count({"n2 c70->33 l3000 k3 p1 f32 bias", "n1 c200->20 l1000 k5 s2 bf16",
                                          "n1 c2->3 l5000 k700 f32", "n1 c64->8 l9000 k1 f64 bias",
                                          "n300 c8->8 l100 k3 g2 f16 p9 reflect"});
}

TEST(DenseWgrad, NonFiniteValues) {
  wgrad.non_finite_values({"n2 c3->5 l100 k3 s2 d4 p3 bias", "n1 c7->4 l600 k5 p2 bias", "n3 c2->20 l9 k4 p(3,2) bias"},
                          {"f32", "f64", "bf16", "f16"}, {&TestTensors::y, &TestTensors::x});
}

/// 10^7 and more samples in one sum: the error must stay that of a tile.
TEST(DenseWgrad, LongSumsStayAccurate) {
  for (const char* text : {"n1 c1->2 l10000003 k2 f32 bias", "n40000 c2->1 l251 k1 f32 bias"}) {
    Trial trial = wgrad(text);
    trial.values = Values::positive;  // errors add up
    trial.threads = 2;
    expect_right(trial);
  }
}

TEST(DenseWgrad, IndicesBeyond31Bits) {
  expect_wgrad_counts_beyond_31_bits("wgrad n1 c1->9 l4000000000 k3 s1000000000 d900000000 f32 bias", "dense_wgrad");
}

TEST(DenseWgrad, WorkspaceStaysWithinItsPromise) {
  wgrad.workspace_stays_within_its_promise(
      {"n1 c512->512 l24000 k3 s2 f32", "n1 c64->64 l100000 k20000 f32", "n1 c3->64 l100000 k320 s320 f64",
       "n1 c1->1 l9000000 k1000000 s999 d3 f32", "n64 c64->128 l524280 k3 s3 d4 f32 bias",
       "n1 c4096->4096 l100 k3 f64 bias", "n1 c100000->8 l1000 k3 f32", "n1 c8->100000 l1000 k3 f32 bias",
       "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64", "n1 c3->3 l4000000000000 k1000 d1000000000 f64",
       "n1 c512->512 l10000000 k4097 d1000 s999 bf16", "n1000000 c2->2 l1 k1 f32 bias"});
}

}  // namespace
}  // namespace longconv::testing
