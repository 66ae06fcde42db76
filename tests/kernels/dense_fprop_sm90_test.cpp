// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

constexpr const char* kFormats[] = {"bf16", "f16", "f32 tf32"};

class DenseFpropSm90 : public KernelTest {
 protected:
  DenseFpropSm90() : KernelTest("dense_fprop_sm90", 90) {}
};

TEST_F(DenseFpropSm90, LengthsAroundTiles) {
  for (const char* format : kFormats) {
    for (const std::int64_t length : {1, 2, 239, 240, 241, 255, 256, 257, 479, 480, 481, 513})
      expect_right("n1 c16->70 k1 " + std::string(format), length);
  }
}

TEST_F(DenseFpropSm90, EveryConfigOfOnePass) {
  for (const char* format : kFormats) expect_every_config_right("n2 c40->100 l700 k3 s3 d4 " + std::string(format));
}
TEST_F(DenseFpropSm90, EveryConfigOfSeveralPasses) { expect_every_config_right("n1 c33->300 l500 k4 p2 bf16 bias"); }
TEST_F(DenseFpropSm90, EveryConfigOfFewChannels) {
  expect_every_config_right("n1 c20->24 l1100 k5 d2 p4 f32 tf32 bias");
}

TEST_F(DenseFpropSm90, StridesDilationsAndPaddingModes) {
  for (const char* rest :
       {"bf16 c24->40 l900 k3 p(5,0)", "f16 c33->140 l600 k4 s2 d5 p4 reflect",
        "f32 tf32 c20->24 l700 k9 s4 d2 p8 circular", "f32 tf32 c18->70 l1800 k2 s5 d512 p300 replicate",
        "bf16 c16->64 l4500 k3 s17 d5", "f16 c12->65 l600 k40 p20", "bf16 c16->80 l3000 k2 d1500 p700"}) {
    expect_right(std::string("n1 ") + rest);
  }
}

TEST_F(DenseFpropSm90, RowsThatLeaveByTheCopyEngine) {
  for (const char* rest : {"n2 c40->200 l500 k1 f32 tf32", "n1 c37->130 l504 k3 d2 p2 bf16 bias relu",
                           "n1 c23->140 l609 k2 s2 f16 residual", "n2 c33->132 l300 k3 p1 f32 tf32 bias"}) {
    for (const Layout layout : {Layout::contiguous, Layout::aligned, Layout::sliced}) {
      for (const char* rows : {"4", "8"}) {
        Trial trial = make(rest);
        trial.layout = layout;
        trial.set = std::string("resident=0,stationary=0,packers=3,slots=4,raw=1,w=2,full=1,rows=") + rows;
        expect_right(trial);
      }
    }
  }
}

/// 160 sums a thread, with packers of few registers or of many; pairs of blocks that share what they load of the
/// weights.
TEST_F(DenseFpropSm90, WideTilesAndClusters) {
  for (const char* rest : {"n1 c40->200 l700 k3 p2 d2 f32 tf32 bias", "n2 c37->300 l900 k3 s2 bf16",
                           "n1 c23->140 l1609 k4 s3 p3 f16 residual", "n1 c50->130 l500 k1 bf16 relu"}) {
    for (const char* set : {"n=160,packers=7,cluster=1", "n=160,packers=3,cluster=2", "n=160,packers=7,cluster=2",
                            "n=128,packers=7,cluster=2"}) {
      Trial trial = make(rest);
      trial.set =
          std::string("m=2,ways=2,chunks=4,wstep=2,resident=0,stationary=0,slots=3,raw=1,w=2,full=0,rows=8,") + set;
      expect_right(trial);
    }
  }
}

/// All weights in the registers of the warps that multiply: several tap groups and blocks of channels, one or two
/// warpgroups over channels, padding, and packers of few registers or of many.
TEST_F(DenseFpropSm90, WeightsInRegisters) {
  for (const auto& [problem, kind] : {std::pair{"n2 c40->100 l700 k3 s3 d4 f32 tf32", "taps=3,chunks=4,wstep=2,"},
                                      {"n1 c30->64 l900 k4 s2 p3 f32 tf32 bias", "taps=4,chunks=4,wstep=2,"},
                                      {"n1 c20->72 l2600 k2 d512 p512 f32 tf32 relu", "taps=1,chunks=2,wstep=1,"},
                                      {"n2 c50->128 l500 k3 p1 bf16", "taps=3,chunks=4,wstep=2,"},
                                      {"n1 c33->40 l609 k5 s2 f16 residual", "taps=2,chunks=2,wstep=1,"},
                                      {"n1 c17->90 l640 k4 p3 reflect f32 tf32", "taps=2,chunks=2,wstep=1,"}}) {
    for (const Layout layout : {Layout::contiguous, Layout::sliced}) {
      for (const char* set : {"packers=7,full=0,rows=8", "packers=4,full=1,rows=8"}) {
        Trial trial = make(problem);
        trial.layout = layout;
        trial.set = std::string(kind) + "m=1,n=128,stationary=2,w=0,resident=0,slots=4,raw=1,cluster=1," + set;
        expect_right(trial);
      }
    }
  }
}

TEST_F(DenseFpropSm90, GroupsEpiloguesAndLayouts) {
  for (const char* rest :
       {"bf16 c34->140 l328 k3 g2 p1 bias relu", "f16 c20->70 l333 k3 residual gelu",
        "f32 tf32 c17->40 l302 k2 bias residual silu", "bf16 c24->70 l300 k2 bias leaky_relu(0.2) residual"}) {
    for (const Layout layout : {Layout::contiguous, Layout::sliced}) {
      Trial trial = make(std::string("n2 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DenseFpropSm90, RowsThatCouldHaveBegunAligned) {
  // Their number of bytes promises rows on 16 bytes, for which tiles keep no memory for staging; gaps between rows
  // break the promise.
  for (const char* problem : {"n2 c24->70 l258 k3 f32 tf32", "n1 c256->130 l514 k3 bf16"}) {
    Trial trial = make(problem);
    trial.layout = Layout::sliced;
    expect_every_config_right(trial);
  }
}

TEST_F(DenseFpropSm90, NonFiniteNumbersStayInTheirWindows) {
  for (const char* format : kFormats)
    expect_non_finite_right("n1 c17->70 l300 k3 s2 d4 p4 bias " + std::string(format));
}

TEST_F(DenseFpropSm90, SameBitsOnEveryRun) {
  const Trial trial = make("n2 c33->150 l700 k5 s2 p3 bias bf16");
  EXPECT_EQ(result_of(trial), result_of(trial)) << trial.to_string();
}

}  // namespace
}  // namespace longconv::testing
