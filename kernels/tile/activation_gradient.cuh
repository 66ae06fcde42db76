// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Through an activation whose derivative is a function of its result: dL/dz = dy * act'(z), where dy = dL/dy and y = act(z).
//
//   relu  y <= 0 ? 0 : dy       leaky_relu  y > 0 ? dy : dy * slope       tanh  dy * (1 - y*y)       sigmoid  dy * (1 - y) * y
//
// In f32 (f64 for f64), rounded once to the element type: a kernel that forms it where it reads dy has the operand that a pass of
// its own over memory would have stored. Where both are zeros, standing for what does not exist, so is the result.
#pragma once
#include "ptx/shared_memory.cuh"
#include "tile/activation.cuh"

LC_DEVICE float one_minus_square(float v) { return fmaf(-v, v, 1.f); }
LC_DEVICE double one_minus_square(double v) { return fma(-v, v, 1.); }

template <Activation kOf, class T> LC_DEVICE T real_gradient(T dy, T y, T slope) {
  switch (kOf) {
    case Activation::relu: return y <= T(0) ? T(0) : dy;
    case Activation::leaky_relu: return y > T(0) ? dy : dy * slope;
    case Activation::tanh: return dy * one_minus_square(y);
    case Activation::sigmoid: return dy * (T(1) - y) * y;
    default: return dy;
  }
}
template <Activation kOf> LC_DEVICE double activation_gradient(double dy, double y, double slope) { return real_gradient<kOf>(dy, y, slope); }
template <Activation kOf> LC_DEVICE float activation_gradient(float dy, float y, float slope) { return real_gradient<kOf>(dy, y, slope); }
template <Activation kOf, class E> LC_DEVICE E activation_gradient(E dy, E y, float slope) {
  if (kOf == Activation::relu) return to_float(y) <= 0.f ? E{0} : dy;
  E rounded;
  from_float(real_gradient<kOf>(to_float(dy), to_float(y), slope), rounded);
  return rounded;
}

// The same with elements as their bits.
template <Activation kOf> LC_DEVICE uint32_t gradient_bits(uint32_t dy, uint32_t y, float slope, float) {
  return __float_as_uint(activation_gradient<kOf>(__uint_as_float(dy), __uint_as_float(y), slope));
}
template <Activation kOf, class E> LC_DEVICE uint32_t gradient_bits(uint32_t dy, uint32_t y, float slope, E) {
  return activation_gradient<kOf>(E{static_cast<uint16_t>(dy)}, E{static_cast<uint16_t>(y)}, slope).bits;
}
// And of all elements of a word.
template <Activation kOf, class E> LC_DEVICE uint32_t gradient_word(uint32_t dy, uint32_t y, float slope) {
  if constexpr (sizeof(E) == 4) return gradient_bits<kOf>(dy, y, slope, E{});
  else return gradient_bits<kOf>(dy & 0xffff, y & 0xffff, slope, E{}) | gradient_bits<kOf>(dy >> 16, y >> 16, slope, E{}) << 16;
}

// Forward's result, waiting in registers beside dy. No units: there is none.
template <class Bits, int kUnits, int kElements> struct ForwardBits { Bits forward_y[kUnits][kElements]; };
template <class Bits, int kElements> struct ForwardBits<Bits, 0, kElements> {};

// Forward's result beside an element of dy.
template <class E> LC_DEVICE const E* beside(const E* dy, int64_t distance_bytes) {
  return reinterpret_cast<const E*>(reinterpret_cast<uint64_t>(dy) + distance_bytes);
}

// In shared memory: `bytes` (whole 16) of dy become the gradient, each 16 by one of `threads` that are numbered from 0. kTogether: loads
// of so many are under way before the first is used; 8 registers each.
template <Activation kOf, class E, int kTogether>
LC_DEVICE void form_gradient(uint32_t dy, uint32_t y, int bytes, float slope, int thread, int threads) {
#pragma unroll 1
  for (int i = thread * 16; i < bytes; i += kTogether * threads * 16) {
    uint4 a[kTogether], b[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int at = i + j * threads * 16;
      if (at < bytes) a[j] = load_shared_v4(dy + at), b[j] = load_shared_v4(y + at);
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int at = i + j * threads * 16;
      if (at < bytes)
        store_shared_v4(dy + at, gradient_word<kOf, E>(a[j].x, b[j].x, slope), gradient_word<kOf, E>(a[j].y, b[j].y, slope),
                        gradient_word<kOf, E>(a[j].z, b[j].z, slope), gradient_word<kOf, E>(a[j].w, b[j].w, slope));
    }
  }
}
