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
        pass_(kernel_.find("dgrad") != std::string::npos   ? "dgrad "
              : kernel_.find("wgrad") != std::string::npos ? "wgrad "
                                                           : ""),
        capability_(capability) {}

  void SetUp() override {
    if (gpu_for(capability_) < 0) GTEST_SKIP() << "no GPU of compute capability " << capability_;
  }

  Trial make(const std::string& problem) const {
    return {.problem = ConvProblem::parse(pass_ + problem),
            .kernel = kernel_,
            .capability = capability_,
            .layout = layout_};
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

  /// dgrad, wgrad: dL/dz is formed where dL/dy is read. Each element is within its bound, and of the same bits as where
  /// the same config is given dL/dz; rows at every alignment, Inf and NaN in either tensor that it is made of.
  void expect_right_through_activations(const std::string& problem) {
    for (const char* activation : {"relu", "leaky_relu(0.2)", "tanh", "sigmoid"}) {
      Trial trial = make(problem + " " + activation);
      for (const Layout layout : {Layout::contiguous, Layout::sliced, Layout::expanded_batch}) {
        trial.layout = layout;
        expect_right(trial);
      }
      trial.layout = Layout::contiguous;
      expect_bits_of_separate_pass(trial, make_tensors(trial));
    }
    for (const auto& [activation, special] : {std::pair("relu", NAN), std::pair("sigmoid", INFINITY)}) {
      for (const bool in_forward_y : {false, true}) {
        const Trial trial = make(problem + " " + activation);
        TestTensors tensors = make_tensors(trial);
        TestTensor& tensor = in_forward_y ? tensors.forward_y : tensors.y;
        for (const std::int64_t half : {0, 1, 2}) tensor.set(half * (tensor.element_count() - 1) / 2, special);
        EXPECT_EQ(run_trial(trial, tensors), "") << special << (in_forward_y ? " in forward's result" : " in dL/dy");
      }
    }
  }
  void expect_bits_of_separate_pass(const Trial& trial, TestTensors tensors) {
    const Plan plan = plan_of(trial);
    EXPECT_EQ(execute_checked(plan, tensors, team(1)), "") << trial.to_string();
    Trial linear = trial;
    linear.problem.activation = Activation::none;
    Plan same = plan_of(linear);
    same.chosen.config = plan.chosen.config;
    same.chosen.workspace_bytes = plan.chosen.kernel->workspace_bytes(linear.problem, same.chosen.config, same.device);
    TestTensors separate = make_tensors(linear);
    for (std::int64_t i = 0; i < separate.y.element_count(); ++i)
      separate.y.set(i, gradient_through(trial.problem, tensors.y.get(i), tensors.forward_y.get(i)));
    EXPECT_EQ(execute_checked(same, separate, team(1)), "") << trial.to_string();
    const Pass pass = trial.problem.pass;
    expect_same_elements(tensors.result(pass), separate.result(pass), trial);
    if (pass == Pass::wgrad && trial.problem.has_bias) expect_same_elements(tensors.bias, separate.bias, trial);
  }
  static void expect_same_elements(const TestTensor& a, const TestTensor& b, const Trial& trial) {
    std::int64_t different = 0, first = -1;
    for (std::int64_t i = 0; i < a.element_count(); ++i) {
      const long double of_a = a.get(i), of_b = b.get(i);
      if (of_a == of_b || (std::isnan(of_a) && std::isnan(of_b))) continue;
      if (different++ == 0) first = i;
    }
    EXPECT_EQ(different, 0) << "the first is element " << first << ": "
                            << static_cast<double>(a.get(std::max<std::int64_t>(first, 0))) << " and "
                            << static_cast<double>(b.get(std::max<std::int64_t>(first, 0))) << ", "
                            << trial.to_string();
  }

  Layout layout_ = Layout::contiguous;  ///< of trials that do not say theirs

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
