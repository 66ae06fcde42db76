// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "support/trial.h"

namespace longconv::testing {
namespace {

constexpr const char* kModes[] = {"zeros", "reflect", "replicate", "circular"};

Trial wgrad(const std::string& text) {
  return {.problem = ConvProblem::parse("wgrad " + text), .kernel = "depthwise_wgrad"};
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

TEST(DepthwiseWgrad, LengthsAroundVectorsAndTiles) {
  for (const std::string& isa : available_isas()) {
    for (const std::int64_t length :
         {1,   2,   3,   4,   5,   7,   8,   9,   15,   16,   17,   23,   24,   25,   31,   32,
          33,  47,  48,  49,  63,  64,  65,  95,  96,   97,   191,  193,  239,  240,  241,  255,
          256, 257, 479, 480, 481, 511, 512, 513, 1919, 1920, 1921, 1923, 2047, 2048, 2049, 3841}) {
      for (const char* dtype : {"f32", "f64"}) {
        Trial trial = wgrad("n2 c4->4 g4 k3 p1 bias " + std::string(dtype));
        trial.problem.length_samples = length;
        trial.isa = isa;
        trial.threads = 2;
        expect_right(trial);
      }
    }
  }
}

TEST(DepthwiseWgrad, StridesDilationsAndPaddingModes) {
  for (std::int64_t stride = 1; stride <= 7; ++stride) {
    for (const std::int64_t dilation : {1, 2, 3, 4, 5, 6, 8, 130}) {
      for (const std::int64_t taps : {1, 2, 5}) {
        for (const char* mode : kModes) {
          Trial trial = wgrad("n1 c4->4 g4 l700 f32 bias " + std::string(mode));
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

TEST(DepthwiseWgrad, PaddingAsLargeAsTheMode) {
  for (const char* mode : kModes) {
    for (const std::int64_t length : {1, 2, 9, 40, 600}) {
      for (const std::int64_t stride : {1, 2, 3}) {
        Trial trial = wgrad("n2 c2->4 g2 k3 d2 f32 bias " + std::string(mode));
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
  expect_right(wgrad("n1 c2->4 g2 l7 k3 p(3000,1500) replicate f32"));  // more padding than signal
}

TEST(DepthwiseWgrad, WindowsThatSeeOnlyPadding) {
  expect_right(wgrad("n1 c2->4 g2 l5 k3 d9 p(40,60) f32"));
  expect_right(wgrad("n1 c2->4 g2 l5 k3 s7 p(40,60) f32 bias "));
  expect_right(wgrad("n1 c1->1 l1 k1 p(300,300) bf16 bias "));
  expect_right(wgrad("n1 c1->1 l100 k2 d5000 p(5000,40) f32 bias "));
}

TEST(DepthwiseWgrad, DtypesLayoutsAndOperands) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
    for (const Layout layout : kLayouts) {
      for (const char* operand : {"", "bias"}) {
        for (const char* shape :
             {"n2 c5->5 g5 l2100 k4 p(3,0)", "n2 c3->6 g3 l300 k7 s2 p3", "n1 c3->3 g3 l900 k5 s3 p(1,4) reflect"}) {
          Trial trial = wgrad(std::string(shape) + " " + dtype + " " + operand);
          trial.layout = layout;
          trial.values = layout == Layout::sliced ? Values::wide : Values::uniform;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseWgrad, EveryIsaTakesEveryStrideAndDtype) {
  for (const std::string& isa : available_isas()) {
    for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
      for (std::int64_t stride = 1; stride <= 7; ++stride) {
        for (const Layout layout : {Layout::contiguous, Layout::channels_last}) {
          Trial trial = wgrad("n1 c6->6 g6 l555 k5 d3 p6 bias " + std::string(dtype));
          trial.problem.stride = stride;
          trial.isa = isa;
          trial.layout = layout;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DepthwiseWgrad, MultipliersAndTaps) {
  for (const std::int64_t multiplier : {1, 2, 7}) {
    for (std::int64_t taps = 1; taps <= 18; ++taps) {
      for (const std::string& isa : available_isas()) {
        Trial trial = wgrad("n2 c3->3 g3 l300 p(4,2) bias f32");
        trial.problem.out_channels = 3 * multiplier;
        trial.problem.kernel_size = taps;
        trial.isa = isa;
        expect_right(trial);
      }
    }
  }
}

TEST(DepthwiseWgrad, LongKernels) {
  for (const char* text :
       {"n1 c1->1 l9000 k1025 f32 bias", "n2 c3->3 g3 l9000 k4100 p(4099,0) f32", "n1 c2->4 g2 l6000 k600 d7 f32 bias",
        "n1 c2->2 g2 l6000 k600 s3 d2 f64", "n1 c1->1 l9000 k1025 bf16 p512 circular"}) {
    for (const Values values : kValues) {
      Trial trial = wgrad(text);
      trial.values = values;
      expect_right(trial);
    }
  }
}

TEST(DepthwiseWgrad, SameBitsForEveryThreadCount) {
  for (const char* text :
       {"n2 c7->14 g7 l5000 k5 f32 bias", "n1 c1->1 l90000 k1025 f32", "n3 c2->2 g2 l30000 k9 s2 bf16 bias"}) {
    Trial trial = wgrad(text);
    const std::vector<unsigned char> expected = results_of(trial);
    for (trial.threads = 2; trial.threads <= 5; ++trial.threads) {
      EXPECT_EQ(results_of(trial), expected) << trial.to_string();
    }
  }
}

TEST(DepthwiseWgrad, NonFiniteValues) {
  for (const char* mode : kModes) {
    for (const char* shape : {"n2 c2->4 g2 l100 k3 s2 d4 p3", "n1 c2->2 g2 l2500 k9 p(4,3)"}) {
      for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
        for (const long double special : {INFINITY, -INFINITY, NAN}) {
          const Trial trial = wgrad(std::string(shape) + " bias " + mode + " " + dtype);
          TestTensors tensors = make_tensors(trial);
          for (const std::int64_t at :
               {std::int64_t{0}, tensors.y.element_count() / 3, tensors.y.element_count() - 1}) {
            tensors = make_tensors(trial);
            tensors.y.set(at, special);  // at the ends: some taps meet padding there
            EXPECT_EQ(run_trial(trial, tensors), "");
          }
          tensors = make_tensors(trial);
          tensors.x.set(0, special);
          tensors.x.set(tensors.x.element_count() - 1, special);
          EXPECT_EQ(run_trial(trial, tensors), "");
        }
      }
    }
  }
}

/// 10^7 and more samples in one sum: the error must stay that of a tile.
TEST(DepthwiseWgrad, LongSumsStayAccurate) {
  for (const char* text : {"n1 c1->1 l10000003 k2 f32 bias", "n4000 c2->2 g2 l2501 k1 f32 bias"}) {
    Trial trial = wgrad(text);
    trial.values = Values::positive;  // errors add up
    trial.threads = 2;
    expect_right(trial);
  }
}

/// Positions beyond 2^31 through strides of 0: constant operands, so each sum is a count.
TEST(DepthwiseWgrad, IndicesBeyond31Bits) {
  const ConvProblem problem = ConvProblem::parse("wgrad n1 c1->1 l4000000000 k3 s1000000000 d900000000 f32 bias");
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
  const Plan plan = make_plan(problem, Device::host_cpu(2), "depthwise_wgrad");
  std::vector<double> workspace(static_cast<std::size_t>(plan.workspace_bytes() / 8 + 9));
  void* base = workspace.data();
  std::size_t bytes = workspace.size() * sizeof(double);
  std::align(64, static_cast<std::size_t>(plan.workspace_bytes()), base, bytes);
  execute(plan, tensors, {base, plan.workspace_bytes(), &team(2)});
  const auto samples = static_cast<float>(problem.out_length());
  for (const float value : dw) EXPECT_EQ(value, samples);
  for (const float value : dbias) EXPECT_EQ(value, 2 * samples);
}

TEST(DepthwiseWgrad, WorkspaceStaysWithinItsPromise) {
  constexpr std::int64_t kPromisedBytes = std::int64_t{32} << 20;
  for (const char* text :
       {"n1 c4096->4096 g4096 l8192 k4 f32", "n1 c96->96 g96 l16384 k8192 f32", "n1 c1->1 l3000000 k1000000 d2 f64",
        "n1 c100000->100000 l1000000 k9 g100000 f32 bias", "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64"}) {
    Trial trial = wgrad(text);
    for (const int threads : {1, 2, 64, 1000}) {
      Device device = Device::host_cpu(1);
      device.threads = threads;
      const Plan plan = make_plan(trial.problem, device, trial.kernel);
      EXPECT_LE(plan.workspace_bytes(), kPromisedBytes) << plan.to_string();
    }
  }
}

}  // namespace
}  // namespace longconv::testing
