// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What every kernel of the CPU engine must get right, as loops of trials over one kernel. A test names its shapes; a
/// failing trial prints the line that replays it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/trial.h"

namespace longconv::testing {

inline constexpr const char* kPadModes[] = {"zeros", "reflect", "replicate", "circular"};
inline constexpr const char* kRealDtypes[] = {"f32", "f64", "bf16", "f16"};
inline constexpr long double kSpecials[] = {INFINITY, -INFINITY, NAN};

/// Shapes and operands as ConvProblem::parse() reads them, without the pass.
using Texts = std::vector<std::string>;

/// Runs the trial with numbers that no other trial of the program had.
inline void expect_right(Trial trial) {
  static std::uint64_t seed = 0;
  trial.seed = ++seed;
  EXPECT_EQ(run_trial(trial), "");
}

/// Bytes of all that a trial writes.
inline std::vector<unsigned char> results_of(const Trial& trial) {
  TestTensors tensors = make_tensors(trial);
  EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(trial.threads)), "") << trial.to_string();
  std::vector<unsigned char> bytes = tensors.result(trial.problem.pass).snapshot();
  if (trial.problem.pass == Pass::wgrad && trial.problem.has_bias) {
    const std::vector<unsigned char> bias = tensors.bias.snapshot();
    bytes.insert(bytes.end(), bias.begin(), bias.end());
  }
  return bytes;
}

/// Executes a plan on tensors of the caller's.
inline void execute_plan(const Plan& plan, const ConvTensors& tensors, Parallel& parallel) {
  constexpr std::size_t kAlignment = 64;
  const auto bytes = static_cast<std::size_t>(plan.workspace_bytes());
  std::vector<char> workspace(bytes + kAlignment);
  void* base = workspace.data();
  std::size_t space = workspace.size();
  std::align(kAlignment, bytes, base, space);
  execute(plan, tensors, {base, plan.workspace_bytes(), &parallel});
}

class KernelTrials {
 public:
  explicit KernelTrials(std::string kernel)
      : kernel_(std::move(kernel)), pass_(kernel_.substr(kernel_.find('_') + 1) + " ") {}

  Trial operator()(const std::string& text) const {
    return {.problem = ConvProblem::parse(pass_ + text), .kernel = kernel_};
  }

  void all_right(const Texts& texts) const {
    for (const std::string& text : texts) expect_right((*this)(text));
  }

  /// Every kind of values; errors add up where all are positive.
  void all_values_right(const Texts& texts, int threads = 1) const {
    for (const std::string& text : texts) {
      for (const Values values : kValues) {
        Trial trial = (*this)(text);
        trial.values = values;
        trial.threads = threads;
        expect_right(trial);
      }
    }
  }

  void lengths(const std::string& shape, const std::vector<std::int64_t>& lengths, const Texts& dtypes) const {
    for (const std::string& isa : available_isas()) {
      for (const std::int64_t length : lengths) {
        for (const std::string& dtype : dtypes) {
          Trial trial = (*this)(shape + " " + dtype);
          trial.problem.length_samples = length;
          trial.isa = isa;
          trial.threads = 2;
          expect_right(trial);
        }
      }
    }
  }

  /// 1 to `most` channels of the side that the member names, on every instruction set.
  void channels(std::int64_t ConvProblem::* side, std::int64_t most, const Texts& shapes) const {
    for (const std::string& isa : available_isas()) {
      for (std::int64_t count = 1; count <= most; ++count) {
        for (const std::string& shape : shapes) {
          for (const char* dtype : {"f32", "f64"}) {
            Trial trial = (*this)(shape + " " + dtype);
            trial.problem.*side = count;
            trial.isa = isa;
            expect_right(trial);
          }
        }
      }
    }
  }

  void strides_dilations_and_padding_modes(const std::string& shape, std::int64_t config = -1) const {
    for (std::int64_t stride = 1; stride <= 7; ++stride) {
      for (const std::int64_t dilation : {1, 2, 3, 4, 5, 6, 8, 130}) {
        for (const std::int64_t taps : {1, 2, 5}) {
          for (const char* mode : kPadModes) {
            Trial trial = (*this)(shape + " l700 f32 " + mode);
            trial.problem.stride = stride;
            trial.problem.dilation = dilation;
            trial.problem.kernel_size = taps;
            trial.problem.pad_left = 13;
            trial.problem.pad_right = stride;
            trial.config = config;
            expect_right(trial);
          }
        }
      }
    }
  }

  void padding_as_large_as_the_mode(const std::string& shape) const {
    for (const char* mode : kPadModes) {
      for (const std::int64_t length : {1, 2, 9, 40, 600}) {
        for (const std::int64_t stride : {1, 2, 3}) {
          Trial trial = (*this)(shape + " f32 " + mode);
          trial.problem.length_samples = length;
          trial.problem.stride = stride;
          const std::int64_t most = std::string(mode) == "reflect" ? length - 1 : length;
          trial.problem.pad_left = most;
          trial.problem.pad_right = most;
          if (length + 2 * most < trial.problem.window_samples()) continue;
          expect_right(trial);
        }
      }
    }
  }

  void dtypes_layouts_and_operands(const Texts& shapes, const Texts& operands) const {
    for (const char* dtype : kRealDtypes) {
      for (const Layout layout : kLayouts) {
        for (const std::string& operand : operands) {
          for (const std::string& shape : shapes) {
            Trial trial = (*this)(shape + " " + dtype + " " + operand);
            trial.layout = layout;
            trial.values = layout == Layout::sliced ? Values::wide : Values::uniform;
            expect_right(trial);
          }
        }
      }
    }
  }

  void every_isa_takes_every_stride_and_dtype(const std::string& shape) const {
    for (const std::string& isa : available_isas()) {
      for (const char* dtype : kRealDtypes) {
        for (std::int64_t stride = 1; stride <= 7; ++stride) {
          for (const Layout layout : {Layout::contiguous, Layout::channels_last}) {
            Trial trial = (*this)(shape + " " + dtype);
            trial.problem.stride = stride;
            trial.isa = isa;
            trial.layout = layout;
            expect_right(trial);
          }
        }
      }
    }
  }

  /// The residual is the result.
  void accumulates_in_place(const Texts& shapes) const {
    for (const char* dtype : kRealDtypes) {
      for (const Layout layout : {Layout::contiguous, Layout::channels_last, Layout::stepped}) {
        for (const std::string& shape : shapes) {
          Trial trial = (*this)(shape + " residual " + dtype);
          trial.layout = layout;
          trial.in_place = true;
          trial.threads = 2;
          expect_right(trial);
        }
      }
    }
  }

  /// Large enough that stores bypass the caches, with rows at every alignment.
  void bypasses_the_caches(const std::string& shape) const {
    Trial trial = (*this)(shape);
    ASSERT_NE(plan_of(trial).chosen.config.get("stream"), 0);
    trial.threads = 2;
    for (const std::string& isa : available_isas()) {
      trial.isa = isa;
      expect_right(trial);
    }
  }

  /// For each of the first `configs` configs, or (0) the planner's choice.
  void same_bits_for_every_thread_count(const Texts& texts, std::int64_t configs = 0) const {
    for (const std::string& text : texts) {
      Trial trial = (*this)(text);
      trial.config = configs > 0 ? 0 : -1;
      const std::vector<unsigned char> expected = results_of(trial);
      for (trial.threads = 1; trial.threads <= 5; ++trial.threads) {
        for (trial.config = configs > 0 ? 0 : -1; trial.config < configs; ++trial.config) {
          EXPECT_EQ(results_of(trial), expected) << trial.to_string();
        }
      }
    }
  }

  /// Inf and NaN at the ends and in the middle of one operand at a time: some taps meet padding there.
  void non_finite_values(const Texts& shapes, const Texts& dtypes,
                         std::vector<TestTensor TestTensors::*> operands) const {
    for (const char* mode : kPadModes) {
      for (const std::string& shape : shapes) {
        for (const std::string& dtype : dtypes) {
          for (const std::string& isa : available_isas()) {
            Trial trial = (*this)(shape + " " + mode + " " + dtype);
            trial.isa = isa;
            for (const auto operand : operands) {
              for (const long double special : kSpecials) expect_right_with(trial, operand, special);
            }
          }
        }
      }
    }
  }

  /// 32 MiB beside the packed weights and bias in the type of the sums.
  void workspace_stays_within_its_promise(const Texts& texts) const {
    constexpr std::int64_t kPromisedBytes = std::int64_t{32} << 20;
    for (const std::string& text : texts) {
      const Trial trial = (*this)(text);
      const ConvProblem& p = trial.problem;
      const std::int64_t sum_bytes = p.dtype == DType::f64 ? 8 : 4;
      const std::int64_t weights = p.out_channels * p.in_channels_per_group() * p.kernel_size;
      const std::int64_t packed_bytes = p.pass == Pass::wgrad ? 0
                                        : p.pass == Pass::dgrad
                                            ? (weights + (p.has_bias ? p.in_channels : 0)) * sum_bytes + 128
                                            : (weights + p.out_channels) * sum_bytes + 128;
      for (const int threads : {1, 2, 7, 64, 256, 5000}) {
        Device device = Device::host_cpu(threads);
        const Isa best = device.isa;
        for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
          if (isa > best) continue;
          device.isa = isa;
          const Plan plan = make_plan(p, device, kernel_);
          EXPECT_LE(plan.workspace_bytes(), kPromisedBytes + packed_bytes) << plan.to_string();
        }
      }
    }
  }

 private:
  static void expect_right_with(const Trial& trial, TestTensor TestTensors::* operand, long double special) {
    const std::int64_t last = (make_tensors(trial).*operand).element_count() - 1;
    for (const std::int64_t at : {std::int64_t{0}, last / 3, last}) {
      TestTensors tensors = make_tensors(trial);
      (tensors.*operand).set(at, special);
      EXPECT_EQ(run_trial(trial, tensors), "");
    }
    TestTensors tensors = make_tensors(trial);
    (tensors.*operand).set(0, special);
    (tensors.*operand).set(last, special);
    EXPECT_EQ(run_trial(trial, tensors), "");
  }

  std::string kernel_, pass_;
};

/// Weight gradients of constant operands whose positions lie beyond 2^31 (strides of 0): each sum is a count.
inline void expect_wgrad_counts_beyond_31_bits(const std::string& text, const std::string& kernel) {
  const ConvProblem problem = ConvProblem::parse(text);
  float x = 0.5F, dy = 2.0F;
  std::vector<float> dw(
      static_cast<std::size_t>(problem.out_channels * problem.in_channels_per_group() * problem.kernel_size));
  std::vector<float> dbias(static_cast<std::size_t>(problem.out_channels));
  ConvTensors tensors;
  tensors.x = {&x, DType::f32, 3, {problem.batch, problem.in_channels, problem.length_samples}, {0, 0, 0}};
  tensors.y = {&dy, DType::f32, 3, {problem.batch, problem.out_channels, problem.out_length()}, {0, 0, 0}};
  tensors.w = TensorView::contiguous(dw.data(), DType::f32,
                                     {problem.out_channels, problem.in_channels_per_group(), problem.kernel_size});
  tensors.bias = TensorView::vector(dbias.data(), DType::f32, problem.out_channels);
  execute_plan(make_plan(problem, Device::host_cpu(2), kernel), tensors, team(2));
  const auto samples = static_cast<float>(problem.out_length());
  for (const float value : dw) EXPECT_EQ(value, samples);
  for (const float value : dbias) EXPECT_EQ(value, 2 * samples);
}

}  // namespace longconv::testing
