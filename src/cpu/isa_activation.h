// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Activations (for ISA units only). f32: own vector functions with a relative error of a few ulp over the whole range,
/// tails included (no 1 - x cancellation); f64: the C library's functions, lane by lane.
/// NaN gives NaN; at +-Inf the limits (silu and gelu of -Inf: -0), subnormal results are kept.
#pragma once

#include "cpu/simd.h"
#include "longconv/types.h"

namespace longconv::cpu::LONGCONV_ISA {

inline F32 min(F32 x, float most) { return select(x > most, broadcast(most), x); }  // NaN stays
inline F32 max(F32 x, float least) { return select(x < least, broadcast(least), x); }

/// A power of e as value * scale, neither of them subnormal.
struct Exp {
  F32 value, scale;
  F32 product() const { return value * scale; }
};

/// e^(high + low) for |low| far below |high|: reduction by multiples of log 2 in two parts (Cody and Waite), a degree-6
/// polynomial (Cephes), the power of two applied in two factors so that a subnormal result is rounded once, at the end.
/// Below -128 as e^-128 (0 once multiplied out), above 89 as e^89 (Inf).
inline Exp exp(F32 high, F32 low = F32{}) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const F32 x = max(min(high, 89.0f), -128.0f);
  const F32 shifted = x * 1.44269504088896341f + kRound;
  const F32 n = shifted - kRound;
  const F32 r = (x - n * 0.693359375f) + n * 2.12194440e-4f + low;
  F32 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  const I32 exponent = bits<I32>(shifted) - 0x4b400000;
  const I32 half = exponent >> 1;
  return {p * bits<F32>((half + 127) << 23), bits<F32>((exponent - half + 127) << 23)};
}

/// 1 / (1 + e^-x), formed from e^-|x| <= 1 so that nothing overflows and the tail keeps its digits.
inline Exp sigmoid_parts(F32 x) {
  const Exp e = exp(-abs(x));
  const I32 negative = x < 0.0f;
  return {select(negative, e.value, broadcast(1.0f)) / (e.product() + 1.0f),
          select(negative, e.scale, broadcast(1.0f))};
}
inline F32 sigmoid(F32 x) { return sigmoid_parts(x).product(); }

/// x * sigmoid(x). Below -128 the result is 0; there x itself must not bring it back (nor make NaN of -Inf * 0).
inline F32 silu(F32 x) {
  const Exp s = sigmoid_parts(x);
  return max(x, -128.0f) * s.value * s.scale;
}

/// Odd polynomial near zero (Cephes), 1 - 2 / (e^2|x| + 1) elsewhere.
inline F32 tanh(F32 x) {
  const F32 z = x * x, a = abs(x);
  F32 p = z * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const F32 near = p * (z * x) + x;
  const F32 far = 1.0f - 2.0f / (exp(a + a).product() + 1.0f);
  const F32 far_signed = bits<F32>(bits<I32>(far) | (bits<I32>(x) & static_cast<std::int32_t>(0x80000000)));
  return select(a < 0.625f, near, far_signed);
}

/// x * Phi(x), Phi(-|x|) = e^(-x^2/2) * t * q(t - 0.6) with t = 1 / (1 + 0.4 |x|) and q fitted to
/// e^(x^2/2) Phi(-|x|) / t on |x| < 15 (degree 9, relative error 4e-8). x^2 is formed exactly as h^2 + (|x| - h)(|x| +
/// h), h the upper half of the bits of |x|. Below -15 the result is 0.
inline F32 gelu(F32 x) {
  constexpr float kQ[] = {0.319430053f,  0.387897193f,  0.196314007f,   -0.0683015063f,  -0.0863394365f,
                          0.0505518466f, 0.0338179655f, -0.0491922386f, -0.00270055654f, 0.0329430364f};
  const F32 a = min(abs(x), 15.0f);
  const F32 t = 1.0f / (a * 0.4f + 1.0f);
  const F32 s = t - 0.6f;
  F32 q = s * kQ[9] + kQ[8];
  unroll<8>([&](auto i) { q = q * s + kQ[7 - i]; });
  const F32 h = bits<F32>(bits<I32>(a) & static_cast<std::int32_t>(0xfffff000));
  const Exp e = exp(h * h * -0.5f, (a - h) * (a + h) * -0.5f);
  const F32 tail = e.value * (q * t);
  const I32 negative = x < 0.0f;
  const F32 factor = select(negative, tail, 1.0f - tail * e.scale);
  return max(x, -15.0f) * factor * select(negative, e.scale, broadcast(1.0f));
}

/// x / (1 + e^-2u) = x * (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3). Below -32 the result is 0.
inline F32 gelu_tanh(F32 x) {
  const F32 a = max(min(x, 32.0f), -32.0f);
  const Exp s = sigmoid_parts(a * 1.5957691216057308f * (a * a * 0.044715f + 1.0f));
  return max(x, -32.0f) * s.value * s.scale;
}

template <Activation A>
inline F32 activate(F32 x, float negative_slope) {
  if constexpr (A == Activation::relu) return select(x < 0.0f, F32{}, x);
  if constexpr (A == Activation::leaky_relu) return select(x < 0.0f, x * negative_slope, x);
  if constexpr (A == Activation::gelu) return gelu(x);
  if constexpr (A == Activation::gelu_tanh) return gelu_tanh(x);
  if constexpr (A == Activation::silu) return silu(x);
  if constexpr (A == Activation::tanh) return tanh(x);
  if constexpr (A == Activation::sigmoid) return sigmoid(x);
  return x;
}

template <Activation A>
inline double activate_one(double x, double negative_slope) {
  const double finite = x < -1.7976931348623157e308 ? -1.7976931348623157e308 : x;
  const auto sigmoid = [](double z) {
    const double e = __builtin_exp(-__builtin_fabs(z));
    return (z < 0 ? e : 1.0) / (1.0 + e);
  };
  switch (A) {
    case Activation::none: return x;
    case Activation::relu: return x < 0 ? 0 : x;
    case Activation::leaky_relu: return x < 0 ? x * negative_slope : x;
    case Activation::gelu: return finite * (0.5 * __builtin_erfc(x * -0.70710678118654752440));
    case Activation::gelu_tanh: return finite * sigmoid(x * 1.5957691216057308 * (x * x * 0.044715 + 1.0));
    case Activation::silu: return finite * sigmoid(x);
    case Activation::tanh: return __builtin_tanh(x);
    case Activation::sigmoid: return sigmoid(x);
  }
  return x;
}
template <Activation A>
inline Vector<double> activate(Vector<double> x, double negative_slope) {
  if constexpr (A != Activation::none) {
    for (int i = 0; i < kLanes<double>; ++i) x[i] = activate_one<A>(x[i], negative_slope);
  }
  return x;
}

}  // namespace longconv::cpu::LONGCONV_ISA
