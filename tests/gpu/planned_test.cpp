// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Whatever the planner chooses, on every generation of GPUs.
#include "gpu/kernel_fixture.h"

namespace longconv::testing {
namespace {

class Planned : public KernelTest, public ::testing::WithParamInterface<int> {
 protected:
  Planned() : KernelTest("", GetParam()) {}
};

TEST_P(Planned, ProblemsOfEveryKind) {
  for (const char* format : {"bf16", "f32", "f32 tf32", "f64"}) {
    for (const char* shape :
         {"n1 c48->96 l1201 k8 s4", "n2 c33->130 l325 k5 d2 p4 reflect bias relu", "n1 c4->8 l500 k4 s3 d2 p2 g4"}) {
      expect_right(std::string(shape) + " " + format);
    }
  }
}

TEST_P(Planned, GradientsOfTheSignal) {
  for (const char* rest : {"n1 c96->48 l1201 k8 s4 bf16", "n2 c33->130 l325 k5 d2 p4 reflect f32"})
    expect_right("dgrad " + std::string(rest));
}

TEST_P(Planned, ChannelsLastSignals) {
  for (const char* format : {"bf16", "f32"}) {
    // Tensor-core kernels write time stride 1 only: the output's layout is the usual one.
    const Trial trial = make("n2 c32->72 l300 k5 p2 " + std::string(format));
    TestTensors tensors = make_tensors(trial);
    Random random(7);
    tensors.x = TestTensor(trial.problem.dtype, {2, 32, 300}, Layout::channels_last);
    tensors.x.fill(random, Values::uniform);
    EXPECT_EQ(run_trial(trial, tensors), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Capability, Planned, ::testing::Values(80, 86, 90),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace longconv::testing
