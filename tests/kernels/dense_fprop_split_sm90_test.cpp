// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

class DenseFpropSplitSm90 : public KernelTest {
 protected:
  DenseFpropSplitSm90() : KernelTest("dense_fprop_split_sm90", 90) {}
};

TEST_F(DenseFpropSplitSm90, LengthsAroundTiles) {
  for (const std::int64_t length : {1, 2, 119, 120, 121, 127, 128, 129, 255, 256, 257, 385})
    expect_right("n1 c16->70 k1 f32", length);
}

TEST_F(DenseFpropSplitSm90, EveryConfigOfOnePass) { expect_every_config_right("n2 c40->100 l500 k3 s3 d4 f32"); }
TEST_F(DenseFpropSplitSm90, EveryConfigOfSeveralPasses) {
  expect_every_config_right("n1 c33->300 l300 k5 p2 f32 bias");
}
TEST_F(DenseFpropSplitSm90, EveryConfigOfFewChannels) {
  expect_every_config_right("n1 c20->24 l700 k7 d2 p4 f32 bias");
}

/// Intervals of one tap, which start without waiting for each other, over more slots than a ring has.
TEST_F(DenseFpropSplitSm90, EveryConfigOfTwoTaps) { expect_every_config_right("n2 c150->70 l600 k2 d64 f32"); }

TEST_F(DenseFpropSplitSm90, StridesDilationsAndPaddingModes) {
  for (const char* rest :
       {"c24->40 l900 k3 p(5,0)", "c33->140 l600 k4 s2 d5 p4 reflect", "c20->24 l700 k9 s2 d2 p8 circular",
        "c18->70 l1800 k2 s5 d512 p300 replicate", "c16->64 l2500 k3 s17 d5", "c12->65 l400 k40 p20"}) {
    expect_right(std::string("n1 f32 ") + rest);
  }
}

TEST_F(DenseFpropSplitSm90, RowsThatLeaveByTheCopyEngine) {
  for (const char* rest : {"n2 c40->128 l500 k1 f32", "n1 c37->70 l504 k3 d2 p2 f32 bias relu",
                           "n1 c23->140 l609 k2 s2 f32 residual", "n2 c33->60 l301 k3 p1 f32 bias"}) {
    for (const Layout layout : {Layout::contiguous, Layout::aligned, Layout::sliced}) {
      for (const char* set : {"full=1,rows=4", "full=1,rows=8", "full=0,rows=4", "full=0,rows=8"}) {
        Trial trial = make(rest);
        trial.layout = layout;
        trial.set = std::string("resident=0,slots=4,raw=1,") + set;
        expect_right(trial);
      }
    }
  }
}

/// Pairs of blocks that share what they load of the weights.
TEST_F(DenseFpropSplitSm90, Clusters) {
  for (const char* rest :
       {"n1 c40->200 l700 k3 p2 d2 f32 bias", "n2 c37->300 l600 k3 s2 f32", "n1 c50->70 l500 k1 f32 relu"}) {
    for (const char* rows : {"full=0,rows=4", "full=1,rows=8"}) {
      Trial trial = make(rest);
      trial.set = std::string("cluster=2,resident=0,stationary=0,team=0,packers=3,slots=4,raw=1,w=2,") + rows;
      expect_right(trial);
    }
  }
}

/// Twice as many products in a row on the tensor cores as usual, over slots whose scales are equal or not.
TEST_F(DenseFpropSplitSm90, LongChains) {
  for (const auto& [problem, kind] : {std::pair{"n1 c260->70 l300 k3 p1 f32", "chain=2,slots=4"},
                                      {"n1 c260->130 l300 k3 f32", "chain=2,slots=3"},
                                      {"n1 c160->40 l300 k5 s2 p2 f32", "chain=2,slots=3"},
                                      {"n1 c800->70 l140 k1 f32", "chain=6,slots=4"},
                                      {"n1 c400->70 l200 k2 d3 f32", "chain=4,slots=6"}}) {
    for (const Values values : kValues) {
      Trial trial = make(problem);
      trial.set = std::string("resident=0,stationary=0,team=0,packers=3,raw=1,w=2,cluster=1,") + kind;
      trial.values = values;
      expect_right(trial);
    }
  }
}

TEST_F(DenseFpropSplitSm90, GroupsEpiloguesAndLayouts) {
  for (const char* rest :
       {"c34->140 l328 k3 g2 p1 bias relu", "c20->70 l333 k3 residual gelu", "c17->40 l302 k2 bias residual silu"}) {
    for (const Layout layout : {Layout::contiguous, Layout::sliced}) {
      Trial trial = make(std::string("n2 f32 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DenseFpropSplitSm90, KeepsWideValues) {
  Trial trial = make("n1 c64->70 l300 k3 f32");
  for (const Values values : kValues) {
    trial.values = values;
    expect_right(trial);
  }
}

TEST_F(DenseFpropSplitSm90, RowsThatCouldHaveBegunAligned) {
  // As in dense_fprop_sm90_test.cpp. Some tiles of the second keep x for all passes, but not beside staging.
  for (const char* problem : {"n2 c24->70 l258 k3 f32", "n1 c256->130 l514 k3 f32"}) {
    Trial trial = make(problem);
    trial.layout = Layout::sliced;
    expect_every_config_right(trial);
  }
}

TEST_F(DenseFpropSplitSm90, NonFiniteNumbersStayInTheirWindows) {
  expect_non_finite_right("n1 c17->70 l300 k3 s2 d4 p4 bias f32");
}

TEST_F(DenseFpropSplitSm90, SpecialValues) { expect_special_values_right("n1 c20->70 l700 k3 p1 f32"); }

TEST_F(DenseFpropSplitSm90, SameBitsOnEveryRun) {
  const Trial trial = make("n2 c33->150 l500 k5 s2 p3 bias f32");
  EXPECT_EQ(result_of(trial), result_of(trial)) << trial.to_string();
}

}  // namespace
}  // namespace longconv::testing
