// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The convolution as its equations stand, in higher precision, with the error that an engine may make per element.
/// Written apart from the library: it shares only the problem type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longconv/problem.h"
#include "support/test_tensor.h"

namespace longconv::testing {

/// The tensors of one call, owned.
struct TestTensors {
  TestTensor x, w, y, bias, residual, forward_y;

  ConvTensors views() const { return {x.view(), w.view(), y.view(), bias.view(), residual.view(), forward_y.view()}; }
  /// The tensor that the pass writes (with wgrad's bias besides).
  TestTensor& result(Pass pass) { return pass == Pass::fprop ? y : pass == Pass::dgrad ? x : w; }
  const TestTensor& result(Pass pass) const { return const_cast<TestTensors*>(this)->result(pass); }
};

/// Expected numbers of one output, row-major; complex elements as two numbers.
struct Expected {
  std::vector<long double> value;
  std::vector<long double> bound;      ///< |got - value| may be at most this; see element_bound()
  std::vector<std::int64_t> integers;  ///< i64 only, exact; then the others are empty
};

struct Reference {
  Expected result;
  Expected bias_gradient;  ///< wgrad with has_bias
};

/// How an engine multiplies and adds.
enum class Arithmetic : std::uint8_t {
  engine,       ///< blocked sums, as docs/design/numerics.md promises of every engine
  tensor_core,  ///< bf16, f16 and TF32 on a GPU: one chain of sums (wgrad: as engine); TF32 rounds its operands to 10
                ///< bits, ties away
};

/// All of the pass's results: f64 and c128 in long double, other floating-point dtypes in double, i64 modulo 2^64.
/// Reads x, w, y, bias, residual, forward_y as the pass does; call it before an in-place run overwrites the residual.
/// Terms that zero padding would contribute are absent, not multiplied by zero.
Reference reference(const ConvProblem& problem, const TestTensors& tensors, Arithmetic arithmetic = Arithmetic::engine);

/// Empty if every element is within its bound (non-finite ones: equal); else the first that is not, and how many.
std::string compare(const TestTensor& got, const Expected& expected);

// ---- The promise, derived in docs/design/numerics.md ------------------------------------------------------------

/// No more terms than this are added in one chain in float32 before the partial sum goes into the total. (In wgrad the
/// total is kept in float64, so that the number of chains does not count.)
inline constexpr std::int64_t kMaxChainTerms = 512;
/// fprop, dgrad: a partial sum that goes into a float32 total covers at least this many terms (the last ones excepted).
inline constexpr std::int64_t kMinBlockTerms = 64;

/// c(n): unit roundoffs of S that a sum of n products (and bias and residual) may be off, in float32 or float64.
double accumulation_factor(Pass pass, DType real_dtype, std::int64_t terms);

/// What an element's bound is made of.
struct ElementSum {
  long double value = 0;      ///< exact pre-activation sum z
  long double magnitude = 0;  ///< S = sum |w||x| + |bias| + |residual|
  std::int64_t terms = 0;     ///< products in the sum
};

/// Largest |got - act(z)| allowed for one real component.
long double element_bound(const ConvProblem& problem, const ElementSum& sum,
                          Arithmetic arithmetic = Arithmetic::engine);

/// act(z) in the precision of long double.
long double activate(const ConvProblem& problem, long double z);

/// dL/dz of an element from dL/dy and y = act(z) as a pass of its own stores it: in float32 (f64: float64), the
/// formulas of PyTorch's *_backward in their order, rounded once to the dtype.
long double gradient_through(const ConvProblem& problem, long double grad_y, long double forward_y);

}  // namespace longconv::testing
