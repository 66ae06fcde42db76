// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Vectors of the ISA that the including translation unit is compiled for (GCC/clang vector extensions).
///
/// For ISA units only (isa_*.cpp and what they include): the unit defines LONGCONV_ISA, the name of its namespace, and
/// LONGCONV_VECTOR_BYTES. Everything here and in the unit's other headers lives in namespace
/// longconv::cpu::LONGCONV_ISA and calls no inline function of any shared or standard header, so that code for a newer
/// ISA cannot be linked into another unit.
#pragma once

#include <cstdint>
#include <utility>

namespace longconv::cpu::LONGCONV_ISA {

/// N elements of T that may lie at any address of T.
template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(N * sizeof(T)), may_alias));
  typedef T unaligned __attribute__((vector_size(N * sizeof(T)), aligned(alignof(T)), may_alias));
};

template <class T>
inline constexpr int kLanes = LONGCONV_VECTOR_BYTES / static_cast<int>(sizeof(T));
template <class T>
using Vector = typename VectorOf<T, kLanes<T>>::type;

using F32 = Vector<float>;
using I32 = Vector<std::int32_t>;
using U32 = Vector<std::uint32_t>;

template <class T>
inline Vector<T> load(const T* from) {
  return *reinterpret_cast<const typename VectorOf<T, kLanes<T>>::unaligned*>(from);
}
template <class T>
inline void store(T* to, Vector<T> value) {
  *reinterpret_cast<typename VectorOf<T, kLanes<T>>::unaligned*>(to) = value;
}
/// Only the first `count` < kLanes elements of memory are read; the other lanes are zero.
template <class T>
inline Vector<T> load_first(const T* from, std::int64_t count) {
  Vector<T> value{};
  __builtin_memcpy(&value, from, static_cast<std::size_t>(count) * sizeof(T));
  return value;
}
template <class T>
inline void store_first(T* to, Vector<T> value, std::int64_t count) {
  __builtin_memcpy(to, &value, static_cast<std::size_t>(count) * sizeof(T));
}

/// Same bits, other element type.
template <class To, class From>
inline To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

/// All lanes `value`. Not zero + value: that is an addition, and loses the sign of -0; value - 0 is value, no code.
template <class T>
inline Vector<T> splat(T value) {
  return value - Vector<T>{};
}
inline F32 broadcast(float value) { return splat(value); }
/// Lane by lane: condition (all ones or all zeros) ? a : b.
inline F32 select(I32 condition, F32 a, F32 b) {
  return bits<F32>((condition & bits<I32>(a)) | (~condition & bits<I32>(b)));
}
inline F32 abs(F32 x) { return bits<F32>(bits<I32>(x) & 0x7fffffff); }

/// A number that is a constant inside a generic lambda.
template <int I>
struct Index {
  constexpr operator int() const { return I; }
};

/// Calls body(Index<0>), ..., body(Index<N - 1>). A plain loop over an array of accumulators would spill them.
template <class Body, int... I>
constexpr __attribute__((always_inline)) void unroll(std::integer_sequence<int, I...>, Body body) {
  (body(Index<I>{}), ...);
}
template <int N, class Body>
constexpr __attribute__((always_inline)) void unroll(Body body) {
  unroll(std::make_integer_sequence<int, N>{}, body);
}

}  // namespace longconv::cpu::LONGCONV_ISA
