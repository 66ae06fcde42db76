// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/wgrad_fixture.h"

namespace longconv::testing {
namespace {

constexpr const char* kFormats[] = {"bf16", "f16", "f32 tf32"};

class DenseWgradTmaSm90 : public WgradTest {
 protected:
  // Of rows that begin anywhere the kernel knows nothing: dense_wgrad_sm90 takes those.
  DenseWgradTmaSm90() : WgradTest("dense_wgrad_tma_sm90", 90) { layout_ = Layout::aligned; }
};

TEST_F(DenseWgradTmaSm90, LengthsAroundChunks) {
  for (const char* format : kFormats)
    for (const std::int64_t length : {8, 24, 32, 40, 56, 64, 72, 120, 128, 136, 256, 264})
      expect_right("n1 c64->64 k1 bias " + std::string(format), length);
}

TEST_F(DenseWgradTmaSm90, EveryConfig) {
  for (const char* format : kFormats) {
    expect_every_config_right("n2 c128->256 l264 k3 d8 bias " + std::string(format));
    expect_every_config_right("n2 c256->128 l328 k1 " + std::string(format));
  }
  expect_every_config_right("n1 c70->33 l504 k4 d16 bf16");
  expect_every_config_right("n2 c64->192 l264 k5 d4 p8 f32 tf32 bias");
}

TEST_F(DenseWgradTmaSm90, DilationsAndPadding) {
  for (const char* format : kFormats)
    for (const char* rest : {"c24->40 l904 k3 d8 p(8,0)", "c33->140 l600 k4 d16 p24", "c64->70 l1800 k2 d512 p(0,304)",
                             "c12->65 l640 k20 d8 p80", "c16->80 l3000 k2 d1504", "c20->30 l96 k1 p(16,8)"})
      expect_right(std::string("n1 ") + rest + " " + format);
}

TEST_F(DenseWgradTmaSm90, GroupsAndLayouts) {
  for (const char* rest : {"bf16 c140->260 l328 k3 d8 g2 p8 bias", "f16 c64->72 l336 k3 d8 bias f32_result",
                           "f32 tf32 c65->40 l304 k2 d4 bias"}) {
    for (const Layout layout : kLayouts) {
      Trial trial = make(std::string("n2 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DenseWgradTmaSm90, SumsAreBlocked) {
  for (const char* format : kFormats) {
    for (const Values values : kValues) {
      Trial trial = make("n1 c8->3 l30000 k2 d8 bias " + std::string(format));
      trial.values = values;
      expect_right(trial);
    }
  }
}

// Tiles that leave no registers for the sums of finished chains.
TEST_F(DenseWgradTmaSm90, ChainsThatGoToMemory) {
  for (const char* format : {"f32 tf32", "bf16"}) {
    for (const Values values : {Values::uniform, Values::wide}) {
      Trial trial = make("n1 c32->40 l" + std::string(*format == 'f' ? "6000" : "12000") + " k1 " + format);
      trial.values = values;
      trial.set = "channels=32,taps=1,m=1,n=256,slots=4,share_x=1,share_y=1,splits=1";
      expect_right(trial);
    }
  }
}

TEST_F(DenseWgradTmaSm90, NonFiniteNumbersStayInTheirWindows) {
  for (const char* format : kFormats)
    for (const char* rest : {"k3 d8 p8", "k3 d8 p(0,8)", "k3 d8"})
      expect_non_finite_right("n1 c64->33 l304 " + std::string(rest) + " bias " + format);
}

TEST_F(DenseWgradTmaSm90, SameBitsOnEveryRun) { expect_same_bits("n2 c64->56 l704 k5 d8 p16 bias bf16"); }

}  // namespace
}  // namespace longconv::testing
