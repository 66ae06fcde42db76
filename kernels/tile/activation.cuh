// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Epilogue activations in f32 or f64; the numbering is longconv::Activation's.
#pragma once
#include "tile/common.cuh"

enum class Activation { none, relu, leaky_relu, gelu, gelu_tanh, silu, tanh, sigmoid };

// Where the formulas say -Inf * 0, the limit is meant.
template <class T> LC_DEVICE bool is_minus_inf(T v) { return v < 0 && v - v != 0; }

template <Activation kActivation> LC_DEVICE float activate(float v, float negative_slope) {
  switch (kActivation) {
    case Activation::none: return v;
    case Activation::relu: return v < 0.f ? 0.f : v;  // NaN stays
    case Activation::leaky_relu: return v < 0.f ? v * negative_slope : v;
    case Activation::gelu: return is_minus_inf(v) ? -0.f : 0.5f * v * (1.f + erff(v * 0.70710678118654752f));
    case Activation::gelu_tanh: return is_minus_inf(v) ? -0.f : 0.5f * v * (1.f + tanhf(0.79788456080286536f * (v + 0.044715f * v * v * v)));
    case Activation::silu: return is_minus_inf(v) ? -0.f : v / (1.f + expf(-v));
    case Activation::tanh: return tanhf(v);
    case Activation::sigmoid: return 1.f / (1.f + expf(-v));
  }
  return v;
}

template <Activation kActivation> LC_DEVICE double activate(double v, double negative_slope) {
  switch (kActivation) {
    case Activation::none: return v;
    case Activation::relu: return v < 0. ? 0. : v;
    case Activation::leaky_relu: return v < 0. ? v * negative_slope : v;
    case Activation::gelu: return is_minus_inf(v) ? -0. : 0.5 * v * (1. + erf(v * 0.70710678118654752440));
    case Activation::gelu_tanh: return is_minus_inf(v) ? -0. : 0.5 * v * (1. + tanh(0.79788456080286535588 * (v + 0.044715 * v * v * v)));
    case Activation::silu: return is_minus_inf(v) ? -0. : v / (1. + exp(-v));
    case Activation::tanh: return tanh(v);
    case Activation::sigmoid: return 1. / (1. + exp(-v));
  }
  return v;
}
