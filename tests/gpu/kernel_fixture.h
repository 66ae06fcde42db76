// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What tests of CUDA kernels share. They run on a real GPU and on the emulated ones (docs/design/emulator.md) alike,
/// so sizes are small: a few tiles.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "support/trial.h"

namespace longconv::testing {

class KernelTest : public ::testing::Test {
 protected:
  /// `capability`: of the oldest GPU that has the kernel.
  KernelTest(std::string kernel, int capability)
      : kernel_(std::move(kernel)),
        pass_(kernel_.find("dgrad") != std::string::npos ? "dgrad " : ""),
        capability_(capability) {}

  void SetUp() override {
    if (gpu_for(capability_) < 0) GTEST_SKIP() << "no GPU of compute capability " << capability_;
  }

  Trial make(const std::string& problem) const {
    return {.problem = ConvProblem::parse(pass_ + problem), .kernel = kernel_, .capability = capability_};
  }
  /// The signal that the problem reads beside the weights.
  static TestTensor& signal_of(const Trial& trial, TestTensors& tensors) {
    return trial.problem.pass == Pass::dgrad ? tensors.y : tensors.x;
  }
  /// Uniform values unless the trial says otherwise; a new seed for each case.
  void expect_right(Trial trial) {
    trial.seed = ++seed_;
    EXPECT_EQ(run_trial(trial), "");
  }
  void expect_right(const std::string& problem) { expect_right(make(problem)); }
  void expect_right(const std::string& problem, std::int64_t length) {
    Trial trial = make(problem);
    trial.problem.length_samples = length;
    expect_right(trial);
  }
  /// All of the kernel's configurations for a problem.
  void expect_every_config_right(Trial trial) {
    const Plan plan = plan_of(trial);
    const auto count = static_cast<std::int64_t>(plan.chosen.kernel->configs(trial.problem, plan.device).size());
    for (trial.config = 0; trial.config < count; ++trial.config) expect_right(trial);
  }
  void expect_every_config_right(const std::string& problem) { expect_every_config_right(make(problem)); }

  /// Inf and NaN in the signal reach the outputs whose windows hold them, and no other; in a weight, the outputs whose
  /// windows hold a sample beneath it: padding is not multiplied.
  void expect_non_finite_right(const std::string& problem) {
    for (const bool in_weights : {false, true}) {
      for (const long double special : {static_cast<long double>(INFINITY), static_cast<long double>(NAN)}) {
        const Trial trial = make(problem);
        TestTensors tensors = make_tensors(trial);
        TestTensor& tensor = in_weights ? tensors.w : signal_of(trial, tensors);
        tensor.set(0, special);
        tensor.set(tensor.element_count() / 2, -special);
        tensor.set(tensor.element_count() - 1, special);
        EXPECT_EQ(run_trial(trial, tensors), "")
            << (in_weights ? "weights " : "signal ") << static_cast<double>(special);
      }
    }
  }

  /// fp32: magnitudes that 16-bit or TF32 planes cannot carry, in the signal (huge, tiny, subnormal, a quiet stretch)
  /// and in the weights.
  void expect_special_values_right(const std::string& problem) {
    const auto scale = [](TestTensor& tensor, std::int64_t begin, std::int64_t end, int exponent) {
      for (std::int64_t i = begin; i < end; ++i) tensor.set(i, std::ldexp(tensor.get(i), exponent));
    };
    for (const int exponent : {-140, -120, -60, -43, 60, 100}) {
      for (const int where : {0, 1, 2}) {  // all samples, some, weights
        Trial trial = make(problem);
        trial.seed = ++seed_;
        TestTensors tensors = make_tensors(trial);
        TestTensor& tensor = where == 2 ? tensors.w : signal_of(trial, tensors);
        const std::int64_t count = tensor.element_count();
        scale(tensor, where == 1 ? count / 3 : 0, where == 1 ? count / 3 + 200 : count, exponent);
        EXPECT_EQ(run_trial(trial, tensors), "") << "2^" << exponent << " place " << where;
      }
    }
    const Trial trial = make(problem);
    TestTensors tensors = make_tensors(trial);
    TestTensor& signal = signal_of(trial, tensors);
    signal.set(signal.element_count() / 2, 3.3e38L);
    EXPECT_EQ(run_trial(trial, tensors), "");
  }

  /// Bytes of the result.
  std::vector<unsigned char> result_of(const Trial& trial) const {
    TestTensors tensors = make_tensors(trial);
    EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(1)), "") << trial.to_string();
    return tensors.result(trial.problem.pass).snapshot();
  }

 private:
  const std::string kernel_, pass_;
  const int capability_;
  std::uint64_t seed_ = 0;
};

}  // namespace longconv::testing
