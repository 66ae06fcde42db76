// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/wgrad_fixture.h"

namespace longconv::testing {
namespace {

constexpr const char* kFormats[] = {"bf16", "f16", "f32 tf32", "f32"};

class DenseWgradSm90 : public WgradTest {
 protected:
  DenseWgradSm90() : WgradTest("dense_wgrad_sm90", 90) {}
};

TEST_F(DenseWgradSm90, LengthsAroundChunks) {
  for (const char* format : kFormats) {
    for (const std::int64_t length : {1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 513})
      if (length >= 32 || format != std::string("f32"))
        expect_right("n1 c16->40 k1 bias " + std::string(format), length);
  }
}

TEST_F(DenseWgradSm90, EveryConfig) {
  for (const char* format : kFormats) {
    expect_every_config_right("n2 c20->100 l700 k3 s3 d4 bias " + std::string(format));
  }
  expect_every_config_right("n1 c70->33 l500 k4 p2 f32");
  expect_every_config_right("n2 c20->100 l704 k3 p1 bias bf16");  // dy in aligned rows
}

TEST_F(DenseWgradSm90, StridesDilationsAndPaddingModes) {
  for (const char* format : kFormats) {
    for (const char* rest :
         {"c24->40 l900 k3 p(5,0)", "c33->140 l600 k4 s2 d5 p4 reflect", "c20->24 l700 k9 s4 d2 p8 circular",
          "c18->70 l1800 k2 s5 d512 p300 replicate", "c12->65 l600 k40 p20", "c16->80 l3000 k2 d1500 p700"}) {
      expect_right(std::string("n1 ") + rest + " " + format);
    }
  }
}

TEST_F(DenseWgradSm90, FewAndManyChannels) {
  for (const char* rest : {"bf16 c1->300 l900 k10 s5 bias", "f16 c300->5 l300 k3 bias", "f32 c130->260 l200 k2 bias",
                           "f32 tf32 c3->1 l2000 k31 p15 bias"}) {
    expect_right(std::string("n2 ") + rest);
  }
}

TEST_F(DenseWgradSm90, GroupsAndLayouts) {
  for (const char* rest : {"bf16 c34->140 l328 k3 g2 p1 bias", "f16 c20->70 l333 k3 bias f32_result",
                           "f32 tf32 c17->40 l302 k2 bias", "f32 c24->70 l300 k2 bias"}) {
    for (const Layout layout : kLayouts) {
      Trial trial = make(std::string("n2 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DenseWgradSm90, SumsAreBlocked) {
  expect_right("n1 c2->3 l150000 k2 f32 bias");
  for (const char* format : kFormats) {
    for (const Values values : kValues) {
      Trial trial = make("n1 c2->3 l30000 k2 bias " + std::string(format));
      trial.values = values;
      expect_right(trial);
    }
  }
}

TEST_F(DenseWgradSm90, NonFiniteNumbersStayInTheirWindows) {
  for (const char* format : kFormats)
    for (const char* rest : {"k3 s2 d4 p4", "k3 p(2,4)"})  // the second: dy in aligned rows
      expect_non_finite_right("n1 c17->33 l300 " + std::string(rest) + " bias " + format);
}

/// Blocks that sum segments of equal shares of all tiles: some begin and end within a tile's splits, some tiles have
/// fewer.
TEST_F(DenseWgradSm90, EqualShares) {
  for (const char* format : {"bf16", "f16", "f32 tf32"}) {
    for (const char* rest : {"n2 c70->300 l1500 k3 p1 bias ", "n3 c20->70 l700 k4 s2 bias ", "n1 c40->200 l1024 k1 "}) {
      for (const char* shares : {"1", "5", "7", "12", "31"}) {
        Trial trial = make(rest + std::string(format));
        trial.set = std::string("shares=") + shares;
        expect_right(trial);
      }
    }
    expect_non_finite_right("n2 c17->140 l400 k3 p1 bias " + std::string(format), "shares=11");
  }
  Trial groups = make("n2 c34->100 l901 k5 p(4,0) reflect g2 bias bf16");
  groups.set = "shares=9";
  expect_right(groups);
  Trial carried = make("n1 c74->130 l8200 k5 bf16");  // sums that go to memory between chains
  carried.set = "channels=74,taps=5,m=3,n=128,wg=2,ways=1,steps=192,windows=1,slots=2,y=1,packers=4,shares=5";
  expect_right(carried);
}

TEST_F(DenseWgradSm90, MagnitudesThatPairsCannotCarry) {
  expect_special_values_right("n1 c20->33 l300 k3 p1 bias f32");
}

TEST_F(DenseWgradSm90, ThroughActivations) {
  for (const char* format : kFormats) {
    expect_right_through_activations("n2 c20->70 l301 k3 s2 p1 bias " + std::string(format));
  }
  expect_right_through_activations("n1 c33->140 l600 k4 d3 g1 p(2,0) reflect bf16 bias f32_result");
  expect_every_config_right("n2 c20->100 l704 k3 p1 bias bf16 sigmoid");  // rows that begin on 16 bytes
  expect_every_config_right("n1 c34->66 l500 k4 p2 g2 f32 leaky_relu(0.3)");
  expect_special_values_right("n1 c20->33 l300 k3 p1 bias f32 leaky_relu(0.25)");
}

TEST_F(DenseWgradSm90, SameBitsOnEveryRun) { expect_same_bits("n2 c33->50 l700 k5 s2 p3 bias bf16"); }

}  // namespace
}  // namespace longconv::testing
