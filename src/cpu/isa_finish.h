// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The epilogue (for ISA units only): bias, residual, activation, one rounding, store.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/isa_activation.h"
#include "cpu/isa_convert.h"
#include "cpu/isa_table.h"
#include "cpu/simd.h"

namespace longconv::cpu::LONGCONV_ISA {

inline void put(float* to, F32 value) { store(to, value); }
inline void put(double* to, Vector<double> value) { store(to, value); }
template <class Half>
inline void put(Half* to, F32 value) {
  *reinterpret_cast<U16HalfUnaligned*>(to) = narrow(value, Half{});
}
inline void put_first(float* to, F32 value, std::int64_t count) { store_first(to, value, count); }
inline void put_first(double* to, Vector<double> value, std::int64_t count) { store_first(to, value, count); }
template <class Half>
inline void put_first(Half* to, F32 value, std::int64_t count) {
  const U16Half narrowed = narrow(value, Half{});
  __builtin_memcpy(to, &narrowed, static_cast<std::size_t>(count) * sizeof(Half));
}

/// `to` is aligned to a vector.
inline void put_non_temporal(float* to, F32 value) {
#if LONGCONV_VECTOR_BYTES == 64
  _mm512_stream_ps(to, bits<__m512>(value));
#elif LONGCONV_VECTOR_BYTES == 32
  _mm256_stream_ps(to, bits<__m256>(value));
#elif defined(__SSE2__)
  _mm_stream_ps(to, bits<__m128>(value));
#else
  store(to, value);
#endif
}
inline void non_temporal_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <class T, Activation A>
struct Epilogue {
  const FinishRow<T>& row;
  Vector<T> whole(std::int64_t t) const {
    Vector<T> x = load(row.sums + t) + row.bias;
    if (row.residual != nullptr) x += load(row.residual + t);
    return activate<A>(x, row.negative_slope);
  }
  Vector<T> first(std::int64_t t, std::int64_t count) const {
    Vector<T> x = load_first(row.sums + t, count) + row.bias;
    if (row.residual != nullptr) x += load_first(row.residual + t, count);
    return activate<A>(x, row.negative_slope);
  }
};

template <class T, Activation A, class Out>
void finish_row_as(const FinishRow<T>& row) {
  constexpr int L = kLanes<T>;
  const Epilogue<T, A> epilogue{row};
  Out* out = static_cast<Out*>(row.out);
  std::int64_t t = 0;
  if constexpr (sizeof(Out) == 4) {
    if (row.non_temporal) {
      const auto misaligned = reinterpret_cast<std::uintptr_t>(out) % LONGCONV_VECTOR_BYTES;
      const std::int64_t peeled =
          misaligned == 0 ? 0 : (LONGCONV_VECTOR_BYTES - static_cast<std::int64_t>(misaligned)) / 4;
      if (peeled < row.count) {
        if (peeled > 0) put_first(out, epilogue.first(0, peeled), peeled);
        for (t = peeled; t + L <= row.count; t += L) put_non_temporal(out + t, epilogue.whole(t));
        non_temporal_fence();
      }
    }
  }
  for (; t + L <= row.count; t += L) put(out + t, epilogue.whole(t));
  if (t < row.count) put_first(out + t, epilogue.first(t, row.count - t), row.count - t);
}

template <class T, class Out>
void finish_row_to(const FinishRow<T>& row) {
  switch (row.activation) {
    case Activation::none: return finish_row_as<T, Activation::none, Out>(row);
    case Activation::relu: return finish_row_as<T, Activation::relu, Out>(row);
    case Activation::leaky_relu: return finish_row_as<T, Activation::leaky_relu, Out>(row);
    case Activation::gelu: return finish_row_as<T, Activation::gelu, Out>(row);
    case Activation::gelu_tanh: return finish_row_as<T, Activation::gelu_tanh, Out>(row);
    case Activation::silu: return finish_row_as<T, Activation::silu, Out>(row);
    case Activation::tanh: return finish_row_as<T, Activation::tanh, Out>(row);
    case Activation::sigmoid: return finish_row_as<T, Activation::sigmoid, Out>(row);
  }
}

inline void finish_row_f32(const FinishRow<float>& row) {
  switch (row.dtype) {
    case DType::bf16: return finish_row_to<float, Bf16>(row);
    case DType::f16: return finish_row_to<float, F16>(row);
    default: return finish_row_to<float, float>(row);
  }
}
inline void finish_row_f64(const FinishRow<double>& row) { finish_row_to<double, double>(row); }

}  // namespace longconv::cpu::LONGCONV_ISA
