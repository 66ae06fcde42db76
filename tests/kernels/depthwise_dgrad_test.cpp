// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "support/trial.h"

namespace longconv::testing {
namespace {

constexpr const char* kModes[] = {"zeros", "reflect", "replicate", "circular"};

Trial dgrad(const std::string& text) {
  return {.problem = ConvProblem::parse("dgrad " + text), .kernel = "depthwise_dgrad"};
}

void expect_right(Trial trial) {
  static std::uint64_t seed = 0;
  trial.seed = ++seed;
  EXPECT_EQ(run_trial(trial), "");
}

/// Bytes of the results of a trial.
std::vector<unsigned char> results_of(const Trial& trial) {
  TestTensors tensors = make_tensors(trial);
  EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(trial.threads)), "") << trial.to_string();
  std::vector<unsigned char> bytes = tensors.result(trial.problem.pass).snapshot();
  if (trial.problem.pass == Pass::wgrad && trial.problem.has_bias) {
    const std::vector<unsigned char> bias = tensors.bias.snapshot();
    bytes.insert(bytes.end(), bias.begin(), bias.end());
  }
  return bytes;
}

TEST(DepthwiseDgrad, LengthsAroundVectorsAndTiles) {
  for (const std::string& isa : available_isas()) {
    for (const std::int64_t length :
         {1,   2,   3,   4,   5,   7,   8,   9,   15,   16,   17,   23,   24,   25,   31,   32,
          33,  47,  48,  49,  63,  64,  65,  95,  96,   97,   191,  193,  239,  240,  241,  255,
          256, 257, 479, 480, 481, 511, 512, 513, 1919, 1920, 1921, 1923, 2047, 2048, 2049, 3841}) {
      for (const char* dtype : {"f32", "f64"}) {
        Trial trial = dgrad("n2 c4->4 g4 k3 p1 " + std::string(dtype));
        trial.problem.length_samples = length;
        trial.isa = isa;
        trial.threads = 2;
        expect_right(trial);
      }
    }
  }
}

TEST(DepthwiseDgrad, StridesDilationsAndPaddingModes) {
  for (std::int64_t stride = 1; stride <= 7; ++stride) {
    for (const std::int64_t dilation : {1, 2, 3, 4, 5, 6, 8, 130}) {
      for (const std::int64_t taps : {1, 2, 5}) {
        for (const char* mode : kModes) {
          Trial trial = dgrad("n1 c4->4 g4 l700 f32 " + std::string(mode));
          trial.problem.stride = stride;
          trial.problem.dilation = dilation;
          trial.problem.kernel_size = taps;
          trial.problem.pad_left = 13;
          trial.problem.pad_right = stride;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseDgrad, PaddingAsLargeAsTheMode) {
  for (const char* mode : kModes) {
    for (const std::int64_t length : {1, 2, 9, 40, 600}) {
      for (const std::int64_t stride : {1, 2, 3}) {
        Trial trial = dgrad("n2 c2->4 g2 k3 d2 f32 " + std::string(mode));
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
  expect_right(dgrad("n1 c2->4 g2 l7 k3 p(3000,1500) replicate f32"));  // more padding than signal
}

TEST(DepthwiseDgrad, WindowsThatSeeOnlyPadding) {
  expect_right(dgrad("n1 c2->4 g2 l5 k3 d9 p(40,60) f32"));
  expect_right(dgrad("n1 c2->4 g2 l5 k3 s7 p(40,60) f32 "));
  expect_right(dgrad("n1 c1->1 l1 k1 p(300,300) bf16 "));
  expect_right(dgrad("n1 c1->1 l100 k2 d5000 p(5000,40) f32 "));
}

TEST(DepthwiseDgrad, DtypesLayoutsAndOperands) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
    for (const Layout layout : kLayouts) {
      for (const char* operand : {"", "residual"}) {
        for (const char* shape :
             {"n2 c5->5 g5 l2100 k4 p(3,0)", "n2 c3->6 g3 l300 k7 s2 p3", "n1 c3->3 g3 l900 k5 s3 p(1,4) reflect"}) {
          Trial trial = dgrad(std::string(shape) + " " + dtype + " " + operand);
          trial.layout = layout;
          trial.values = layout == Layout::sliced ? Values::wide : Values::uniform;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseDgrad, EveryIsaTakesEveryStrideAndDtype) {
  for (const std::string& isa : available_isas()) {
    for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
      for (std::int64_t stride = 1; stride <= 7; ++stride) {
        for (const Layout layout : {Layout::contiguous, Layout::channels_last}) {
          Trial trial = dgrad("n1 c6->6 g6 l555 k5 d3 p6 " + std::string(dtype));
          trial.problem.stride = stride;
          trial.isa = isa;
          trial.layout = layout;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseDgrad, Multipliers) {
  for (const std::int64_t multiplier : {1, 2, 3, 5, 7, 70, 600}) {
    for (const char* shape : {"l2600 k3 p2", "l900 k5 s3 d2 p4 reflect"}) {
      Trial trial = dgrad("n1 c3->3 g3 f32 " + std::string(shape));
      trial.problem.out_channels = 3 * multiplier;
      expect_right(trial);
    }
  }
}

TEST(DepthwiseDgrad, LongKernels) {
  for (const char* text :
       {"n1 c1->1 l9000 k1025 f32", "n2 c3->3 g3 l9000 k4100 p(4099,0) f32", "n1 c2->4 g2 l6000 k600 d7 f32",
        "n1 c2->2 g2 l6000 k600 s3 d2 f64", "n1 c1->1 l9000 k1025 bf16 p512 circular"}) {
    for (const Values values : kValues) {
      Trial trial = dgrad(text);
      trial.values = values;
      expect_right(trial);
    }
  }
}

TEST(DepthwiseDgrad, LargeResultsBypassTheCaches) {
  Trial trial = dgrad("n1 c3->3 g3 l2000003 k7 f32");  // rows at every alignment
  ASSERT_NE(plan_of(trial).chosen.config.get("stream"), 0);
  trial.threads = 2;
  for (const std::string& isa : available_isas()) {
    trial.isa = isa;
    expect_right(trial);
  }
}

TEST(DepthwiseDgrad, SameBitsForEveryThreadCount) {
  for (const char* text : {"n2 c7->14 g7 l5000 k5 f32", "n1 c1->1 l20000 k1025 f32", "n1 c4->4 g4 l3000 k9 s2 bf16"}) {
    Trial trial = dgrad(text);
    const std::vector<unsigned char> expected = results_of(trial);
    for (trial.threads = 2; trial.threads <= 5; ++trial.threads) {
      EXPECT_EQ(results_of(trial), expected) << trial.to_string();
    }
  }
}

TEST(DepthwiseDgrad, NonFiniteValues) {
  for (const char* mode : kModes) {
    for (const long double special : {INFINITY, -INFINITY, NAN}) {
      const Trial trial = dgrad("n1 c2->4 g2 l2500 k3 d2 p4 f32 " + std::string(mode));
      TestTensors tensors = make_tensors(trial);
      tensors.y.set(0, special);
      tensors.y.set(3000, special);
      EXPECT_EQ(run_trial(trial, tensors), "");
      for (const std::int64_t tap : {0, 8, 11}) {
        tensors = make_tensors(trial);
        tensors.w.set(tap, special);
        EXPECT_EQ(run_trial(trial, tensors), "");
      }
    }
  }
}

TEST(DepthwiseDgrad, IndicesBeyond31Bits) {
  expect_right(dgrad("n1 c2->4 g2 l5 k3 s2000000000 p4000000000 f32"));
  expect_right(dgrad("n1 c2->4 g2 l9 k4 s3 d3000000001 p(3000000004,6000000000) f32"));
}

TEST(DepthwiseDgrad, WorkspaceStaysWithinItsPromise) {
  constexpr std::int64_t kPromisedBytes = std::int64_t{32} << 20;
  for (const char* text :
       {"n1 c4096->4096 g4096 l8192 k4 f32", "n1 c96->96 g96 l16384 k8192 f32", "n1 c1->1 l3000000 k1000000 f64",
        "n1 c100000->100000 l1000000 k9 g100000 f32", "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64"}) {
    Trial trial = dgrad(text);
    const std::int64_t accumulator_bytes = trial.problem.dtype == DType::f64 ? 8 : 4;
    const std::int64_t weight_bytes = trial.problem.out_channels * trial.problem.in_channels_per_group() *
                                          trial.problem.kernel_size * accumulator_bytes +
                                      64;
    for (const int threads : {1, 2, 64, 1000}) {
      Device device = Device::host_cpu(1);
      device.threads = threads;
      const Plan plan = make_plan(trial.problem, device, trial.kernel);
      EXPECT_LE(plan.workspace_bytes(), kPromisedBytes + weight_bytes) << plan.to_string();
    }
  }
}

}  // namespace
}  // namespace longconv::testing
