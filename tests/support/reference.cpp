// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "support/reference.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace longconv::testing {
namespace {

/// Sample that extended position p reads, by the modes' periodicity; -1: nothing is there.
std::int64_t sample_of(std::int64_t p, const ConvProblem& problem) {
  const std::int64_t length = problem.length_samples;
  const auto modulo = [](std::int64_t a, std::int64_t b) { return ((a % b) + b) % b; };
  switch (problem.pad_mode) {
    case PadMode::zeros: return p >= 0 && p < length ? p : -1;
    case PadMode::replicate: return std::clamp<std::int64_t>(p, 0, length - 1);
    case PadMode::circular: return modulo(p, length);
    case PadMode::reflect: {
      if (length == 1) return 0;
      const std::int64_t period = 2 * (length - 1), m = modulo(p, period);
      return m < length ? m : period - m;
    }
  }
  return -1;
}

/// Calls f(n, o, t, i, k, flat index of x, of w, of y) for every product that the problem contains.
template <class Function>
void for_each_product(const ConvProblem& p, Function&& f) {
  const std::int64_t inputs = p.in_channels / p.groups, outputs = p.out_channels / p.groups;
  const std::int64_t out_length =
      (p.length_samples + p.pad_left + p.pad_right - p.dilation * (p.kernel_size - 1) - 1) / p.stride + 1;
  for (std::int64_t k = 0; k < p.kernel_size; ++k) {
    for (std::int64_t t = 0; t < out_length; ++t) {
      const std::int64_t sample = sample_of(t * p.stride + k * p.dilation - p.pad_left, p);
      if (sample < 0) continue;
      for (std::int64_t n = 0; n < p.batch; ++n) {
        for (std::int64_t o = 0; o < p.out_channels; ++o) {
          for (std::int64_t i = 0; i < inputs; ++i) {
            const std::int64_t channel = o / outputs * inputs + i;
            f((n * p.in_channels + channel) * p.length_samples + sample, (o * inputs + i) * p.kernel_size + k,
              (n * p.out_channels + o) * out_length + t);
          }
        }
      }
    }
  }
}

/// A tensor's numbers, row-major, components interleaved.
template <class Real>
std::vector<Real> numbers(const TestTensor& tensor) {
  std::vector<Real> values;
  const int components = tensor.defined() ? tensor.components() : 0;
  values.reserve(static_cast<std::size_t>(tensor.element_count() * components));
  for (std::int64_t flat = 0; flat < tensor.element_count(); ++flat) {
    for (int c = 0; c < components; ++c) values.push_back(static_cast<Real>(tensor.get(flat, c)));
  }
  return values;
}

/// Sums with their magnitudes and number of terms, per real component.
template <class Real>
struct Sums {
  int components;
  std::vector<Real> value, magnitude;
  std::vector<std::int64_t> terms;

  Sums(std::int64_t elements, int components_)
      : components(components_),
        value(static_cast<std::size_t>(elements * components_)),
        magnitude(value.size()),
        terms(value.size()) {}

  void add_term(std::int64_t at, Real term, Real size) {
    value[at] += term;
    magnitude[at] += size;
    ++terms[at];
  }
  /// element += a[i] * b[j], b conjugated if asked.
  void add_product(std::int64_t element, const std::vector<Real>& a, std::int64_t i, const std::vector<Real>& b,
                   std::int64_t j, bool conjugate_b) {
    if (components == 1) {
      const Real product = a[i] * b[j];
      return add_term(element, product, std::fabs(product));
    }
    const Real ar = a[2 * i], ai = a[2 * i + 1], br = b[2 * j], bi = conjugate_b ? -b[2 * j + 1] : b[2 * j + 1];
    add_term(2 * element, ar * br - ai * bi, std::fabs(ar * br) + std::fabs(ai * bi));
    add_term(2 * element + 1, ar * bi + ai * br, std::fabs(ar * bi) + std::fabs(ai * br));
  }
  /// Adds a number that is no product: bias, residual.
  void add_number(std::int64_t element, const std::vector<Real>& from, std::int64_t i) {
    for (int c = 0; c < components; ++c) {
      const Real number = from[i * components + c];
      value[element * components + c] += number;
      magnitude[element * components + c] += std::fabs(number);
    }
  }

  Expected expected(ConvProblem problem, Arithmetic arithmetic) const {
    Expected result;
    if (problem.has_forward_y()) problem.activation = Activation::none;  // it made an operand, not the result
    for (std::size_t at = 0; at < value.size(); ++at) {
      result.value.push_back(activate(problem, value[at]));
      result.bound.push_back(element_bound(problem, {value[at], magnitude[at], terms[at]}, arithmetic));
    }
    return result;
  }
};

/// To TF32's 10 explicit bits, to nearest, ties away from zero.
template <class Real>
void round_to_tf32(std::vector<Real>& values) {
  for (Real& value : values) {
    if (!std::isfinite(value) || value == 0) continue;
    const Real unit = std::ldexp(Real{1}, std::max(std::ilogb(value), -126) - 10);
    const Real largest = std::ldexp(Real{2047}, 117);
    value = std::copysign(std::min(std::floor(std::fabs(value) / unit + Real{0.5}) * unit, largest), value);
  }
}

template <class Real>
Reference real_reference(const ConvProblem& p, const TestTensors& tensors, Arithmetic arithmetic) {
  const int components = is_complex(p.dtype) ? 2 : 1;
  auto x = p.pass == Pass::dgrad ? std::vector<Real>() : numbers<Real>(tensors.x);
  auto w = p.pass == Pass::wgrad ? std::vector<Real>() : numbers<Real>(tensors.w);
  auto y = p.pass == Pass::fprop ? std::vector<Real>() : numbers<Real>(tensors.y);
  if (p.has_forward_y()) {
    const auto forward_y = numbers<Real>(tensors.forward_y);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<Real>(gradient_through(p, y[i], forward_y[i]));
  }
  auto factor_y = y;  // a bias gradient sums y as it is
  if (arithmetic == Arithmetic::tensor_core && p.precision == Precision::tf32) {
    round_to_tf32(x);
    round_to_tf32(w);
    round_to_tf32(factor_y);
  }
  Sums<Real> sums(tensors.result(p.pass).element_count(), components);
  for_each_product(p, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    switch (p.pass) {
      case Pass::fprop: return sums.add_product(at_y, x, at_x, w, at_w, false);
      case Pass::dgrad: return sums.add_product(at_x, factor_y, at_y, w, at_w, true);
      case Pass::wgrad: return sums.add_product(at_w, factor_y, at_y, x, at_x, true);
    }
  });
  const std::int64_t out_length = tensors.y.view().sizes[2];
  Reference result;
  if (p.has_bias && p.pass != Pass::wgrad) {
    const auto bias = numbers<Real>(tensors.bias);
    const TensorView to = tensors.result(p.pass).view();
    for (std::int64_t flat = 0; flat < tensors.result(p.pass).element_count(); ++flat) {
      sums.add_number(flat, bias, flat / to.sizes[2] % to.sizes[1]);
    }
  }
  if (p.has_residual) {
    const auto residual = numbers<Real>(tensors.residual);
    for (std::int64_t flat = 0; flat < tensors.residual.element_count(); ++flat) sums.add_number(flat, residual, flat);
  }
  result.result = sums.expected(p, arithmetic);
  if (p.has_bias && p.pass == Pass::wgrad) {
    Sums<Real> bias_sums(p.out_channels, components);
    for (std::int64_t flat = 0; flat < tensors.y.element_count(); ++flat) {
      const std::int64_t channel = flat / out_length % p.out_channels;
      bias_sums.add_number(channel, y, flat);
      for (int c = 0; c < components; ++c) ++bias_sums.terms[channel * components + c];
    }
    result.bias_gradient = bias_sums.expected(p, arithmetic);
  }
  return result;
}

Reference integer_reference(const ConvProblem& p, const TestTensors& tensors) {
  const auto at = [](const TestTensor& t, std::int64_t flat) {
    return static_cast<std::uint64_t>(t.get_integer(flat));
  };
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(tensors.result(p.pass).element_count()));
  for_each_product(p, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    switch (p.pass) {
      case Pass::fprop: sums[at_y] += at(tensors.x, at_x) * at(tensors.w, at_w); break;
      case Pass::dgrad: sums[at_x] += at(tensors.y, at_y) * at(tensors.w, at_w); break;
      case Pass::wgrad: sums[at_w] += at(tensors.y, at_y) * at(tensors.x, at_x); break;
    }
  });
  std::vector<std::uint64_t> bias_sums(p.pass == Pass::wgrad && p.has_bias ? p.out_channels : 0);
  const TestTensor& biased = p.pass == Pass::dgrad ? tensors.x : tensors.y;
  const TensorView sizes = biased.view();
  for (std::int64_t flat = 0; flat < biased.element_count() && p.has_bias; ++flat) {
    const std::int64_t channel = flat / sizes.sizes[2] % sizes.sizes[1];
    if (p.pass == Pass::wgrad) {
      bias_sums[channel] += at(tensors.y, flat);
    } else {
      sums[flat] += at(tensors.bias, channel);
    }
  }
  for (std::size_t flat = 0; flat < sums.size() && p.has_residual; ++flat) sums[flat] += at(tensors.residual, flat);
  Reference result;
  result.result.integers.assign(sums.begin(), sums.end());
  result.bias_gradient.integers.assign(bias_sums.begin(), bias_sums.end());
  return result;
}

/// Half the smallest subnormal: what rounding may lose where numbers underflow.
long double underflow(DType dtype) {
  switch (dtype) {
    case DType::f32: return 0x1p-150L;
    case DType::f64: return 0x1p-1075L;
    case DType::bf16: return 0x1p-134L;
    case DType::f16: return 0x1p-25L;
    default: return 0;
  }
}

long double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::f32: return 0x1p-24L;
    case DType::f64: return 0x1p-53L;
    case DType::bf16: return 0x1p-8L;
    case DType::f16: return 0x1p-11L;
    default: return 0;
  }
}

/// From here on a number rounds to infinity.
long double overflow_threshold(DType dtype) {
  switch (dtype) {
    case DType::f32: return 0x1.ffffffp127L;
    case DType::f64: return 0x1.fffffffffffff8p1023L;
    case DType::bf16: return 0x1.ffp127L;
    case DType::f16: return 65520.0L;
    default: return 0;
  }
}

/// Largest |act'|: how much an error of z can grow.
long double lipschitz(const ConvProblem& p) {
  switch (p.activation) {
    case Activation::none:
    case Activation::relu:
    case Activation::tanh: return 1.0L;
    case Activation::leaky_relu: return std::max(1.0L, std::fabs(static_cast<long double>(p.negative_slope)));
    case Activation::gelu:
    case Activation::gelu_tanh: return 1.13L;  // sup |gelu'| = 1.1290 at sqrt(2)
    case Activation::silu: return 1.1L;        // 1.0999
    case Activation::sigmoid: return 0.25L;
  }
  return 1.0L;
}

/// Error of evaluating act at an exact argument, in unit roundoffs of the accumulation type.
long double evaluation_error(const ConvProblem& p, long double z) {
  constexpr long double kRoundoffs = 8;
  const long double y = std::fabs(activate(p, z));
  switch (p.activation) {
    case Activation::none:
    case Activation::relu: return 0;
    case Activation::leaky_relu: return y;
    case Activation::gelu:
    case Activation::gelu_tanh: return kRoundoffs * std::fabs(z);  // z * (1 + erf): cancels where z is negative
    case Activation::silu:
    case Activation::tanh:
    case Activation::sigmoid: return kRoundoffs * y;
  }
  return 0;
}

}  // namespace

double accumulation_factor(Pass pass, DType real_dtype, std::int64_t terms) {
  std::int64_t longest = terms;
  if (real_dtype != DType::f64) {
    longest = kMaxChainTerms;
    if (pass != Pass::wgrad) longest += (terms + kMinBlockTerms - 1) / kMinBlockTerms;
  }
  return static_cast<double>(std::min(terms, longest)) + 2;
}

long double activate(const ConvProblem& p, long double z) {
  const bool is_product =
      p.activation == Activation::gelu || p.activation == Activation::gelu_tanh || p.activation == Activation::silu;
  if (is_product && z == -INFINITY) return -0.0L;  // the limit, where z * (...) is Inf * 0
  switch (p.activation) {
    case Activation::none: return z;
    case Activation::relu: return z < 0 ? 0 : z;  // NaN stays NaN
    case Activation::leaky_relu: return z < 0 ? z * static_cast<long double>(p.negative_slope) : z;
    case Activation::gelu: return 0.5L * z * std::erfc(-z * 0.70710678118654752440L);
    case Activation::gelu_tanh:
      return 0.5L * z * (1 + std::tanh(0.79788456080286535588L * (z + 0.044715L * z * z * z)));
    case Activation::silu: return z / (1 + std::exp(-z));
    case Activation::tanh: return std::tanh(z);
    case Activation::sigmoid: return 1 / (1 + std::exp(-z));
  }
  return z;
}

namespace {

template <class Real>
Real real_gradient_through(const ConvProblem& p, Real grad_y, Real y) {
  switch (p.activation) {
    case Activation::relu: return y <= 0 ? Real{0} : grad_y;
    case Activation::leaky_relu: return y > 0 ? grad_y : grad_y * static_cast<Real>(p.negative_slope);
    case Activation::tanh: return grad_y * std::fma(-y, y, Real{1});
    case Activation::sigmoid: return grad_y * (Real{1} - y) * y;
    default: return grad_y;
  }
}

}  // namespace

long double gradient_through(const ConvProblem& p, long double grad_y, long double forward_y) {
  if (p.dtype == DType::f64)
    return real_gradient_through(p, static_cast<double>(grad_y), static_cast<double>(forward_y));
  return rounded(real_gradient_through(p, static_cast<float>(grad_y), static_cast<float>(forward_y)), p.dtype);
}

long double element_bound(const ConvProblem& p, const ElementSum& sum, Arithmetic arithmetic) {
  if (std::isinf(sum.value)) return 0;  // an infinite term: nothing is rounded
  const DType real = real_dtype(p.result_dtype());
  const DType accumulator = real == DType::f64 ? DType::f64 : DType::f32;
  const long double u = unit_roundoff(accumulator);
  const bool one_chain = arithmetic == Arithmetic::tensor_core && p.pass != Pass::wgrad;
  const long double factor =
      one_chain ? static_cast<long double>(sum.terms + 2) : accumulation_factor(p.pass, real, sum.terms);
  long double error =
      factor * u / (1 - factor * u) * sum.magnitude + static_cast<long double>(sum.terms + 2) * underflow(accumulator);
  if (p.activation != Activation::none) {
    error = lipschitz(p) * error + u * evaluation_error(p, sum.value) + 4 * underflow(accumulator);
  }
  if (real != accumulator) {
    error += unit_roundoff(real) * (std::fabs(activate(p, sum.value)) + error) + underflow(real);
  }
  if (is_complex(p.dtype)) error *= 2;
  // A partial sum may overflow where the sum itself does not.
  const bool may_overflow = sum.magnitude + error >= overflow_threshold(accumulator) ||
                            std::fabs(activate(p, sum.value)) + error >= overflow_threshold(real);
  return may_overflow ? INFINITY : error;
}

Reference reference(const ConvProblem& problem, const TestTensors& tensors, Arithmetic arithmetic) {
  switch (real_dtype(problem.dtype)) {
    case DType::i64: return integer_reference(problem, tensors);
    case DType::f64: return real_reference<long double>(problem, tensors, arithmetic);
    default: return real_reference<double>(problem, tensors, arithmetic);
  }
}

std::string compare(const TestTensor& got, const Expected& expected) {
  const int components = got.components();
  std::int64_t wrong = 0;
  std::string first;
  const auto fail = [&](std::int64_t flat, int c, const std::string& what) {
    if (wrong++ != 0) return;
    first = "element " + std::to_string(flat);
    if (components == 2) first += c == 0 ? ".re" : ".im";
    first += ": " + what;
  };
  if (got.view().dtype == DType::i64) {
    for (std::int64_t flat = 0; flat < got.element_count(); ++flat) {
      const std::int64_t value = got.get_integer(flat), wanted = expected.integers[flat];
      if (value != wanted) fail(flat, 0, "got " + std::to_string(value) + ", expected " + std::to_string(wanted));
    }
  } else {
    for (std::int64_t flat = 0; flat < got.element_count(); ++flat) {
      for (int c = 0; c < components; ++c) {
        const std::size_t at = static_cast<std::size_t>(flat * components + c);
        const long double value = got.get(flat, c), wanted = expected.value[at], bound = expected.bound[at];
        bool ok = false;
        if (std::isnan(wanted))
          ok = std::isnan(value);
        else if (std::isinf(wanted))
          ok = value == wanted;
        else if (std::isinf(bound))
          ok = true;
        else
          ok = std::fabs(value - wanted) <= bound;
        if (ok) continue;
        char text[200];
        std::snprintf(text, sizeof text, "got %.21Lg, expected %.21Lg, off by %.3Lg, allowed %.3Lg", value, wanted,
                      std::fabs(value - wanted), bound);
        fail(flat, c, text);
      }
    }
  }
  if (wrong == 0) return {};
  return first + " (" + std::to_string(wrong) + " of " + std::to_string(got.element_count() * components) + " wrong)";
}

}  // namespace longconv::testing
