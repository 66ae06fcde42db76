// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "longconv/problem.h"

#include <gtest/gtest.h>

#include <limits>
#include <unordered_set>

#include "longconv/error.h"
#include "problem/checked.h"

namespace longconv {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(Problem, OutLengthTable) {
  struct Row {
    const char* text;
    std::int64_t out_length;
  };
  for (const Row& row : {Row{"l10 k3", 8}, Row{"l10 k10", 1}, Row{"l10 k1", 10}, Row{"l10 k3 s2", 4},
                         Row{"l10 k3 s7", 2}, Row{"l10 k3 s8", 1}, Row{"l10 k3 d4", 2}, Row{"l1 k3 p1", 1},
                         Row{"l10 k3 p(2,0)", 10}, Row{"l524280 k3 s3 d4", 174758}, Row{"l1 k1 s1000000", 1}}) {
    const ConvProblem p = ConvProblem::parse(row.text);
    EXPECT_NO_THROW(p.validate()) << row.text;
    EXPECT_EQ(p.out_length(), row.out_length) << row.text;
  }
}

struct Rejection {
  const char* text;
  ErrorCode code;
  const char* message;
};

class Rejected : public ::testing::TestWithParam<Rejection> {};

TEST_P(Rejected, NamesTheRuleAndTheValues) {
  const Rejection& row = GetParam();
  try {
    ConvProblem::parse(row.text).validate();
    FAIL() << row.text << " was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), row.code) << error.what();
    EXPECT_NE(std::string(error.what()).find(row.message), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Validate, Rejected,
    ::testing::Values(
        Rejection{"n-1", ErrorCode::invalid_argument, "batch should not be negative, but got -1"},
        Rejection{"c0->1", ErrorCode::invalid_argument, "in_channels should be greater than zero, but got 0"},
        Rejection{"c1->0", ErrorCode::invalid_argument, "out_channels should be greater than zero, but got 0"},
        Rejection{"l0", ErrorCode::invalid_argument, "length should be greater than zero, but got 0"},
        Rejection{"k0", ErrorCode::invalid_argument, "kernel size should be greater than zero, but got 0"},
        Rejection{"s0", ErrorCode::invalid_argument, "stride should be greater than zero, but got 0"},
        Rejection{"s-2", ErrorCode::invalid_argument, "stride should be greater than zero, but got -2"},
        Rejection{"d0", ErrorCode::invalid_argument, "dilation should be greater than zero, but got 0"},
        Rejection{"g0", ErrorCode::invalid_argument, "groups should be greater than zero, but got 0"},
        Rejection{"c3->4 g2", ErrorCode::invalid_argument, "in_channels=3 and groups=2"},
        Rejection{"c4->3 g2", ErrorCode::invalid_argument, "out_channels=3 and groups=2"},
        Rejection{"p(-1,0)", ErrorCode::invalid_argument, "negative padding is not supported, but got pad_left=-1"},
        Rejection{"p(0,-3)", ErrorCode::invalid_argument, "negative padding is not supported, but got pad_right=-3"},
        Rejection{"l5 p5 reflect", ErrorCode::invalid_argument, "less than the corresponding input dimension"},
        Rejection{"l5 p(0,6) circular", ErrorCode::invalid_argument, "pad_right=6 for length 5"},
        Rejection{"l2 k3", ErrorCode::invalid_argument,
                  "Calculated padded input size per channel: (2). Kernel size: (3). Kernel size can't be greater than "
                  "actual input size"},
        Rejection{"l9 k3 d6 p1", ErrorCode::invalid_argument, "channel: (11). Kernel size: (13)."},
        Rejection{"dgrad silu", ErrorCode::invalid_argument, "a function of the result (relu, tanh, sigmoid"},
        Rejection{"wgrad gelu", ErrorCode::invalid_argument, "wgrad takes activations whose derivative"},
        Rejection{"wgrad leaky_relu(-0.5)", ErrorCode::invalid_argument, "but got leaky_relu with -0.5"},
        Rejection{"dgrad relu bias", ErrorCode::invalid_argument, "adds nothing to its result, but got a bias"},
        Rejection{"dgrad tanh residual", ErrorCode::invalid_argument, "but got a residual"},
        Rejection{"fprop bf16 f32_result", ErrorCode::invalid_argument,
                  "f32_result exists in wgrad of bf16 and f16 only"},
        Rejection{"wgrad f64 f32_result", ErrorCode::invalid_argument, "but got it in wgrad of f64"},
        Rejection{"wgrad residual", ErrorCode::invalid_argument, "residual exists in fprop and dgrad only"},
        Rejection{"f64 tf32", ErrorCode::invalid_argument, "tf32 exists for f32 only, but got f64"},
        Rejection{"leaky_relu(inf)", ErrorCode::invalid_argument, "negative_slope of leaky_relu should be finite"},
        Rejection{"l9223372036854775807 p1", ErrorCode::overflow, "the padded length does not fit"},
        Rejection{"k9223372036854775807 d2", ErrorCode::overflow, "the dilated kernel size does not fit"},
        Rejection{"k4611686018427387905 d2", ErrorCode::overflow, "the dilated kernel size does not fit"},
        Rejection{"n4294967296 c4294967296->1", ErrorCode::overflow, "the byte size of the input does not fit"},
        Rejection{"n0 c4294967296->1 l4294967296", ErrorCode::overflow, "the byte size of the input does not fit"},
        Rejection{"c4294967296->4294967296", ErrorCode::overflow, "the byte size of the weight does not fit"},
        Rejection{"n2 c1->4611686018427387904 f16", ErrorCode::overflow, "the byte size of the weight does not fit"},
        Rejection{"n1024 c1->1048576 l1099511627776", ErrorCode::overflow, "the byte size of the output"}));

TEST(Problem, WindowAsLongAsTheSignalIsOneOutput) {
  const ConvProblem p = ConvProblem::parse("l9 k3 d5 p1");
  EXPECT_EQ(p.window_samples(), 11);
  EXPECT_NO_THROW(p.validate());
  EXPECT_EQ(p.out_length(), 1);
}

TEST(Problem, AcceptsTheEdgesOfTheRules) {
  for (const char* text :
       {"n0", "l1", "l5 p4 k3 reflect", "l5 p5 k3 circular", "l5 p500 k3 replicate", "l1 p1 k3 replicate", "f32 tf32",
        "c1024->1024 g1024", "l1152921504606846976 f16", "l4 k1 s9223372036854775807", "leaky_relu(-0.5)", "wgrad bias",
        "dgrad bias residual", "fprop bias residual sigmoid", "dgrad tanh", "wgrad leaky_relu(0) bias"}) {
    EXPECT_NO_THROW(ConvProblem::parse(text).validate()) << text;
  }
}

TEST(Problem, FlopsAndBytes) {
  const ConvProblem headline = ConvProblem::parse("fprop n64 c64->128 l524280 k3 s3 d4 f32");
  EXPECT_DOUBLE_EQ(headline.flops(), 2.0 * 64 * 128 * 174758 * 64 * 3);
  EXPECT_DOUBLE_EQ(headline.compulsory_bytes(), 4.0 * (64.0 * 64 * 524280 + 128 * 64 * 3 + 64.0 * 128 * 174758));
  EXPECT_DOUBLE_EQ(ConvProblem::parse("n2 c4->6 l10 k3 g2 c64").flops(), 8.0 * 2 * 6 * 8 * 2 * 3);
  EXPECT_DOUBLE_EQ(ConvProblem::parse("dgrad n2 c4->6 l10 k3 f16 residual").compulsory_bytes(),
                   2.0 * (2 * 80 + 72 + 96));
  EXPECT_DOUBLE_EQ(ConvProblem::parse("dgrad n2 c4->6 l10 k3 f16 residual bias").compulsory_bytes(),
                   2.0 * (2 * 80 + 72 + 96 + 4));
  EXPECT_DOUBLE_EQ(ConvProblem::parse("wgrad n2 c4->6 l10 k3 f16 bias f32_result").compulsory_bytes(),
                   2.0 * (2 * 4 * 10 + 2 * 6 * 8) + 4.0 * (6 * 4 * 3 + 6));
  EXPECT_DOUBLE_EQ(ConvProblem::parse("wgrad n2 c4->6 l10 k3 f32 relu").compulsory_bytes(),
                   4.0 * (80 + 2 * 96 + 72));  // dL/dy and forward's result
  EXPECT_DOUBLE_EQ(ConvProblem::parse("fprop n2 c4->6 l10 k3 f16 residual bias").compulsory_bytes(),
                   2.0 * (80 + 72 + 2 * 96 + 6));
}

TEST(Problem, EqualityAndHashSeeEveryField) {
  const char* const texts[] = {
      "",          "dgrad",      "wgrad", "f64",   "tf32",   "reflect",          "relu",       "bias",
      "residual",  "f32_result", "n2",    "c2->1", "c1->2",  "leaky_relu(0.25)", "leaky_relu", "l2",
      "k2",        "s2",         "d2",    "g2",    "p(0,1)", "p(1,0)",           "p1",         "circular",
      "replicate", "gelu",       "i64",   "bf16",  "n3"};
  std::unordered_set<ConvProblem> seen;
  std::unordered_set<std::size_t> hashes;
  for (const char* text : texts) {
    const ConvProblem p = ConvProblem::parse(text);
    EXPECT_TRUE(seen.insert(p).second) << text;
    EXPECT_TRUE(hashes.insert(p.hash()).second) << text;
    EXPECT_EQ(p, ConvProblem::parse(p.to_string()));
  }
}

TEST(Problem, SlopeCountsOnlyWithLeakyRelu) {
  ConvProblem a, b;
  a.negative_slope = 0.5;
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.hash(), b.hash());
  a.activation = b.activation = Activation::leaky_relu;
  EXPECT_NE(a, b);
  a.negative_slope = 0.0;
  b.negative_slope = -0.0;
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.hash(), b.hash());
  a.negative_slope = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(a, ConvProblem(a));
}

TEST(Checked, PropagatesOverflow) {
  EXPECT_EQ((checked(3) * 4 + 5 - 6).value(), 11);
  EXPECT_TRUE((checked(kMax) + 0).fits());
  EXPECT_FALSE((checked(kMax) + 1).fits());
  EXPECT_FALSE((checked(kMax) + 1 - 1).fits());
  EXPECT_FALSE((checked(kMax) * 2 * 0).fits());
  EXPECT_FALSE((checked(std::numeric_limits<std::int64_t>::min()) - 1).fits());
}

TEST(Checked, DivisionsRoundToTheirSide) {
  for (std::int64_t a = -20; a <= 20; ++a) {
    for (std::int64_t b = 1; b <= 7; ++b) {
      const std::int64_t down = floor_div(a, b), up = ceil_div(a, b);
      EXPECT_TRUE(down * b <= a && a < (down + 1) * b) << a << " / " << b;
      EXPECT_TRUE((up - 1) * b < a && a <= up * b) << a << " / " << b;
    }
  }
}

}  // namespace
}  // namespace longconv
