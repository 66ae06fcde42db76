// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/dgrad_schedule.h"
#include "support/kernel_trials.h"

namespace longconv::testing {
namespace {

const KernelTrials dgrad("dense_dgrad");

TEST(DenseDgrad, LengthsAroundVectorsAndTiles) {
  dgrad.lengths("n2 c3->5 k3 p1", {1,   2,   3,   4,   5,   7,   8,   9,   15,  16,  17,  23,  24,  25,  31,  32,
                                   33,  47,  48,  49,  63,  64,  65,  95,  96,  97,  191, 193, 239, 240, 241, 255,
                                   256, 257, 479, 480, 481, 511, 512, 513, 527, 528, 529, 767, 768, 769, 961, 1025},
                {"f32", "f64"});
}

TEST(DenseDgrad, StridesDilationsAndPaddingModes) { dgrad.strides_dilations_and_padding_modes("n1 c3->5"); }

TEST(DenseDgrad, PaddingAsLargeAsTheMode) {
  dgrad.padding_as_large_as_the_mode("n2 c2->3 k3 d2");
  expect_right(dgrad("n1 c2->3 l7 k3 p(3000,1500) replicate f32"));  // more padding than signal
}

TEST(DenseDgrad, WindowsThatSeeOnlyPadding) {
  dgrad.all_right({"n1 c2->3 l5 k3 d9 p(40,60) f32", "n1 c2->3 l5 k3 s7 p(40,60) f32", "n1 c1->1 l1 k1 p(300,300) bf16",
                   "n1 c1->1 l100 k2 d5000 p(5000,40) f32"});
}

TEST(DenseDgrad, DtypesLayoutsAndOperands) {
  dgrad.dtypes_layouts_and_operands(
      {"n2 c9->7 l150 k3 p2", "n2 c4->13 l300 k5 s3 p(1,4) reflect", "n1 c5->6 l90 k2 s6", "n2 c6->40 l100 k3 g2"},
      {"", "bias", "bias residual"});
}

TEST(DenseDgrad, EveryIsaTakesEveryStrideAndDtype) {
  dgrad.every_isa_takes_every_stride_and_dtype("n1 c6->8 l555 k5 d3 p6");
}

TEST(DenseDgrad, EveryBlockOfInputChannels) {
  dgrad.channels(&ConvProblem::in_channels, 26, {"n1 c1->5 l260 k4", "n1 c1->5 l260 k5 s2"});
}

TEST(DenseDgrad, Groups) {
  dgrad.all_right({"n2 c12->18 l100 k3 g3 f32", "n1 c8->4 l100 k3 g4 f32", "n1 c6->30 l333 k5 s2 g2 p2 f32",
                   "n3 c32->32 l50 k3 g8 f64", "n1 c7->21 l64 k3 g7 f32"});
}

/// Several blocks of packed rows, tiles shorter than the stride, taps in rows of their own, positions that no tap
/// reaches.
TEST(DenseDgrad, BlocksOfTermsAndLongStrides) {
  dgrad.all_values_right(
      {"n1 c9->300 l400 k3 f32", "n1 c4->3 l1600 k700 f32", "n1 c2->1 l9000 k5000 f32", "n1 c3->40 l900 k130 s3 d2 f32",
       "n1 c40->1100 l500 k3 p1 f32", "n1 c7->2000 l300 k2 s2 f32", "n1 c2->2 l40000 k300 d120 s2 f32",
       "n1 c7->513 l300 k2 d250 f64", "n1 c1->2 l30000 k6000 s2 d2 f32", "n1 c3->20 l9000 k320 s320 f32",
       "n1 c2->3 l9000 k2 s1500 f32", "n1 c2->3 l9000 k1500 s1500 f32", "n1 c2->3 l20000 k3 s3001 d2000 f32",
       "n1 c2->70 l9000 k900 s1100 d7 p90 replicate f32", "n2 c30->700 l100 k9 s4 d3 circular p5 f32",
       "n1 c3->600 l4700 k9 s2 d520 f32", "n1 c9->600 l2500 k9 s4 d259 f32"},  // subtotals of several blocks
      2);
}

/// Most roundings that a product of class i takes part in: in its chain, its subtotal and the total of all blocks, then
/// with bias and residual.
double most_roundings(const ConvProblem& p, const cpu::DgradSchedule& s, std::int64_t i) {
  std::int64_t terms = 0, longest_chain = 0, chains = 0, largest_subtotal = 0, subtotals = 0;
  bool closed = true;
  for (std::int64_t b = 0; b < s.blocks(); ++b) {
    const cpu::DgradBlock block = s.block(b, p.out_channels_per_group());
    const cpu::ChainTree tree = s.chain_tree(b, block.outputs * block.members_of(s.classes, i));
    EXPECT_EQ(tree.opens, closed);
    EXPECT_EQ(tree.total_begun, b >= s.blocks_per_subtotal);
    closed = tree.closes;
    if (tree.chains == 0) continue;
    for (std::int64_t chain = 0; chain < tree.chains; ++chain) {
      longest_chain = std::max(longest_chain, tree.first_term(chain + 1) - tree.first_term(chain));
    }
    for (std::int64_t subtotal = 0; subtotal < tree.subtotals; ++subtotal) {
      if (tree.terms > 0) chains += tree.first_chain(subtotal + 1) - tree.first_chain(subtotal);  // else adds zero
      largest_subtotal = std::max(largest_subtotal, chains);
      if (subtotal + 1 == tree.subtotals && !tree.closes) break;
      ++subtotals;
      chains = 0;
    }
    EXPECT_EQ(tree.first_term(tree.chains), tree.terms);
    EXPECT_EQ(tree.first_chain(tree.subtotals), tree.chains);
    terms += tree.terms;
  }
  EXPECT_TRUE(closed);
  EXPECT_EQ(terms, p.out_channels_per_group() * s.classes.taps_of(i));
  EXPECT_LE(longest_chain, kMaxChainTerms);
  return static_cast<double>(longest_chain + (largest_subtotal - 1) + (subtotals - 1) + 2);
}

TEST(DenseDgrad, ChainsAndSubtotalsAreNeitherLongNorMany) {
  for (const std::int64_t outputs : {1, 2, 3, 5, 12, 63, 65, 100, 128, 129, 513, 5000}) {
    for (const std::int64_t taps : {1, 2, 3, 5, 15, 33, 64, 65, 129, 251, 1025, 8192, 1000000}) {
      if (outputs * taps > std::int64_t{1} << 24) continue;
      for (const char* distances : {"s1 d1", "s3 d4", "s4 d2", "s1 d600", "s700 d3"}) {
        ConvProblem p = ConvProblem::parse("dgrad n1 c7->1 k1 l3000000000 f32 " + std::string(distances));
        p.out_channels = outputs;
        p.kernel_size = taps;
        for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {  // this machine need not have it
          Device device = Device::host_cpu(2);
          device.isa = isa;
          const cpu::DgradSchedule s = cpu::make_dgrad_schedule(p, device, {});
          for (const std::int64_t i : {std::int64_t{0}, s.classes.count - 1}) {
            const std::int64_t terms = outputs * s.classes.taps_of(i);
            const double roundings = most_roundings(p, s, i);
            EXPECT_LE(roundings, accumulation_factor(Pass::dgrad, DType::f32, terms)) << p.to_string();
            const double root = std::cbrt(static_cast<double>(terms));  // what numerics.md says of the choices
            EXPECT_LE(roundings, 5 * std::max(64.0, root)) << p.to_string();
          }
        }
      }
    }
  }
}

double relative_rms_error(const Trial& trial) {
  TestTensors tensors = make_tensors(trial);
  const Expected exact = reference(trial.problem, tensors).result;
  EXPECT_EQ(execute_checked(plan_of(trial), tensors, team(1)), "") << trial.to_string();
  long double difference = 0, norm = 0;
  for (std::int64_t at = 0; at < tensors.x.element_count(); ++at) {
    difference += std::pow(tensors.x.get(at) - exact.value[at], 2);
    norm += std::pow(exact.value[at], 2);
  }
  return static_cast<double>(std::sqrt(difference / norm));
}

/// The dense judged shapes, shorter, and oneDNN's errors (PyTorch 2.13, AVX2, normal data, full length). With groups of
/// 16 both add two chains of 24 terms: equal. Without fused multiply-add every product is rounded besides, by at most u
/// times its size and evenly below that.
TEST(DenseDgrad, RoundsNoMoreThanOneDnn) {
  const std::pair<const char*, double> cases[] = {
      {"n1 c64->128 l1500 k3 s3 d4", 1.474e-7}, {"n1 c64->128 l500 k3", 1.178e-7},
      {"n1 c64->128 l1500 k2 d512", 1.490e-7},  {"n1 c32->256 l500 k3 d8", 2.895e-7},
      {"n1 c1->512 l2400 k10 s5", 4.051e-7},    {"n1 c9->512 l1000 k3 s2", 5.226e-7},
      {"n1 c48->96 l900 k8 s4", 2.483e-7},      {"n1 c4->512 l2000 k15", 1.922e-7},
      {"n1 c9->128 l900 k11 d5", 2.132e-7},     {"n1 c32->64 l900 k4 s2", 2.045e-7},
      {"n1 c32->256 l500 k1", 2.047e-7},        {"n1 c12->64 l1000 k15 s2", 1.541e-7},
      {"n1 c1->80 l2000 k251", 3.301e-7}};
  for (const std::string& isa : available_isas()) {
    for (const auto& [text, onednn] : cases) {
      Trial trial = dgrad(std::string(text) + " f32");
      trial.isa = isa;
      const double products = isa == "portable" ? 0x1p-24 / std::sqrt(3.0) : 0;
      EXPECT_LE(relative_rms_error(trial), std::hypot(onednn, products)) << trial.to_string();
    }
  }
}

TEST(DenseDgrad, AccumulatesInPlace) {
  dgrad.accumulates_in_place(
      {"n2 c5->9 l600 k3 p1", "n2 c5->9 l600 k2 s3 p(7,1) circular", "n2 c5->9 l600 k2 s3 bias"});
}

TEST(DenseDgrad, SameBitsForEveryThreadCount) {
  dgrad.same_bits_for_every_thread_count({"n2 c70->33 l3000 k3 p1 f32", "n1 c20->200 l1000 k5 s2 bf16",
                                          "n1 c3->2 l5000 k700 f32", "n1 c40->1100 l257 k1 f64",
                                          "n3 c8->8 l100 k3 g2 f16 p9 reflect", "n1 c3->600 l2700 k9 d260 f32"});
}

TEST(DenseDgrad, NonFiniteValues) {
  dgrad.non_finite_values({"n2 c3->5 l100 k3 s2 d4 p3", "n1 c7->4 l600 k5 p2", "n1 c2->3 l90 k2 s3 p1"},
                          {"f32", "f64", "bf16", "f16"}, {&TestTensors::y, &TestTensors::w});
  dgrad.non_finite_values({"n2 c3->5 l100 k3 s2 d4 p3 bias"}, {"f32"}, {&TestTensors::w, &TestTensors::bias});
}

/// Positions that no tap reaches are bias alone.
TEST(DenseDgrad, Bias) {
  dgrad.all_values_right({"n2 c30->6 l700 k2 s5 g2 bias f32", "n1 c40->1100 l257 k1 bias f64",
                          "n1 c9->300 l400 k3 p5 circular bias bf16", "n3 c65->8 l100 k3 d40 s3 bias f16"},
                         2);
}

/// <dy, conv(x, w)> = <dgrad(dy, w), x> = <wgrad(x, dy), w>: the three passes are one trilinear form.
TEST(DenseDgrad, PassesAreAdjoint) {
  for (const char* text : {"n2 c3->5 l300 k3 s2 d2 p4 f64", "n3 c4->6 l100 k5 g2 p(3,1) reflect f64",
                           "n1 c2->3 l777 k4 s5 p9 circular f64", "n2 c6->6 l500 k7 g6 p3 replicate f64"}) {
    const auto dot = [](const TestTensor& a, const TestTensor& b) {
      long double sum = 0;
      for (std::int64_t i = 0; i < a.element_count(); ++i) sum += a.get(i) * b.get(i);
      return sum;
    };
    Trial trial;
    trial.problem = ConvProblem::parse(text);
    TestTensors given = make_tensors(trial);  // of fprop: x and w drawn, y NaN
    Random random(3);
    TestTensor grad_y(DType::f64, {trial.problem.batch, trial.problem.out_channels, trial.problem.out_length()},
                      Layout::contiguous);
    grad_y.fill(random, Values::uniform);
    const auto run = [&](Pass pass) {
      Trial other = trial;
      other.problem.pass = pass;
      other.threads = 2;
      TestTensors tensors = make_tensors(other);
      const auto copy = [](const TestTensor& from, TestTensor& to) {
        for (std::int64_t i = 0; i < from.element_count(); ++i) to.set(i, from.get(i));
      };
      if (pass != Pass::dgrad) copy(given.x, tensors.x);
      if (pass != Pass::wgrad) copy(given.w, tensors.w);
      if (pass != Pass::fprop) copy(grad_y, tensors.y);
      EXPECT_EQ(execute_checked(plan_of(other), tensors, team(2)), "");
      return tensors;
    };
    const long double forward = dot(grad_y, run(Pass::fprop).y);
    // Every product is at most 1 in magnitude, and no sum of a pass has more terms than these.
    const ConvProblem& p = trial.problem;
    const std::int64_t longest =
        std::max({p.batch * p.out_length(), p.in_channels_per_group() * p.kernel_size,
                  p.out_channels_per_group() * p.kernel_size * (1 + p.pad_left + p.pad_right)});
    const long double bound = 2 * static_cast<long double>(longest + 2) * 0x1p-53L * (p.flops() / 2);
    EXPECT_LE(std::fabs(dot(run(Pass::dgrad).x, given.x) - forward), bound) << text;
    EXPECT_LE(std::fabs(dot(run(Pass::wgrad).w, given.w) - forward), bound) << text;
  }
}

TEST(DenseDgrad, IndicesBeyond31Bits) {
  dgrad.all_right(
      {"n1 c2->3 l5 k3 s2000000000 p4000000000 f32", "n1 c2->3 l9 k4 s3 d3000000001 p(3000000004,6000000000) f32"});
}

TEST(DenseDgrad, WorkspaceStaysWithinItsPromise) {
  dgrad.workspace_stays_within_its_promise(
      {"n1 c512->512 l24000 k3 s2 f32", "n1 c64->64 l100000 k20000 f32", "n1 c3->64 l100000 k320 s320 f64",
       "n1 c1->1 l9000000 k1000000 s999 d3 f32", "n1 c2048->2048 l4096 k3 bf16 p1 circular",
       "n1 c100000->8 l1000 k3 f32", "n1 c8->100000 l1000 k3 f32", "n1 c1->1 l4000000000000 k1000000 d1000000 s7 f64",
       "n1 c3->3 l4000000000000 k1000 d1000000000 f64", "n1 c512->512 l10000000 k4097 d1000 s999 bf16 residual",
       "n1000000 c2->2 l1 k1 f32 residual", "n1 c100000->8 l1000 k3 f32 bias"});
}

}  // namespace
}  // namespace longconv::testing
