// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/fprop_schedule.h"
#include "support/trial.h"

namespace longconv::testing {
namespace {

constexpr const char* kModes[] = {"zeros", "reflect", "replicate", "circular"};

Trial dense(const std::string& text) { return {.problem = ConvProblem::parse(text), .kernel = "dense_fprop"}; }

std::uint64_t next_seed() {
  static std::uint64_t seed = 0;
  return ++seed;
}

void expect_right(Trial trial) {
  trial.seed = next_seed();
  EXPECT_EQ(run_trial(trial), "");
}

TEST(DenseFprop, LengthsAroundVectorsAndTiles) {
  for (const std::string& isa : available_isas()) {
    for (const std::int64_t length :
         {1,  2,  3,  4,  5,  7,   8,   9,   15,  16,  17,  23,  24,  25,  31,  32,  33,  47,  48,   49,  63,
          64, 65, 95, 96, 97, 191, 193, 239, 240, 241, 479, 480, 481, 527, 528, 529, 960, 961, 1919, 1921}) {
      for (const char* dtype : {"f32", "f64"}) {
        Trial trial = dense("n2 c3->7 k3 p1 " + std::string(dtype));
        trial.problem.length_samples = length;
        trial.isa = isa;
        trial.threads = 2;
        expect_right(trial);
      }
    }
  }
}

TEST(DenseFprop, EveryBlockOfOutputChannels) {
  for (const std::string& isa : available_isas()) {
    for (std::int64_t outputs = 1; outputs <= 26; ++outputs) {
      for (const char* dtype : {"f32", "f64"}) {
        Trial trial = dense("n1 c5->1 l260 k4 bias " + std::string(dtype));
        trial.problem.out_channels = outputs;
        trial.isa = isa;
        expect_right(trial);
      }
    }
  }
}

TEST(DenseFprop, StridesDilationsAndPaddingModes) {
  for (std::int64_t stride = 1; stride <= 7; ++stride) {
    for (const std::int64_t dilation : {1, 2, 3, 4, 5, 6, 8, 130}) {
      for (const std::int64_t taps : {1, 2, 5}) {
        for (const char* mode : kModes) {
          Trial trial = dense("n1 c3->5 l700 f32 " + std::string(mode));
          trial.problem.stride = stride;
          trial.problem.dilation = dilation;
          trial.problem.kernel_size = taps;
          trial.problem.pad_left = 13;
          trial.problem.pad_right = stride;
          trial.config = 1;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DenseFprop, PaddingAsLargeAsTheMode) {
  for (const char* mode : kModes) {
    for (const std::int64_t length : {1, 2, 9, 40}) {
      for (const std::int64_t stride : {1, 2, 3}) {
        Trial trial = dense("n2 c2->3 k3 d2 f32 " + std::string(mode));
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

TEST(DenseFprop, WindowsThatSeeOnlyPadding) {
  expect_right(dense("n1 c2->3 l5 k3 d9 p(40,60) f32"));
  expect_right(dense("n1 c2->3 l5 k3 s7 p(40,60) f32 bias"));
  expect_right(dense("n1 c1->1 l1 k1 p(300,300) bf16 bias"));
}

TEST(DenseFprop, Groups) {
  for (const char* text : {"n2 c12->18 l100 k3 g3 f32", "n1 c8->4 l100 k3 g4 f32", "n1 c6->30 l333 k5 s2 g2 p2 f32",
                           "n3 c32->32 l50 k3 g8 f64", "n1 c7->21 l64 k3 g7 f32"}) {
    expect_right(dense(text));
  }
}

TEST(DenseFprop, ManyTermsInManyChains) {
  for (const char* text :
       {"n1 c300->9 l200 k3 f32", "n1 c3->4 l1600 k700 f32", "n1 c1->2 l9000 k5000 f32",
        "n1 c40->3 l900 k130 s3 d2 f32", "n1 c600->40 l500 k3 p1 f32", "n1 c129->8 l100 k1 f32",
        "n1 c2->2 l40000 k300 d120 s2 f32", "n1 c513->7 l300 k2 d250 f64", "n1 c2->1 l30000 k6000 s2 d2 f32"}) {
    for (const Values values : kValues) {
      Trial trial = dense(text);
      trial.values = values;
      trial.threads = 2;
      expect_right(trial);
    }
  }
}

TEST(DenseFprop, ChainsAreNeitherLongNorMany) {
  for (const std::int64_t channels : {1, 2, 3, 4, 5, 7, 12, 63, 65, 100, 127, 128, 129, 513, 5000, 100000}) {
    for (const std::int64_t taps :
         {1, 2, 3, 5, 19, 26, 32, 33, 34, 43, 49, 64, 65, 66, 96, 127, 129, 251, 1025, 8192, 1000000}) {
      const cpu::ChainSplit chains = cpu::make_chain_split(channels, taps);
      std::int64_t row = 0, longest = 0;
      for (std::int64_t chunk = 0; chunk < std::min<std::int64_t>(chains.channel_chunks, 4); ++chunk) {
        for (std::int64_t piece = 0; piece < chains.tap_pieces; ++piece) {
          EXPECT_EQ(chains.row(chunk, piece), row);
          row = chains.row(chunk, piece + 1);
          longest = std::max(longest, row - chains.row(chunk, piece));
        }
      }
      EXPECT_EQ(chains.row(chains.channel_chunks - 1, chains.tap_pieces), channels * taps);
      EXPECT_LE(longest, kMaxChainTerms) << channels << " channels, " << taps << " taps";
      // Each product passes its chain, the total, bias and residual: what the bound of every other test rests on.
      const double factors = static_cast<double>(longest + chains.channel_chunks * chains.tap_pieces - 1 + 2);
      EXPECT_LE(factors, accumulation_factor(Pass::fprop, DType::f32, channels * taps))
          << channels << " channels, " << taps << " taps";
    }
  }
}

TEST(DenseFprop, DtypesLayoutsAndEpilogues) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
    for (const Layout layout : kLayouts) {
      for (const char* epilogue : {"", "bias relu", "residual leaky_relu(0.3)", "bias residual gelu", "gelu_tanh bias",
                                   "silu residual", "bias tanh", "sigmoid bias residual"}) {
        for (const char* shape : {"n2 c9->7 l150 k3 p2", "n2 c4->13 l300 k5 s3 p(1,4) reflect", "n1 c5->6 l90 k2 s6"}) {
          Trial trial = dense(std::string(shape) + " " + dtype + " " + epilogue);
          trial.layout = layout;
          trial.values = layout == Layout::sliced ? Values::wide : Values::uniform;
          expect_right(trial);
        }
      }
    }
  }
}

TEST(DenseFprop, AccumulatesInPlace) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
    for (const Layout layout : {Layout::contiguous, Layout::channels_last, Layout::stepped}) {
      Trial trial = dense("n2 c5->9 l600 k3 p1 residual " + std::string(dtype));
      trial.layout = layout;
      trial.in_place = true;
      trial.threads = 2;
      expect_right(trial);
    }
  }
}

TEST(DenseFprop, EveryIsaTakesEveryStrideAndDtype) {
  for (const std::string& isa : available_isas()) {
    for (const char* dtype : {"f32", "f64", "bf16", "f16"}) {
      for (std::int64_t stride = 1; stride <= 7; ++stride) {
        for (const Layout layout : {Layout::contiguous, Layout::channels_last}) {
          Trial trial = dense("n1 c6->8 l555 k5 d3 p6 gelu bias " + std::string(dtype));
          trial.problem.stride = stride;
          trial.isa = isa;
          trial.layout = layout;
          expect_right(trial);
        }
      }
    }
  }
}

/// Bytes of the result of a trial.
std::vector<unsigned char> result_of(const Trial& trial) {
  TestTensors tensors = make_tensors(trial);
  EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(trial.threads)), "") << trial.to_string();
  return tensors.y.snapshot();
}

TEST(DenseFprop, SameBitsForEveryThreadCountAndTile) {
  for (const char* text : {"n2 c70->33 l3000 k3 p1 f32 bias", "n1 c200->20 l1000 k5 s2 bf16", "n1 c2->3 l5000 k700 f32",
                           "n1 c64->8 l257 k1 f64", "n3 c8->8 l100 k3 g2 f16 gelu"}) {
    Trial trial = dense(text);
    trial.config = 0;
    const auto expected = result_of(trial);
    for (trial.threads = 1; trial.threads <= 5; ++trial.threads) {
      for (trial.config = 0; trial.config < 4; ++trial.config) {
        EXPECT_EQ(result_of(trial), expected) << trial.to_string();
      }
    }
  }
}

TEST(DenseFprop, NonFiniteSamplesStayInTheirWindows) {
  for (const char* mode : kModes) {
    for (const char* dtype : {"f32", "bf16", "f16", "f64"}) {
      for (const long double special : {INFINITY, -INFINITY, NAN}) {
        const Trial trial = dense("n1 c3->5 l100 k3 s2 d4 p3 bias " + std::string(mode) + " " + dtype);
        TestTensors tensors = make_tensors(trial);
        tensors.x.set(0, special);
        tensors.x.set(150, special);
        tensors.x.set(299, special);
        EXPECT_EQ(run_trial(trial, tensors), "");
      }
    }
  }
}

TEST(DenseFprop, NonFiniteWeightsNeverMeetPadding) {
  for (const std::string& isa : available_isas()) {
    for (const char* text :
         {"n2 c3->7 l50 k3 d4 p8 f32 bias", "n1 c2->3 l40 k5 s3 p(9,30) bf16", "n1 c300->2 l30 k3 p4 f64 g2",
          "n1 c1->2 l9 k3 p9 f32 circular", "n1 c2->2 l3 k5 p4 f16"}) {
      for (const long double special : {INFINITY, -INFINITY, NAN}) {
        Trial trial = dense(text);
        trial.isa = isa;
        TestTensors tensors = make_tensors(trial);
        tensors.w.set(0, special);
        tensors.w.set(tensors.w.element_count() - 1, special);
        EXPECT_EQ(run_trial(trial, tensors), "");
      }
    }
  }
}

TEST(DenseFprop, SubnormalsAreKept) {
  for (const std::string& isa : available_isas()) {
    for (const char* dtype : {"f32", "f64", "bf16"}) {
      Trial trial = dense("n1 c1->2 l70 k1 " + std::string(dtype));
      trial.isa = isa;
      TestTensors tensors = make_tensors(trial);
      const long double tiny = std::ldexp(3.0L, std::string(dtype) == "f64" ? -1070 : -130);
      for (std::int64_t i = 0; i < tensors.x.element_count(); ++i) tensors.x.set(i, tiny);
      for (std::int64_t i = 0; i < tensors.w.element_count(); ++i) tensors.w.set(i, 1);
      EXPECT_EQ(run_trial(trial, tensors), "");
      EXPECT_EQ(tensors.y.get(5), tensors.x.get(5));  // the bound allows a flush to zero, the promise does not
    }
  }
}

TEST(DenseFprop, MoreThanTwoToThe31Samples) {
  // One sample expanded to a long signal: y = x * sum of the weights inside it.
  float sample = 0.75f, weights[] = {1, 2, 4, 8, 16, 32}, y[2 * 3] = {};
  for (const char* text : {"n1 c1->2 l4000000000 k3 s1000000000 d900000000 p(0,0) f32",
                           "n1 c1->2 l3000000000 k3 s1400000000 d1400000000 p1400000000 f32"}) {
    const ConvProblem problem = ConvProblem::parse(text);
    ConvTensors tensors;
    tensors.x = {&sample, DType::f32, 3, {1, 1, problem.length_samples}, {0, 0, 0}};
    tensors.w = TensorView::contiguous(weights, DType::f32, {2, 1, 3});
    tensors.y = TensorView::contiguous(y, DType::f32, {1, 2, problem.out_length()});
    ASSERT_LE(problem.out_length(), 3);
    for (const char* kernel : {"dense_fprop", "depthwise_fprop"}) {
      const ConvProblem& p = problem;
      if (kernel[1] == 'e' && kernel[2] == 'p' && !p.is_depthwise()) continue;
      const Plan plan = make_plan(problem, Device::host_cpu(1), kernel);
      std::vector<char> workspace(static_cast<std::size_t>(plan.workspace_bytes()) + 64);
      void* at = workspace.data();
      std::size_t space = workspace.size();
      std::align(64, static_cast<std::size_t>(plan.workspace_bytes()), at, space);
      execute(plan, tensors, {at, plan.workspace_bytes(), nullptr});
      for (std::int64_t o = 0; o < 2; ++o) {
        for (std::int64_t t = 0; t < problem.out_length(); ++t) {
          float expected = 0;
          for (std::int64_t k = 0; k < 3; ++k) {
            const std::int64_t p = t * problem.stride + k * problem.dilation - problem.pad_left;
            if (p >= 0 && p < problem.length_samples) expected += weights[o * 3 + k] * sample;
          }
          EXPECT_EQ(y[o * problem.out_length() + t], expected) << kernel << " " << text << " o" << o << " t" << t;
        }
      }
    }
  }
}

TEST(DenseFprop, ScratchIsBoundedForAnyProblem) {
  for (const char* text :
       {"n64 c64->128 l524280 k3 s3 d4 f32", "n1 c1->1 l10000000 k1000000 f32", "n1 c100000->8 l1000 k3 f32",
        "n1 c8->100000 l1000 k3 f32", "n1 c3->3 l4000000000000 k1000 d1000000000 f64",
        "n1 c512->512 l10000000 k4097 d1000 s999 bf16 residual gelu", "n1 c100000->100000 l1000000 k9 g100000 f32",
        "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64", "n1000000 c2->2 l1 k1 f32 residual"}) {
    for (const int threads : {1, 2, 7, 64, 256, 5000}) {
      const ConvProblem problem = ConvProblem::parse(text);
      Device device = Device::host_cpu(threads);
      for (const std::string& isa : available_isas()) {
        device.isa = isa == "portable" ? Isa::portable : isa == "avx2" ? Isa::avx2 : Isa::avx512;
        for (const char* kernel : {"dense_fprop", "depthwise_fprop"}) {
          if (std::string(kernel) == "depthwise_fprop" && !problem.is_depthwise()) continue;
          const Plan plan = make_plan(problem, device, kernel);
          const std::int64_t weights = problem.out_channels *
                                           (problem.in_channels_per_group() * problem.kernel_size + 1) *
                                           (problem.dtype == DType::f64 ? 8 : 4) +
                                       128;
          EXPECT_LE(plan.workspace_bytes(), weights + (std::int64_t{32} << 20)) << plan.to_string();
        }
      }
    }
  }
}

}  // namespace
}  // namespace longconv::testing
