// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <clocale>
#include <cmath>
#include <limits>

#include "longconv/error.h"
#include "longconv/problem.h"
#include "support/test_tensor.h"

namespace longconv {
namespace {

using testing::Random;

TEST(Text, PrintedFormLeavesDefaultsOut) {
  EXPECT_EQ(ConvProblem().to_string(), "fprop n1 c1->1 l1 k1 f32");
  const char* const lines[] = {
      "fprop n64 c64->128 l524280 k3 s3 d4 f32",
      "dgrad n1 c4->6 l100 k3 g2 p2 reflect bf16 bias residual",
      "wgrad n0 c4->6 l100 k3 p(2,0) circular c128 bias",
      "fprop n1 c1->1 l1 k1 f32 tf32 bias residual leaky_relu(0.2)",
      "wgrad n1 c4->6 l100 k3 bf16 bias f32_result",
      "fprop n1 c1->1 l1 k1 p(0,5) replicate f16 gelu_tanh",
      "fprop n-5 c-1->0 l9223372036854775807 k-9223372036854775808 s0 d-1 g0 p-7 i64",
  };
  for (const char* line : lines) EXPECT_EQ(ConvProblem::parse(line).to_string(), line);
}

TEST(Text, WordsInAnyOrderAndSpacing) {
  const ConvProblem expected = ConvProblem::parse("dgrad n2 c3->6 l50 k3 s2 d3 g3 p(1,2) reflect f64 residual");
  EXPECT_EQ(ConvProblem::parse("  residual f64\tp(1,2) g3 reflect\n d3 s2 k3 l50 c3->6 n2 dgrad\r\n"), expected);
}

TEST(Text, MissingWordsTakeTheDefaults) {
  EXPECT_EQ(ConvProblem::parse(""), ConvProblem());
  EXPECT_EQ(ConvProblem::parse("l7").pass, Pass::fprop);
  EXPECT_DOUBLE_EQ(ConvProblem::parse("leaky_relu").negative_slope, 0.01);
}

TEST(Text, RefusesWithTheWordThatWasNotUnderstood) {
  for (const char* word : {"x",
                           "n",
                           "n1.5",
                           "n1x",
                           "nn1",
                           "c65",
                           "c64-128",
                           "c->1",
                           "c1->",
                           "l",
                           "p",
                           "p(1)",
                           "p(1,2",
                           "p(,1)",
                           "p(1,2,3)",
                           "fp32x",
                           "F32",
                           "leaky_relu(",
                           "leaky_relu()",
                           "leaky_relu(a)",
                           "relu(1)",
                           "n99999999999999999999",
                           "k+3",
                           "-",
                           "p(1;2)",
                           "conv",
                           "\xff",
                           "float32"}) {
    try {
      ConvProblem::parse(std::string("n2 ").append(word == std::string("n") ? "l2 " : "").append(word));
      FAIL() << word << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_value);
      EXPECT_NE(std::string(error.what()).find("'" + std::string(word) + "'"), std::string::npos) << error.what();
    }
  }
}

TEST(Text, RefusesASettingGivenTwice) {
  for (const char* text : {"n1 n2", "k3 k3", "p1 p(1,1)", "fprop dgrad", "relu leaky_relu(0.1)", "f32 f64", "bias bias",
                           "zeros reflect"}) {
    EXPECT_THROW(ConvProblem::parse(text), Error) << text;
  }
}

TEST(Text, NumbersDoNotDependOnTheLocale) {
  // Where a comma is the decimal point; a machine without such locales keeps "C" and the test still holds.
  const std::string previous = std::setlocale(LC_ALL, nullptr);
  for (const char* locale : {"de_DE.UTF-8", "fr_FR.UTF-8"}) {
    std::setlocale(LC_ALL, locale);
    EXPECT_EQ(ConvProblem::parse("leaky_relu(0.25)").to_string(), "fprop n1 c1->1 l1 k1 f32 leaky_relu(0.25)");
  }
  std::setlocale(LC_ALL, previous.c_str());
}

/// Any value of any field, valid or not: what is printed reads back as the same problem.
ConvProblem random_problem(Random& random) {
  const auto number = [&random]() -> std::int64_t {
    switch (random.integer(0, 3)) {
      case 0: return random.integer(0, 9);
      case 1: return random.integer(-3, 100000);
      case 2: return static_cast<std::int64_t>(random.bits());
      default: return random.integer(0, 1) != 0 ? std::numeric_limits<std::int64_t>::max() : 1;
    }
  };
  ConvProblem p;
  p.pass = static_cast<Pass>(random.integer(0, 2));
  p.dtype = static_cast<DType>(random.integer(0, 6));
  p.precision = static_cast<Precision>(random.integer(0, 1));
  p.pad_mode = static_cast<PadMode>(random.integer(0, 3));
  p.activation = static_cast<Activation>(random.integer(0, 7));
  p.has_bias = random.integer(0, 1) != 0;
  p.has_residual = random.integer(0, 1) != 0;
  p.negative_slope = std::ldexp(2 * random.unit() - 1, static_cast<int>(random.integer(-1040, 1000)));
  p.batch = number(), p.in_channels = number(), p.out_channels = number(), p.length_samples = number();
  p.kernel_size = number(), p.stride = number(), p.dilation = number(), p.groups = number();
  p.pad_left = number(), p.pad_right = random.integer(0, 1) != 0 ? p.pad_left : number();
  return p;
}

TEST(Text, EveryProblemReadsBackEqual) {
  Random random(20261122);
  for (int i = 0; i < 20000; ++i) {
    const ConvProblem p = random_problem(random);
    const ConvProblem read = ConvProblem::parse(p.to_string());
    ASSERT_EQ(read, p) << p.to_string();
    ASSERT_EQ(read.hash(), p.hash()) << p.to_string();
    ASSERT_EQ(read.to_string(), p.to_string());
  }
}

template <class Enum>
void check_names(int count) {
  for (int i = 0; i < count; ++i) {
    Enum read{};
    EXPECT_TRUE(parse(name(static_cast<Enum>(i)), read));
    EXPECT_EQ(static_cast<int>(read), i);
  }
  Enum read{};
  for (const char* text : {"", "unknown", "Fprop", "f32 "}) EXPECT_FALSE(parse(text, read)) << text;
  EXPECT_EQ(name(static_cast<Enum>(count)), "unknown");
}

TEST(Names, ParseInvertsName) {
  check_names<Pass>(3);
  check_names<DType>(7);
  check_names<PadMode>(4);
  check_names<Activation>(8);
  check_names<Precision>(2);
}

}  // namespace
}  // namespace longconv
