// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// CUDA C++ for a host compiler: included before every emulated kernel. What has no meaning on a host is empty.
/// `__global__`, `__shared__` and `__align__` are left to emulated_nvrtc.cpp, which rewrites them.
#pragma once

#include "services.h"

extern "C" {
/// Set by the driver: once, and before every switch to another thread. Each kernel is one translation unit.
longconv::emulator::Services* longconv_emulator_services = nullptr;
longconv::emulator::Thread* longconv_emulator_thread = nullptr;
float expf(float) noexcept;
float erff(float) noexcept;
float tanhf(float) noexcept;
float fabsf(float) noexcept;
float fmaf(float, float, float) noexcept;
double exp(double) noexcept;
double erf(double) noexcept;
double tanh(double) noexcept;
double fabs(double) noexcept;
double fma(double, double, double) noexcept;
}

#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__

#define threadIdx (::longconv_emulator_thread->thread)
#define blockIdx (::longconv_emulator_thread->block)
#define blockDim (::longconv_emulator_thread->block_size)
#define gridDim (::longconv_emulator_thread->grid)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline int __ffs(int v) { return __builtin_ffs(v); }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline float __uint_as_float(unsigned bits) { return __builtin_bit_cast(float, bits); }
inline unsigned __float_as_uint(float value) { return __builtin_bit_cast(unsigned, value); }
inline float __int_as_float(int bits) { return __builtin_bit_cast(float, bits); }
inline int __float_as_int(float value) { return __builtin_bit_cast(int, value); }

#define LONGCONV_EMULATED_MIN_MAX(TYPE)                        \
  constexpr TYPE min(TYPE a, TYPE b) { return b < a ? b : a; } \
  constexpr TYPE max(TYPE a, TYPE b) { return a < b ? b : a; }
LONGCONV_EMULATED_MIN_MAX(int)
LONGCONV_EMULATED_MIN_MAX(unsigned)
LONGCONV_EMULATED_MIN_MAX(long)
LONGCONV_EMULATED_MIN_MAX(unsigned long)
LONGCONV_EMULATED_MIN_MAX(long long)
LONGCONV_EMULATED_MIN_MAX(unsigned long long)
#undef LONGCONV_EMULATED_MIN_MAX
/// As fminf and fmaxf: of a number and a NaN, the number.
inline float min(float a, float b) { return b < a || a != a ? b : a; }
inline float max(float a, float b) { return a < b || a != a ? b : a; }
inline double min(double a, double b) { return b < a || a != a ? b : a; }
inline double max(double a, double b) { return a < b || a != a ? b : a; }

template <class T>
T __ldg(const T* p) {
  if ((unsigned long)p % alignof(T) != 0) longconv_emulator_services->fail("__ldg: misaligned address");
  return *p;
}

inline void __syncthreads() { longconv_emulator_services->block_barrier(0, 0, true); }
inline int __syncthreads_or(int predicate) { return longconv_emulator_services->block_any(predicate != 0) ? 1 : 0; }
inline void __syncwarp(unsigned mask = ~0u) {
  longconv_emulator_services->warp(longconv::emulator::WarpOperation::sync, mask, {});
}

namespace longconv::emulator {
template <class T>
T warp_word(WarpOperation operation, unsigned mask, T value, unsigned parameter = 0) {
  static_assert(sizeof(T) == 4, "one word");
  T result;
  longconv_emulator_services->warp(operation, mask, {&value, &result, parameter, 1});
  return result;
}
}  // namespace longconv::emulator

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  if constexpr (sizeof(T) == 8) {
    unsigned words[2];
    __builtin_memcpy(words, &value, 8);
    for (unsigned& word : words) word = __shfl_xor_sync(mask, word, lanes);
    __builtin_memcpy(&value, words, 8);
    return value;
  } else
    return longconv::emulator::warp_word(longconv::emulator::WarpOperation::shuffle_xor, mask, value, lanes);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return longconv::emulator::warp_word(longconv::emulator::WarpOperation::shuffle, mask, value, lane);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  return longconv::emulator::warp_word(longconv::emulator::WarpOperation::reduce_max, mask, value);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return longconv::emulator::warp_word(longconv::emulator::WarpOperation::reduce_min, mask, value);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return longconv::emulator::warp_word(longconv::emulator::WarpOperation::ballot, mask, (unsigned)predicate);
}
/// Byte i of the result is byte (selector >> 4*i & 7) of the eight bytes of x (low) and y.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  return result;
}
inline bool __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline bool __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

/// Threads switch at synchronisation only, so a plain read-modify-write is atomic.
inline unsigned atomicOr(unsigned* p, unsigned value) {
  const unsigned before = *p;
  *p = before | value;
  return before;
}
template <class T>
T atomicAdd(T* p, T value) {
  const T before = *p;
  *p = before + value;
  return before;
}
template <class T>
T atomicMax(T* p, T value) {
  const T before = *p;
  *p = max(before, value);
  return before;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace longconv::emulator {

/// Host address of `bytes` of shared memory, checked: inside what the launch has, aligned to `alignment`.
inline unsigned char* shared_at(unsigned address, unsigned bytes, unsigned alignment) {
  const Thread& self = *longconv_emulator_thread;
  const unsigned offset = address - kDynamicBase;
  if (offset < self.shared_bytes && bytes <= self.shared_bytes - offset && address % alignment == 0)
    return self.shared + offset;
  if (address % alignment != 0) longconv_emulator_services->fail("shared memory: misaligned address");
  return longconv_emulator_services->static_shared(address, bytes);
}
template <class T>
T load(unsigned address) {
  T value;
  __builtin_memcpy(&value, shared_at(address, sizeof(T), sizeof(T)), sizeof(T));
  return value;
}
template <class T>
void store(unsigned address, const T& value) {
  __builtin_memcpy(shared_at(address, sizeof(T), sizeof(T)), &value, sizeof(T));
  const Thread& self = *longconv_emulator_thread;
  if (address - kDynamicBase < self.shared_bytes) self.writers[(address - kDynamicBase) / 16] = self.writer();
}

/// Calls a kernel with its parameters as the driver has them: an array of pointers to each.
template <class... Parameters>
struct Call;
template <>
struct Call<> {
  template <class Kernel, class... Values>
  static void with(Kernel kernel, void**, Values&... values) {
    kernel(values...);
  }
};
template <class First, class... Rest>
struct Call<First, Rest...> {
  template <class Kernel, class... Values>
  static void with(Kernel kernel, void** parameters, Values&... values) {
    Call<Rest...>::with(kernel, parameters + 1, values..., *static_cast<First*>(*parameters));
  }
};
template <class... Parameters>
void call(void (*kernel)(Parameters...), void** parameters) {
  Call<Parameters...>::with(kernel, parameters);
}

}  // namespace longconv::emulator
