// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The tests' own tools: numbers, memory, reference values worked out by hand, and that a wrong result is caught.
#include "support/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/trial.h"

namespace longconv::testing {
namespace {

TEST(TestTensor, HalfFormatsRoundToNearestEven) {
  struct Row {
    DType dtype;
    long double value, expected;
  };
  const Row rows[] = {{DType::f16, 1.0L, 1.0L},
                      {DType::f16, 2049.0L, 2048.0L},
                      {DType::f16, 2051.0L, 2052.0L},
                      {DType::f16, 65504.0L, 65504.0L},
                      {DType::f16, 65519.0L, 65504.0L},
                      {DType::f16, 65520.0L, INFINITY},
                      {DType::f16, 0x1p-24L, 0x1p-24L},
                      {DType::f16, 0x1p-25L, 0.0L},
                      {DType::f16, 0x1.8p-25L, 0x1p-24L},
                      {DType::f16, 0x1.ff8p-15L, 0x1.ff8p-15L},
                      {DType::bf16, 257.0L, 256.0L},
                      {DType::bf16, 259.0L, 260.0L},
                      {DType::bf16, -0x1p-133L, -0x1p-133L},
                      {DType::bf16, 0x1.ffp127L, INFINITY},
                      {DType::bf16, 3.0e38L, 0x1.c4p127L},
                      {DType::f32, 0x1.000001p0L, 1.0L}};
  for (const Row& row : rows) {
    EXPECT_EQ(rounded(row.value, row.dtype), row.expected) << static_cast<double>(row.value);
    TestTensor tensor(row.dtype, {1}, Layout::contiguous);
    tensor.set(0, row.value);
    EXPECT_EQ(tensor.get(0), row.expected) << static_cast<double>(row.value);
  }
}

TEST(TestTensor, EveryHalfBitPatternReadsBack) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    TestTensor tensor(dtype, {1}, Layout::contiguous);
    for (unsigned bits = 0; bits < 65536; ++bits) {
      const auto pattern = static_cast<std::uint16_t>(bits);
      std::memcpy(tensor.view().data, &pattern, sizeof pattern);
      const long double value = tensor.get(0);
      if (std::isnan(value)) continue;
      tensor.set(0, value);
      std::uint16_t back = 0;
      std::memcpy(&back, tensor.view().data, sizeof back);
      ASSERT_EQ(back, pattern);
    }
  }
}

TEST(TestTensor, StartsAsNaNAndReportsStrayWrites) {
  for (const Layout layout : kLayouts) {
    TestTensor tensor(DType::f32, {2, 3, 5}, layout, 4);
    EXPECT_TRUE(std::isnan(tensor.get(29)));
    Random random(1);
    tensor.fill(random, Values::uniform);
    EXPECT_EQ(tensor.stray_write(), "") << name(layout);
    float* const data = static_cast<float*>(tensor.view().data);
    data[-1] = 0;
    EXPECT_NE(tensor.stray_write(), "") << name(layout);
  }
  TestTensor tensor(DType::f32, {2, 3, 5}, Layout::sliced);
  static_cast<float*>(tensor.view().data)[5] = 0;  // the gap after the first row
  EXPECT_NE(tensor.stray_write(), "");
}

TEST(TestTensorDeathTest, OverreadCrashes) {
  const TestTensor tensor(DType::f32, {1, 1, 5}, Layout::contiguous);
  const volatile float* const data = static_cast<const float*>(tensor.view().data);
  EXPECT_DEATH({ [[maybe_unused]] const float beyond = data[5]; }, "");
}

/// Tensors with hand-chosen numbers.
TestTensors tensors_of(const ConvProblem& problem, const std::vector<double>& x, const std::vector<double>& w,
                       const std::vector<double>& y) {
  TestTensors tensors = make_tensors({.problem = problem});
  const auto copy = [](TestTensor& tensor, const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      tensor.set(static_cast<std::int64_t>(i) / tensor.components(), values[i],
                 static_cast<int>(i) % tensor.components());
    }
  };
  copy(tensors.x, x), copy(tensors.w, w), copy(tensors.y, y);
  return tensors;
}

std::vector<double> as_doubles(const std::vector<long double>& values) { return {values.begin(), values.end()}; }

TEST(Reference, WorkedByHand) {
  const auto fprop = [](const char* text, const std::vector<double>& x, const std::vector<double>& w) {
    const ConvProblem p = ConvProblem::parse(text);
    return as_doubles(reference(p, tensors_of(p, x, w, {})).result.value);
  };
  using Row = std::vector<double>;
  EXPECT_EQ(fprop("l4 k2 f64", {1, 2, 3, 4}, {10, 1}), (Row{12, 23, 34}));
  EXPECT_EQ(fprop("l4 k2 s2 p1 f64", {1, 2, 3, 4}, {10, 1}), (Row{1, 23, 40}));
  EXPECT_EQ(fprop("l4 k2 d2 f64", {1, 2, 3, 4}, {10, 1}), (Row{13, 24}));
  EXPECT_EQ(fprop("l3 k1 p2 reflect f64", {1, 2, 3}, {1}), (Row{3, 2, 1, 2, 3, 2, 1}));
  EXPECT_EQ(fprop("l3 k1 p3 circular f64", {1, 2, 3}, {1}), (Row{1, 2, 3, 1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(fprop("l3 k1 p(2,1) replicate f64", {1, 2, 3}, {1}), (Row{1, 1, 1, 2, 3, 3}));
  EXPECT_EQ(fprop("c2->2 l2 k1 g2 f64", {1, 2, 3, 4}, {10, 100}), (Row{10, 20, 300, 400}));
  EXPECT_EQ(fprop("l1 k1 c128", {1, 2}, {3, 5}), (Row{1 * 3 - 2 * 5, 1 * 5 + 2 * 3}));

  const ConvProblem dgrad = ConvProblem::parse("dgrad l4 k2 s2 f64");
  EXPECT_EQ(as_doubles(reference(dgrad, tensors_of(dgrad, {}, {10, 1}, {2, 3})).result.value), (Row{20, 2, 30, 3}));
  const ConvProblem wgrad = ConvProblem::parse("wgrad l4 k2 f64 bias");
  const Reference gradients = reference(wgrad, tensors_of(wgrad, {1, 2, 3, 4}, {}, {1, 10, 100}));
  EXPECT_EQ(as_doubles(gradients.result.value), (Row{321, 432}));
  EXPECT_EQ(as_doubles(gradients.bias_gradient.value), (Row{111}));
  // Gradients of a complex convolution use the conjugate of the other operand.
  const ConvProblem complex_dgrad = ConvProblem::parse("dgrad l1 k1 c128");
  EXPECT_EQ(as_doubles(reference(complex_dgrad, tensors_of(complex_dgrad, {}, {3, 5}, {1, 2})).result.value),
            (Row{1 * 3 + 2 * 5, 2 * 3 - 1 * 5}));
  const ConvProblem complex_wgrad = ConvProblem::parse("wgrad l1 k1 c128");
  EXPECT_EQ(as_doubles(reference(complex_wgrad, tensors_of(complex_wgrad, {3, 5}, {}, {1, 2})).result.value),
            (Row{1 * 3 + 2 * 5, 2 * 3 - 1 * 5}));
}

TEST(Reference, ZeroPaddingIsNotMultiplied) {
  const ConvProblem p = ConvProblem::parse("l2 k3 p1 f32");
  const auto value = reference(p, tensors_of(p, {1, 2}, {INFINITY, 1, 1}, {})).result.value;
  EXPECT_EQ(value[0], 3);
  EXPECT_EQ(value[1], INFINITY);
}

TEST(Reference, GradientsOfEveryPassAgreeWithTheAdjointIdentity) {
  // <y', conv(x, w)> = <dgrad(y', w), x> = <wgrad(x, y'), w>, for every padding mode.
  for (const char* shape : {"n2 c4->6 l13 k3 s2 d2 g2 p(3,1)", "n1 c2->2 l7 k4 p5 g2"}) {
    for (const char* mode : {"zeros", "reflect", "replicate", "circular"}) {
      ConvProblem p = ConvProblem::parse(std::string(shape) + " f64 " + mode);
      TestTensors t = make_tensors({.problem = p});
      Random random(5);
      t.y.fill(random, Values::uniform);
      const auto dot = [](const Expected& expected, const TestTensor& tensor) {
        long double sum = 0;
        for (std::int64_t i = 0; i < tensor.element_count(); ++i) sum += expected.value[i] * tensor.get(i);
        return sum;
      };
      const long double from_y = dot(reference(p, t).result, t.y);
      p.pass = Pass::dgrad;
      EXPECT_NEAR(static_cast<double>(dot(reference(p, t).result, t.x)), static_cast<double>(from_y), 1e-12) << mode;
      p.pass = Pass::wgrad;
      EXPECT_NEAR(static_cast<double>(dot(reference(p, t).result, t.w)), static_cast<double>(from_y), 1e-12) << mode;
    }
  }
}

TEST(Compare, CatchesOneWrongElement) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16", "c64", "c128", "i64"}) {
    const ConvProblem p = ConvProblem::parse(std::string("n2 c3->4 l20 k3 ") + dtype);
    TestTensors t = make_tensors({.problem = p});
    const Expected expected = reference(p, t).result;
    for (std::int64_t flat = 0; flat < t.y.element_count(); ++flat) {
      for (int c = 0; c < t.y.components(); ++c) {
        if (p.dtype == DType::i64)
          t.y.set_integer(flat, expected.integers[flat]);
        else
          t.y.set(flat, expected.value[flat * t.y.components() + c], c);
      }
    }
    EXPECT_EQ(compare(t.y, expected), "") << dtype;
    if (p.dtype == DType::i64) {
      t.y.set_integer(7, expected.integers[7] + 1);
    } else {
      const std::size_t at = 7 * t.y.components();
      t.y.set(7, expected.value[at] + 3 * expected.bound[at]);
    }
    EXPECT_NE(compare(t.y, expected).find("element 7"), std::string::npos) << dtype;
    if (p.dtype != DType::i64) {
      t.y.set(7, NAN);
      EXPECT_NE(compare(t.y, expected), "") << dtype;
      t.y.set(7, INFINITY);
      EXPECT_NE(compare(t.y, expected), "") << dtype;
    }
  }
}

TEST(Bound, IsTheStatedOne) {
  const ConvProblem f32 = ConvProblem::parse("f32"), f64 = ConvProblem::parse("f64"), bf16 = ConvProblem::parse("bf16");
  const ElementSum sum{2.0L, 8.0L, 10};
  EXPECT_NEAR(static_cast<double>(element_bound(f64, sum) / (12 * 0x1p-53L * 8)), 1, 1e-6);
  EXPECT_NEAR(static_cast<double>(element_bound(f32, sum) / (12 * 0x1p-24L * 8)), 1, 1e-4);
  EXPECT_NEAR(static_cast<double>(element_bound(bf16, sum) / (0x1p-8L * 2 + 12 * 0x1p-24L * 8)), 1, 1e-2);
  EXPECT_DOUBLE_EQ(accumulation_factor(Pass::fprop, DType::f32, 512), 514);
  EXPECT_DOUBLE_EQ(accumulation_factor(Pass::fprop, DType::f32, 64000), 512 + 1000 + 2);
  EXPECT_DOUBLE_EQ(accumulation_factor(Pass::dgrad, DType::f64, 64000), 64002);
  EXPECT_DOUBLE_EQ(accumulation_factor(Pass::wgrad, DType::f32, 10000000), 514);
}

TEST(Trial, ReportsAReplayLineForWhatFails) {
  const Trial trial{.problem = ConvProblem::parse("l9 k3 relu i64"), .seed = 42};
  EXPECT_NE(run_trial(trial).find("LONGCONV_REPLAY='" + trial.to_string() + "'"), std::string::npos);
  EXPECT_EQ(Trial::parse(trial.to_string()).to_string(), trial.to_string());
}

/// dL/dz as it is stored, against dL/dy * act'(z) in long double: three roundings of f32 and one to the dtype.
TEST(Reference, GradientsThroughActivationsAreDerivatives) {
  constexpr long double kUnit = 0x1p-24L;
  for (const char* activation : {"relu", "leaky_relu(0.25)", "tanh", "sigmoid"}) {
    for (const char* dtype : {"f32", "bf16", "f16", "f64"}) {
      const ConvProblem p = ConvProblem::parse("dgrad " + std::string(activation) + " " + dtype);
      for (const long double z : {-3.0L, -0.75L, -0.01L, 0.01L, 0.5L, 2.5L}) {
        for (const long double dy : {-1.75L, 0.375L}) {
          const long double y = rounded(activate(p, z), p.dtype);
          // act' by central differences at the z that y is the result of.
          const long double at = p.activation == Activation::tanh      ? std::atanh(y)
                                 : p.activation == Activation::sigmoid ? std::log(y / (1 - y))
                                                                       : z;
          constexpr long double kStep = 0x1p-16L;
          const long double slope = (activate(p, at + kStep) - activate(p, at - kStep)) / (2 * kStep);
          const long double unit = p.dtype == DType::bf16 ? 0x1p-8L : p.dtype == DType::f16 ? 0x1p-11L : 0;
          const long double bound = std::fabs(dy * slope) * (3 * kUnit + unit) + 1e-9L;
          EXPECT_LE(std::fabs(gradient_through(p, dy, y) - dy * slope), bound) << p.to_string() << " at " << double(z);
        }
      }
    }
  }
  const ConvProblem relu = ConvProblem::parse("dgrad relu f32");
  EXPECT_EQ(gradient_through(relu, INFINITY, 0), 0);
  EXPECT_EQ(gradient_through(relu, 3, NAN), 3);
  EXPECT_EQ(gradient_through(ConvProblem::parse("dgrad leaky_relu(0.25) f32"), 4, 0), 1);
}

}  // namespace
}  // namespace longconv::testing
