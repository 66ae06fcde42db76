// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What tests of the CUDA weight-gradient kernels share.
#pragma once

#include <vector>

#include "gpu/kernel_fixture.h"

namespace longconv::testing {

class WgradTest : public KernelTest {
 protected:
  using KernelTest::KernelTest;

  void expect_right(const Trial& trial) { KernelTest::expect_right(trial); }
  void expect_right(const std::string& problem) { KernelTest::expect_right(make(problem)); }
  void expect_right(const std::string& problem, std::int64_t length) {
    Trial trial = make(problem);
    trial.problem.length_samples = length;
    if (length < trial.problem.window_samples() - trial.problem.pad_left - trial.problem.pad_right) return;
    KernelTest::expect_right(trial);
  }
  void expect_every_config_right(const std::string& problem) { KernelTest::expect_every_config_right(make(problem)); }

  /// Inf and NaN at the first, a middle and the last sample of either operand reach the gradients whose products hold
  /// them, and no other; beneath padding nothing is multiplied.
  void expect_non_finite_right(const std::string& problem, const std::string& set = "") {
    for (const bool in_dy : {false, true}) {
      for (const long double special : {static_cast<long double>(INFINITY), static_cast<long double>(NAN)}) {
        for (const int where : {0, 1, 2}) {
          Trial trial = make(problem);
          trial.set = set;
          TestTensors tensors = make_tensors(trial);
          TestTensor& tensor = in_dy ? tensors.y : tensors.x;
          tensor.set(where * (tensor.element_count() - 1) / 2, special);
          EXPECT_EQ(run_trial(trial, tensors), "")
              << (in_dy ? "dy " : "x ") << static_cast<double>(special) << " place " << where;
        }
      }
    }
  }

  /// fp32: magnitudes that 16-bit planes cannot carry, in all samples or in some, of either operand.
  void expect_special_values_right(const std::string& problem) {
    for (const int exponent : {-140, -120, -60, -43, 60, 100}) {
      for (const int where : {0, 1, 2, 3}) {
        const Trial trial = make(problem);
        TestTensors tensors = make_tensors(trial);
        TestTensor& tensor = where & 1 ? tensors.y : tensors.x;
        const std::int64_t count = tensor.element_count(), begin = where & 2 ? count / 3 : 0;
        const std::int64_t end = where & 2 ? std::min(count, begin + 50) : count;
        for (std::int64_t i = begin; i < end; ++i) tensor.set(i, std::ldexp(tensor.get(i), exponent));
        EXPECT_EQ(run_trial(trial, tensors), "") << "2^" << exponent << " place " << where;
      }
    }
    const Trial trial = make(problem);
    TestTensors tensors = make_tensors(trial);
    tensors.x.set(tensors.x.element_count() / 2, 3.3e38L);
    EXPECT_EQ(run_trial(trial, tensors), "");
  }

  void expect_same_bits(const std::string& problem) {
    const auto run = [&] {
      const Trial trial = make(problem);
      TestTensors tensors = make_tensors(trial);
      EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(1)), "") << trial.to_string();
      std::vector<unsigned char> bytes = tensors.w.snapshot();
      if (!tensors.bias.defined()) return bytes;
      const std::vector<unsigned char> bias = tensors.bias.snapshot();
      bytes.insert(bytes.end(), bias.begin(), bias.end());
      return bytes;
    };
    EXPECT_EQ(run(), run()) << problem;
  }
};

}  // namespace longconv::testing
