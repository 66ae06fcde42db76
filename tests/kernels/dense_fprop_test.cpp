// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/fprop_schedule.h"
#include "support/kernel_trials.h"

namespace longconv::testing {
namespace {

const KernelTrials fprop("dense_fprop");

TEST(DenseFprop, LengthsAroundVectorsAndTiles) {
  fprop.lengths("n2 c3->7 k3 p1",
                {1,  2,  3,  4,  5,  7,   8,   9,   15,  16,  17,  23,  24,  25,  31,  32,  33,  47,  48,   49,  63,
                 64, 65, 95, 96, 97, 191, 193, 239, 240, 241, 479, 480, 481, 527, 528, 529, 960, 961, 1919, 1921},
                {"f32", "f64"});
}

TEST(DenseFprop, EveryBlockOfOutputChannels) {
  fprop.channels(&ConvProblem::out_channels, 26, {"n1 c5->1 l260 k4 bias"});
}

TEST(DenseFprop, StridesDilationsAndPaddingModes) { fprop.strides_dilations_and_padding_modes("n1 c3->5", 1); }

TEST(DenseFprop, PaddingAsLargeAsTheMode) { fprop.padding_as_large_as_the_mode("n2 c2->3 k3 d2"); }

TEST(DenseFprop, WindowsThatSeeOnlyPadding) {
  fprop.all_right(
      {"n1 c2->3 l5 k3 d9 p(40,60) f32", "n1 c2->3 l5 k3 s7 p(40,60) f32 bias", "n1 c1->1 l1 k1 p(300,300) bf16 bias"});
}

TEST(DenseFprop, Groups) {
  fprop.all_right({"n2 c12->18 l100 k3 g3 f32", "n1 c8->4 l100 k3 g4 f32", "n1 c6->30 l333 k5 s2 g2 p2 f32",
                   "n3 c32->32 l50 k3 g8 f64", "n1 c7->21 l64 k3 g7 f32"});
}

TEST(DenseFprop, ManyTermsInManyChains) {
  fprop.all_values_right(
      {"n1 c300->9 l200 k3 f32", "n1 c3->4 l1600 k700 f32", "n1 c1->2 l9000 k5000 f32", "n1 c40->3 l900 k130 s3 d2 f32",
       "n1 c600->40 l500 k3 p1 f32", "n1 c129->8 l100 k1 f32", "n1 c2->2 l40000 k300 d120 s2 f32",
       "n1 c513->7 l300 k2 d250 f64", "n1 c2->1 l30000 k6000 s2 d2 f32"},
      2);
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

/// Root mean square distance of y from the reference, and of sums in chains of the products of 16 input channels, added
/// up in turn.
std::pair<double, double> rms_errors(const Trial& trial) {
  const ConvProblem& p = trial.problem;
  TestTensors tensors = make_tensors(trial);
  const Expected exact = reference(p, tensors).result;
  EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(1)), "") << trial.to_string();
  const auto values = [](const TestTensor& tensor) {
    std::vector<float> all;
    for (std::int64_t i = 0; i < tensor.element_count(); ++i) all.push_back(static_cast<float>(tensor.get(i)));
    return all;
  };
  const std::vector<float> x = values(tensors.x), w = values(tensors.w), y = values(tensors.y);
  const bool fused = trial.isa != "portable";
  double ours = 0, chained = 0;
  for (std::int64_t at = 0; at < tensors.y.element_count(); ++at) {
    const std::int64_t o = at / p.out_length(), t = at % p.out_length();
    float total = 0, chain = 0;
    for (std::int64_t c = 0; c < p.in_channels; ++c) {
      for (std::int64_t k = 0; k < p.kernel_size; ++k) {
        const float a = w[(o * p.in_channels + c) * p.kernel_size + k];
        const float b = x[c * p.length_samples + t * p.stride + k * p.dilation];
        chain = fused ? std::fma(a, b, chain) : a * b + chain;
      }
      if (c % 16 != 15 && c + 1 != p.in_channels) continue;
      total += chain;
      chain = 0;
    }
    ours += std::pow(static_cast<double>(y[at] - exact.value[at]), 2);
    chained += std::pow(static_cast<double>(total - exact.value[at]), 2);
  }
  return {std::sqrt(ours), std::sqrt(chained)};
}

/// What oneDNN's AVX-512 kernels are like, as far as their errors tell: not above them on any instruction set.
TEST(DenseFprop, RoundsNoMoreThanChainsOfSixteenChannels) {
  for (const std::string& isa : available_isas()) {
    for (const char* text :
         {"n1 c64->9 l1500 k3 s3 d4 f32", "n1 c64->9 l500 k3 f32", "n1 c64->9 l500 k2 d64 f32",
          "n1 c256->9 l500 k3 d8 f32", "n1 c512->9 l900 k3 s2 f32", "n1 c128->9 l500 k11 d5 f32",
          "n1 c48->9 l900 k8 s4 f32", "n1 c32->9 l900 k4 s2 f32", "n1 c4->9 l500 k15 f32", "n1 c1->9 l700 k251 f32"}) {
      Trial trial = fprop(text);
      trial.isa = isa;
      const auto [ours, chained] = rms_errors(trial);
      EXPECT_LE(ours, chained) << trial.to_string();
    }
  }
}

TEST(DenseFprop, DtypesLayoutsAndEpilogues) {
  fprop.dtypes_layouts_and_operands(
      {"n2 c9->7 l150 k3 p2", "n2 c4->13 l300 k5 s3 p(1,4) reflect", "n1 c5->6 l90 k2 s6"},
      {"", "bias relu", "residual leaky_relu(0.3)", "bias residual gelu", "gelu_tanh bias", "silu residual",
       "bias tanh", "sigmoid bias residual"});
}

TEST(DenseFprop, AccumulatesInPlace) { fprop.accumulates_in_place({"n2 c5->9 l600 k3 p1"}); }

TEST(DenseFprop, EveryIsaTakesEveryStrideAndDtype) {
  fprop.every_isa_takes_every_stride_and_dtype("n1 c6->8 l555 k5 d3 p6 gelu bias");
}

TEST(DenseFprop, SameBitsForEveryThreadCountAndTile) {
  fprop.same_bits_for_every_thread_count(
      {"n2 c70->33 l3000 k3 p1 f32 bias", "n1 c200->20 l1000 k5 s2 bf16", "n1 c2->3 l5000 k700 f32",
       "n1 c64->8 l257 k1 f64", "n3 c8->8 l100 k3 g2 f16 gelu"},
      4);
}

TEST(DenseFprop, NonFiniteSamplesStayInTheirWindows) {
  fprop.non_finite_values({"n1 c3->5 l100 k3 s2 d4 p3 bias"}, {"f32", "bf16", "f16", "f64"}, {&TestTensors::x});
}

TEST(DenseFprop, NonFiniteWeightsNeverMeetPadding) {
  fprop.non_finite_values({"n2 c3->7 l50 k3 d4 p8 f32 bias", "n1 c2->3 l40 k5 s3 p(9,30) bf16",
                           "n1 c300->2 l30 k3 p4 f64 g2", "n1 c1->2 l9 k3 p8 f32", "n1 c2->2 l6 k5 p4 f16"},
                          {""}, {&TestTensors::w});
}

TEST(DenseFprop, SubnormalsAreKept) {
  for (const std::string& isa : available_isas()) {
    for (const char* dtype : {"f32", "f64", "bf16"}) {
      Trial trial = fprop("n1 c1->2 l70 k1 " + std::string(dtype));
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
      execute_plan(plan, tensors, serial());
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

TEST(DenseFprop, WorkspaceStaysWithinItsPromise) {
  fprop.workspace_stays_within_its_promise(
      {"n64 c64->128 l524280 k3 s3 d4 f32", "n1 c1->1 l10000000 k1000000 f32", "n1 c100000->8 l1000 k3 f32",
       "n1 c8->100000 l1000 k3 f32", "n1 c3->3 l4000000000000 k1000 d1000000000 f64",
       "n1 c512->512 l10000000 k4097 d1000 s999 bf16 residual gelu", "n1 c100000->100000 l1000000 k9 g100000 f32",
       "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64", "n1000000 c2->2 l1 k1 f32 residual"});
}

}  // namespace
}  // namespace longconv::testing
