// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Signals of more than 2^31 samples without their memory: a view with stride 0 repeats one sample, and a large stride
// leaves few outputs. Numbers are small integers, so that every sum is exact in every dtype.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "support/trial.h"

namespace longconv::testing {
namespace {

constexpr std::int64_t kLength = (std::int64_t{1} << 33) + 5;  // samples
const char* const kDTypes[] = {"f32", "f64", "bf16", "f16", "c64", "c128", "i64"};
const char* const kModes[] = {"zeros", "reflect", "replicate", "circular"};

/// One sample of value 1, seen as (1, channels, length_samples).
TensorView repeated_one(TestTensor& sample, std::int64_t channels, std::int64_t length_samples) {
  for (int c = 0; c < sample.components(); ++c) sample.set(0, c == 0 ? 1 : 0, c);
  TensorView view = sample.view();
  view.sizes = {1, channels, length_samples};
  view.strides = {0, 0, 0};
  return view;
}

void fill_with(TestTensor& tensor, const std::function<long double(std::int64_t)>& value) {
  for (std::int64_t flat = 0; flat < tensor.element_count(); ++flat) {
    for (int c = 0; c < tensor.components(); ++c) tensor.set(flat, c == 0 ? value(flat) : 0, c);
  }
}

void run(const ConvProblem& problem, const ConvTensors& tensors) {
  const Plan plan = make_plan(problem, Device::host_cpu(2));
  const GuardedMemory workspace(static_cast<std::size_t>(plan.workspace_bytes()), 64);
  execute(plan, tensors, {workspace.data(), plan.workspace_bytes(), &team(2)});
}

ConvProblem long_problem(Pass pass, const char* dtype, const char* mode) {
  // Outputs start 2^30 samples apart; the last taps lie beyond 2^33.
  ConvProblem p = ConvProblem::parse(std::string("c2->3 k3 s1073741824 d5 p(4,4) ") + dtype + " " + mode);
  p.pass = pass;
  p.length_samples = kLength;
  return p;
}

/// Tap k of output t lies in zero padding, where nothing is multiplied.
bool is_outside(const ConvProblem& p, std::int64_t t, std::int64_t k) {
  const std::int64_t position = t * p.stride + k * p.dilation - p.pad_left;
  return p.pad_mode == PadMode::zeros && (position < 0 || position >= p.length_samples);
}

TEST(LongIndex, ForwardReadsBeyondTwoToTheThirtyOne) {
  for (const char* dtype : kDTypes) {
    for (const char* mode : kModes) {
      const ConvProblem p = long_problem(Pass::fprop, dtype, mode);
      TestTensor sample(p.dtype, {1, 1, 1}, Layout::contiguous), w(p.dtype, {3, 2, 3}, Layout::contiguous);
      TestTensor y(p.dtype, {1, 3, p.out_length()}, Layout::contiguous);
      fill_with(w, [](std::int64_t flat) { return static_cast<long double>(flat); });
      ASSERT_GT(p.out_length(), 7);
      run(p, {repeated_one(sample, 2, kLength), w.view(), y.view(), {}, {}});
      for (std::int64_t o = 0; o < 3; ++o) {
        for (std::int64_t t = 0; t < p.out_length(); ++t) {
          std::int64_t expected = 0;
          for (std::int64_t i = 0; i < 2; ++i) {
            for (std::int64_t k = 0; k < 3; ++k) expected += is_outside(p, t, k) ? 0 : (o * 2 + i) * 3 + k;
          }
          EXPECT_EQ(y.get(o * p.out_length() + t), expected) << p.to_string() << " o " << o << " t " << t;
        }
      }
    }
  }
}

TEST(LongIndex, WeightGradientReadsBeyondTwoToTheThirtyOne) {
  for (const char* dtype : kDTypes) {
    for (const char* mode : kModes) {
      const ConvProblem p = long_problem(Pass::wgrad, dtype, mode);
      TestTensor sample(p.dtype, {1, 1, 1}, Layout::contiguous), w(p.dtype, {3, 2, 3}, Layout::contiguous);
      TestTensor dy(p.dtype, {1, 3, p.out_length()}, Layout::contiguous);
      fill_with(dy, [](std::int64_t flat) { return static_cast<long double>(flat); });
      run(p, {repeated_one(sample, 2, kLength), w.view(), dy.view(), {}, {}});
      for (std::int64_t flat = 0; flat < w.element_count(); ++flat) {
        const std::int64_t o = flat / 6, k = flat % 3;
        std::int64_t expected = 0;
        for (std::int64_t t = 0; t < p.out_length(); ++t) {
          expected += is_outside(p, t, k) ? 0 : o * p.out_length() + t;
        }
        EXPECT_EQ(w.get(flat), expected) << p.to_string() << " element " << flat;
      }
    }
  }
}

// Where the window is taken once, the distance to a next one (stride * a tensor's own stride) need not fit 64 bits.
TEST(LongIndex, StridesWhoseNextSampleNobodyReads) {
  for (const char* problem : {"n2 c4->3 l3 k1 s1152921504606846977", "n2 c4->3 l5 k2 s8468404744311242124 d3 p2",
                              "n1 c2->2 l3 k2 s6917529027641081857 d2 g2", "n1 c1->1 l9 k3 s4611686018427387905 d3"}) {
    for (const char* pass : {"fprop ", "dgrad ", "wgrad "}) {
      for (const Layout layout : kLayouts) {
        for (const char* dtype : kDTypes) {
          Trial trial{.problem = ConvProblem::parse(std::string(pass) + problem + " " + dtype)};
          trial.problem.has_residual = trial.problem.pass != Pass::wgrad && layout != Layout::contiguous;
          trial.layout = layout;
          EXPECT_EQ(run_trial(trial), "");
        }
      }
    }
  }
}

}  // namespace
}  // namespace longconv::testing
