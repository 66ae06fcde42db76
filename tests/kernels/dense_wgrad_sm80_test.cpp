// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "gpu/wgrad_fixture.h"

namespace longconv::testing {
namespace {

class DenseWgradSm80 : public WgradTest {
 protected:
  DenseWgradSm80() : WgradTest("dense_wgrad_sm80", 80) {}
};

constexpr const char* kFormats[] = {"bf16", "f16", "f32 tf32", "f32"};

TEST_F(DenseWgradSm80, LengthsAroundStages) {
  for (const char* format : kFormats) {
    for (const std::int64_t length : {16, 31, 32, 33, 63, 64, 65, 97}) {
      expect_right("n2 c16->17 k1 bias " + std::string(format), length);
      expect_right("n1 c24->70 k3 p1 " + std::string(format), length + 1);
    }
  }
}

TEST_F(DenseWgradSm80, EveryConfig) {
  for (const char* format : kFormats) {
    expect_every_config_right("n1 c40->130 l400 k5 s2 d3 bias " + std::string(format));
    expect_every_config_right("n1 c3->40 l300 k9 s2 d3 p7 bias " + std::string(format));
  }
}

// The last steps' samples for the last taps are all padding.
TEST_F(DenseWgradSm80, WindowsBehindTheSignal) {
  for (const char* rest :
       {"bf16 p12 reflect", "f32 tf32 p12 circular", "f16 p12 replicate", "f32 p12 reflect", "bf16 p12"})
    expect_right(std::string("n1 c33->40 l53 k13 ") + rest);
  expect_right("n1 c3->40 l53 k13 p12 reflect bf16");
}

TEST_F(DenseWgradSm80, StridesDilationsAndPaddingModes) {
  for (const char* rest : {"bf16 c16->20 l900 k3 s3 d4 p(5,0)", "f32 c1->70 l900 k11 s5 d2 p8",
                           "bf16 c3->80 l500 k31 p15 reflect", "f32 tf32 c4->66 l700 k15 p7 bias",
                           "f32 c12->24 l350 k9 s2 d3 p(20,30) bias", "f16 c33->40 l600 k4 s2 d5 p4 reflect",
                           "f32 c20->24 l700 k9 s4 d2 p8 circular", "f32 tf32 c18->33 l800 k2 s5 d512 p300 replicate",
                           "bf16 c16->64 l2500 k3 s17 d5", "f32 c12->65 l300 k40 p20"}) {
    expect_right(std::string("n1 ") + rest);
  }
}

TEST_F(DenseWgradSm80, GroupsAndLayouts) {
  for (const char* rest : {"bf16 c34->40 l300 k3 g2 p1 bias", "f16 c20->18 l333 k3", "f32 c17->19 l300 k3 p2 bias",
                           "f32 tf32 c17->40 l300 k2 bias", "bf16 f32_result c20->18 l100 k3 bias"}) {
    for (const Layout layout : kLayouts) {
      Trial trial = make(std::string("n2 ") + rest);
      trial.layout = layout;
      expect_right(trial);
    }
  }
}

TEST_F(DenseWgradSm80, LongSumsOfEveryKindOfValue) {
  for (const char* format : kFormats) {
    for (const Values values : kValues) {
      Trial trial = make("n3 c2->3 l30000 k1 bias " + std::string(format));
      trial.values = values;
      expect_right(trial);
    }
  }
}

/// 564 stages in one split, where 440 (TF32: 220) are added in registers.
TEST_F(DenseWgradSm80, SumsTooLongForRegistersContinueInMemory) {
  for (const char* format : kFormats) {
    Trial trial = make("n2 c3->5 l9000 k2 bias " + std::string(format));
    trial.values = Values::positive;
    Plan plan = plan_of(trial);
    for (auto& [name, value] : plan.chosen.config.values) {
      if (name == "splits") value = 1;
    }
    plan.chosen.workspace_bytes = plan.chosen.kernel->workspace_bytes(plan.problem, plan.chosen.config, plan.device);
    TestTensors tensors = make_tensors(trial);
    const bool tf32 = trial.problem.precision == Precision::tf32;
    const Reference expected = reference(trial.problem, tensors, tf32 ? Arithmetic::tensor_core : Arithmetic::engine);
    EXPECT_EQ(execute_checked(plan, tensors, team(1)), "") << format;
    EXPECT_EQ(compare(tensors.w, expected.result), "") << format;
    EXPECT_EQ(compare(tensors.bias, expected.bias_gradient), "") << format;
  }
}

TEST_F(DenseWgradSm80, NonFiniteNumbersStayInTheirProducts) {
  for (const char* format : kFormats) {
    expect_non_finite_right("n1 c17->20 l300 k3 s2 d4 p4 bias " + std::string(format));
    expect_non_finite_right("n2 c17->20 l77 k3 " + std::string(format));
  }
}

TEST_F(DenseWgradSm80, Fp32SpecialValues) { expect_special_values_right("n1 c20->24 l300 k3 p1 f32"); }

TEST_F(DenseWgradSm80, SameBitsOnEveryRun) {
  for (const char* format : kFormats) expect_same_bits("n2 c33->50 l700 k5 s2 p3 bias " + std::string(format));
}

TEST_F(DenseWgradSm80, ThroughActivations) {
  for (const char* format : kFormats) {
    expect_right_through_activations("n2 c20->33 l301 k3 s2 p1 bias " + std::string(format));
    expect_right_through_activations("n1 c3->40 l333 k4 d3 g1 p(2,0) reflect " + std::string(format));
  }
  expect_special_values_right("n1 c20->24 l300 k3 p1 f32 leaky_relu(0.25)");
}

}  // namespace
}  // namespace longconv::testing
