# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A 1-D convolution as CUDA source in one file: (batch, 64, length) to (batch, 128, length_out).

    y[n, o, t] = sum over i, k of weight[o, i, k] * x[n, i, t * 1 + k * 1]

Written by ``longconv eject --problem "fprop n32 c64->128 l131072 k3" --arch both --precision follow``.
Tensors are float32, multiplied in TF32 while ``torch.backends.cudnn.allow_tf32`` is set, in fp32 while not.
Any batch and length will do; all other sizes are compiled in.
Gradients are the same bits every time.
"""

import functools
import math

import torch
from torch import nn
from torch.utils.cpp_extension import load_inline

batch_size = 32
in_channels = 64
out_channels = 128
kernel_size = 3
length = 131072
stride = 1
dilation = 1

# --- The kernels -----------------------------------------------------------------------------------------------------

device_source = r"""
namespace conv1d {

// ---- ptx/types.cuh ---------------------------------------------------------------------------------------------------
/// Integer types, 16-bit floating-point types and (ptx/conversions.cuh) conversions for device code. No system header: the
/// names and types are those that <cstdint> has on 64-bit Linux, so that a file may also be compiled after one that
/// includes it.

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
static_assert(sizeof(int64_t) == 8, "a 64-bit system is expected");

namespace longconv {

/// Storage types: bits in memory, values in float.
struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
/// A float whose low 13 bits the tensor core ignores. A tag: it is stored as float or uint32_t.
struct tf32 {};

}  // namespace longconv

// ---- ptx/conversions.cuh ---------------------------------------------------------------------------------------------
/// Conversions that are one instruction. Included by ptx/types.cuh, after the types.

namespace longconv {
namespace ptx {

/// Exact.
__device__ __forceinline__ float to_float(f16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

/// Round to nearest, ties to even; overflow gives Inf, NaN stays NaN, subnormals are kept.
__device__ __forceinline__ bf16 to_bf16(float value) {
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}
__device__ __forceinline__ f16 to_f16(float value) {
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

/// Two values in one register, `low` in the low half; rounded as above.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
__device__ __forceinline__ uint32_t pack_f16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
/// Exact.
__device__ __forceinline__ void unpack_f16(uint32_t packed, float& low, float& high) {
  asm("{\n.reg .f16 a, b;\nmov.b32 {a, b}, %2;\ncvt.f32.f16 %0, a;\ncvt.f32.f16 %1, b;\n}"
      : "=f"(low), "=f"(high)
      : "r"(packed));
}

/// The larger number; NaN if either is one (fmaxf would drop it).
__device__ __forceinline__ float max_nan(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

}  // namespace ptx
}  // namespace longconv

// ---- ptx/types.cuh ---------------------------------------------------------------------------------------------------
namespace longconv {
namespace ptx {

/// Exact.
__device__ __forceinline__ float to_float(bf16 value) { return __uint_as_float((uint32_t)value.bits << 16); }
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ void unpack_bf16(uint32_t packed, float& low, float& high) {
  low = __uint_as_float(packed << 16);
  high = __uint_as_float(packed & 0xffff0000u);
}

/// The TF32 operand for a float's bits: rounded to 10 explicit bits, to nearest, ties away from zero. The tensor core
/// drops the low 13 bits, so adding half a unit is the rounding (cvt.rna.tf32 is several instructions on sm_90).
/// Finite values that would round to Inf keep their largest TF32 neighbour; Inf stays Inf; a NaN stays a NaN, whichever
/// bits say so.
__device__ __forceinline__ uint32_t round_tf32(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t rounded = magnitude < 0x7f7ff000u ? bits + 0x1000u : bits;
  return magnitude > 0x7f800000u ? bits | 0x00400000u : rounded;
}
__device__ __forceinline__ uint32_t round_tf32(float value) { return round_tf32(__float_as_uint(value)); }

}  // namespace ptx
}  // namespace longconv

// ---- ptx/control.cuh -------------------------------------------------------------------------------------------------
/// Fences, named barriers, register redistribution, clusters, dependent launches.

namespace longconv {
namespace ptx {

/// Barrier `id` (1 to 15; 0 is __syncthreads) among `threads` threads, a multiple of 32.
__device__ __forceinline__ void named_barrier_sync(uint32_t id, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// Counts for the barrier without waiting.
__device__ __forceinline__ void named_barrier_arrive(uint32_t id, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// Ptxas moves no instruction of weight (loads, mma) across this: it bounds how many values are live. `never`: false, as the
/// caller knows and the compilers cannot.
__device__ __forceinline__ void schedule_border(bool never) {
  if (never) asm volatile("exit;");
}

/// Orders generic writes to shared memory before asynchronous reads of it (wgmma, bulk_store). Either: stores, this fence by
/// every writing thread, then the arrive or barrier. Or (PTX: a proxy fence anywhere along the path of causality): stores,
/// arrive, the reader's wait, then this fence by every reading thread; for writers with loads under way, which the fence waits
/// for. The other way round (asynchronous reads have ended, generic writes follow) needs no fence.
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// True for one lane of the warp, whose lanes all call this. Ptxas knows what it is, and does not make bulk copies behind it
/// loops over lanes, as it does behind a comparison.
__device__ __forceinline__ bool elect_one() {
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
}

/// Rank of the block in its cluster.
__device__ __forceinline__ uint32_t cluster_block_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// Barrier of all threads of the cluster; also keeps a block's shared memory alive while others use it.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// In launches that may overlap the kernel ahead of them in the stream (LaunchShape::overlap_previous): wait_for_previous_kernel()
// waits until that kernel has ended and what it wrote can be read. Every block of such a launch calls it, so that when one kernel
// has ended, those before it have. allow_next_kernel(), by any thread: the next kernel may start once every block has called this
// or ended; a matter of speed only. Without such launches, and before Hopper, both do nothing.
#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void wait_for_previous_kernel() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void allow_next_kernel() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#else
__device__ __forceinline__ void wait_for_previous_kernel() {}
__device__ __forceinline__ void allow_next_kernel() {}
#endif

/// Registers of every thread of this warpgroup from here on: a multiple of 8, 24 to 256. All four warps execute it. The
/// pool is what the launch took (threads times its registers, not 65536): an increase that it cannot give waits forever.
/// register_pool_suffices() checks that at compile time.
template <int Count>
__device__ __forceinline__ void increase_registers() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
__device__ __forceinline__ void decrease_registers() {
  static_assert(Count % 8 == 0 && Count >= 24 && Count <= 256, "setmaxnreg takes multiples of 8 from 24 to 256");
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

/// Whether `consumers` threads of `consumer_registers` and `producers` of `producer_registers` fit into what a launch of
/// one block per multiprocessor takes (__launch_bounds__(consumers + producers, 1)).
__host__ __device__ constexpr bool register_pool_suffices(int consumers, int consumer_registers, int producers, int producer_registers) {
  return consumers * consumer_registers + producers * producer_registers <=
         (consumers + producers) * (65536 / (consumers + producers) / 8 * 8);
}

}  // namespace ptx
}  // namespace longconv

// ---- ptx/shared_memory.cuh -------------------------------------------------------------------------------------------
/// Addresses in shared memory, and loads and stores through them. The accesses are volatile: the compiler keeps their
/// order, so a batch of loads stays ahead of the stores that use it.

namespace longconv {
namespace ptx {

/// The 32-bit address that PTX instructions take.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return (uint32_t)__cvta_generic_to_shared(pointer);
}

__device__ __forceinline__ uint32_t load_shared_u16(uint32_t address) {
  uint16_t value;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(value) : "r"(address));
  return value;
}
__device__ __forceinline__ uint32_t load_shared_u32(uint32_t address) {
  uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(address));
  return value;
}
__device__ __forceinline__ float load_shared_f32(uint32_t address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address));
  return value;
}
__device__ __forceinline__ uint4 load_shared_v4(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address));
  return value;
}

__device__ __forceinline__ void store_shared_u16(uint32_t address, uint32_t value) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(address), "h"((uint16_t)value) : "memory");
}
__device__ __forceinline__ void store_shared_u32(uint32_t address, uint32_t value) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}
__device__ __forceinline__ void store_shared_f32(uint32_t address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}
__device__ __forceinline__ void store_shared_v2(uint32_t address, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(x), "f"(y) : "memory");
}
__device__ __forceinline__ void store_shared_v4(uint32_t address, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}

}  // namespace ptx
}  // namespace longconv

// ---- tile/common.cuh -------------------------------------------------------------------------------------------------
// What every tile mover and kernel uses: short names, constant arithmetic, conversions by element type.

using namespace longconv;
using namespace longconv::ptx;

#define LC_DEVICE __device__ __forceinline__
#define LC_CONSTEXPR __host__ __device__ constexpr

LC_CONSTEXPR int ceil_div(int a, int b) { return (a + b - 1) / b; }
LC_CONSTEXPR int round_up(int a, int b) { return ceil_div(a, b) * b; }
LC_CONSTEXPR int max_of(int a, int b) { return a > b ? a : b; }
LC_CONSTEXPR int min_of(int a, int b) { return a < b ? a : b; }
LC_CONSTEXPR int gcd_of(int a, int b) { return b ? gcd_of(b, a % b) : a; }

// One rounding, to nearest even.
LC_DEVICE void from_float(float v, float& out) { out = v; }
LC_DEVICE void from_float(float v, bf16& out) { out = to_bf16(v); }
LC_DEVICE void from_float(float v, f16& out) { out = to_f16(v); }

// Two values in one register, `low` at the lower address.
template <class E> LC_DEVICE uint32_t pack2(float low, float high);
template <> LC_DEVICE uint32_t pack2<bf16>(float low, float high) { return pack_bf16(low, high); }
template <> LC_DEVICE uint32_t pack2<f16>(float low, float high) { return pack_f16(low, high); }

// Two neighbours at an address that is a multiple of their size.
LC_DEVICE void store_pair(float* p, float a, float b) { *reinterpret_cast<float2*>(p) = make_float2(a, b); }
template <class E> LC_DEVICE void store_pair(E* p, float a, float b) { *reinterpret_cast<uint32_t*>(p) = pack2<E>(a, b); }

// A word of elements, of which the first `exist` are stored. aligned: p is a multiple of 4.
LC_DEVICE void store_word(float* p, uint32_t word, int exist, bool aligned) {
  if (exist > 0) *p = __uint_as_float(word);
}
template <class E> LC_DEVICE void store_word(E* p, uint32_t word, int exist, bool aligned) {
  if (aligned && exist > 1) *reinterpret_cast<uint32_t*>(p) = word;
  if ((!aligned || exist == 1) && exist > 0) p[0].bits = static_cast<uint16_t>(word);
  if (!aligned && exist > 1) p[1].bits = static_cast<uint16_t>(word >> 16);
}

LC_DEVICE uint32_t bits_of(float v) { return __float_as_uint(v); }
LC_DEVICE uint32_t bits_of(bf16 v) { return v.bits; }
LC_DEVICE uint32_t bits_of(f16 v) { return v.bits; }

// The compiler no longer knows how `v` came about: what is computed from it is computed here, not kept from before a loop.
LC_DEVICE void forget_origin(int& v) { asm volatile("" : "+r"(v)); }

// What an element waits in between its load and its use: widening 16 bits would wait for the load.
template <class E> struct BitsOf { using Type = uint16_t; };
template <> struct BitsOf<float> { using Type = uint32_t; };

// ---- tile/split_f16.cuh ----------------------------------------------------------------------------------------------
// fp32 as two f16 planes for the tensor core, exactly enough of it:
//
//   v * 2^e = hi + lo * 2^-11,   hi = f16(v * 2^e),  lo = f16((v * 2^e - hi) * 2^11)
//
// With |v| * 2^e < 2^15, hi and lo are finite and |v*2^e - (hi + lo*2^-11)| <= max(2^-23 |v*2^e|, 2^-36): 22 bits and a
// sign for every |v| * 2^e >= 2^-14. e is one number for each packed slot (16 channels of one tile), a multiple of 4 so
// that neighbouring slots mostly share it. Slots that hold what this cannot carry (Inf, NaN, |v| >= 2^112, a nonzero
// |v| * 2^e below the least that is allowed, or |v| < 2^-100) are reported, and their tiles are done again by the direct
// f32 kernel.

// Two values, already scaled -> one word of the hi plane, one of the lo plane.
LC_DEVICE void split2_f16(float a, float b, uint32_t& hi, uint32_t& lo) {
  hi = pack2<f16>(a, b);
  float ha, hb;
  unpack_f16(hi, ha, hb);
  lo = pack2<f16>((a - ha) * 2048.f, (b - hb) * 2048.f);
}

// Running extremes of |v| over a slot: the largest (NaN if there is one), and the smallest that is not zero, as
// 2 * bits - 1: zero wraps around to the largest number.
struct Extremes {
  float largest = 0.f;
  uint32_t smallest = 0xffffffffu;
  LC_DEVICE void add(float v) {
    largest = max_nan(largest, fabsf(v));
    const uint32_t bits = __float_as_uint(v);
    smallest = min(smallest, bits + bits - 1u);
  }
  LC_DEVICE void merge(const Extremes& x) {
    largest = __uint_as_float(max(__float_as_uint(largest), __float_as_uint(x.largest)));
    smallest = min(smallest, x.smallest);
  }
  LC_DEVICE void reduce_warp() {
    // NaN has the largest bits of all: the integer maximum keeps it.
    largest = __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(largest)));
    smallest = __reduce_min_sync(~0u, smallest);
  }
};

// The least |v| * 2^e of sums of `products`, as an exponent. A value of 2^(-14-b) is off by up to 2^(-22+b) of itself, which is
// 2^(b+2) u: within c(n) u S beside the sum's own errors where there are enough products (docs/design/numerics.md). Among
// normally distributed samples, one in 2^24 to 2^28 is below 2^-14, and each would have a tile done twice.
LC_CONSTEXPR int least_exponent(int64_t products) { return products >= 128 ? -18 : products >= 64 ? -16 : -14; }

// The slot's scale: exponent e, multiple of 4, with largest * 2^e in [2^11, 2^15). representable: see above.
struct SlotScale {
  float scale, inverse;
  bool representable;
  SlotScale() = default;
  LC_DEVICE explicit SlotScale(const Extremes& x, int least = -14) {
    const bool zero = x.largest == 0.f;
    const int exponent = static_cast<int>(__float_as_uint(x.largest) >> 23) - 127;  // floor(log2(largest)); 128: Inf, NaN
    const int e = zero ? 0 : ((14 + 1024 - exponent) & ~3) - 1024;                  // rounded down to a multiple of 4
    const bool in_range = zero || (exponent < 112 && exponent >= -100);
    representable = in_range && (zero || x.smallest >= (static_cast<uint32_t>(max(least - e, -100) + 127) << 24) - 1u);
    scale = __uint_as_float(static_cast<uint32_t>((in_range ? e : 0) + 127) << 23);
    inverse = __uint_as_float(static_cast<uint32_t>((in_range ? -e : 0) + 127) << 23);
  }
};

// A weight channel's scale: exponent e with largest * 2^e in [2^13, 2^14).
struct ChannelScale {
  float scale, inverse;
  bool representable;
  LC_DEVICE explicit ChannelScale(const Extremes& x) {
    const bool zero = x.largest == 0.f;
    const int exponent = static_cast<int>(__float_as_uint(x.largest) >> 23) - 127;
    const int e = zero ? 0 : 13 - exponent;
    // Both 2^e and 2^-e must be normal numbers, and so must the weights that matter.
    const bool in_range = zero || (exponent <= 126 && exponent >= -100);
    representable = in_range && (zero || x.smallest >= (static_cast<uint32_t>(max(-14 - e, -126) + 127) << 24) - 1u);
    scale = __uint_as_float(static_cast<uint32_t>((in_range ? e : 0) + 127) << 23);
    inverse = __uint_as_float(static_cast<uint32_t>((in_range ? -e : 0) + 127) << 23);
  }
};

// ---- tile/weight_flags.cuh -------------------------------------------------------------------------------------------
// What a weight packer leaves for the launches after it, whatever the memory held before: each word has one writer.

// Flags: a word of each block of the packer, not 0 where the block's weights cannot be multiplied as they were packed. Whether any
// of them, or of other words, is not 0: by all kThreads threads of a block.
template <int kThreads>
LC_DEVICE bool any_word(const uint32_t* flags, int64_t words, const uint32_t* others = nullptr, int64_t other_words = 0) {
  uint32_t found = 0;
#pragma unroll 4  // loads ahead of their use
  for (int64_t i = threadIdx.x; i < words; i += kThreads) found |= flags[i];
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < other_words; i += kThreads) found |= others[i];
  return __syncthreads_or(static_cast<int>(found)) != 0;
}

// Redo bits, of which main kernels only set some, and the counter of items that their blocks draw: this block clears its share. By all
// kThreads threads of each block.
template <int kThreads> LC_DEVICE void clear_state(uint32_t* state, int64_t words) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < words; i += static_cast<int64_t>(gridDim.x) * kThreads)
    state[i] = 0;
}

// ---- ptx/wgmma_operands.cuh ------------------------------------------------------------------------------------------
/// Operand lists for inline PTX with many accumulators, here and nowhere else:
///   LONGCONV_ASM_REGISTERS_n       "%0, %1, ..., %n-1"
///   LONGCONV_ASM_OUTPUTS_n(d, i)   "+f"(d[i]), ..., "+f"(d[i + n - 1])

#define LONGCONV_ASM_REGISTERS_4 \
  "%0, %1, %2, %3"
#define LONGCONV_ASM_REGISTERS_8 \
  LONGCONV_ASM_REGISTERS_4 \
  ", %4, %5, %6, %7"
#define LONGCONV_ASM_REGISTERS_12 \
  LONGCONV_ASM_REGISTERS_8 \
  ", %8, %9, %10, %11"
#define LONGCONV_ASM_REGISTERS_16 \
  LONGCONV_ASM_REGISTERS_8 \
  ", %8, %9, %10, %11, %12, %13, %14, %15"
#define LONGCONV_ASM_REGISTERS_20 \
  LONGCONV_ASM_REGISTERS_16 \
  ", %16, %17, %18, %19"
#define LONGCONV_ASM_REGISTERS_24 \
  LONGCONV_ASM_REGISTERS_16 \
  ", %16, %17, %18, %19, %20, %21, %22, %23"
#define LONGCONV_ASM_REGISTERS_32 \
  LONGCONV_ASM_REGISTERS_16 \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LONGCONV_ASM_REGISTERS_40 \
  LONGCONV_ASM_REGISTERS_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39"
#define LONGCONV_ASM_REGISTERS_48 \
  LONGCONV_ASM_REGISTERS_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define LONGCONV_ASM_REGISTERS_64 \
  LONGCONV_ASM_REGISTERS_48 \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LONGCONV_ASM_REGISTERS_80 \
  LONGCONV_ASM_REGISTERS_64 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define LONGCONV_ASM_REGISTERS_96 \
  LONGCONV_ASM_REGISTERS_80 \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define LONGCONV_ASM_REGISTERS_128 \
  LONGCONV_ASM_REGISTERS_96 \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define LONGCONV_ASM_OUTPUTS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LONGCONV_ASM_OUTPUTS_8(d, i) LONGCONV_ASM_OUTPUTS_4(d, i), LONGCONV_ASM_OUTPUTS_4(d, i + 4)
#define LONGCONV_ASM_OUTPUTS_12(d, i) LONGCONV_ASM_OUTPUTS_8(d, i), LONGCONV_ASM_OUTPUTS_4(d, i + 8)
#define LONGCONV_ASM_OUTPUTS_16(d, i) LONGCONV_ASM_OUTPUTS_8(d, i), LONGCONV_ASM_OUTPUTS_8(d, i + 8)
#define LONGCONV_ASM_OUTPUTS_20(d, i) LONGCONV_ASM_OUTPUTS_16(d, i), LONGCONV_ASM_OUTPUTS_4(d, i + 16)
#define LONGCONV_ASM_OUTPUTS_24(d, i) LONGCONV_ASM_OUTPUTS_16(d, i), LONGCONV_ASM_OUTPUTS_8(d, i + 16)
#define LONGCONV_ASM_OUTPUTS_32(d, i) LONGCONV_ASM_OUTPUTS_16(d, i), LONGCONV_ASM_OUTPUTS_16(d, i + 16)
#define LONGCONV_ASM_OUTPUTS_40(d, i) LONGCONV_ASM_OUTPUTS_32(d, i), LONGCONV_ASM_OUTPUTS_8(d, i + 32)
#define LONGCONV_ASM_OUTPUTS_48(d, i) LONGCONV_ASM_OUTPUTS_32(d, i), LONGCONV_ASM_OUTPUTS_16(d, i + 32)
#define LONGCONV_ASM_OUTPUTS_64(d, i) LONGCONV_ASM_OUTPUTS_32(d, i), LONGCONV_ASM_OUTPUTS_32(d, i + 32)
#define LONGCONV_ASM_OUTPUTS_80(d, i) LONGCONV_ASM_OUTPUTS_64(d, i), LONGCONV_ASM_OUTPUTS_16(d, i + 64)
#define LONGCONV_ASM_OUTPUTS_96(d, i) LONGCONV_ASM_OUTPUTS_64(d, i), LONGCONV_ASM_OUTPUTS_32(d, i + 64)
#define LONGCONV_ASM_OUTPUTS_128(d, i) LONGCONV_ASM_OUTPUTS_64(d, i), LONGCONV_ASM_OUTPUTS_64(d, i + 64)

// ---- ptx/wgmma.cuh ---------------------------------------------------------------------------------------------------
/// wgmma: D (64 x N, float) = A B + D by one warpgroup, operands in shared memory (A also in registers) (sm_90a).
///
///   wgmma_fence();                                  // accumulators and shared memory are ready
///   wgmma<bf16, 256>(d, a, b, accumulate);          // any number; accumulate = 0: D = A B
///   wgmma_commit();
///   wgmma_wait<0>();                                // all but the latest 0 groups have ended
///   keep_registers(d);                              // before d is read
///
/// N is 8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192 or 256. A step covers k = 16 elements of bf16 and f16, 8 of tf32: 32 bytes.
/// With g = lane / 4, c = lane % 4 and w = the warp's place in its warpgroup, d[4*j + 2*h + e] is
/// D(16*w + 8*h + g, 8*j + 2*c + e). A from registers: the four 32-bit registers of mma.sync's m16n8k16 (tf32: m16n8k8),
/// rows 16*w to 16*w + 15.
///
/// The tensor core truncates when it accumulates: promote long sums into registers of their own.

namespace longconv {
namespace ptx {

/// How a tile lies in shared memory.
enum class Swizzle : uint32_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

/// A matrix descriptor. Without swizzle: core matrices of 8 lines x 16 bytes, each 128 bytes in one piece. K-major: a line is
/// a row of M or N, its 16 bytes lie along K; transposed: a line is one k, its 16 bytes are 8 rows. Either way
/// `leading_bytes` is from one core matrix to the next along K, `stride_bytes` along M or N. The start is a multiple of 16
/// bytes, any line of a core matrix when those along the lines follow each other; moving it by s bytes is adding s >> 4. All three numbers are below 2^18. Do not build one from a literal zero
/// address: that crashes some compilers.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address, uint32_t leading_bytes, uint32_t stride_bytes,
                                                     Swizzle swizzle = Swizzle::none) {
  return (uint64_t)((address & 0x3ffffu) >> 4) | (uint64_t)(leading_bytes >> 4) << 16 |
         (uint64_t)(stride_bytes >> 4) << 32 | (uint64_t)swizzle << 62;
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/// Ties accumulators to this point of the program. Without it ptxas may serialise every wgmma (warning C7514).
template <int Count>
__device__ __forceinline__ void keep_registers(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

template <typename Type, int N>
struct WgmmaInstruction;

// One definition for each (type, N). The instruction's operands are numbered after the accumulators, D of them:
//   both operands in shared memory:  A is %D, B %D+1, accumulate %D+2, transposition of A and B %D+3, %D+4
//   A in registers:                  A is %D to %D+3, B %D+4, accumulate %D+5, transposition of B %D+6
#define LONGCONV_WGMMA_16BIT(TYPE, TEXT, N, D, P0, P1, P2, P3, P4, P5, P6)                                              \
  template <>                                                                                                          \
  struct WgmmaInstruction<TYPE, N> {                                                                                   \
    template <int TransposedA, int TransposedB>                                                                        \
    static __device__ __forceinline__ void shared(float (&d)[D], uint64_t a, uint64_t b, int accumulate) {             \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P2 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TEXT   \
                   "." TEXT " {" LONGCONV_ASM_REGISTERS_##D "}, " P0 ", " P1 ", p, 1, 1, " P3 ", " P4 ";\n}"            \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(TransposedA), "n"(TransposedB));                             \
    }                                                                                                                  \
    template <int TransposedB>                                                                                         \
    static __device__ __forceinline__ void registers(float (&d)[D], const uint32_t (&a)[4], uint64_t b,                \
                                                     int accumulate) {                                                 \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P5 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TEXT   \
                   "." TEXT " {" LONGCONV_ASM_REGISTERS_##D "}, {" P0 ", " P1 ", " P2 ", " P3 "}, " P4                 \
                   ", p, 1, 1, " P6 ";\n}"                                                                             \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TransposedB));           \
    }                                                                                                                  \
  };

// tf32 has no transposition: both operands are K-major.
#define LONGCONV_WGMMA_TF32(N, D, P0, P1, P2, P3, P4, P5)                                                               \
  template <>                                                                                                          \
  struct WgmmaInstruction<tf32, N> {                                                                                   \
    template <int TransposedA, int TransposedB>                                                                        \
    static __device__ __forceinline__ void shared(float (&d)[D], uint64_t a, uint64_t b, int accumulate) {             \
      static_assert(TransposedA == 0 && TransposedB == 0, "tf32 operands are K-major");                                \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P2 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N                  \
                   "k8.f32.tf32.tf32 {" LONGCONV_ASM_REGISTERS_##D "}, " P0 ", " P1 ", p, 1, 1;\n}"                    \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "l"(a), "l"(b), "r"(accumulate));                                                                 \
    }                                                                                                                  \
    template <int TransposedB>                                                                                         \
    static __device__ __forceinline__ void registers(float (&d)[D], const uint32_t (&a)[4], uint64_t b,                \
                                                     int accumulate) {                                                 \
      static_assert(TransposedB == 0, "tf32 operands are K-major");                                                    \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P5 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N                  \
                   "k8.f32.tf32.tf32 {" LONGCONV_ASM_REGISTERS_##D "}, {" P0 ", " P1 ", " P2 ", " P3 "}, " P4          \
                   ", p, 1, 1;\n}"                                                                                     \
                   : LONGCONV_ASM_OUTPUTS_##D(d, 0)                                                                    \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));                             \
    }                                                                                                                  \
  };

#define LONGCONV_WGMMA(N, D, P0, P1, P2, P3, P4, P5, P6)                            \
  LONGCONV_WGMMA_16BIT(bf16, "bf16", N, D, P0, P1, P2, P3, P4, P5, P6)              \
  LONGCONV_WGMMA_16BIT(f16, "f16", N, D, P0, P1, P2, P3, P4, P5, P6)                \
  LONGCONV_WGMMA_TF32(N, D, P0, P1, P2, P3, P4, P5)

LONGCONV_WGMMA(8, 4, "%4", "%5", "%6", "%7", "%8", "%9", "%10")
LONGCONV_WGMMA(16, 8, "%8", "%9", "%10", "%11", "%12", "%13", "%14")
LONGCONV_WGMMA(24, 12, "%12", "%13", "%14", "%15", "%16", "%17", "%18")
LONGCONV_WGMMA(32, 16, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
LONGCONV_WGMMA(40, 20, "%20", "%21", "%22", "%23", "%24", "%25", "%26")
LONGCONV_WGMMA(48, 24, "%24", "%25", "%26", "%27", "%28", "%29", "%30")
LONGCONV_WGMMA(64, 32, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
LONGCONV_WGMMA(80, 40, "%40", "%41", "%42", "%43", "%44", "%45", "%46")
LONGCONV_WGMMA(96, 48, "%48", "%49", "%50", "%51", "%52", "%53", "%54")
LONGCONV_WGMMA(128, 64, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
LONGCONV_WGMMA(160, 80, "%80", "%81", "%82", "%83", "%84", "%85", "%86")
LONGCONV_WGMMA(192, 96, "%96", "%97", "%98", "%99", "%100", "%101", "%102")
LONGCONV_WGMMA(256, 128, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

#undef LONGCONV_WGMMA
#undef LONGCONV_WGMMA_TF32
#undef LONGCONV_WGMMA_16BIT

/// D = A B (+ D when accumulate is not 0), both operands in shared memory. Transposed: the operand is M- or N-major (16-bit
/// types only).
template <typename Type, int N, int TransposedA = 0, int TransposedB = 0>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {
  WgmmaInstruction<Type, N>::template shared<TransposedA, TransposedB>(d, a, b, accumulate);
}

/// The same with A in registers.
template <typename Type, int N, int TransposedB = 0>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  WgmmaInstruction<Type, N>::template registers<TransposedB>(d, a, b, accumulate);
}

}  // namespace ptx
}  // namespace longconv

// ---- ptx/mbarrier.cuh ------------------------------------------------------------------------------------------------
/// mbarrier: arrivals and transaction bytes counted in shared memory (sm_90).
///
/// A barrier has phases. It is waited for by the parity of the phase that must have ended: a fresh barrier's first phase
/// has parity 0, and a wait for parity 1 on a fresh barrier returns at once (what a producer wants of an empty slot).

namespace longconv {
namespace ptx {

/// Bytes of one barrier, which must be 8-byte aligned.
constexpr uint32_t kBarrierBytes = 8;

/// Sets the number of arrivals of a phase. By one thread; then fence_barrier_init() and a block (or cluster) barrier.
__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the asynchronous proxy and to the cluster.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives and adds the bytes that copies will complete in this phase.
__device__ __forceinline__ void barrier_arrive_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/// Arrives at the same barrier of another block of the cluster. Without `.release.cluster`, which costs an ERRBAR: what
/// is handed over must not be plain writes (an empty slot, read by wgmma or by loads that have returned, is fine).
__device__ __forceinline__ void barrier_arrive_remote(uint32_t barrier, uint32_t block_rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(barrier),
      "r"(block_rank)
      : "memory");
}

/// Whether the phase of this parity has ended; may wait a short, bounded time.
__device__ __forceinline__ bool barrier_attempt_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred done;\nmbarrier.t" "ry_wait.parity.shared::cta.b64 done, [%1], %2;\nselp.u32 %0, 1, 0, done;\n}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

/// The same without waiting.
__device__ __forceinline__ bool barrier_test_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred done;\nmbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\nselp.u32 %0, 1, 0, done;\n}"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

/// Waits until the phase of this parity has ended. The loop is C++: a label inside inline PTX would be defined twice when
/// the function is inlined twice. With -DLONGCONV_WAIT_LIMIT_NS=n a wait of more than n nanoseconds traps: while a kernel
/// is being written, a deadlock then ends as an error.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
  while (!barrier_attempt_wait(barrier, parity)) {
  }
}

}  // namespace ptx
}  // namespace longconv

// ---- tile/divisor.cuh ------------------------------------------------------------------------------------------------
// Division by a number that is the same in every round of a loop: one multiplication by its reciprocal, and a correction.

// Exact for all 0 <= n < 2^31, 0 < d < 2^31. Let r = floor((2^32 - 1) / d) = (2^32 - c) / d with 1 <= c <= d. Then
// n r / 2^32 = n/d - (c/d) n / 2^32 is below n/d by less than one, so that its floor is the quotient or one less. What is left is
// then at least 0, at most n, and in the second case d or more.
struct Divisor {
  int divisor;
  uint32_t reciprocal;
  LC_DEVICE explicit Divisor(int d) : divisor(d), reciprocal(0xffffffffu / static_cast<uint32_t>(d)) {}
  LC_DEVICE int divide(int n, int& remainder) const {
    int quotient = static_cast<int>(static_cast<uint64_t>(static_cast<uint32_t>(n)) * reciprocal >> 32);
    remainder = n - quotient * divisor;
    if (remainder >= divisor) ++quotient, remainder -= divisor;
    return quotient;
  }
};

// ---- tile/schedule.cuh -----------------------------------------------------------------------------------------------
// Which tiles a persistent block does, in which order; and the parameters every dense forward kernel takes.

template <class Element> struct FpropParams {
  const Element* x;
  const uint8_t* weights;  // packed by pack_weights.cuh in the order of consumption
  Element* y;
  const Element* bias;
  const Element* residual;
  int64_t x_batch, x_channel, x_time;  // strides in elements
  int64_t y_batch, y_channel;
  int64_t residual_batch, residual_channel;
  int64_t length, out_length, pad_left;
  int batch, groups;
  float negative_slope;
};

// A tile of time of one (batch, group): all output-channel sweeps (kResident) or one.
struct Item {
  int batch, group, tile, sweep;
};

// C: kStep (time steps between tiles), kSweeps, kResident (x stays for all sweeps), kCluster (blocks that share weights:
// they do neighbouring tiles in the same sweep, in step; the last of an odd number of tiles is done twice, with equal results).
template <class C> struct Schedule {
  static constexpr int kItemsPerTile = C::kResident ? 1 : C::kSweeps, kSweepsPerItem = C::kResident ? C::kSweeps : 1;
  int tiles_per_row, tiles, groups, begin, end, step;
  Divisor by_row;
  template <class P>
  LC_DEVICE explicit Schedule(const P& p)
      : tiles_per_row(static_cast<int>((p.out_length + C::kStep - 1) / C::kStep)), groups(p.groups), by_row(tiles_per_row) {
    tiles = tiles_per_row * p.batch * p.groups;
    begin = blockIdx.x / C::kCluster;
    end = (tiles + C::kCluster - 1) / C::kCluster * kItemsPerTile;
    step = gridDim.x / C::kCluster;
  }
  LC_DEVICE Item item(int index) const {
    int tile = index / kItemsPerTile;
    if (C::kCluster > 1) tile = min(tile * C::kCluster + static_cast<int>(blockIdx.x % C::kCluster), tiles - 1);
    int column;
    const int row = by_row.divide(tile, column), batch = groups == 1 ? row : row / groups;
    return {batch, row - batch * groups, column, C::kResident ? 0 : index % kItemsPerTile};
  }
};

// ---- tile/drawn_items.cuh --------------------------------------------------------------------------------------------
// The items of a persistent Hopper block. Equal shares would leave the quick blocks idle at the end: multiprocessors differ in what
// they get of the memory, and half of them were done 2 to 4 % before the last. So only the first items of a block are fixed, every
// gridDim-th; the others are drawn from a counter in global memory, some ahead of their use, by one lane for the whole block. Which
// block computes an item does not show in the result.

template <class Element> struct HopperParams : FpropParams<Element> {
  uint32_t* drawn;  // items that have been drawn, 0 when the kernel starts; null: blocks have equal shares
};

// By how many items draws are ahead of the packer that draws. More than anything that it waits for may look ahead, else blocks wait
// for each other in a circle: raw rows (`raw_units` of `units` an item) and weights (`weight_stages` of `item_stages` an item).
LC_CONSTEXPR int draws_ahead(int raw_units, int units, int weight_stages, int item_stages) {
  const int raw = ceil_div(raw_units, units) + 1, weights = ceil_div(weight_stages, item_stages) + 3;
  return raw > weights ? raw : weights;
}
// Places for drawn items, a power of two: whoever is behind that packer is so by at most the slots of packed rows.
LC_CONSTEXPR int drawn_places(int ahead, int slots, int item_slots) {
  int places = 4;
  while (places < ahead + ceil_div(slots, item_slots) + 3) places *= 2;
  return places;
}
// Of shared memory: for each place a barrier and an item.
LC_CONSTEXPR int drawn_bytes(int places) { return places * 12; }

// C: of Schedule, and kDrawsAhead, kDrawnPlaces, kSharedDrawn. In a cluster, blocks stream the same weights and have equal shares.
template <class C> struct DrawnSchedule : Schedule<C> {
  static constexpr int kFixed = C::kDrawsAhead + 2;  // items of a block that are not drawn
  static_assert(kFixed < C::kDrawnPlaces, "they are all there when the kernel starts");
  uint32_t shared;
  template <class P> LC_DEVICE DrawnSchedule(const P& p, uint32_t memory) : Schedule<C>(p), shared(memory + C::kSharedDrawn) {}
  // By one thread, before fence_barrier_init().
  LC_DEVICE void init() const {
    for (int i = 0; i < C::kDrawnPlaces; ++i) barrier_init(full(i), 1);
    for (int i = 0; i < kFixed; ++i) hand_over(i, fixed(i));
  }
  // The block's item `number` where shares are equal.
  LC_DEVICE uint32_t fixed(int number) const { return static_cast<uint32_t>(number) * this->step + this->begin; }
  LC_DEVICE void hand_over(int number, uint32_t index) const {
    store_shared_u32(place(number), min(index, static_cast<uint32_t>(this->end)));
    barrier_arrive(full(number));
  }
  LC_DEVICE int take(int number) const {
    barrier_wait(full(number), number / C::kDrawnPlaces & 1);
    return static_cast<int>(load_shared_u32(place(number)));
  }

 private:
  LC_DEVICE uint32_t full(int number) const { return shared + 8 * (number % C::kDrawnPlaces); }
  LC_DEVICE uint32_t place(int number) const { return shared + 8 * C::kDrawnPlaces + 4 * (number % C::kDrawnPlaces); }
};

// A role's place among its block's items. Where `index` is the schedule's end there are no more, and nobody asks for the next one.
template <class C> struct ItemCursor {
  int index = 0, number = 0;
  ItemCursor() = default;
  LC_DEVICE explicit ItemCursor(const DrawnSchedule<C>& schedule) : index(schedule.begin) {}
  LC_DEVICE void advance(const DrawnSchedule<C>& schedule) { index = schedule.take(++number); }
};

// The drawing packer's lane 0.
template <class C> class ItemDraw {
 public:
  // At the beginning of the block's item `number`: hands over what was drawn at the one before, and draws.
  template <class P> LC_DEVICE void at_item(const P& p, const DrawnSchedule<C>& schedule, int number, int lane) {
    if (lane != 0 || number == 0 || next_ == kEnd) return;
    const bool draws = C::kCluster == 1 && p.drawn != nullptr;
    if (number == 1) {
      if (draws) wait_for_previous_kernel();  // which clears the counter
    } else {
      schedule.hand_over(number + C::kDrawsAhead, next_);
      if (next_ >= static_cast<uint32_t>(schedule.end)) {
        next_ = kEnd;
        return;
      }
    }
    next_ = draws ? static_cast<uint32_t>(DrawnSchedule<C>::kFixed) * schedule.step + atomicAdd(p.drawn, 1u)
                  : schedule.fixed(number + 1 + C::kDrawsAhead);
  }

 private:
  static constexpr uint32_t kEnd = ~0u;  // has been handed over
  uint32_t next_ = 0;
};

// ---- tile/warp_arrival.cuh -------------------------------------------------------------------------------------------
// A warp's arrival at an mbarrier: one lane's. What the other lanes did before is ordered by the __syncwarp in front of it (wgmma's
// reads by the wait for its group), as arrivals and waits are cumulative.
//
// The race detector of compute-sanitizer does not follow that __syncwarp: it takes all accesses of lanes 1 to 31 for unordered. With
// -DLONGCONV_EVERY_LANE_ARRIVES each lane arrives by itself, which it follows. The code is the same otherwise.

constexpr int kWarpArrivals = 1;
LC_DEVICE bool arrives(int lane) { return lane == 0; }

// ---- tile/block_barriers.cuh -----------------------------------------------------------------------------------------
// The barriers of a Hopper block: slots of packed rows (packers <-> MMA warps), raw stages (copy engine -> packer),
// weight stages (weight warp <-> MMA warps).

// In a cluster, blocks stream the same weights and each loads its part into all: a weight stage is empty when the MMA warps
// of all blocks have released it.
// C: kSharedBarriers, kSlots, kPackersPerSlot, kRawBuffers, kTeam (packers of a team; raw stages then have empty barriers), kRings, kWStages, kCluster.
LC_CONSTEXPR int barrier_count(int slots, int raw_buffers, int w_stages, int team) {
  return 2 * slots + (team > 1 ? 2 : 1) * raw_buffers + 2 * w_stages;
}

template <class C> struct BlockBarriers {
  uint32_t slot_full, slot_empty, raw_full, w_full, w_empty, raw_empty;

  LC_DEVICE explicit BlockBarriers(uint32_t shared)
      : slot_full(shared + C::kSharedBarriers), slot_empty(slot_full + 8 * C::kSlots), raw_full(slot_empty + 8 * C::kSlots),
        w_full(raw_full + 8 * C::kRawBuffers), w_empty(w_full + 8 * C::kRings * C::kWStages),
        raw_empty(w_empty + 8 * C::kRings * C::kWStages) {}

  // By all threads.
  LC_DEVICE void init(const DrawnSchedule<C>& schedule) const {
    if (threadIdx.x == 0) {
      schedule.init();
      for (int i = 0; i < C::kSlots; ++i) {
        barrier_init(slot_full + 8 * i, C::kPackersPerSlot * kWarpArrivals);
        barrier_init(slot_empty + 8 * i, 8 * kWarpArrivals);
      }
      for (int i = 0; i < C::kRawBuffers; ++i) {
        barrier_init(raw_full + 8 * i, 1);
        if (C::kTeam > 1) barrier_init(raw_empty + 8 * i, C::kTeam * kWarpArrivals);
      }
      for (int i = 0; i < C::kRings * C::kWStages; ++i) {
        barrier_init(w_full + 8 * i, 1);
        barrier_init(w_empty + 8 * i, 8 / C::kRings * C::kCluster * kWarpArrivals);
      }
      fence_barrier_init();
    }
    if (C::kCluster > 1) cluster_sync();
    else __syncthreads();
  }
  // By all threads, at their end: a block's shared memory outlives the copies and arrivals of the others.
  LC_DEVICE void leave() const {
    if (C::kCluster > 1) {
      __syncwarp();
      cluster_sync();
    }
  }
  // By the lanes of each MMA warp that arrive.
  LC_DEVICE void release_weights(int ring, int stage) const {
    const uint32_t barrier = w_empty + 8 * (ring * C::kWStages + stage);
    barrier_arrive(barrier);
    if (C::kCluster > 1) barrier_arrive_remote(barrier, cluster_block_rank() ^ 1);
  }
};

// Of the two warpgroups that share output channels, the second has none of the last sweep.
LC_CONSTEXPR bool last_sweep_idles(int rings, int sweeps, int ring_rows, int out_channels) {
  return rings == 2 && (2 * sweeps - 1) * ring_rows >= out_channels;
}
// What it does instead of multiplying: slots and weights go back as they come, once every lane has seen them come (no wgmma
// holds the lanes together here, and one that is late must not miss a phase). The places are those of its loop.
template <class C>
LC_DEVICE void idle_sweep(const BlockBarriers<C>& barriers, int ring, int lane, int& slot, int& slot_phase, int& ws, int& w_phase) {
#pragma unroll 1
  for (int i = 0; i < C::kItemSlots; ++i) {
    if (!C::kResident) barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
    __syncwarp();
    if (arrives(lane)) barrier_arrive(barriers.slot_empty + 8 * slot);
    if (++slot == C::kSlots) { slot = 0; slot_phase ^= 1; }
  }
#pragma unroll 1
  for (int i = 0; i < C::kSweepStages; ++i) {
    barrier_wait(barriers.w_full + 8 * (ring * C::kWStages + ws), w_phase);
    __syncwarp();
    if (arrives(lane)) barriers.release_weights(ring, ws);
    if (++ws == C::kWStages) { ws = 0; w_phase ^= 1; }
  }
}

// ---- ptx/bulk_copy.cuh -----------------------------------------------------------------------------------------------
/// 1-D bulk copies between global and shared memory by the asynchronous proxy (sm_90). Addresses and sizes are multiples
/// of 16 bytes, or the behaviour is undefined.

namespace longconv {
namespace ptx {

/// How the second-level cache treats a copy's lines.
__device__ __forceinline__ uint64_t l2_evict_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t l2_evict_last() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/// Global to this block's shared memory; completes `bytes` on the mbarrier. Issued by one thread.
__device__ __forceinline__ void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(destination),
               "l"(source), "r"(bytes), "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void bulk_load(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier,
                                          uint64_t l2_policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
          destination),
      "l"(source), "r"(bytes), "r"(barrier), "l"(l2_policy)
      : "memory");
}

/// The same to every block of the cluster whose bit in `block_mask` is set: to the same offset, completing on the barrier
/// at the same offset, in each.
__device__ __forceinline__ void bulk_load_multicast(uint32_t destination, const void* source, uint32_t bytes,
                                                    uint32_t barrier, uint16_t block_mask) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(
          destination),
      "l"(source), "r"(bytes), "r"(barrier), "h"(block_mask)
      : "memory");
}

/// This block's shared memory to global, as part of the thread's current bulk group. What generic code wrote there must
/// have been followed by fence_proxy_async() in the writing threads.
__device__ __forceinline__ void bulk_store(void* destination, uint32_t source, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(destination), "r"(source), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void bulk_store(void* destination, uint32_t source, uint32_t bytes, uint64_t l2_policy) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%0], [%1], %2, %3;" ::"l"(destination),
               "r"(source), "r"(bytes), "l"(l2_policy)
               : "memory");
}

__device__ __forceinline__ void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Waits until all but the latest `Pending` groups of this thread have read their source, which may then be reused.
template <int Pending>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}
/// Waits until all but the latest `Pending` groups of this thread are complete.
template <int Pending>
__device__ __forceinline__ void bulk_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Brings global memory into the second-level cache.
__device__ __forceinline__ void bulk_prefetch(const void* source, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(source), "r"(bytes) : "memory");
}

}  // namespace ptx
}  // namespace longconv

// ---- tile/activation.cuh ---------------------------------------------------------------------------------------------
// Epilogue activations in f32 or f64; the numbering is longconv::Activation's.

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

// ---- tile/store_rows.cuh ---------------------------------------------------------------------------------------------
// Epilogue of a 64 x N accumulator tile (wgmma layout): bias, residual, activation, one rounding, NCW rows out.
//
//   thread (warp w, g = lane/4, c = lane%4) of a warpgroup holds rows 16w+g and 16w+g+8, columns 8j+2c and 8j+2c+1:
//   acc[4j + 2h + i] = D[16w + g + 8h][8j + 2c + i]
//
// With several phases (tile/phases.cuh) there is an accumulator tile for each, and column x of phase p is column
// x * kPhases + p of the rows: a lane's two columns of all phases are 2 * kPhases neighbours.
//
// Each warp stages a few rows in its own shared memory and lets the copy engine write them; no other warp waits. One lane, the
// elected one, starts the copies and waits for them: behind another condition ptxas makes them a loop over lanes.
// Store modes:
//   windows  memory-bound problems. Each row writes the part of its N columns that begins on its own 32-byte sector:
//            columns [s, s + N - sector). Tiles advance by N - sector; no partial sectors between tiles.
//   ends     compute-bound problems with unaligned rows. Tiles advance by N; the aligned middle goes by bulk store, the
//            two ragged ends (together one sector) by plain stores.
//   direct   rows on 16-byte boundaries: straight from registers, no staging. One phase.
//   whole    rows on 16-byte boundaries: as ends, but all columns go by bulk store.
//   sectors  f32, one phase: as windows, straight from registers. Lanes of a quad exchange columns so that they hold one
//            whole sector of their row; a warp's store writes eight of them. No staging, nothing to wait for.

enum class Store { windows, ends, direct, whole, sectors };

template <class E> LC_DEVICE void store_element(E* p, uint32_t bits);
template <> LC_DEVICE void store_element<float>(float* p, uint32_t bits) { *reinterpret_cast<uint32_t*>(p) = bits; }
template <> LC_DEVICE void store_element<bf16>(bf16* p, uint32_t bits) { p->bits = static_cast<uint16_t>(bits); }
template <> LC_DEVICE void store_element<f16>(f16* p, uint32_t bits) { p->bits = static_cast<uint16_t>(bits); }

// Where a warp's 16 rows go. Row r of the warp is y + r*pitch elements, valid for r < rows; columns are valid below `columns`
// (and never below 0).
template <class E> struct RowsOut {
  E* y;              // row 0, column 0 of this window
  int64_t pitch;         // elements between rows
  int rows;          // valid rows, may be <= 0
  int columns;       // valid columns of the window, may exceed its width or be <= 0
  bool first, last;  // first / last window of the row
};

// P: Element, kColumns (N, of a phase), kPhases, kStore, kStageRows (4 or 8).
template <class P> struct RowStore {
  using E = typename P::Element;
  static constexpr int kBytes = sizeof(E), kN = P::kColumns, kPhases = P::kPhases, kSector = 32 / kBytes, kAlign = 16 / kBytes;
  static constexpr bool kStaged = P::kStore != Store::direct && P::kStore != Store::sectors;
  static constexpr bool kWindowed = P::kStore == Store::windows || P::kStore == Store::sectors;
  static constexpr int kWidth = kN * kPhases;  // columns of a window
  // Steps between windows, of a phase and of the row: the next window begins to write on its first sector boundary.
  static constexpr int kPhaseStep = !kWindowed ? kN : kPhases == 1 ? kN - kSector : kN - ceil_div(kSector - 1, kPhases);
  static constexpr int kStep = kPhaseStep * kPhases;
  static constexpr bool kWholeSectors = kStep % kSector == 0;  // every window begins as far from a sector as the others
  static constexpr int kRows = P::kStageRows;
  // Room for a row's place in its first sector; and the fragment's stores, of 8 bytes (16-bit: 4) of four lanes of a row, 2 * kPhases
  // elements apart, meet in few banks: rows begin an odd number of sectors apart, of f32 and an even number of phases 64 bytes more
  // than a multiple of 128, of 16 bits an odd number of 16 bytes.
  static constexpr int kRoom = kWidth * kBytes + (kBytes == 2 ? 16 : 32);
  static constexpr int kPitchBytes = kBytes == 2       ? kRoom + (kRoom % 32 == 16 ? 0 : 16)
                                     : kPhases % 2 == 1 ? kRoom + (kRoom % 64 == 32 ? 0 : 32)
                                                        : kRoom + (192 - kRoom % 128) % 128;
  static_assert(kPhases == 1 || kStaged, "phases meet in shared memory");
  using Accumulators = const float (&)[kPhases][kN / 2];
  static constexpr int kStageBytes = kStaged ? kRows * kPitchBytes : 0;  // of one warp

  static LC_DEVICE uint32_t misalignment(const E* p) { return static_cast<uint32_t>(reinterpret_cast<uint64_t>(p) & 15) / kBytes; }
  // Columns to the next sector boundary.
  static LC_DEVICE int to_sector(const E* p) { return static_cast<int>(0u - static_cast<uint32_t>(reinterpret_cast<uint64_t>(p)) & 31u) / kBytes; }

  static LC_DEVICE void store(Accumulators acc, const RowsOut<E>& out, uint32_t stage, int lane) {
    if constexpr (P::kStore == Store::direct) store_direct(acc[0], out, lane);
    else if constexpr (P::kStore == Store::sectors) store_sectors(acc[0], out, lane);
    else store_staged(acc, out, stage, lane);
  }
  // Of a row that begins at `row`, columns [begin, end) are this window's to write; `columns` exist.
  static LC_DEVICE int begin_column(const E* row, bool first) { return kWindowed && !first ? to_sector(row) : 0; }
  static LC_DEVICE int end_column(const E* row, int columns, bool last) { return min(columns, kWindowed && !last ? window_end(row) : kWidth); }
  // Before the kernel ends: shared memory must outlive the copies that read it.
  static LC_DEVICE void finish() {
    if constexpr (kStaged) {
      if (elect_one()) bulk_wait<0>();
      __syncwarp();
    }
  }

 private:
  static LC_DEVICE void stage_row(Accumulators acc, int h, uint32_t a, bool odd) {
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
      for (int e = 0; e < kPhases; ++e) {  // pairs of the 2 * kPhases neighbours
        const float v0 = acc[2 * e % kPhases][4 * j + 2 * h + 2 * e / kPhases];
        const float v1 = acc[(2 * e + 1) % kPhases][4 * j + 2 * h + (2 * e + 1) / kPhases];
        const uint32_t to = a + (8 * j * kPhases + 2 * e) * kBytes;
        if constexpr (kBytes == 2) {
          const uint32_t v = pack2<E>(v0, v1);
          if (!odd) store_shared_u32(to, v);
          else { store_shared_u16(to, v); store_shared_u16(to + 2, v >> 16); }
        } else if (!odd) {
          store_shared_v2(to, v0, v1);
        } else {
          store_shared_u32(to, __float_as_uint(v0));
          store_shared_u32(to + 4, __float_as_uint(v1));
        }
      }
    }
  }

  static LC_DEVICE void store_staged(Accumulators acc, const RowsOut<E>& out, uint32_t stage, int lane) {
    const int g = lane >> 2, c = lane & 3;
    const bool edge = P::kStore == Store::windows ? out.first || out.last || out.columns < kWidth : out.columns < kWidth;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int q = 0; q < 8 / kRows; ++q) {
        const int row0 = h * 8 + q * kRows;
        if (elect_one()) bulk_wait_read<0>();
        __syncwarp();
        if (kRows == 8 || g / kRows == q) {
          const uint32_t pad = misalignment(out.y + (h * 8 + g) * out.pitch);
          stage_row(acc, h, stage + (g % kRows) * kPitchBytes + (pad + 2 * c * kPhases) * kBytes, pad & 1);
        }
        fence_proxy_async();
        __syncwarp();
        if (!edge) {
          if (elect_one()) {
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
              if (row0 + r >= out.rows) continue;
              E* row = out.y + (row0 + r) * out.pitch;
              const int s = P::kStore == Store::whole ? 0 : to_sector(row);
              const int columns = P::kStore == Store::whole  ? kWidth
                                  : P::kStore == Store::ends ? kWidth - kSector
                                  : kWholeSectors            ? kStep
                                                             : window_end(row) - s;
              bulk_store(row + s, stage + r * kPitchBytes + (misalignment(row) + s) * kBytes, columns * kBytes);
            }
            bulk_commit();
          }
          if constexpr (P::kStore == Store::ends) {
#pragma unroll
            for (int i = 0; i < kRows * kSector / 32; ++i) {
              const int r = (i * 32 + lane) / kSector, e = (i * 32 + lane) % kSector;
              E* row = out.y + (row0 + r) * out.pitch;
              const int column = e < to_sector(row) ? e : kWidth - kSector + e;
              if (row0 + r < out.rows) store_element(row + column, staged(stage, r, row, column));
            }
          }
        } else {
#pragma unroll 1
          for (int r = 0; r < kRows && row0 + r < out.rows; ++r) {
            E* row = out.y + (row0 + r) * out.pitch;
            const int end = end_column(row, out.columns, out.last);
            for (int column = begin_column(row, out.first) + lane; column < end; column += 32)
              store_element(row + column, staged(stage, r, row, column));
          }
        }
      }
    }
  }

  // The column at which the next window begins to write.
  static LC_DEVICE int window_end(const E* row) { return kStep + to_sector(kWholeSectors ? row : row + kStep); }

  static LC_DEVICE uint32_t staged(uint32_t stage, int r, const E* row, int column) {
    const uint32_t a = stage + r * kPitchBytes + (misalignment(row) + column) * kBytes;
    return kBytes == 2 ? load_shared_u16(a) : load_shared_u32(a);
  }

  // Row r's sectors begin at column s = to_sector(row). Of sector m, lane c of the quad writes columns x = s + 8m + 2c + i,
  // i = 0, 1. With d = s + i, x is in group m + (c + d/2)/4 of eight columns, at lane (c + d/2) mod 4 and place d mod 2 of
  // its pair: for each i one shuffle, before which a lane chooses the register that its reader wants.
  static LC_DEVICE void store_sectors(const float (&acc)[kN / 2], const RowsOut<E>& out, int lane) {
    static_assert(kBytes == 4, "a quad holds one sector of f32");
    const int g = lane >> 2, c = lane & 3;
    const bool edge = out.first || out.last || out.columns < kN;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      E* row = out.y + (h * 8 + g) * out.pitch;
      const bool valid = h * 8 + g < out.rows;
      const int s = to_sector(row);
      if (!edge) {
        const bool odd = s & 1;
        const int d0 = s >> 1, d1 = (s + 1) >> 1, from0 = (lane & ~3) | ((c + d0) & 3), from1 = (lane & ~3) | ((c + d1) & 3);
        const bool wrap0 = c < d0, wrap1 = c < d1;
#pragma unroll
        for (int m = 0; m < kN / 8 - 1; ++m) {
          const float even = acc[4 * m + 2 * h], uneven = acc[4 * m + 2 * h + 1];
          const float next_even = acc[4 * m + 4 + 2 * h], next_uneven = acc[4 * m + 5 + 2 * h];
          const float a = odd ? (wrap0 ? next_uneven : uneven) : (wrap0 ? next_even : even);
          const float b = odd ? (wrap1 ? next_even : even) : (wrap1 ? next_uneven : uneven);
          const float2 pair = make_float2(__shfl_sync(~0u, a, from0), __shfl_sync(~0u, b, from1));
          if (valid) *reinterpret_cast<float2*>(row + s + 8 * m + 2 * c) = pair;
        }
      } else if (valid) {
        const int begin = begin_column(row, out.first), end = end_column(row, out.columns, out.last);
#pragma unroll
        for (int i = 0; i < kN / 4; ++i) {
          const int column = i / 2 * 8 + 2 * c + i % 2;
          if (column >= begin && column < end) row[column] = acc[4 * (i / 2) + 2 * h + i % 2];
        }
      }
    }
  }

  static LC_DEVICE void store_direct(const float (&acc)[kN / 2], const RowsOut<E>& out, int lane) {
    const int g = lane >> 2, c = lane & 3;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if constexpr (kBytes == 4) {
        // Two lanes exchange pairs so that each holds 4 consecutive columns: a quad writes two sectors of its row at once.
        const bool odd = c & 1;
#pragma unroll
        for (int j = 0; j < kN / 8; j += 2) {
          const float* own = acc + 4 * j + 2 * h;  // pairs of groups j and j + 1: own[0], own[1] and own[4], own[5]
          const float a = __shfl_xor_sync(~0u, odd ? own[0] : own[4], 1), b = __shfl_xor_sync(~0u, odd ? own[1] : own[5], 1);
          const int column = 8 * (j + odd) + 4 * (c >> 1);
          if (h * 8 + g < out.rows && column < out.columns)
            *reinterpret_cast<float4*>(out.y + (h * 8 + g) * out.pitch + column) =
                odd ? make_float4(a, b, own[4], own[5]) : make_float4(own[0], own[1], a, b);
        }
      }
      if constexpr (kBytes == 2) {
        // The four lanes of a quad exchange pairs so that each holds 8 consecutive columns (a 4x4 transpose of words).
        const bool odd = c & 1, high = c & 2;
#pragma unroll
        for (int m = 0; m < kN / 32; ++m) {
          uint32_t p[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) p[i] = pack2<E>(acc[4 * (4 * m + i) + 2 * h], acc[4 * (4 * m + i) + 2 * h + 1]);
          const uint32_t r0 = __shfl_xor_sync(~0u, odd ? p[0] : p[1], 1), r1 = __shfl_xor_sync(~0u, odd ? p[2] : p[3], 1);
          const uint32_t a0 = odd ? r0 : p[0], a1 = odd ? p[1] : r0, b0 = odd ? r1 : p[2], b1 = odd ? p[3] : r1;
          const uint32_t q0 = __shfl_xor_sync(~0u, high ? a0 : b0, 2), q1 = __shfl_xor_sync(~0u, high ? a1 : b1, 2);
          const uint4 v = high ? make_uint4(q0, q1, b0, b1) : make_uint4(a0, a1, q0, q1);
          const int column = (4 * m + c) * 8;
          if (h * 8 + g < out.rows && column < out.columns)
            *reinterpret_cast<uint4*>(out.y + (h * 8 + g) * out.pitch + column) = v;
        }
      }
    }
  }
};

// Bias, residual and activation on the fragment of one phase, in f32. residual: row 0, column 0 of the window, or null.
template <class E, Activation kActivation, int kN, int kPhases>
LC_DEVICE void apply_epilogue(float (&acc)[kN / 2], int phase, const RowsOut<E>& out, const E* bias, const E* residual,
                              int64_t residual_pitch, float negative_slope, int lane) {
  const int g = lane >> 2, c = lane & 3;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = h * 8 + g;
    const bool valid = r < out.rows;
    const float b = bias && valid ? to_float(bias[r]) : 0.f;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& v = acc[4 * j + 2 * h + i];
        const int column = (8 * j + 2 * c + i) * kPhases + phase;
        v += b;
        if (residual && valid && column < out.columns) v += to_float(residual[r * residual_pitch + column]);
        v = activate<kActivation>(v, negative_slope);
      }
    }
  }
}

// ---- tile/finish_rows.cuh --------------------------------------------------------------------------------------------
// From a warp's finished sums to rows of y: where they go, epilogue, store.

// After the last wgmma has ended: accumulators of phases that have taps hold their sums, the others zero.
template <class C, int kPhases, int kCount> LC_DEVICE void settle_phases(float (&acc)[kPhases][kCount]) {
#pragma unroll
  for (int phase = 0; phase < kPhases; ++phase) {
    if (C::has_taps(phase)) {
      keep_registers(acc[phase]);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) acc[phase][i] = 0.f;
    }
  }
}

// C: kStep, kOutChannels, kBias, kResidual, kActivation. `channel0`: the warp's first output channel of the item's group;
// `way`: which of the block's stretches of time.
template <class C, class Rows, class P, int kPhases, int kCount>
LC_DEVICE void finish_rows(float (&acc)[kPhases][kCount], const P& p, const Item& item, int channel0, int way, uint32_t stage, int lane) {
  using Element = typename C::Element;
  const int64_t row0 = static_cast<int64_t>(item.group) * C::kOutChannels + channel0;
  const int64_t t0 = static_cast<int64_t>(item.tile) * C::kStep + way * Rows::kStep;
  RowsOut<Element> out;
  out.y = p.y + item.batch * p.y_batch + row0 * p.y_channel + t0;
  out.pitch = p.y_channel;
  out.rows = C::kOutChannels - channel0;
  out.columns = static_cast<int>(min(p.out_length - t0, static_cast<int64_t>(1 << 30)));
  out.first = t0 == 0;
  out.last = out.columns <= Rows::kStep;
  if (C::kBias || C::kResidual || C::kActivation != Activation::none) {
#pragma unroll
    for (int phase = 0; phase < kPhases; ++phase)
      apply_epilogue<Element, C::kActivation, 2 * kCount, kPhases>(
          acc[phase], phase, out, C::kBias ? p.bias + row0 : nullptr,
          C::kResidual ? p.residual + item.batch * p.residual_batch + row0 * p.residual_channel + t0 : nullptr, p.residual_channel,
          p.negative_slope, lane);
  }
  if (out.columns > 0) Rows::store(acc, out, stage, lane);
}

// ---- ptx/ldmatrix.cuh ------------------------------------------------------------------------------------------------
/// ldmatrix and stmatrix: 8 x 8 matrices of 16-bit elements between shared memory and the fragments of mma.sync.
/// Each lane gives the address of one 16-byte row: lanes 0-7 of the first matrix, 8-15 of the second, and so on. A lane
/// receives elements (lane / 4, 2 * (lane % 4)) and the next one of each matrix; with `transposed` those of its transpose.

namespace longconv {
namespace ptx {

__device__ __forceinline__ void load_matrix_x1(uint32_t (&m)[1], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(m[0]) : "r"(row));
}
__device__ __forceinline__ void load_matrix_x2(uint32_t (&m)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(m[0]), "=r"(m[1]) : "r"(row));
}
__device__ __forceinline__ void load_matrix_x4(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row));
}
__device__ __forceinline__ void load_matrix_x2_transposed(uint32_t (&m)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(m[0]), "=r"(m[1]) : "r"(row));
}
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row));
}

__device__ __forceinline__ void store_matrix_x4(uint32_t row, const uint32_t (&m)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(m[0]), "r"(m[1]),
               "r"(m[2]), "r"(m[3])
               : "memory");
}
__device__ __forceinline__ void store_matrix_x4_transposed(uint32_t row, const uint32_t (&m)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(m[0]), "r"(m[1]),
               "r"(m[2]), "r"(m[3])
               : "memory");
}

}  // namespace ptx
}  // namespace longconv

// ---- tile/phases.cuh -------------------------------------------------------------------------------------------------
// Outputs in interleaved phases: y[p + kPhases*m] takes the taps of phase p, which read x at m + offset(k).
//
//   phase(k) = (kShift - k*kDilation) mod kPhases,   offset(k) = (k*kDilation + phase(k) - kShift) / kPhases
//
// That is a convolution's data gradient (kPhases its stride, k counted from its last tap, kShift what of the first offset is no whole
// step): see src/cuda/polyphase_problem.h. Among kPeriod consecutive taps no two have the same phase, and tap
// k + kPeriod has tap k's phase, kRowStep samples on. With one phase: phase 0, offset k*kDilation.

LC_CONSTEXPR int64_t gcd_of_wide(int64_t a, int64_t b) { return b ? gcd_of_wide(b, a % b) : a; }

template <int64_t kPhases, int64_t kDilation, int64_t kShift, int64_t kKernel> struct Phases {
  static constexpr int64_t kDivisor = gcd_of_wide(kPhases, kDilation), kCycle = kPhases / kDivisor;
  static constexpr int64_t kPeriod = kCycle < kKernel ? kCycle : kKernel, kRowStep = kDilation / kDivisor;

  static LC_CONSTEXPR int64_t phase(int64_t tap) { return ((kShift - tap * kDilation) % kPhases + kPhases) % kPhases; }
  static LC_CONSTEXPR int64_t offset(int64_t tap) { return (tap * kDilation + phase(tap) - kShift) / kPhases; }
  // The first of a phase's taps; kCycle or more, or not below kKernel: it has none.
  static LC_CONSTEXPR int64_t first_tap(int64_t phase) {
    const int64_t wanted = kShift - phase;
    if (wanted % kDivisor != 0) return kKernel;
    return ((wanted / kDivisor % kCycle + kCycle) * kInverse) % kCycle;
  }

 private:
  // kRowStep * kInverse = 1 modulo kCycle.
  static LC_CONSTEXPR int64_t inverse(int64_t a, int64_t n) {
    int64_t r0 = n, r1 = a % n, t0 = 0, t1 = 1;
    while (r1 != 0) {
      const int64_t q = r0 / r1, r2 = r0 - q * r1, t2 = t0 - q * t1;
      r0 = r1, r1 = r2, t0 = t1, t1 = t2;
    }
    return (t0 % n + n) % n;
  }
  static constexpr int64_t kInverse = kCycle == 1 ? 0 : inverse(kRowStep, kCycle);
};

// ---- tile/pack_order.cuh ---------------------------------------------------------------------------------------------
// Packed rows: a tap of a strided convolution reads every stride-th sample, so samples are kept by residue (polyphase):
// plane p, row r holds raw element e = r*kStride + residue(p). Tap k is row k*dilation/stride of plane k*dilation mod stride.

// Which residues of time the taps of one group need: all of them, or one plane for each tap.
template <int kStrideSamples, int kDilationSamples, int kGroupTaps> struct Polyphase {
  static constexpr int kStride = kStrideSamples, kDilation = kDilationSamples, kTaps = kGroupTaps;
  static constexpr int kResidueStep = gcd_of(kDilation % kStride ? kDilation % kStride : kStride, kStride);
  static constexpr bool kAllResidues = kTaps >= kStride / kResidueStep;
  static constexpr int kPlanes = kAllResidues ? kStride / kResidueStep : kTaps;
  static LC_CONSTEXPR int plane(int tap) { return kAllResidues ? tap * kDilation % kStride / kResidueStep : tap; }
  static LC_CONSTEXPR int residue(int plane) { return kAllResidues ? plane * kResidueStep : plane * kDilation % kStride; }
  // The row, counted over all planes of `plane_rows` rows, at which a tap's samples begin.
  static LC_DEVICE int tap_row(int tap, int plane_rows) { return plane(tap) * plane_rows + tap * kDilation / kStride; }
  // Rows that a group's taps read beyond those of one tap; samples between the windows of neighbouring groups.
  static constexpr int kTapRows = (kTaps - 1) * kDilation / kStride;
  static constexpr int64_t kGroupStep = static_cast<int64_t>(kTaps) * kDilation;
  // All outputs are of one phase (tile/phases.cuh).
  static constexpr int kPhases = 1, kPeriod = 1;
  static LC_CONSTEXPR int phase(int) { return 0; }
  static LC_CONSTEXPR bool has_taps(int) { return true; }
};

// The taps of outputs in kPhases interleaved phases: the signal is read with stride 1, in one plane. A group has whole periods of
// taps, or is the only one.
template <int kOutPhases, int kDilationSamples, int kShift, int kGroupTaps, int kKernel> struct Interleaved {
  using All = Phases<kOutPhases, kDilationSamples, kShift, kKernel>;
  static constexpr int kPhases = kOutPhases, kPeriod = static_cast<int>(All::kPeriod), kTaps = kGroupTaps;
  static_assert(kTaps % kPeriod == 0 || kTaps == kKernel, "groups begin with the same phase");
  static constexpr int kStride = 1, kDilation = kDilationSamples, kPlanes = 1;
  static LC_CONSTEXPR int residue(int) { return 0; }
  static LC_CONSTEXPR int phase(int tap) { return static_cast<int>(All::phase(tap)); }
  static LC_CONSTEXPR bool has_taps(int phase) { return All::first_tap(phase) < kKernel; }
  static LC_DEVICE int tap_row(int tap, int) { return (tap * kDilation - kShift + kPhases - 1) / kPhases; }
  static constexpr int kTapRows = max_of(0, ((kTaps - 1) * kDilation - kShift + kPhases - 1) / kPhases);
  static constexpr int64_t kGroupStep = static_cast<int64_t>(kTaps) * kDilation / kPhases;
};

// By the number of phases.
template <int kPhases, int kShift, int kStride, int kDilation, int kTaps, int kKernel>
struct TapRows : Interleaved<kPhases, kDilation, kShift, kTaps, kKernel> {};
template <int kShift, int kStride, int kDilation, int kTaps, int kKernel>
struct TapRows<1, kShift, kStride, kDilation, kTaps, kKernel> : Polyphase<kStride, kDilation, kTaps> {};

// Which row of which plane lane-step `i` writes, and the raw element it comes from. When every residue is needed, lanes
// run along raw time (loads without bank conflicts for any stride; kPlaneRows mod 8 is chosen so that the stores have
// none either); otherwise plane by plane.
template <class G> struct PackOrder {
  static constexpr bool kAlongTime = G::kStride > 1 && G::kPlanes == G::kStride;
  static constexpr int kPerPlane = ceil_div(G::kPlaneRows, 32);
  static constexpr int kSteps = kAlongTime ? ceil_div(G::kRawNeeded, 32) : kPerPlane * G::kPlanes;
  int element, row;  // row counted over all planes
  LC_DEVICE PackOrder(int step, int lane) {
    if (kAlongTime) {
      element = min(step * 32 + lane, G::kRawNeeded - 1);
      row = element % G::kStride * G::kPlaneRows + element / G::kStride;
    } else {
      const int plane = step % G::kPlanes, r = min(step / G::kPlanes * 32 + lane, G::kPlaneRows - 1);
      element = min(r * G::kStride + G::residue(plane), G::kRawNeeded - 1);
      row = plane * G::kPlaneRows + r;
    }
  }
};
// Rows of a plane: at least `needed`; see PackOrder for the residue mod 8 (stride 1: whole 8-row blocks).
LC_CONSTEXPR int plane_rows(int needed, int stride) {
  const int want = stride == 1 ? 0 : stride == 2 ? 4 : stride == 4 ? 2 : stride % 8 == 0 ? 1 : stride % 8;
  return needed + ((want - needed) % 8 + 8) % 8;
}

// ---- tile/signal.cuh -------------------------------------------------------------------------------------------------
// Reading a signal beyond its ends, without a padded copy.

// As longconv::PadMode; `none` is zeros with both pads 0: then no window leaves the signal.
enum class Pad { none, zeros, reflect, replicate, circular };

// Sample that stands at position p of the padded signal (p counted from the first real sample), or -1 for "nothing".
// Positions beyond what any window reads (tile overhang) may be far outside: they give some sample or nothing.
template <Pad kPad> LC_DEVICE int64_t padded_index(int64_t p, int64_t length) {
  if (kPad == Pad::reflect) {
    if (p < 0) p = -p;
    if (p >= length) p = 2 * (length - 1) - p;
  } else if (kPad == Pad::replicate) {
    p = p < 0 ? 0 : p >= length ? length - 1 : p;
  } else if (kPad == Pad::circular) {
    if (p < 0) p += length;
    if (p >= length) p -= length;
  }
  return p >= 0 && p < length ? p : -1;
}

// ---- tile/pack_rows.cuh ----------------------------------------------------------------------------------------------
// Packing: one 16-byte channel chunk of raw NCW rows becomes packed time rows of 16 bytes,
//
//   raw    [channel j of the chunk][time e]            packed [plane p][row r] = 16 bytes: channels 0..CE-1
//   at     raw + j*kRawPitch + (shift[j] + e)*kBytes   at     dst + (p*kPlaneRows + r)*16,   e = r*kStride + residue(p)
//
// so that a tap is a row offset inside a plane (polyphase for strides). Every lane owns rows; a warp packs a chunk.

// TF32 rounding (ptx/conversions.cuh: round_tf32) in two halves: store_packed adds half a unit; before, values for which that is
// not the rounding (NaN, and finite ones that would become Inf) are changed so that it is. One warp vote for a batch.
template <int kCount> LC_DEVICE void prepare_tf32(uint32_t (&v)[kCount]) {
  float largest = 0.f;
#pragma unroll
  for (int i = 0; i < kCount; ++i) largest = max_nan(largest, fabsf(__uint_as_float(v[i])));
  if (__any_sync(~0u, !(largest < __uint_as_float(0x7f7ff000u)))) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = round_tf32(v[i]) - 0x1000u;
  }
}

// Geometry G: Element, kBytes, kChunk (elements of 16 bytes), kStride, kPlanes, kPlaneRows, residue(p), kRawPitch, kFewRegisters.
template <class G> LC_DEVICE void store_packed(uint32_t dst, const uint32_t (&v)[G::kChunk]) {
  if constexpr (G::kBytes == 2)
    store_shared_v4(dst, v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
  else
    store_shared_v4(dst, v[0] + 0x1000u, v[1] + 0x1000u, v[2] + 0x1000u, v[3] + 0x1000u);
}

// Any stride and any alignment: the row of channel j starts `offset[j]` bytes into `raw`. With kMask, elements
// outside [valid_begin, valid_end) become zero (zero padding); without, they are whatever lies there. kUniform: all rows
// start as the first does, so that their distances are constants.
template <class G, bool kMask, bool kUniform>
LC_DEVICE void pack_any(uint32_t raw, const uint32_t (&offset)[G::kChunk], uint32_t dst, int lane, int valid_begin, int valid_end) {
  using Order = PackOrder<G>;
  constexpr int kSteps = Order::kSteps;
  constexpr int kBatch = kMask ? 2 : G::kBytes == 2 ? (G::kFewRegisters ? 2 : 3) : G::kFewRegisters ? 3 : 5;  // loads of a batch before its stores: the latency is paid once a batch
#pragma unroll
  for (int s0 = 0; s0 < kSteps; s0 += kBatch) {
    uint32_t v[kBatch * G::kChunk];
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      const Order at(min(s0 + s, kSteps - 1), lane);
      const uint32_t a = raw + at.element * G::kBytes + (kUniform ? offset[0] : 0);
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) {
        uint32_t& value = v[s * G::kChunk + j];
        const uint32_t from = a + (kUniform ? j * G::kRawPitch : offset[j]);
        if (s0 + s < kSteps) value = G::kBytes == 2 ? load_shared_u16(from) : load_shared_u32(from);
        if (s0 + s >= kSteps || (kMask && (at.element < valid_begin || at.element >= valid_end))) value = 0;
      }
    }
    if constexpr (G::kBytes == 4) prepare_tf32(v);
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      if (s0 + s < kSteps) {
        uint32_t row[G::kChunk];
#pragma unroll
        for (int j = 0; j < G::kChunk; ++j) row[j] = v[s * G::kChunk + j];
        store_packed<G>(dst + Order(s0 + s, lane).row * 16, row);
      }
    }
  }
}

// 16-bit elements, strides 2, 4 and 8 with all residues, rows that start alike, on 4-byte boundaries: a lane loads pairs of neighbours and
// writes them to their two planes. Loads and stores without bank conflicts, half the loads of pack_any.
template <class G> LC_DEVICE void pack_pairs(uint32_t raw, uint32_t dst, int lane) {
  constexpr int kPairs = ceil_div(G::kRawNeeded, 2), kSteps = ceil_div(kPairs, 32), kBatch = G::kFewRegisters ? 2 : 3;
#pragma unroll
  for (int s0 = 0; s0 < kSteps; s0 += kBatch) {
    uint32_t v[kBatch][8];
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      const uint32_t a = raw + min((s0 + s) * 32 + lane, kPairs - 1) * 4;
#pragma unroll
      for (int j = 0; j < 8; ++j)
        if (s0 + s < kSteps) v[s][j] = load_shared_u32(a + j * G::kRawPitch);
    }
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      if (s0 + s < kSteps) {
        const int element = 2 * min((s0 + s) * 32 + lane, kPairs - 1);  // even, as the stride: both in the same row
        const uint32_t to = dst + (element % G::kStride * G::kPlaneRows + element / G::kStride) * 16;
        uint32_t even[4], odd[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          even[j] = __byte_perm(v[s][2 * j], v[s][2 * j + 1], 0x5410);
          odd[j] = __byte_perm(v[s][2 * j], v[s][2 * j + 1], 0x7632);
        }
        store_shared_v4(to, even[0], even[1], even[2], even[3]);
        store_shared_v4(to + G::kPlaneRows * 16, odd[0], odd[1], odd[2], odd[3]);
      }
    }
  }
}

// A whole window, by the quickest way that its rows allow. `uniform`: all rows start as the first does.
template <class G>
LC_DEVICE void pack_window(uint32_t raw, const uint32_t (&offset)[G::kChunk], bool uniform, uint32_t dst, int lane) {
  if (!uniform) {
    pack_any<G, false, false>(raw, offset, dst, lane, 0, 0);
    return;
  }
  if constexpr (G::kBytes == 2 && PackOrder<G>::kAlongTime && (G::kStride == 2 || G::kStride == 4 || G::kStride == 8)) {
    if (!(offset[0] & 3)) {
      pack_pairs<G>(raw + offset[0], dst, lane);
      return;
    }
  }
  pack_any<G, false, true>(raw, offset, dst, lane, 0, 0);
}

// 16-bit elements, stride 1, rows on 16-byte boundaries: 8x8 transposes between ldmatrix and stmatrix, no bank conflict
// when the raw pitch is an odd multiple of 16 bytes.
template <class G> LC_DEVICE void pack_transposed(uint32_t raw, uint32_t dst, int lane) {
  constexpr int kBlocks = G::kPlaneRows / 8, kSteps = ceil_div(kBlocks, 4), kBatch = G::kFewRegisters ? 4 : 5;
#pragma unroll
  for (int s0 = 0; s0 < kSteps; s0 += kBatch) {
    uint32_t v[kBatch][4];
#pragma unroll
    for (int s = 0; s < kBatch; ++s)
      if (s0 + s < kSteps)
        load_matrix_x4_transposed(v[s], raw + (lane & 7) * G::kRawPitch + min((s0 + s) * 4 + (lane >> 3), kBlocks - 1) * 16);
#pragma unroll
    for (int s = 0; s < kBatch; ++s)
      if (s0 + s < kSteps) store_matrix_x4(dst + (min((s0 + s) * 4 + (lane >> 3), kBlocks - 1) * 8 + (lane & 7)) * 16, v[s]);
  }
}

// Straight from global memory, element by element: any time stride, any padding mode. x points at sample 0 of the
// chunk's first channel; `first` is the padded position of raw element 0; channels from `channels` on are zero.
template <class G, Pad kPad>
LC_DEVICE void pack_gather(const typename G::Element* x, int64_t channel_stride, int64_t time_stride, int channels, int64_t first,
                           int64_t length, uint32_t dst, int lane) {
#pragma unroll 2
  for (int step = 0; step < PackOrder<G>::kSteps; ++step) {
    const PackOrder<G> at(step, lane);
    const int64_t t = padded_index<kPad>(first + at.element, length);
    uint32_t v[G::kChunk];
#pragma unroll
    for (int j = 0; j < G::kChunk; ++j) {
      v[j] = 0;
      if (j < channels && t >= 0) {
        if constexpr (G::kBytes == 2) v[j] = reinterpret_cast<const uint16_t*>(x)[j * channel_stride + t * time_stride];
        else v[j] = reinterpret_cast<const uint32_t*>(x)[j * channel_stride + t * time_stride];
      }
    }
    if constexpr (G::kBytes == 4) prepare_tf32(v);
    store_packed<G>(dst + at.row * 16, v);
  }
}

// ---- tile/activation_gradient.cuh ------------------------------------------------------------------------------------
// Through an activation whose derivative is a function of its result: dL/dz = dy * act'(z), where dy = dL/dy and y = act(z).
//
//   relu  y <= 0 ? 0 : dy       leaky_relu  y > 0 ? dy : dy * slope       tanh  dy * (1 - y*y)       sigmoid  dy * (1 - y) * y
//
// In f32 (f64 for f64), rounded once to the element type: a kernel that forms it where it reads dy has the operand that a sweep of
// its own over memory would have stored. Where both are zeros, standing for what does not exist, so is the result.

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

// ---- tile/raw_ring.cuh -----------------------------------------------------------------------------------------------
// Loads of raw rows: for each unit (slot, channel group of the slot) the rows of one window, by bulk copy from the
// aligned-down address, so rows may begin on any element. A packer that works alone reissues a stage of its own after it has
// packed it, so no barrier leads back to the loader; a team's stages are filled by the weight warp when they are empty.
// Where x is the gradient of an activation's result (kGradientOf), a stage's second half is the same window of that result.

// Where a unit's raw window lies.
template <class Element> struct Window {
  const Element* row;  // position 0 of the unit's first channel
  int64_t first;           // signal position of raw element 0; negative inside the left padding
  int channels;        // channels that exist, may be <= 0 or above the unit's
};

// C: Element, kUnitChannels, kUnitsPerSlot, kSlotChannels, kTapGroups, kGroupStep, kUnits, kInChannels, kInputStep (samples between
// tiles), kPad, kRawNeeded, kRawPitch, kRawBytes, kRawStages, kTeam, kUnitStep, kGather, kWholeSlots, kGradientOf.
template <class C, class P> struct RawRing {
  using Element = typename C::Element;
  static constexpr int kBytes = sizeof(Element);
  static constexpr bool kGradient = C::kGradientOf != Activation::none;
  static constexpr int kSignals = kGradient ? 2 : 1;
  static_assert(!(kGradient && C::kGather), "what is gathered is the gradient itself");
  const P& p;
  const DrawnSchedule<C>& schedule;
  uint32_t memory, full, empty;  // this loader's stages and their barriers
  ItemCursor<C> at;      // of the next unit to load
  int lane, unit, stage = 0, empty_phase = 1;
  uint64_t pitch, base;   // bytes between channels; address of (batch, group, channel 0, sample 0) of the item
  int64_t first;         // raw element 0 of its tile, tap group 0

  // A packer's own stages; a team's, if kTeam > 1. By all lanes of a packer, or by the one lane that loads for a team.
  LC_DEVICE RawRing(const P& params, const DrawnSchedule<C>& s, uint32_t raw, const BlockBarriers<C>& barriers, int packer, int lane_index)
      : p(params), schedule(s), memory(raw + (C::kTeam == 1 ? packer * C::kRawStages * C::kRawBytes : 0)),
        full(barriers.raw_full + (C::kTeam == 1 ? 8 * packer * C::kRawStages : 0)), empty(barriers.raw_empty), at(s), lane(lane_index),
        unit(C::kTeam == 1 ? packer : 0), pitch(static_cast<uint64_t>(params.x_channel) * kBytes) {
    locate();
    settle();
  }
  // Starts the first loads.
  LC_DEVICE void fill() {
    for (int i = 0; i < C::kRawStages; ++i) issue();
  }
  // For a team, by one lane: starts the next load if a stage is empty. False when there is nothing left to load.
  LC_DEVICE bool poll() {
    if (C::kTeam == 1 || C::kGather || at.index >= schedule.end) return false;
    if (barrier_test_wait(empty + 8 * stage, empty_phase)) {
      issue();
      if (stage == 0) empty_phase ^= 1;
    }
    return true;
  }

  static LC_DEVICE Window<Element> window(const P& p, const Item& item, int unit) {
    const int slot = unit / C::kUnitsPerSlot, channel = first_channel(unit);
    return {p.x + item.batch * p.x_batch + (item.group * static_cast<int64_t>(C::kInChannels) + channel) * p.x_channel,
            item.tile * C::kInputStep - p.pad_left + slot % C::kTapGroups * C::kGroupStep,
            C::kInChannels - channel};
  }
  // Does the window leave the signal, so that padding has to be made?
  static LC_DEVICE bool crosses_edge(int64_t first, int64_t length) {
    return C::kPad != Pad::none && (first < 0 || first + C::kRawNeeded > length);
  }
  static LC_DEVICE int valid_begin(int64_t first) { return static_cast<int>(min(max(int64_t(0), -first), static_cast<int64_t>(C::kRawNeeded))); }
  static LC_DEVICE int valid_end(int64_t first, int64_t length) {
    return static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(C::kRawNeeded), length - first)));
  }

  // Starts the load of the next unit. Windows that padding modes fill element by element are skipped.
  LC_DEVICE void issue() {
    if (C::kGather || at.index >= schedule.end) return;
    if (C::kTeam > 1 || elect_one()) {
      const int slot = unit / C::kUnitsPerSlot, channel = first_channel(unit);
      const int64_t from = first + slot % C::kTapGroups * C::kGroupStep;
      load(base + channel * pitch + from * kBytes, from, C::kInChannels - channel, memory + stage * C::kRawBytes, full + 8 * stage);
    }
    if (++stage == C::kRawStages) stage = 0;
    unit += C::kUnitStep;
    settle();
  }

 private:
  static LC_DEVICE int first_channel(int unit) {
    return unit / C::kUnitsPerSlot / C::kTapGroups * C::kSlotChannels + unit % C::kUnitsPerSlot * C::kUnitChannels;
  }
  LC_DEVICE void locate() {
    if (at.index >= schedule.end) return;
    const Item item = schedule.item(at.index);
    base = reinterpret_cast<uint64_t>(p.x + item.batch * p.x_batch) + item.group * (C::kInChannels * pitch);
    first = item.tile * C::kInputStep - p.pad_left;
  }
  // An item may have fewer units than there are packers.
  LC_DEVICE void settle() {
    while (unit >= C::kUnits && at.index < schedule.end) {
      unit -= C::kUnits;
      at.advance(schedule);
      locate();
    }
  }

  LC_DEVICE void load_row(uint32_t dst, uint64_t source, uint32_t bytes, uint32_t bar) const {
    bulk_load(dst, reinterpret_cast<const void*>(source), bytes, bar);
    if constexpr (kGradient) bulk_load(dst + C::kRawBytes / 2, reinterpret_cast<const void*>(source + p.to_forward_y), bytes, bar);
  }

  // One lane, which ptxas knows to be one (elect_one), from uniform values, unrolled: else each bulk copy becomes a loop over lanes. `a`: address of raw element 0.
  LC_DEVICE void load(uint64_t a, int64_t from, int channels, uint32_t dst, uint32_t bar) const {
    int begin = 0, end = C::kRawNeeded;
    if (from < 0 || from + C::kRawNeeded > p.length) {
      begin = valid_begin(from);
      end = valid_end(from, p.length);
      if (end <= begin || C::kPad >= Pad::reflect) {  // nothing, or gathered by the packer
        barrier_arrive(bar);
        return;
      }
    }
    const int rows = C::kWholeSlots ? C::kUnitChannels : min(C::kUnitChannels, channels);
    const uint32_t head = begin * kBytes, tail = end * kBytes + 15;
    if ((pitch & 15) == 0) {  // every row begins on the same place of its 16 bytes
      const uint32_t low = static_cast<uint32_t>(a) & 15, skip = (low + head) & ~15u, bytes = ((low + tail) & ~15u) - skip;
      const uint64_t source = (a & ~15ul) + skip;
      barrier_arrive_expect(bar, kSignals * max(rows, 0) * bytes);
#pragma unroll
      for (int j = 0; j < C::kUnitChannels; ++j)
        if (C::kWholeSlots || j < rows) load_row(dst + skip + j * C::kRawPitch, source + j * pitch, bytes, bar);
    } else {
      uint32_t total = 0, low = static_cast<uint32_t>(a);
#pragma unroll
      for (int j = 0; j < C::kUnitChannels; ++j, low += static_cast<uint32_t>(pitch))
        if (C::kWholeSlots || j < rows) total += (((low & 15) + tail) & ~15u) - (((low & 15) + head) & ~15u);
      barrier_arrive_expect(bar, kSignals * total);
#pragma unroll 4
      for (int j = 0; j < C::kUnitChannels; ++j, a += pitch) {
        if (C::kWholeSlots || j < rows) {
          const uint32_t shift = static_cast<uint32_t>(a) & 15, skip = (shift + head) & ~15u;
          load_row(dst + skip + j * C::kRawPitch, (a & ~15ul) + skip, ((shift + tail) & ~15u) - skip, bar);
        }
      }
    }
  }
};

// ---- tile/weight_ring.cuh --------------------------------------------------------------------------------------------
// The weight warp: packed weights stream from L2 through rings of shared-memory stages, one ring for each group of
// MMA warpgroups that share output channels. One lane serves all rings in turn, so that none holds up another. In a cluster
// of two, each block reads half of every stage from L2 and the copy engine writes it into both.

// C: kRings, kWStages, kWStageBytes, kSweepStages (stages of one 64-channel block), kSweeps, kResident, kStationary
// (everything fits: loaded once), kSharedW, stage_bytes(position), kSweepBytes, kCluster.
// `raw`: the loads of a team of packers, served by the same lane; they need not wait for the kernel that packs the weights.
template <class C, class P, class Raw>
LC_DEVICE void weight_role(const P& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers, Raw& raw) {
  const uint32_t w_full = barriers.w_full, w_empty = barriers.w_empty;
  constexpr int kRings = C::kRings, kStages = C::kWStages;
  auto source = [&](int ring, const Item& item, int sweep) {
    const int block = (C::kResident ? sweep : item.sweep) * kRings + ring;
    return p.weights + (static_cast<int64_t>(item.group) * (C::kSweeps * kRings) + block) * C::kSweepBytes;
  };
  for (int i = 0; C::kTeam > 1 && i < C::kRawStages; ++i) raw.poll();
  wait_for_previous_kernel();
  if (C::kStationary) {  // one sweep, one group
    for (int ring = 0; ring < kRings; ++ring) {
      const uint8_t* from = source(ring, {0, 0, 0, 0}, 0);
      for (int i = 0; i < C::kSweepStages; ++i) {
        const uint32_t full = w_full + 8 * (ring * kStages + i);
        barrier_arrive_expect(full, C::stage_bytes(i));
        bulk_load(shared + C::kSharedW + (ring * kStages + i) * C::kWStageBytes, from, C::stage_bytes(i), full);
        from += C::stage_bytes(i);
      }
    }
    while (raw.poll()) {
    }
    return;
  }
  int stage[kRings] = {}, phase[kRings], sweep[kRings] = {}, position[kRings] = {};
  ItemCursor<C> item[kRings];
  const uint8_t* from[kRings];
#pragma unroll
  for (int r = 0; r < kRings; ++r) {
    phase[r] = 1;
    item[r] = ItemCursor<C>(schedule);
    if (schedule.begin < schedule.end) from[r] = source(r, schedule.item(schedule.begin), 0);
  }
  for (bool busy = true; busy;) {
    busy = raw.poll();
#pragma unroll
    for (int r = 0; r < kRings; ++r) {
      if (item[r].index >= schedule.end) continue;
      busy = true;
      const uint32_t full = w_full + 8 * (r * kStages + stage[r]);
      if (!barrier_test_wait(w_empty + 8 * (r * kStages + stage[r]), phase[r])) continue;
      const int bytes = C::stage_bytes(position[r]);
      barrier_arrive_expect(full, bytes);
      const uint32_t to = shared + C::kSharedW + (r * kStages + stage[r]) * C::kWStageBytes;
      if constexpr (C::kCluster == 1) {
        bulk_load(to, from[r], bytes, full);
      } else {  // this block's half, to both
        const int half = bytes / 2, offset = static_cast<int>(cluster_block_rank()) * half;
        bulk_load_multicast(to + offset, from[r] + offset, half, full, 3);
      }
      from[r] += bytes;
      if (++stage[r] == kStages) { stage[r] = 0; phase[r] ^= 1; }
      if (++position[r] == C::kSweepStages) {
        position[r] = 0;
        if (++sweep[r] == Schedule<C>::kSweepsPerItem) { sweep[r] = 0; item[r].advance(schedule); }
        if (item[r].index < schedule.end) from[r] = source(r, schedule.item(item[r].index), sweep[r]);
      }
    }
  }
}

// ---- tile/visit_marked.cuh -------------------------------------------------------------------------------------------
// Deals the marked tiles of a bitmap to the blocks of a grid: with few marks, an even share for each and a quick end for all.

// What the threads of a block tell each other of the words that they read.
template <int kThreads> struct MarkedWords {
  uint32_t words[kThreads], some[kThreads / 32];
};

// Calls use(tile, part) for this block's share of `parts` parts of every tile whose bit is set in marks[0, tiles), or of `all`
// tiles. By all kThreads (a multiple of 32) threads of a block, which then do the part together. Every block reads the whole bitmap.
template <int kThreads, class Use>
LC_DEVICE void visit_marked(MarkedWords<kThreads>& shared, const uint32_t* marks, bool all, int64_t tiles, int64_t parts, const Use& use) {
  constexpr int kAhead = 4, kWarps = kThreads / 32;
  const int64_t count = (tiles + 31) / 32;
  uint32_t turn = 0;  // of the next part, modulo the grid
  for (int64_t base = 0; base < count; base += kAhead * kThreads) {
    uint32_t ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t at = base + i * kThreads + threadIdx.x;
      ahead[i] = at >= count ? 0 : all ? ~0u : marks[at];
    }
#pragma unroll 1
    for (int i = 0; i < kAhead; ++i) {
      uint32_t word = ahead[0];
#pragma unroll
      for (int j = 1; j < kAhead; ++j)
        if (i == j) word = ahead[j];
      const uint32_t ballot = __ballot_sync(~0u, word != 0);
      __syncthreads();
      shared.words[threadIdx.x] = word;
      if (threadIdx.x % 32 == 0) shared.some[threadIdx.x / 32] = ballot;
      __syncthreads();
#pragma unroll 1
      for (int warp = 0; warp < kWarps; ++warp) {
        for (uint32_t lanes = shared.some[warp]; lanes; lanes &= lanes - 1) {
          const int at = warp * 32 + __ffs(lanes) - 1;
          for (uint32_t bits = shared.words[at]; bits; bits &= bits - 1) {
            const int64_t tile = (base + i * kThreads + at) * 32 + __ffs(bits) - 1;
            if (tile >= tiles) break;
            for (int64_t part = blockIdx.x >= turn ? blockIdx.x - turn : blockIdx.x + gridDim.x - turn; part < parts; part += gridDim.x) use(tile, part);
            turn = static_cast<uint32_t>((turn + parts) % gridDim.x);
          }
        }
      }
    }
  }
}

// ---- ptx/cp_async.cuh ------------------------------------------------------------------------------------------------
/// cp.async: copies from global to shared memory that each thread issues for itself (sm_80).

namespace longconv {
namespace ptx {

/// Copies `Bytes` (4, 8 or 16; both addresses aligned to it). Only the first `valid_bytes` are read, the rest of the
/// destination becomes zero; with 0 the source is not touched (but must be a global address).
template <int Bytes>
__device__ __forceinline__ void async_copy(uint32_t destination, const void* source, uint32_t valid_bytes = Bytes) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "cp.async moves 4, 8 or 16 bytes");
  if (Bytes == 16) {  // past the first-level cache, which only this size can
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(source), "r"(valid_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(destination), "l"(source), "n"(Bytes),
                 "r"(valid_bytes)
                 : "memory");
  }
}

__device__ __forceinline__ void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until all but the latest `Pending` groups of this thread are complete. Other threads see them after a barrier.
template <int Pending>
__device__ __forceinline__ void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace ptx
}  // namespace longconv

// ---- tile/row_loads.cuh ----------------------------------------------------------------------------------------------
// Windows of NCW rows into shared memory: copies of 16 bytes from the aligned-down address, so that a row may begin on any
// element, and what stands for samples that do not exist.

// Whether a value of this type with these bits is Inf or NaN.
template <class E> LC_DEVICE bool not_finite(uint32_t bits);
template <> LC_DEVICE bool not_finite<float>(uint32_t bits) { return (bits & 0x7f800000u) == 0x7f800000u; }
template <> LC_DEVICE bool not_finite<bf16>(uint32_t bits) { return (bits & 0x7f80u) == 0x7f80u; }
template <> LC_DEVICE bool not_finite<f16>(uint32_t bits) { return (bits & 0x7c00u) == 0x7c00u; }

// kElements: of a window. Element e of row r lies at r*kPitch + (address of its element 0 in memory mod 16) + e*kBytes.
template <class E, int kElements> struct RowWindow {
  static constexpr int kBytes = sizeof(E);
  // This much memory holds the window wherever in its first 16 bytes it begins.
  static constexpr int kCopyBytes = round_up(kElements * kBytes + 15, 16);
  static constexpr int kPitch = (kCopyBytes / 16 | 1) * 16;  // odd: 8 rows at one offset lie in different banks

  // A row's parts of 16 bytes, and rows that a warp's instruction copies.
  template <bool kAligned> struct Lanes {
    static constexpr int kParts = (kAligned ? kElements * kBytes : kCopyBytes) / 16, kRows = kParts < 32 ? 32 / kParts : 1;
  };

  // Elements [begin, end) of the window exist.
  int begin, end;
  LC_DEVICE RowWindow(int64_t first, int64_t length)
      : begin(static_cast<int>(min(max(int64_t(0), -first), static_cast<int64_t>(kElements)))),
        end(static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(kElements), length - first)))) {}
  LC_DEVICE bool whole() const { return begin == 0 && end == kElements; }

  // Starts the copies of `rows` rows at distances of `pitch` bytes from `a`, the address of element 0 of the first, by all lanes of a
  // warp: to the caller a group that each lane commits and waits for. Rows are too short for bulk copies, of which a warp starts
  // one at a time: here it starts up to 512 bytes with each instruction. Of the tensor's 16-byte parts, only those are read that
  // hold something of the window. Part i of row r goes to r*kRowBytes + i*kPartBytes. kAligned: rows begin on 16 bytes.
  template <int kRowBytes = kPitch, int kPartBytes = 16, bool kAligned = false>
  LC_DEVICE void load(uint64_t a, uint64_t pitch, int rows, uint32_t dst, int lane) const {
    constexpr int kParts = Lanes<kAligned>::kParts, kRows = Lanes<kAligned>::kRows;
    int row = kRows > 1 ? lane / kParts : 0;
    const int part = lane - row * kParts;
    const uint32_t first = begin * kBytes, last = end * kBytes;
    if (end <= begin || row == kRows) row = rows;
    a += row * pitch, dst += row * kRowBytes + part * kPartBytes;
#pragma unroll 4
    for (; row < rows; row += kRows, a += kRows * pitch, dst += kRows * kRowBytes) {
      const uint32_t low = kAligned ? 0 : static_cast<uint32_t>(a) & 15;
      const char* const from = reinterpret_cast<const char*>(a & ~15ul) + part * 16;
#pragma unroll
      for (int more = 0; more < kParts; more += 32) {
        const uint32_t at = (part + more) * 16;
        if (low + last > at && low + first < at + 16) async_copy<16>(dst + more * kPartBytes, from + more * 16);
      }
    }
  }
  // What this lane adds to a window's address for load_inner().
  template <bool kAligned = false> static LC_DEVICE int64_t inner_offset(int64_t pitch, int lane) {
    const int row = lane / Lanes<kAligned>::kParts;
    return (Lanes<kAligned>::kRows > 1 ? row * pitch : 0) + (lane - (Lanes<kAligned>::kRows > 1 ? row : 0) * Lanes<kAligned>::kParts) * 16;
  }
  // load() of a window that lies within its rows with the 16 bytes behind it, which may be read: an instruction for an
  // address. from: of the window, with inner_offset(). kMost: rows at most, kAll: `rows` is that.
  template <int kMost, bool kAll, int kRowBytes = kPitch, int kPartBytes = 16, bool kAligned = false>
  static LC_DEVICE void load_inner(uint64_t from, uint64_t pitch, int rows, uint32_t dst, int lane) {
    using L = Lanes<kAligned>;
    const int row = L::kRows > 1 ? lane / L::kParts : 0, part = lane - row * L::kParts;
    const int mine = row < L::kRows && part < L::kParts ? (kAll ? kMost : rows) - row : 0;
    dst += row * kRowBytes + part * kPartBytes;
#pragma unroll(kMost / L::kRows > 16 ? 8 : kMost)
    for (int r = 0; r < kMost; r += L::kRows, from += L::kRows * pitch) {
      if (r >= mine) continue;
#pragma unroll
      for (int more = 0; more < L::kParts; more += 32)
        if (more + 32 <= L::kParts || part + more < L::kParts)
          async_copy<16>(dst + r * kRowBytes + more * kPartBytes, reinterpret_cast<const char*>(from & ~15ul) + more * 16);
    }
  }
  // After the copies have arrived, by a warp: zeros for what does not exist. True if `look` and a value that does is Inf or NaN.
  // a, pitch: of the addresses the low bits matter.
  LC_DEVICE bool complete(uint32_t a, uint32_t pitch, int rows, uint32_t dst, bool look, int lane) const {
    bool special = false;
#pragma unroll 1
    for (; rows > 0; --rows, a += pitch, dst += kPitch) {
#pragma unroll 1
      for (int e = lane; e < kElements; e += 32) {
        const uint32_t at = dst + (a & 15) + e * kBytes;
        if (e < begin || e >= end) store(at, 0);
        else if (look) special |= not_finite<E>(load_element(at));
      }
    }
    return special;
  }
  // Instead of copies, by a warp: element by element, for any time stride and padding mode. x: sample 0 of row 0; strides in elements.
  template <Pad kPad>
  static LC_DEVICE void gather(const E* x, int64_t row_stride, int64_t time_stride, int rows, int64_t first, int64_t length,
                               uint32_t a, uint32_t pitch, uint32_t dst, int lane) {
#pragma unroll 1
    for (int e = lane; e < kElements; e += 32) {
      const int64_t t = padded_index<kPad>(first + e, length);
#pragma unroll 4
      for (int r = 0; r < rows; ++r)
        store(dst + r * kPitch + ((a + r * pitch) & 15) + e * kBytes, t >= 0 ? bits_of(x[r * row_stride + t * time_stride]) : 0);
    }
  }
  static LC_DEVICE void store(uint32_t address, uint32_t bits) {
    if (kBytes == 2) store_shared_u16(address, bits);
    else store_shared_u32(address, bits);
  }
  static LC_DEVICE uint32_t load_element(uint32_t address) { return kBytes == 2 ? load_shared_u16(address) : load_shared_u32(address); }

};

// ---- tile/row_sum.cuh ------------------------------------------------------------------------------------------------
// The sum of a row of a gradient, for the bias.

// Sums a row: chains of one slot, added up with their errors beside (two-sum), so that their number does not show.
struct RowSum {
  float sum = 0.f, error = 0.f;
  LC_DEVICE void add(float v) {
    const float s = sum + v, from_v = s - sum;
    error += (sum - (s - from_v)) + (v - from_v);
    sum = s;
  }
  // Where the sum is Inf or NaN, the error is NaN and means nothing.
  LC_DEVICE float value() const { return sum - sum == 0.f ? sum + error : sum; }
};
// Kept in shared memory, 8 bytes: a packer has no registers to spare.
LC_DEVICE RowSum load_row_sum(uint32_t at) { return {load_shared_f32(at), load_shared_f32(at + 4)}; }
LC_DEVICE void store_row_sum(uint32_t at, const RowSum& s) { store_shared_v2(at, s.sum, s.error); }

// ---- tile/tf32_pair.cuh ----------------------------------------------------------------------------------------------
// f32 for the TF32 tensor core, which drops the low 13 bits of its operands: rounded (ties away), or as two numbers,
//
//   v = hi + lo + r,   hi = tf32(v),  lo = tf32(v - hi),  |r| <= 2^-22 |v|.
//
// Not for Inf, NaN and what rounds to Inf; nor, in pairs, for nonzero |v| < 2^-100, whose lo may be subnormal. Kernels note
// the range of all values that they used and have the direct kernel compute again where it was left.

constexpr uint32_t kTf32Half = 0x1000u;

// The operands' bits.
LC_DEVICE void split_tf32(uint32_t v, uint32_t& hi, uint32_t& lo) {
  const uint32_t rounded = (v + kTf32Half) & ~0x1fffu;
  lo = __float_as_uint(__uint_as_float(v) - __uint_as_float(rounded)) + kTf32Half;
  hi = rounded;
}

// Extremes of |v|: the largest (NaN if there is one) and the smallest that is not zero, as 2 * bits - 1: zero wraps around.
struct Tf32Range {
  float largest = 0.f;
  uint32_t smallest = 0xffffffffu;
  template <int kPlanes> LC_DEVICE void add(uint32_t bits) {
    largest = max_nan(largest, fabsf(__uint_as_float(bits)));
    if (kPlanes == 2) smallest = min(smallest, bits + bits - 1u);
  }
  LC_DEVICE bool left() const {
    return !(largest < __uint_as_float(0x7f7ff000u)) || smallest < (static_cast<uint32_t>(127 - 100) << 24) - 1u;
  }
};

// ---- tile/pack_steps.cuh ---------------------------------------------------------------------------------------------
// Rows of a gradient as a K-major operand whose K is time: a lane has a row,
//
//   raw    row r at r*kPitch + its address in memory mod 16         packed   [plane][16 bytes of steps][row] x 16 B
//
// and moves 16 bytes of steps at a time. f32 becomes TF32 (one plane) or a pair of TF32 numbers, v = hi + lo (two planes).

// 32 bytes from `shift` elements on -> the first 16 of them.
template <class E> LC_DEVICE void align_words(uint32_t (&out)[4], const uint32_t (&w)[8], uint32_t shift) {
  const uint32_t words = sizeof(E) == 4 ? shift : shift >> 1;
  uint32_t a[6], b[5];
#pragma unroll
  for (int i = 0; i < 6; ++i) a[i] = words & 2 ? w[i + 2] : w[i];
#pragma unroll
  for (int i = 0; i < 5; ++i) b[i] = words & 1 ? a[i + 1] : a[i];
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = sizeof(E) == 4 ? b[i] : __byte_perm(b[i], b[i + 1], shift & 1 ? 0x5432 : 0x3210);
}

// E, kStepsOfRow: a multiple of 16 bytes; kRows: of the packed operand; kPlanes: 1, or 2 (f32 only); kPlaneBytes.
template <class E, int kStepsOfRow, int kRows, int kPlanes, int kPlaneBytes> struct StepPacker {
  static constexpr int kChunk = 16 / sizeof(E), kChunks = kStepsOfRow / kChunk;
  Tf32Range range;       // f32: of all values
  bool special = false;  // Inf or NaN among the values of masked rows

  // raw: 16-byte boundary at or before the row's first step; shift: elements from there, 0 if kAligned. valid: steps that exist;
  // the others become 0. kMasked: some do not, and Inf and NaN are looked for. Returns the sum, if `add`.
  template <bool kAligned, bool kMasked> LC_DEVICE float pack(uint32_t raw, uint32_t shift, int valid, uint32_t dst, bool add) {
    constexpr int kTogether = kChunks % 4 == 0 && kPlanes == 1 ? 4 : kChunks % 2 == 0 ? 2 : 1;  // loads in flight
    float chain = 0.f;
    uint4 last = kAligned ? uint4{} : load_shared_v4(raw);
#pragma unroll 1
    for (int c = 0; c < kChunks; c += kTogether, raw += 16 * kTogether, dst += kTogether * (kRows * 16)) {
      uint4 chunks[kTogether + 1] = {last};  // 16 bytes each, from the first on; where it is aligned, from the second
#pragma unroll
      for (int i = 0; i < kTogether; ++i) chunks[i + 1] = load_shared_v4(raw + 16 * (kAligned ? i : i + 1));
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const uint4 &first = chunks[i], &next = chunks[i + 1];
        uint32_t v[4] = {next.x, next.y, next.z, next.w};
        if (!kAligned) {
          const uint32_t w[8] = {first.x, first.y, first.z, first.w, next.x, next.y, next.z, next.w};
          align_words<E>(v, w, shift);
        }
        if (kMasked) mask(v, valid - (c + i) * kChunk);
        store(v, dst + i * (kRows * 16), chain, add);
      }
      last = chunks[kTogether];
    }
    return chain;
  }
  // Of rows that were copied to where they belong.
  template <bool kMasked> LC_DEVICE float finish(int valid, uint32_t dst, bool add) {
    float chain = 0.f;
    if (!kMasked && !add) return chain;
#pragma unroll 2
    for (int c = 0; c < kChunks; ++c, dst += kRows * 16) {
      const uint4 now = load_shared_v4(dst);
      uint32_t v[4] = {now.x, now.y, now.z, now.w};
      if (kMasked) mask(v, valid - c * kChunk);
      if (kMasked) store_shared_v4(dst, v[0], v[1], v[2], v[3]);
      if (add) sum(v, chain);
    }
    return chain;
  }
  // The same from memory, element by element. row: step 0.
  LC_DEVICE float gather(const E* row, int64_t time_stride, int valid, uint32_t dst, bool add) {
    float chain = 0.f;
#pragma unroll 1
    for (int c = 0; c < kChunks; ++c) {
      uint32_t v[4] = {};
#pragma unroll
      for (int i = 0; i < kChunk; ++i)
        if (c * kChunk + i < valid) v[i * 4 / kChunk] |= bits_of(row[(c * kChunk + i) * time_stride]) << (sizeof(E) == 2 ? 16 * (i & 1) : 0);
      if (valid < kStepsOfRow) mask(v, valid - c * kChunk);
      store(v, dst + c * (kRows * 16), chain, add);
    }
    return chain;
  }

 private:
  LC_DEVICE void mask(uint32_t (&v)[4], int valid) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      uint32_t& word = v[i * 4 / kChunk];
      const uint32_t of_element = sizeof(E) == 4 ? ~0u : i & 1 ? 0xffff0000u : 0xffffu;
      if (i >= valid) word &= ~of_element;
      else special |= not_finite<E>(sizeof(E) == 4 ? word : word >> (16 * (i & 1)) & 0xffff);
    }
  }
  static LC_DEVICE void sum(const uint32_t (&v)[4], float& chain) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (sizeof(E) == 4) {
        chain += __uint_as_float(v[i]);
      } else {
        chain += to_float(E{static_cast<uint16_t>(v[i])});
        chain += to_float(E{static_cast<uint16_t>(v[i] >> 16)});
      }
    }
  }
  LC_DEVICE void store(uint32_t (&v)[4], uint32_t dst, float& chain, bool add) {
    if (add) sum(v, chain);
    if constexpr (sizeof(E) == 4) {
      uint32_t lo[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        range.add<kPlanes>(v[i]);
        if (kPlanes == 2) split_tf32(v[i], v[i], lo[i]);
        else v[i] += kTf32Half;
      }
      if (kPlanes == 2) store_shared_v4(dst + kPlaneBytes, lo[0], lo[1], lo[2], lo[3]);
    }
    store_shared_v4(dst, v[0], v[1], v[2], v[3]);
  }
};

// ---- tile/wgrad_ranges.cuh -------------------------------------------------------------------------------------------
// What the splits of a weight gradient sum over, and where their partial sums lie (src/cuda/wgrad_common.h).

// Each signal's output steps are cut into chunks of `chunk_steps`; chunk c is chunk c % chunks_per_signal of signal
// c / chunks_per_signal. Split s sums over chunks [begin(s), begin(s + 1)).
struct WgradRanges {
  int64_t chunk_steps, chunks_per_signal, chunks, splits;
  LC_DEVICE int64_t begin(int64_t split) const { return split * chunks / splits; }
};

// Walks chunks, from `first` on.
struct ChunkCursor {
  int signal, chunk;
  LC_DEVICE ChunkCursor(const WgradRanges& ranges, int64_t first) {
    signal = static_cast<int>(first / ranges.chunks_per_signal);
    chunk = static_cast<int>(first - signal * ranges.chunks_per_signal);
  }
  LC_DEVICE void advance(const WgradRanges& ranges) {
    if (++chunk == static_cast<int>(ranges.chunks_per_signal)) { chunk = 0; ++signal; }
  }
};

// Sum: float, or double for f64.
template <class Sum> struct WgradPartials {
  Sum* weight;      // [split][group][o][i][k]
  Sum* bias;        // [split][out channel], null without a bias gradient
  uint32_t* flags;  // [split]: not 0 where the direct kernel must compute the split's partial sums again
};

// ---- tile/wgrad_shares.cuh -------------------------------------------------------------------------------------------
// Which segment of which tile a block sums, where the reduction of all tiles is cut into equal shares
// (src/cuda/wgrad_shares.h).

struct ShareOrder {
  int64_t quota;        // chunks of a share
  int whole, shares;    // shares of each tile that lie within it; shares of what is left of all tiles
  uint8_t second[128];  // tiles whose rest begins within a share, longest part of it in that share first
};

// A block's segment, in shared memory: 16 bytes.
struct Segment {
  static constexpr int kBytes = 16;
  int tile, split, first, chunks;  // split: of its tile; first: chunk of the tile
  bool last;                       // of its tile

  // chunks_of_tile: chunks of each of `tiles` tiles.
  LC_DEVICE Segment(const ShareOrder& order, int64_t chunks_of_tile, int tiles, int index) {
    if (index < order.whole * tiles) {
      tile = index % tiles, split = index / tiles;
      first = static_cast<int>(split * order.quota), chunks = static_cast<int>(order.quota);
      last = first + chunks == chunks_of_tile;
      return;
    }
    index -= order.whole * tiles;
    const int64_t rest = chunks_of_tile - order.whole * order.quota;
    const int64_t begin = index < order.shares ? index * order.quota : order.second[index - order.shares] * rest;
    tile = static_cast<int>(begin / rest);
    const int64_t share = begin / order.quota, tile_begin = tile * rest, tile_end = tile_begin + rest;
    const int64_t end = min((share + 1) * order.quota, tile_end);
    split = order.whole + static_cast<int>(share - tile_begin / order.quota);
    first = static_cast<int>(chunks_of_tile - rest + begin - tile_begin), chunks = static_cast<int>(end - begin);
    last = end == tile_end;
  }
  LC_DEVICE explicit Segment(uint32_t shared) {
    const uint4 v = load_shared_v4(shared);
    tile = static_cast<int>(v.x), split = static_cast<int>(v.y), first = static_cast<int>(v.z), chunks = static_cast<int>(v.w >> 1);
    last = v.w & 1;
  }
  LC_DEVICE void store(uint32_t shared) const {
    store_shared_v4(shared, static_cast<uint32_t>(tile), static_cast<uint32_t>(split), static_cast<uint32_t>(first), static_cast<uint32_t>(chunks) << 1 | (last ? 1u : 0u));
  }
};

// ---- tile/carried_sums.cuh -------------------------------------------------------------------------------------------
// Sums in memory of a block's own, where registers hold only the chain under way.

// `sums` (of each of the first kThreads threads) += what was carried, or with `store` the other way round. first: nothing was
// carried yet. kAtOnce loads are under way together, where there are so many: one after the other takes a microsecond each.
//   carry: [block][kM * kHalfColumns / 4][thread] x 16 B
template <int kThreads, int kAtOnce, int kM, int kHalfColumns>
LC_DEVICE void add_carried_sums(float4* carry, float (&sums)[kM][kHalfColumns], bool store, bool first) {
  constexpr int kQuads = kHalfColumns / 4, kTogether = kQuads % kAtOnce == 0 ? kAtOnce : kQuads % 4 == 0 ? 4 : 2;
  static_assert(kHalfColumns % 4 == 0 && kQuads % kTogether == 0, "columns come in eights");
  const auto at = [&](int m, int quad) { return carry + (static_cast<int64_t>(blockIdx.x) * (kM * kQuads) + m * kQuads + quad) * kThreads + threadIdx.x; };
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    float(&s)[kHalfColumns] = sums[m];
#pragma unroll
    for (int from = 0; from < kQuads; from += kTogether) {
      float4 carried[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) carried[i] = first ? make_float4(0.f, 0.f, 0.f, 0.f) : *at(m, from + i);
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const int j = from + i;
        float4& v = carried[i];
        v = make_float4(v.x + s[4 * j], v.y + s[4 * j + 1], v.z + s[4 * j + 2], v.w + s[4 * j + 3]);
        if (store) *at(m, j) = v;
        else s[4 * j] = v.x, s[4 * j + 1] = v.y, s[4 * j + 2] = v.z, s[4 * j + 3] = v.w;
      }
    }
  }
}

// Sums of finished chains, of kM blocks of kHalfColumns accumulators: in registers of their own, else they stay in the chain's.
template <bool kInRegisters, int kM, int kHalfColumns> struct FinishedChains {
  float sum[kInRegisters ? kM : 1][kHalfColumns];
  LC_DEVICE void clear() {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int i = 0; i < kHalfColumns; ++i) sum[m][i] = 0.f;
    }
  }
  LC_DEVICE void add(const float (&chain)[kM][kHalfColumns]) {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int i = 0; i < kHalfColumns; ++i) sum[m][i] += chain[m][i];
    }
  }
  // With the chain that has just ended.
  LC_DEVICE float (&of(float (&chain)[kM][kHalfColumns]))[kM][kHalfColumns] {
    if constexpr (kInRegisters) return sum;
    else return chain;
  }
};

// ---- tile/compensated.cuh --------------------------------------------------------------------------------------------
// Sums of many numbers, as exact as if they were added in twice the precision and rounded once.

// Knuth's two-sum: each addition's rounding error is exact, and added up beside. |value - exact| <= u |exact| + O(n u^2) S.
template <class Sum> struct Compensated {
  Sum sum, error;
  LC_DEVICE void clear() { sum = error = Sum(0); }
  LC_DEVICE void add(Sum v) {
    const Sum s = sum + v, from_v = s - sum;
    error += (sum - (s - from_v)) + (v - from_v);
    sum = s;
  }
  LC_DEVICE void add(Sum other_sum, Sum other_error) {
    add(other_sum);
    error += other_error;
  }
  // Where the sum is Inf or NaN, the error is NaN and means nothing.
  LC_DEVICE Sum value() const { return sum - sum == Sum(0) ? sum + error : sum; }
};

// ---- tile/pack_split.cuh ---------------------------------------------------------------------------------------------
// A slot of 16 channels of f32 rows becomes two f16 planes (split_f16.cuh), by one packer or by a team:
//
//   slot   [hi ch 0-7][hi ch 8-15][lo 0-7][lo 8-15] x [plane][row] (pack_order.cuh) x 16 B
//
// A slot's scale follows from its extremes, which are known when all of it has been read. It is first split by the scale that is
// expected, finding the extremes on the way, and again where that was not the scale.
//
// C: of PackOrder; kTeam (packers of a slot), kRawPitch, kChunkRows, kPad, kLeastExponent (split_f16.cuh).

constexpr uint32_t kTeamBarrier = 1;

// What a packer, or all of a team, has written into the raw stage is there for it.
template <class C> LC_DEVICE void sync_packers() {
  if (C::kTeam == 1) __syncwarp();
  else named_barrier_sync(kTeamBarrier, 32 * C::kTeam);
}

// Rows of channels that do not exist: zeros. In a team each packer clears its share of every row's positions.
template <class C> LC_DEVICE void clear_missing(uint32_t raw, int channels, int packer, int lane) {
  for (int j = max(channels, 0); j < 16; ++j)
    for (int i = C::kTeam == 1 ? lane : packer * 32 + lane; i < C::kRawPitch / 16; i += 32 * C::kTeam)
      store_shared_v4(raw + j * C::kRawPitch + i * 16, 0, 0, 0, 0);
  sync_packers<C>();
}

// Readers give 8 channels (half of a slot's 16) of one time position.
// From the raw stage; kUniform: every row begins on the same place of its 16 bytes, so that addresses are constants.
template <class C, bool kUniform> struct RawReader {
  uint32_t raw;
  uint32_t shift;  // two bits for each channel: its row's offset in elements inside the first 16 bytes
  int begin, end;  // elements that exist (zero padding, end of the row)

  template <bool kMask> LC_DEVICE void read(int element, int half, float (&v)[8]) const {
    const uint32_t at = raw + half * (8 * C::kRawPitch) + (element + (kUniform ? shift & 3 : 0)) * 4;
#pragma unroll
    for (int j = 0; j < 8; ++j)
      v[j] = load_shared_f32(at + j * C::kRawPitch + (kUniform ? 0 : (shift >> (2 * (half * 8 + j)) & 3) * 4));
    if (kMask && (element < begin || element >= end)) {
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] = 0.f;
    }
  }
};
// `shift` of a RawReader. low: of the first row's address; pitch: bytes between rows. One row tells of all where they begin alike;
// a team does not ask (docs/design/gpu-engine.md).
template <class C> LC_DEVICE uint32_t row_shifts(uint32_t low, uint32_t pitch) {
  if (C::kTeam == 1 && (pitch & 15) == 0) return (low >> 2 & 3) * 0x55555555u;
  uint32_t shift = 0;
#pragma unroll
  for (int j = 0; j < 16; ++j) shift |= ((low + j * pitch) >> 2 & 3) << (2 * j);
  return shift;
}
// From global memory, element by element: any time stride, any padding mode.
template <class C> struct GatherReader {
  const float* row;
  int64_t channel_stride, time_stride, first, length;
  int channels;
  template <bool> LC_DEVICE void read(int element, int half, float (&v)[8]) const {
    const int64_t t = padded_index<C::kPad>(first + element, length);
#pragma unroll
    for (int j = 0; j < 8; ++j)
      v[j] = half * 8 + j < channels && t >= 0 ? row[(half * 8 + j) * channel_stride + t * time_stride] : 0.f;
  }
};

// A packer's share of a slot: parts (32 positions, half of the channels), alone all of them, in a team every kTeam-th. Loads
// run a part ahead of the arithmetic.
template <class C> struct Share {
  static constexpr int kParts = 2 * PackOrder<C>::kSteps;
  int first, last;
  LC_DEVICE explicit Share(int packer)
      : first(C::kTeam == 1 ? 0 : packer), last(kParts - 1 - (C::kTeam == 1 ? 0 : (kParts - 1 - packer) % C::kTeam)) {}

  // use(part, values) for each part.
  template <bool kMask, class Reader, class Use> LC_DEVICE void visit(const Reader& reader, int lane, const Use& use) const {
    float a[8], b[8];
    read<kMask>(reader, first, lane, a);
    int part = first;
#pragma unroll 1
    for (; part < last; part += 2 * C::kTeam) {
      read<kMask>(reader, part + C::kTeam, lane, b);
      use(part, a);
      read<kMask>(reader, min(part + 2 * C::kTeam, last), lane, a);
      use(part + C::kTeam, b);
    }
    if (part == last) use(part, a);
  }

 private:
  template <bool kMask, class Reader> static LC_DEVICE void read(const Reader& reader, int part, int lane, float (&v)[8]) {
    reader.template read<kMask>(PackOrder<C>(part >> 1, lane).element, part & 1, v);
  }
};

template <class C> struct StoreSplit {
  uint32_t dst;
  float scale;
  int lane;
  LC_DEVICE void operator()(int part, const float (&v)[8]) const {
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) split2_f16(v[2 * j] * scale, v[2 * j + 1] * scale, hi[j], lo[j]);
    const uint32_t to = dst + ((part & 1) * C::kChunkRows + PackOrder<C>(part >> 1, lane).row) * 16;
    store_shared_v4(to, hi[0], hi[1], hi[2], hi[3]);
    store_shared_v4(to + C::kChunkRows * 32, lo[0], lo[1], lo[2], lo[3]);
  }
};
template <class C> struct StoreSplitFindExtremes {
  StoreSplit<C> store;
  Extremes& extremes;
  LC_DEVICE void operator()(int part, const float (&v)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) extremes.add(v[j]);
    store(part, v);
  }
};

// `expected`: the scale that is tried first. `exchange`: where a team's packers leave their extremes; two places, used in
// turn, so that one barrier suffices.
template <class C, bool kMask, class Reader>
LC_DEVICE SlotScale pack_split(const Reader& reader, const Share<C>& share, float expected, uint32_t dst, uint32_t exchange,
                               int packer, int lane) {
  Extremes extremes;
  share.template visit<kMask>(reader, lane, StoreSplitFindExtremes<C>{{dst, expected, lane}, extremes});
  extremes.reduce_warp();
  if (C::kTeam > 1) {
    if (lane == 0) store_shared_v2(exchange + 8 * packer, extremes.largest, __uint_as_float(extremes.smallest));
    named_barrier_sync(kTeamBarrier, 32 * C::kTeam);
#pragma unroll
    for (int i = 0; i < C::kTeam; ++i)
      extremes.merge({load_shared_f32(exchange + 8 * i), load_shared_u32(exchange + 8 * i + 4)});
  }
  const SlotScale scale(extremes, C::kLeastExponent);
  if (scale.scale != expected) {
    __syncwarp();  // lanes beyond the last position write what others write
    share.template visit<kMask>(reader, lane, StoreSplit<C>{dst, scale.scale, lane});
  }
  return scale;
}

// ---- tile/repair_items.cuh -------------------------------------------------------------------------------------------
// The repair of a block's own items by the block itself, in plain f32: where a launch is so small that another launch for the repair
// (direct_fprop.cuh, LC_MODE 1) would cost as much as itself. What is to be redone is told in shared memory: a word of each packer
// with a bit for each of the block's items, and one word that is not 0 where a weight is flagged (weight_flags.cuh).
//
// Sums are chains of at most 256 products, added to a total; products of samples that do not exist are left out.

// The weights as they came; mirrored by the launcher.
struct RepairParams {
  const float* w;
  const uint32_t* flags;
  int64_t flag_words, w_out, w_in, w_tap;  // strides in elements
};

// One output: step `step` of phase `phase` of output channel `out` of the item's group. G: kInChannels, kOutChannels, kAllTaps, kSampleStep
// (samples of x between steps), kPhases, kPad, kGradientOf, kTransposed, Taps (Phases).
template <class G, class P> LC_DEVICE float repair_sum(const P& p, const Item& item, int out, int64_t step, int64_t phase) {
  using Taps = typename G::Taps;
  const int64_t first_tap = G::kPhases == 1 ? 0 : Taps::first_tap(phase);
  const int64_t first = step * G::kSampleStep - p.pad_left + (G::kPhases == 1 ? 0 : Taps::offset(first_tap));
  const float* x = p.x + item.batch * p.x_batch + item.group * static_cast<int64_t>(G::kInChannels) * p.x_channel;
  const float* w = p.repair.w + item.group * (G::kTransposed ? G::kInChannels * p.repair.w_in : G::kOutChannels * p.repair.w_out) +
                   out * p.repair.w_out;
  float total = 0.f, chain = 0.f;
  int chained = 0;
#pragma unroll 1
  for (int channel = 0; channel < G::kInChannels; ++channel, x += p.x_channel, w += p.repair.w_in) {
    int64_t at = first;
#pragma unroll 1
    for (int64_t tap = first_tap; tap < G::kAllTaps; tap += Taps::kPeriod, at += Taps::kRowStep) {
      const int64_t position = padded_index<G::kPad>(at, p.length);
      if (position < 0) continue;
      const float* from = x + position * p.x_time;
      float v = *from;
      if constexpr (G::kGradientOf != Activation::none) v = activation_gradient<G::kGradientOf>(v, *beside(from, p.to_forward_y), p.negative_slope);
      chain = fmaf(w[tap * p.repair.w_tap], v, chain);
      if (++chained == 256) total += chain, chain = 0.f, chained = 0;
    }
  }
  return total + chain;
}

// By all warps that have stored the block's items, when each has finished its stores: computes an item's rows again. G: also
// kStep, kItemWays (windows of a row), kItemChannels (output channels), kBias, kResidual, kActivation, Stores (RowStore).
template <class G, class P> LC_DEVICE void repair_item(const P& p, const Item& item, int warp, int warps, int lane) {
  using Rows = typename G::Stores;
  const int end = min(G::kOutChannels, (item.sweep + 1) * G::kItemChannels);
#pragma unroll 1
  for (int out = item.sweep * G::kItemChannels + warp; out < end; out += warps) {
    const int64_t row = static_cast<int64_t>(item.group) * G::kOutChannels + out;
#pragma unroll 1
    for (int way = 0; way < G::kItemWays; ++way) {
      const int64_t t0 = static_cast<int64_t>(item.tile) * G::kStep + way * Rows::kStep, left = p.out_length - t0;
      float* const y = p.y + item.batch * p.y_batch + row * p.y_channel + t0;
      const int columns = static_cast<int>(min(left, static_cast<int64_t>(Rows::kWidth)));
      const int last = Rows::end_column(y, columns, left <= Rows::kStep);
#pragma unroll 1
      for (int column = Rows::begin_column(y, t0 == 0) + lane; column < last; column += 32) {
        const int64_t t = t0 + column;
        float v = repair_sum<G>(p, item, out, t / G::kPhases, t % G::kPhases);
        if (G::kBias) v += p.bias[row];
        if (G::kResidual) v += p.residual[item.batch * p.residual_batch + row * p.residual_channel + t];
        y[column] = activate<G::kActivation>(v, p.negative_slope);
      }
    }
  }
}

// Shared memory of `packers` packers: their words, and the weights'.
LC_CONSTEXPR int redo_bytes(int packers) { return 4 * (packers + 1); }

// What a block is to do again. C: also kPackers, kSharedRedo. Items have numbers below 32 and are the schedule's fixed ones.
template <class C> struct BlockRepair {
  static constexpr uint32_t kBarrier = 2;
  static constexpr int kWarps = 8;  // that store
  uint32_t words;
  LC_DEVICE explicit BlockRepair(uint32_t shared) : words(shared + C::kSharedRedo) {}
  // By all threads, before the block's first barrier.
  LC_DEVICE void init() const {
    if (threadIdx.x <= C::kPackers) store_shared_u32(words + 4 * threadIdx.x, 0);
  }
  // By a packer's lane, before the slot that it has packed is full.
  LC_DEVICE void mark(int packer, int number) const { store_shared_u32(words + 4 * packer, load_shared_u32(words + 4 * packer) | 1u << number); }
  // By one of the warps that store, when the weights have been packed.
  template <class P> LC_DEVICE void look_at_weights(const P& p, int lane) const {
    bool flagged = false;
#pragma unroll 4  // loads ahead of their use
    for (int64_t i = lane; i < p.repair.flag_words; i += 32) flagged |= p.repair.flags[i] != 0;
    if (__any_sync(~0u, flagged) && lane == 0) store_shared_u32(words + 4 * C::kPackers, 1);
  }
  // By each of these warps at the end, when its own stores have arrived.
  template <class P> LC_DEVICE void run(const P& p, const DrawnSchedule<C>& schedule, int warp, int lane) const {
    named_barrier_sync(kBarrier, 32 * kWarps);
    const bool all = load_shared_u32(words + 4 * C::kPackers) != 0;
    uint32_t redo = 0;
    for (int i = 0; i < C::kPackers; ++i) redo |= load_shared_u32(words + 4 * i);
    if (!all && redo == 0) return;
#pragma unroll 1
    for (int number = 0; schedule.fixed(number) < static_cast<uint32_t>(schedule.end); ++number)
      if (all || redo >> number & 1) repair_item<C>(p, schedule.item(static_cast<int>(schedule.fixed(number))), warp, kWarps, lane);
  }
};

// ---- ptx/global_memory.cuh -------------------------------------------------------------------------------------------
/// Loads from global memory. The accesses are volatile: the compiler keeps their order, so that loads issued early stay early.

namespace longconv {
namespace ptx {

/// The element's bits, or 0 without touching memory; no kernel in flight may write it. Marked as first to leave the first-level cache: streamed data must
/// not push out what is read again.
__device__ __forceinline__ uint32_t load_streamed_or_zero(const float* p, bool wanted) {
  uint32_t value;
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %2, 0;\nmov.b32 %0, 0;\n@p ld.global.nc.L1::evict_first.b32 %0, [%1];\n}"
               : "=r"(value)
               : "l"(p), "r"((int)wanted));
  return value;
}
__device__ __forceinline__ uint32_t load_streamed_or_zero_u16(const void* p, bool wanted) {
  uint16_t value;
  asm volatile("{\n.reg .pred p;\nsetp.ne.s32 p, %2, 0;\nmov.b16 %0, 0;\n@p ld.global.nc.L1::evict_first.b16 %0, [%1];\n}"
               : "=h"(value)
               : "l"(p), "r"((int)wanted));
  return value;
}
__device__ __forceinline__ uint32_t load_streamed_or_zero(const bf16* p, bool wanted) { return load_streamed_or_zero_u16(p, wanted); }
__device__ __forceinline__ uint32_t load_streamed_or_zero(const f16* p, bool wanted) { return load_streamed_or_zero_u16(p, wanted); }

/// 16 bytes at a multiple of 16. On Hopper the kernel before may have written them while this one ran already
/// (wait_for_previous_kernel): not by the path for constant data.
__device__ __forceinline__ void load_global_v4(uint32_t (&v)[4], const void* p) {
#if __CUDA_ARCH__ >= 900
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "l"(p));
#else
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "l"(p));
#endif
}

}  // namespace ptx
}  // namespace longconv

// ---- ptx/mma_sync.cuh ------------------------------------------------------------------------------------------------
/// mma.sync: D = A B + C by one warp (sm_80). A is row-major, B column-major.
///
/// With g = lane / 4 and c = lane % 4, a lane holds, for m16n8k16 of 16-bit elements (two to a register, low half first):
///   a[0] A(g, 2c..), a[1] A(g+8, 2c..), a[2] A(g, 2c+8..), a[3] A(g+8, 2c+8..)
///   b[0] B(2c.., g), b[1] B(2c+8.., g)
///   d[0] D(g, 2c), d[1] D(g, 2c+1), d[2] D(g+8, 2c), d[3] D(g+8, 2c+1)
/// for m16n8k8 of TF32:  a[0] A(g, c), a[1] A(g+8, c), a[2] A(g, c+4), a[3] A(g+8, c+4); b[0] B(c, g), b[1] B(c+4, g)
/// for m8n8k4 of f64:    a A(g, c); b B(c, g); d[0] D(g, 2c), d[1] D(g, 2c+1)
/// for m16n8k8 of f64 (sm_90): a[0] A(g, c), a[1] A(g+8, c), a[2] A(g, c+4), a[3] A(g+8, c+4); b[0] B(c, g),
///   b[1] B(c+4, g); d as for 16-bit elements
/// TF32 operands are floats' bits whose low 13 bits are ignored: round first (round_tf32).

namespace longconv {
namespace ptx {

__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bf16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], f16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// Fused multiply-adds with one rounding each, as IEEE 754 says.
__device__ __forceinline__ void mma_m8n8k4(double (&d)[2], double a, double b) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+d"(d[0]), "+d"(d[1])
               : "d"(a), "d"(b));
}
__device__ __forceinline__ void mma_m16n8k8(double (&d)[4], const double (&a)[4], const double (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+d"(d[0]), "+d"(d[1]), "+d"(d[2]), "+d"(d[3])
      : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(b[0]), "d"(b[1]));
}

}  // namespace ptx
}  // namespace longconv

// ---- tile/stage_registers.cuh ----------------------------------------------------------------------------------------
// A stage of x on its way from global memory to packed rows (pack_order.cuh), held in registers in between: a block
// issues the loads of its next stage, multiplies the present one, then packs what has arrived meanwhile.
//
//   unit = 32 rows of one chunk (kChunk channels, 16 bytes of a packed plane): lane = row, its channels in kChunk registers
//   warp w serves chunk w % kStageChunks; its units are every (kWarps / kStageChunks)-th one
//
// kPrefetch units of a warp wait in registers (piece 0). A stage with more has kPieces: the others are loaded when they are
// packed, kPrefetch at a time.

// What one warp reads: sample 0 of the first channel of its chunk, the (padded) position of the stage's first raw element,
// how many channels from there on exist (beyond: zeros).
template <class Element> struct ChunkWindow {
  const Element* x;
  int64_t first;
  int channels;
};

// Geometry G: as PackOrder's, and Element, kWarps, kStageChunks, kChunk, kChunkRows, kPrefetch, kSplit, kSplitBytes (from the
// hi plane to the lo plane), kPad, kWholeStages (no channel is missing), kGradientOf: an activation of which x is the result's gradient.
template <class G>
struct StageRegisters : ForwardBits<typename BitsOf<typename G::Element>::Type, G::kGradientOf != Activation::none ? G::kPrefetch : 0, G::kChunk> {
  using Element = typename G::Element;
  using Order = PackOrder<G>;
  static constexpr int kWays = G::kWarps / G::kStageChunks, kUnits = ceil_div(Order::kSteps, kWays);
  static constexpr int kPieces = ceil_div(kUnits, G::kPrefetch);
  static_assert(G::kWarps % G::kStageChunks == 0, "a warp stays with one chunk");
  using Bits = typename BitsOf<Element>::Type;
  static constexpr bool kGradient = G::kGradientOf != Activation::none;
  Bits v[G::kPrefetch][G::kChunk];

  static LC_DEVICE int step_of(int piece, int i, int warp) { return (piece * G::kPrefetch + i) * kWays + warp / G::kStageChunks; }

  template <class P> LC_DEVICE void load(const P& p, const ChunkWindow<Element>& from, int piece, int warp, int lane) {
    // Elements [begin, begin + count) of the window exist. Unless others stand for those beyond, 32 bits say all.
    const int64_t limit = 1 << 30;
    const int begin = static_cast<int>(max(static_cast<int64_t>(0), min(-from.first, limit)));
    const int count = static_cast<int>(max(static_cast<int64_t>(0), min(p.length - from.first, limit) - begin));
    const Element* origin = from.x + from.first * p.x_time;
#pragma unroll
    for (int i = 0; i < G::kPrefetch; ++i) {
      const int step = step_of(piece, i, warp), element = Order(step, lane).element;
      bool exists = static_cast<uint32_t>(element - begin) < static_cast<uint32_t>(count);
      const Element* sample = origin + element * p.x_time;
      if constexpr (G::kPad >= Pad::reflect) {
        const int64_t t = padded_index<G::kPad>(from.first + element, p.length);
        exists = t >= 0;
        sample = from.x + t * p.x_time;
      }
      exists = exists && step < Order::kSteps;
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) {
        const bool wanted = exists && (G::kWholeStages || j < from.channels);
        v[i][j] = static_cast<Bits>(load_streamed_or_zero(sample + j * p.x_channel, wanted));
        if constexpr (kGradient) this->forward_y[i][j] = static_cast<Bits>(load_streamed_or_zero(beside(sample + j * p.x_channel, p.to_forward_y), wanted));
      }
    }
  }
  // Waits for what was loaded, and makes of it what is packed.
  template <class P> LC_DEVICE void finish(const P& p) {
    if constexpr (kGradient) {
#pragma unroll
      for (int i = 0; i < G::kPrefetch; ++i)
#pragma unroll
        for (int j = 0; j < G::kChunk; ++j)
          v[i][j] = static_cast<Bits>(gradient_bits<G::kGradientOf>(v[i][j], this->forward_y[i][j], p.negative_slope, Element{}));
    }
  }

  LC_DEVICE void add_to(Extremes& x) const {
#pragma unroll
    for (int i = 0; i < G::kPrefetch; ++i)
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) x.add(__uint_as_float(v[i][j]));
  }

  // chunk: shared address of row 0 of this warp's chunk. scale: for kSplit.
  LC_DEVICE void pack(uint32_t chunk, float scale, int piece, int warp, int lane) const {
#pragma unroll
    for (int i = 0; i < G::kPrefetch; ++i) {
      const int step = step_of(piece, i, warp);
      if (step >= Order::kSteps) break;
      uint32_t row[G::kChunk];
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) row[j] = v[i][j];
      store_row(row, chunk + Order(step, lane).row * 16, scale);
    }
  }

 private:
  static LC_DEVICE void store_row(const uint32_t (&u)[G::kChunk], uint32_t dst, float scale) {
    if constexpr (G::kSplit) {
      uint32_t hi[4], lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) split2_f16(__uint_as_float(u[2 * j]) * scale, __uint_as_float(u[2 * j + 1]) * scale, hi[j], lo[j]);
      store_shared_v4(dst, hi[0], hi[1], hi[2], hi[3]);
      store_shared_v4(dst + G::kSplitBytes, lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (G::kChunk == 8) {
      store_shared_v4(dst, u[0] | u[1] << 16, u[2] | u[3] << 16, u[4] | u[5] << 16, u[6] | u[7] << 16);
    } else {
      store_shared_v4(dst, round_tf32(u[0]), round_tf32(u[1]), round_tf32(u[2]), round_tf32(u[3]));
    }
  }
};

// ---- tile/wgrad_stage.cuh --------------------------------------------------------------------------------------------
// A stage of a weight gradient (kStep output steps of one signal) on its way from global to shared memory, held in
// registers in between: loads of the next stage are issued as soon as a register's content is packed.
//
//   x   rows of 16 bytes of channels per time, by residue of the stride (pack_order.cuh): [plane of the split][chunk][row]
//       unit = 32 rows of one chunk: lane = row, its channels in kChunk registers
//   dy  [plane of the split][out channel][kStep], rows of kDyPitch bytes (kStep elements and 16 bytes: no bank conflicts)
//       unit = kThreads pairs of steps: a thread's pairs belong to rows kRowsOfUnit apart
//
// kFlat: few channels. A channel of a chunk is a pair (channel, tap), channel * kKernel + tap, and reads its tap's samples.
// What does not exist (channels, steps from `end` on, samples outside the signal) is zeros.

LC_DEVICE bool is_finite_bits(uint32_t v, float) { return (v & 0x7f800000u) != 0x7f800000u; }
LC_DEVICE bool is_finite_bits(uint32_t v, bf16) { return (v & 0x7f80u) != 0x7f80u; }
LC_DEVICE bool is_finite_bits(uint32_t v, f16) { return (v & 0x7c00u) != 0x7c00u; }
LC_DEVICE float value_of_bits(uint32_t v, float) { return __uint_as_float(v); }
LC_DEVICE float value_of_bits(uint32_t v, bf16) { return to_float(bf16{static_cast<uint16_t>(v)}); }
LC_DEVICE float value_of_bits(uint32_t v, f16) { return to_float(f16{static_cast<uint16_t>(v)}); }

// Where a stage lies: element 0 of the block's first channel of each operand, for the stage's signal.
template <class Element> struct WgradWindow {
  const Element* x;  // kFlat: of the group's first channel
  const Element* dy;
  int64_t first;          // (padded) position of the window's first raw element
  int64_t t0;             // first output step
  int steps;              // output steps that exist, up to kStep
  int channels, outputs;  // that exist from the block's first on
  int channel0;           // kFlat: the block's first pair
  int begin, count;       // elements [begin, begin + count) of the window are samples
};

// Geometry G: as PackOrder's, and Element, kThreads, kStep, kOutTile, kChunks, kChunk, kChunkRows, kDyPitch, kSplit,
// kTf32, kXPlaneBytes and kDyPlaneBytes (from the hi to the lo plane), kPad, kFlat, kKernel, kUnitTime
// (both time strides are 1), kWholeIn and kWholeOut (no channel of a tile is missing), kGradientOf: an activation of whose result dy is
// the gradient.
template <class G> struct WgradRows {
  static constexpr int kRowsOfUnit = G::kThreads * 2 / G::kStep, kDyUnits = ceil_div(G::kOutTile, kRowsOfUnit);
};
template <class G>
struct WgradStage : ForwardBits<typename BitsOf<typename G::Element>::Type, G::kGradientOf != Activation::none ? WgradRows<G>::kDyUnits : 0, 2> {
  using Element = typename G::Element;
  using Order = PackOrder<G>;
  static constexpr int kWarps = G::kThreads / 32, kXUnits = ceil_div(G::kChunks * Order::kSteps, kWarps);
  static constexpr int kRowsOfUnit = WgradRows<G>::kRowsOfUnit, kDyUnits = WgradRows<G>::kDyUnits;
  using Bits = typename BitsOf<Element>::Type;
  static constexpr bool kGradient = G::kGradientOf != Activation::none;
  Bits x[kXUnits][G::kChunk], dy[kDyUnits][2];

  struct XUnit {
    int chunk, step;
    bool exists;
    LC_DEVICE XUnit(int unit, int warp) {
      const int index = unit * kWarps + warp;
      chunk = index % G::kChunks;
      step = index / G::kChunks;
      exists = G::kChunks * Order::kSteps % kWarps == 0 || step < Order::kSteps;
    }
  };
  static LC_DEVICE int dy_row(int unit) { return unit * kRowsOfUnit + static_cast<int>(threadIdx.x) / (G::kStep / 2); }
  static LC_DEVICE int dy_step() { return static_cast<int>(threadIdx.x) % (G::kStep / 2) * 2; }

  template <class P> LC_DEVICE void load_x(const P& p, const WgradWindow<Element>& from, int unit, int warp, int lane) {
    const XUnit u(unit, warp);
    const int element = Order(u.step, lane).element, channel = u.chunk * G::kChunk;
    const int64_t x_time = G::kUnitTime ? 1 : p.x_time;
    if constexpr (G::kFlat) {
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) {
        const int pair = from.channel0 + channel + j;
        const int64_t sample = padded_index<G::kPad>(from.first + element + static_cast<int64_t>(pair % G::kKernel) * G::kDilation, p.length);
        x[unit][j] = (Bits)load_streamed_or_zero(from.x + pair / G::kKernel * p.x_channel + sample * x_time,
                                           u.exists && sample >= 0 && from.steps > 0 && channel + j < from.channels);
      }
    } else {
      bool exists = static_cast<uint32_t>(element - from.begin) < static_cast<uint32_t>(from.count);
      int64_t offset = (from.first + element) * x_time;
      if constexpr (G::kPad >= Pad::reflect) {
        const int64_t sample = padded_index<G::kPad>(from.first + element, p.length);
        exists = sample >= 0 && from.steps > 0;  // also where the whole window lies in the padding
        offset = sample * x_time;
      }
      exists = exists && u.exists;
      const Element* at = from.x + offset + channel * p.x_channel;
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j)
        x[unit][j] = (Bits)load_streamed_or_zero(at + j * p.x_channel, exists && (G::kWholeIn || channel + j < from.channels));
    }
  }
  template <class P> LC_DEVICE void load_dy(const P& p, const WgradWindow<Element>& from, int unit) {
    const int row = dy_row(unit), step = dy_step();
    const int64_t dy_time = G::kUnitTime ? 1 : p.dy_time;
    const Element* at = from.dy + (row - unit * kRowsOfUnit) * p.dy_channel + (from.t0 + step) * dy_time + unit * (kRowsOfUnit * p.dy_channel);
    const bool exists = G::kWholeOut && G::kOutTile % kRowsOfUnit == 0 ? true : row < min_of(from.outputs, G::kOutTile);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      dy[unit][j] = (Bits)load_streamed_or_zero(at + j * dy_time, exists && step + j < from.steps);
      if constexpr (kGradient) this->forward_y[unit][j] = (Bits)load_streamed_or_zero(beside(at + j * dy_time, p.to_forward_y), exists && step + j < from.steps);
    }
  }
  // Waits for dy, and makes of it the operand.
  template <class P> LC_DEVICE void finish(const P& p) {
    if constexpr (kGradient) {
#pragma unroll
      for (int u = 0; u < kDyUnits; ++u)
#pragma unroll
        for (int j = 0; j < 2; ++j) dy[u][j] = (Bits)gradient_bits<G::kGradientOf>(dy[u][j], this->forward_y[u][j], p.negative_slope, Element{});
    }
  }
  template <class P> LC_DEVICE void load(const P& p, const WgradWindow<Element>& from, int warp, int lane) {
#pragma unroll
    for (int u = 0; u < kXUnits; ++u) load_x(p, from, u, warp, lane);
#pragma unroll
    for (int u = 0; u < kDyUnits; ++u) load_dy(p, from, u);
  }

  LC_DEVICE bool finite() const {
    bool all = true;
#pragma unroll
    for (int u = 0; u < kXUnits; ++u)
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) all = all && is_finite_bits(x[u][j], Element{});
#pragma unroll
    for (int u = 0; u < kDyUnits; ++u) all = all && is_finite_bits(dy[u][0], Element{}) && is_finite_bits(dy[u][1], Element{});
    return all;
  }
  LC_DEVICE void add_to(Extremes& of_x, Extremes& of_dy) const {
#pragma unroll
    for (int u = 0; u < kXUnits; ++u)
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) of_x.add(__uint_as_float(x[u][j]));
#pragma unroll
    for (int u = 0; u < kDyUnits; ++u) of_dy.add(__uint_as_float(dy[u][0])), of_dy.add(__uint_as_float(dy[u][1]));
  }

  // to: shared address of the operand's first plane. For kSplit: scale; or, with `exact`, the numbers as they are in the
  // places of the two planes: channels 0-3 and 4-7 of a chunk, even and odd steps.
  LC_DEVICE void pack_x(uint32_t to, float scale, bool exact, int unit, int warp, int lane) const {
    const XUnit u(unit, warp);
    if (!u.exists) return;
    const uint32_t at = to + (u.chunk * G::kChunkRows + Order(u.step, lane).row) * 16;
    uint32_t v[G::kChunk];
#pragma unroll
    for (int j = 0; j < G::kChunk; ++j) v[j] = x[unit][j];
    if (G::kSplit && exact) {
      store_shared_v4(at, v[0], v[1], v[2], v[3]);
      store_shared_v4(at + G::kXPlaneBytes, v[G::kChunk - 4], v[G::kChunk - 3], v[G::kChunk - 2], v[G::kChunk - 1]);
    } else if constexpr (G::kSplit) {
      uint32_t hi[4], lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) split2_f16(__uint_as_float(v[2 * j]) * scale, __uint_as_float(v[2 * j + 1]) * scale, hi[j], lo[j]);
      store_shared_v4(at, hi[0], hi[1], hi[2], hi[3]);
      store_shared_v4(at + G::kXPlaneBytes, lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (G::kTf32) {
      store_shared_v4(at, round_tf32(v[0]), round_tf32(v[1]), round_tf32(v[2]), round_tf32(v[3]));
    } else {
      store_shared_v4(at, v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
    }
  }
  LC_DEVICE void pack_dy(uint32_t to, float scale, bool exact, int unit) const {
    const int row = dy_row(unit);
    if (G::kOutTile % kRowsOfUnit != 0 && row >= G::kOutTile) return;
    const uint32_t v[2] = {dy[unit][0], dy[unit][1]};
    if constexpr (G::kSplit) {
      uint32_t hi = v[0], lo = v[1];
      if (!exact) split2_f16(__uint_as_float(v[0]) * scale, __uint_as_float(v[1]) * scale, hi, lo);
      store_shared_u32(to + row * G::kDyPitch + dy_step() * 2, hi);
      store_shared_u32(to + row * G::kDyPitch + dy_step() * 2 + G::kDyPlaneBytes, lo);
    } else if constexpr (G::kTf32) {
      store_shared_v2(to + row * G::kDyPitch + dy_step() * 4, __uint_as_float(round_tf32(v[0])), __uint_as_float(round_tf32(v[1])));
    } else {
      store_shared_u32(to + row * G::kDyPitch + dy_step() * 2, v[0] | v[1] << 16);
    }
  }
};

// ==== Packs the weights for dense_fprop_sm90, tf32. From kernels/conv/pack_weights.cuh.
namespace pack_weights_tf32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> the order in which the dense forward kernels consume them, and with
// the precision they multiply in. One block for each packed output channel; missing channels become zeros.
//
//   LC_FORMAT 0  TF32 (f32 rounded to nearest, ties away), 1 bf16, 2 f16:
//     [group][ring of LC_RING_ROWS channels][channel block of LC_BLOCK_CHUNKS chunks][tap][k-step][2 chunks][o][16 B]
//   LC_FORMAT 3  two f16 planes of f32 (tile/split_f16.cuh), scaled by a power of two per output channel so that
//     max|w| lies in [2^13, 2^14):
//     [group][64 channels][16 channels][tap][hi 0-7, hi 8-15, lo 0-7, lo 8-15][o][16 B], and `inverse`[group][out/group]
//
// flags[group][out/group]: not 0 where some weight is Inf or NaN or (format 3) cannot be split exactly enough: scaled, it
// is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 0, kKernel = 3, kInChannels = 64, kOutChannels = 128;
constexpr bool kSplit = kFormat == 3;
constexpr int kRows = kSplit ? 64 : 64;
constexpr int kChunk = kFormat == 0 ? 4 : 8;                          // elements of 16 bytes
constexpr int kBlockChunks = kSplit ? 2 : 4;            // chunks of channels of a block
constexpr int kBlocks = ceil_div(kInChannels, kBlockChunks * kChunk);
constexpr int kPaddedRows = 128;                   // of a group, a multiple of kRows
constexpr int kThreads = 128;

using Element = float;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_weights(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / kPaddedRows, o = blockIdx.x % kPaddedRows;
  const bool real = o < kOutChannels;
  const Element* w = p.w + group * (0 ? kInChannels * p.w_in : kOutChannels * p.w_out) + o * p.w_out;
  const int64_t count = static_cast<int64_t>(kInChannels) * kKernel;
  auto at = [&](int64_t channel, int64_t tap) -> Element {
    if (real && channel < kInChannels) return w[channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ Extremes partial[kThreads / 32];
  Extremes extremes;
  bool finite = true;
  if (real) {
    for (int64_t i = threadIdx.x; i < count; i += kThreads) {
      const float v = to_float(at(i / kKernel, i % kKernel));
      if (kSplit) extremes.add(v);
      else finite = finite && fabsf(v) < __uint_as_float(0x7f800000u);
    }
  }
  float scale = 1.f;
  const int64_t row = static_cast<int64_t>(group) * kOutChannels + o;
  if constexpr (kSplit) {
    extremes.reduce_warp();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = extremes;
    __syncthreads();
    extremes = Extremes{};
    for (int i = 0; i < kThreads / 32; ++i) {
      extremes.merge(partial[i]);
    }
    const ChannelScale channel(extremes);
    scale = channel.scale;
    if (threadIdx.x == 0 && real) {
      p.inverse[row] = channel.inverse;
      p.flags[row] = channel.representable ? 0 : 1;
    }
  } else {
    const bool flagged = __syncthreads_or(finite ? 0 : 1) != 0;
    if (threadIdx.x == 0 && real) p.flags[row] = flagged ? 1 : 0;
  }

  const int64_t chunks = static_cast<int64_t>(kBlocks) * kBlockChunks;
  for (int64_t i = threadIdx.x; i < chunks * kKernel; i += kThreads) {
    const int64_t chunk = i / kKernel, tap = i % kKernel, block = chunk / kBlockChunks, inside = chunk % kBlockChunks;
    // (group, ring, block, tap) then the chunks of a tap, then rows.
    const int64_t tap_index = ((static_cast<int64_t>(group) * (kPaddedRows / kRows) + o / kRows) * kBlocks + block) * kKernel + tap;
    constexpr int kTapChunks = kSplit ? 4 : kBlockChunks;
    uint8_t* out = p.packed + ((tap_index * kTapChunks + inside) * kRows + o % kRows) * 16;
    uint32_t word[4];
    if constexpr (kSplit) {
      uint32_t lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
        split2_f16(to_float(at(chunk * 8 + 2 * j, tap)) * scale, to_float(at(chunk * 8 + 2 * j + 1, tap)) * scale, word[j], lo[j]);
      *reinterpret_cast<uint4*>(out + 2 * kRows * 16) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (kFormat == 0) {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = round_tf32(bits_of(at(chunk * 4 + j, tap)));
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = bits_of(at(chunk * 8 + 2 * j, tap)) | bits_of(at(chunk * 8 + 2 * j + 1, tap)) << 16;
    }
    *reinterpret_cast<uint4*>(out) = make_uint4(word[0], word[1], word[2], word[3]);
  }
#endif
}

}  // namespace pack_weights_tf32

// ==== The work of dense_fprop_sm90, tf32. From kernels/conv/dense_fprop_sm90.cuh.
namespace dense_fprop_sm90_tf32 {

// Dense forward convolution on Hopper: pack once, multiply from shared memory. TF32, bf16, f16; f32 accumulation.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have accumulators of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, which packers form in their raw stages, where forward's result
// arrives beside dL/dy (tile/activation_gradient.cuh).
//
// As matrices, for one tile of time: D[o, t] += W_k[o, i] * X_k[t, i]^T, where X_k is the tile's packed signal read
// from row offset (k*dilation)/stride of polyphase plane (k*dilation) mod stride. A tap is only an address.
//
//   global x (NCW)           shared                                            registers         global y (NCW)
//   rows i, time e   --bulk-->  raw ring     --pack-->  slots of packed rows
//                               per packer              [chunk of channels][plane][row] x 16 B  \
//   packed weights   --bulk-------------------------->  W ring  [o][k-step]                      wgmma --> acc --stage--> bulk
//
// Roles (384 or 512 threads, one persistent block per multiprocessor):
//   warps 0-7   two MMA warpgroups, kMBlocks x 64 rows x N columns (of each phase) each: over output channels (kChannelWays 2) or time (1)
//   warps 8-10  packers (or 8-14); each loads and packs its own chunks, so the raw ring needs no barrier towards the loader
//   last warp   loads packed weights; where all of them stay in shared memory, it may be the fourth packer after that
// Few weights may stay in the MMA warps' registers instead (LC_W_STATIONARY 2), as wgmma's A operand: shared memory is then the signal's.
// In a cluster of two the blocks stream the same weights for neighbouring tiles: each reads half of them for both.
// A slot holds kChunks chunks (16 bytes of channels) of one tap group: taps whose samples lie close enough to share
// one window. Barriers: slot full (its units' packers arrive) / empty (8 MMA warps); raw full (bytes); W full (bytes) /
// empty (MMA warps). Slots and W stages are released one wgmma group late.
//
// Limits: time stride 1 or the gather packer; kernel, channels, stride, dilation and tile sizes are compile-time.
// Bytes: x once per output-channel sweep (kResident: once), y once, weights from L2. FLOPs: 2*kRingRows*ways*N*ICpad*K per tile.
// Accumulation: one f32 chain per output on the tensor core (which truncates); see docs/design/numerics.md.
// Zero padding is zero data in the packed rows; the launcher repairs outputs of non-finite weights (see there).

// --- the problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16; channels are per group
constexpr int kInChannels = 64, kOutChannels = 128, kKernel = 3;
constexpr int kStride = 1;
constexpr Pad kPad = static_cast<Pad>(0);
using Element = float;
using MmaType = tf32;

// --- the configuration
constexpr int kN = 256, kChannelWays = 2, kTimeWays = 2 / kChannelWays;
constexpr int kMBlocks = 1, kRingRows = 64 * kMBlocks;  // output channels of a warpgroup
constexpr int kChunks = 4, kWSteps = 2;
constexpr Store kStore = static_cast<Store>(0);
enum class Pack { any, transposed, gather };
constexpr Pack kPack = static_cast<Pack>(0);
// Weights that stay in the MMA warps' registers, or 160 accumulators a thread instead of 128 at most.
constexpr bool kHeld = 1 == 2, kManyRegisters = kHeld || kMBlocks * 1 * kN > 256;

struct StorePolicy {
  using Element = dense_fprop_sm90_tf32::Element;
  static constexpr int kColumns = kN, kPhases = 1, kStageRows = 4;
  static constexpr Store kStore = dense_fprop_sm90_tf32::kStore;
};
using Rows = RowStore<StorePolicy>;

// Everything that follows from the problem and the configuration; the tile movers read it.
struct C : TapRows<1, 0, kStride, 1, 3, kKernel> {
  using Element = dense_fprop_sm90_tf32::Element;
  static constexpr int kInChannels = dense_fprop_sm90_tf32::kInChannels, kOutChannels = dense_fprop_sm90_tf32::kOutChannels;
  static constexpr Pad kPad = dense_fprop_sm90_tf32::kPad;
  static constexpr Activation kActivation = static_cast<Activation>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr bool kBias = 0, kResidual = 0;
  static constexpr bool kResident = 0, kStationary = 1 != 0, kGather = kPack == Pack::gather;
  static constexpr int kPackers = 4, kCluster = 1, kRawStages = 2, kWStages = 12, kSlots = 3;

  static constexpr int kTeam = 1, kUnitStep = kPackers, kRawBuffers = kPackers * kRawStages;  // packers work alone
  // Packing: a unit is one 16-byte chunk of channels; planes, one for each needed residue of k*dilation mod stride.
  static constexpr int kBytes = sizeof(Element), kChunk = 16 / kBytes, kUnitChannels = kChunk;
  static constexpr bool kFewRegisters = kManyRegisters && kPackers == 7;  // for packers
  static constexpr int kUnitsPerSlot = kChunks, kPackersPerSlot = kUnitsPerSlot;
  static constexpr int kSpan = Rows::kPhaseStep * (kTimeWays - 1) + kN;  // time steps (of each phase) that a block computes
  static constexpr int kStep = Rows::kStep * kTimeWays;
  static constexpr int64_t kInputStep = static_cast<int64_t>(Rows::kPhaseStep * kTimeWays) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSpan + kTapRows, kStride);
  static constexpr int kRawNeeded = kStride == 1 ? kPlaneRows : (kSpan - 1) * kStride + (kTaps - 1) * kDilation + 1;
  // + kChunk - 1: a row may begin anywhere in its first 16 bytes. Odd multiple of 16 bytes: ldmatrix without conflicts.
  static constexpr int kRawPitch = (ceil_div((kRawNeeded + kChunk - 1) * kBytes, 16) | 1) * 16;
  static constexpr int kRawBytes = kGather ? 0 : kUnitChannels * kRawPitch * (0 ? 2 : 1);
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSlotBytes = kChunkRows * 16 * kChunks;

  static constexpr int kSlotChannels = kChunks * kChunk, kChannelBlocks = ceil_div(kInChannels, kSlotChannels);
  static constexpr bool kWholeSlots = kInChannels % kSlotChannels == 0;  // no slot holds channels that do not exist
  static constexpr int kTapGroups = ceil_div(kKernel, kTaps), kItemSlots = kChannelBlocks * kTapGroups;
  static constexpr int kUnits = kItemSlots * kUnitsPerSlot;  // of an item: what one packer does at a time
  static constexpr int kSweeps = ceil_div(kOutChannels, kRingRows * kChannelWays);

  static constexpr int kRings = kChannelWays, kStepBytes = 2048 * kMBlocks, kWStageBytes = kWSteps * kStepBytes;
  static constexpr bool kLastSweepIdles = !kStationary && last_sweep_idles(kRings, kSweeps, kRingRows, kOutChannels);
  static constexpr int kTapStages = kChunks / 2 / kWSteps;
  static constexpr int kSweepStages = kChannelBlocks * kKernel * kTapStages;  // W stages of a ring's channels
  static constexpr int64_t kSweepBytes = static_cast<int64_t>(kSweepStages) * kWStageBytes;
  static LC_CONSTEXPR int stage_bytes(int) { return kWStageBytes; }

  static constexpr int kSharedX = 0, kSharedW = kSharedX + kSlots * kSlotBytes;
  static constexpr int kSharedRaw = kSharedW + kRings * kWStages * kWStageBytes;
  static constexpr int kSharedOut = kSharedRaw + kRawBuffers * kRawBytes;
  static constexpr int kSharedBarriers = kSharedOut + 8 * Rows::kStageBytes;
  static constexpr int kDrawsAhead = draws_ahead((kRawStages + 1) * kUnitStep, kUnits, kStationary ? 0 : kWStages, kSweepStages * (kResident ? kSweeps : 1));
  static constexpr int kDrawnPlaces = drawn_places(kDrawsAhead, kSlots, kItemSlots);
  static constexpr int kSharedDrawn = kSharedBarriers + 8 * barrier_count(kSlots, kRawBuffers, kRings * kWStages, kTeam);
  static constexpr int kSharedBytes = kSharedDrawn + drawn_bytes(kDrawnPlaces);
};
static_assert(C::kSharedBytes <= 217680 && 217680 <= 232448, "the launcher reckons as this file does");
static_assert(kChunks % (2 * kWSteps) == 0, "a tap's k-steps are whole W stages");
static_assert(!C::kStationary || (C::kWStages == (kHeld ? 0 : C::kSweepStages) && C::kSweeps == 1), "stationary weights fit their ring");
static_assert(!kHeld || (kMBlocks == 1 && 1 == 1), "registers hold fragments of one block of 64 channels");
static_assert(C::kPackers == 3 || C::kPackers == 7 || (C::kPackers == 4 && C::kStationary), "the weight warp packs once its weights are there for good");
static_assert(C::kCluster == 1 || (C::kCluster == 2 && !C::kStationary), "weights that stay are not worth a cluster");
static_assert(!C::kResident || C::kSlots == C::kItemSlots, "resident slots hold a whole item");
static_assert(C::kSlots >= 2 && C::kSlots * C::kUnitsPerSlot >= C::kPackers, "slots are released one group late; a packer is never two uses of a slot ahead");
static_assert(kPack != Pack::transposed || (kStride == 1 && C::kBytes == 2), "transposing packer: 16 bits, stride 1");
// 3 packers and the weight warp, which may be a fourth; or 7 and the weight warp, where accumulators leave the registers.
constexpr int kWeightWarp = C::kPackers == 7 ? 15 : 11, kThreads = 32 * (kWeightWarp + 1), kLaunchRegisters = kThreads == 512 ? 128 : 168;
constexpr int kMmaRegisters = kThreads == 384 || kManyRegisters ? 200 : 160;
constexpr int kPackerRegisters = kThreads == 384 ? 104 : kManyRegisters ? 56 : 96;
static_assert(256 * kMmaRegisters + (kThreads - 256) * kPackerRegisters <= kThreads * kLaunchRegisters, "setmaxnreg moves what the launch took");
static_assert(kThreads == 384 || kN <= 160, "ptxas wants all accumulators of an instruction among the registers of the launch");

using Params = HopperParams<Element>;
using Raw = RawRing<C, Params>;

// --- packer warps ------------------------------------------------------------------------------------------------
// Packs a unit from its raw rows, or from memory.
LC_DEVICE void pack_unit(const Params& p, const Raw& ring, const Window<Element>& w, bool edge, uint32_t raw, uint32_t dst, int lane) {
  if (!C::kWholeSlots && w.channels <= 0) {
    for (int row = lane; row < C::kChunkRows; row += 32) store_shared_v4(dst + row * 16, 0, 0, 0, 0);
    return;
  }
  if (C::kGather || (kPad >= Pad::reflect && edge)) {
    pack_gather<C, kPad>(w.row, p.x_channel, p.x_time, w.channels, w.first, p.length, dst, lane);
    return;
  }
  if constexpr (Raw::kGradient) {
    form_gradient<C::kGradientOf, Element, 4>(raw, raw + C::kRawBytes / 2, min(w.channels, C::kChunk) * C::kRawPitch, p.negative_slope, lane, 32);
    __syncwarp();
  }
  if (!C::kWholeSlots && w.channels < C::kChunk) {  // rows of missing channels: zeros
    for (int j = w.channels; j < C::kChunk; ++j)
      for (int i = lane; i < C::kRawPitch / 16; i += 32) store_shared_v4(raw + j * C::kRawPitch + i * 16, 0, 0, 0, 0);
    fence_proxy_async();  // before the copy that comes there next
    __syncwarp();
  }
  const uint32_t low = static_cast<uint32_t>(reinterpret_cast<uint64_t>(w.row + w.first));
  uint32_t offset[C::kChunk], misaligned = 0;
#pragma unroll
  for (int j = 0; j < C::kChunk; ++j) {
    const uint32_t shift = (low + j * static_cast<uint32_t>(ring.pitch)) & 15;
    misaligned |= shift;
    offset[j] = j * C::kRawPitch + shift;
  }
  if (kPad == Pad::zeros && edge)
    pack_any<C, true, false>(raw, offset, dst, lane, Raw::valid_begin(w.first), Raw::valid_end(w.first, p.length));
  else if (kPack == Pack::transposed && !misaligned)
    pack_transposed<C>(raw, dst, lane);
  else
    pack_window<C>(raw, offset, (ring.pitch & 15) == 0, dst, lane);
}

LC_DEVICE void pack_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                         int packer, int lane) {
  Raw ring(p, schedule, shared + C::kSharedRaw, barriers, packer, lane);
  ring.fill();
  int unit = packer, slot_base = 0, stage = 0, phase = 0;
  ItemDraw<C> draw;
  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    if (packer == 0) draw.at_item(p, schedule, at.number, lane);
    const Item item = schedule.item(at.index);
    for (; unit < C::kUnits; unit += C::kPackers) {
      const int sequence = slot_base + unit / C::kUnitsPerSlot, s = sequence % C::kSlots, use = sequence / C::kSlots;
      const uint32_t dst = shared + C::kSharedX + s * C::kSlotBytes + unit % C::kUnitsPerSlot * (C::kChunkRows * 16);
      const Window<Element> w = Raw::window(p, item, unit);
      const bool edge = Raw::crosses_edge(w.first, p.length);
      barrier_wait(barriers.slot_empty + 8 * s, (use & 1) ^ 1);
      if (!C::kGather) barrier_wait(ring.full + 8 * stage, phase);
      pack_unit(p, ring, w, edge, ring.memory + stage * C::kRawBytes, dst, lane);
      if constexpr (Raw::kGradient) fence_proxy_async();  // bulk copies write next where ordinary stores have formed the gradient
      __syncwarp();  // what every lane has stored is the barrier's; who multiplies makes it wgmma's
      if (arrives(lane)) barrier_arrive(barriers.slot_full + 8 * s);
      ring.issue();
      if (++stage == C::kRawStages) { stage = 0; phase ^= 1; }
    }
    unit -= C::kUnits;
    slot_base += C::kItemSlots;
  }
}

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
LC_DEVICE void multiply_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                             int warpgroup, int warp, int lane) {
  const int ring = kChannelWays == 2 ? warpgroup : 0, way = kTimeWays == 2 ? warpgroup : 0;
  const uint64_t a0 = wgmma_descriptor(shared + C::kSharedW + ring * C::kWStages * C::kWStageBytes, kRingRows * 16, 128);
  const uint64_t b0 = wgmma_descriptor(shared + C::kSharedX + way * Rows::kPhaseStep * 16, C::kChunkRows * 16, 128);
  const uint32_t full = barriers.w_full + 8 * C::kWStages * ring;
  const uint32_t stage_out = shared + C::kSharedOut + (warpgroup * 4 + warp) * Rows::kStageBytes;
  int slot = 0, slot_phase = 0, ws = 0, w_phase = 0;
  float acc[kMBlocks][C::kPhases][kN / 2];

  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    const Item item = schedule.item(at.index);
#pragma unroll 1
    for (int sweep = 0; sweep < Schedule<C>::kSweepsPerItem; ++sweep) {
      if (C::kLastSweepIdles && ring == 1 && (C::kResident ? sweep : item.sweep) == C::kSweeps - 1) {
        idle_sweep<C>(barriers, ring, lane, slot, slot_phase, ws, w_phase);
        continue;
      }
      int old_w = -1, old_slot = -1;  // to release once the group that read them has finished
      auto release = [&] {
        if (arrives(lane)) {
          if (!C::kStationary && old_w >= 0) barriers.release_weights(ring, old_w);
          if (old_slot >= 0) barrier_arrive(barriers.slot_empty + 8 * old_slot);
        }
      };
      int accumulate[C::kPeriod] = {};
#pragma unroll 1
      for (int block = 0; block < C::kChannelBlocks; ++block) {
#pragma unroll 1
        for (int group = 0; group < C::kTapGroups; ++group) {
          if (sweep == 0) {
            barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
            fence_proxy_async();  // here, and not where packers store, which wait for it longer
          }
          const int taps = C::kTapGroups == 1 ? kKernel : min(C::kTaps, kKernel - group * C::kTaps);
#pragma unroll 1
          for (int k0 = 0; k0 < taps; k0 += C::kPeriod) {
#pragma unroll
            for (int stage = 0; stage < C::kPeriod * C::kTapStages; ++stage) {  // taps of different phases
              const int i = stage / C::kTapStages, s = stage % C::kTapStages;
              if (C::kPeriod > 1 && k0 + i >= taps) break;
              const uint64_t b = b0 + ((slot * C::kSlotBytes) >> 4) + C::tap_row(k0 + i, C::kPlaneRows);
              barrier_wait(full + 8 * ws, w_phase);
              const uint64_t a = a0 + ((ws * C::kWStageBytes) >> 4);
              wgmma_fence();
#pragma unroll
              for (int q = 0; q < kWSteps; ++q) {
#pragma unroll
                for (int m = 0; m < kMBlocks; ++m)
                  wgmma<MmaType, kN>(acc[m][C::phase(i)], a + q * (C::kStepBytes / 16) + m * 64,
                                               b + (s * kWSteps + q) * (2 * C::kChunkRows), accumulate[i]);
                accumulate[i] = 1;
              }
              wgmma_commit();
              wgmma_wait<1>();
              release();
              old_w = ws;
              old_slot = -1;
              if (++ws == C::kWStages) { ws = 0; if (!C::kStationary) w_phase ^= 1; }
            }
          }
          if (sweep == Schedule<C>::kSweepsPerItem - 1) old_slot = slot;
          if (++slot == C::kSlots) { slot = 0; if (!C::kResident || sweep == Schedule<C>::kSweepsPerItem - 1) slot_phase ^= 1; }
        }
      }
      wgmma_wait<0>();
      release();
#pragma unroll
      for (int m = 0; m < kMBlocks; ++m) {
        settle_phases<C>(acc[m]);
        const int channel0 = ((C::kResident ? sweep : item.sweep) * kChannelWays + ring) * kRingRows + m * 64 + warp * 16;
        finish_rows<C, Rows>(acc[m], p, item, channel0, way, stage_out, lane);
      }
    }
  }
  Rows::finish();
}

__global__ void __launch_bounds__(kThreads, 1) longconv_dense_fprop_sm90(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const BlockBarriers<C> barriers(shared);
  const DrawnSchedule<C> schedule(p, shared);
  barriers.init(schedule);
  if (warp >= 8) {
    decrease_registers<kPackerRegisters>();
    if (!kHeld && warp == kWeightWarp) {
      if (elect_one()) {
        Raw raw(p, schedule, shared + C::kSharedRaw, barriers, 0, 0);
        weight_role<C>(p, schedule, shared, barriers, raw);
      }
      __syncwarp();
    }
    if (warp < 8 + C::kPackers) {
      pack_role(p, schedule, shared, barriers, warp - 8, lane);
      // What is left of the block's last tile takes about as long as a launch. This block has all registers of its
      // multiprocessor, so the next kernel's blocks come where blocks have ended, and wait there.
      allow_next_kernel();
    }
  } else {
    increase_registers<kMmaRegisters>();
    wait_for_previous_kernel();
    multiply_role(p, schedule, shared, barriers, warp >> 2, warp & 3, lane);
  }
  barriers.leave();
#endif
}

}  // namespace dense_fprop_sm90_tf32

// ==== Packs the weights for dense_dgrad_sm90, tf32. From kernels/conv/pack_weights.cuh.
namespace pack_weights_dgrad_tf32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> the order in which the dense forward kernels consume them, and with
// the precision they multiply in. One block for each packed output channel; missing channels become zeros.
//
//   LC_FORMAT 0  TF32 (f32 rounded to nearest, ties away), 1 bf16, 2 f16:
//     [group][ring of LC_RING_ROWS channels][channel block of LC_BLOCK_CHUNKS chunks][tap][k-step][2 chunks][o][16 B]
//   LC_FORMAT 3  two f16 planes of f32 (tile/split_f16.cuh), scaled by a power of two per output channel so that
//     max|w| lies in [2^13, 2^14):
//     [group][64 channels][16 channels][tap][hi 0-7, hi 8-15, lo 0-7, lo 8-15][o][16 B], and `inverse`[group][out/group]
//
// flags[group][out/group]: not 0 where some weight is Inf or NaN or (format 3) cannot be split exactly enough: scaled, it
// is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 0, kKernel = 3, kInChannels = 128, kOutChannels = 64;
constexpr bool kSplit = kFormat == 3;
constexpr int kRows = kSplit ? 64 : 64;
constexpr int kChunk = kFormat == 0 ? 4 : 8;                          // elements of 16 bytes
constexpr int kBlockChunks = kSplit ? 2 : 4;            // chunks of channels of a block
constexpr int kBlocks = ceil_div(kInChannels, kBlockChunks * kChunk);
constexpr int kPaddedRows = 64;                   // of a group, a multiple of kRows
constexpr int kThreads = 128;

using Element = float;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_weights(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / kPaddedRows, o = blockIdx.x % kPaddedRows;
  const bool real = o < kOutChannels;
  const Element* w = p.w + group * (1 ? kInChannels * p.w_in : kOutChannels * p.w_out) + o * p.w_out;
  const int64_t count = static_cast<int64_t>(kInChannels) * kKernel;
  auto at = [&](int64_t channel, int64_t tap) -> Element {
    if (real && channel < kInChannels) return w[channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ Extremes partial[kThreads / 32];
  Extremes extremes;
  bool finite = true;
  if (real) {
    for (int64_t i = threadIdx.x; i < count; i += kThreads) {
      const float v = to_float(at(i / kKernel, i % kKernel));
      if (kSplit) extremes.add(v);
      else finite = finite && fabsf(v) < __uint_as_float(0x7f800000u);
    }
  }
  float scale = 1.f;
  const int64_t row = static_cast<int64_t>(group) * kOutChannels + o;
  if constexpr (kSplit) {
    extremes.reduce_warp();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = extremes;
    __syncthreads();
    extremes = Extremes{};
    for (int i = 0; i < kThreads / 32; ++i) {
      extremes.merge(partial[i]);
    }
    const ChannelScale channel(extremes);
    scale = channel.scale;
    if (threadIdx.x == 0 && real) {
      p.inverse[row] = channel.inverse;
      p.flags[row] = channel.representable ? 0 : 1;
    }
  } else {
    const bool flagged = __syncthreads_or(finite ? 0 : 1) != 0;
    if (threadIdx.x == 0 && real) p.flags[row] = flagged ? 1 : 0;
  }

  const int64_t chunks = static_cast<int64_t>(kBlocks) * kBlockChunks;
  for (int64_t i = threadIdx.x; i < chunks * kKernel; i += kThreads) {
    const int64_t chunk = i / kKernel, tap = i % kKernel, block = chunk / kBlockChunks, inside = chunk % kBlockChunks;
    // (group, ring, block, tap) then the chunks of a tap, then rows.
    const int64_t tap_index = ((static_cast<int64_t>(group) * (kPaddedRows / kRows) + o / kRows) * kBlocks + block) * kKernel + tap;
    constexpr int kTapChunks = kSplit ? 4 : kBlockChunks;
    uint8_t* out = p.packed + ((tap_index * kTapChunks + inside) * kRows + o % kRows) * 16;
    uint32_t word[4];
    if constexpr (kSplit) {
      uint32_t lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
        split2_f16(to_float(at(chunk * 8 + 2 * j, tap)) * scale, to_float(at(chunk * 8 + 2 * j + 1, tap)) * scale, word[j], lo[j]);
      *reinterpret_cast<uint4*>(out + 2 * kRows * 16) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (kFormat == 0) {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = round_tf32(bits_of(at(chunk * 4 + j, tap)));
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = bits_of(at(chunk * 8 + 2 * j, tap)) | bits_of(at(chunk * 8 + 2 * j + 1, tap)) << 16;
    }
    *reinterpret_cast<uint4*>(out) = make_uint4(word[0], word[1], word[2], word[3]);
  }
#endif
}

}  // namespace pack_weights_dgrad_tf32

// ==== The work of dense_dgrad_sm90, tf32. From kernels/conv/dense_fprop_sm90.cuh.
namespace dense_dgrad_sm90_tf32 {

// Dense forward convolution on Hopper: pack once, multiply from shared memory. TF32, bf16, f16; f32 accumulation.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have accumulators of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, which packers form in their raw stages, where forward's result
// arrives beside dL/dy (tile/activation_gradient.cuh).
//
// As matrices, for one tile of time: D[o, t] += W_k[o, i] * X_k[t, i]^T, where X_k is the tile's packed signal read
// from row offset (k*dilation)/stride of polyphase plane (k*dilation) mod stride. A tap is only an address.
//
//   global x (NCW)           shared                                            registers         global y (NCW)
//   rows i, time e   --bulk-->  raw ring     --pack-->  slots of packed rows
//                               per packer              [chunk of channels][plane][row] x 16 B  \
//   packed weights   --bulk-------------------------->  W ring  [o][k-step]                      wgmma --> acc --stage--> bulk
//
// Roles (384 or 512 threads, one persistent block per multiprocessor):
//   warps 0-7   two MMA warpgroups, kMBlocks x 64 rows x N columns (of each phase) each: over output channels (kChannelWays 2) or time (1)
//   warps 8-10  packers (or 8-14); each loads and packs its own chunks, so the raw ring needs no barrier towards the loader
//   last warp   loads packed weights; where all of them stay in shared memory, it may be the fourth packer after that
// Few weights may stay in the MMA warps' registers instead (LC_W_STATIONARY 2), as wgmma's A operand: shared memory is then the signal's.
// In a cluster of two the blocks stream the same weights for neighbouring tiles: each reads half of them for both.
// A slot holds kChunks chunks (16 bytes of channels) of one tap group: taps whose samples lie close enough to share
// one window. Barriers: slot full (its units' packers arrive) / empty (8 MMA warps); raw full (bytes); W full (bytes) /
// empty (MMA warps). Slots and W stages are released one wgmma group late.
//
// Limits: time stride 1 or the gather packer; kernel, channels, stride, dilation and tile sizes are compile-time.
// Bytes: x once per output-channel sweep (kResident: once), y once, weights from L2. FLOPs: 2*kRingRows*ways*N*ICpad*K per tile.
// Accumulation: one f32 chain per output on the tensor core (which truncates); see docs/design/numerics.md.
// Zero padding is zero data in the packed rows; the launcher repairs outputs of non-finite weights (see there).

// --- the problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16; channels are per group
constexpr int kInChannels = 128, kOutChannels = 64, kKernel = 3;
constexpr int kStride = 1;
constexpr Pad kPad = static_cast<Pad>(1);
using Element = float;
using MmaType = tf32;

// --- the configuration
constexpr int kN = 128, kChannelWays = 1, kTimeWays = 2 / kChannelWays;
constexpr int kMBlocks = 1, kRingRows = 64 * kMBlocks;  // output channels of a warpgroup
constexpr int kChunks = 4, kWSteps = 2;
constexpr Store kStore = static_cast<Store>(2);
enum class Pack { any, transposed, gather };
constexpr Pack kPack = static_cast<Pack>(0);
// Weights that stay in the MMA warps' registers, or 160 accumulators a thread instead of 128 at most.
constexpr bool kHeld = 1 == 2, kManyRegisters = kHeld || kMBlocks * 1 * kN > 256;

struct StorePolicy {
  using Element = dense_dgrad_sm90_tf32::Element;
  static constexpr int kColumns = kN, kPhases = 1, kStageRows = 0;
  static constexpr Store kStore = dense_dgrad_sm90_tf32::kStore;
};
using Rows = RowStore<StorePolicy>;

// Everything that follows from the problem and the configuration; the tile movers read it.
struct C : TapRows<1, 0, kStride, 1, 3, kKernel> {
  using Element = dense_dgrad_sm90_tf32::Element;
  static constexpr int kInChannels = dense_dgrad_sm90_tf32::kInChannels, kOutChannels = dense_dgrad_sm90_tf32::kOutChannels;
  static constexpr Pad kPad = dense_dgrad_sm90_tf32::kPad;
  static constexpr Activation kActivation = static_cast<Activation>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr bool kBias = 0, kResidual = 0;
  static constexpr bool kResident = 0, kStationary = 1 != 0, kGather = kPack == Pack::gather;
  static constexpr int kPackers = 7, kCluster = 1, kRawStages = 2, kWStages = 24, kSlots = 4;

  static constexpr int kTeam = 1, kUnitStep = kPackers, kRawBuffers = kPackers * kRawStages;  // packers work alone
  // Packing: a unit is one 16-byte chunk of channels; planes, one for each needed residue of k*dilation mod stride.
  static constexpr int kBytes = sizeof(Element), kChunk = 16 / kBytes, kUnitChannels = kChunk;
  static constexpr bool kFewRegisters = kManyRegisters && kPackers == 7;  // for packers
  static constexpr int kUnitsPerSlot = kChunks, kPackersPerSlot = kUnitsPerSlot;
  static constexpr int kSpan = Rows::kPhaseStep * (kTimeWays - 1) + kN;  // time steps (of each phase) that a block computes
  static constexpr int kStep = Rows::kStep * kTimeWays;
  static constexpr int64_t kInputStep = static_cast<int64_t>(Rows::kPhaseStep * kTimeWays) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSpan + kTapRows, kStride);
  static constexpr int kRawNeeded = kStride == 1 ? kPlaneRows : (kSpan - 1) * kStride + (kTaps - 1) * kDilation + 1;
  // + kChunk - 1: a row may begin anywhere in its first 16 bytes. Odd multiple of 16 bytes: ldmatrix without conflicts.
  static constexpr int kRawPitch = (ceil_div((kRawNeeded + kChunk - 1) * kBytes, 16) | 1) * 16;
  static constexpr int kRawBytes = kGather ? 0 : kUnitChannels * kRawPitch * (0 ? 2 : 1);
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSlotBytes = kChunkRows * 16 * kChunks;

  static constexpr int kSlotChannels = kChunks * kChunk, kChannelBlocks = ceil_div(kInChannels, kSlotChannels);
  static constexpr bool kWholeSlots = kInChannels % kSlotChannels == 0;  // no slot holds channels that do not exist
  static constexpr int kTapGroups = ceil_div(kKernel, kTaps), kItemSlots = kChannelBlocks * kTapGroups;
  static constexpr int kUnits = kItemSlots * kUnitsPerSlot;  // of an item: what one packer does at a time
  static constexpr int kSweeps = ceil_div(kOutChannels, kRingRows * kChannelWays);

  static constexpr int kRings = kChannelWays, kStepBytes = 2048 * kMBlocks, kWStageBytes = kWSteps * kStepBytes;
  static constexpr bool kLastSweepIdles = !kStationary && last_sweep_idles(kRings, kSweeps, kRingRows, kOutChannels);
  static constexpr int kTapStages = kChunks / 2 / kWSteps;
  static constexpr int kSweepStages = kChannelBlocks * kKernel * kTapStages;  // W stages of a ring's channels
  static constexpr int64_t kSweepBytes = static_cast<int64_t>(kSweepStages) * kWStageBytes;
  static LC_CONSTEXPR int stage_bytes(int) { return kWStageBytes; }

  static constexpr int kSharedX = 0, kSharedW = kSharedX + kSlots * kSlotBytes;
  static constexpr int kSharedRaw = kSharedW + kRings * kWStages * kWStageBytes;
  static constexpr int kSharedOut = kSharedRaw + kRawBuffers * kRawBytes;
  static constexpr int kSharedBarriers = kSharedOut + 8 * Rows::kStageBytes;
  static constexpr int kDrawsAhead = draws_ahead((kRawStages + 1) * kUnitStep, kUnits, kStationary ? 0 : kWStages, kSweepStages * (kResident ? kSweeps : 1));
  static constexpr int kDrawnPlaces = drawn_places(kDrawsAhead, kSlots, kItemSlots);
  static constexpr int kSharedDrawn = kSharedBarriers + 8 * barrier_count(kSlots, kRawBuffers, kRings * kWStages, kTeam);
  static constexpr int kSharedBytes = kSharedDrawn + drawn_bytes(kDrawnPlaces);
};
static_assert(C::kSharedBytes <= 226576 && 226576 <= 232448, "the launcher reckons as this file does");
static_assert(kChunks % (2 * kWSteps) == 0, "a tap's k-steps are whole W stages");
static_assert(!C::kStationary || (C::kWStages == (kHeld ? 0 : C::kSweepStages) && C::kSweeps == 1), "stationary weights fit their ring");
static_assert(!kHeld || (kMBlocks == 1 && 1 == 1), "registers hold fragments of one block of 64 channels");
static_assert(C::kPackers == 3 || C::kPackers == 7 || (C::kPackers == 4 && C::kStationary), "the weight warp packs once its weights are there for good");
static_assert(C::kCluster == 1 || (C::kCluster == 2 && !C::kStationary), "weights that stay are not worth a cluster");
static_assert(!C::kResident || C::kSlots == C::kItemSlots, "resident slots hold a whole item");
static_assert(C::kSlots >= 2 && C::kSlots * C::kUnitsPerSlot >= C::kPackers, "slots are released one group late; a packer is never two uses of a slot ahead");
static_assert(kPack != Pack::transposed || (kStride == 1 && C::kBytes == 2), "transposing packer: 16 bits, stride 1");
// 3 packers and the weight warp, which may be a fourth; or 7 and the weight warp, where accumulators leave the registers.
constexpr int kWeightWarp = C::kPackers == 7 ? 15 : 11, kThreads = 32 * (kWeightWarp + 1), kLaunchRegisters = kThreads == 512 ? 128 : 168;
constexpr int kMmaRegisters = kThreads == 384 || kManyRegisters ? 200 : 160;
constexpr int kPackerRegisters = kThreads == 384 ? 104 : kManyRegisters ? 56 : 96;
static_assert(256 * kMmaRegisters + (kThreads - 256) * kPackerRegisters <= kThreads * kLaunchRegisters, "setmaxnreg moves what the launch took");
static_assert(kThreads == 384 || kN <= 160, "ptxas wants all accumulators of an instruction among the registers of the launch");

using Params = HopperParams<Element>;
using Raw = RawRing<C, Params>;

// --- packer warps ------------------------------------------------------------------------------------------------
// Packs a unit from its raw rows, or from memory.
LC_DEVICE void pack_unit(const Params& p, const Raw& ring, const Window<Element>& w, bool edge, uint32_t raw, uint32_t dst, int lane) {
  if (!C::kWholeSlots && w.channels <= 0) {
    for (int row = lane; row < C::kChunkRows; row += 32) store_shared_v4(dst + row * 16, 0, 0, 0, 0);
    return;
  }
  if (C::kGather || (kPad >= Pad::reflect && edge)) {
    pack_gather<C, kPad>(w.row, p.x_channel, p.x_time, w.channels, w.first, p.length, dst, lane);
    return;
  }
  if constexpr (Raw::kGradient) {
    form_gradient<C::kGradientOf, Element, 4>(raw, raw + C::kRawBytes / 2, min(w.channels, C::kChunk) * C::kRawPitch, p.negative_slope, lane, 32);
    __syncwarp();
  }
  if (!C::kWholeSlots && w.channels < C::kChunk) {  // rows of missing channels: zeros
    for (int j = w.channels; j < C::kChunk; ++j)
      for (int i = lane; i < C::kRawPitch / 16; i += 32) store_shared_v4(raw + j * C::kRawPitch + i * 16, 0, 0, 0, 0);
    fence_proxy_async();  // before the copy that comes there next
    __syncwarp();
  }
  const uint32_t low = static_cast<uint32_t>(reinterpret_cast<uint64_t>(w.row + w.first));
  uint32_t offset[C::kChunk], misaligned = 0;
#pragma unroll
  for (int j = 0; j < C::kChunk; ++j) {
    const uint32_t shift = (low + j * static_cast<uint32_t>(ring.pitch)) & 15;
    misaligned |= shift;
    offset[j] = j * C::kRawPitch + shift;
  }
  if (kPad == Pad::zeros && edge)
    pack_any<C, true, false>(raw, offset, dst, lane, Raw::valid_begin(w.first), Raw::valid_end(w.first, p.length));
  else if (kPack == Pack::transposed && !misaligned)
    pack_transposed<C>(raw, dst, lane);
  else
    pack_window<C>(raw, offset, (ring.pitch & 15) == 0, dst, lane);
}

LC_DEVICE void pack_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                         int packer, int lane) {
  Raw ring(p, schedule, shared + C::kSharedRaw, barriers, packer, lane);
  ring.fill();
  int unit = packer, slot_base = 0, stage = 0, phase = 0;
  ItemDraw<C> draw;
  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    if (packer == 0) draw.at_item(p, schedule, at.number, lane);
    const Item item = schedule.item(at.index);
    for (; unit < C::kUnits; unit += C::kPackers) {
      const int sequence = slot_base + unit / C::kUnitsPerSlot, s = sequence % C::kSlots, use = sequence / C::kSlots;
      const uint32_t dst = shared + C::kSharedX + s * C::kSlotBytes + unit % C::kUnitsPerSlot * (C::kChunkRows * 16);
      const Window<Element> w = Raw::window(p, item, unit);
      const bool edge = Raw::crosses_edge(w.first, p.length);
      barrier_wait(barriers.slot_empty + 8 * s, (use & 1) ^ 1);
      if (!C::kGather) barrier_wait(ring.full + 8 * stage, phase);
      pack_unit(p, ring, w, edge, ring.memory + stage * C::kRawBytes, dst, lane);
      if constexpr (Raw::kGradient) fence_proxy_async();  // bulk copies write next where ordinary stores have formed the gradient
      __syncwarp();  // what every lane has stored is the barrier's; who multiplies makes it wgmma's
      if (arrives(lane)) barrier_arrive(barriers.slot_full + 8 * s);
      ring.issue();
      if (++stage == C::kRawStages) { stage = 0; phase ^= 1; }
    }
    unit -= C::kUnits;
    slot_base += C::kItemSlots;
  }
}

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
LC_DEVICE void multiply_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                             int warpgroup, int warp, int lane) {
  const int ring = kChannelWays == 2 ? warpgroup : 0, way = kTimeWays == 2 ? warpgroup : 0;
  const uint64_t a0 = wgmma_descriptor(shared + C::kSharedW + ring * C::kWStages * C::kWStageBytes, kRingRows * 16, 128);
  const uint64_t b0 = wgmma_descriptor(shared + C::kSharedX + way * Rows::kPhaseStep * 16, C::kChunkRows * 16, 128);
  const uint32_t full = barriers.w_full + 8 * C::kWStages * ring;
  const uint32_t stage_out = shared + C::kSharedOut + (warpgroup * 4 + warp) * Rows::kStageBytes;
  int slot = 0, slot_phase = 0, ws = 0, w_phase = 0;
  float acc[kMBlocks][C::kPhases][kN / 2];

  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    const Item item = schedule.item(at.index);
#pragma unroll 1
    for (int sweep = 0; sweep < Schedule<C>::kSweepsPerItem; ++sweep) {
      if (C::kLastSweepIdles && ring == 1 && (C::kResident ? sweep : item.sweep) == C::kSweeps - 1) {
        idle_sweep<C>(barriers, ring, lane, slot, slot_phase, ws, w_phase);
        continue;
      }
      int old_w = -1, old_slot = -1;  // to release once the group that read them has finished
      auto release = [&] {
        if (arrives(lane)) {
          if (!C::kStationary && old_w >= 0) barriers.release_weights(ring, old_w);
          if (old_slot >= 0) barrier_arrive(barriers.slot_empty + 8 * old_slot);
        }
      };
      int accumulate[C::kPeriod] = {};
#pragma unroll 1
      for (int block = 0; block < C::kChannelBlocks; ++block) {
#pragma unroll 1
        for (int group = 0; group < C::kTapGroups; ++group) {
          if (sweep == 0) {
            barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
            fence_proxy_async();  // here, and not where packers store, which wait for it longer
          }
          const int taps = C::kTapGroups == 1 ? kKernel : min(C::kTaps, kKernel - group * C::kTaps);
#pragma unroll 1
          for (int k0 = 0; k0 < taps; k0 += C::kPeriod) {
#pragma unroll
            for (int stage = 0; stage < C::kPeriod * C::kTapStages; ++stage) {  // taps of different phases
              const int i = stage / C::kTapStages, s = stage % C::kTapStages;
              if (C::kPeriod > 1 && k0 + i >= taps) break;
              const uint64_t b = b0 + ((slot * C::kSlotBytes) >> 4) + C::tap_row(k0 + i, C::kPlaneRows);
              barrier_wait(full + 8 * ws, w_phase);
              const uint64_t a = a0 + ((ws * C::kWStageBytes) >> 4);
              wgmma_fence();
#pragma unroll
              for (int q = 0; q < kWSteps; ++q) {
#pragma unroll
                for (int m = 0; m < kMBlocks; ++m)
                  wgmma<MmaType, kN>(acc[m][C::phase(i)], a + q * (C::kStepBytes / 16) + m * 64,
                                               b + (s * kWSteps + q) * (2 * C::kChunkRows), accumulate[i]);
                accumulate[i] = 1;
              }
              wgmma_commit();
              wgmma_wait<1>();
              release();
              old_w = ws;
              old_slot = -1;
              if (++ws == C::kWStages) { ws = 0; if (!C::kStationary) w_phase ^= 1; }
            }
          }
          if (sweep == Schedule<C>::kSweepsPerItem - 1) old_slot = slot;
          if (++slot == C::kSlots) { slot = 0; if (!C::kResident || sweep == Schedule<C>::kSweepsPerItem - 1) slot_phase ^= 1; }
        }
      }
      wgmma_wait<0>();
      release();
#pragma unroll
      for (int m = 0; m < kMBlocks; ++m) {
        settle_phases<C>(acc[m]);
        const int channel0 = ((C::kResident ? sweep : item.sweep) * kChannelWays + ring) * kRingRows + m * 64 + warp * 16;
        finish_rows<C, Rows>(acc[m], p, item, channel0, way, stage_out, lane);
      }
    }
  }
  Rows::finish();
}

__global__ void __launch_bounds__(kThreads, 1) longconv_dense_fprop_sm90(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const BlockBarriers<C> barriers(shared);
  const DrawnSchedule<C> schedule(p, shared);
  barriers.init(schedule);
  if (warp >= 8) {
    decrease_registers<kPackerRegisters>();
    if (!kHeld && warp == kWeightWarp) {
      if (elect_one()) {
        Raw raw(p, schedule, shared + C::kSharedRaw, barriers, 0, 0);
        weight_role<C>(p, schedule, shared, barriers, raw);
      }
      __syncwarp();
    }
    if (warp < 8 + C::kPackers) {
      pack_role(p, schedule, shared, barriers, warp - 8, lane);
      // What is left of the block's last tile takes about as long as a launch. This block has all registers of its
      // multiprocessor, so the next kernel's blocks come where blocks have ended, and wait there.
      allow_next_kernel();
    }
  } else {
    increase_registers<kMmaRegisters>();
    wait_for_previous_kernel();
    multiply_role(p, schedule, shared, barriers, warp >> 2, warp & 3, lane);
  }
  barriers.leave();
#endif
}

}  // namespace dense_dgrad_sm90_tf32

// ==== Repairs the edges of dense_dgrad_sm90, tf32. From kernels/conv/direct_fprop.cuh.
namespace direct_dgrad_edges_tf32 {

// Direct forward convolution with ordinary multiply-adds: every dtype, stride, padding, group count and tensor layout.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient (LC_TRANSPOSED): then x is dy, y is dx, and y comes in LC_PHASES interleaved phases (tile/phases.cuh), each a
// convolution of its own with stride 1. A block does a tile of one phase. LC_ACTIVATION_GRADIENT, an activation of the forward sweep: x
// is then dL/dz, formed from dy and forward's result as both are read (tile/activation_gradient.cuh).
//
// It is the engine for what the tensor-core kernels do not take (f64, few channels, depthwise), and it repairs what they
// cannot do exactly:
//   LC_MODE 0  all outputs
//   LC_MODE 1  tiles whose bit is set in `redo` (see dense_fprop_split_sm90.cuh), or all when a weight is flagged (it is Inf,
//              NaN or cannot be split; tile/weight_flags.cuh)
//   LC_MODE 2  outputs whose window touches zero padding, when a weight is flagged (it is Inf or NaN)
//
//   block tile: kOutTile channels x kTimeTile steps        thread (a, b): channels a*kThreadOut .. +kThreadOut,
//   shared: w [i, k][o] and x [i][window]                                 times b + j*kTimeThreads, j < kThreadTime
//
// Sums are blocked: products of a stage (at most kStageTerms) in one chain, stages added to a total. Nothing outside
// the signal is multiplied when weights are not finite (kExact); otherwise zeros are, which adds nothing.
// f32 for bf16/f16/f32 (subnormals kept), f64 for f64. LC_TF32: f32 operands are rounded to TF32 first. Bound: docs/design/numerics.md.

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group
constexpr int kInChannels = 128, kOutChannels = 64;
constexpr int64_t kKernel = 3, kStride = 1, kPhases = 1;
using Taps = Phases<kPhases, 1, 0, kKernel>;
constexpr int64_t kTapStep = Taps::kPeriod, kDilation = Taps::kRowStep;  // from one tap of a phase to the next: in w, in x
constexpr Pad kPad = static_cast<Pad>(1);
constexpr Activation kActivation = static_cast<Activation>(0);
using Element = float;
template <class E> struct SumType { using Type = float; };
template <> struct SumType<double> { using Type = double; };
using Sum = SumType<Element>::Type;

// --- configuration
constexpr int kThreadOut = 8, kThreadTime = 8, kOutThreads = 8, kThreads = 128;
constexpr int kTimeThreads = kThreads / kOutThreads;
constexpr int kOutTile = kThreadOut * kOutThreads, kTimeTile = kThreadTime * kTimeThreads;
constexpr int kStageChannels = 8, kStageTaps = 3, kLoads = 4;  // kLoads: under way at a time
// The window of a stage; when dilation makes it sparse, taps are stored one after the other instead.
constexpr int64_t kDenseWindow = (kTimeTile - 1) * kStride + (kStageTaps - 1) * kDilation + 1;
constexpr int64_t kTapwiseWindow = static_cast<int64_t>(kTimeTile) * kStageTaps;
constexpr bool kTapwise = kTapwiseWindow < kDenseWindow;
constexpr int kWindow = static_cast<int>(kTapwise ? kTapwiseWindow : kDenseWindow);
static_assert((kWindow + kStageTaps * kOutTile) * kStageChannels * sizeof(Sum) <= 47 * 1024, "static shared memory");

struct Params {
  const Element* x;
  const Element* w;
  Element* y;
  const Element* bias;
  const Element* residual;
  const uint32_t* redo;
  const uint32_t* flags;
  int64_t x_batch, x_channel, x_time, w_out, w_in, w_tap, y_batch, y_channel, y_time;  // strides in elements
  int64_t bias_channel, residual_batch, residual_channel, residual_time;
  int64_t length, out_length, pad_left;
  int64_t redo_step, redo_span;  // LC_MODE 1: tiles advance by step, compute span, `redo_tiles` of them a row
  int64_t redo_tiles;
  int64_t flag_words;
  int64_t skip_begin[2], skip_end[2];  // LC_SKIP: outputs that dgrad_padding.cuh computes
  int batch, groups;
  Sum negative_slope;
};

LC_DEVICE Element sample_at(const Params& p, const Element* x, int64_t offset) {
  return x[offset];
}

LC_DEVICE Sum widen(double v) { return static_cast<Sum>(v); }
// LC_TF32: operands as the TF32 kernels take them, so that a result does not depend on which kernel was chosen.
LC_DEVICE float widen(float v) { return 1 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
LC_DEVICE float widen(bf16 v) { return to_float(v); }
LC_DEVICE float widen(f16 v) { return to_float(v); }
LC_DEVICE double to_sum(double v) { return v; }
template <class E> LC_DEVICE float to_sum(E v) { return to_float(v); }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(float v, E& out) { from_float(v, out); }
LC_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
LC_DEVICE double fused(double a, double b, double c) { return fma(a, b, c); }

// One variable: the order of several, and with it the machine code, would depend on their mangled names.
__shared__ struct {
  Sum x[kStageChannels][kWindow];
  Sum w[kStageChannels][kStageTaps][kOutTile];
} shared;

struct Tile {
  int batch, group, out0;
  int64_t t0;                   // first step of the phase
  int64_t phase;                // outputs are phase + kPhases * step
  int64_t first_tap = 0, taps = kKernel;  // of the phase; taps may be <= 0
  int64_t lead;                 // sample that its first tap reads for step 0
  LC_DEVICE Tile(const Params& p, int64_t row, int out, int64_t step, int64_t in_phase)
      : batch(static_cast<int>(row / p.groups)), group(static_cast<int>(row % p.groups)), out0(out), t0(step), phase(in_phase), lead(-p.pad_left) {
    if (kPhases == 1) return;
    first_tap = Taps::first_tap(phase);
    taps = (kKernel - first_tap + kTapStep - 1) / kTapStep;
    lead += Taps::offset(first_tap);
  }
  LC_DEVICE int64_t first_sample(int64_t step) const { return step * kStride + lead; }
};

// Must this tile be computed at all?
LC_DEVICE bool wanted(const Params& p, const Tile& tile) {
  const int64_t begin = tile.first_sample(tile.t0);
  const int64_t end = begin + (kTimeTile - 1) * kStride + (tile.taps - 1) * kDilation;
  return begin < 0 || end >= p.length;
}

template <bool kExact> LC_DEVICE void compute(const Params& p, const Tile& tile, Sum (&total)[kThreadOut][kThreadTime]) {
  const int a = threadIdx.x / kTimeThreads, b = threadIdx.x % kTimeThreads;
  const Element* x = p.x + tile.batch * p.x_batch + tile.group * static_cast<int64_t>(kInChannels) * p.x_channel;
  const Element* w = p.w + tile.group * (1 ? kInChannels * p.w_in : kOutChannels * p.w_out) + tile.out0 * p.w_out +
                     tile.first_tap * p.w_tap;
  const int64_t first = tile.first_sample(tile.t0), kernel = tile.taps;
  for (int i0 = 0; i0 < kInChannels; i0 += kStageChannels) {
    for (int64_t k0 = 0; k0 < kernel; k0 += kStageTaps) {
      const int channels = min(kStageChannels, kInChannels - i0), taps = static_cast<int>(min(static_cast<int64_t>(kStageTaps), kernel - k0));
      __syncthreads();
#pragma unroll kLoads
      for (int i = threadIdx.x; i < kStageChannels * kWindow; i += kThreads) {
        const int channel = i / kWindow, e = i % kWindow;
        const int64_t offset = kTapwise ? (e % kTimeTile) * kStride + (e / kTimeTile) * kDilation : e;
        const int64_t position = padded_index<kPad>(first + k0 * kDilation + offset, p.length);
        shared.x[channel][e] = channel < channels && position >= 0
                                   ? widen(sample_at(p, x, (i0 + channel) * p.x_channel + position * p.x_time)) : Sum(0);
      }
#pragma unroll kLoads
      for (int i = threadIdx.x; i < kStageChannels * kStageTaps * kOutTile; i += kThreads) {
        const int tap = i % kStageTaps, channel = i / kStageTaps % kStageChannels, o = i / (kStageTaps * kStageChannels);
        shared.w[channel][tap][o] = channel < channels && tap < taps && tile.out0 + o < kOutChannels
                                        ? widen(w[o * p.w_out + (i0 + channel) * p.w_in + (k0 + tap) * (kTapStep * p.w_tap)]) : Sum(0);
      }
      __syncthreads();
      Sum part[kThreadOut][kThreadTime] = {};
#pragma unroll 1
      for (int channel = 0; channel < channels; ++channel) {
#pragma unroll 1
        for (int tap = 0; tap < taps; ++tap) {
          Sum xv[kThreadTime], wv[kThreadOut];
#pragma unroll
          for (int j = 0; j < kThreadTime; ++j) {
            const int t = b + j * kTimeThreads;
            xv[j] = shared.x[channel][kTapwise ? tap * kTimeTile + t : static_cast<int>(t * kStride + tap * kDilation)];
          }
#pragma unroll
          for (int o = 0; o < kThreadOut; ++o) wv[o] = shared.w[channel][tap][a * kThreadOut + o];
#pragma unroll
          for (int j = 0; j < kThreadTime; ++j) {
            const int64_t position = first + (b + j * kTimeThreads) * kStride + (k0 + tap) * kDilation;
            if (kExact && (position < 0 || position >= p.length)) continue;
#pragma unroll
            for (int o = 0; o < kThreadOut; ++o) part[o][j] = fused(wv[o], xv[j], part[o][j]);
          }
        }
      }
#pragma unroll
      for (int o = 0; o < kThreadOut; ++o)
#pragma unroll
        for (int j = 0; j < kThreadTime; ++j) total[o][j] += part[o][j];
    }
  }
}

// finite: the weights are known to be. Elsewhere edges are computed exactly.
LC_DEVICE void compute_tile(const Params& p, const Tile& tile, bool finite) {
  Sum total[kThreadOut][kThreadTime] = {};
  const int64_t begin = tile.first_sample(tile.t0), reach = (tile.taps - 1) * kDilation;
  const int64_t steps = (p.out_length - tile.phase + kPhases - 1) / kPhases;  // of the phase
  const int64_t end = begin + (min(static_cast<int64_t>(kTimeTile), steps - tile.t0) - 1) * kStride + reach;
  const bool edge = kPad == Pad::zeros && (begin < 0 || end >= p.length);
  if (edge && !finite) compute<true>(p, tile, total);
  else compute<false>(p, tile, total);

  const int a = threadIdx.x / kTimeThreads, b = threadIdx.x % kTimeThreads;
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
    const int out = tile.out0 + a * kThreadOut + o;
    const int64_t channel = tile.group * static_cast<int64_t>(kOutChannels) + out;
#pragma unroll
    for (int j = 0; j < kThreadTime; ++j) {
      const int64_t step = tile.t0 + b + j * kTimeThreads, t = step * kPhases + tile.phase;
      if (out >= kOutChannels || t >= p.out_length) continue;
      if (0 && ((t >= p.skip_begin[0] && t < p.skip_end[0]) || (t >= p.skip_begin[1] && t < p.skip_end[1]))) continue;
      const int64_t first = tile.first_sample(step);
      if (2 == 2 && first >= 0 && first + reach < p.length) continue;
      Sum v = total[o][j];
      if (0) v += to_sum(p.bias[channel * p.bias_channel]);
      if (0) v += to_sum(p.residual[tile.batch * p.residual_batch + channel * p.residual_channel + t * p.residual_time]);
      v = activate<kActivation>(v, p.negative_slope);
      narrow(v, p.y[tile.batch * p.y_batch + channel * p.y_channel + t * p.y_time]);
    }
  }
}

__global__ void __launch_bounds__(kThreads) longconv_direct_fprop(const __grid_constant__ Params p) {
  const int out_tiles = ceil_div(kOutChannels, kOutTile);
  wait_for_previous_kernel();
  if (!any_word<kThreads>(p.flags, p.flag_words)) return;
  const int64_t time_tiles = (p.out_length + kTimeTile * kPhases - 1) / (kTimeTile * kPhases);
  const int64_t phases = kPhases == 1 ? 1 : min(kPhases, p.out_length);  // that have outputs
  const int64_t items = time_tiles * out_tiles * phases * p.batch * p.groups;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    // Phases of a tile one after the other: the sectors that they share meet in the cache.
    const int64_t rest = item / (phases * out_tiles), row = rest / time_tiles;
    const Tile tile(p, row, static_cast<int>(item / phases % out_tiles) * kOutTile, rest % time_tiles * kTimeTile, item % phases);
    if (wanted(p, tile)) compute_tile(p, tile, false);
  }
}

}  // namespace direct_dgrad_edges_tf32

// ==== The work of dense_wgrad_sm90, tf32. From kernels/conv/dense_wgrad_sm90.cuh.
namespace dense_wgrad_sm90_tf32 {

// Dense weight gradient on Hopper: TF32, bf16, f16, and fp32 as pairs of TF32 numbers.
//
//   dW[o, i, k] = sum_{n, t} X[n, i, t*stride + k*dilation - pad_left] * dY[n, o, t]        db[o] = sum_{n, t} dY[n, o, t]
//
// As matrices, for one chunk of kSteps steps: D[(k, i), o] += A[(k, i), t] * B[o, t]^T. A comes from registers, straight from
// raw rows of x: row (k, i) is channel i from element k*dilation on, every stride-th: taps, strides and alignment are
// addresses. B is dY, whose rows already run along K: they are copied into wgmma's layout 16 bytes at a time.
//
//   global x (NCW)   shared: slot s                                   registers
//   rows i     --copy-->  raw rows of x          --ld.shared-->  A  \
//   global dy                                                        wgmma --> acc[block of 64 (k, i)][o] --> partial sums
//   rows o     --copy-->  raw --pack--> steps x o  ------------>  B /
//
// A block computes a tile of dW (kTaps x kTileChannels rows of D, kColumns * kColumnWays output channels) over one split, a
// fixed range of (batch, time), or over a segment of an equal share of all tiles' work (kShares); the tile stays in registers throughout. Roles (384 or 512 threads):
//   the first 8 or 12 warps   two or three MMA warpgroups, kM x 64 rows x kN columns each: over rows (kRowWays 2 or 3) or
//                             columns (kColumnWays 2)
//   the others                4 or 8 packers: each loads its part of the rows of x and of dy, a lane packs a row of dy or a
//                             part of one
// Barriers: slot full (packers) -> slot empty (MMA warps). A packer waits for its own copies (groups of cp.async).
//
// Accumulation: tensor cores truncate. A chain, in fp32 hi*lo + lo*hi of one chunk and then its hi*hi, else at most 128 k-steps
// (192 where no registers are left), is added to f32 registers; every kRun chains those go to memory of the block's own and
// begin again at zero. The splits' sums are added by reduce_wgrad.cuh.
// Where zeros stand for what does not exist (padding, steps behind a signal's end) and an operand there is Inf or NaN, and
// where f32 values leave the range of TF32, the split's flag is set: it is computed again without zeros.
//
// Bytes: x once per tile of output channels and taps, dY once per tile of rows, from L2 where blocks run in step.
// FLOPs: 2 * 64 kM kRowWays * kN kColumnWays per step and tile; fp32 three times that.
// Of dense_wgrad_sm90.cuh: its problem and configuration as constants, what follows from them, and which part of the work is
// whose.

// --- the problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 3 f32; channels are per group
using Element = float;
using MmaType = tf32;
constexpr int kConvGroups = 1, kInChannels = 64, kOutChannels = 128, kKernel = 3;
constexpr int kStride = 1, kDilation = 1;
constexpr Pad kPad = static_cast<Pad>(0);
constexpr Activation kGradientOf = static_cast<Activation>(0);
constexpr bool kGradient = kGradientOf != Activation::none;  // dy is dL/dz, formed where forward's result arrives beside dL/dy
constexpr bool kBias = 0, kGatherX = 0, kGatherY = 0;
constexpr bool kPlacedY = 0;  // 16-bit, every row of dy begins on 16 bytes
constexpr bool kPairs = 0;  // 16-bit, stride 1: every (channel, tap) row of x begins on 4 bytes

// --- the configuration
constexpr int kTileChannels = 64, kTaps = 3, kM = 1, kN = 128;
constexpr int kColumnWays = 1, kRowWays = 3 / kColumnWays, kSteps = 64, kWindows = 1;
constexpr int kSlots = 3, kYStages = 2, kPackers = 4;
constexpr bool kShares = 0;  // a block sums a segment of an equal share (tile/wgrad_shares.cuh), else a split

constexpr int kBytes = sizeof(Element), kStepK = 32 / kBytes, kMmaWarps = 4 * 3, kMmaThreads = 32 * kMmaWarps, kThreads = kMmaThreads + 32 * kPackers;
constexpr bool kSplit = 0 == 3;
constexpr int kPlanes = kSplit ? 2 : 1, kTileOut = kN * kColumnWays;
constexpr int kRowTiles = ceil_div(kInChannels, kTileChannels), kTapTiles = ceil_div(kKernel, kTaps), kOutTiles = ceil_div(kOutChannels, kTileOut);
constexpr bool kWholeOut = kOutChannels % kTileOut == 0;

// x: one window for all taps, or one for each (kWindows == kTaps).
constexpr int kWindow = (kSteps - 1) * kStride + (kTaps / kWindows - 1) * kDilation + 1;
using XRows = RowWindow<Element, kWindow>;
constexpr int kPackerChannels = ceil_div(kTileChannels, kPackers);
// dy: groups of 32 rows; where there are fewer than packers, each packs part of the steps.
constexpr int kGroups = kTileOut / 32, kParts = max_of(1, kPackers / kGroups), kRounds = ceil_div(kGroups, kPackers);
constexpr int kPartSteps = kSteps / kParts;
using YRows = RowWindow<Element, kPartSteps>;
constexpr int kYPlaneBytes = kTileOut * kSteps * kBytes, kYStageBytes = kPlacedY ? 0 : kRounds * 32 * YRows::kPitch * (kGradient ? 2 : 1);
using Packer = StepPacker<Element, kPartSteps, kTileOut, kPlanes, kYPlaneBytes>;

constexpr int kSharedXBytes = kTileChannels * kWindows * XRows::kPitch;
constexpr int kSlotBytes = kSharedXBytes + kPlanes * kYPlaneBytes, kSharedRaw = kSlots * kSlotBytes;
constexpr int kSharedSums = kSharedRaw + kPackers * kYStages * kYStageBytes;  // of dy, by rows and parts of the steps
constexpr int kSharedBarriers = kSharedSums + (kBias ? kParts * kTileOut * 8 : 0);
constexpr int kSharedSegment = round_up(kSharedBarriers + 8 * 2 * kSlots, 16);
constexpr int kSharedBytes = kShares ? kSharedSegment + Segment::kBytes : kSharedBarriers + 8 * 2 * kSlots;

constexpr bool kThree = kMmaWarps == 12;  // warpgroups that multiply
constexpr int kAccumulators = kM * kN / 2;
// Chains of kChainChunks chunks in the tensor core; where registers are left, kRun chains are added there; then in memory.
constexpr bool kSums = kSplit || kAccumulators <= (kThree ? 64 : 96);
constexpr int kChainChunks = kSplit ? 1 : (kSums ? 128 : 192) * kStepK / kSteps, kRun = kSplit ? 128 : kSums ? 64 : 1;
constexpr bool kManyRegisters = kAccumulators * kPlanes > 128;
constexpr int kMmaRegisters = kThree ? 152 : kManyRegisters ? (kSplit ? 224 : 232) : kPackers == 8 ? 208 : 216;
constexpr int kPackerRegisters = kThree ? 56 : kManyRegisters ? (kSplit ? 56 : 40) : kPackers == 8 ? 48 : 72;

static_assert(kSharedBytes <= 226352 && 226352 <= 232448, "the launcher reckons as this file does");
static_assert(kColumnWays * kRowWays == 3 && (3 == 2 || (kThree && kColumnWays == 1)), "the warpgroups");
static_assert(kPackers == 4 || (kPackers == 8 && !kManyRegisters && !kThree), "warpgroups of packers, and registers for them");
static_assert(register_pool_suffices(kMmaThreads, kMmaRegisters, 32 * kPackers, kPackerRegisters), "setmaxnreg moves what the launch took");
static_assert(kParts == 1 || kPackers % kGroups == 0, "every part of the steps has a packer");
static_assert(kM * 64 * kRowWays >= kTileChannels * kTaps && kTileOut % 32 == 0 && kTileOut <= 256, "the tile");
static_assert(kPartSteps * kBytes % 16 == 0 && kSteps % (2 * kStepK) == 0, "rows of dy are packed 16 bytes at a time");
static_assert(kSlots > kYStages, "a packer loads kYStages chunks ahead");
static_assert(kWindows == 1 || kWindows == kTaps, "one window, or one for each tap");
static_assert(kSharedXBytes / kBytes <= 1 << 16 && kM <= 4, "a row's place is 16 bits, its misalignment 4 of 32");
static_assert(!kPlacedY || (kBytes == 2 && !kGatherY), "as they are, of a known alignment");
static_assert(!kGradient || !(kPlacedY || kGatherY), "the gradient is formed in raw rows");
static_assert(!kPairs || (kBytes == 2 && kStride == 1), "pairs of neighbours");

// The taps of a tile in the order of its rows: 16-bit samples are loaded in pairs, so of odd dilations those come first that lie an
// even number of samples on, and most warps have rows of one alignment.
LC_DEVICE int tap_of(int index) {
  constexpr int kEven = (kTaps + 1) / 2;
  if (kBytes == 4 || kStride > 1 || kDilation % 2 == 0) return index;
  return index < kEven ? 2 * index : 2 * (index - kEven) + 1;
}

struct Params {
  const Element* x;
  const Element* dy;
  int64_t x_batch, x_channel, x_time;  // strides in elements
  int64_t dy_batch, dy_channel, dy_time;
  int64_t length, out_length, pad_left;
  WgradRanges ranges;  // chunk_steps is kSteps
  WgradPartials<float> partials;
  float4* carry;       // [block][accumulators / 4][thread]
};

// What a block computes. Made anew where it is used: registers are scarce. shared: the block's memory.
struct Tile {
  int split, group, out, outs, channel, channels, tap, taps;  // first of the group, and how many exist
  LC_DEVICE explicit Tile(uint32_t shared) {
    int index = blockIdx.x;
    if constexpr (kShares) {
      const Segment segment(shared + kSharedSegment);
      index = segment.tile, split = segment.split;
    }
    forget_origin(index);
    out = index % kOutTiles * kTileOut, index /= kOutTiles;
    tap = index % kTapTiles * kTaps, index /= kTapTiles;
    channel = index % kRowTiles * kTileChannels, index /= kRowTiles;
    group = index % kConvGroups;
    if constexpr (!kShares) split = index / kConvGroups;
    outs = kWholeOut ? kTileOut : min(kTileOut, kOutChannels - out);
    channels = kInChannels % kTileChannels == 0 ? kTileChannels : min(kTileChannels, kInChannels - channel);
    taps = kKernel % kTaps == 0 ? kTaps : min(kTaps, kKernel - tap);
  }
};

// The chunks that a block sums, and where their sums go.
struct Part {
  int64_t first;
  int chunks, split, empty;  // empty: further splits of the tile that have no chunks, whose sums this block writes as zeros
  LC_DEVICE Part(const Params& p, uint32_t shared) {
    if constexpr (kShares) {
      const Segment segment(shared + kSharedSegment);
      first = segment.first, chunks = segment.chunks, split = segment.split;
      empty = segment.last ? static_cast<int>(p.ranges.splits) - 1 - split : 0;
    } else {
      split = Tile(shared).split, empty = 0;
      first = p.ranges.begin(split), chunks = static_cast<int>(p.ranges.begin(split + 1) - first);
    }
  }
  // Has the direct kernel compute this part again, which knows splits of all tiles alone.
  LC_DEVICE void flag(const Params& p) const {
    for (int64_t s = kShares ? 0 : split; s < (kShares ? p.ranges.splits : split + 1); ++s) p.partials.flags[s] = 1;
  }
};

struct Cursor : ChunkCursor {
  LC_DEVICE Cursor(const Params& p, int64_t first) : ChunkCursor(p.ranges, first) {}
  LC_DEVICE void advance(const Params& p) { ChunkCursor::advance(p.ranges); }
  LC_DEVICE int64_t step() const { return static_cast<int64_t>(chunk) * kSteps; }
};

// The chunks of a signal all of whose steps and windows exist, with this many elements behind the windows.
struct ChunkRange {
  int begin, end;
  LC_DEVICE ChunkRange(const Params& p, const Tile& tile, int behind_x, int behind_y) {
    constexpr int64_t kHop = static_cast<int64_t>(kSteps) * kStride;
    const int64_t first = static_cast<int64_t>(tile.tap) * kDilation - p.pad_left;  // of the first chunk's window
    const int64_t last = first + static_cast<int64_t>(kTaps - 1) * kDilation + (kSteps - 1) * kStride + behind_x;
    begin = first >= 0 ? 0 : static_cast<int>(min(p.ranges.chunks_per_signal, (kHop - 1 - first) / kHop));
    const int64_t of_x = last < p.length ? (p.length - 1 - last) / kHop + 1 : 0;
    end = static_cast<int>(min(of_x, max(int64_t(0), p.out_length - behind_y) / kSteps));
  }
  LC_DEVICE bool has(int chunk) const { return chunk >= begin && chunk < end; }
};

struct Barriers {
  uint32_t slot_full, slot_empty;
  LC_DEVICE explicit Barriers(uint32_t shared)
      : slot_full(shared + kSharedBarriers), slot_empty(slot_full + 8 * kSlots) {}
  LC_DEVICE void init() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(slot_full + 8 * i, kPackers * kWarpArrivals);
        barrier_init(slot_empty + 8 * i, kMmaWarps * kWarpArrivals);
      }
      fence_barrier_init();
    }
    __syncthreads();
  }
};

// --- packer warps ------------------------------------------------------------------------------------------------
struct PackRole {
  const Params& p;
  const uint32_t shared;
  const Barriers barriers;
  const int packer, lane;
  const ChunkRange loads_inner, whole;  // in which loads have room around them; in which nothing is missing
  Packer to;
  bool flagged = false;

  LC_DEVICE PackRole(const Params& params, uint32_t shared_memory, const Barriers& b, int index, int lane_index)
      : p(params), shared(shared_memory), barriers(b), packer(index), lane(lane_index),
        loads_inner(params, Tile(shared_memory), 16 / kBytes, kPlacedY ? 0 : 16 / kBytes), whole(params, Tile(shared_memory), 0, 0) {}

  // This packer's rows of x, within the tile; bytes between channels.
  LC_DEVICE int first_channel() const { return packer * kPackerChannels; }
  LC_DEVICE int channels(const Tile& tile) const { return min(kPackerChannels, tile.channels - first_channel()); }
  LC_DEVICE uint64_t x_pitch() const { return p.x_channel * kBytes; }
  LC_DEVICE uint64_t y_pitch() const { return p.dy_channel * kBytes; }
  static LC_DEVICE bool sums(const Tile& tile) { return kBias && tile.channel == 0 && tile.tap == 0; }

  LC_DEVICE int64_t x_first(const Tile& tile, const Cursor& at, int window) const {
    return at.step() * kStride + static_cast<int64_t>(tile.tap + window) * kDilation - p.pad_left;
  }
  LC_DEVICE const Element* x_row(const Tile& tile, const Cursor& at) const {
    return p.x + at.signal * p.x_batch + (static_cast<int64_t>(tile.group) * kInChannels + tile.channel + first_channel()) * p.x_channel;
  }
  LC_DEVICE uint32_t x_shared(int slot, int window) const {
    return shared + slot * kSlotBytes + (window * kTileChannels + first_channel()) * XRows::kPitch;
  }
  // Which group of 32 rows of dy in a round, and which part of the steps.
  LC_DEVICE int group_of(int round) const { return kParts > 1 ? packer % kGroups : packer + round * kPackers; }
  LC_DEVICE int first_step() const { return kParts > 1 ? packer / kGroups * kPartSteps : 0; }
  LC_DEVICE const Element* y_row(const Tile& tile, const Cursor& at, int round) const {
    return p.dy + at.signal * p.dy_batch + (static_cast<int64_t>(tile.group) * kOutChannels + tile.out + group_of(round) * 32) * p.dy_channel + (at.step() + first_step()) * p.dy_time;
  }
  LC_DEVICE uint32_t y_shared(int stage, int round) const {
    return shared + kSharedRaw + (packer * kYStages + stage) * kYStageBytes + round * (32 * YRows::kPitch);
  }
  // Where a group's first row belongs in the operand.
  LC_DEVICE uint32_t y_slot(int slot, int round) const {
    return shared + slot * kSlotBytes + kSharedXBytes + first_step() * (kTileOut * kBytes) + group_of(round) * (32 * 16);
  }
  LC_DEVICE int rows_of(const Tile& tile, int round) const { return max(0, min(32, tile.outs - group_of(round) * 32)); }
  LC_DEVICE bool x_copied(const XRows& rows) const { return !kGatherX && (kPad < Pad::reflect || rows.whole()); }

  // A chunk on its way: its cursor and its places in the rings.
  struct Stage {
    Cursor at;
    int slot = 0, y_stage = 0;
    uint32_t parity = 1;  // that slot_empty has ended
    LC_DEVICE Stage(const Params& p, int64_t first) : at(p, first) {}
    // True at the beginning of another signal.
    LC_DEVICE bool advance(const Params& p) {
      if (++slot == kSlots) slot = 0, parity ^= 1;
      if (++y_stage == kYStages) y_stage = 0;
      at.advance(p);
      return at.chunk == 0;
    }
  };
  // Of the chunk to be loaded: what this lane loads first of x and of dy.
  uint64_t x_from, y_from;
  LC_DEVICE void point_at(const Cursor& at) {
    const Tile tile(shared);
    x_from = reinterpret_cast<uint64_t>(x_row(tile, at) + x_first(tile, at, 0)) + XRows::inner_offset(x_pitch(), lane);
    y_from = reinterpret_cast<uint64_t>(y_row(tile, at, 0)) + YRows::inner_offset<kPlacedY>(y_pitch(), lane);
  }

  // Starts the loads of a chunk when its slot is empty.
  LC_DEVICE void issue(const Stage& stage) {
    barrier_wait(barriers.slot_empty + 8 * stage.slot, stage.parity);
    const Tile tile(shared);
    if (!kGatherX && !kGatherY && loads_inner.has(stage.at.chunk)) {
      constexpr bool kAllChannels = kInChannels % kTileChannels == 0 && kTileChannels % kPackers == 0;
#pragma unroll 1
      for (int window = 0; window < (kKernel % kTaps == 0 ? kWindows : min(kWindows, tile.taps)); ++window)
        XRows::load_inner<kPackerChannels, kAllChannels>(x_from + window * (kDilation * kBytes), x_pitch(), channels(tile), x_shared(stage.slot, window), lane);
#pragma unroll 1
      for (int round = 0; round < kRounds; ++round) {
        if (group_of(round) >= kGroups) break;
        const uint64_t from = y_from + round * (32 * kPackers * y_pitch());
        if (kPlacedY) YRows::load_inner<32, kWholeOut, 16, kTileOut * 16, true>(from, y_pitch(), rows_of(tile, round), y_slot(stage.slot, round), lane);
        else YRows::load_inner<32, kWholeOut>(from, y_pitch(), rows_of(tile, round), y_shared(stage.y_stage, round), lane);
      }
      return;
    }
#pragma unroll 1
    for (int window = 0; window < min(kWindows, tile.taps); ++window) {
      const int64_t first = x_first(tile, stage.at, window);
      const XRows rows(first, p.length);
      if (x_copied(rows)) rows.load(reinterpret_cast<uint64_t>(x_row(tile, stage.at) + first), x_pitch(), channels(tile), x_shared(stage.slot, window), lane);
    }
#pragma unroll 1
    for (int round = 0; round < kRounds && !kGatherY; ++round) {
      const YRows rows(stage.at.step() + first_step(), p.out_length);
      const uint64_t from = reinterpret_cast<uint64_t>(y_row(tile, stage.at, round));
      if (kPlacedY) rows.load<16, kTileOut * 16, true>(from, y_pitch(), rows_of(tile, round), y_slot(stage.slot, round), lane);
      else rows.load(from, y_pitch(), rows_of(tile, round), y_shared(stage.y_stage, round), lane);
    }
  }

  // Zeros for what x does not have; gathers what was not copied. True if a 16-bit value of an edge is Inf or NaN.
  LC_DEVICE bool complete_x(const Tile& tile, const Stage& stage, bool edge) {
    const Cursor& at = stage.at;
    bool special = false;
#pragma unroll 1
    for (int window = 0; window < min(kWindows, tile.taps); ++window) {
      const int64_t first = x_first(tile, at, window);
      XRows rows(first, p.length);
      const uint32_t a = static_cast<uint32_t>(reinterpret_cast<uint64_t>(x_row(tile, at) + first)), pitch = static_cast<uint32_t>(x_pitch());
      if (!x_copied(rows)) {
        XRows::gather<kPad>(x_row(tile, at), p.x_channel, p.x_time, channels(tile), first, p.length, a, pitch, x_shared(stage.slot, window), lane);
        __syncwarp();
        rows.begin = 0, rows.end = kWindow;
      }
      special |= rows.complete(a, pitch, channels(tile), x_shared(stage.slot, window), kBytes == 2 && edge, lane);
    }
    return special;
  }

  // shift: of this lane's row of dy, in elements from a 16-byte boundary; aligned: 0 of all lanes.
  LC_DEVICE void pack(const Stage& stage, uint32_t shift, bool aligned) {
    const Tile tile(shared);
    const Cursor& at = stage.at;
    // All windows of the chunk, or some steps: zeros stand for what does not exist.
    const bool edge = !whole.has(at.chunk);
    to.special = (kGatherX || edge) && complete_x(tile, stage, edge);
    const int valid = edge ? static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(kPartSteps), p.out_length - at.step() - first_step()))) : kPartSteps;
    const bool add = sums(tile);
#pragma unroll 1
    for (int round = 0; round < kRounds; ++round) {
      if (group_of(round) >= kGroups) break;
      const uint32_t dst = y_slot(stage.slot, round) + lane * 16;
      const int steps = lane < rows_of(tile, round) ? valid : 0;
      const uint32_t raw = y_shared(stage.y_stage, round) + lane * YRows::kPitch;
      float chain;
      if (kGatherY) chain = to.gather(y_row(tile, at, round) + lane * p.dy_channel, p.dy_time, steps, dst, add);
      else if (kPlacedY) chain = edge || !kWholeOut ? to.template finish<true>(steps, dst, add) : to.template finish<false>(steps, dst, add);
      else if (edge || !kWholeOut) chain = to.template pack<false, true>(raw, shift, steps, dst, add);
      else if (aligned) chain = to.template pack<true, false>(raw, 0, steps, dst, add);
      else chain = to.template pack<false, false>(raw, shift, steps, dst, add);
      if (add) {
        RowSum sum = load_row_sum(row_sum(round));
        sum.add(chain);
        store_row_sum(row_sum(round), sum);
      }
    }
    flagged |= edge && to.special;
    __syncwarp();  // what every lane has stored is the barrier's; who multiplies makes it wgmma's
    if (arrives(lane)) barrier_arrive(barriers.slot_full + 8 * stage.slot);
  }

  LC_DEVICE void run() {
    for (int round = 0; sums(Tile(shared)) && round < kRounds && group_of(round) < kGroups; ++round) store_row_sum(row_sum(round), RowSum());
    Stage loading(p, Part(p, shared).first), packing = loading;
    point_at(loading.at);
    int left = Part(p, shared).chunks, to_load = left, shift = 0;
    bool aligned = false, turned = true;
#pragma unroll 1
    for (; left > 0; --left) {
      for (; to_load > left - kYStages; --to_load) {
        if (to_load > 0) {
          issue(loading);
          x_from += kSteps * kStride * kBytes, y_from += kSteps * kBytes;
          if (loading.advance(p)) point_at(loading.at);
        }
        async_commit();  // a group for each chunk, even where there is none: the wait below counts them
      }
      if (turned) {
        const Element* const row = y_row(Tile(shared), packing.at, 0) + lane * p.dy_channel;
        shift = (static_cast<uint32_t>(reinterpret_cast<uint64_t>(row)) & 15) / kBytes;
        aligned = __all_sync(~0u, shift == 0);
      }
      async_wait<kYStages - 1>();
      __syncwarp();  // a lane packs what others have copied
      pack(packing, shift, aligned);
      turned = packing.advance(p);
    }
    if (flagged || (kBytes == 4 && to.range.left())) Part(p, shared).flag(p);
    if (sums(Tile(shared))) store_sums(Tile(shared));
  }

  LC_DEVICE uint32_t row_sum(int round) const {
    return shared + kSharedSums + ((kParts > 1 ? packer / kGroups * kTileOut : 0) + group_of(round) * 32 + lane) * 8;
  }
  // The parts of a row's steps are added in their order.
  LC_DEVICE void store_sums(const Tile& tile) {
    const Part mine(p, shared);
    named_barrier_sync(1, 32 * kPackers);
    for (int row = packer * 32 + lane; row < tile.outs; row += 32 * kPackers) {
      float sum = 0.f;
      for (int part = 0; part < kParts; ++part) sum += load_row_sum(shared + kSharedSums + (part * kTileOut + row) * 8).value();
      for (int more = 0; more <= mine.empty; ++more, sum = 0.f)
        p.partials.bias[(static_cast<int64_t>(mine.split + more) * kConvGroups + tile.group) * kOutChannels + tile.out + row] = sum;
    }
  }
};

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
// A of one k-step: rows g and g + 8 of a block.
using Fragment = uint32_t[4];

struct MultiplyRole {
  const Params& p;
  const uint32_t shared;
  const int warpgroup, warp, lane;
  float acc[kM][kN / 2];
  FinishedChains<kSums, kM, kN / 2> finished;

  LC_DEVICE int row_of(int m, int h) const { return ((kRowWays > 1 ? warpgroup : 0) * kM + m) * 64 + warp * 16 + h * 8 + (lane >> 2); }
  static LC_DEVICE bool exists(const Tile& tile, int row) { return row / kTileChannels < kTaps && tap_of(row / kTileChannels) < tile.taps && row % kTileChannels < tile.channels; }

  // Rows of A: a row's place in a slot, in elements, and how far its address in memory is from that of the chunk, mod 16.
  uint32_t places[kM], low = 0;

  // A as it lies in x. rows: the slot's; begins: address of the chunk's first element, of which the low bits matter.
  LC_DEVICE void load(Fragment& v, uint32_t rows, uint32_t begins, int m, int step) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int h = i & 1;
      const uint32_t row = rows + (places[m] >> (16 * h) & 0xffffu) * kBytes + ((begins + (low >> (4 * (2 * m + h)))) & 15);
      const uint32_t offset = (step * kStepK + (i >> 1) * (kStepK / 2)) * (kStride * kBytes);
      if constexpr (kBytes == 4 || kPairs) {
        v[i] = load_shared_u32(row + offset);
      } else if constexpr (kStride == 1) {
        // Of a pair that does not begin on 4 bytes, the two words that it lies in: a warp without such rows loads half as much.
        const uint32_t odd = row & 2, word = load_shared_u32(row - odd + offset);
        uint32_t next = 0;
        if (odd) next = load_shared_u32(row - odd + offset + 4);
        v[i] = __byte_perm(word, next, odd ? 0x5432 : 0x3210);
      } else {
        v[i] = load_shared_u16(row + offset) | load_shared_u16(row + offset + kStride * 2) << 16;
      }
    }
  }

  static constexpr int kStepsOfSlot = kSteps / kStepK;
  static constexpr uint32_t kStepRows = 2 * kTileOut, kPlaneRows = kYPlaneBytes / 16;

  // Blocks one after the other, so that the addresses of one are live at a time; two fragments in turn.
  LC_DEVICE void multiply_slot(uint32_t rows, uint32_t begins, uint64_t b, int accumulate, Tf32Range& range) {
    Fragment fragments[2];
#pragma unroll
    for (int n = 0; n < kStepsOfSlot * kM; ++n) {
      const int step = n % kStepsOfSlot, m = n / kStepsOfSlot;
      Fragment& a = fragments[n & 1];
      load(a, rows, begins, m, step);
      if constexpr (kBytes == 4) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          range.add<1>(a[i]);
          a[i] += kTf32Half;
        }
      }
      wgmma_fence();
      wgmma<MmaType, kN>(acc[m], a, b + step * kStepRows, step > 0 ? 1 : accumulate);
      wgmma_commit();
      wgmma_wait<1>();
    }
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < kM; ++m) keep_registers(acc[m]);
  }

  // Pairs: of each block hi*lo + lo*hi of all steps, then hi*hi: what is truncated while sums are small does not count. The next
  // samples are loaded while the tensor core works.
  LC_DEVICE void multiply_pairs(uint32_t rows, uint32_t begins, uint64_t b, Tf32Range& range) {
    constexpr int kCount = 2 * kStepsOfSlot * kM;
    Fragment v, a[2];
    load(v, rows, begins, 0, 0);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      const int step = n % kStepsOfSlot, m = n / (2 * kStepsOfSlot);
      const bool cross = n / kStepsOfSlot % 2 == 0;
      Fragment& hi = a[cross ? 0 : n & 1];
      Fragment& lo = a[1];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (cross) {
          range.add<2>(v[i]);
          split_tf32(v[i], hi[i], lo[i]);
        } else {
          hi[i] = v[i] + kTf32Half;
        }
      }
      wgmma_fence();
      if (cross) {
        wgmma<MmaType, kN>(acc[m], hi, b + step * kStepRows + kPlaneRows, step > 0);
        wgmma<MmaType, kN>(acc[m], lo, b + step * kStepRows, 1);
      } else {
        wgmma<MmaType, kN>(acc[m], hi, b + step * kStepRows, 1);
      }
      wgmma_commit();
      if (n + 1 < kCount) load(v, rows, begins, (n + 1) / (2 * kStepsOfSlot), (n + 1) % kStepsOfSlot);
      if (cross || step == kStepsOfSlot - 1) wgmma_wait<0>();
      else wgmma_wait<1>();
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) keep_registers(acc[m]);
  }

  // A config's spare registers say how many loads of carried sums are under way at once.
  LC_DEVICE void add_carried(float (&sums)[kM][kN / 2], bool store, bool first) {
    add_carried_sums<kMmaThreads, kAccumulators <= 128 ? 8 : 4>(p.carry, sums, store, first);
  }
  LC_DEVICE void store_partial(const float (&sums)[kM][kN / 2], int split) {
    constexpr int64_t kRow = static_cast<int64_t>(kInChannels) * kKernel;
    const Tile tile(shared);
    const int column = (kColumnWays == 2 ? warpgroup : 0) * kN + 2 * (lane & 3);
    float* const out = p.partials.weight + ((static_cast<int64_t>(split) * kConvGroups + tile.group) * kOutChannels + tile.out + column) * kRow;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(m, h);
        if (!exists(tile, row)) continue;
        float* const to = out + (tile.channel + row % kTileChannels) * static_cast<int64_t>(kKernel) + tile.tap + tap_of(row / kTileChannels);
#pragma unroll
        for (int j = 0; j < kN / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (kWholeOut || column + 8 * j + e < tile.outs) to[(8 * j + e) * kRow] = sums[m][4 * j + 2 * h + e];
      }
    }
  }

  LC_DEVICE void run(const Barriers& barriers) {
    uint32_t begins;  // low half of the chunk's first element's address, and of its signal's above
    int chunks, chunk;
    {
      const Tile tile(shared);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        places[m] = 0;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          // Rows that do not exist read row 0.
          const int row = exists(tile, row_of(m, h)) ? row_of(m, h) : 0, tap = tap_of(row / kTileChannels), channel = row % kTileChannels;
          const uint32_t place = (kWindows > 1 ? tap * kTileChannels + channel : channel) * (XRows::kPitch / kBytes) + (kWindows > 1 ? 0 : tap * kDilation) + (lane & 3) * (kBytes == 2 ? 2 : 1) * kStride;
          const uint32_t bytes = static_cast<uint32_t>(channel) * static_cast<uint32_t>(p.x_channel * kBytes) + (kWindows > 1 ? tap * kDilation * kBytes : 0);
          places[m] |= place << (16 * h);
          low |= (bytes & 15) << (4 * (2 * m + h));
        }
      }
      const Part part(p, shared);
      const Cursor at(p, part.first);
      const Element* origin = p.x + (static_cast<int64_t>(tile.group) * kInChannels + tile.channel) * p.x_channel + static_cast<int64_t>(tile.tap) * kDilation - p.pad_left;
      begins = (static_cast<uint32_t>(reinterpret_cast<uint64_t>(origin + at.signal * p.x_batch)) & 0xffffu) * 0x10001u;
      begins = (begins & 0xffff0000u) | ((begins + static_cast<uint32_t>(at.chunk) * (kSteps * kStride * kBytes)) & 0xffffu);
      chunk = at.chunk, chunks = part.chunks;
    }
    const uint64_t b0 = wgmma_descriptor(shared + kSharedXBytes + (kColumnWays == 2 ? warpgroup * kN * 16 : 0), kTileOut * 16, 128);
    Tf32Range range;
    finished.clear();
    int chained = 0, runs = 0;  // chunks of the chain, finished chains of the run
    bool carried = false;
#pragma unroll 1
    for (int index = 0; index < chunks; ++index) {
      const int slot = index % kSlots;
      barrier_wait(barriers.slot_full + 8 * slot, index / kSlots & 1);
      fence_proxy_async();  // here, and not where packers store: there it would wait for the copies that they have started
      const uint32_t rows = shared + slot * kSlotBytes;
      const uint64_t b = b0 + ((slot * kSlotBytes) >> 4);
      if constexpr (kSplit) multiply_pairs(rows, begins, b, range);
      else multiply_slot(rows, begins, b, chained, range);
      __syncwarp();  // every lane has read its samples
      if (arrives(lane)) barrier_arrive(barriers.slot_empty + 8 * slot);
      begins = (begins & 0xffff0000u) | ((begins + kSteps * kStride * kBytes) & 0xffffu);
      if (++chunk == static_cast<int>(p.ranges.chunks_per_signal)) {
        chunk = 0;
        begins = (((begins >> 16) + static_cast<uint32_t>(p.x_batch * kBytes)) & 0xffffu) * 0x10001u;
      }
      const bool last = index + 1 == chunks;
      if (++chained < kChainChunks && !last) continue;
      chained = 0;
      finished.add(acc);
      if (++runs < kRun || last) continue;
      runs = 0;
      add_carried(finished.of(acc), true, !carried);
      finished.clear();
      carried = true;
    }
    if (kBytes == 4 && range.left()) Part(p, shared).flag(p);
    if (carried) add_carried(finished.of(acc), false, false);
    const Part part(p, shared);
    store_partial(finished.of(acc), part.split);
    if constexpr (kShares) {
      if (part.empty == 0) return;
#pragma unroll
      for (auto& block : finished.of(acc))
#pragma unroll
        for (float& v : block) v = 0.f;
#pragma unroll 1
      for (int more = 1; more <= part.empty; ++more) store_partial(finished.of(acc), part.split + more);
    }
  }
};

__global__ void __launch_bounds__(kThreads, 1) longconv_dense_wgrad_sm90(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const Barriers barriers(shared);
  barriers.init();  // and a barrier of the block
  if (warp >= kMmaWarps) {
    decrease_registers<kPackerRegisters>();
    PackRole(p, shared, barriers, warp - kMmaWarps, lane).run();
    allow_next_kernel();  // as in dense_fprop_sm90.cuh
  } else {
    increase_registers<kMmaRegisters>();
    MultiplyRole{p, shared, warp >> 2, warp & 3, lane}.run(barriers);
  }
#endif
}

}  // namespace dense_wgrad_sm90_tf32

// ==== Repairs what is not exact in dense_wgrad_sm90, tf32. From kernels/conv/direct_wgrad.cuh.
namespace direct_wgrad_repair_tf32 {

// Direct weight gradient with ordinary multiply-adds: every dtype, stride, padding, group count and tensor layout.
//
//   dw[o, i, k] = sum_{n,t} dy[n, o, t] * x[n, i, t*stride + k*dilation - pad_left]        db[o] = sum_{n,t} dy[n, o, t]
//
// A matrix product whose reduction is time: rows o, columns (i, k). It is the engine for what the tensor-core kernels do
// not take (f64, few channels, depthwise), and it repairs what they cannot sum exactly:
//   LC_MODE 0  partial sums of all splits
//   LC_MODE 1  partial sums of the splits whose flag is set
//   LC_MODE 2  one split, rounded and written to dw and db themselves
//
//   block tile: kOutTile rows x kColumnTile columns      thread (a, b, c): rows a + j*kOutThreads, columns
//   shared: dy [step][row], x [step][column]                             b + j*kColumnThreads, steps c + j*kTimeThreads
//
// Sums: chains of at most kChainTerms products in each thread, then compensated additions (numerics.md). Nothing outside
// the signal is multiplied: where a stage touches zero padding and holds an Inf or NaN of dy, products are asked one by one.
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is then dL/dz, formed from dL/dy and forward's result as both are read.
// f32 for bf16/f16/f32 (subnormals kept), f64 for f64. LC_TF32: f32 operands are rounded to TF32 first, but for db.

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group; LC_RESULT: of dw and db, likewise
constexpr int kInChannels = 64, kOutChannels = 128;
constexpr int64_t kKernel = 3, kStride = 1, kDilation = 1;
constexpr int64_t kColumns = kInChannels * kKernel;
constexpr Pad kPad = static_cast<Pad>(0);
template <int kType> struct ElementType { using Type = float; };
template <> struct ElementType<1> { using Type = bf16; };
template <> struct ElementType<2> { using Type = f16; };
template <> struct ElementType<3> { using Type = double; };
using Element = ElementType<0>::Type;
using Result = ElementType<0>::Type;
using Sum = ElementType<0 == 3 ? 3 : 0>::Type;

// --- configuration
constexpr int kThreads = 256, kThreadOut = 4, kThreadColumns = 4;
constexpr int kOutThreads = 16, kColumnThreads = 16, kTimeThreads = kThreads / (kOutThreads * kColumnThreads);
constexpr int kOutTile = kThreadOut * kOutThreads, kColumnTile = kThreadColumns * kColumnThreads, kSteps = 16;
constexpr int kStageTerms = kSteps / kTimeThreads, kChainTerms = 256, kChainStages = kStageTerms < kChainTerms ? kChainTerms / kStageTerms : 1;
static_assert(kOutThreads * kColumnThreads * kTimeThreads == kThreads && kStageTerms * kTimeThreads == kSteps, "powers of two");

struct Params {
  const Element* x;
  const Element* dy;
  WgradPartials<Sum> partials;
  Result* dw;
  Result* db;
  int64_t x_batch, x_channel, x_time, dy_batch, dy_channel, dy_time, dw_out, dw_in, dw_tap, db_stride;  // in elements
  int64_t length, out_length, pad_left;
  WgradRanges ranges;
  int groups;
};

LC_DEVICE Element gradient_at(const Params& p, const Element* dy, int64_t offset) {
  return dy[offset];
}

LC_DEVICE Sum widen(double v) { return static_cast<Sum>(v); }
template <class E> LC_DEVICE float widen(E v) { return to_float(v); }
// LC_TF32: operands as the TF32 kernels take them, so that a result does not depend on which kernel was chosen.
LC_DEVICE double factor(double v) { return v; }
LC_DEVICE float factor(float v) { return 1 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
LC_DEVICE double fused(double a, double b, double c) { return fma(a, b, c); }
LC_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
LC_DEVICE void narrow(float v, float& out) { out = v; }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(float v, E& out) { from_float(v, out); }

// One variable: the order of several, and with it the machine code, would depend on their mangled names.
__shared__ struct {
  Sum dy[kSteps][kOutTile + 1], x[kSteps][kColumnTile + 1];
  Sum sum[kThreads], error[kThreads];
  // What a stage has: bit 0 samples outside the signal, bit 1 an Inf or NaN of dy. Stages take turns: one is cleared while the
  // other is in use.
  uint32_t found[2];
} shared;

struct Tile {
  int64_t split, column0;
  int group, out0;
};

LC_DEVICE int64_t position_of(const Params& p, int64_t t, int64_t column) {
  return t * kStride + column % kKernel * kDilation - p.pad_left;
}

// Loads steps t0 .. t0 + kSteps of a signal; those from `end` on, rows and columns that do not exist are zeros. Returns (to
// all threads) whether products must be asked one by one.
LC_DEVICE bool load_stage(const Params& p, const Tile& tile, int64_t signal, int64_t t0, int64_t end, int& turn) {
  const Element* dy = p.dy + signal * p.dy_batch + (tile.group * static_cast<int64_t>(kOutChannels) + tile.out0) * p.dy_channel;
  const Element* x = p.x + signal * p.x_batch + tile.group * static_cast<int64_t>(kInChannels) * p.x_channel;
  bool finite = true, inside = true;
  __syncthreads();
  for (int i = threadIdx.x; i < kOutTile * kSteps; i += kThreads) {
    const int row = i / kSteps, step = i % kSteps;
    Sum v = Sum(0);
    if (tile.out0 + row < kOutChannels && t0 + step < end) v = widen(gradient_at(p, dy, row * p.dy_channel + (t0 + step) * p.dy_time));
    finite = finite && v - v == Sum(0);
    shared.dy[step][row] = v;
  }
  for (int i = threadIdx.x; i < kColumnTile * kSteps; i += kThreads) {
    const int step = i % kSteps;
    const int64_t column = tile.column0 + i / kSteps;
    Sum v = Sum(0);
    if (column < kColumns && t0 + step < end) {
      const int64_t sample = padded_index<kPad>(position_of(p, t0 + step, column), p.length);
      if (sample >= 0) v = factor(widen(x[column / kKernel * p.x_channel + sample * p.x_time]));
      else inside = false;
    }
    shared.x[step][i / kSteps] = v;
  }
  if (kPad == Pad::zeros && !(inside && finite)) atomicOr(&shared.found[turn], (inside ? 0u : 1u) | (finite ? 0u : 2u));
  __syncthreads();
  if (kPad != Pad::zeros) return false;
  const bool exact = shared.found[turn] == 3u;
  turn ^= 1;
  if (threadIdx.x == 0) shared.found[turn] = 0;
  return exact;
}

template <bool kExact> LC_DEVICE void multiply_stage(const Params& p, const Tile& tile, int64_t t0, Sum (&part)[kThreadOut][kThreadColumns]) {
  const int c = threadIdx.x % kTimeThreads, b = threadIdx.x / kTimeThreads % kColumnThreads, a = threadIdx.x / (kTimeThreads * kColumnThreads);
#pragma unroll 4
  for (int step = c; step < kSteps; step += kTimeThreads) {
    Sum x[kThreadColumns], dy[kThreadOut];
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) x[j] = shared.x[step][b + j * kColumnThreads];
#pragma unroll
    for (int o = 0; o < kThreadOut; ++o) dy[o] = factor(shared.dy[step][a + o * kOutThreads]);
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) {
      if constexpr (kExact) {
        const int64_t position = position_of(p, t0 + step, tile.column0 + b + j * kColumnThreads);
        if (position < 0 || position >= p.length) continue;
      }
#pragma unroll
      for (int o = 0; o < kThreadOut; ++o) part[o][j] = fused(dy[o], x[j], part[o][j]);
    }
  }
}

// The sum over the block's threads that differ in c only, in the thread with c = 0.
LC_DEVICE Sum sum_of_time_threads(const Compensated<Sum>& own) {
  if (kTimeThreads == 1) return own.value();
  Compensated<Sum> total = own;
  const int c = threadIdx.x % kTimeThreads;
#pragma unroll 1
  for (int half = kTimeThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    shared.sum[threadIdx.x] = total.sum;
    shared.error[threadIdx.x] = total.error;
    __syncthreads();
    if (c < half) total.add(shared.sum[threadIdx.x + half], shared.error[threadIdx.x + half]);
  }
  return total.value();
}

LC_DEVICE void compute(const Params& p, const Tile& tile, int& turn) {
  const int c = threadIdx.x % kTimeThreads, b = threadIdx.x / kTimeThreads % kColumnThreads, a = threadIdx.x / (kTimeThreads * kColumnThreads);
  const bool sums_bias = 0 && tile.column0 == 0 && b == 0;
  Compensated<Sum> total[kThreadOut][kThreadColumns], bias_total[0 ? kThreadOut : 1];
  Sum part[kThreadOut][kThreadColumns], bias_part[0 ? kThreadOut : 1];
  auto close_chains = [&] {
#pragma unroll
    for (int o = 0; o < kThreadOut; ++o) {
#pragma unroll
      for (int j = 0; j < kThreadColumns; ++j) total[o][j].add(part[o][j]), part[o][j] = Sum(0);
      if (0) bias_total[o].add(bias_part[o]), bias_part[o] = Sum(0);
    }
  };
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) total[o][j].clear(), part[o][j] = Sum(0);
    if (0) bias_total[o].clear(), bias_part[o] = Sum(0);
  }
  int stages = 0;  // of the open chains
  const int64_t chunk_end = p.ranges.begin(tile.split + 1);
#pragma unroll 1
  for (int64_t chunk = p.ranges.begin(tile.split); chunk < chunk_end; ++chunk) {
    const int64_t signal = chunk / p.ranges.chunks_per_signal, begin = chunk % p.ranges.chunks_per_signal * p.ranges.chunk_steps;
    const int64_t end = min(begin + p.ranges.chunk_steps, p.out_length);
#pragma unroll 1
    for (int64_t t0 = begin; t0 < end; t0 += kSteps) {
      if (load_stage(p, tile, signal, t0, end, turn)) multiply_stage<true>(p, tile, t0, part);
      else multiply_stage<false>(p, tile, t0, part);
      if (sums_bias) {
        for (int step = c; step < kSteps; step += kTimeThreads)
#pragma unroll
          for (int o = 0; o < kThreadOut; ++o) bias_part[0 ? o : 0] += shared.dy[step][a + o * kOutThreads];
      }
      if (++stages == kChainStages) close_chains(), stages = 0;
    }
  }
  close_chains();

  const int64_t row0 = tile.group * static_cast<int64_t>(kOutChannels);
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
    const int row = tile.out0 + a + o * kOutThreads;
    const bool row_exists = row < kOutChannels && c == 0;
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) {
      const Sum v = sum_of_time_threads(total[o][j]);
      const int64_t column = tile.column0 + b + j * kColumnThreads;
      if (!row_exists || column >= kColumns) continue;
      if (1 == 2) narrow(v, p.dw[(row0 + row) * p.dw_out + column / kKernel * p.dw_in + column % kKernel * p.dw_tap]);
      else p.partials.weight[((tile.split * p.groups + tile.group) * kOutChannels + row) * kColumns + column] = v;
    }
    if (0 && tile.column0 == 0) {
      const Sum v = sum_of_time_threads(bias_total[o]);
      if (!row_exists || b != 0) continue;
      if (1 == 2) narrow(v, p.db[(row0 + row) * p.db_stride]);
      else p.partials.bias[tile.split * p.groups * kOutChannels + row0 + row] = v;
    }
  }
}

__global__ void __launch_bounds__(kThreads) longconv_direct_wgrad(const __grid_constant__ Params p) {
  constexpr int64_t kColumnTiles = (kColumns + kColumnTile - 1) / kColumnTile;
  constexpr int kOutTiles = ceil_div(kOutChannels, kOutTile);
  const int64_t items = p.ranges.splits * p.groups * kOutTiles * kColumnTiles;
  int turn = 0;
  wait_for_previous_kernel();
  if (threadIdx.x == 0) shared.found[0] = 0;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const int64_t rest = item / kColumnTiles, rows = rest / kOutTiles;
    const Tile tile{rows / p.groups, item % kColumnTiles * kColumnTile, static_cast<int>(rows % p.groups),
                    static_cast<int>(rest % kOutTiles) * kOutTile};
    if (1 == 1 && p.partials.flags[tile.split] == 0) continue;
    compute(p, tile, turn);
  }
}

}  // namespace direct_wgrad_repair_tf32

// ==== Adds the partial sums of dense_wgrad_sm90, tf32. From kernels/conv/reduce_wgrad.cuh.
namespace reduce_wgrad {

// Sums the splits of a weight gradient, and of a bias gradient, in fixed order, and rounds once to the result's dtype.
//
//   w[o, i, k] = sum_s partial[s][o][i][k]        bias[o] = sum_s bias_partial[s][o]
//
// A block sums 32 neighbouring elements; of its 8 warps each adds one eighth of the splits, then warp 0 adds the eight.
// All additions are compensated, so that the number of splits does not show in the error: docs/design/numerics.md.
// Bytes: the partial sums once.

// LC_RESULT: 0 f32, 1 bf16, 2 f16 (f32 partial sums), 3 f64 (f64 partial sums)
using Result = float;
using Sum = float;

constexpr int kElements = 32, kWarps = 8;

struct Params {
  const Sum* partial;       // [split][weight_elements]
  const Sum* bias_partial;  // [split][bias_elements]
  Result* w;
  Result* bias;
  int64_t splits, weight_elements, bias_elements;  // bias_elements: 0 without a bias gradient
  int64_t row_elements, kernel_size;               // in_channels_per_group * kernel_size
  int64_t w_out, w_in, w_tap, bias_stride;         // strides in elements
};

LC_DEVICE void narrow(float v, float& out) { out = v; }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(float v, E& out) { from_float(v, out); }

// One variable: the order of several, and with it the machine code, would depend on their mangled names.
__shared__ struct {
  Sum sum[kWarps][kElements], error[kWarps][kElements];
} shared;

__global__ void __launch_bounds__(kElements * kWarps) longconv_reduce_wgrad(const __grid_constant__ Params p) {
  wait_for_previous_kernel();
  const int lane = threadIdx.x % kElements, warp = threadIdx.x / kElements;
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kElements + lane;
  const bool in_weight = element < p.weight_elements, exists = element < p.weight_elements + p.bias_elements;
  const int64_t pitch = in_weight ? p.weight_elements : p.bias_elements;
  const Sum* column = in_weight ? p.partial + element : p.bias_partial + (element - p.weight_elements);
  Compensated<Sum> total;
  total.clear();
  if (exists) {
    const int64_t begin = p.splits * warp / kWarps, end = p.splits * (warp + 1) / kWarps;
#pragma unroll 8
    for (int64_t split = begin; split < end; ++split) total.add(column[split * pitch]);
  }
  shared.sum[warp][lane] = total.sum;
  shared.error[warp][lane] = total.error;
  __syncthreads();
  if (warp != 0 || !exists) return;
#pragma unroll
  for (int i = 1; i < kWarps; ++i) total.add(shared.sum[i][lane], shared.error[i][lane]);
  if (in_weight) {
    const int64_t o = element / p.row_elements, rest = element % p.row_elements;
    narrow(total.value(), p.w[o * p.w_out + rest / p.kernel_size * p.w_in + rest % p.kernel_size * p.w_tap]);
  } else {
    narrow(total.value(), p.bias[(element - p.weight_elements) * p.bias_stride]);
  }
}

}  // namespace reduce_wgrad

// ==== Packs the weights for dense_fprop_split_sm90, fp32. From kernels/conv/pack_weights.cuh.
namespace pack_weights_fp32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> the order in which the dense forward kernels consume them, and with
// the precision they multiply in. One block for each packed output channel; missing channels become zeros.
//
//   LC_FORMAT 0  TF32 (f32 rounded to nearest, ties away), 1 bf16, 2 f16:
//     [group][ring of LC_RING_ROWS channels][channel block of LC_BLOCK_CHUNKS chunks][tap][k-step][2 chunks][o][16 B]
//   LC_FORMAT 3  two f16 planes of f32 (tile/split_f16.cuh), scaled by a power of two per output channel so that
//     max|w| lies in [2^13, 2^14):
//     [group][64 channels][16 channels][tap][hi 0-7, hi 8-15, lo 0-7, lo 8-15][o][16 B], and `inverse`[group][out/group]
//
// flags[group][out/group]: not 0 where some weight is Inf or NaN or (format 3) cannot be split exactly enough: scaled, it
// is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 3, kKernel = 3, kInChannels = 64, kOutChannels = 128;
constexpr bool kSplit = kFormat == 3;
constexpr int kRows = kSplit ? 64 : 64;
constexpr int kChunk = kFormat == 0 ? 4 : 8;                          // elements of 16 bytes
constexpr int kBlockChunks = kSplit ? 2 : 2;            // chunks of channels of a block
constexpr int kBlocks = ceil_div(kInChannels, kBlockChunks * kChunk);
constexpr int kPaddedRows = 128;                   // of a group, a multiple of kRows
constexpr int kThreads = 128;

using Element = float;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_weights(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / kPaddedRows, o = blockIdx.x % kPaddedRows;
  const bool real = o < kOutChannels;
  const Element* w = p.w + group * (0 ? kInChannels * p.w_in : kOutChannels * p.w_out) + o * p.w_out;
  const int64_t count = static_cast<int64_t>(kInChannels) * kKernel;
  auto at = [&](int64_t channel, int64_t tap) -> Element {
    if (real && channel < kInChannels) return w[channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ Extremes partial[kThreads / 32];
  Extremes extremes;
  bool finite = true;
  if (real) {
    for (int64_t i = threadIdx.x; i < count; i += kThreads) {
      const float v = to_float(at(i / kKernel, i % kKernel));
      if (kSplit) extremes.add(v);
      else finite = finite && fabsf(v) < __uint_as_float(0x7f800000u);
    }
  }
  float scale = 1.f;
  const int64_t row = static_cast<int64_t>(group) * kOutChannels + o;
  if constexpr (kSplit) {
    extremes.reduce_warp();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = extremes;
    __syncthreads();
    extremes = Extremes{};
    for (int i = 0; i < kThreads / 32; ++i) {
      extremes.merge(partial[i]);
    }
    const ChannelScale channel(extremes);
    scale = channel.scale;
    if (threadIdx.x == 0 && real) {
      p.inverse[row] = channel.inverse;
      p.flags[row] = channel.representable ? 0 : 1;
    }
  } else {
    const bool flagged = __syncthreads_or(finite ? 0 : 1) != 0;
    if (threadIdx.x == 0 && real) p.flags[row] = flagged ? 1 : 0;
  }

  const int64_t chunks = static_cast<int64_t>(kBlocks) * kBlockChunks;
  for (int64_t i = threadIdx.x; i < chunks * kKernel; i += kThreads) {
    const int64_t chunk = i / kKernel, tap = i % kKernel, block = chunk / kBlockChunks, inside = chunk % kBlockChunks;
    // (group, ring, block, tap) then the chunks of a tap, then rows.
    const int64_t tap_index = ((static_cast<int64_t>(group) * (kPaddedRows / kRows) + o / kRows) * kBlocks + block) * kKernel + tap;
    constexpr int kTapChunks = kSplit ? 4 : kBlockChunks;
    uint8_t* out = p.packed + ((tap_index * kTapChunks + inside) * kRows + o % kRows) * 16;
    uint32_t word[4];
    if constexpr (kSplit) {
      uint32_t lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
        split2_f16(to_float(at(chunk * 8 + 2 * j, tap)) * scale, to_float(at(chunk * 8 + 2 * j + 1, tap)) * scale, word[j], lo[j]);
      *reinterpret_cast<uint4*>(out + 2 * kRows * 16) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (kFormat == 0) {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = round_tf32(bits_of(at(chunk * 4 + j, tap)));
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = bits_of(at(chunk * 8 + 2 * j, tap)) | bits_of(at(chunk * 8 + 2 * j + 1, tap)) << 16;
    }
    *reinterpret_cast<uint4*>(out) = make_uint4(word[0], word[1], word[2], word[3]);
  }
#endif
}

}  // namespace pack_weights_fp32

// ==== The work of dense_fprop_split_sm90, fp32. From kernels/conv/dense_fprop_split_sm90.cuh.
namespace dense_fprop_split_sm90_fp32 {

// Dense forward convolution, or its data gradient, on Hopper in fp32, on the f16 tensor cores: pack once (see dense_fprop_sm90.cuh
// for the data path), each operand split into two f16 planes with power-of-two scales (tile/split_f16.cuh):
//
//   w x = w_hi x_hi + 2^-11 (w_hi x_lo + w_lo x_hi) + O(2^-22 |w x|)        three products instead of one
//
// Tensor cores truncate when they accumulate, so no chain is long: every interval (16 channels x kInterval taps; where that is
// one tap of each phase, up to kMerge of them of equal scale) starts from zero and is added to f32 registers with one rounding, scaled
// back by its slot's exponent (an FFMA in place of the FADD). The cross products are 2^-11 smaller; they have accumulators of
// their own, added when the slot scale changes and at the end. Error: docs/design/numerics.md.
//
//   slot: as tile/pack_split.cuh packs it, with its inverse scale beside it. Packers expect the scale that the same channels had in
//   the tile before.
//   W stage: kInterval taps x [hi 0-7][hi 8-15][lo 0-7][lo 8-15] x [64 o] x 16 B; w is scaled per output channel to
//   max|w| in [2^13, 2^14) by pack_weights.cuh, whose inverse the epilogue multiplies.
//
// A tile with a slot that f16 cannot carry sets its bit in `redo`; the direct kernel then computes those tiles in f32.
// LC_ACTIVATION_GRADIENT as in dense_fprop_sm90.cuh.
// Roles as in dense_fprop_sm90.cuh, 64 x 128 accumulators (of all phases together): acc + cross + sum = 192 registers.

constexpr int kN = 128, kOutChannels = 128, kKernel = 3;
constexpr int kChannelWays = 2, kTimeWays = 2 / kChannelWays, kInterval = 3;

struct StorePolicy {
  using Element = float;
  static constexpr int kColumns = kN, kPhases = 1, kStageRows = 0;
  static constexpr Store kStore = static_cast<Store>(4);
};
using Rows = RowStore<StorePolicy>;

struct C : TapRows<1, 0, 1, 1, 3, kKernel> {
  using Element = float;
  static constexpr int kInChannels = 64, kOutChannels = 128;
  static constexpr Activation kActivation = static_cast<Activation>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr bool kBias = 0, kResidual = 0;
  static constexpr Pad kPad = static_cast<Pad>(0);
  static constexpr bool kResident = 0, kStationary = 1, kGather = 0 == 2;
  static constexpr int kPackers = 4, kCluster = 1, kRawStages = 1, kWStages = 4, kSlots = 10;

  // A slot is packed by one packer from raw stages of its own, or by all of them together from stages that warp 11 fills:
  // fewer raw stages cover the latency of memory where windows are long.
  static constexpr int kTeam = 0 ? kPackers : 1, kUnitStep = kPackers / kTeam, kRawBuffers = kRawStages * kUnitStep;
  static constexpr int kBytes = 4, kUnitChannels = 16, kUnitsPerSlot = 1, kPackersPerSlot = kTeam, kSlotChannels = 16;
  static constexpr int kSpan = Rows::kPhaseStep * (kTimeWays - 1) + kN;
  static constexpr int kStep = Rows::kStep * kTimeWays;
  static constexpr int64_t kInputStep = static_cast<int64_t>(Rows::kPhaseStep * kTimeWays) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSpan + kTapRows, kStride);
  static constexpr int kRawNeeded = kPhases > 1 ? kSpan + kTapRows : (kSpan - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kRawPitch = (ceil_div((kRawNeeded + 3) * kBytes, 16) | 1) * 16;
  static constexpr int kRawBytes = kGather ? 0 : kUnitChannels * kRawPitch * (0 ? 2 : 1);
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSlotBytes = kChunkRows * 16 * 4;

  static constexpr int kChannelBlocks = ceil_div(kInChannels, kSlotChannels);
  static constexpr bool kWholeSlots = kInChannels % kSlotChannels == 0;
  static constexpr int kTapGroups = ceil_div(kKernel, kTaps), kItemSlots = kChannelBlocks * kTapGroups, kUnits = kItemSlots;
  static constexpr int kLeastExponent = least_exponent(kInChannels * static_cast<int64_t>(kKernel / kPeriod));
  static constexpr int kSweeps = ceil_div(kOutChannels, 64 * kChannelWays);

  // Intervals: each tap group is cut into kInterval taps; the last one of a group may be shorter.
  static constexpr int kTapBytes = 4096, kLastTaps = kKernel - (kTapGroups - 1) * kTaps;
  static constexpr int kRest = kTapGroups > 1 ? kTaps % kInterval : 0, kLastRest = kLastTaps % kInterval;
  static constexpr int kGroupIntervals = ceil_div(kTaps, kInterval), kLastIntervals = ceil_div(kLastTaps, kInterval);
  static constexpr int kBlockIntervals = (kTapGroups - 1) * kGroupIntervals + kLastIntervals;
  static constexpr int kRings = kChannelWays, kWStageBytes = kInterval * kTapBytes;
  static constexpr bool kLastSweepIdles = !1 && last_sweep_idles(kRings, kSweeps, 64, kOutChannels);
  static constexpr int kSweepStages = kChannelBlocks * kBlockIntervals;
  static constexpr int64_t kSweepBytes = static_cast<int64_t>(kChannelBlocks) * kKernel * kTapBytes;
  static LC_CONSTEXPR int interval_taps(int group_taps, int interval) {
    return group_taps - interval * kInterval < kInterval ? group_taps - interval * kInterval : kInterval;
  }
  static LC_CONSTEXPR int stage_bytes(int position) {
    const int i = position % kBlockIntervals, group = i / kGroupIntervals;
    return interval_taps(group == kTapGroups - 1 ? kLastTaps : kTaps, i - group * kGroupIntervals) * kTapBytes;
  }

  static constexpr int kSharedX = 0, kSharedW = kSharedX + kSlots * kSlotBytes;
  static constexpr int kSharedRaw = round_up(kSharedW + kRings * kWStages * kWStageBytes, 16);
  static constexpr int kSharedOut = kSharedRaw + kRawBuffers * kRawBytes;
  static constexpr int kSharedScales = kSharedOut + 8 * Rows::kStageBytes;  // inverse scale of each slot
  static constexpr int kSharedExchange = kSharedScales + round_up(kSlots * 4, 16);  // a team's extremes
  // Each packer's memory of the scales of an item's slots (of the first kExpected, then around again).
  static constexpr int kExpected = min_of(kItemSlots, 64), kSharedExpected = kSharedExchange + (kTeam > 1 ? 16 * kTeam : 0);
  static constexpr int kSharedBarriers = round_up(kSharedExpected + kPackers * kExpected * 4, 8);
  static constexpr int kDrawsAhead = draws_ahead((kRawStages + 1) * kUnitStep, kUnits, kStationary ? 0 : kWStages, kSweepStages * (kResident ? kSweeps : 1));
  static constexpr int kDrawnPlaces = drawn_places(kDrawsAhead, kSlots, kItemSlots);
  static constexpr int kSharedDrawn = kSharedBarriers + 8 * barrier_count(kSlots, kRawBuffers, kRings * kWStages, kTeam);
  static constexpr int kSharedRedo = kSharedDrawn + drawn_bytes(kDrawnPlaces);
  static constexpr int kSharedBytes = kSharedRedo + redo_bytes(kPackers);

  // Of repair_items.cuh. LC_SELF_REPAIR: the block repairs its own items, which are few.
  using Taps = Phases<1, 1, 0, kKernel>;
  using Stores = Rows;
  static constexpr bool kTransposed = 0;
  static constexpr int64_t kAllTaps = kKernel, kSampleStep = 1;
  static constexpr int kItemWays = kTimeWays, kItemChannels = 64 * kChannelWays * (kResident ? kSweeps : 1);
};
static_assert(C::kSharedBytes <= 221828 && 221828 <= 232448, "the launcher reckons as this file does");
static_assert(!C::kStationary || (C::kWStages == C::kSweepStages && C::kSweeps == 1), "stationary weights fit their ring");
static_assert(kInterval % C::kPeriod == 0, "an interval begins with the same phase as the others");
static_assert(C::kSlots >= C::kUnitStep && C::kSlots >= 2, "a packer is never two uses of a slot ahead");
static_assert(C::kPackers == 3 || (C::kPackers == 4 && C::kStationary), "the weight warp packs once its weights are there for good");
static_assert(C::kPackers == 3 || C::kTeam == 1, "a team's raw stages are filled by the weight warp");
static_assert(C::kCluster == 1 || (C::kCluster == 2 && !C::kStationary), "weights that stay are not worth a cluster");
static_assert(!C::kResident || C::kSlots == C::kItemSlots, "resident slots hold a whole item");
// Intervals that are promoted together: one that has three taps, three of one tap of each phase (48 products either way), or
// more of them where sums are long (docs/design/numerics.md). They start one after the other; the slot and the stage of one are released when
// the next has started and it has finished.
constexpr int kMerge = 1;
static_assert(kMerge == 1 || C::kPeriod == 1 || (C::kRest == 0 && C::kLastRest == 0), "each interval of a chain has taps of all phases");
// Slots that stay are there in all sweeps but the first: the next one is opened as soon as one has been multiplied. Where x does not
// stay, packers may need the very slot that is not released yet to fill the next one (two-tap chains, four packers, six slots), so
// nobody waits for that with one unreleased.
constexpr bool kOpensAhead = C::kResident && kMerge > 1;
constexpr int kThreads = 384, kMmaRegisters = 208, kPackerRegisters = 88;
static_assert(256 * kMmaRegisters + 128 * kPackerRegisters <= kThreads * 168, "setmaxnreg moves what the launch took");

struct Params : HopperParams<float> {
  const float* weight_inverse;  // 1 / scale of each output channel, a power of two
  uint32_t* redo;                    // one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
};
using Raw = RawRing<C, Params>;

// --- packer warps ------------------------------------------------------------------------------------------------
LC_DEVICE void pack_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                         int packer, int lane) {
  Raw ring(p, schedule, shared + C::kSharedRaw, barriers, packer, lane);
  if (C::kTeam == 1) ring.fill();
  const Share<C> share(packer);
  const uint32_t expected = shared + C::kSharedExpected + packer * (C::kExpected * 4);
  for (int i = lane; i < C::kExpected; i += 32) store_shared_u32(expected + 4 * i, __float_as_uint(1.f));
  __syncwarp();
  int unit = C::kTeam == 1 ? packer : 0, slot_base = 0, stage = 0, phase = 0;
  ItemDraw<C> draw;
  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    if (packer == 0) draw.at_item(p, schedule, at.number, lane);
    const Item item = schedule.item(at.index);
    for (; unit < C::kUnits; unit += C::kUnitStep) {
      const int sequence = slot_base + unit, s = sequence % C::kSlots, use = sequence / C::kSlots;
      const uint32_t dst = shared + C::kSharedX + s * C::kSlotBytes;
      const uint32_t exchange = shared + C::kSharedExchange + (sequence & 1) * (8 * C::kTeam);
      const Window<float> w = Raw::window(p, item, unit);
      const bool edge = Raw::crosses_edge(w.first, p.length);
      barrier_wait(barriers.slot_empty + 8 * s, (use & 1) ^ 1);
      if (!C::kGather) barrier_wait(ring.full + 8 * stage, phase);
      const uint32_t expected_at = expected + 4 * (unit % C::kExpected);
      const float expected_scale = load_shared_f32(expected_at);
      SlotScale scale;
      if (C::kGather || (C::kPad >= Pad::reflect && edge)) {
        const GatherReader<C> reader{w.row, p.x_channel, p.x_time, w.first, p.length, w.channels};
        scale = pack_split<C, false>(reader, share, expected_scale, dst, exchange, packer, lane);
      } else {
        const uint32_t raw = ring.memory + stage * C::kRawBytes;
        if constexpr (Raw::kGradient) {
          form_gradient<C::kGradientOf, float, 4>(raw, raw + C::kRawBytes / 2, min(w.channels, 16) * C::kRawPitch, p.negative_slope,
                                               C::kTeam == 1 ? lane : packer * 32 + lane, 32 * C::kTeam);
          sync_packers<C>();
        }
        if (!C::kWholeSlots && w.channels < 16) clear_missing<C>(raw, w.channels, packer, lane);
        const bool uniform = (ring.pitch & 15) == 0;
        const uint32_t shift = row_shifts<C>(static_cast<uint32_t>(reinterpret_cast<uint64_t>(w.row + w.first)),
                                             static_cast<uint32_t>(ring.pitch));
        // Beyond the end of the row lies whatever the stage held before: it must not enter the extremes.
        const int begin = Raw::valid_begin(w.first), end = Raw::valid_end(w.first, p.length);
        if (begin > 0 || end < C::kRawNeeded)
          scale = pack_split<C, true>(RawReader<C, false>{raw, shift, begin, end}, share, expected_scale, dst, exchange, packer, lane);
        else if (uniform)
          scale = pack_split<C, false>(RawReader<C, true>{raw, shift, begin, end}, share, expected_scale, dst, exchange, packer, lane);
        else
          scale = pack_split<C, false>(RawReader<C, false>{raw, shift, begin, end}, share, expected_scale, dst, exchange, packer, lane);
      }
      if (lane == 0) store_shared_u32(expected_at, __float_as_uint(scale.scale));
      if (lane == 0 && (C::kTeam == 1 || packer == 0)) {
        store_shared_u32(shared + C::kSharedScales + 4 * s, __float_as_uint(scale.inverse));
        if (!scale.representable) {
          const uint32_t tile = static_cast<uint32_t>(item.batch * schedule.groups + item.group) * schedule.tiles_per_row + item.tile;
          wait_for_previous_kernel();  // which clears the bits
          atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
        }
      }
      fence_proxy_async();
      __syncwarp();
      if (arrives(lane)) {
        barrier_arrive(barriers.slot_full + 8 * s);
        if (C::kTeam > 1 && !C::kGather) barrier_arrive(barriers.raw_empty + 8 * stage);
      }
      if (C::kTeam == 1) ring.issue();
      if (++stage == C::kRawStages) { stage = 0; phase ^= 1; }
    }
    unit -= C::kUnits;
    slot_base += C::kItemSlots;
  }
}

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
// Accumulators of all phases.
using Sums = float[C::kPhases][kN / 2];

// Starts one interval: cross += w_hi x_lo + w_lo x_hi, acc = w_hi x_hi (+ acc, where it accumulates). The number of taps is a
// constant: ptxas serialises wgmma that a run-time condition guards. The first kPeriod taps are of different phases.
template <int kCount>
LC_DEVICE void multiply_taps(Sums& acc, Sums& cross, uint64_t a, uint64_t bx, int tap, int accumulate, int accumulate_cross) {
  constexpr uint64_t kLoX = 2 * C::kChunkRows, kLoW = 128;  // descriptor steps from a hi plane to its lo plane
  wgmma_fence();
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
    const uint64_t aq = a + q * (C::kTapBytes / 16), b = bx + C::tap_row(tap + q, C::kPlaneRows);
    wgmma<f16, kN>(cross[C::phase(q)], aq, b + kLoX, q < C::kPeriod ? accumulate_cross : 1);
    wgmma<f16, kN>(cross[C::phase(q)], aq + kLoW, b, 1);
  }
#pragma unroll
  for (int q = 0; q < kCount; ++q)
    wgmma<f16, kN>(acc[C::phase(q)], a + q * (C::kTapBytes / 16), bx + C::tap_row(tap + q, C::kPlaneRows),
                   kMerge > 1 ? accumulate | (q >= C::kPeriod) : q >= C::kPeriod);
  wgmma_commit();
}

// sum += acc * factor, for the phases of the first `taps` taps.
LC_DEVICE void promote(Sums& sum, const Sums& acc, float factor, int taps) {
#pragma unroll
  for (int q = 0; q < C::kPeriod; ++q) {
    if (q == 0 || q < taps) {
#pragma unroll
      for (int i = 0; i < kN / 2; ++i) sum[C::phase(q)][i] = fmaf(acc[C::phase(q)][i], factor, sum[C::phase(q)][i]);
    }
  }
}

LC_DEVICE void multiply_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                             int warpgroup, int warp, int lane) {
  const int ring = kChannelWays == 2 ? warpgroup : 0, way = kTimeWays == 2 ? warpgroup : 0;
  const uint64_t a0 = wgmma_descriptor(shared + C::kSharedW + ring * C::kWStages * C::kWStageBytes, 1024, 128);
  const uint64_t b0 = wgmma_descriptor(shared + C::kSharedX + way * Rows::kPhaseStep * 16, C::kChunkRows * 16, 128);
  const uint32_t full = barriers.w_full + 8 * C::kWStages * ring;
  const uint32_t stage_out = shared + C::kSharedOut + (warpgroup * 4 + warp) * Rows::kStageBytes;
  int slot = 0, slot_phase = 0, ws = 0, w_phase = 0;
  Sums acc, cross, sum;

  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    const Item item = schedule.item(at.index);
#pragma unroll 1
    for (int sweep = 0; sweep < Schedule<C>::kSweepsPerItem; ++sweep) {
      if (C::kLastSweepIdles && ring == 1 && (C::kResident ? sweep : item.sweep) == C::kSweeps - 1) {
        idle_sweep<C>(barriers, ring, lane, slot, slot_phase, ws, w_phase);
        continue;
      }
#pragma unroll
      for (int i = 0; i < C::kPhases * (kN / 2); ++i) sum[i / (kN / 2)][i % (kN / 2)] = 0.f;
      float inverse = 0.f, slot_inverse = 0.f;  // of what is in `cross`, and of the slot
      int accumulate_cross = 0, group = 0, tap = 0;
      auto open_slot = [&] {
        if (sweep == 0) barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
        slot_inverse = __uint_as_float(load_shared_u32(shared + C::kSharedScales + 4 * slot));
      };
      if (kOpensAhead) open_slot();
#pragma unroll 1
      for (int interval = 0; interval < C::kSweepStages;) {
        if (!kOpensAhead && tap == 0) open_slot();
        if (slot_inverse != inverse) {
          if (accumulate_cross) promote(sum, cross, inverse * (1.f / 2048.f), C::kPeriod);
          accumulate_cross = 0;
          inverse = slot_inverse;
        }
        int chain = 0, taps, old_w = -1, old_slot = -1;  // to release once the interval that read them has finished
        auto release = [&] {
          __syncwarp();  // every lane has read the slot's scale
          if (arrives(lane)) {
            if (!C::kStationary && old_w >= 0) barriers.release_weights(ring, old_w);
            if (old_slot >= 0) barrier_arrive(barriers.slot_empty + 8 * old_slot);
          }
        };
#pragma unroll 1
        do {
          barrier_wait(full + 8 * ws, w_phase);
          const uint64_t a = a0 + ((ws * C::kWStageBytes) >> 4), bx = b0 + ((slot * C::kSlotBytes) >> 4);
          const int group_taps = C::kTapGroups == 1 || group == C::kTapGroups - 1 ? C::kLastTaps : C::kTaps;
          taps = min(kInterval, group_taps - tap);
          if (taps == kInterval) multiply_taps<kInterval>(acc, cross, a, bx, tap, chain, accumulate_cross);
          else if (C::kRest && taps == C::kRest) multiply_taps<C::kRest>(acc, cross, a, bx, tap, chain, accumulate_cross);
          else if (C::kLastRest) multiply_taps<C::kLastRest>(acc, cross, a, bx, tap, chain, accumulate_cross);
          if (kMerge > 1) {
            wgmma_wait<1>();
            release();
          }
          old_w = ws, old_slot = -1;
          if (++ws == C::kWStages) { ws = 0; if (!C::kStationary) w_phase ^= 1; }
          accumulate_cross = 1;
          ++interval;
          if ((tap += taps) == group_taps) {
            tap = 0;
            if (++group == C::kTapGroups) group = 0;
            if (sweep == Schedule<C>::kSweepsPerItem - 1) old_slot = slot;
            if (++slot == C::kSlots) { slot = 0; if (!C::kResident || sweep == Schedule<C>::kSweepsPerItem - 1) slot_phase ^= 1; }
            if (interval < C::kSweepStages && (kOpensAhead || chain + 1 < kMerge)) {
              if (!kOpensAhead && !__all_sync(~0u, barrier_test_wait(barriers.slot_full + 8 * slot, slot_phase))) {
                wgmma_wait<0>();
                release();
                old_w = old_slot = -1;
              }
              open_slot();
            }
          }
        } while (++chain < kMerge && interval < C::kSweepStages && slot_inverse == inverse);
        wgmma_wait<0>();
#pragma unroll
        for (int q = 0; q < C::kPeriod; ++q) {
          keep_registers(acc[C::phase(q)]);
          keep_registers(cross[C::phase(q)]);
        }
        release();
        promote(sum, acc, inverse, kMerge == 1 ? taps : C::kPeriod);
      }
      promote(sum, cross, inverse * (1.f / 2048.f), C::kPeriod);

      const int channel0 = (C::kResident ? sweep : item.sweep) * (64 * kChannelWays) + ring * 64 + warp * 16;
      const int64_t row0 = static_cast<int64_t>(item.group) * kOutChannels + channel0;
      const int g = lane >> 2;
      const float inverse0 = channel0 + g < kOutChannels ? p.weight_inverse[row0 + g] : 0.f;
      const float inverse1 = channel0 + g + 8 < kOutChannels ? p.weight_inverse[row0 + g + 8] : 0.f;
#pragma unroll
      for (int i = 0; i < C::kPhases * (kN / 2); ++i) sum[i / (kN / 2)][i % (kN / 2)] *= i & 2 ? inverse1 : inverse0;
      finish_rows<C, Rows>(sum, p, item, channel0, way, stage_out, lane);
    }
  }
  Rows::finish();
}

__global__ void __launch_bounds__(kThreads, 1) longconv_dense_fprop_split_sm90(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const BlockBarriers<C> barriers(shared);
  const DrawnSchedule<C> schedule(p, shared);
  barriers.init(schedule);
  if (warp >= 8) {
    decrease_registers<kPackerRegisters>();
    if (warp == 11) {
      if (elect_one()) {
        Raw raw(p, schedule, shared + C::kSharedRaw, barriers, 0, 0);
        weight_role<C>(p, schedule, shared, barriers, raw);
      }
      __syncwarp();
    }
    if (warp < 8 + C::kPackers) {
      pack_role(p, schedule, shared, barriers, warp - 8, lane);
      // What is left of the block's last tile takes about as long as a launch. This block has all registers of its
      // multiprocessor, so the next kernel's blocks come where blocks have ended, and wait there.
      allow_next_kernel();
    }
  } else {
    increase_registers<kMmaRegisters>();
    wait_for_previous_kernel();
    multiply_role(p, schedule, shared, barriers, warp >> 2, warp & 3, lane);
  }
  barriers.leave();
#endif
}

}  // namespace dense_fprop_split_sm90_fp32

// ==== Repairs what is not exact in dense_fprop_split_sm90, fp32. From kernels/conv/direct_fprop.cuh.
namespace direct_fprop_repair_fp32 {

// Direct forward convolution with ordinary multiply-adds: every dtype, stride, padding, group count and tensor layout.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient (LC_TRANSPOSED): then x is dy, y is dx, and y comes in LC_PHASES interleaved phases (tile/phases.cuh), each a
// convolution of its own with stride 1. A block does a tile of one phase. LC_ACTIVATION_GRADIENT, an activation of the forward sweep: x
// is then dL/dz, formed from dy and forward's result as both are read (tile/activation_gradient.cuh).
//
// It is the engine for what the tensor-core kernels do not take (f64, few channels, depthwise), and it repairs what they
// cannot do exactly:
//   LC_MODE 0  all outputs
//   LC_MODE 1  tiles whose bit is set in `redo` (see dense_fprop_split_sm90.cuh), or all when a weight is flagged (it is Inf,
//              NaN or cannot be split; tile/weight_flags.cuh)
//   LC_MODE 2  outputs whose window touches zero padding, when a weight is flagged (it is Inf or NaN)
//
//   block tile: kOutTile channels x kTimeTile steps        thread (a, b): channels a*kThreadOut .. +kThreadOut,
//   shared: w [i, k][o] and x [i][window]                                 times b + j*kTimeThreads, j < kThreadTime
//
// Sums are blocked: products of a stage (at most kStageTerms) in one chain, stages added to a total. Nothing outside
// the signal is multiplied when weights are not finite (kExact); otherwise zeros are, which adds nothing.
// f32 for bf16/f16/f32 (subnormals kept), f64 for f64. LC_TF32: f32 operands are rounded to TF32 first. Bound: docs/design/numerics.md.

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group
constexpr int kInChannels = 64, kOutChannels = 128;
constexpr int64_t kKernel = 3, kStride = 1, kPhases = 1;
using Taps = Phases<kPhases, 1, 0, kKernel>;
constexpr int64_t kTapStep = Taps::kPeriod, kDilation = Taps::kRowStep;  // from one tap of a phase to the next: in w, in x
constexpr Pad kPad = static_cast<Pad>(0);
constexpr Activation kActivation = static_cast<Activation>(0);
using Element = float;
template <class E> struct SumType { using Type = float; };
template <> struct SumType<double> { using Type = double; };
using Sum = SumType<Element>::Type;

// --- configuration
constexpr int kThreadOut = 8, kThreadTime = 8, kOutThreads = 8, kThreads = 128;
constexpr int kTimeThreads = kThreads / kOutThreads;
constexpr int kOutTile = kThreadOut * kOutThreads, kTimeTile = kThreadTime * kTimeThreads;
constexpr int kStageChannels = 8, kStageTaps = 3, kLoads = 4;  // kLoads: under way at a time
// The window of a stage; when dilation makes it sparse, taps are stored one after the other instead.
constexpr int64_t kDenseWindow = (kTimeTile - 1) * kStride + (kStageTaps - 1) * kDilation + 1;
constexpr int64_t kTapwiseWindow = static_cast<int64_t>(kTimeTile) * kStageTaps;
constexpr bool kTapwise = kTapwiseWindow < kDenseWindow;
constexpr int kWindow = static_cast<int>(kTapwise ? kTapwiseWindow : kDenseWindow);
static_assert((kWindow + kStageTaps * kOutTile) * kStageChannels * sizeof(Sum) <= 47 * 1024, "static shared memory");

struct Params {
  const Element* x;
  const Element* w;
  Element* y;
  const Element* bias;
  const Element* residual;
  const uint32_t* redo;
  const uint32_t* flags;
  int64_t x_batch, x_channel, x_time, w_out, w_in, w_tap, y_batch, y_channel, y_time;  // strides in elements
  int64_t bias_channel, residual_batch, residual_channel, residual_time;
  int64_t length, out_length, pad_left;
  int64_t redo_step, redo_span;  // LC_MODE 1: tiles advance by step, compute span, `redo_tiles` of them a row
  int64_t redo_tiles;
  int64_t flag_words;
  int64_t skip_begin[2], skip_end[2];  // LC_SKIP: outputs that dgrad_padding.cuh computes
  int batch, groups;
  Sum negative_slope;
};

LC_DEVICE Element sample_at(const Params& p, const Element* x, int64_t offset) {
  return x[offset];
}

LC_DEVICE Sum widen(double v) { return static_cast<Sum>(v); }
// LC_TF32: operands as the TF32 kernels take them, so that a result does not depend on which kernel was chosen.
LC_DEVICE float widen(float v) { return 0 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
LC_DEVICE float widen(bf16 v) { return to_float(v); }
LC_DEVICE float widen(f16 v) { return to_float(v); }
LC_DEVICE double to_sum(double v) { return v; }
template <class E> LC_DEVICE float to_sum(E v) { return to_float(v); }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(float v, E& out) { from_float(v, out); }
LC_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
LC_DEVICE double fused(double a, double b, double c) { return fma(a, b, c); }

// One variable: the order of several, and with it the machine code, would depend on their mangled names.
__shared__ struct {
  Sum x[kStageChannels][kWindow];
  Sum w[kStageChannels][kStageTaps][kOutTile];
  MarkedWords<kThreads> marked;
  bool finite;  // the weights: no register for it
} shared;

struct Tile {
  int batch, group, out0;
  int64_t t0;                   // first step of the phase
  int64_t phase;                // outputs are phase + kPhases * step
  int64_t first_tap = 0, taps = kKernel;  // of the phase; taps may be <= 0
  int64_t lead;                 // sample that its first tap reads for step 0
  LC_DEVICE Tile(const Params& p, int64_t row, int out, int64_t step, int64_t in_phase)
      : batch(static_cast<int>(row / p.groups)), group(static_cast<int>(row % p.groups)), out0(out), t0(step), phase(in_phase), lead(-p.pad_left) {
    if (kPhases == 1) return;
    first_tap = Taps::first_tap(phase);
    taps = (kKernel - first_tap + kTapStep - 1) / kTapStep;
    lead += Taps::offset(first_tap);
  }
  LC_DEVICE int64_t first_sample(int64_t step) const { return step * kStride + lead; }
};

// Must this tile be computed at all?
LC_DEVICE bool wanted(const Params& p, const Tile& tile) {
  return true;
}

template <bool kExact> LC_DEVICE void compute(const Params& p, const Tile& tile, Sum (&total)[kThreadOut][kThreadTime]) {
  const int a = threadIdx.x / kTimeThreads, b = threadIdx.x % kTimeThreads;
  const Element* x = p.x + tile.batch * p.x_batch + tile.group * static_cast<int64_t>(kInChannels) * p.x_channel;
  const Element* w = p.w + tile.group * (0 ? kInChannels * p.w_in : kOutChannels * p.w_out) + tile.out0 * p.w_out +
                     tile.first_tap * p.w_tap;
  const int64_t first = tile.first_sample(tile.t0), kernel = tile.taps;
  for (int i0 = 0; i0 < kInChannels; i0 += kStageChannels) {
    for (int64_t k0 = 0; k0 < kernel; k0 += kStageTaps) {
      const int channels = min(kStageChannels, kInChannels - i0), taps = static_cast<int>(min(static_cast<int64_t>(kStageTaps), kernel - k0));
      __syncthreads();
#pragma unroll kLoads
      for (int i = threadIdx.x; i < kStageChannels * kWindow; i += kThreads) {
        const int channel = i / kWindow, e = i % kWindow;
        const int64_t offset = kTapwise ? (e % kTimeTile) * kStride + (e / kTimeTile) * kDilation : e;
        const int64_t position = padded_index<kPad>(first + k0 * kDilation + offset, p.length);
        shared.x[channel][e] = channel < channels && position >= 0
                                   ? widen(sample_at(p, x, (i0 + channel) * p.x_channel + position * p.x_time)) : Sum(0);
      }
#pragma unroll kLoads
      for (int i = threadIdx.x; i < kStageChannels * kStageTaps * kOutTile; i += kThreads) {
        const int tap = i % kStageTaps, channel = i / kStageTaps % kStageChannels, o = i / (kStageTaps * kStageChannels);
        shared.w[channel][tap][o] = channel < channels && tap < taps && tile.out0 + o < kOutChannels
                                        ? widen(w[o * p.w_out + (i0 + channel) * p.w_in + (k0 + tap) * (kTapStep * p.w_tap)]) : Sum(0);
      }
      __syncthreads();
      Sum part[kThreadOut][kThreadTime] = {};
#pragma unroll 1
      for (int channel = 0; channel < channels; ++channel) {
#pragma unroll 1
        for (int tap = 0; tap < taps; ++tap) {
          Sum xv[kThreadTime], wv[kThreadOut];
#pragma unroll
          for (int j = 0; j < kThreadTime; ++j) {
            const int t = b + j * kTimeThreads;
            xv[j] = shared.x[channel][kTapwise ? tap * kTimeTile + t : static_cast<int>(t * kStride + tap * kDilation)];
          }
#pragma unroll
          for (int o = 0; o < kThreadOut; ++o) wv[o] = shared.w[channel][tap][a * kThreadOut + o];
#pragma unroll
          for (int j = 0; j < kThreadTime; ++j) {
            const int64_t position = first + (b + j * kTimeThreads) * kStride + (k0 + tap) * kDilation;
            if (kExact && (position < 0 || position >= p.length)) continue;
#pragma unroll
            for (int o = 0; o < kThreadOut; ++o) part[o][j] = fused(wv[o], xv[j], part[o][j]);
          }
        }
      }
#pragma unroll
      for (int o = 0; o < kThreadOut; ++o)
#pragma unroll
        for (int j = 0; j < kThreadTime; ++j) total[o][j] += part[o][j];
    }
  }
}

// finite: the weights are known to be. Elsewhere edges are computed exactly.
LC_DEVICE void compute_tile(const Params& p, const Tile& tile, bool finite) {
  Sum total[kThreadOut][kThreadTime] = {};
  const int64_t begin = tile.first_sample(tile.t0), reach = (tile.taps - 1) * kDilation;
  const int64_t steps = (p.out_length - tile.phase + kPhases - 1) / kPhases;  // of the phase
  const int64_t end = begin + (min(static_cast<int64_t>(kTimeTile), steps - tile.t0) - 1) * kStride + reach;
  const bool edge = kPad == Pad::zeros && (begin < 0 || end >= p.length);
  if (edge && !finite) compute<true>(p, tile, total);
  else compute<false>(p, tile, total);

  const int a = threadIdx.x / kTimeThreads, b = threadIdx.x % kTimeThreads;
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
    const int out = tile.out0 + a * kThreadOut + o;
    const int64_t channel = tile.group * static_cast<int64_t>(kOutChannels) + out;
#pragma unroll
    for (int j = 0; j < kThreadTime; ++j) {
      const int64_t step = tile.t0 + b + j * kTimeThreads, t = step * kPhases + tile.phase;
      if (out >= kOutChannels || t >= p.out_length) continue;
      if (0 && ((t >= p.skip_begin[0] && t < p.skip_end[0]) || (t >= p.skip_begin[1] && t < p.skip_end[1]))) continue;
      const int64_t first = tile.first_sample(step);
      if (1 == 2 && first >= 0 && first + reach < p.length) continue;
      Sum v = total[o][j];
      if (0) v += to_sum(p.bias[channel * p.bias_channel]);
      if (0) v += to_sum(p.residual[tile.batch * p.residual_batch + channel * p.residual_channel + t * p.residual_time]);
      v = activate<kActivation>(v, p.negative_slope);
      narrow(v, p.y[tile.batch * p.y_batch + channel * p.y_channel + t * p.y_time]);
    }
  }
}

__global__ void __launch_bounds__(kThreads) longconv_direct_fprop(const __grid_constant__ Params p) {
  const int out_tiles = ceil_div(kOutChannels, kOutTile);
  wait_for_previous_kernel();
  const int64_t tiles = p.redo_tiles * p.batch * p.groups;
  if (!any_word<kThreads>(p.flags, p.flag_words, p.redo, (tiles + 31) / 32)) return;  // as mostly
  const bool all = any_word<kThreads>(p.flags, p.flag_words);
  if (threadIdx.x == 0) shared.finite = !all;
  const int64_t time_parts = (p.redo_span + kTimeTile * kPhases - 1) / (kTimeTile * kPhases), phase_parts = kPhases * out_tiles;
  visit_marked(shared.marked, p.redo, all, tiles, time_parts * phase_parts, [&](int64_t marked, int64_t part) {
    const int64_t row = marked / p.redo_tiles, t0 = marked % p.redo_tiles * (p.redo_step / kPhases) + part / phase_parts * kTimeTile;
    const Tile tile(p, row, static_cast<int>(part / kPhases % out_tiles) * kOutTile, t0, part % kPhases);
    if (t0 * kPhases + tile.phase < p.out_length) compute_tile(p, tile, shared.finite);
  });
}

}  // namespace direct_fprop_repair_fp32

// ==== Packs the weights for dense_dgrad_split_sm90, fp32. From kernels/conv/pack_weights.cuh.
namespace pack_weights_dgrad_fp32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> the order in which the dense forward kernels consume them, and with
// the precision they multiply in. One block for each packed output channel; missing channels become zeros.
//
//   LC_FORMAT 0  TF32 (f32 rounded to nearest, ties away), 1 bf16, 2 f16:
//     [group][ring of LC_RING_ROWS channels][channel block of LC_BLOCK_CHUNKS chunks][tap][k-step][2 chunks][o][16 B]
//   LC_FORMAT 3  two f16 planes of f32 (tile/split_f16.cuh), scaled by a power of two per output channel so that
//     max|w| lies in [2^13, 2^14):
//     [group][64 channels][16 channels][tap][hi 0-7, hi 8-15, lo 0-7, lo 8-15][o][16 B], and `inverse`[group][out/group]
//
// flags[group][out/group]: not 0 where some weight is Inf or NaN or (format 3) cannot be split exactly enough: scaled, it
// is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 3, kKernel = 3, kInChannels = 128, kOutChannels = 64;
constexpr bool kSplit = kFormat == 3;
constexpr int kRows = kSplit ? 64 : 64;
constexpr int kChunk = kFormat == 0 ? 4 : 8;                          // elements of 16 bytes
constexpr int kBlockChunks = kSplit ? 2 : 2;            // chunks of channels of a block
constexpr int kBlocks = ceil_div(kInChannels, kBlockChunks * kChunk);
constexpr int kPaddedRows = 64;                   // of a group, a multiple of kRows
constexpr int kThreads = 128;

using Element = float;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_weights(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / kPaddedRows, o = blockIdx.x % kPaddedRows;
  const bool real = o < kOutChannels;
  const Element* w = p.w + group * (1 ? kInChannels * p.w_in : kOutChannels * p.w_out) + o * p.w_out;
  const int64_t count = static_cast<int64_t>(kInChannels) * kKernel;
  auto at = [&](int64_t channel, int64_t tap) -> Element {
    if (real && channel < kInChannels) return w[channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ Extremes partial[kThreads / 32];
  Extremes extremes;
  bool finite = true;
  if (real) {
    for (int64_t i = threadIdx.x; i < count; i += kThreads) {
      const float v = to_float(at(i / kKernel, i % kKernel));
      if (kSplit) extremes.add(v);
      else finite = finite && fabsf(v) < __uint_as_float(0x7f800000u);
    }
  }
  float scale = 1.f;
  const int64_t row = static_cast<int64_t>(group) * kOutChannels + o;
  if constexpr (kSplit) {
    extremes.reduce_warp();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = extremes;
    __syncthreads();
    extremes = Extremes{};
    for (int i = 0; i < kThreads / 32; ++i) {
      extremes.merge(partial[i]);
    }
    const ChannelScale channel(extremes);
    scale = channel.scale;
    if (threadIdx.x == 0 && real) {
      p.inverse[row] = channel.inverse;
      p.flags[row] = channel.representable ? 0 : 1;
    }
  } else {
    const bool flagged = __syncthreads_or(finite ? 0 : 1) != 0;
    if (threadIdx.x == 0 && real) p.flags[row] = flagged ? 1 : 0;
  }

  const int64_t chunks = static_cast<int64_t>(kBlocks) * kBlockChunks;
  for (int64_t i = threadIdx.x; i < chunks * kKernel; i += kThreads) {
    const int64_t chunk = i / kKernel, tap = i % kKernel, block = chunk / kBlockChunks, inside = chunk % kBlockChunks;
    // (group, ring, block, tap) then the chunks of a tap, then rows.
    const int64_t tap_index = ((static_cast<int64_t>(group) * (kPaddedRows / kRows) + o / kRows) * kBlocks + block) * kKernel + tap;
    constexpr int kTapChunks = kSplit ? 4 : kBlockChunks;
    uint8_t* out = p.packed + ((tap_index * kTapChunks + inside) * kRows + o % kRows) * 16;
    uint32_t word[4];
    if constexpr (kSplit) {
      uint32_t lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
        split2_f16(to_float(at(chunk * 8 + 2 * j, tap)) * scale, to_float(at(chunk * 8 + 2 * j + 1, tap)) * scale, word[j], lo[j]);
      *reinterpret_cast<uint4*>(out + 2 * kRows * 16) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (kFormat == 0) {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = round_tf32(bits_of(at(chunk * 4 + j, tap)));
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = bits_of(at(chunk * 8 + 2 * j, tap)) | bits_of(at(chunk * 8 + 2 * j + 1, tap)) << 16;
    }
    *reinterpret_cast<uint4*>(out) = make_uint4(word[0], word[1], word[2], word[3]);
  }
#endif
}

}  // namespace pack_weights_dgrad_fp32

// ==== The work of dense_dgrad_split_sm90, fp32. From kernels/conv/dense_fprop_split_sm90.cuh.
namespace dense_dgrad_split_sm90_fp32 {

// Dense forward convolution, or its data gradient, on Hopper in fp32, on the f16 tensor cores: pack once (see dense_fprop_sm90.cuh
// for the data path), each operand split into two f16 planes with power-of-two scales (tile/split_f16.cuh):
//
//   w x = w_hi x_hi + 2^-11 (w_hi x_lo + w_lo x_hi) + O(2^-22 |w x|)        three products instead of one
//
// Tensor cores truncate when they accumulate, so no chain is long: every interval (16 channels x kInterval taps; where that is
// one tap of each phase, up to kMerge of them of equal scale) starts from zero and is added to f32 registers with one rounding, scaled
// back by its slot's exponent (an FFMA in place of the FADD). The cross products are 2^-11 smaller; they have accumulators of
// their own, added when the slot scale changes and at the end. Error: docs/design/numerics.md.
//
//   slot: as tile/pack_split.cuh packs it, with its inverse scale beside it. Packers expect the scale that the same channels had in
//   the tile before.
//   W stage: kInterval taps x [hi 0-7][hi 8-15][lo 0-7][lo 8-15] x [64 o] x 16 B; w is scaled per output channel to
//   max|w| in [2^13, 2^14) by pack_weights.cuh, whose inverse the epilogue multiplies.
//
// A tile with a slot that f16 cannot carry sets its bit in `redo`; the direct kernel then computes those tiles in f32.
// LC_ACTIVATION_GRADIENT as in dense_fprop_sm90.cuh.
// Roles as in dense_fprop_sm90.cuh, 64 x 128 accumulators (of all phases together): acc + cross + sum = 192 registers.

constexpr int kN = 128, kOutChannels = 64, kKernel = 3;
constexpr int kChannelWays = 1, kTimeWays = 2 / kChannelWays, kInterval = 3;

struct StorePolicy {
  using Element = float;
  static constexpr int kColumns = kN, kPhases = 1, kStageRows = 0;
  static constexpr Store kStore = static_cast<Store>(4);
};
using Rows = RowStore<StorePolicy>;

struct C : TapRows<1, 0, 1, 1, 3, kKernel> {
  using Element = float;
  static constexpr int kInChannels = 128, kOutChannels = 64;
  static constexpr Activation kActivation = static_cast<Activation>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr bool kBias = 0, kResidual = 0;
  static constexpr Pad kPad = static_cast<Pad>(1);
  static constexpr bool kResident = 0, kStationary = 1, kGather = 0 == 2;
  static constexpr int kPackers = 4, kCluster = 1, kRawStages = 1, kWStages = 8, kSlots = 4;

  // A slot is packed by one packer from raw stages of its own, or by all of them together from stages that warp 11 fills:
  // fewer raw stages cover the latency of memory where windows are long.
  static constexpr int kTeam = 0 ? kPackers : 1, kUnitStep = kPackers / kTeam, kRawBuffers = kRawStages * kUnitStep;
  static constexpr int kBytes = 4, kUnitChannels = 16, kUnitsPerSlot = 1, kPackersPerSlot = kTeam, kSlotChannels = 16;
  static constexpr int kSpan = Rows::kPhaseStep * (kTimeWays - 1) + kN;
  static constexpr int kStep = Rows::kStep * kTimeWays;
  static constexpr int64_t kInputStep = static_cast<int64_t>(Rows::kPhaseStep * kTimeWays) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSpan + kTapRows, kStride);
  static constexpr int kRawNeeded = kPhases > 1 ? kSpan + kTapRows : (kSpan - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kRawPitch = (ceil_div((kRawNeeded + 3) * kBytes, 16) | 1) * 16;
  static constexpr int kRawBytes = kGather ? 0 : kUnitChannels * kRawPitch * (0 ? 2 : 1);
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSlotBytes = kChunkRows * 16 * 4;

  static constexpr int kChannelBlocks = ceil_div(kInChannels, kSlotChannels);
  static constexpr bool kWholeSlots = kInChannels % kSlotChannels == 0;
  static constexpr int kTapGroups = ceil_div(kKernel, kTaps), kItemSlots = kChannelBlocks * kTapGroups, kUnits = kItemSlots;
  static constexpr int kLeastExponent = least_exponent(kInChannels * static_cast<int64_t>(kKernel / kPeriod));
  static constexpr int kSweeps = ceil_div(kOutChannels, 64 * kChannelWays);

  // Intervals: each tap group is cut into kInterval taps; the last one of a group may be shorter.
  static constexpr int kTapBytes = 4096, kLastTaps = kKernel - (kTapGroups - 1) * kTaps;
  static constexpr int kRest = kTapGroups > 1 ? kTaps % kInterval : 0, kLastRest = kLastTaps % kInterval;
  static constexpr int kGroupIntervals = ceil_div(kTaps, kInterval), kLastIntervals = ceil_div(kLastTaps, kInterval);
  static constexpr int kBlockIntervals = (kTapGroups - 1) * kGroupIntervals + kLastIntervals;
  static constexpr int kRings = kChannelWays, kWStageBytes = kInterval * kTapBytes;
  static constexpr bool kLastSweepIdles = !1 && last_sweep_idles(kRings, kSweeps, 64, kOutChannels);
  static constexpr int kSweepStages = kChannelBlocks * kBlockIntervals;
  static constexpr int64_t kSweepBytes = static_cast<int64_t>(kChannelBlocks) * kKernel * kTapBytes;
  static LC_CONSTEXPR int interval_taps(int group_taps, int interval) {
    return group_taps - interval * kInterval < kInterval ? group_taps - interval * kInterval : kInterval;
  }
  static LC_CONSTEXPR int stage_bytes(int position) {
    const int i = position % kBlockIntervals, group = i / kGroupIntervals;
    return interval_taps(group == kTapGroups - 1 ? kLastTaps : kTaps, i - group * kGroupIntervals) * kTapBytes;
  }

  static constexpr int kSharedX = 0, kSharedW = kSharedX + kSlots * kSlotBytes;
  static constexpr int kSharedRaw = round_up(kSharedW + kRings * kWStages * kWStageBytes, 16);
  static constexpr int kSharedOut = kSharedRaw + kRawBuffers * kRawBytes;
  static constexpr int kSharedScales = kSharedOut + 8 * Rows::kStageBytes;  // inverse scale of each slot
  static constexpr int kSharedExchange = kSharedScales + round_up(kSlots * 4, 16);  // a team's extremes
  // Each packer's memory of the scales of an item's slots (of the first kExpected, then around again).
  static constexpr int kExpected = min_of(kItemSlots, 64), kSharedExpected = kSharedExchange + (kTeam > 1 ? 16 * kTeam : 0);
  static constexpr int kSharedBarriers = round_up(kSharedExpected + kPackers * kExpected * 4, 8);
  static constexpr int kDrawsAhead = draws_ahead((kRawStages + 1) * kUnitStep, kUnits, kStationary ? 0 : kWStages, kSweepStages * (kResident ? kSweeps : 1));
  static constexpr int kDrawnPlaces = drawn_places(kDrawsAhead, kSlots, kItemSlots);
  static constexpr int kSharedDrawn = kSharedBarriers + 8 * barrier_count(kSlots, kRawBuffers, kRings * kWStages, kTeam);
  static constexpr int kSharedRedo = kSharedDrawn + drawn_bytes(kDrawnPlaces);
  static constexpr int kSharedBytes = kSharedRedo + redo_bytes(kPackers);

  // Of repair_items.cuh. LC_SELF_REPAIR: the block repairs its own items, which are few.
  using Taps = Phases<1, 1, 0, kKernel>;
  using Stores = Rows;
  static constexpr bool kTransposed = 1;
  static constexpr int64_t kAllTaps = kKernel, kSampleStep = 1;
  static constexpr int kItemWays = kTimeWays, kItemChannels = 64 * kChannelWays * (kResident ? kSweeps : 1);
};
static_assert(C::kSharedBytes <= 230884 && 230884 <= 232448, "the launcher reckons as this file does");
static_assert(!C::kStationary || (C::kWStages == C::kSweepStages && C::kSweeps == 1), "stationary weights fit their ring");
static_assert(kInterval % C::kPeriod == 0, "an interval begins with the same phase as the others");
static_assert(C::kSlots >= C::kUnitStep && C::kSlots >= 2, "a packer is never two uses of a slot ahead");
static_assert(C::kPackers == 3 || (C::kPackers == 4 && C::kStationary), "the weight warp packs once its weights are there for good");
static_assert(C::kPackers == 3 || C::kTeam == 1, "a team's raw stages are filled by the weight warp");
static_assert(C::kCluster == 1 || (C::kCluster == 2 && !C::kStationary), "weights that stay are not worth a cluster");
static_assert(!C::kResident || C::kSlots == C::kItemSlots, "resident slots hold a whole item");
// Intervals that are promoted together: one that has three taps, three of one tap of each phase (48 products either way), or
// more of them where sums are long (docs/design/numerics.md). They start one after the other; the slot and the stage of one are released when
// the next has started and it has finished.
constexpr int kMerge = 1;
static_assert(kMerge == 1 || C::kPeriod == 1 || (C::kRest == 0 && C::kLastRest == 0), "each interval of a chain has taps of all phases");
// Slots that stay are there in all sweeps but the first: the next one is opened as soon as one has been multiplied. Where x does not
// stay, packers may need the very slot that is not released yet to fill the next one (two-tap chains, four packers, six slots), so
// nobody waits for that with one unreleased.
constexpr bool kOpensAhead = C::kResident && kMerge > 1;
constexpr int kThreads = 384, kMmaRegisters = 208, kPackerRegisters = 88;
static_assert(256 * kMmaRegisters + 128 * kPackerRegisters <= kThreads * 168, "setmaxnreg moves what the launch took");

struct Params : HopperParams<float> {
  const float* weight_inverse;  // 1 / scale of each output channel, a power of two
  uint32_t* redo;                    // one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
};
using Raw = RawRing<C, Params>;

// --- packer warps ------------------------------------------------------------------------------------------------
LC_DEVICE void pack_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                         int packer, int lane) {
  Raw ring(p, schedule, shared + C::kSharedRaw, barriers, packer, lane);
  if (C::kTeam == 1) ring.fill();
  const Share<C> share(packer);
  const uint32_t expected = shared + C::kSharedExpected + packer * (C::kExpected * 4);
  for (int i = lane; i < C::kExpected; i += 32) store_shared_u32(expected + 4 * i, __float_as_uint(1.f));
  __syncwarp();
  int unit = C::kTeam == 1 ? packer : 0, slot_base = 0, stage = 0, phase = 0;
  ItemDraw<C> draw;
  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    if (packer == 0) draw.at_item(p, schedule, at.number, lane);
    const Item item = schedule.item(at.index);
    for (; unit < C::kUnits; unit += C::kUnitStep) {
      const int sequence = slot_base + unit, s = sequence % C::kSlots, use = sequence / C::kSlots;
      const uint32_t dst = shared + C::kSharedX + s * C::kSlotBytes;
      const uint32_t exchange = shared + C::kSharedExchange + (sequence & 1) * (8 * C::kTeam);
      const Window<float> w = Raw::window(p, item, unit);
      const bool edge = Raw::crosses_edge(w.first, p.length);
      barrier_wait(barriers.slot_empty + 8 * s, (use & 1) ^ 1);
      if (!C::kGather) barrier_wait(ring.full + 8 * stage, phase);
      const uint32_t expected_at = expected + 4 * (unit % C::kExpected);
      const float expected_scale = load_shared_f32(expected_at);
      SlotScale scale;
      if (C::kGather || (C::kPad >= Pad::reflect && edge)) {
        const GatherReader<C> reader{w.row, p.x_channel, p.x_time, w.first, p.length, w.channels};
        scale = pack_split<C, false>(reader, share, expected_scale, dst, exchange, packer, lane);
      } else {
        const uint32_t raw = ring.memory + stage * C::kRawBytes;
        if constexpr (Raw::kGradient) {
          form_gradient<C::kGradientOf, float, 4>(raw, raw + C::kRawBytes / 2, min(w.channels, 16) * C::kRawPitch, p.negative_slope,
                                               C::kTeam == 1 ? lane : packer * 32 + lane, 32 * C::kTeam);
          sync_packers<C>();
        }
        if (!C::kWholeSlots && w.channels < 16) clear_missing<C>(raw, w.channels, packer, lane);
        const bool uniform = (ring.pitch & 15) == 0;
        const uint32_t shift = row_shifts<C>(static_cast<uint32_t>(reinterpret_cast<uint64_t>(w.row + w.first)),
                                             static_cast<uint32_t>(ring.pitch));
        // Beyond the end of the row lies whatever the stage held before: it must not enter the extremes.
        const int begin = Raw::valid_begin(w.first), end = Raw::valid_end(w.first, p.length);
        if (begin > 0 || end < C::kRawNeeded)
          scale = pack_split<C, true>(RawReader<C, false>{raw, shift, begin, end}, share, expected_scale, dst, exchange, packer, lane);
        else if (uniform)
          scale = pack_split<C, false>(RawReader<C, true>{raw, shift, begin, end}, share, expected_scale, dst, exchange, packer, lane);
        else
          scale = pack_split<C, false>(RawReader<C, false>{raw, shift, begin, end}, share, expected_scale, dst, exchange, packer, lane);
      }
      if (lane == 0) store_shared_u32(expected_at, __float_as_uint(scale.scale));
      if (lane == 0 && (C::kTeam == 1 || packer == 0)) {
        store_shared_u32(shared + C::kSharedScales + 4 * s, __float_as_uint(scale.inverse));
        if (!scale.representable) {
          const uint32_t tile = static_cast<uint32_t>(item.batch * schedule.groups + item.group) * schedule.tiles_per_row + item.tile;
          wait_for_previous_kernel();  // which clears the bits
          atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
        }
      }
      fence_proxy_async();
      __syncwarp();
      if (arrives(lane)) {
        barrier_arrive(barriers.slot_full + 8 * s);
        if (C::kTeam > 1 && !C::kGather) barrier_arrive(barriers.raw_empty + 8 * stage);
      }
      if (C::kTeam == 1) ring.issue();
      if (++stage == C::kRawStages) { stage = 0; phase ^= 1; }
    }
    unit -= C::kUnits;
    slot_base += C::kItemSlots;
  }
}

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
// Accumulators of all phases.
using Sums = float[C::kPhases][kN / 2];

// Starts one interval: cross += w_hi x_lo + w_lo x_hi, acc = w_hi x_hi (+ acc, where it accumulates). The number of taps is a
// constant: ptxas serialises wgmma that a run-time condition guards. The first kPeriod taps are of different phases.
template <int kCount>
LC_DEVICE void multiply_taps(Sums& acc, Sums& cross, uint64_t a, uint64_t bx, int tap, int accumulate, int accumulate_cross) {
  constexpr uint64_t kLoX = 2 * C::kChunkRows, kLoW = 128;  // descriptor steps from a hi plane to its lo plane
  wgmma_fence();
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
    const uint64_t aq = a + q * (C::kTapBytes / 16), b = bx + C::tap_row(tap + q, C::kPlaneRows);
    wgmma<f16, kN>(cross[C::phase(q)], aq, b + kLoX, q < C::kPeriod ? accumulate_cross : 1);
    wgmma<f16, kN>(cross[C::phase(q)], aq + kLoW, b, 1);
  }
#pragma unroll
  for (int q = 0; q < kCount; ++q)
    wgmma<f16, kN>(acc[C::phase(q)], a + q * (C::kTapBytes / 16), bx + C::tap_row(tap + q, C::kPlaneRows),
                   kMerge > 1 ? accumulate | (q >= C::kPeriod) : q >= C::kPeriod);
  wgmma_commit();
}

// sum += acc * factor, for the phases of the first `taps` taps.
LC_DEVICE void promote(Sums& sum, const Sums& acc, float factor, int taps) {
#pragma unroll
  for (int q = 0; q < C::kPeriod; ++q) {
    if (q == 0 || q < taps) {
#pragma unroll
      for (int i = 0; i < kN / 2; ++i) sum[C::phase(q)][i] = fmaf(acc[C::phase(q)][i], factor, sum[C::phase(q)][i]);
    }
  }
}

LC_DEVICE void multiply_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                             int warpgroup, int warp, int lane) {
  const int ring = kChannelWays == 2 ? warpgroup : 0, way = kTimeWays == 2 ? warpgroup : 0;
  const uint64_t a0 = wgmma_descriptor(shared + C::kSharedW + ring * C::kWStages * C::kWStageBytes, 1024, 128);
  const uint64_t b0 = wgmma_descriptor(shared + C::kSharedX + way * Rows::kPhaseStep * 16, C::kChunkRows * 16, 128);
  const uint32_t full = barriers.w_full + 8 * C::kWStages * ring;
  const uint32_t stage_out = shared + C::kSharedOut + (warpgroup * 4 + warp) * Rows::kStageBytes;
  int slot = 0, slot_phase = 0, ws = 0, w_phase = 0;
  Sums acc, cross, sum;

  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    const Item item = schedule.item(at.index);
#pragma unroll 1
    for (int sweep = 0; sweep < Schedule<C>::kSweepsPerItem; ++sweep) {
      if (C::kLastSweepIdles && ring == 1 && (C::kResident ? sweep : item.sweep) == C::kSweeps - 1) {
        idle_sweep<C>(barriers, ring, lane, slot, slot_phase, ws, w_phase);
        continue;
      }
#pragma unroll
      for (int i = 0; i < C::kPhases * (kN / 2); ++i) sum[i / (kN / 2)][i % (kN / 2)] = 0.f;
      float inverse = 0.f, slot_inverse = 0.f;  // of what is in `cross`, and of the slot
      int accumulate_cross = 0, group = 0, tap = 0;
      auto open_slot = [&] {
        if (sweep == 0) barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
        slot_inverse = __uint_as_float(load_shared_u32(shared + C::kSharedScales + 4 * slot));
      };
      if (kOpensAhead) open_slot();
#pragma unroll 1
      for (int interval = 0; interval < C::kSweepStages;) {
        if (!kOpensAhead && tap == 0) open_slot();
        if (slot_inverse != inverse) {
          if (accumulate_cross) promote(sum, cross, inverse * (1.f / 2048.f), C::kPeriod);
          accumulate_cross = 0;
          inverse = slot_inverse;
        }
        int chain = 0, taps, old_w = -1, old_slot = -1;  // to release once the interval that read them has finished
        auto release = [&] {
          __syncwarp();  // every lane has read the slot's scale
          if (arrives(lane)) {
            if (!C::kStationary && old_w >= 0) barriers.release_weights(ring, old_w);
            if (old_slot >= 0) barrier_arrive(barriers.slot_empty + 8 * old_slot);
          }
        };
#pragma unroll 1
        do {
          barrier_wait(full + 8 * ws, w_phase);
          const uint64_t a = a0 + ((ws * C::kWStageBytes) >> 4), bx = b0 + ((slot * C::kSlotBytes) >> 4);
          const int group_taps = C::kTapGroups == 1 || group == C::kTapGroups - 1 ? C::kLastTaps : C::kTaps;
          taps = min(kInterval, group_taps - tap);
          if (taps == kInterval) multiply_taps<kInterval>(acc, cross, a, bx, tap, chain, accumulate_cross);
          else if (C::kRest && taps == C::kRest) multiply_taps<C::kRest>(acc, cross, a, bx, tap, chain, accumulate_cross);
          else if (C::kLastRest) multiply_taps<C::kLastRest>(acc, cross, a, bx, tap, chain, accumulate_cross);
          if (kMerge > 1) {
            wgmma_wait<1>();
            release();
          }
          old_w = ws, old_slot = -1;
          if (++ws == C::kWStages) { ws = 0; if (!C::kStationary) w_phase ^= 1; }
          accumulate_cross = 1;
          ++interval;
          if ((tap += taps) == group_taps) {
            tap = 0;
            if (++group == C::kTapGroups) group = 0;
            if (sweep == Schedule<C>::kSweepsPerItem - 1) old_slot = slot;
            if (++slot == C::kSlots) { slot = 0; if (!C::kResident || sweep == Schedule<C>::kSweepsPerItem - 1) slot_phase ^= 1; }
            if (interval < C::kSweepStages && (kOpensAhead || chain + 1 < kMerge)) {
              if (!kOpensAhead && !__all_sync(~0u, barrier_test_wait(barriers.slot_full + 8 * slot, slot_phase))) {
                wgmma_wait<0>();
                release();
                old_w = old_slot = -1;
              }
              open_slot();
            }
          }
        } while (++chain < kMerge && interval < C::kSweepStages && slot_inverse == inverse);
        wgmma_wait<0>();
#pragma unroll
        for (int q = 0; q < C::kPeriod; ++q) {
          keep_registers(acc[C::phase(q)]);
          keep_registers(cross[C::phase(q)]);
        }
        release();
        promote(sum, acc, inverse, kMerge == 1 ? taps : C::kPeriod);
      }
      promote(sum, cross, inverse * (1.f / 2048.f), C::kPeriod);

      const int channel0 = (C::kResident ? sweep : item.sweep) * (64 * kChannelWays) + ring * 64 + warp * 16;
      const int64_t row0 = static_cast<int64_t>(item.group) * kOutChannels + channel0;
      const int g = lane >> 2;
      const float inverse0 = channel0 + g < kOutChannels ? p.weight_inverse[row0 + g] : 0.f;
      const float inverse1 = channel0 + g + 8 < kOutChannels ? p.weight_inverse[row0 + g + 8] : 0.f;
#pragma unroll
      for (int i = 0; i < C::kPhases * (kN / 2); ++i) sum[i / (kN / 2)][i % (kN / 2)] *= i & 2 ? inverse1 : inverse0;
      finish_rows<C, Rows>(sum, p, item, channel0, way, stage_out, lane);
    }
  }
  Rows::finish();
}

__global__ void __launch_bounds__(kThreads, 1) longconv_dense_fprop_split_sm90(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const BlockBarriers<C> barriers(shared);
  const DrawnSchedule<C> schedule(p, shared);
  barriers.init(schedule);
  if (warp >= 8) {
    decrease_registers<kPackerRegisters>();
    if (warp == 11) {
      if (elect_one()) {
        Raw raw(p, schedule, shared + C::kSharedRaw, barriers, 0, 0);
        weight_role<C>(p, schedule, shared, barriers, raw);
      }
      __syncwarp();
    }
    if (warp < 8 + C::kPackers) {
      pack_role(p, schedule, shared, barriers, warp - 8, lane);
      // What is left of the block's last tile takes about as long as a launch. This block has all registers of its
      // multiprocessor, so the next kernel's blocks come where blocks have ended, and wait there.
      allow_next_kernel();
    }
  } else {
    increase_registers<kMmaRegisters>();
    wait_for_previous_kernel();
    multiply_role(p, schedule, shared, barriers, warp >> 2, warp & 3, lane);
  }
  barriers.leave();
#endif
}

}  // namespace dense_dgrad_split_sm90_fp32

// ==== Repairs what is not exact in dense_dgrad_split_sm90, fp32. From kernels/conv/direct_fprop.cuh.
namespace direct_dgrad_repair_fp32 {

// Direct forward convolution with ordinary multiply-adds: every dtype, stride, padding, group count and tensor layout.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient (LC_TRANSPOSED): then x is dy, y is dx, and y comes in LC_PHASES interleaved phases (tile/phases.cuh), each a
// convolution of its own with stride 1. A block does a tile of one phase. LC_ACTIVATION_GRADIENT, an activation of the forward sweep: x
// is then dL/dz, formed from dy and forward's result as both are read (tile/activation_gradient.cuh).
//
// It is the engine for what the tensor-core kernels do not take (f64, few channels, depthwise), and it repairs what they
// cannot do exactly:
//   LC_MODE 0  all outputs
//   LC_MODE 1  tiles whose bit is set in `redo` (see dense_fprop_split_sm90.cuh), or all when a weight is flagged (it is Inf,
//              NaN or cannot be split; tile/weight_flags.cuh)
//   LC_MODE 2  outputs whose window touches zero padding, when a weight is flagged (it is Inf or NaN)
//
//   block tile: kOutTile channels x kTimeTile steps        thread (a, b): channels a*kThreadOut .. +kThreadOut,
//   shared: w [i, k][o] and x [i][window]                                 times b + j*kTimeThreads, j < kThreadTime
//
// Sums are blocked: products of a stage (at most kStageTerms) in one chain, stages added to a total. Nothing outside
// the signal is multiplied when weights are not finite (kExact); otherwise zeros are, which adds nothing.
// f32 for bf16/f16/f32 (subnormals kept), f64 for f64. LC_TF32: f32 operands are rounded to TF32 first. Bound: docs/design/numerics.md.

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group
constexpr int kInChannels = 128, kOutChannels = 64;
constexpr int64_t kKernel = 3, kStride = 1, kPhases = 1;
using Taps = Phases<kPhases, 1, 0, kKernel>;
constexpr int64_t kTapStep = Taps::kPeriod, kDilation = Taps::kRowStep;  // from one tap of a phase to the next: in w, in x
constexpr Pad kPad = static_cast<Pad>(1);
constexpr Activation kActivation = static_cast<Activation>(0);
using Element = float;
template <class E> struct SumType { using Type = float; };
template <> struct SumType<double> { using Type = double; };
using Sum = SumType<Element>::Type;

// --- configuration
constexpr int kThreadOut = 8, kThreadTime = 8, kOutThreads = 8, kThreads = 128;
constexpr int kTimeThreads = kThreads / kOutThreads;
constexpr int kOutTile = kThreadOut * kOutThreads, kTimeTile = kThreadTime * kTimeThreads;
constexpr int kStageChannels = 8, kStageTaps = 3, kLoads = 4;  // kLoads: under way at a time
// The window of a stage; when dilation makes it sparse, taps are stored one after the other instead.
constexpr int64_t kDenseWindow = (kTimeTile - 1) * kStride + (kStageTaps - 1) * kDilation + 1;
constexpr int64_t kTapwiseWindow = static_cast<int64_t>(kTimeTile) * kStageTaps;
constexpr bool kTapwise = kTapwiseWindow < kDenseWindow;
constexpr int kWindow = static_cast<int>(kTapwise ? kTapwiseWindow : kDenseWindow);
static_assert((kWindow + kStageTaps * kOutTile) * kStageChannels * sizeof(Sum) <= 47 * 1024, "static shared memory");

struct Params {
  const Element* x;
  const Element* w;
  Element* y;
  const Element* bias;
  const Element* residual;
  const uint32_t* redo;
  const uint32_t* flags;
  int64_t x_batch, x_channel, x_time, w_out, w_in, w_tap, y_batch, y_channel, y_time;  // strides in elements
  int64_t bias_channel, residual_batch, residual_channel, residual_time;
  int64_t length, out_length, pad_left;
  int64_t redo_step, redo_span;  // LC_MODE 1: tiles advance by step, compute span, `redo_tiles` of them a row
  int64_t redo_tiles;
  int64_t flag_words;
  int64_t skip_begin[2], skip_end[2];  // LC_SKIP: outputs that dgrad_padding.cuh computes
  int batch, groups;
  Sum negative_slope;
};

LC_DEVICE Element sample_at(const Params& p, const Element* x, int64_t offset) {
  return x[offset];
}

LC_DEVICE Sum widen(double v) { return static_cast<Sum>(v); }
// LC_TF32: operands as the TF32 kernels take them, so that a result does not depend on which kernel was chosen.
LC_DEVICE float widen(float v) { return 0 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
LC_DEVICE float widen(bf16 v) { return to_float(v); }
LC_DEVICE float widen(f16 v) { return to_float(v); }
LC_DEVICE double to_sum(double v) { return v; }
template <class E> LC_DEVICE float to_sum(E v) { return to_float(v); }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(float v, E& out) { from_float(v, out); }
LC_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
LC_DEVICE double fused(double a, double b, double c) { return fma(a, b, c); }

// One variable: the order of several, and with it the machine code, would depend on their mangled names.
__shared__ struct {
  Sum x[kStageChannels][kWindow];
  Sum w[kStageChannels][kStageTaps][kOutTile];
  MarkedWords<kThreads> marked;
  bool finite;  // the weights: no register for it
} shared;

struct Tile {
  int batch, group, out0;
  int64_t t0;                   // first step of the phase
  int64_t phase;                // outputs are phase + kPhases * step
  int64_t first_tap = 0, taps = kKernel;  // of the phase; taps may be <= 0
  int64_t lead;                 // sample that its first tap reads for step 0
  LC_DEVICE Tile(const Params& p, int64_t row, int out, int64_t step, int64_t in_phase)
      : batch(static_cast<int>(row / p.groups)), group(static_cast<int>(row % p.groups)), out0(out), t0(step), phase(in_phase), lead(-p.pad_left) {
    if (kPhases == 1) return;
    first_tap = Taps::first_tap(phase);
    taps = (kKernel - first_tap + kTapStep - 1) / kTapStep;
    lead += Taps::offset(first_tap);
  }
  LC_DEVICE int64_t first_sample(int64_t step) const { return step * kStride + lead; }
};

// Must this tile be computed at all?
LC_DEVICE bool wanted(const Params& p, const Tile& tile) {
  return true;
}

template <bool kExact> LC_DEVICE void compute(const Params& p, const Tile& tile, Sum (&total)[kThreadOut][kThreadTime]) {
  const int a = threadIdx.x / kTimeThreads, b = threadIdx.x % kTimeThreads;
  const Element* x = p.x + tile.batch * p.x_batch + tile.group * static_cast<int64_t>(kInChannels) * p.x_channel;
  const Element* w = p.w + tile.group * (1 ? kInChannels * p.w_in : kOutChannels * p.w_out) + tile.out0 * p.w_out +
                     tile.first_tap * p.w_tap;
  const int64_t first = tile.first_sample(tile.t0), kernel = tile.taps;
  for (int i0 = 0; i0 < kInChannels; i0 += kStageChannels) {
    for (int64_t k0 = 0; k0 < kernel; k0 += kStageTaps) {
      const int channels = min(kStageChannels, kInChannels - i0), taps = static_cast<int>(min(static_cast<int64_t>(kStageTaps), kernel - k0));
      __syncthreads();
#pragma unroll kLoads
      for (int i = threadIdx.x; i < kStageChannels * kWindow; i += kThreads) {
        const int channel = i / kWindow, e = i % kWindow;
        const int64_t offset = kTapwise ? (e % kTimeTile) * kStride + (e / kTimeTile) * kDilation : e;
        const int64_t position = padded_index<kPad>(first + k0 * kDilation + offset, p.length);
        shared.x[channel][e] = channel < channels && position >= 0
                                   ? widen(sample_at(p, x, (i0 + channel) * p.x_channel + position * p.x_time)) : Sum(0);
      }
#pragma unroll kLoads
      for (int i = threadIdx.x; i < kStageChannels * kStageTaps * kOutTile; i += kThreads) {
        const int tap = i % kStageTaps, channel = i / kStageTaps % kStageChannels, o = i / (kStageTaps * kStageChannels);
        shared.w[channel][tap][o] = channel < channels && tap < taps && tile.out0 + o < kOutChannels
                                        ? widen(w[o * p.w_out + (i0 + channel) * p.w_in + (k0 + tap) * (kTapStep * p.w_tap)]) : Sum(0);
      }
      __syncthreads();
      Sum part[kThreadOut][kThreadTime] = {};
#pragma unroll 1
      for (int channel = 0; channel < channels; ++channel) {
#pragma unroll 1
        for (int tap = 0; tap < taps; ++tap) {
          Sum xv[kThreadTime], wv[kThreadOut];
#pragma unroll
          for (int j = 0; j < kThreadTime; ++j) {
            const int t = b + j * kTimeThreads;
            xv[j] = shared.x[channel][kTapwise ? tap * kTimeTile + t : static_cast<int>(t * kStride + tap * kDilation)];
          }
#pragma unroll
          for (int o = 0; o < kThreadOut; ++o) wv[o] = shared.w[channel][tap][a * kThreadOut + o];
#pragma unroll
          for (int j = 0; j < kThreadTime; ++j) {
            const int64_t position = first + (b + j * kTimeThreads) * kStride + (k0 + tap) * kDilation;
            if (kExact && (position < 0 || position >= p.length)) continue;
#pragma unroll
            for (int o = 0; o < kThreadOut; ++o) part[o][j] = fused(wv[o], xv[j], part[o][j]);
          }
        }
      }
#pragma unroll
      for (int o = 0; o < kThreadOut; ++o)
#pragma unroll
        for (int j = 0; j < kThreadTime; ++j) total[o][j] += part[o][j];
    }
  }
}

// finite: the weights are known to be. Elsewhere edges are computed exactly.
LC_DEVICE void compute_tile(const Params& p, const Tile& tile, bool finite) {
  Sum total[kThreadOut][kThreadTime] = {};
  const int64_t begin = tile.first_sample(tile.t0), reach = (tile.taps - 1) * kDilation;
  const int64_t steps = (p.out_length - tile.phase + kPhases - 1) / kPhases;  // of the phase
  const int64_t end = begin + (min(static_cast<int64_t>(kTimeTile), steps - tile.t0) - 1) * kStride + reach;
  const bool edge = kPad == Pad::zeros && (begin < 0 || end >= p.length);
  if (edge && !finite) compute<true>(p, tile, total);
  else compute<false>(p, tile, total);

  const int a = threadIdx.x / kTimeThreads, b = threadIdx.x % kTimeThreads;
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
    const int out = tile.out0 + a * kThreadOut + o;
    const int64_t channel = tile.group * static_cast<int64_t>(kOutChannels) + out;
#pragma unroll
    for (int j = 0; j < kThreadTime; ++j) {
      const int64_t step = tile.t0 + b + j * kTimeThreads, t = step * kPhases + tile.phase;
      if (out >= kOutChannels || t >= p.out_length) continue;
      if (0 && ((t >= p.skip_begin[0] && t < p.skip_end[0]) || (t >= p.skip_begin[1] && t < p.skip_end[1]))) continue;
      const int64_t first = tile.first_sample(step);
      if (1 == 2 && first >= 0 && first + reach < p.length) continue;
      Sum v = total[o][j];
      if (0) v += to_sum(p.bias[channel * p.bias_channel]);
      if (0) v += to_sum(p.residual[tile.batch * p.residual_batch + channel * p.residual_channel + t * p.residual_time]);
      v = activate<kActivation>(v, p.negative_slope);
      narrow(v, p.y[tile.batch * p.y_batch + channel * p.y_channel + t * p.y_time]);
    }
  }
}

__global__ void __launch_bounds__(kThreads) longconv_direct_fprop(const __grid_constant__ Params p) {
  const int out_tiles = ceil_div(kOutChannels, kOutTile);
  wait_for_previous_kernel();
  const int64_t tiles = p.redo_tiles * p.batch * p.groups;
  if (!any_word<kThreads>(p.flags, p.flag_words, p.redo, (tiles + 31) / 32)) return;  // as mostly
  const bool all = any_word<kThreads>(p.flags, p.flag_words);
  if (threadIdx.x == 0) shared.finite = !all;
  const int64_t time_parts = (p.redo_span + kTimeTile * kPhases - 1) / (kTimeTile * kPhases), phase_parts = kPhases * out_tiles;
  visit_marked(shared.marked, p.redo, all, tiles, time_parts * phase_parts, [&](int64_t marked, int64_t part) {
    const int64_t row = marked / p.redo_tiles, t0 = marked % p.redo_tiles * (p.redo_step / kPhases) + part / phase_parts * kTimeTile;
    const Tile tile(p, row, static_cast<int>(part / kPhases % out_tiles) * kOutTile, t0, part % kPhases);
    if (t0 * kPhases + tile.phase < p.out_length) compute_tile(p, tile, shared.finite);
  });
}

}  // namespace direct_dgrad_repair_fp32

// ==== The work of dense_wgrad_sm90, fp32. From kernels/conv/dense_wgrad_sm90.cuh.
namespace dense_wgrad_sm90_fp32 {

// Dense weight gradient on Hopper: TF32, bf16, f16, and fp32 as pairs of TF32 numbers.
//
//   dW[o, i, k] = sum_{n, t} X[n, i, t*stride + k*dilation - pad_left] * dY[n, o, t]        db[o] = sum_{n, t} dY[n, o, t]
//
// As matrices, for one chunk of kSteps steps: D[(k, i), o] += A[(k, i), t] * B[o, t]^T. A comes from registers, straight from
// raw rows of x: row (k, i) is channel i from element k*dilation on, every stride-th: taps, strides and alignment are
// addresses. B is dY, whose rows already run along K: they are copied into wgmma's layout 16 bytes at a time.
//
//   global x (NCW)   shared: slot s                                   registers
//   rows i     --copy-->  raw rows of x          --ld.shared-->  A  \
//   global dy                                                        wgmma --> acc[block of 64 (k, i)][o] --> partial sums
//   rows o     --copy-->  raw --pack--> steps x o  ------------>  B /
//
// A block computes a tile of dW (kTaps x kTileChannels rows of D, kColumns * kColumnWays output channels) over one split, a
// fixed range of (batch, time), or over a segment of an equal share of all tiles' work (kShares); the tile stays in registers throughout. Roles (384 or 512 threads):
//   the first 8 or 12 warps   two or three MMA warpgroups, kM x 64 rows x kN columns each: over rows (kRowWays 2 or 3) or
//                             columns (kColumnWays 2)
//   the others                4 or 8 packers: each loads its part of the rows of x and of dy, a lane packs a row of dy or a
//                             part of one
// Barriers: slot full (packers) -> slot empty (MMA warps). A packer waits for its own copies (groups of cp.async).
//
// Accumulation: tensor cores truncate. A chain, in fp32 hi*lo + lo*hi of one chunk and then its hi*hi, else at most 128 k-steps
// (192 where no registers are left), is added to f32 registers; every kRun chains those go to memory of the block's own and
// begin again at zero. The splits' sums are added by reduce_wgrad.cuh.
// Where zeros stand for what does not exist (padding, steps behind a signal's end) and an operand there is Inf or NaN, and
// where f32 values leave the range of TF32, the split's flag is set: it is computed again without zeros.
//
// Bytes: x once per tile of output channels and taps, dY once per tile of rows, from L2 where blocks run in step.
// FLOPs: 2 * 64 kM kRowWays * kN kColumnWays per step and tile; fp32 three times that.
// Of dense_wgrad_sm90.cuh: its problem and configuration as constants, what follows from them, and which part of the work is
// whose.

// --- the problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 3 f32; channels are per group
using Element = float;
using MmaType = tf32;
constexpr int kConvGroups = 1, kInChannels = 64, kOutChannels = 128, kKernel = 3;
constexpr int kStride = 1, kDilation = 1;
constexpr Pad kPad = static_cast<Pad>(0);
constexpr Activation kGradientOf = static_cast<Activation>(0);
constexpr bool kGradient = kGradientOf != Activation::none;  // dy is dL/dz, formed where forward's result arrives beside dL/dy
constexpr bool kBias = 0, kGatherX = 0, kGatherY = 0;
constexpr bool kPlacedY = 0;  // 16-bit, every row of dy begins on 16 bytes
constexpr bool kPairs = 0;  // 16-bit, stride 1: every (channel, tap) row of x begins on 4 bytes

// --- the configuration
constexpr int kTileChannels = 64, kTaps = 3, kM = 1, kN = 128;
constexpr int kColumnWays = 1, kRowWays = 3 / kColumnWays, kSteps = 64, kWindows = 1;
constexpr int kSlots = 2, kYStages = 1, kPackers = 4;
constexpr bool kShares = 0;  // a block sums a segment of an equal share (tile/wgrad_shares.cuh), else a split

constexpr int kBytes = sizeof(Element), kStepK = 32 / kBytes, kMmaWarps = 4 * 3, kMmaThreads = 32 * kMmaWarps, kThreads = kMmaThreads + 32 * kPackers;
constexpr bool kSplit = 3 == 3;
constexpr int kPlanes = kSplit ? 2 : 1, kTileOut = kN * kColumnWays;
constexpr int kRowTiles = ceil_div(kInChannels, kTileChannels), kTapTiles = ceil_div(kKernel, kTaps), kOutTiles = ceil_div(kOutChannels, kTileOut);
constexpr bool kWholeOut = kOutChannels % kTileOut == 0;

// x: one window for all taps, or one for each (kWindows == kTaps).
constexpr int kWindow = (kSteps - 1) * kStride + (kTaps / kWindows - 1) * kDilation + 1;
using XRows = RowWindow<Element, kWindow>;
constexpr int kPackerChannels = ceil_div(kTileChannels, kPackers);
// dy: groups of 32 rows; where there are fewer than packers, each packs part of the steps.
constexpr int kGroups = kTileOut / 32, kParts = max_of(1, kPackers / kGroups), kRounds = ceil_div(kGroups, kPackers);
constexpr int kPartSteps = kSteps / kParts;
using YRows = RowWindow<Element, kPartSteps>;
constexpr int kYPlaneBytes = kTileOut * kSteps * kBytes, kYStageBytes = kPlacedY ? 0 : kRounds * 32 * YRows::kPitch * (kGradient ? 2 : 1);
using Packer = StepPacker<Element, kPartSteps, kTileOut, kPlanes, kYPlaneBytes>;

constexpr int kSharedXBytes = kTileChannels * kWindows * XRows::kPitch;
constexpr int kSlotBytes = kSharedXBytes + kPlanes * kYPlaneBytes, kSharedRaw = kSlots * kSlotBytes;
constexpr int kSharedSums = kSharedRaw + kPackers * kYStages * kYStageBytes;  // of dy, by rows and parts of the steps
constexpr int kSharedBarriers = kSharedSums + (kBias ? kParts * kTileOut * 8 : 0);
constexpr int kSharedSegment = round_up(kSharedBarriers + 8 * 2 * kSlots, 16);
constexpr int kSharedBytes = kShares ? kSharedSegment + Segment::kBytes : kSharedBarriers + 8 * 2 * kSlots;

constexpr bool kThree = kMmaWarps == 12;  // warpgroups that multiply
constexpr int kAccumulators = kM * kN / 2;
// Chains of kChainChunks chunks in the tensor core; where registers are left, kRun chains are added there; then in memory.
constexpr bool kSums = kSplit || kAccumulators <= (kThree ? 64 : 96);
constexpr int kChainChunks = kSplit ? 1 : (kSums ? 128 : 192) * kStepK / kSteps, kRun = kSplit ? 128 : kSums ? 64 : 1;
constexpr bool kManyRegisters = kAccumulators * kPlanes > 128;
constexpr int kMmaRegisters = kThree ? 152 : kManyRegisters ? (kSplit ? 224 : 232) : kPackers == 8 ? 208 : 216;
constexpr int kPackerRegisters = kThree ? 56 : kManyRegisters ? (kSplit ? 56 : 40) : kPackers == 8 ? 48 : 72;

static_assert(kSharedBytes <= 204832 && 204832 <= 232448, "the launcher reckons as this file does");
static_assert(kColumnWays * kRowWays == 3 && (3 == 2 || (kThree && kColumnWays == 1)), "the warpgroups");
static_assert(kPackers == 4 || (kPackers == 8 && !kManyRegisters && !kThree), "warpgroups of packers, and registers for them");
static_assert(register_pool_suffices(kMmaThreads, kMmaRegisters, 32 * kPackers, kPackerRegisters), "setmaxnreg moves what the launch took");
static_assert(kParts == 1 || kPackers % kGroups == 0, "every part of the steps has a packer");
static_assert(kM * 64 * kRowWays >= kTileChannels * kTaps && kTileOut % 32 == 0 && kTileOut <= 256, "the tile");
static_assert(kPartSteps * kBytes % 16 == 0 && kSteps % (2 * kStepK) == 0, "rows of dy are packed 16 bytes at a time");
static_assert(kSlots > kYStages, "a packer loads kYStages chunks ahead");
static_assert(kWindows == 1 || kWindows == kTaps, "one window, or one for each tap");
static_assert(kSharedXBytes / kBytes <= 1 << 16 && kM <= 4, "a row's place is 16 bits, its misalignment 4 of 32");
static_assert(!kPlacedY || (kBytes == 2 && !kGatherY), "as they are, of a known alignment");
static_assert(!kGradient || !(kPlacedY || kGatherY), "the gradient is formed in raw rows");
static_assert(!kPairs || (kBytes == 2 && kStride == 1), "pairs of neighbours");

// The taps of a tile in the order of its rows: 16-bit samples are loaded in pairs, so of odd dilations those come first that lie an
// even number of samples on, and most warps have rows of one alignment.
LC_DEVICE int tap_of(int index) {
  constexpr int kEven = (kTaps + 1) / 2;
  if (kBytes == 4 || kStride > 1 || kDilation % 2 == 0) return index;
  return index < kEven ? 2 * index : 2 * (index - kEven) + 1;
}

struct Params {
  const Element* x;
  const Element* dy;
  int64_t x_batch, x_channel, x_time;  // strides in elements
  int64_t dy_batch, dy_channel, dy_time;
  int64_t length, out_length, pad_left;
  WgradRanges ranges;  // chunk_steps is kSteps
  WgradPartials<float> partials;
  float4* carry;       // [block][accumulators / 4][thread]
};

// What a block computes. Made anew where it is used: registers are scarce. shared: the block's memory.
struct Tile {
  int split, group, out, outs, channel, channels, tap, taps;  // first of the group, and how many exist
  LC_DEVICE explicit Tile(uint32_t shared) {
    int index = blockIdx.x;
    if constexpr (kShares) {
      const Segment segment(shared + kSharedSegment);
      index = segment.tile, split = segment.split;
    }
    forget_origin(index);
    out = index % kOutTiles * kTileOut, index /= kOutTiles;
    tap = index % kTapTiles * kTaps, index /= kTapTiles;
    channel = index % kRowTiles * kTileChannels, index /= kRowTiles;
    group = index % kConvGroups;
    if constexpr (!kShares) split = index / kConvGroups;
    outs = kWholeOut ? kTileOut : min(kTileOut, kOutChannels - out);
    channels = kInChannels % kTileChannels == 0 ? kTileChannels : min(kTileChannels, kInChannels - channel);
    taps = kKernel % kTaps == 0 ? kTaps : min(kTaps, kKernel - tap);
  }
};

// The chunks that a block sums, and where their sums go.
struct Part {
  int64_t first;
  int chunks, split, empty;  // empty: further splits of the tile that have no chunks, whose sums this block writes as zeros
  LC_DEVICE Part(const Params& p, uint32_t shared) {
    if constexpr (kShares) {
      const Segment segment(shared + kSharedSegment);
      first = segment.first, chunks = segment.chunks, split = segment.split;
      empty = segment.last ? static_cast<int>(p.ranges.splits) - 1 - split : 0;
    } else {
      split = Tile(shared).split, empty = 0;
      first = p.ranges.begin(split), chunks = static_cast<int>(p.ranges.begin(split + 1) - first);
    }
  }
  // Has the direct kernel compute this part again, which knows splits of all tiles alone.
  LC_DEVICE void flag(const Params& p) const {
    for (int64_t s = kShares ? 0 : split; s < (kShares ? p.ranges.splits : split + 1); ++s) p.partials.flags[s] = 1;
  }
};

struct Cursor : ChunkCursor {
  LC_DEVICE Cursor(const Params& p, int64_t first) : ChunkCursor(p.ranges, first) {}
  LC_DEVICE void advance(const Params& p) { ChunkCursor::advance(p.ranges); }
  LC_DEVICE int64_t step() const { return static_cast<int64_t>(chunk) * kSteps; }
};

// The chunks of a signal all of whose steps and windows exist, with this many elements behind the windows.
struct ChunkRange {
  int begin, end;
  LC_DEVICE ChunkRange(const Params& p, const Tile& tile, int behind_x, int behind_y) {
    constexpr int64_t kHop = static_cast<int64_t>(kSteps) * kStride;
    const int64_t first = static_cast<int64_t>(tile.tap) * kDilation - p.pad_left;  // of the first chunk's window
    const int64_t last = first + static_cast<int64_t>(kTaps - 1) * kDilation + (kSteps - 1) * kStride + behind_x;
    begin = first >= 0 ? 0 : static_cast<int>(min(p.ranges.chunks_per_signal, (kHop - 1 - first) / kHop));
    const int64_t of_x = last < p.length ? (p.length - 1 - last) / kHop + 1 : 0;
    end = static_cast<int>(min(of_x, max(int64_t(0), p.out_length - behind_y) / kSteps));
  }
  LC_DEVICE bool has(int chunk) const { return chunk >= begin && chunk < end; }
};

struct Barriers {
  uint32_t slot_full, slot_empty;
  LC_DEVICE explicit Barriers(uint32_t shared)
      : slot_full(shared + kSharedBarriers), slot_empty(slot_full + 8 * kSlots) {}
  LC_DEVICE void init() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(slot_full + 8 * i, kPackers * kWarpArrivals);
        barrier_init(slot_empty + 8 * i, kMmaWarps * kWarpArrivals);
      }
      fence_barrier_init();
    }
    __syncthreads();
  }
};

// --- packer warps ------------------------------------------------------------------------------------------------
struct PackRole {
  const Params& p;
  const uint32_t shared;
  const Barriers barriers;
  const int packer, lane;
  const ChunkRange loads_inner, whole;  // in which loads have room around them; in which nothing is missing
  Packer to;
  bool flagged = false;

  LC_DEVICE PackRole(const Params& params, uint32_t shared_memory, const Barriers& b, int index, int lane_index)
      : p(params), shared(shared_memory), barriers(b), packer(index), lane(lane_index),
        loads_inner(params, Tile(shared_memory), 16 / kBytes, kPlacedY ? 0 : 16 / kBytes), whole(params, Tile(shared_memory), 0, 0) {}

  // This packer's rows of x, within the tile; bytes between channels.
  LC_DEVICE int first_channel() const { return packer * kPackerChannels; }
  LC_DEVICE int channels(const Tile& tile) const { return min(kPackerChannels, tile.channels - first_channel()); }
  LC_DEVICE uint64_t x_pitch() const { return p.x_channel * kBytes; }
  LC_DEVICE uint64_t y_pitch() const { return p.dy_channel * kBytes; }
  static LC_DEVICE bool sums(const Tile& tile) { return kBias && tile.channel == 0 && tile.tap == 0; }

  LC_DEVICE int64_t x_first(const Tile& tile, const Cursor& at, int window) const {
    return at.step() * kStride + static_cast<int64_t>(tile.tap + window) * kDilation - p.pad_left;
  }
  LC_DEVICE const Element* x_row(const Tile& tile, const Cursor& at) const {
    return p.x + at.signal * p.x_batch + (static_cast<int64_t>(tile.group) * kInChannels + tile.channel + first_channel()) * p.x_channel;
  }
  LC_DEVICE uint32_t x_shared(int slot, int window) const {
    return shared + slot * kSlotBytes + (window * kTileChannels + first_channel()) * XRows::kPitch;
  }
  // Which group of 32 rows of dy in a round, and which part of the steps.
  LC_DEVICE int group_of(int round) const { return kParts > 1 ? packer % kGroups : packer + round * kPackers; }
  LC_DEVICE int first_step() const { return kParts > 1 ? packer / kGroups * kPartSteps : 0; }
  LC_DEVICE const Element* y_row(const Tile& tile, const Cursor& at, int round) const {
    return p.dy + at.signal * p.dy_batch + (static_cast<int64_t>(tile.group) * kOutChannels + tile.out + group_of(round) * 32) * p.dy_channel + (at.step() + first_step()) * p.dy_time;
  }
  LC_DEVICE uint32_t y_shared(int stage, int round) const {
    return shared + kSharedRaw + (packer * kYStages + stage) * kYStageBytes + round * (32 * YRows::kPitch);
  }
  // Where a group's first row belongs in the operand.
  LC_DEVICE uint32_t y_slot(int slot, int round) const {
    return shared + slot * kSlotBytes + kSharedXBytes + first_step() * (kTileOut * kBytes) + group_of(round) * (32 * 16);
  }
  LC_DEVICE int rows_of(const Tile& tile, int round) const { return max(0, min(32, tile.outs - group_of(round) * 32)); }
  LC_DEVICE bool x_copied(const XRows& rows) const { return !kGatherX && (kPad < Pad::reflect || rows.whole()); }

  // A chunk on its way: its cursor and its places in the rings.
  struct Stage {
    Cursor at;
    int slot = 0, y_stage = 0;
    uint32_t parity = 1;  // that slot_empty has ended
    LC_DEVICE Stage(const Params& p, int64_t first) : at(p, first) {}
    // True at the beginning of another signal.
    LC_DEVICE bool advance(const Params& p) {
      if (++slot == kSlots) slot = 0, parity ^= 1;
      if (++y_stage == kYStages) y_stage = 0;
      at.advance(p);
      return at.chunk == 0;
    }
  };
  // Of the chunk to be loaded: what this lane loads first of x and of dy.
  uint64_t x_from, y_from;
  LC_DEVICE void point_at(const Cursor& at) {
    const Tile tile(shared);
    x_from = reinterpret_cast<uint64_t>(x_row(tile, at) + x_first(tile, at, 0)) + XRows::inner_offset(x_pitch(), lane);
    y_from = reinterpret_cast<uint64_t>(y_row(tile, at, 0)) + YRows::inner_offset<kPlacedY>(y_pitch(), lane);
  }

  // Starts the loads of a chunk when its slot is empty.
  LC_DEVICE void issue(const Stage& stage) {
    barrier_wait(barriers.slot_empty + 8 * stage.slot, stage.parity);
    const Tile tile(shared);
    if (!kGatherX && !kGatherY && loads_inner.has(stage.at.chunk)) {
      constexpr bool kAllChannels = kInChannels % kTileChannels == 0 && kTileChannels % kPackers == 0;
#pragma unroll 1
      for (int window = 0; window < (kKernel % kTaps == 0 ? kWindows : min(kWindows, tile.taps)); ++window)
        XRows::load_inner<kPackerChannels, kAllChannels>(x_from + window * (kDilation * kBytes), x_pitch(), channels(tile), x_shared(stage.slot, window), lane);
#pragma unroll 1
      for (int round = 0; round < kRounds; ++round) {
        if (group_of(round) >= kGroups) break;
        const uint64_t from = y_from + round * (32 * kPackers * y_pitch());
        if (kPlacedY) YRows::load_inner<32, kWholeOut, 16, kTileOut * 16, true>(from, y_pitch(), rows_of(tile, round), y_slot(stage.slot, round), lane);
        else YRows::load_inner<32, kWholeOut>(from, y_pitch(), rows_of(tile, round), y_shared(stage.y_stage, round), lane);
      }
      return;
    }
#pragma unroll 1
    for (int window = 0; window < min(kWindows, tile.taps); ++window) {
      const int64_t first = x_first(tile, stage.at, window);
      const XRows rows(first, p.length);
      if (x_copied(rows)) rows.load(reinterpret_cast<uint64_t>(x_row(tile, stage.at) + first), x_pitch(), channels(tile), x_shared(stage.slot, window), lane);
    }
#pragma unroll 1
    for (int round = 0; round < kRounds && !kGatherY; ++round) {
      const YRows rows(stage.at.step() + first_step(), p.out_length);
      const uint64_t from = reinterpret_cast<uint64_t>(y_row(tile, stage.at, round));
      if (kPlacedY) rows.load<16, kTileOut * 16, true>(from, y_pitch(), rows_of(tile, round), y_slot(stage.slot, round), lane);
      else rows.load(from, y_pitch(), rows_of(tile, round), y_shared(stage.y_stage, round), lane);
    }
  }

  // Zeros for what x does not have; gathers what was not copied. True if a 16-bit value of an edge is Inf or NaN.
  LC_DEVICE bool complete_x(const Tile& tile, const Stage& stage, bool edge) {
    const Cursor& at = stage.at;
    bool special = false;
#pragma unroll 1
    for (int window = 0; window < min(kWindows, tile.taps); ++window) {
      const int64_t first = x_first(tile, at, window);
      XRows rows(first, p.length);
      const uint32_t a = static_cast<uint32_t>(reinterpret_cast<uint64_t>(x_row(tile, at) + first)), pitch = static_cast<uint32_t>(x_pitch());
      if (!x_copied(rows)) {
        XRows::gather<kPad>(x_row(tile, at), p.x_channel, p.x_time, channels(tile), first, p.length, a, pitch, x_shared(stage.slot, window), lane);
        __syncwarp();
        rows.begin = 0, rows.end = kWindow;
      }
      special |= rows.complete(a, pitch, channels(tile), x_shared(stage.slot, window), kBytes == 2 && edge, lane);
    }
    return special;
  }

  // shift: of this lane's row of dy, in elements from a 16-byte boundary; aligned: 0 of all lanes.
  LC_DEVICE void pack(const Stage& stage, uint32_t shift, bool aligned) {
    const Tile tile(shared);
    const Cursor& at = stage.at;
    // All windows of the chunk, or some steps: zeros stand for what does not exist.
    const bool edge = !whole.has(at.chunk);
    to.special = (kGatherX || edge) && complete_x(tile, stage, edge);
    const int valid = edge ? static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(kPartSteps), p.out_length - at.step() - first_step()))) : kPartSteps;
    const bool add = sums(tile);
#pragma unroll 1
    for (int round = 0; round < kRounds; ++round) {
      if (group_of(round) >= kGroups) break;
      const uint32_t dst = y_slot(stage.slot, round) + lane * 16;
      const int steps = lane < rows_of(tile, round) ? valid : 0;
      const uint32_t raw = y_shared(stage.y_stage, round) + lane * YRows::kPitch;
      float chain;
      if (kGatherY) chain = to.gather(y_row(tile, at, round) + lane * p.dy_channel, p.dy_time, steps, dst, add);
      else if (kPlacedY) chain = edge || !kWholeOut ? to.template finish<true>(steps, dst, add) : to.template finish<false>(steps, dst, add);
      else if (edge || !kWholeOut) chain = to.template pack<false, true>(raw, shift, steps, dst, add);
      else if (aligned) chain = to.template pack<true, false>(raw, 0, steps, dst, add);
      else chain = to.template pack<false, false>(raw, shift, steps, dst, add);
      if (add) {
        RowSum sum = load_row_sum(row_sum(round));
        sum.add(chain);
        store_row_sum(row_sum(round), sum);
      }
    }
    flagged |= edge && to.special;
    __syncwarp();  // what every lane has stored is the barrier's; who multiplies makes it wgmma's
    if (arrives(lane)) barrier_arrive(barriers.slot_full + 8 * stage.slot);
  }

  LC_DEVICE void run() {
    for (int round = 0; sums(Tile(shared)) && round < kRounds && group_of(round) < kGroups; ++round) store_row_sum(row_sum(round), RowSum());
    Stage loading(p, Part(p, shared).first), packing = loading;
    point_at(loading.at);
    int left = Part(p, shared).chunks, to_load = left, shift = 0;
    bool aligned = false, turned = true;
#pragma unroll 1
    for (; left > 0; --left) {
      for (; to_load > left - kYStages; --to_load) {
        if (to_load > 0) {
          issue(loading);
          x_from += kSteps * kStride * kBytes, y_from += kSteps * kBytes;
          if (loading.advance(p)) point_at(loading.at);
        }
        async_commit();  // a group for each chunk, even where there is none: the wait below counts them
      }
      if (turned) {
        const Element* const row = y_row(Tile(shared), packing.at, 0) + lane * p.dy_channel;
        shift = (static_cast<uint32_t>(reinterpret_cast<uint64_t>(row)) & 15) / kBytes;
        aligned = __all_sync(~0u, shift == 0);
      }
      async_wait<kYStages - 1>();
      __syncwarp();  // a lane packs what others have copied
      pack(packing, shift, aligned);
      turned = packing.advance(p);
    }
    if (flagged || (kBytes == 4 && to.range.left())) Part(p, shared).flag(p);
    if (sums(Tile(shared))) store_sums(Tile(shared));
  }

  LC_DEVICE uint32_t row_sum(int round) const {
    return shared + kSharedSums + ((kParts > 1 ? packer / kGroups * kTileOut : 0) + group_of(round) * 32 + lane) * 8;
  }
  // The parts of a row's steps are added in their order.
  LC_DEVICE void store_sums(const Tile& tile) {
    const Part mine(p, shared);
    named_barrier_sync(1, 32 * kPackers);
    for (int row = packer * 32 + lane; row < tile.outs; row += 32 * kPackers) {
      float sum = 0.f;
      for (int part = 0; part < kParts; ++part) sum += load_row_sum(shared + kSharedSums + (part * kTileOut + row) * 8).value();
      for (int more = 0; more <= mine.empty; ++more, sum = 0.f)
        p.partials.bias[(static_cast<int64_t>(mine.split + more) * kConvGroups + tile.group) * kOutChannels + tile.out + row] = sum;
    }
  }
};

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
// A of one k-step: rows g and g + 8 of a block.
using Fragment = uint32_t[4];

struct MultiplyRole {
  const Params& p;
  const uint32_t shared;
  const int warpgroup, warp, lane;
  float acc[kM][kN / 2];
  FinishedChains<kSums, kM, kN / 2> finished;

  LC_DEVICE int row_of(int m, int h) const { return ((kRowWays > 1 ? warpgroup : 0) * kM + m) * 64 + warp * 16 + h * 8 + (lane >> 2); }
  static LC_DEVICE bool exists(const Tile& tile, int row) { return row / kTileChannels < kTaps && tap_of(row / kTileChannels) < tile.taps && row % kTileChannels < tile.channels; }

  // Rows of A: a row's place in a slot, in elements, and how far its address in memory is from that of the chunk, mod 16.
  uint32_t places[kM], low = 0;

  // A as it lies in x. rows: the slot's; begins: address of the chunk's first element, of which the low bits matter.
  LC_DEVICE void load(Fragment& v, uint32_t rows, uint32_t begins, int m, int step) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int h = i & 1;
      const uint32_t row = rows + (places[m] >> (16 * h) & 0xffffu) * kBytes + ((begins + (low >> (4 * (2 * m + h)))) & 15);
      const uint32_t offset = (step * kStepK + (i >> 1) * (kStepK / 2)) * (kStride * kBytes);
      if constexpr (kBytes == 4 || kPairs) {
        v[i] = load_shared_u32(row + offset);
      } else if constexpr (kStride == 1) {
        // Of a pair that does not begin on 4 bytes, the two words that it lies in: a warp without such rows loads half as much.
        const uint32_t odd = row & 2, word = load_shared_u32(row - odd + offset);
        uint32_t next = 0;
        if (odd) next = load_shared_u32(row - odd + offset + 4);
        v[i] = __byte_perm(word, next, odd ? 0x5432 : 0x3210);
      } else {
        v[i] = load_shared_u16(row + offset) | load_shared_u16(row + offset + kStride * 2) << 16;
      }
    }
  }

  static constexpr int kStepsOfSlot = kSteps / kStepK;
  static constexpr uint32_t kStepRows = 2 * kTileOut, kPlaneRows = kYPlaneBytes / 16;

  // Blocks one after the other, so that the addresses of one are live at a time; two fragments in turn.
  LC_DEVICE void multiply_slot(uint32_t rows, uint32_t begins, uint64_t b, int accumulate, Tf32Range& range) {
    Fragment fragments[2];
#pragma unroll
    for (int n = 0; n < kStepsOfSlot * kM; ++n) {
      const int step = n % kStepsOfSlot, m = n / kStepsOfSlot;
      Fragment& a = fragments[n & 1];
      load(a, rows, begins, m, step);
      if constexpr (kBytes == 4) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          range.add<1>(a[i]);
          a[i] += kTf32Half;
        }
      }
      wgmma_fence();
      wgmma<MmaType, kN>(acc[m], a, b + step * kStepRows, step > 0 ? 1 : accumulate);
      wgmma_commit();
      wgmma_wait<1>();
    }
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < kM; ++m) keep_registers(acc[m]);
  }

  // Pairs: of each block hi*lo + lo*hi of all steps, then hi*hi: what is truncated while sums are small does not count. The next
  // samples are loaded while the tensor core works.
  LC_DEVICE void multiply_pairs(uint32_t rows, uint32_t begins, uint64_t b, Tf32Range& range) {
    constexpr int kCount = 2 * kStepsOfSlot * kM;
    Fragment v, a[2];
    load(v, rows, begins, 0, 0);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      const int step = n % kStepsOfSlot, m = n / (2 * kStepsOfSlot);
      const bool cross = n / kStepsOfSlot % 2 == 0;
      Fragment& hi = a[cross ? 0 : n & 1];
      Fragment& lo = a[1];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (cross) {
          range.add<2>(v[i]);
          split_tf32(v[i], hi[i], lo[i]);
        } else {
          hi[i] = v[i] + kTf32Half;
        }
      }
      wgmma_fence();
      if (cross) {
        wgmma<MmaType, kN>(acc[m], hi, b + step * kStepRows + kPlaneRows, step > 0);
        wgmma<MmaType, kN>(acc[m], lo, b + step * kStepRows, 1);
      } else {
        wgmma<MmaType, kN>(acc[m], hi, b + step * kStepRows, 1);
      }
      wgmma_commit();
      if (n + 1 < kCount) load(v, rows, begins, (n + 1) / (2 * kStepsOfSlot), (n + 1) % kStepsOfSlot);
      if (cross || step == kStepsOfSlot - 1) wgmma_wait<0>();
      else wgmma_wait<1>();
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) keep_registers(acc[m]);
  }

  // A config's spare registers say how many loads of carried sums are under way at once.
  LC_DEVICE void add_carried(float (&sums)[kM][kN / 2], bool store, bool first) {
    add_carried_sums<kMmaThreads, kAccumulators <= 128 ? 8 : 4>(p.carry, sums, store, first);
  }
  LC_DEVICE void store_partial(const float (&sums)[kM][kN / 2], int split) {
    constexpr int64_t kRow = static_cast<int64_t>(kInChannels) * kKernel;
    const Tile tile(shared);
    const int column = (kColumnWays == 2 ? warpgroup : 0) * kN + 2 * (lane & 3);
    float* const out = p.partials.weight + ((static_cast<int64_t>(split) * kConvGroups + tile.group) * kOutChannels + tile.out + column) * kRow;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(m, h);
        if (!exists(tile, row)) continue;
        float* const to = out + (tile.channel + row % kTileChannels) * static_cast<int64_t>(kKernel) + tile.tap + tap_of(row / kTileChannels);
#pragma unroll
        for (int j = 0; j < kN / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (kWholeOut || column + 8 * j + e < tile.outs) to[(8 * j + e) * kRow] = sums[m][4 * j + 2 * h + e];
      }
    }
  }

  LC_DEVICE void run(const Barriers& barriers) {
    uint32_t begins;  // low half of the chunk's first element's address, and of its signal's above
    int chunks, chunk;
    {
      const Tile tile(shared);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        places[m] = 0;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          // Rows that do not exist read row 0.
          const int row = exists(tile, row_of(m, h)) ? row_of(m, h) : 0, tap = tap_of(row / kTileChannels), channel = row % kTileChannels;
          const uint32_t place = (kWindows > 1 ? tap * kTileChannels + channel : channel) * (XRows::kPitch / kBytes) + (kWindows > 1 ? 0 : tap * kDilation) + (lane & 3) * (kBytes == 2 ? 2 : 1) * kStride;
          const uint32_t bytes = static_cast<uint32_t>(channel) * static_cast<uint32_t>(p.x_channel * kBytes) + (kWindows > 1 ? tap * kDilation * kBytes : 0);
          places[m] |= place << (16 * h);
          low |= (bytes & 15) << (4 * (2 * m + h));
        }
      }
      const Part part(p, shared);
      const Cursor at(p, part.first);
      const Element* origin = p.x + (static_cast<int64_t>(tile.group) * kInChannels + tile.channel) * p.x_channel + static_cast<int64_t>(tile.tap) * kDilation - p.pad_left;
      begins = (static_cast<uint32_t>(reinterpret_cast<uint64_t>(origin + at.signal * p.x_batch)) & 0xffffu) * 0x10001u;
      begins = (begins & 0xffff0000u) | ((begins + static_cast<uint32_t>(at.chunk) * (kSteps * kStride * kBytes)) & 0xffffu);
      chunk = at.chunk, chunks = part.chunks;
    }
    const uint64_t b0 = wgmma_descriptor(shared + kSharedXBytes + (kColumnWays == 2 ? warpgroup * kN * 16 : 0), kTileOut * 16, 128);
    Tf32Range range;
    finished.clear();
    int chained = 0, runs = 0;  // chunks of the chain, finished chains of the run
    bool carried = false;
#pragma unroll 1
    for (int index = 0; index < chunks; ++index) {
      const int slot = index % kSlots;
      barrier_wait(barriers.slot_full + 8 * slot, index / kSlots & 1);
      fence_proxy_async();  // here, and not where packers store: there it would wait for the copies that they have started
      const uint32_t rows = shared + slot * kSlotBytes;
      const uint64_t b = b0 + ((slot * kSlotBytes) >> 4);
      if constexpr (kSplit) multiply_pairs(rows, begins, b, range);
      else multiply_slot(rows, begins, b, chained, range);
      __syncwarp();  // every lane has read its samples
      if (arrives(lane)) barrier_arrive(barriers.slot_empty + 8 * slot);
      begins = (begins & 0xffff0000u) | ((begins + kSteps * kStride * kBytes) & 0xffffu);
      if (++chunk == static_cast<int>(p.ranges.chunks_per_signal)) {
        chunk = 0;
        begins = (((begins >> 16) + static_cast<uint32_t>(p.x_batch * kBytes)) & 0xffffu) * 0x10001u;
      }
      const bool last = index + 1 == chunks;
      if (++chained < kChainChunks && !last) continue;
      chained = 0;
      finished.add(acc);
      if (++runs < kRun || last) continue;
      runs = 0;
      add_carried(finished.of(acc), true, !carried);
      finished.clear();
      carried = true;
    }
    if (kBytes == 4 && range.left()) Part(p, shared).flag(p);
    if (carried) add_carried(finished.of(acc), false, false);
    const Part part(p, shared);
    store_partial(finished.of(acc), part.split);
    if constexpr (kShares) {
      if (part.empty == 0) return;
#pragma unroll
      for (auto& block : finished.of(acc))
#pragma unroll
        for (float& v : block) v = 0.f;
#pragma unroll 1
      for (int more = 1; more <= part.empty; ++more) store_partial(finished.of(acc), part.split + more);
    }
  }
};

__global__ void __launch_bounds__(kThreads, 1) longconv_dense_wgrad_sm90(const __grid_constant__ Params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const Barriers barriers(shared);
  barriers.init();  // and a barrier of the block
  if (warp >= kMmaWarps) {
    decrease_registers<kPackerRegisters>();
    PackRole(p, shared, barriers, warp - kMmaWarps, lane).run();
    allow_next_kernel();  // as in dense_fprop_sm90.cuh
  } else {
    increase_registers<kMmaRegisters>();
    MultiplyRole{p, shared, warp >> 2, warp & 3, lane}.run(barriers);
  }
#endif
}

}  // namespace dense_wgrad_sm90_fp32

// ==== Repairs what is not exact in dense_wgrad_sm90, fp32. From kernels/conv/direct_wgrad.cuh.
namespace direct_wgrad_repair_fp32 {

// Direct weight gradient with ordinary multiply-adds: every dtype, stride, padding, group count and tensor layout.
//
//   dw[o, i, k] = sum_{n,t} dy[n, o, t] * x[n, i, t*stride + k*dilation - pad_left]        db[o] = sum_{n,t} dy[n, o, t]
//
// A matrix product whose reduction is time: rows o, columns (i, k). It is the engine for what the tensor-core kernels do
// not take (f64, few channels, depthwise), and it repairs what they cannot sum exactly:
//   LC_MODE 0  partial sums of all splits
//   LC_MODE 1  partial sums of the splits whose flag is set
//   LC_MODE 2  one split, rounded and written to dw and db themselves
//
//   block tile: kOutTile rows x kColumnTile columns      thread (a, b, c): rows a + j*kOutThreads, columns
//   shared: dy [step][row], x [step][column]                             b + j*kColumnThreads, steps c + j*kTimeThreads
//
// Sums: chains of at most kChainTerms products in each thread, then compensated additions (numerics.md). Nothing outside
// the signal is multiplied: where a stage touches zero padding and holds an Inf or NaN of dy, products are asked one by one.
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is then dL/dz, formed from dL/dy and forward's result as both are read.
// f32 for bf16/f16/f32 (subnormals kept), f64 for f64. LC_TF32: f32 operands are rounded to TF32 first, but for db.

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group; LC_RESULT: of dw and db, likewise
constexpr int kInChannels = 64, kOutChannels = 128;
constexpr int64_t kKernel = 3, kStride = 1, kDilation = 1;
constexpr int64_t kColumns = kInChannels * kKernel;
constexpr Pad kPad = static_cast<Pad>(0);
template <int kType> struct ElementType { using Type = float; };
template <> struct ElementType<1> { using Type = bf16; };
template <> struct ElementType<2> { using Type = f16; };
template <> struct ElementType<3> { using Type = double; };
using Element = ElementType<0>::Type;
using Result = ElementType<0>::Type;
using Sum = ElementType<0 == 3 ? 3 : 0>::Type;

// --- configuration
constexpr int kThreads = 256, kThreadOut = 4, kThreadColumns = 4;
constexpr int kOutThreads = 16, kColumnThreads = 16, kTimeThreads = kThreads / (kOutThreads * kColumnThreads);
constexpr int kOutTile = kThreadOut * kOutThreads, kColumnTile = kThreadColumns * kColumnThreads, kSteps = 16;
constexpr int kStageTerms = kSteps / kTimeThreads, kChainTerms = 256, kChainStages = kStageTerms < kChainTerms ? kChainTerms / kStageTerms : 1;
static_assert(kOutThreads * kColumnThreads * kTimeThreads == kThreads && kStageTerms * kTimeThreads == kSteps, "powers of two");

struct Params {
  const Element* x;
  const Element* dy;
  WgradPartials<Sum> partials;
  Result* dw;
  Result* db;
  int64_t x_batch, x_channel, x_time, dy_batch, dy_channel, dy_time, dw_out, dw_in, dw_tap, db_stride;  // in elements
  int64_t length, out_length, pad_left;
  WgradRanges ranges;
  int groups;
};

LC_DEVICE Element gradient_at(const Params& p, const Element* dy, int64_t offset) {
  return dy[offset];
}

LC_DEVICE Sum widen(double v) { return static_cast<Sum>(v); }
template <class E> LC_DEVICE float widen(E v) { return to_float(v); }
// LC_TF32: operands as the TF32 kernels take them, so that a result does not depend on which kernel was chosen.
LC_DEVICE double factor(double v) { return v; }
LC_DEVICE float factor(float v) { return 0 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
LC_DEVICE double fused(double a, double b, double c) { return fma(a, b, c); }
LC_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
LC_DEVICE void narrow(float v, float& out) { out = v; }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(float v, E& out) { from_float(v, out); }

// One variable: the order of several, and with it the machine code, would depend on their mangled names.
__shared__ struct {
  Sum dy[kSteps][kOutTile + 1], x[kSteps][kColumnTile + 1];
  Sum sum[kThreads], error[kThreads];
  // What a stage has: bit 0 samples outside the signal, bit 1 an Inf or NaN of dy. Stages take turns: one is cleared while the
  // other is in use.
  uint32_t found[2];
} shared;

struct Tile {
  int64_t split, column0;
  int group, out0;
};

LC_DEVICE int64_t position_of(const Params& p, int64_t t, int64_t column) {
  return t * kStride + column % kKernel * kDilation - p.pad_left;
}

// Loads steps t0 .. t0 + kSteps of a signal; those from `end` on, rows and columns that do not exist are zeros. Returns (to
// all threads) whether products must be asked one by one.
LC_DEVICE bool load_stage(const Params& p, const Tile& tile, int64_t signal, int64_t t0, int64_t end, int& turn) {
  const Element* dy = p.dy + signal * p.dy_batch + (tile.group * static_cast<int64_t>(kOutChannels) + tile.out0) * p.dy_channel;
  const Element* x = p.x + signal * p.x_batch + tile.group * static_cast<int64_t>(kInChannels) * p.x_channel;
  bool finite = true, inside = true;
  __syncthreads();
  for (int i = threadIdx.x; i < kOutTile * kSteps; i += kThreads) {
    const int row = i / kSteps, step = i % kSteps;
    Sum v = Sum(0);
    if (tile.out0 + row < kOutChannels && t0 + step < end) v = widen(gradient_at(p, dy, row * p.dy_channel + (t0 + step) * p.dy_time));
    finite = finite && v - v == Sum(0);
    shared.dy[step][row] = v;
  }
  for (int i = threadIdx.x; i < kColumnTile * kSteps; i += kThreads) {
    const int step = i % kSteps;
    const int64_t column = tile.column0 + i / kSteps;
    Sum v = Sum(0);
    if (column < kColumns && t0 + step < end) {
      const int64_t sample = padded_index<kPad>(position_of(p, t0 + step, column), p.length);
      if (sample >= 0) v = factor(widen(x[column / kKernel * p.x_channel + sample * p.x_time]));
      else inside = false;
    }
    shared.x[step][i / kSteps] = v;
  }
  if (kPad == Pad::zeros && !(inside && finite)) atomicOr(&shared.found[turn], (inside ? 0u : 1u) | (finite ? 0u : 2u));
  __syncthreads();
  if (kPad != Pad::zeros) return false;
  const bool exact = shared.found[turn] == 3u;
  turn ^= 1;
  if (threadIdx.x == 0) shared.found[turn] = 0;
  return exact;
}

template <bool kExact> LC_DEVICE void multiply_stage(const Params& p, const Tile& tile, int64_t t0, Sum (&part)[kThreadOut][kThreadColumns]) {
  const int c = threadIdx.x % kTimeThreads, b = threadIdx.x / kTimeThreads % kColumnThreads, a = threadIdx.x / (kTimeThreads * kColumnThreads);
#pragma unroll 4
  for (int step = c; step < kSteps; step += kTimeThreads) {
    Sum x[kThreadColumns], dy[kThreadOut];
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) x[j] = shared.x[step][b + j * kColumnThreads];
#pragma unroll
    for (int o = 0; o < kThreadOut; ++o) dy[o] = factor(shared.dy[step][a + o * kOutThreads]);
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) {
      if constexpr (kExact) {
        const int64_t position = position_of(p, t0 + step, tile.column0 + b + j * kColumnThreads);
        if (position < 0 || position >= p.length) continue;
      }
#pragma unroll
      for (int o = 0; o < kThreadOut; ++o) part[o][j] = fused(dy[o], x[j], part[o][j]);
    }
  }
}

// The sum over the block's threads that differ in c only, in the thread with c = 0.
LC_DEVICE Sum sum_of_time_threads(const Compensated<Sum>& own) {
  if (kTimeThreads == 1) return own.value();
  Compensated<Sum> total = own;
  const int c = threadIdx.x % kTimeThreads;
#pragma unroll 1
  for (int half = kTimeThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    shared.sum[threadIdx.x] = total.sum;
    shared.error[threadIdx.x] = total.error;
    __syncthreads();
    if (c < half) total.add(shared.sum[threadIdx.x + half], shared.error[threadIdx.x + half]);
  }
  return total.value();
}

LC_DEVICE void compute(const Params& p, const Tile& tile, int& turn) {
  const int c = threadIdx.x % kTimeThreads, b = threadIdx.x / kTimeThreads % kColumnThreads, a = threadIdx.x / (kTimeThreads * kColumnThreads);
  const bool sums_bias = 0 && tile.column0 == 0 && b == 0;
  Compensated<Sum> total[kThreadOut][kThreadColumns], bias_total[0 ? kThreadOut : 1];
  Sum part[kThreadOut][kThreadColumns], bias_part[0 ? kThreadOut : 1];
  auto close_chains = [&] {
#pragma unroll
    for (int o = 0; o < kThreadOut; ++o) {
#pragma unroll
      for (int j = 0; j < kThreadColumns; ++j) total[o][j].add(part[o][j]), part[o][j] = Sum(0);
      if (0) bias_total[o].add(bias_part[o]), bias_part[o] = Sum(0);
    }
  };
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) total[o][j].clear(), part[o][j] = Sum(0);
    if (0) bias_total[o].clear(), bias_part[o] = Sum(0);
  }
  int stages = 0;  // of the open chains
  const int64_t chunk_end = p.ranges.begin(tile.split + 1);
#pragma unroll 1
  for (int64_t chunk = p.ranges.begin(tile.split); chunk < chunk_end; ++chunk) {
    const int64_t signal = chunk / p.ranges.chunks_per_signal, begin = chunk % p.ranges.chunks_per_signal * p.ranges.chunk_steps;
    const int64_t end = min(begin + p.ranges.chunk_steps, p.out_length);
#pragma unroll 1
    for (int64_t t0 = begin; t0 < end; t0 += kSteps) {
      if (load_stage(p, tile, signal, t0, end, turn)) multiply_stage<true>(p, tile, t0, part);
      else multiply_stage<false>(p, tile, t0, part);
      if (sums_bias) {
        for (int step = c; step < kSteps; step += kTimeThreads)
#pragma unroll
          for (int o = 0; o < kThreadOut; ++o) bias_part[0 ? o : 0] += shared.dy[step][a + o * kOutThreads];
      }
      if (++stages == kChainStages) close_chains(), stages = 0;
    }
  }
  close_chains();

  const int64_t row0 = tile.group * static_cast<int64_t>(kOutChannels);
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
    const int row = tile.out0 + a + o * kOutThreads;
    const bool row_exists = row < kOutChannels && c == 0;
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) {
      const Sum v = sum_of_time_threads(total[o][j]);
      const int64_t column = tile.column0 + b + j * kColumnThreads;
      if (!row_exists || column >= kColumns) continue;
      if (1 == 2) narrow(v, p.dw[(row0 + row) * p.dw_out + column / kKernel * p.dw_in + column % kKernel * p.dw_tap]);
      else p.partials.weight[((tile.split * p.groups + tile.group) * kOutChannels + row) * kColumns + column] = v;
    }
    if (0 && tile.column0 == 0) {
      const Sum v = sum_of_time_threads(bias_total[o]);
      if (!row_exists || b != 0) continue;
      if (1 == 2) narrow(v, p.db[(row0 + row) * p.db_stride]);
      else p.partials.bias[tile.split * p.groups * kOutChannels + row0 + row] = v;
    }
  }
}

__global__ void __launch_bounds__(kThreads) longconv_direct_wgrad(const __grid_constant__ Params p) {
  constexpr int64_t kColumnTiles = (kColumns + kColumnTile - 1) / kColumnTile;
  constexpr int kOutTiles = ceil_div(kOutChannels, kOutTile);
  const int64_t items = p.ranges.splits * p.groups * kOutTiles * kColumnTiles;
  int turn = 0;
  wait_for_previous_kernel();
  if (threadIdx.x == 0) shared.found[0] = 0;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const int64_t rest = item / kColumnTiles, rows = rest / kOutTiles;
    const Tile tile{rows / p.groups, item % kColumnTiles * kColumnTile, static_cast<int>(rows % p.groups),
                    static_cast<int>(rest % kOutTiles) * kOutTile};
    if (1 == 1 && p.partials.flags[tile.split] == 0) continue;
    compute(p, tile, turn);
  }
}

}  // namespace direct_wgrad_repair_fp32

// ==== Packs the weights for dense_fprop_sm80, tf32. From kernels/conv/pack_fragments.cuh.
namespace pack_fragments_tf32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> mma.sync A fragments in the order dense_fprop_sm80.cuh consumes them:
//   [group][16 channels out][stage of LC_STAGE_CHUNKS chunks in][tap][k-step][plane][lane][4 words]
// One block for each 16 channels out; missing channels become zeros. Formats as in dense_fprop_sm80.cuh's LC_ELEMENT: 0
// TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes (tile/split_f16.cuh), scaled by a power of two per output channel so that
// max|w| lies in [2^13, 2^14), and `inverse`[group][out/group].
// flags[group][16 channels out]: not 0 where some weight is Inf or NaN or (format 4) cannot be split exactly enough: scaled,
// it is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 0, kKernel = 3, kInChannels = 64, kOutChannels = 128;
constexpr bool kSplit = kFormat == 4;
using Element = float;
constexpr int kWord = kFormat == 0 ? 1 : 2, kStepChannels = 8 * kWord;  // channels of a word, of a k-step
constexpr int kStageSteps = 4 / 2, kBlocks = ceil_div(kInChannels, kStageSteps * kStepChannels);
constexpr int kPaddedRows = 128;  // of a group, a multiple of 16
constexpr int kThreads = 512, kFragmentBytes = kSplit ? 1024 : 512;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_fragments(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / (kPaddedRows / 16), block16 = blockIdx.x % (kPaddedRows / 16);
  auto at = [&](int out, int64_t channel, int64_t tap) -> Element {
    if (out < kOutChannels && channel < kInChannels)
      return p.w[group * (0 ? kInChannels * p.w_in : kOutChannels * p.w_out) + out * p.w_out + channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ float scales[16];
  bool flagged = false;
  if constexpr (kSplit) {
    for (int row = threadIdx.x / 32; row < 16; row += kThreads / 32) {
      const int out = block16 * 16 + row;
      Extremes extremes;
#pragma unroll 8  // loads ahead of their use
      for (int64_t i = threadIdx.x % 32; i < static_cast<int64_t>(kInChannels) * kKernel; i += 32)
        extremes.add(to_float(at(out, i / kKernel, i % kKernel)));
      extremes.reduce_warp();
      const ChannelScale channel(extremes);
      if (threadIdx.x % 32 == 0) {
        scales[row] = channel.scale;
        if (out < kOutChannels) p.inverse[static_cast<int64_t>(group) * kOutChannels + out] = channel.inverse;
        flagged = flagged || !channel.representable;
      }
    }
    __syncthreads();
  }

  const int64_t fragments = static_cast<int64_t>(kBlocks) * kKernel * kStageSteps;  // of 16 channels
  for (int64_t i = threadIdx.x; i < fragments * 32; i += kThreads) {
    const int64_t fragment = i / 32, step = fragment % kStageSteps, tap = fragment / kStageSteps % kKernel;
    const int64_t block = fragment / kStageSteps / kKernel;
    const int g = static_cast<int>(i % 32) / 4, c = static_cast<int>(i % 32) % 4;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = g + 8 * (r & 1), out = block16 * 16 + row;
      const int64_t channel = (block * kStageSteps + step) * kStepChannels + (c + 4 * (r >> 1)) * kWord;
      Element v[kWord];
#pragma unroll
      for (int j = 0; j < kWord; ++j) {
        v[j] = at(out, channel + j, tap);
        if (!kSplit) flagged = flagged || !(fabsf(to_float(v[j])) < __uint_as_float(0x7f800000u));
      }
      if constexpr (kSplit) split2_f16(to_float(v[0]) * scales[row], to_float(v[kWord - 1]) * scales[row], hi[r], lo[r]);
      else if constexpr (kFormat == 0) hi[r] = round_tf32(bits_of(v[0]));
      else hi[r] = bits_of(v[0]) | bits_of(v[kWord - 1]) << 16;
    }
    uint8_t* out = p.packed + ((block16 + static_cast<int64_t>(group) * (kPaddedRows / 16)) * fragments + fragment) * kFragmentBytes + (i % 32) * 16;
    *reinterpret_cast<uint4*>(out) = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    if constexpr (kSplit) *reinterpret_cast<uint4*>(out + 512) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  flagged = __syncthreads_or(flagged ? 1 : 0) != 0;
  constexpr int kRealBlocks = ceil_div(kOutChannels, 16);
  if (threadIdx.x == 0 && block16 < kRealBlocks) p.flags[static_cast<int64_t>(group) * kRealBlocks + block16] = flagged ? 1 : 0;
#endif
}

}  // namespace pack_fragments_tf32

// ==== The work of dense_fprop_sm80, tf32. From kernels/conv/dense_fprop_sm80.cuh.
namespace dense_fprop_sm80_tf32 {

// Dense forward convolution for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two f16 planes.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have sums of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).
//
// Pack once, as on Hopper: the block transposes a stage of raw NCW rows (kStageChunks chunks of channels, one tap group)
// into shared memory as [plane of the split][chunk][residue plane][row] x 16 B, so that a tap is a row offset and
// ldmatrix yields B fragments; 8 rows of 16 bytes are 128 contiguous bytes: no bank conflicts at any offset.
//
//   kWarps warps: kWarpsOut x kWarpsTime, a warp computes 16*kRowBlocks channels x 16*kSlices steps of each phase (one phase: 32 x
//   64). Small blocks, several of them on a multiprocessor: one packs or stores while the others multiply.
//
// The stages of all of a block's tiles form one sequence, each round of which
//   issues the loads of the next stage into registers (stage_registers.cuh),
//   multiplies this one: intervals of kInterval k-steps (a k-step is a tap of two chunks) whose weights wait in registers,
//     16 bytes a lane in fragment order (pack_fragments.cuh); each is replaced by its successor in the next interval
//     after its last use, so that L2's latency sweeps during the other k-steps,
//   stores y if this was the tile's last stage, packs the next one; one barrier (two with a single buffer).
//
// fp32 (LC_ELEMENT 4): v * 2^e = hi + lo * 2^-11 (split_f16.cuh), e per stage for x, per channel for w;
//   w x = w_hi x_hi + 2^-11 (w_hi x_lo + w_lo x_hi). Tensor cores truncate when they accumulate: every interval (at most
//   3 k-steps of 16 channels) starts from zero in `part` (hi*hi) and `cross`, and is added to f32 sums, scaled back.
//   A slice of 16 steps at a time, so that both are few registers. The stage's extremes are found in the registers that
//   hold it; a barrier more lets every warp see them. Tiles that f16 cannot carry set their bit in `redo`, for
//   direct_fprop.cuh. Error: docs/design/numerics.md.
// Limits: output time stride 1. Bytes: x once per 32*kWarpsOut output channels, weights from L1 or L2.

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes
constexpr int kOutChannels = 128, kKernel = 3;
constexpr Activation kActivation = static_cast<Activation>(0);
using MmaType = tf32;

// --- configuration
constexpr int kInterval = 2, kBuffers = 2, kRowBlocks = 2, kSlices = 4;

struct C : TapRows<1, 0, 1, 1, 3, kKernel> {
  using Element = float;
  static constexpr bool kSplit = 0 == 4, kResident = false;
  static constexpr int kInChannels = 64, kCluster = 1;
  static constexpr Pad kPad = static_cast<Pad>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr int kWarps = 4, kWarpsOut = 4, kWarpsTime = kWarps / kWarpsOut;
  static constexpr int kStageChunks = 4, kPrefetch = 3;
  static constexpr int kBytes = sizeof(Element), kChunk = 0 == 0 ? 4 : 8, kStageChannels = kStageChunks * kChunk;
  static constexpr int kWarpRows = 16 * kRowBlocks, kOutTile = kWarpRows * kWarpsOut, kSweeps = ceil_div(kOutChannels, kOutTile);
  static constexpr int kWarpSteps = 16 * kSlices, kSteps = kWarpSteps * kWarpsTime;  // of a phase
  static constexpr int kWarpColumns = kWarpSteps * kPhases, kStep = kSteps * kPhases;
  static constexpr int64_t kInputStep = static_cast<int64_t>(kSteps) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSteps + kTapRows, kStride);
  static constexpr int kRawNeeded = kPhases > 1 ? kSteps + kTapRows : (kSteps - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSplitBytes = kStageChunks * kChunkRows * 16;
  static constexpr int kStageBytes = kSplitBytes * (kSplit ? 2 : 1);
  static constexpr int kSharedExtremes = kBuffers * kStageBytes;
  static constexpr int kRowWords = kWarpColumns * kBytes / 4, kStagingPitch = kRowWords + 2 * kBytes;  // 64 columns of one phase: no bank conflicts
  static constexpr int kSharedStaging = kSharedExtremes + (kSplit ? kWarps * 8 : 0), kStagingBytes = 8 * kStagingPitch * 4;
  static constexpr int kSharedBytes = kSharedStaging + kWarps * kStagingBytes;
  static constexpr int kChannelBlocks = ceil_div(kInChannels, kStageChannels), kTapGroups = ceil_div(kKernel, kTaps);
  static constexpr bool kWholeStages = kInChannels % kStageChannels == 0;
  static constexpr int kItemStages = kChannelBlocks * kTapGroups, kLastTaps = kKernel - (kTapGroups - 1) * kTaps;

  static constexpr int kTapSteps = kStageChunks / 2;             // k-steps of a tap in a stage
  static constexpr int kFragmentBytes = 512 * (kSplit ? 2 : 1);  // of 16 output channels and one k-step
  static constexpr int64_t kBlockBytes = static_cast<int64_t>(kChannelBlocks) * kKernel * kTapSteps * kFragmentBytes;  // of 16 output channels
};
static_assert(C::kStageChunks % 2 == 0, "a k-step is two chunks");
static_assert(!C::kSplit || (kInterval <= 3 && kBuffers == 1), "the promised interval; stages are packed behind a barrier");
constexpr int kThreads = 32 * C::kWarps;
using Element = C::Element;
using Stage = StageRegisters<C>;

static_assert(C::kSharedBytes == 18432, "the launcher reckons as this file does");

struct Params : FpropParams<Element> {
  const float* weight_inverse;  // LC_ELEMENT 4: 1 / scale of each output channel, a power of two
  uint32_t* redo;               // likewise: one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
};

// Where a block stands in its sequence of stages. Items from the last to the first: below 0 there are no more, which
// takes no register to know.
struct Position {
  int index, stage;  // item of the schedule, stage of the item
  Item item;
  LC_DEVICE explicit Position(const Schedule<C>& schedule)
      : index(schedule.begin + (schedule.end - 1 - schedule.begin) / schedule.step * schedule.step), stage(0), item(schedule.item(index)) {}
  LC_DEVICE bool valid() const { return index >= 0; }
  LC_DEVICE void advance(const Schedule<C>& schedule) {
    if (++stage == C::kItemStages) {
      stage = 0;
      index -= schedule.step;
      if (valid()) item = schedule.item(index);
    }
  }
  LC_DEVICE ChunkWindow<Element> window(const Params& p, int warp) const {
    const int block = stage / C::kTapGroups;
    const int channel = block * C::kStageChannels + warp % C::kStageChunks * C::kChunk;
    return {p.x + item.batch * p.x_batch + (item.group * static_cast<int64_t>(C::kInChannels) + channel) * p.x_channel,
            item.tile * C::kInputStep - p.pad_left + stage % C::kTapGroups * C::kGroupStep,
            C::kInChannels - channel};
  }
  // This lane's part of the first fragment that the item consumes.
  LC_DEVICE const uint8_t* weights(const Params& p, int warp, int lane) const {
    const int block16 = item.group * (C::kSweeps * C::kOutTile / 16) + (item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows) / 16;
    return p.weights + block16 * C::kBlockBytes + lane * 16;
  }
};

// The weights of a warp's output channels for one k-step.
struct Fragment {
  uint32_t hi[kRowBlocks][4], lo[C::kSplit ? kRowBlocks : 1][4];
  LC_DEVICE void load(const uint8_t* w) {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
      load_global_v4(hi[m], w + m * C::kBlockBytes);
      if constexpr (C::kSplit) load_global_v4(lo[m], w + m * C::kBlockBytes + 512);
    }
  }
};

template <class Type> LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Type type) {
  mma_m16n8k16(d, a, b, type);
}
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32 type) { mma_m16n8k8(d, a, b, type); }
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  multiply(d, a, b, MmaType{});
}

// A warp's sums: [16 channels][phase and 8 of its steps].
using Sums = float[kRowBlocks][C::kPhases * 2 * kSlices][4];

// kCount k-steps from the stage's k-step `first` on, with a[0] .. a[kCount - 1]; leaves the next interval's weights in a.
// rows: shared address of this lane's row for tap 0 of the stage. inverse: 1 / scale of the stage. kPlace: a k-step whose taps have
// the phases of those from `first` on.
template <int kCount, int kPlace>
LC_DEVICE void multiply_interval(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* next) {
  uint32_t at[kCount];
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
    const int tap = (first + q) / C::kTapSteps, s = (first + q) % C::kTapSteps;
    at[q] = rows + (C::tap_row(tap, C::kPlaneRows) + s * 2 * C::kChunkRows) * 16;
  }
  // The order of (slice n of 16 steps, k-step q): with the split a slice's k-steps together, else a k-step's slices.
  constexpr int kRounds = kSlices * kCount, kTiles = 2 * kRowBlocks;  // tiles of 16 channels x 8 steps
  float part[kRowBlocks][2][4], cross[kRowBlocks][2][4];
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int n = C::kSplit ? i / kCount : i % kSlices, q = C::kSplit ? i % kCount : i / kSlices;
    const int column = (C::phase((kPlace + q) / C::kTapSteps) * kSlices + n) * 2;
    const bool begins = q == 0 || C::kPhases > 1, ends = q == kCount - 1 || C::kPhases > 1;  // of part and cross: sums of one phase
    uint32_t x[C::kSplit ? 2 : 1][4];
    load_matrix_x4(x[0], at[q] + n * 256);
    if constexpr (C::kSplit) load_matrix_x4(x[1], at[q] + n * 256 + C::kSplitBytes);
    if constexpr (C::kSplit) {
      if (begins) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) part[j >> 3][j >> 2 & 1][j & 3] = cross[j >> 3][j >> 2 & 1][j & 3] = 0.f;
      }
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].hi[j >> 1], x[1][2 * (j & 1)], x[1][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(part[j >> 1][j & 1], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].lo[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
      if (ends) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) {
          const int m = j >> 3, h = j >> 2 & 1, e = j & 3;
          float& total = sum[m][column + h][e];
          total = fmaf(cross[m][h][e], inverse * (1.f / 2048.f), total);
          total = fmaf(part[m][h][e], inverse, total);
        }
        if (i < kRounds - 1) schedule_border(inverse == 0.f);  // or slices overlap until registers spill
      }
    } else {
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(sum[j >> 1][column + (j & 1)], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
    }
    if (n == kSlices - 1) a[q].load(next + q * C::kFragmentBytes);
  }
#pragma unroll
  for (int q = kCount; q < kInterval; ++q) a[q].load(next + q * C::kFragmentBytes);
}

// Intervals kIndex to kEnd - 1 from the stage's k-step `first` on, at which a cycle of phases begins. w: their weights; after: those
// that follow.
template <int kIndex, int kEnd>
LC_DEVICE void multiply_intervals(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* w, const uint8_t* after) {
  if constexpr (kIndex < kEnd) {
    const uint8_t* next = kIndex == kEnd - 1 ? after : w + (kIndex + 1) * kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, kIndex * kInterval>(sum, a, rows, first + kIndex * kInterval, inverse, next);
    multiply_intervals<kIndex + 1, kEnd>(sum, a, rows, first, inverse, w, after);
  }
}

// All k-steps of a stage of kTaps taps. w: this stage's weights (in a already); after: the next one's.
template <int kTaps>
LC_DEVICE void multiply_stage(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, float inverse, const uint8_t* w, const uint8_t* after) {
  constexpr int kSteps = kTaps * C::kTapSteps, kWhole = kSteps / kInterval, kRest = kSteps % kInterval;
  if constexpr (C::kPhases > 1) {  // a sum's phase must be a constant: whole cycles of phases are unrolled
    constexpr int kCycleSteps = C::kPeriod * C::kTapSteps, kCycle = kCycleSteps / gcd_of(kCycleSteps, kInterval);  // in intervals
    constexpr int kLast = kWhole / kCycle * kCycle;
#pragma unroll 1
    for (int i = 0; i < kLast; i += kCycle) {
      const uint8_t* next = w + kCycle * kInterval * C::kFragmentBytes;
      multiply_intervals<0, kCycle>(sum, a, rows, i * kInterval, inverse, w, kWhole == kLast && kRest == 0 && i == kLast - kCycle ? after : next);
      w = next;
    }
    const uint8_t* rest = w + (kWhole - kLast) * kInterval * C::kFragmentBytes;
    multiply_intervals<0, kWhole - kLast>(sum, a, rows, kLast * kInterval, inverse, w, kRest == 0 ? after : rest);
    if constexpr (kRest > 0) multiply_interval<kRest, (kWhole - kLast) * kInterval>(sum, a, rows, kWhole * kInterval, inverse, after);
    return;
  }
  constexpr int kUnroll = !C::kSplit && kWhole <= 2 ? 2 : 1;
  int whole = kWhole;
  if (C::kSplit && kRest > 0) forget_origin(whole);
#pragma unroll kUnroll
  for (int i = 0; i < whole; ++i) {
    w += kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, 0>(sum, a, rows, i * kInterval, inverse, kRest == 0 && i == kWhole - 1 ? after : w);
  }
  if constexpr (kRest > 0) multiply_interval<kRest, 0>(sum, a, rows, kWhole * kInterval, inverse, after);
}

// Packs `stage`, of which piece 0 is in registers, for everyone; returns 1 / its scale.
LC_DEVICE float pack_stage(const Params& p, const Schedule<C>& schedule, Stage& stage, const Position& at, uint32_t shared, uint32_t buffer, int warp, int lane) {
  const ChunkWindow<Element> window = at.window(p, warp);
  stage.finish(p);
  float scale = 1.f, inverse = 1.f;
  if constexpr (C::kSplit) {
    Extremes extremes;
    stage.add_to(extremes);
#pragma unroll 1
    for (int piece = 1; piece < Stage::kPieces; ++piece) {
      Stage more;
      more.load(p, window, piece, warp, lane);
      more.finish(p);
      more.add_to(extremes);
    }
    extremes.reduce_warp();
    if (lane == 0) store_shared_v2(shared + C::kSharedExtremes + warp * 8, extremes.largest, __uint_as_float(extremes.smallest));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < C::kWarps; ++i) {
      Extremes other;
      other.largest = load_shared_f32(shared + C::kSharedExtremes + i * 8);
      other.smallest = load_shared_u32(shared + C::kSharedExtremes + i * 8 + 4);
      extremes.merge(other);
    }
    const SlotScale slot(extremes, least_exponent(C::kInChannels * static_cast<int64_t>(kKernel / C::kPeriod)));
    scale = slot.scale;
    inverse = slot.inverse;
    if (!slot.representable && threadIdx.x == 0) {
      const uint32_t tile = static_cast<uint32_t>(at.item.batch * p.groups + at.item.group) * schedule.tiles_per_row + at.item.tile;
      atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
    }
  } else if (kBuffers == 1) {
    __syncthreads();
  }
  const uint32_t chunk = buffer + warp % C::kStageChunks * C::kChunkRows * 16;
  stage.pack(chunk, scale, 0, warp, lane);
#pragma unroll 1
  for (int piece = 1; piece < Stage::kPieces; ++piece) {
    stage.load(p, window, piece, warp, lane);
    stage.finish(p);
    stage.pack(chunk, scale, piece, warp, lane);
  }
  __syncthreads();
  return inverse;
}

LC_DEVICE void stage_pair(uint32_t at, float a, float b, float) { store_shared_v2(at, a, b); }
template <class E> LC_DEVICE void stage_pair(uint32_t at, float a, float b, E) { store_shared_u32(at, pack2<E>(a, b)); }

// Scale, bias, residual, activation, y. Fragments hold 2 columns of 8 rows; through `staging`, the warp's own piece of shared
// memory, they become whole rows: a store then writes 128 bytes of one row wherever it begins, and few sectors in halves.
LC_DEVICE void store_tile(const Params& p, const Item& item, const Sums& sum, uint32_t staging, int warp, int lane) {
  constexpr int kPhases = C::kPhases;
  const int g = lane >> 2, c = lane & 3;
  const int64_t t_warp = static_cast<int64_t>(item.tile) * C::kStep + warp % C::kWarpsTime * C::kWarpColumns;
  const int columns = static_cast<int>(max(static_cast<int64_t>(0), min(p.out_length - t_warp, static_cast<int64_t>(C::kWarpColumns))));
#pragma unroll
  for (int m = 0; m < kRowBlocks; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int out0 = item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows + m * 16 + h * 8;
      const int64_t channel0 = item.group * static_cast<int64_t>(kOutChannels) + out0;
      const bool exists = out0 + g < kOutChannels;
      const float bias = 0 && exists ? to_float(p.bias[channel0 + g]) : 0.f;
      const float inverse = C::kSplit && exists ? p.weight_inverse[channel0 + g] : 1.f;
      const Element* residual =
          0 ? p.residual + item.batch * p.residual_batch + (channel0 + g) * p.residual_channel + t_warp + 2 * c * kPhases : nullptr;
      const int here = exists ? columns - 2 * c * kPhases : 0;  // columns from this lane's first one on
      __syncwarp();
#pragma unroll
      for (int pair = 0; pair < 2 * kSlices * kPhases; ++pair) {  // a lane's 2 steps of all phases are 2 * kPhases neighbours
        const int n = pair / kPhases, e = pair % kPhases * 2;
        float v[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          v[i] = fmaf(sum[m][(e + i) % kPhases * (2 * kSlices) + n][2 * h + (e + i) / kPhases], inverse, bias);
          if (0 && n * 8 * kPhases + e + i < here) v[i] += to_float(residual[n * 8 * kPhases + e + i]);
          v[i] = activate<kActivation>(v[i], p.negative_slope);
        }
        const uint32_t at = staging + (g * C::kStagingPitch + ((n * 8 + 2 * c) * kPhases + e) * C::kBytes / 4) * 4;
        stage_pair(at, v[0], v[1], Element{});
      }
      __syncwarp();
      Element* row = p.y + item.batch * p.y_batch + channel0 * p.y_channel + t_warp;
      constexpr int kLaneWords = ceil_div(C::kRowWords, 32), kWordColumns = 4 / C::kBytes;
      constexpr bool kWholeRows = C::kRowWords % 32 == 0;
      const bool words = ((reinterpret_cast<uint64_t>(row) | p.y_channel * C::kBytes) & 3) == 0;  // rows begin on words
      uint32_t word[8 * kLaneWords];
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int place = i % kLaneWords * 32 + lane;
        word[i] = load_shared_u32(staging + (i / kLaneWords * C::kStagingPitch + (kWholeRows ? place : min(place, C::kRowWords - 1))) * 4);
      }
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int r = i / kLaneWords, column = (i % kLaneWords * 32 + lane) * kWordColumns;
        store_word(row + r * p.y_channel + column, word[i], out0 + r < kOutChannels ? columns - column : 0, words);
      }
    }
}

__global__ void __launch_bounds__(kThreads, 3) longconv_dense_fprop_sm80(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = threadIdx.x >> 5;
  int lane = threadIdx.x & 31;
  const Schedule<C> schedule(p);
  if (schedule.begin >= schedule.end) return;
  Position next(schedule);
  Stage stage;
  stage.load(p, next.window(p, warp), 0, warp, lane);
  wait_for_previous_kernel();  // which packs the weights and clears `redo`
  const uint8_t* w = next.weights(p, warp, lane);
  Fragment a[kInterval];
#pragma unroll
  for (int q = 0; q < kInterval; ++q) a[q].load(w + q * C::kFragmentBytes);
  uint32_t buffer = shared;
  Sums sum = {};
#pragma unroll 1
  while (true) {
    forget_origin(lane);  // rows and offsets of packing are a few instructions: not worth registers across the products
    const float inverse = pack_stage(p, schedule, stage, next, shared, buffer, warp, lane);
    const bool last_taps = C::kTapGroups == 1 || next.stage % C::kTapGroups == C::kTapGroups - 1;
    next.advance(schedule);
    if (next.valid()) stage.load(p, next.window(p, warp), 0, warp, lane);
    else allow_next_kernel();  // only the last stage is left
    const uint8_t* after = w + (last_taps ? C::kLastTaps : C::kTaps) * C::kTapSteps * C::kFragmentBytes;
    if (next.stage == 0) after = next.weights(p, warp, lane);
    // ldmatrix blocks (rows 0-7, chunk 0), (0-7, 1), (8-15, 0), (8-15, 1): the row that this lane names.
    const uint32_t rows = buffer + ((lane >> 3 & 1) * C::kChunkRows + warp % C::kWarpsTime * C::kWarpSteps + (lane >> 4) * 8 + (lane & 7)) * 16;
    if (C::kLastTaps == C::kTaps || !last_taps) multiply_stage<C::kTaps>(sum, a, rows, inverse, w, after);
    else multiply_stage<C::kLastTaps>(sum, a, rows, inverse, w, after);
    w = after;
    if (next.stage == 0) {
      int w_here = warp;
      forget_origin(w_here);  // likewise
      forget_origin(lane);
      store_tile(p, schedule.item(next.index + schedule.step), sum, shared + C::kSharedStaging + w_here * C::kStagingBytes, w_here, lane);
      if (!next.valid()) break;
#pragma unroll
      for (int j = 0; j < static_cast<int>(sizeof(sum) / 4); ++j) (&sum[0][0][0])[j] = 0.f;
    }
    if (kBuffers == 2) buffer = buffer == shared ? shared + C::kStageBytes : shared;
  }
#endif
}

}  // namespace dense_fprop_sm80_tf32

// ==== Packs the weights for dense_dgrad_sm80, tf32. From kernels/conv/pack_fragments.cuh.
namespace pack_fragments_dgrad_tf32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> mma.sync A fragments in the order dense_fprop_sm80.cuh consumes them:
//   [group][16 channels out][stage of LC_STAGE_CHUNKS chunks in][tap][k-step][plane][lane][4 words]
// One block for each 16 channels out; missing channels become zeros. Formats as in dense_fprop_sm80.cuh's LC_ELEMENT: 0
// TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes (tile/split_f16.cuh), scaled by a power of two per output channel so that
// max|w| lies in [2^13, 2^14), and `inverse`[group][out/group].
// flags[group][16 channels out]: not 0 where some weight is Inf or NaN or (format 4) cannot be split exactly enough: scaled,
// it is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 0, kKernel = 3, kInChannels = 128, kOutChannels = 64;
constexpr bool kSplit = kFormat == 4;
using Element = float;
constexpr int kWord = kFormat == 0 ? 1 : 2, kStepChannels = 8 * kWord;  // channels of a word, of a k-step
constexpr int kStageSteps = 4 / 2, kBlocks = ceil_div(kInChannels, kStageSteps * kStepChannels);
constexpr int kPaddedRows = 64;  // of a group, a multiple of 16
constexpr int kThreads = 512, kFragmentBytes = kSplit ? 1024 : 512;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_fragments(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / (kPaddedRows / 16), block16 = blockIdx.x % (kPaddedRows / 16);
  auto at = [&](int out, int64_t channel, int64_t tap) -> Element {
    if (out < kOutChannels && channel < kInChannels)
      return p.w[group * (1 ? kInChannels * p.w_in : kOutChannels * p.w_out) + out * p.w_out + channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ float scales[16];
  bool flagged = false;
  if constexpr (kSplit) {
    for (int row = threadIdx.x / 32; row < 16; row += kThreads / 32) {
      const int out = block16 * 16 + row;
      Extremes extremes;
#pragma unroll 8  // loads ahead of their use
      for (int64_t i = threadIdx.x % 32; i < static_cast<int64_t>(kInChannels) * kKernel; i += 32)
        extremes.add(to_float(at(out, i / kKernel, i % kKernel)));
      extremes.reduce_warp();
      const ChannelScale channel(extremes);
      if (threadIdx.x % 32 == 0) {
        scales[row] = channel.scale;
        if (out < kOutChannels) p.inverse[static_cast<int64_t>(group) * kOutChannels + out] = channel.inverse;
        flagged = flagged || !channel.representable;
      }
    }
    __syncthreads();
  }

  const int64_t fragments = static_cast<int64_t>(kBlocks) * kKernel * kStageSteps;  // of 16 channels
  for (int64_t i = threadIdx.x; i < fragments * 32; i += kThreads) {
    const int64_t fragment = i / 32, step = fragment % kStageSteps, tap = fragment / kStageSteps % kKernel;
    const int64_t block = fragment / kStageSteps / kKernel;
    const int g = static_cast<int>(i % 32) / 4, c = static_cast<int>(i % 32) % 4;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = g + 8 * (r & 1), out = block16 * 16 + row;
      const int64_t channel = (block * kStageSteps + step) * kStepChannels + (c + 4 * (r >> 1)) * kWord;
      Element v[kWord];
#pragma unroll
      for (int j = 0; j < kWord; ++j) {
        v[j] = at(out, channel + j, tap);
        if (!kSplit) flagged = flagged || !(fabsf(to_float(v[j])) < __uint_as_float(0x7f800000u));
      }
      if constexpr (kSplit) split2_f16(to_float(v[0]) * scales[row], to_float(v[kWord - 1]) * scales[row], hi[r], lo[r]);
      else if constexpr (kFormat == 0) hi[r] = round_tf32(bits_of(v[0]));
      else hi[r] = bits_of(v[0]) | bits_of(v[kWord - 1]) << 16;
    }
    uint8_t* out = p.packed + ((block16 + static_cast<int64_t>(group) * (kPaddedRows / 16)) * fragments + fragment) * kFragmentBytes + (i % 32) * 16;
    *reinterpret_cast<uint4*>(out) = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    if constexpr (kSplit) *reinterpret_cast<uint4*>(out + 512) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  flagged = __syncthreads_or(flagged ? 1 : 0) != 0;
  constexpr int kRealBlocks = ceil_div(kOutChannels, 16);
  if (threadIdx.x == 0 && block16 < kRealBlocks) p.flags[static_cast<int64_t>(group) * kRealBlocks + block16] = flagged ? 1 : 0;
#endif
}

}  // namespace pack_fragments_dgrad_tf32

// ==== The work of dense_dgrad_sm80, tf32. From kernels/conv/dense_fprop_sm80.cuh.
namespace dense_dgrad_sm80_tf32 {

// Dense forward convolution for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two f16 planes.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have sums of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).
//
// Pack once, as on Hopper: the block transposes a stage of raw NCW rows (kStageChunks chunks of channels, one tap group)
// into shared memory as [plane of the split][chunk][residue plane][row] x 16 B, so that a tap is a row offset and
// ldmatrix yields B fragments; 8 rows of 16 bytes are 128 contiguous bytes: no bank conflicts at any offset.
//
//   kWarps warps: kWarpsOut x kWarpsTime, a warp computes 16*kRowBlocks channels x 16*kSlices steps of each phase (one phase: 32 x
//   64). Small blocks, several of them on a multiprocessor: one packs or stores while the others multiply.
//
// The stages of all of a block's tiles form one sequence, each round of which
//   issues the loads of the next stage into registers (stage_registers.cuh),
//   multiplies this one: intervals of kInterval k-steps (a k-step is a tap of two chunks) whose weights wait in registers,
//     16 bytes a lane in fragment order (pack_fragments.cuh); each is replaced by its successor in the next interval
//     after its last use, so that L2's latency sweeps during the other k-steps,
//   stores y if this was the tile's last stage, packs the next one; one barrier (two with a single buffer).
//
// fp32 (LC_ELEMENT 4): v * 2^e = hi + lo * 2^-11 (split_f16.cuh), e per stage for x, per channel for w;
//   w x = w_hi x_hi + 2^-11 (w_hi x_lo + w_lo x_hi). Tensor cores truncate when they accumulate: every interval (at most
//   3 k-steps of 16 channels) starts from zero in `part` (hi*hi) and `cross`, and is added to f32 sums, scaled back.
//   A slice of 16 steps at a time, so that both are few registers. The stage's extremes are found in the registers that
//   hold it; a barrier more lets every warp see them. Tiles that f16 cannot carry set their bit in `redo`, for
//   direct_fprop.cuh. Error: docs/design/numerics.md.
// Limits: output time stride 1. Bytes: x once per 32*kWarpsOut output channels, weights from L1 or L2.

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes
constexpr int kOutChannels = 64, kKernel = 3;
constexpr Activation kActivation = static_cast<Activation>(0);
using MmaType = tf32;

// --- configuration
constexpr int kInterval = 2, kBuffers = 2, kRowBlocks = 2, kSlices = 4;

struct C : TapRows<1, 0, 1, 1, 3, kKernel> {
  using Element = float;
  static constexpr bool kSplit = 0 == 4, kResident = false;
  static constexpr int kInChannels = 128, kCluster = 1;
  static constexpr Pad kPad = static_cast<Pad>(1);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr int kWarps = 4, kWarpsOut = 2, kWarpsTime = kWarps / kWarpsOut;
  static constexpr int kStageChunks = 4, kPrefetch = 5;
  static constexpr int kBytes = sizeof(Element), kChunk = 0 == 0 ? 4 : 8, kStageChannels = kStageChunks * kChunk;
  static constexpr int kWarpRows = 16 * kRowBlocks, kOutTile = kWarpRows * kWarpsOut, kSweeps = ceil_div(kOutChannels, kOutTile);
  static constexpr int kWarpSteps = 16 * kSlices, kSteps = kWarpSteps * kWarpsTime;  // of a phase
  static constexpr int kWarpColumns = kWarpSteps * kPhases, kStep = kSteps * kPhases;
  static constexpr int64_t kInputStep = static_cast<int64_t>(kSteps) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSteps + kTapRows, kStride);
  static constexpr int kRawNeeded = kPhases > 1 ? kSteps + kTapRows : (kSteps - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSplitBytes = kStageChunks * kChunkRows * 16;
  static constexpr int kStageBytes = kSplitBytes * (kSplit ? 2 : 1);
  static constexpr int kSharedExtremes = kBuffers * kStageBytes;
  static constexpr int kRowWords = kWarpColumns * kBytes / 4, kStagingPitch = kRowWords + 2 * kBytes;  // 64 columns of one phase: no bank conflicts
  static constexpr int kSharedStaging = kSharedExtremes + (kSplit ? kWarps * 8 : 0), kStagingBytes = 8 * kStagingPitch * 4;
  static constexpr int kSharedBytes = kSharedStaging + kWarps * kStagingBytes;
  static constexpr int kChannelBlocks = ceil_div(kInChannels, kStageChannels), kTapGroups = ceil_div(kKernel, kTaps);
  static constexpr bool kWholeStages = kInChannels % kStageChannels == 0;
  static constexpr int kItemStages = kChannelBlocks * kTapGroups, kLastTaps = kKernel - (kTapGroups - 1) * kTaps;

  static constexpr int kTapSteps = kStageChunks / 2;             // k-steps of a tap in a stage
  static constexpr int kFragmentBytes = 512 * (kSplit ? 2 : 1);  // of 16 output channels and one k-step
  static constexpr int64_t kBlockBytes = static_cast<int64_t>(kChannelBlocks) * kKernel * kTapSteps * kFragmentBytes;  // of 16 output channels
};
static_assert(C::kStageChunks % 2 == 0, "a k-step is two chunks");
static_assert(!C::kSplit || (kInterval <= 3 && kBuffers == 1), "the promised interval; stages are packed behind a barrier");
constexpr int kThreads = 32 * C::kWarps;
using Element = C::Element;
using Stage = StageRegisters<C>;

static_assert(C::kSharedBytes == 26624, "the launcher reckons as this file does");

struct Params : FpropParams<Element> {
  const float* weight_inverse;  // LC_ELEMENT 4: 1 / scale of each output channel, a power of two
  uint32_t* redo;               // likewise: one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
};

// Where a block stands in its sequence of stages. Items from the last to the first: below 0 there are no more, which
// takes no register to know.
struct Position {
  int index, stage;  // item of the schedule, stage of the item
  Item item;
  LC_DEVICE explicit Position(const Schedule<C>& schedule)
      : index(schedule.begin + (schedule.end - 1 - schedule.begin) / schedule.step * schedule.step), stage(0), item(schedule.item(index)) {}
  LC_DEVICE bool valid() const { return index >= 0; }
  LC_DEVICE void advance(const Schedule<C>& schedule) {
    if (++stage == C::kItemStages) {
      stage = 0;
      index -= schedule.step;
      if (valid()) item = schedule.item(index);
    }
  }
  LC_DEVICE ChunkWindow<Element> window(const Params& p, int warp) const {
    const int block = stage / C::kTapGroups;
    const int channel = block * C::kStageChannels + warp % C::kStageChunks * C::kChunk;
    return {p.x + item.batch * p.x_batch + (item.group * static_cast<int64_t>(C::kInChannels) + channel) * p.x_channel,
            item.tile * C::kInputStep - p.pad_left + stage % C::kTapGroups * C::kGroupStep,
            C::kInChannels - channel};
  }
  // This lane's part of the first fragment that the item consumes.
  LC_DEVICE const uint8_t* weights(const Params& p, int warp, int lane) const {
    const int block16 = item.group * (C::kSweeps * C::kOutTile / 16) + (item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows) / 16;
    return p.weights + block16 * C::kBlockBytes + lane * 16;
  }
};

// The weights of a warp's output channels for one k-step.
struct Fragment {
  uint32_t hi[kRowBlocks][4], lo[C::kSplit ? kRowBlocks : 1][4];
  LC_DEVICE void load(const uint8_t* w) {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
      load_global_v4(hi[m], w + m * C::kBlockBytes);
      if constexpr (C::kSplit) load_global_v4(lo[m], w + m * C::kBlockBytes + 512);
    }
  }
};

template <class Type> LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Type type) {
  mma_m16n8k16(d, a, b, type);
}
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32 type) { mma_m16n8k8(d, a, b, type); }
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  multiply(d, a, b, MmaType{});
}

// A warp's sums: [16 channels][phase and 8 of its steps].
using Sums = float[kRowBlocks][C::kPhases * 2 * kSlices][4];

// kCount k-steps from the stage's k-step `first` on, with a[0] .. a[kCount - 1]; leaves the next interval's weights in a.
// rows: shared address of this lane's row for tap 0 of the stage. inverse: 1 / scale of the stage. kPlace: a k-step whose taps have
// the phases of those from `first` on.
template <int kCount, int kPlace>
LC_DEVICE void multiply_interval(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* next) {
  uint32_t at[kCount];
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
    const int tap = (first + q) / C::kTapSteps, s = (first + q) % C::kTapSteps;
    at[q] = rows + (C::tap_row(tap, C::kPlaneRows) + s * 2 * C::kChunkRows) * 16;
  }
  // The order of (slice n of 16 steps, k-step q): with the split a slice's k-steps together, else a k-step's slices.
  constexpr int kRounds = kSlices * kCount, kTiles = 2 * kRowBlocks;  // tiles of 16 channels x 8 steps
  float part[kRowBlocks][2][4], cross[kRowBlocks][2][4];
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int n = C::kSplit ? i / kCount : i % kSlices, q = C::kSplit ? i % kCount : i / kSlices;
    const int column = (C::phase((kPlace + q) / C::kTapSteps) * kSlices + n) * 2;
    const bool begins = q == 0 || C::kPhases > 1, ends = q == kCount - 1 || C::kPhases > 1;  // of part and cross: sums of one phase
    uint32_t x[C::kSplit ? 2 : 1][4];
    load_matrix_x4(x[0], at[q] + n * 256);
    if constexpr (C::kSplit) load_matrix_x4(x[1], at[q] + n * 256 + C::kSplitBytes);
    if constexpr (C::kSplit) {
      if (begins) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) part[j >> 3][j >> 2 & 1][j & 3] = cross[j >> 3][j >> 2 & 1][j & 3] = 0.f;
      }
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].hi[j >> 1], x[1][2 * (j & 1)], x[1][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(part[j >> 1][j & 1], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].lo[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
      if (ends) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) {
          const int m = j >> 3, h = j >> 2 & 1, e = j & 3;
          float& total = sum[m][column + h][e];
          total = fmaf(cross[m][h][e], inverse * (1.f / 2048.f), total);
          total = fmaf(part[m][h][e], inverse, total);
        }
        if (i < kRounds - 1) schedule_border(inverse == 0.f);  // or slices overlap until registers spill
      }
    } else {
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(sum[j >> 1][column + (j & 1)], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
    }
    if (n == kSlices - 1) a[q].load(next + q * C::kFragmentBytes);
  }
#pragma unroll
  for (int q = kCount; q < kInterval; ++q) a[q].load(next + q * C::kFragmentBytes);
}

// Intervals kIndex to kEnd - 1 from the stage's k-step `first` on, at which a cycle of phases begins. w: their weights; after: those
// that follow.
template <int kIndex, int kEnd>
LC_DEVICE void multiply_intervals(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* w, const uint8_t* after) {
  if constexpr (kIndex < kEnd) {
    const uint8_t* next = kIndex == kEnd - 1 ? after : w + (kIndex + 1) * kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, kIndex * kInterval>(sum, a, rows, first + kIndex * kInterval, inverse, next);
    multiply_intervals<kIndex + 1, kEnd>(sum, a, rows, first, inverse, w, after);
  }
}

// All k-steps of a stage of kTaps taps. w: this stage's weights (in a already); after: the next one's.
template <int kTaps>
LC_DEVICE void multiply_stage(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, float inverse, const uint8_t* w, const uint8_t* after) {
  constexpr int kSteps = kTaps * C::kTapSteps, kWhole = kSteps / kInterval, kRest = kSteps % kInterval;
  if constexpr (C::kPhases > 1) {  // a sum's phase must be a constant: whole cycles of phases are unrolled
    constexpr int kCycleSteps = C::kPeriod * C::kTapSteps, kCycle = kCycleSteps / gcd_of(kCycleSteps, kInterval);  // in intervals
    constexpr int kLast = kWhole / kCycle * kCycle;
#pragma unroll 1
    for (int i = 0; i < kLast; i += kCycle) {
      const uint8_t* next = w + kCycle * kInterval * C::kFragmentBytes;
      multiply_intervals<0, kCycle>(sum, a, rows, i * kInterval, inverse, w, kWhole == kLast && kRest == 0 && i == kLast - kCycle ? after : next);
      w = next;
    }
    const uint8_t* rest = w + (kWhole - kLast) * kInterval * C::kFragmentBytes;
    multiply_intervals<0, kWhole - kLast>(sum, a, rows, kLast * kInterval, inverse, w, kRest == 0 ? after : rest);
    if constexpr (kRest > 0) multiply_interval<kRest, (kWhole - kLast) * kInterval>(sum, a, rows, kWhole * kInterval, inverse, after);
    return;
  }
  constexpr int kUnroll = !C::kSplit && kWhole <= 2 ? 2 : 1;
  int whole = kWhole;
  if (C::kSplit && kRest > 0) forget_origin(whole);
#pragma unroll kUnroll
  for (int i = 0; i < whole; ++i) {
    w += kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, 0>(sum, a, rows, i * kInterval, inverse, kRest == 0 && i == kWhole - 1 ? after : w);
  }
  if constexpr (kRest > 0) multiply_interval<kRest, 0>(sum, a, rows, kWhole * kInterval, inverse, after);
}

// Packs `stage`, of which piece 0 is in registers, for everyone; returns 1 / its scale.
LC_DEVICE float pack_stage(const Params& p, const Schedule<C>& schedule, Stage& stage, const Position& at, uint32_t shared, uint32_t buffer, int warp, int lane) {
  const ChunkWindow<Element> window = at.window(p, warp);
  stage.finish(p);
  float scale = 1.f, inverse = 1.f;
  if constexpr (C::kSplit) {
    Extremes extremes;
    stage.add_to(extremes);
#pragma unroll 1
    for (int piece = 1; piece < Stage::kPieces; ++piece) {
      Stage more;
      more.load(p, window, piece, warp, lane);
      more.finish(p);
      more.add_to(extremes);
    }
    extremes.reduce_warp();
    if (lane == 0) store_shared_v2(shared + C::kSharedExtremes + warp * 8, extremes.largest, __uint_as_float(extremes.smallest));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < C::kWarps; ++i) {
      Extremes other;
      other.largest = load_shared_f32(shared + C::kSharedExtremes + i * 8);
      other.smallest = load_shared_u32(shared + C::kSharedExtremes + i * 8 + 4);
      extremes.merge(other);
    }
    const SlotScale slot(extremes, least_exponent(C::kInChannels * static_cast<int64_t>(kKernel / C::kPeriod)));
    scale = slot.scale;
    inverse = slot.inverse;
    if (!slot.representable && threadIdx.x == 0) {
      const uint32_t tile = static_cast<uint32_t>(at.item.batch * p.groups + at.item.group) * schedule.tiles_per_row + at.item.tile;
      atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
    }
  } else if (kBuffers == 1) {
    __syncthreads();
  }
  const uint32_t chunk = buffer + warp % C::kStageChunks * C::kChunkRows * 16;
  stage.pack(chunk, scale, 0, warp, lane);
#pragma unroll 1
  for (int piece = 1; piece < Stage::kPieces; ++piece) {
    stage.load(p, window, piece, warp, lane);
    stage.finish(p);
    stage.pack(chunk, scale, piece, warp, lane);
  }
  __syncthreads();
  return inverse;
}

LC_DEVICE void stage_pair(uint32_t at, float a, float b, float) { store_shared_v2(at, a, b); }
template <class E> LC_DEVICE void stage_pair(uint32_t at, float a, float b, E) { store_shared_u32(at, pack2<E>(a, b)); }

// Scale, bias, residual, activation, y. Fragments hold 2 columns of 8 rows; through `staging`, the warp's own piece of shared
// memory, they become whole rows: a store then writes 128 bytes of one row wherever it begins, and few sectors in halves.
LC_DEVICE void store_tile(const Params& p, const Item& item, const Sums& sum, uint32_t staging, int warp, int lane) {
  constexpr int kPhases = C::kPhases;
  const int g = lane >> 2, c = lane & 3;
  const int64_t t_warp = static_cast<int64_t>(item.tile) * C::kStep + warp % C::kWarpsTime * C::kWarpColumns;
  const int columns = static_cast<int>(max(static_cast<int64_t>(0), min(p.out_length - t_warp, static_cast<int64_t>(C::kWarpColumns))));
#pragma unroll
  for (int m = 0; m < kRowBlocks; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int out0 = item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows + m * 16 + h * 8;
      const int64_t channel0 = item.group * static_cast<int64_t>(kOutChannels) + out0;
      const bool exists = out0 + g < kOutChannels;
      const float bias = 0 && exists ? to_float(p.bias[channel0 + g]) : 0.f;
      const float inverse = C::kSplit && exists ? p.weight_inverse[channel0 + g] : 1.f;
      const Element* residual =
          0 ? p.residual + item.batch * p.residual_batch + (channel0 + g) * p.residual_channel + t_warp + 2 * c * kPhases : nullptr;
      const int here = exists ? columns - 2 * c * kPhases : 0;  // columns from this lane's first one on
      __syncwarp();
#pragma unroll
      for (int pair = 0; pair < 2 * kSlices * kPhases; ++pair) {  // a lane's 2 steps of all phases are 2 * kPhases neighbours
        const int n = pair / kPhases, e = pair % kPhases * 2;
        float v[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          v[i] = fmaf(sum[m][(e + i) % kPhases * (2 * kSlices) + n][2 * h + (e + i) / kPhases], inverse, bias);
          if (0 && n * 8 * kPhases + e + i < here) v[i] += to_float(residual[n * 8 * kPhases + e + i]);
          v[i] = activate<kActivation>(v[i], p.negative_slope);
        }
        const uint32_t at = staging + (g * C::kStagingPitch + ((n * 8 + 2 * c) * kPhases + e) * C::kBytes / 4) * 4;
        stage_pair(at, v[0], v[1], Element{});
      }
      __syncwarp();
      Element* row = p.y + item.batch * p.y_batch + channel0 * p.y_channel + t_warp;
      constexpr int kLaneWords = ceil_div(C::kRowWords, 32), kWordColumns = 4 / C::kBytes;
      constexpr bool kWholeRows = C::kRowWords % 32 == 0;
      const bool words = ((reinterpret_cast<uint64_t>(row) | p.y_channel * C::kBytes) & 3) == 0;  // rows begin on words
      uint32_t word[8 * kLaneWords];
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int place = i % kLaneWords * 32 + lane;
        word[i] = load_shared_u32(staging + (i / kLaneWords * C::kStagingPitch + (kWholeRows ? place : min(place, C::kRowWords - 1))) * 4);
      }
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int r = i / kLaneWords, column = (i % kLaneWords * 32 + lane) * kWordColumns;
        store_word(row + r * p.y_channel + column, word[i], out0 + r < kOutChannels ? columns - column : 0, words);
      }
    }
}

__global__ void __launch_bounds__(kThreads, 3) longconv_dense_fprop_sm80(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = threadIdx.x >> 5;
  int lane = threadIdx.x & 31;
  const Schedule<C> schedule(p);
  if (schedule.begin >= schedule.end) return;
  Position next(schedule);
  Stage stage;
  stage.load(p, next.window(p, warp), 0, warp, lane);
  wait_for_previous_kernel();  // which packs the weights and clears `redo`
  const uint8_t* w = next.weights(p, warp, lane);
  Fragment a[kInterval];
#pragma unroll
  for (int q = 0; q < kInterval; ++q) a[q].load(w + q * C::kFragmentBytes);
  uint32_t buffer = shared;
  Sums sum = {};
#pragma unroll 1
  while (true) {
    forget_origin(lane);  // rows and offsets of packing are a few instructions: not worth registers across the products
    const float inverse = pack_stage(p, schedule, stage, next, shared, buffer, warp, lane);
    const bool last_taps = C::kTapGroups == 1 || next.stage % C::kTapGroups == C::kTapGroups - 1;
    next.advance(schedule);
    if (next.valid()) stage.load(p, next.window(p, warp), 0, warp, lane);
    else allow_next_kernel();  // only the last stage is left
    const uint8_t* after = w + (last_taps ? C::kLastTaps : C::kTaps) * C::kTapSteps * C::kFragmentBytes;
    if (next.stage == 0) after = next.weights(p, warp, lane);
    // ldmatrix blocks (rows 0-7, chunk 0), (0-7, 1), (8-15, 0), (8-15, 1): the row that this lane names.
    const uint32_t rows = buffer + ((lane >> 3 & 1) * C::kChunkRows + warp % C::kWarpsTime * C::kWarpSteps + (lane >> 4) * 8 + (lane & 7)) * 16;
    if (C::kLastTaps == C::kTaps || !last_taps) multiply_stage<C::kTaps>(sum, a, rows, inverse, w, after);
    else multiply_stage<C::kLastTaps>(sum, a, rows, inverse, w, after);
    w = after;
    if (next.stage == 0) {
      int w_here = warp;
      forget_origin(w_here);  // likewise
      forget_origin(lane);
      store_tile(p, schedule.item(next.index + schedule.step), sum, shared + C::kSharedStaging + w_here * C::kStagingBytes, w_here, lane);
      if (!next.valid()) break;
#pragma unroll
      for (int j = 0; j < static_cast<int>(sizeof(sum) / 4); ++j) (&sum[0][0][0])[j] = 0.f;
    }
    if (kBuffers == 2) buffer = buffer == shared ? shared + C::kStageBytes : shared;
  }
#endif
}

}  // namespace dense_dgrad_sm80_tf32

// ==== The work of dense_wgrad_sm80, tf32. From kernels/conv/dense_wgrad_sm80.cuh.
namespace dense_wgrad_sm80_tf32 {

// Dense weight gradient for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two f16 planes.
//
//   dw[o, i, k] = sum_{n,t} dy[n, o, t] * x[n, i, t*stride + k*dilation - pad_left]        db[o] = sum_{n,t} dy[n, o, t]
//
// A matrix product whose reduction is time. A = dy, [out channel][time] as it lies in memory; B = x, packed once for each
// stage into rows of 16 bytes of channels per time step, by residue of the stride (wgrad_stage.cuh): a tap is a row
// offset, and ldmatrix.trans yields B fragments at any offset (TF32: plain loads).
//
//   block tile: kOutTile out channels x kInTile channels x kTaps taps; warps: kWarpsOut x kWarpsIn
//   warp tile:  16*kWarpM out channels x (16*kWarpI channels x kTaps taps) = kSlices slices of 16 channels of a tap
//
// LC_FLAT, for few channels: (channel, tap) pairs take the place of channels, and there is one tap; x is packed once a pair.
//
// Work items are (split, group, tile): a split is a fixed range of stages (WgradRanges, one stage a chunk), whose partial
// sums are written to the workspace and added by reduce_wgrad.cuh. A round of the loop packs the stage that waits in
// registers, issuing the loads of the next one unit by unit, then multiplies.
//
// Sums: tensor cores truncate when they accumulate, so every kInterval k-steps begin from zero in `part` and are added to f32
// registers; after kRunStages stages these are added to what the workspace holds. Error: docs/design/numerics.md.
// fp32 (LC_ELEMENT 4): v * 2^e = hi + lo * 2^-11 (split_f16.cuh), e per stage and operand; dy x = hi hi + 2^-11 (hi lo + lo hi).
// A stage that f16 cannot carry is multiplied in f32 as it is. The others set flags[split] where zeros that stand for padding
// or for steps behind the signal's end meet a stage with an Inf or NaN. db is summed from the registers, unrounded.
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes; channels are per group
constexpr int kOutChannels = 128;
constexpr int kColumns = 0 ? 64 * 3 : 64, kTapColumns = 0 ? 1 : 3;
using MmaType = tf32;

struct C : Polyphase<1, 1, 3> {
  using Element = float;
  static constexpr bool kSplit = 0 == 4, kTf32 = 0 == 0, kFlat = 0;
  static constexpr bool kUnitTime = 1;
  static constexpr int kKernel = 3;
  static constexpr Pad kPad = static_cast<Pad>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr int kWarpM = 4, kWarpI = 1, kWarpsOut = 2, kWarpsIn = 2;
  static constexpr int kThreads = 32 * kWarpsOut * kWarpsIn, kStep = 32, kBuffers = kSplit ? 1 : 2;
  static constexpr int kOutTile = 16 * kWarpM * kWarpsOut, kInTile = 16 * kWarpI * kWarpsIn, kSlices = kWarpI * kTaps;
  static constexpr bool kWholeOut = kOutChannels % kOutTile == 0, kWholeIn = kColumns % kInTile == 0;
  static constexpr int kChunk = kTf32 ? 4 : 8, kChunks = kInTile / kChunk;
  static constexpr int kPlaneRows = plane_rows(kStep + (kTaps - 1) * kDilation / kStride, kStride);
  static constexpr int kRawNeeded = (kStep - 1) * kStride + (kTaps - 1) * kDilation + 1;
  // TF32: plain loads read four rows of two chunks at once.
  static constexpr int kChunkRows = kTf32 ? (kPlanes * kPlaneRows + 3) / 8 * 8 + 4 : kPlanes * kPlaneRows;
  static constexpr int kXPlaneBytes = kChunks * kChunkRows * 16, kDyPitch = kStep * (kTf32 ? 4 : 2) + 16;
  static constexpr int kDyPlaneBytes = kOutTile * kDyPitch;
  static constexpr int kXBytes = kXPlaneBytes * (kSplit ? 2 : 1), kStageBytes = kXBytes + kDyPlaneBytes * (kSplit ? 2 : 1);
  static constexpr int kSharedBytes = kBuffers * kStageBytes + (kSplit ? kThreads / 32 * 16 : 0);
  static constexpr int kKStep = kTf32 ? 8 : 16, kInterval = 2, kIntervals = kStep / (kKStep * kInterval);
  static constexpr int kSweepM = kSplit && kWarpM > 2 ? 2 : kWarpM;  // fragments of dy at a time
};
static_assert(C::kStep % (C::kKStep * C::kInterval) == 0 && C::kWarpM % C::kSweepM == 0, "whole intervals and sweeps");
static_assert(C::kSharedBytes == 48128, "the launcher reckons as this file does");
using Element = C::Element;
using Stage = WgradStage<C>;
constexpr int kThreads = C::kThreads, kRunStages = 220;
constexpr int kInTiles = ceil_div(kColumns, C::kInTile), kOutTiles = ceil_div(kOutChannels, C::kOutTile), kTapGroups = ceil_div(kTapColumns, C::kTaps);
using Sums = float[C::kWarpM][C::kSlices][2][4];

struct Params {
  const Element* x;
  const Element* dy;
  WgradPartials<float> partials;
  int64_t x_batch, x_channel, x_time, dy_batch, dy_channel, dy_time;  // strides in elements
  int64_t length, out_length, pad_left;
  WgradRanges ranges;
  int groups;
};

struct Tile {
  int split, group, out0, in0, tap0;
};

// A stage of the sequence: chunk `index` of its signal.
struct Position {
  int signal, index;
  LC_DEVICE void advance(const WgradRanges& ranges) {
    if (++index == static_cast<int>(ranges.chunks_per_signal)) index = 0, ++signal;
  }
  LC_DEVICE WgradWindow<Element> window(const Params& p, const Tile& tile) const {
    const int64_t t0 = static_cast<int64_t>(index) * C::kStep;
    const int64_t first = t0 * C::kStride + static_cast<int64_t>(tile.tap0) * C::kDilation - p.pad_left, limit = 1 << 30;
    const int begin = static_cast<int>(max(static_cast<int64_t>(0), min(-first, limit)));
    return {p.x + signal * p.x_batch + (tile.group * static_cast<int64_t>(64) + (C::kFlat ? 0 : tile.in0)) * p.x_channel,
            p.dy + signal * p.dy_batch + (tile.group * static_cast<int64_t>(kOutChannels) + tile.out0) * p.dy_channel,
            first,
            t0,
            static_cast<int>(min(p.out_length - t0, static_cast<int64_t>(C::kStep))),
            kColumns - tile.in0,
            kOutChannels - tile.out0,
            tile.in0,
            begin,
            static_cast<int>(max(static_cast<int64_t>(0), min(p.length - first, limit) - begin))};
  }
};

// Zeros stand for something that does not exist.
LC_DEVICE bool is_ragged(const Params& p, const WgradWindow<Element>& w) {
  constexpr int64_t kNeeded = C::kRawNeeded + (C::kFlat ? static_cast<int64_t>(C::kKernel - 1) * C::kDilation : 0);
  return w.steps < C::kStep || (C::kPad == Pad::zeros && (w.first < 0 || w.first + kNeeded > p.length));
}

template <class Type> LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Type type) {
  mma_m16n8k16(d, a, b, type);
}
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32 type) { mma_m16n8k8(d, a, b, type); }
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  multiply(d, a, b, MmaType{});
}

// Two B fragments (16 channels) of a k-step. rows: shared address of the slice's first chunk at the k-step's first row.
LC_DEVICE void load_x(uint32_t (&b)[4], uint32_t rows, int lane) {
  if constexpr (C::kTf32) {
    const uint32_t at = rows + ((lane >> 4) * C::kChunkRows + (lane & 3)) * 16 + (lane >> 2 & 3) * 4;
    b[0] = load_shared_u32(at), b[1] = load_shared_u32(at + 64);
    b[2] = load_shared_u32(at + C::kChunkRows * 32), b[3] = load_shared_u32(at + C::kChunkRows * 32 + 64);
  } else {
    load_matrix_x4_transposed(b, rows + ((lane >> 4) * C::kChunkRows + (lane & 15)) * 16);
  }
}

// x, dy: shared addresses of the stage's operands. inverse: 1 / scale of the products.
LC_DEVICE void multiply_stage(Sums& sum, uint32_t x, uint32_t dy, float inverse, int warp, int lane) {
  constexpr int kPlanes = C::kSplit ? 2 : 1;
  x += warp % C::kWarpsIn * C::kWarpI * (16 / C::kChunk) * C::kChunkRows * 16;
  dy += (warp / C::kWarpsIn * C::kWarpM * 16 + (lane & 15)) * C::kDyPitch + (lane >> 4) * 16;
#pragma unroll
  for (int m0 = 0; m0 < C::kWarpM; m0 += C::kSweepM)
#pragma unroll
    for (int interval = 0; interval < C::kIntervals; ++interval) {
      uint32_t a[C::kInterval][C::kSweepM][kPlanes][4];
#pragma unroll
      for (int q = 0; q < C::kInterval; ++q)
#pragma unroll
        for (int m = 0; m < C::kSweepM; ++m)
#pragma unroll
          for (int plane = 0; plane < kPlanes; ++plane)
            load_matrix_x4(a[q][m][plane], dy + (m0 + m) * 16 * C::kDyPitch + (interval * C::kInterval + q) * 32 + plane * C::kDyPlaneBytes);
#pragma unroll
      for (int slice = 0; slice < C::kSlices; ++slice) {
        const int tap = slice % C::kTaps, block = slice / C::kTaps;
        const uint32_t rows = x + (block * (16 / C::kChunk) * C::kChunkRows + C::tap_row(tap, C::kPlaneRows) + interval * C::kInterval * C::kKStep) * 16;
        float part[C::kSweepM][2][4] = {}, cross[C::kSplit ? C::kSweepM : 1][2][4] = {};
#pragma unroll
        for (int q = 0; q < C::kInterval; ++q) {
          uint32_t b[kPlanes][4];
#pragma unroll
          for (int plane = 0; plane < kPlanes; ++plane) load_x(b[plane], rows + q * C::kKStep * 16 + plane * C::kXPlaneBytes, lane);
          if constexpr (C::kSplit) {
#pragma unroll
            for (int j = 0; j < 2 * C::kSweepM; ++j) multiply(cross[j >> 1][j & 1], a[q][j >> 1][0], b[1][2 * (j & 1)], b[1][2 * (j & 1) + 1]);
          }
#pragma unroll
          for (int j = 0; j < 2 * C::kSweepM; ++j) multiply(part[j >> 1][j & 1], a[q][j >> 1][0], b[0][2 * (j & 1)], b[0][2 * (j & 1) + 1]);
          if constexpr (C::kSplit) {
#pragma unroll
            for (int j = 0; j < 2 * C::kSweepM; ++j) multiply(cross[j >> 1][j & 1], a[q][j >> 1][1], b[0][2 * (j & 1)], b[0][2 * (j & 1) + 1]);
          }
        }
#pragma unroll
        for (int j = 0; j < 8 * C::kSweepM; ++j) {
          const int m = j >> 3, h = j >> 2 & 1, e = j & 3;
          float& total = sum[m0 + m][slice][h][e];
          if constexpr (C::kSplit) {
            total = fmaf(cross[m][h][e], inverse * (1.f / 2048.f), total);
            total = fmaf(part[m][h][e], inverse, total);
          } else {
            total += part[m][h][e];
          }
        }
        if (C::kSplit) schedule_border(inverse == 0.f);  // or slices overlap until registers spill
      }
    }
}

// fp32, a stage that f16 cannot carry, packed as it is: every thread does the products of its sums. Rare.
LC_DEVICE void multiply_exactly(Sums& sum, const Params& p, const WgradWindow<Element>& from, uint32_t x, uint32_t dy, int warp, int lane) {
  const int row = warp / C::kWarpsIn * C::kWarpM * 16 + (lane >> 2), column = warp % C::kWarpsIn * C::kWarpI * 16 + 2 * (lane & 3);
#pragma unroll
  for (int slice = 0; slice < C::kSlices; ++slice) {
    const int tap = slice % C::kTaps, block = slice / C::kTaps;
    float part[C::kWarpM][2][4] = {};
#pragma unroll 1
    for (int t = 0; t < from.steps; ++t) {
      float a[C::kWarpM][2];
#pragma unroll
      for (int j = 0; j < 2 * C::kWarpM; ++j)
        a[j >> 1][j & 1] = load_shared_f32(dy + (row + j * 8) * C::kDyPitch + (t >> 1) * 4 + (t & 1) * C::kDyPlaneBytes);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int channel = column + block * 16 + (j >> 1) * 8 + (j & 1), k = C::kFlat ? (from.channel0 + channel) % C::kKernel : tap;
        const int64_t position = from.first + static_cast<int64_t>(t) * C::kStride + static_cast<int64_t>(k) * C::kDilation;
        if (C::kPad == Pad::zeros && (position < 0 || position >= p.length)) continue;
        const float b = load_shared_f32(x + (channel / 8 * C::kChunkRows + C::tap_row(tap, C::kPlaneRows) + t) * 16 + (channel & 3) * 4 +
                                        (channel >> 2 & 1) * C::kXPlaneBytes);
#pragma unroll
        for (int m = 0; m < C::kWarpM; ++m) {
          part[m][j >> 1][j & 1] = fmaf(a[m][0], b, part[m][j >> 1][j & 1]);
          part[m][j >> 1][2 + (j & 1)] = fmaf(a[m][1], b, part[m][j >> 1][2 + (j & 1)]);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < 8 * C::kWarpM; ++j) sum[j >> 3][slice][j >> 2 & 1][j & 3] += part[j >> 3][j >> 2 & 1][j & 3];
  }
}

// Adds the registers to the split's partial sums, or begins them.
LC_DEVICE void store_sums(const Params& p, const Tile& tile, Sums& sum, bool begins, int warp, int lane) {
  const int out_warp = tile.out0 + warp / C::kWarpsIn * C::kWarpM * 16 + (lane >> 2);
  const int in_warp = tile.in0 + warp % C::kWarpsIn * C::kWarpI * 16 + 2 * (lane & 3);
  float* weight = p.partials.weight + (static_cast<int64_t>(tile.split) * p.groups + tile.group) * (static_cast<int64_t>(kOutChannels) * kColumns * kTapColumns);
#pragma unroll
  for (int m = 0; m < C::kWarpM; ++m)
#pragma unroll
    for (int slice = 0; slice < C::kSlices; ++slice)
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int h = j >> 2, e = j & 3;
        const int out = out_warp + m * 16 + (e >> 1) * 8, tap = tile.tap0 + slice % C::kTaps;
        const int channel = in_warp + slice / C::kTaps * 16 + h * 8 + (e & 1);
        if (out < kOutChannels && channel < kColumns && tap < kTapColumns) {
          float* at = weight + (static_cast<int64_t>(out) * kColumns + channel) * kTapColumns + tap;
          *at = begins ? sum[m][slice][h][e] : *at + sum[m][slice][h][e];
        }
        sum[m][slice][h][e] = 0.f;
      }
}

LC_DEVICE void compute(const Params& p, const Tile& tile, uint32_t shared, int& buffer, int warp, int lane) {
  constexpr uint32_t kExtremes = C::kBuffers * C::kStageBytes;
  const int64_t begin = p.ranges.begin(tile.split), end = p.ranges.begin(tile.split + 1);
  const bool sums_bias = 0 && tile.in0 == 0 && tile.tap0 == 0;
  Position at{static_cast<int>(begin / p.ranges.chunks_per_signal), static_cast<int>(begin % p.ranges.chunks_per_signal)};
  Sums sum = {};
  float bias[0 ? Stage::kDyUnits : 1] = {};
  Stage stage;
  stage.load(p, at.window(p, tile), warp, lane);
  int run = 0;
  bool begins = true;
#pragma unroll 1
  for (int left = static_cast<int>(end - begin); left > 0; --left) {
    stage.finish(p);
    float x_scale = 1.f, dy_scale = 1.f, inverse = 1.f;
    bool exact = false;
    if constexpr (C::kSplit) {
      Extremes of_x, of_dy;
      stage.add_to(of_x, of_dy);
      of_x.reduce_warp();
      of_dy.reduce_warp();
      if (lane == 0)
        store_shared_v4(shared + kExtremes + warp * 16, __float_as_uint(of_x.largest), of_x.smallest, __float_as_uint(of_dy.largest), of_dy.smallest);
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kThreads / 32; ++i) {
        const uint4 other = load_shared_v4(shared + kExtremes + i * 16);
        of_x.largest = __uint_as_float(max(__float_as_uint(of_x.largest), other.x)), of_x.smallest = min(of_x.smallest, other.y);
        of_dy.largest = __uint_as_float(max(__float_as_uint(of_dy.largest), other.z)), of_dy.smallest = min(of_dy.smallest, other.w);
      }
      const SlotScale x_slot(of_x), dy_slot(of_dy);
      x_scale = x_slot.scale, dy_scale = dy_slot.scale, inverse = x_slot.inverse * dy_slot.inverse;
      // The products' scale must be a normal number too, with room for what a stage adds up.
      exact = !(x_slot.representable && dy_slot.representable && inverse >= 0x1p-100f && inverse <= 0x1p90f);
    } else if (is_ragged(p, at.window(p, tile))) {
      if (!stage.finite()) p.partials.flags[tile.split] = 1;
    }
    if (sums_bias) {
#pragma unroll
      for (int u = 0; u < Stage::kDyUnits; ++u)
        bias[0 ? u : 0] += value_of_bits(stage.dy[u][0], Element{}) + value_of_bits(stage.dy[u][1], Element{});
    }
    const uint32_t x = shared + buffer * C::kStageBytes, dy = x + C::kXBytes;
    const bool more = left > 1;
    if (!more) allow_next_kernel();  // of several tiles the first one says so: all blocks run by then, and keep what they have
    Position next = at;
    next.advance(p.ranges);
    WgradWindow<Element> window = next.window(p, tile);
    if (!more) window.count = window.steps = 0;  // nothing is loaded
#pragma unroll
    for (int u = 0; u < Stage::kXUnits; ++u) {
      stage.pack_x(x, x_scale, exact, u, warp, lane);
      stage.load_x(p, window, u, warp, lane);
    }
#pragma unroll
    for (int u = 0; u < Stage::kDyUnits; ++u) {
      stage.pack_dy(dy, dy_scale, exact, u);
      stage.load_dy(p, window, u);
    }
    __syncthreads();
    if (C::kSplit && exact) multiply_exactly(sum, p, at.window(p, tile), x, dy, warp, lane);
    else multiply_stage(sum, x, dy, inverse, warp, lane);
    at = next;
    if (C::kBuffers > 1) buffer ^= 1;
    if (++run == kRunStages || !more) {
      store_sums(p, tile, sum, begins, warp, lane);
      if (sums_bias) {
#pragma unroll
        for (int u = 0; u < Stage::kDyUnits; ++u) {
          float v = bias[0 ? u : 0];
#pragma unroll
          for (int lanes = 1; lanes < min_of(32, C::kStep / 2); lanes *= 2) v += __shfl_xor_sync(~0u, v, lanes);
          const int row = Stage::dy_row(u);
          if (Stage::dy_step() == 0 && row < C::kOutTile && tile.out0 + row < kOutChannels) {
            float* to = p.partials.bias + (static_cast<int64_t>(tile.split) * p.groups + tile.group) * kOutChannels + tile.out0 + row;
            *to = begins ? v : *to + v;
          }
          bias[0 ? u : 0] = 0.f;
        }
      }
      run = 0;
      begins = false;
    }
  }
}

__global__ void __launch_bounds__(kThreads, 2) longconv_dense_wgrad_sm80(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  int shared = static_cast<int>(shared_address(memory));
  forget_origin(shared);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t items = p.ranges.splits * p.groups * (kOutTiles * kInTiles * kTapGroups);
  int buffer = 0;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    // Tiles that read the same range run side by side.
    int64_t rest = item;
    Tile tile;
    tile.tap0 = static_cast<int>(rest % kTapGroups) * C::kTaps, rest /= kTapGroups;
    tile.in0 = static_cast<int>(rest % kInTiles) * C::kInTile, rest /= kInTiles;
    tile.out0 = static_cast<int>(rest % kOutTiles) * C::kOutTile, rest /= kOutTiles;
    tile.group = static_cast<int>(rest % p.groups), tile.split = static_cast<int>(rest / p.groups);
    compute(p, tile, shared, buffer, warp, lane);
  }
#endif
}

}  // namespace dense_wgrad_sm80_tf32

// ==== Packs the weights for dense_fprop_sm80, fp32. From kernels/conv/pack_fragments.cuh.
namespace pack_fragments_fp32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> mma.sync A fragments in the order dense_fprop_sm80.cuh consumes them:
//   [group][16 channels out][stage of LC_STAGE_CHUNKS chunks in][tap][k-step][plane][lane][4 words]
// One block for each 16 channels out; missing channels become zeros. Formats as in dense_fprop_sm80.cuh's LC_ELEMENT: 0
// TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes (tile/split_f16.cuh), scaled by a power of two per output channel so that
// max|w| lies in [2^13, 2^14), and `inverse`[group][out/group].
// flags[group][16 channels out]: not 0 where some weight is Inf or NaN or (format 4) cannot be split exactly enough: scaled,
// it is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 4, kKernel = 3, kInChannels = 64, kOutChannels = 128;
constexpr bool kSplit = kFormat == 4;
using Element = float;
constexpr int kWord = kFormat == 0 ? 1 : 2, kStepChannels = 8 * kWord;  // channels of a word, of a k-step
constexpr int kStageSteps = 2 / 2, kBlocks = ceil_div(kInChannels, kStageSteps * kStepChannels);
constexpr int kPaddedRows = 128;  // of a group, a multiple of 16
constexpr int kThreads = 512, kFragmentBytes = kSplit ? 1024 : 512;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_fragments(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / (kPaddedRows / 16), block16 = blockIdx.x % (kPaddedRows / 16);
  auto at = [&](int out, int64_t channel, int64_t tap) -> Element {
    if (out < kOutChannels && channel < kInChannels)
      return p.w[group * (0 ? kInChannels * p.w_in : kOutChannels * p.w_out) + out * p.w_out + channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ float scales[16];
  bool flagged = false;
  if constexpr (kSplit) {
    for (int row = threadIdx.x / 32; row < 16; row += kThreads / 32) {
      const int out = block16 * 16 + row;
      Extremes extremes;
#pragma unroll 8  // loads ahead of their use
      for (int64_t i = threadIdx.x % 32; i < static_cast<int64_t>(kInChannels) * kKernel; i += 32)
        extremes.add(to_float(at(out, i / kKernel, i % kKernel)));
      extremes.reduce_warp();
      const ChannelScale channel(extremes);
      if (threadIdx.x % 32 == 0) {
        scales[row] = channel.scale;
        if (out < kOutChannels) p.inverse[static_cast<int64_t>(group) * kOutChannels + out] = channel.inverse;
        flagged = flagged || !channel.representable;
      }
    }
    __syncthreads();
  }

  const int64_t fragments = static_cast<int64_t>(kBlocks) * kKernel * kStageSteps;  // of 16 channels
  for (int64_t i = threadIdx.x; i < fragments * 32; i += kThreads) {
    const int64_t fragment = i / 32, step = fragment % kStageSteps, tap = fragment / kStageSteps % kKernel;
    const int64_t block = fragment / kStageSteps / kKernel;
    const int g = static_cast<int>(i % 32) / 4, c = static_cast<int>(i % 32) % 4;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = g + 8 * (r & 1), out = block16 * 16 + row;
      const int64_t channel = (block * kStageSteps + step) * kStepChannels + (c + 4 * (r >> 1)) * kWord;
      Element v[kWord];
#pragma unroll
      for (int j = 0; j < kWord; ++j) {
        v[j] = at(out, channel + j, tap);
        if (!kSplit) flagged = flagged || !(fabsf(to_float(v[j])) < __uint_as_float(0x7f800000u));
      }
      if constexpr (kSplit) split2_f16(to_float(v[0]) * scales[row], to_float(v[kWord - 1]) * scales[row], hi[r], lo[r]);
      else if constexpr (kFormat == 0) hi[r] = round_tf32(bits_of(v[0]));
      else hi[r] = bits_of(v[0]) | bits_of(v[kWord - 1]) << 16;
    }
    uint8_t* out = p.packed + ((block16 + static_cast<int64_t>(group) * (kPaddedRows / 16)) * fragments + fragment) * kFragmentBytes + (i % 32) * 16;
    *reinterpret_cast<uint4*>(out) = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    if constexpr (kSplit) *reinterpret_cast<uint4*>(out + 512) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  flagged = __syncthreads_or(flagged ? 1 : 0) != 0;
  constexpr int kRealBlocks = ceil_div(kOutChannels, 16);
  if (threadIdx.x == 0 && block16 < kRealBlocks) p.flags[static_cast<int64_t>(group) * kRealBlocks + block16] = flagged ? 1 : 0;
#endif
}

}  // namespace pack_fragments_fp32

// ==== The work of dense_fprop_sm80, fp32. From kernels/conv/dense_fprop_sm80.cuh.
namespace dense_fprop_sm80_fp32 {

// Dense forward convolution for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two f16 planes.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have sums of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).
//
// Pack once, as on Hopper: the block transposes a stage of raw NCW rows (kStageChunks chunks of channels, one tap group)
// into shared memory as [plane of the split][chunk][residue plane][row] x 16 B, so that a tap is a row offset and
// ldmatrix yields B fragments; 8 rows of 16 bytes are 128 contiguous bytes: no bank conflicts at any offset.
//
//   kWarps warps: kWarpsOut x kWarpsTime, a warp computes 16*kRowBlocks channels x 16*kSlices steps of each phase (one phase: 32 x
//   64). Small blocks, several of them on a multiprocessor: one packs or stores while the others multiply.
//
// The stages of all of a block's tiles form one sequence, each round of which
//   issues the loads of the next stage into registers (stage_registers.cuh),
//   multiplies this one: intervals of kInterval k-steps (a k-step is a tap of two chunks) whose weights wait in registers,
//     16 bytes a lane in fragment order (pack_fragments.cuh); each is replaced by its successor in the next interval
//     after its last use, so that L2's latency sweeps during the other k-steps,
//   stores y if this was the tile's last stage, packs the next one; one barrier (two with a single buffer).
//
// fp32 (LC_ELEMENT 4): v * 2^e = hi + lo * 2^-11 (split_f16.cuh), e per stage for x, per channel for w;
//   w x = w_hi x_hi + 2^-11 (w_hi x_lo + w_lo x_hi). Tensor cores truncate when they accumulate: every interval (at most
//   3 k-steps of 16 channels) starts from zero in `part` (hi*hi) and `cross`, and is added to f32 sums, scaled back.
//   A slice of 16 steps at a time, so that both are few registers. The stage's extremes are found in the registers that
//   hold it; a barrier more lets every warp see them. Tiles that f16 cannot carry set their bit in `redo`, for
//   direct_fprop.cuh. Error: docs/design/numerics.md.
// Limits: output time stride 1. Bytes: x once per 32*kWarpsOut output channels, weights from L1 or L2.

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes
constexpr int kOutChannels = 128, kKernel = 3;
constexpr Activation kActivation = static_cast<Activation>(0);
using MmaType = f16;

// --- configuration
constexpr int kInterval = 3, kBuffers = 1, kRowBlocks = 2, kSlices = 4;

struct C : TapRows<1, 0, 1, 1, 3, kKernel> {
  using Element = float;
  static constexpr bool kSplit = 4 == 4, kResident = false;
  static constexpr int kInChannels = 64, kCluster = 1;
  static constexpr Pad kPad = static_cast<Pad>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr int kWarps = 4, kWarpsOut = 4, kWarpsTime = kWarps / kWarpsOut;
  static constexpr int kStageChunks = 2, kPrefetch = 2;
  static constexpr int kBytes = sizeof(Element), kChunk = 4 == 0 ? 4 : 8, kStageChannels = kStageChunks * kChunk;
  static constexpr int kWarpRows = 16 * kRowBlocks, kOutTile = kWarpRows * kWarpsOut, kSweeps = ceil_div(kOutChannels, kOutTile);
  static constexpr int kWarpSteps = 16 * kSlices, kSteps = kWarpSteps * kWarpsTime;  // of a phase
  static constexpr int kWarpColumns = kWarpSteps * kPhases, kStep = kSteps * kPhases;
  static constexpr int64_t kInputStep = static_cast<int64_t>(kSteps) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSteps + kTapRows, kStride);
  static constexpr int kRawNeeded = kPhases > 1 ? kSteps + kTapRows : (kSteps - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSplitBytes = kStageChunks * kChunkRows * 16;
  static constexpr int kStageBytes = kSplitBytes * (kSplit ? 2 : 1);
  static constexpr int kSharedExtremes = kBuffers * kStageBytes;
  static constexpr int kRowWords = kWarpColumns * kBytes / 4, kStagingPitch = kRowWords + 2 * kBytes;  // 64 columns of one phase: no bank conflicts
  static constexpr int kSharedStaging = kSharedExtremes + (kSplit ? kWarps * 8 : 0), kStagingBytes = 8 * kStagingPitch * 4;
  static constexpr int kSharedBytes = kSharedStaging + kWarps * kStagingBytes;
  static constexpr int kChannelBlocks = ceil_div(kInChannels, kStageChannels), kTapGroups = ceil_div(kKernel, kTaps);
  static constexpr bool kWholeStages = kInChannels % kStageChannels == 0;
  static constexpr int kItemStages = kChannelBlocks * kTapGroups, kLastTaps = kKernel - (kTapGroups - 1) * kTaps;

  static constexpr int kTapSteps = kStageChunks / 2;             // k-steps of a tap in a stage
  static constexpr int kFragmentBytes = 512 * (kSplit ? 2 : 1);  // of 16 output channels and one k-step
  static constexpr int64_t kBlockBytes = static_cast<int64_t>(kChannelBlocks) * kKernel * kTapSteps * kFragmentBytes;  // of 16 output channels
};
static_assert(C::kStageChunks % 2 == 0, "a k-step is two chunks");
static_assert(!C::kSplit || (kInterval <= 3 && kBuffers == 1), "the promised interval; stages are packed behind a barrier");
constexpr int kThreads = 32 * C::kWarps;
using Element = C::Element;
using Stage = StageRegisters<C>;

static_assert(C::kSharedBytes == 13856, "the launcher reckons as this file does");

struct Params : FpropParams<Element> {
  const float* weight_inverse;  // LC_ELEMENT 4: 1 / scale of each output channel, a power of two
  uint32_t* redo;               // likewise: one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
};

// Where a block stands in its sequence of stages. Items from the last to the first: below 0 there are no more, which
// takes no register to know.
struct Position {
  int index, stage;  // item of the schedule, stage of the item
  Item item;
  LC_DEVICE explicit Position(const Schedule<C>& schedule)
      : index(schedule.begin + (schedule.end - 1 - schedule.begin) / schedule.step * schedule.step), stage(0), item(schedule.item(index)) {}
  LC_DEVICE bool valid() const { return index >= 0; }
  LC_DEVICE void advance(const Schedule<C>& schedule) {
    if (++stage == C::kItemStages) {
      stage = 0;
      index -= schedule.step;
      if (valid()) item = schedule.item(index);
    }
  }
  LC_DEVICE ChunkWindow<Element> window(const Params& p, int warp) const {
    const int block = stage / C::kTapGroups;
    const int channel = block * C::kStageChannels + warp % C::kStageChunks * C::kChunk;
    return {p.x + item.batch * p.x_batch + (item.group * static_cast<int64_t>(C::kInChannels) + channel) * p.x_channel,
            item.tile * C::kInputStep - p.pad_left + stage % C::kTapGroups * C::kGroupStep,
            C::kInChannels - channel};
  }
  // This lane's part of the first fragment that the item consumes.
  LC_DEVICE const uint8_t* weights(const Params& p, int warp, int lane) const {
    const int block16 = item.group * (C::kSweeps * C::kOutTile / 16) + (item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows) / 16;
    return p.weights + block16 * C::kBlockBytes + lane * 16;
  }
};

// The weights of a warp's output channels for one k-step.
struct Fragment {
  uint32_t hi[kRowBlocks][4], lo[C::kSplit ? kRowBlocks : 1][4];
  LC_DEVICE void load(const uint8_t* w) {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
      load_global_v4(hi[m], w + m * C::kBlockBytes);
      if constexpr (C::kSplit) load_global_v4(lo[m], w + m * C::kBlockBytes + 512);
    }
  }
};

template <class Type> LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Type type) {
  mma_m16n8k16(d, a, b, type);
}
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32 type) { mma_m16n8k8(d, a, b, type); }
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  multiply(d, a, b, MmaType{});
}

// A warp's sums: [16 channels][phase and 8 of its steps].
using Sums = float[kRowBlocks][C::kPhases * 2 * kSlices][4];

// kCount k-steps from the stage's k-step `first` on, with a[0] .. a[kCount - 1]; leaves the next interval's weights in a.
// rows: shared address of this lane's row for tap 0 of the stage. inverse: 1 / scale of the stage. kPlace: a k-step whose taps have
// the phases of those from `first` on.
template <int kCount, int kPlace>
LC_DEVICE void multiply_interval(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* next) {
  uint32_t at[kCount];
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
    const int tap = (first + q) / C::kTapSteps, s = (first + q) % C::kTapSteps;
    at[q] = rows + (C::tap_row(tap, C::kPlaneRows) + s * 2 * C::kChunkRows) * 16;
  }
  // The order of (slice n of 16 steps, k-step q): with the split a slice's k-steps together, else a k-step's slices.
  constexpr int kRounds = kSlices * kCount, kTiles = 2 * kRowBlocks;  // tiles of 16 channels x 8 steps
  float part[kRowBlocks][2][4], cross[kRowBlocks][2][4];
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int n = C::kSplit ? i / kCount : i % kSlices, q = C::kSplit ? i % kCount : i / kSlices;
    const int column = (C::phase((kPlace + q) / C::kTapSteps) * kSlices + n) * 2;
    const bool begins = q == 0 || C::kPhases > 1, ends = q == kCount - 1 || C::kPhases > 1;  // of part and cross: sums of one phase
    uint32_t x[C::kSplit ? 2 : 1][4];
    load_matrix_x4(x[0], at[q] + n * 256);
    if constexpr (C::kSplit) load_matrix_x4(x[1], at[q] + n * 256 + C::kSplitBytes);
    if constexpr (C::kSplit) {
      if (begins) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) part[j >> 3][j >> 2 & 1][j & 3] = cross[j >> 3][j >> 2 & 1][j & 3] = 0.f;
      }
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].hi[j >> 1], x[1][2 * (j & 1)], x[1][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(part[j >> 1][j & 1], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].lo[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
      if (ends) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) {
          const int m = j >> 3, h = j >> 2 & 1, e = j & 3;
          float& total = sum[m][column + h][e];
          total = fmaf(cross[m][h][e], inverse * (1.f / 2048.f), total);
          total = fmaf(part[m][h][e], inverse, total);
        }
        if (i < kRounds - 1) schedule_border(inverse == 0.f);  // or slices overlap until registers spill
      }
    } else {
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(sum[j >> 1][column + (j & 1)], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
    }
    if (n == kSlices - 1) a[q].load(next + q * C::kFragmentBytes);
  }
#pragma unroll
  for (int q = kCount; q < kInterval; ++q) a[q].load(next + q * C::kFragmentBytes);
}

// Intervals kIndex to kEnd - 1 from the stage's k-step `first` on, at which a cycle of phases begins. w: their weights; after: those
// that follow.
template <int kIndex, int kEnd>
LC_DEVICE void multiply_intervals(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* w, const uint8_t* after) {
  if constexpr (kIndex < kEnd) {
    const uint8_t* next = kIndex == kEnd - 1 ? after : w + (kIndex + 1) * kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, kIndex * kInterval>(sum, a, rows, first + kIndex * kInterval, inverse, next);
    multiply_intervals<kIndex + 1, kEnd>(sum, a, rows, first, inverse, w, after);
  }
}

// All k-steps of a stage of kTaps taps. w: this stage's weights (in a already); after: the next one's.
template <int kTaps>
LC_DEVICE void multiply_stage(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, float inverse, const uint8_t* w, const uint8_t* after) {
  constexpr int kSteps = kTaps * C::kTapSteps, kWhole = kSteps / kInterval, kRest = kSteps % kInterval;
  if constexpr (C::kPhases > 1) {  // a sum's phase must be a constant: whole cycles of phases are unrolled
    constexpr int kCycleSteps = C::kPeriod * C::kTapSteps, kCycle = kCycleSteps / gcd_of(kCycleSteps, kInterval);  // in intervals
    constexpr int kLast = kWhole / kCycle * kCycle;
#pragma unroll 1
    for (int i = 0; i < kLast; i += kCycle) {
      const uint8_t* next = w + kCycle * kInterval * C::kFragmentBytes;
      multiply_intervals<0, kCycle>(sum, a, rows, i * kInterval, inverse, w, kWhole == kLast && kRest == 0 && i == kLast - kCycle ? after : next);
      w = next;
    }
    const uint8_t* rest = w + (kWhole - kLast) * kInterval * C::kFragmentBytes;
    multiply_intervals<0, kWhole - kLast>(sum, a, rows, kLast * kInterval, inverse, w, kRest == 0 ? after : rest);
    if constexpr (kRest > 0) multiply_interval<kRest, (kWhole - kLast) * kInterval>(sum, a, rows, kWhole * kInterval, inverse, after);
    return;
  }
  constexpr int kUnroll = !C::kSplit && kWhole <= 2 ? 2 : 1;
  int whole = kWhole;
  if (C::kSplit && kRest > 0) forget_origin(whole);
#pragma unroll kUnroll
  for (int i = 0; i < whole; ++i) {
    w += kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, 0>(sum, a, rows, i * kInterval, inverse, kRest == 0 && i == kWhole - 1 ? after : w);
  }
  if constexpr (kRest > 0) multiply_interval<kRest, 0>(sum, a, rows, kWhole * kInterval, inverse, after);
}

// Packs `stage`, of which piece 0 is in registers, for everyone; returns 1 / its scale.
LC_DEVICE float pack_stage(const Params& p, const Schedule<C>& schedule, Stage& stage, const Position& at, uint32_t shared, uint32_t buffer, int warp, int lane) {
  const ChunkWindow<Element> window = at.window(p, warp);
  stage.finish(p);
  float scale = 1.f, inverse = 1.f;
  if constexpr (C::kSplit) {
    Extremes extremes;
    stage.add_to(extremes);
#pragma unroll 1
    for (int piece = 1; piece < Stage::kPieces; ++piece) {
      Stage more;
      more.load(p, window, piece, warp, lane);
      more.finish(p);
      more.add_to(extremes);
    }
    extremes.reduce_warp();
    if (lane == 0) store_shared_v2(shared + C::kSharedExtremes + warp * 8, extremes.largest, __uint_as_float(extremes.smallest));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < C::kWarps; ++i) {
      Extremes other;
      other.largest = load_shared_f32(shared + C::kSharedExtremes + i * 8);
      other.smallest = load_shared_u32(shared + C::kSharedExtremes + i * 8 + 4);
      extremes.merge(other);
    }
    const SlotScale slot(extremes, least_exponent(C::kInChannels * static_cast<int64_t>(kKernel / C::kPeriod)));
    scale = slot.scale;
    inverse = slot.inverse;
    if (!slot.representable && threadIdx.x == 0) {
      const uint32_t tile = static_cast<uint32_t>(at.item.batch * p.groups + at.item.group) * schedule.tiles_per_row + at.item.tile;
      atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
    }
  } else if (kBuffers == 1) {
    __syncthreads();
  }
  const uint32_t chunk = buffer + warp % C::kStageChunks * C::kChunkRows * 16;
  stage.pack(chunk, scale, 0, warp, lane);
#pragma unroll 1
  for (int piece = 1; piece < Stage::kPieces; ++piece) {
    stage.load(p, window, piece, warp, lane);
    stage.finish(p);
    stage.pack(chunk, scale, piece, warp, lane);
  }
  __syncthreads();
  return inverse;
}

LC_DEVICE void stage_pair(uint32_t at, float a, float b, float) { store_shared_v2(at, a, b); }
template <class E> LC_DEVICE void stage_pair(uint32_t at, float a, float b, E) { store_shared_u32(at, pack2<E>(a, b)); }

// Scale, bias, residual, activation, y. Fragments hold 2 columns of 8 rows; through `staging`, the warp's own piece of shared
// memory, they become whole rows: a store then writes 128 bytes of one row wherever it begins, and few sectors in halves.
LC_DEVICE void store_tile(const Params& p, const Item& item, const Sums& sum, uint32_t staging, int warp, int lane) {
  constexpr int kPhases = C::kPhases;
  const int g = lane >> 2, c = lane & 3;
  const int64_t t_warp = static_cast<int64_t>(item.tile) * C::kStep + warp % C::kWarpsTime * C::kWarpColumns;
  const int columns = static_cast<int>(max(static_cast<int64_t>(0), min(p.out_length - t_warp, static_cast<int64_t>(C::kWarpColumns))));
#pragma unroll
  for (int m = 0; m < kRowBlocks; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int out0 = item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows + m * 16 + h * 8;
      const int64_t channel0 = item.group * static_cast<int64_t>(kOutChannels) + out0;
      const bool exists = out0 + g < kOutChannels;
      const float bias = 0 && exists ? to_float(p.bias[channel0 + g]) : 0.f;
      const float inverse = C::kSplit && exists ? p.weight_inverse[channel0 + g] : 1.f;
      const Element* residual =
          0 ? p.residual + item.batch * p.residual_batch + (channel0 + g) * p.residual_channel + t_warp + 2 * c * kPhases : nullptr;
      const int here = exists ? columns - 2 * c * kPhases : 0;  // columns from this lane's first one on
      __syncwarp();
#pragma unroll
      for (int pair = 0; pair < 2 * kSlices * kPhases; ++pair) {  // a lane's 2 steps of all phases are 2 * kPhases neighbours
        const int n = pair / kPhases, e = pair % kPhases * 2;
        float v[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          v[i] = fmaf(sum[m][(e + i) % kPhases * (2 * kSlices) + n][2 * h + (e + i) / kPhases], inverse, bias);
          if (0 && n * 8 * kPhases + e + i < here) v[i] += to_float(residual[n * 8 * kPhases + e + i]);
          v[i] = activate<kActivation>(v[i], p.negative_slope);
        }
        const uint32_t at = staging + (g * C::kStagingPitch + ((n * 8 + 2 * c) * kPhases + e) * C::kBytes / 4) * 4;
        stage_pair(at, v[0], v[1], Element{});
      }
      __syncwarp();
      Element* row = p.y + item.batch * p.y_batch + channel0 * p.y_channel + t_warp;
      constexpr int kLaneWords = ceil_div(C::kRowWords, 32), kWordColumns = 4 / C::kBytes;
      constexpr bool kWholeRows = C::kRowWords % 32 == 0;
      const bool words = ((reinterpret_cast<uint64_t>(row) | p.y_channel * C::kBytes) & 3) == 0;  // rows begin on words
      uint32_t word[8 * kLaneWords];
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int place = i % kLaneWords * 32 + lane;
        word[i] = load_shared_u32(staging + (i / kLaneWords * C::kStagingPitch + (kWholeRows ? place : min(place, C::kRowWords - 1))) * 4);
      }
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int r = i / kLaneWords, column = (i % kLaneWords * 32 + lane) * kWordColumns;
        store_word(row + r * p.y_channel + column, word[i], out0 + r < kOutChannels ? columns - column : 0, words);
      }
    }
}

__global__ void __launch_bounds__(kThreads, 2) longconv_dense_fprop_sm80(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = threadIdx.x >> 5;
  int lane = threadIdx.x & 31;
  const Schedule<C> schedule(p);
  if (schedule.begin >= schedule.end) return;
  Position next(schedule);
  Stage stage;
  stage.load(p, next.window(p, warp), 0, warp, lane);
  wait_for_previous_kernel();  // which packs the weights and clears `redo`
  const uint8_t* w = next.weights(p, warp, lane);
  Fragment a[kInterval];
#pragma unroll
  for (int q = 0; q < kInterval; ++q) a[q].load(w + q * C::kFragmentBytes);
  uint32_t buffer = shared;
  Sums sum = {};
#pragma unroll 1
  while (true) {
    forget_origin(lane);  // rows and offsets of packing are a few instructions: not worth registers across the products
    const float inverse = pack_stage(p, schedule, stage, next, shared, buffer, warp, lane);
    const bool last_taps = C::kTapGroups == 1 || next.stage % C::kTapGroups == C::kTapGroups - 1;
    next.advance(schedule);
    if (next.valid()) stage.load(p, next.window(p, warp), 0, warp, lane);
    else allow_next_kernel();  // only the last stage is left
    const uint8_t* after = w + (last_taps ? C::kLastTaps : C::kTaps) * C::kTapSteps * C::kFragmentBytes;
    if (next.stage == 0) after = next.weights(p, warp, lane);
    // ldmatrix blocks (rows 0-7, chunk 0), (0-7, 1), (8-15, 0), (8-15, 1): the row that this lane names.
    const uint32_t rows = buffer + ((lane >> 3 & 1) * C::kChunkRows + warp % C::kWarpsTime * C::kWarpSteps + (lane >> 4) * 8 + (lane & 7)) * 16;
    if (C::kLastTaps == C::kTaps || !last_taps) multiply_stage<C::kTaps>(sum, a, rows, inverse, w, after);
    else multiply_stage<C::kLastTaps>(sum, a, rows, inverse, w, after);
    w = after;
    if (next.stage == 0) {
      int w_here = warp;
      forget_origin(w_here);  // likewise
      forget_origin(lane);
      store_tile(p, schedule.item(next.index + schedule.step), sum, shared + C::kSharedStaging + w_here * C::kStagingBytes, w_here, lane);
      if (!next.valid()) break;
#pragma unroll
      for (int j = 0; j < static_cast<int>(sizeof(sum) / 4); ++j) (&sum[0][0][0])[j] = 0.f;
    }
    if (kBuffers == 2) buffer = buffer == shared ? shared + C::kStageBytes : shared;
  }
#endif
}

}  // namespace dense_fprop_sm80_fp32

// ==== Packs the weights for dense_dgrad_sm80, fp32. From kernels/conv/pack_fragments.cuh.
namespace pack_fragments_dgrad_fp32 {

// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> mma.sync A fragments in the order dense_fprop_sm80.cuh consumes them:
//   [group][16 channels out][stage of LC_STAGE_CHUNKS chunks in][tap][k-step][plane][lane][4 words]
// One block for each 16 channels out; missing channels become zeros. Formats as in dense_fprop_sm80.cuh's LC_ELEMENT: 0
// TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes (tile/split_f16.cuh), scaled by a power of two per output channel so that
// max|w| lies in [2^13, 2^14), and `inverse`[group][out/group].
// flags[group][16 channels out]: not 0 where some weight is Inf or NaN or (format 4) cannot be split exactly enough: scaled,
// it is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).

constexpr int kFormat = 4, kKernel = 3, kInChannels = 128, kOutChannels = 64;
constexpr bool kSplit = kFormat == 4;
using Element = float;
constexpr int kWord = kFormat == 0 ? 1 : 2, kStepChannels = 8 * kWord;  // channels of a word, of a k-step
constexpr int kStageSteps = 2 / 2, kBlocks = ceil_div(kInChannels, kStageSteps * kStepChannels);
constexpr int kPaddedRows = 64;  // of a group, a multiple of 16
constexpr int kThreads = 512, kFragmentBytes = kSplit ? 1024 : 512;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

__global__ void __launch_bounds__(kThreads) longconv_pack_fragments(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / (kPaddedRows / 16), block16 = blockIdx.x % (kPaddedRows / 16);
  auto at = [&](int out, int64_t channel, int64_t tap) -> Element {
    if (out < kOutChannels && channel < kInChannels)
      return p.w[group * (1 ? kInChannels * p.w_in : kOutChannels * p.w_out) + out * p.w_out + channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ float scales[16];
  bool flagged = false;
  if constexpr (kSplit) {
    for (int row = threadIdx.x / 32; row < 16; row += kThreads / 32) {
      const int out = block16 * 16 + row;
      Extremes extremes;
#pragma unroll 8  // loads ahead of their use
      for (int64_t i = threadIdx.x % 32; i < static_cast<int64_t>(kInChannels) * kKernel; i += 32)
        extremes.add(to_float(at(out, i / kKernel, i % kKernel)));
      extremes.reduce_warp();
      const ChannelScale channel(extremes);
      if (threadIdx.x % 32 == 0) {
        scales[row] = channel.scale;
        if (out < kOutChannels) p.inverse[static_cast<int64_t>(group) * kOutChannels + out] = channel.inverse;
        flagged = flagged || !channel.representable;
      }
    }
    __syncthreads();
  }

  const int64_t fragments = static_cast<int64_t>(kBlocks) * kKernel * kStageSteps;  // of 16 channels
  for (int64_t i = threadIdx.x; i < fragments * 32; i += kThreads) {
    const int64_t fragment = i / 32, step = fragment % kStageSteps, tap = fragment / kStageSteps % kKernel;
    const int64_t block = fragment / kStageSteps / kKernel;
    const int g = static_cast<int>(i % 32) / 4, c = static_cast<int>(i % 32) % 4;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = g + 8 * (r & 1), out = block16 * 16 + row;
      const int64_t channel = (block * kStageSteps + step) * kStepChannels + (c + 4 * (r >> 1)) * kWord;
      Element v[kWord];
#pragma unroll
      for (int j = 0; j < kWord; ++j) {
        v[j] = at(out, channel + j, tap);
        if (!kSplit) flagged = flagged || !(fabsf(to_float(v[j])) < __uint_as_float(0x7f800000u));
      }
      if constexpr (kSplit) split2_f16(to_float(v[0]) * scales[row], to_float(v[kWord - 1]) * scales[row], hi[r], lo[r]);
      else if constexpr (kFormat == 0) hi[r] = round_tf32(bits_of(v[0]));
      else hi[r] = bits_of(v[0]) | bits_of(v[kWord - 1]) << 16;
    }
    uint8_t* out = p.packed + ((block16 + static_cast<int64_t>(group) * (kPaddedRows / 16)) * fragments + fragment) * kFragmentBytes + (i % 32) * 16;
    *reinterpret_cast<uint4*>(out) = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    if constexpr (kSplit) *reinterpret_cast<uint4*>(out + 512) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  flagged = __syncthreads_or(flagged ? 1 : 0) != 0;
  constexpr int kRealBlocks = ceil_div(kOutChannels, 16);
  if (threadIdx.x == 0 && block16 < kRealBlocks) p.flags[static_cast<int64_t>(group) * kRealBlocks + block16] = flagged ? 1 : 0;
#endif
}

}  // namespace pack_fragments_dgrad_fp32

// ==== The work of dense_dgrad_sm80, fp32. From kernels/conv/dense_fprop_sm80.cuh.
namespace dense_dgrad_sm80_fp32 {

// Dense forward convolution for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two f16 planes.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have sums of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).
//
// Pack once, as on Hopper: the block transposes a stage of raw NCW rows (kStageChunks chunks of channels, one tap group)
// into shared memory as [plane of the split][chunk][residue plane][row] x 16 B, so that a tap is a row offset and
// ldmatrix yields B fragments; 8 rows of 16 bytes are 128 contiguous bytes: no bank conflicts at any offset.
//
//   kWarps warps: kWarpsOut x kWarpsTime, a warp computes 16*kRowBlocks channels x 16*kSlices steps of each phase (one phase: 32 x
//   64). Small blocks, several of them on a multiprocessor: one packs or stores while the others multiply.
//
// The stages of all of a block's tiles form one sequence, each round of which
//   issues the loads of the next stage into registers (stage_registers.cuh),
//   multiplies this one: intervals of kInterval k-steps (a k-step is a tap of two chunks) whose weights wait in registers,
//     16 bytes a lane in fragment order (pack_fragments.cuh); each is replaced by its successor in the next interval
//     after its last use, so that L2's latency sweeps during the other k-steps,
//   stores y if this was the tile's last stage, packs the next one; one barrier (two with a single buffer).
//
// fp32 (LC_ELEMENT 4): v * 2^e = hi + lo * 2^-11 (split_f16.cuh), e per stage for x, per channel for w;
//   w x = w_hi x_hi + 2^-11 (w_hi x_lo + w_lo x_hi). Tensor cores truncate when they accumulate: every interval (at most
//   3 k-steps of 16 channels) starts from zero in `part` (hi*hi) and `cross`, and is added to f32 sums, scaled back.
//   A slice of 16 steps at a time, so that both are few registers. The stage's extremes are found in the registers that
//   hold it; a barrier more lets every warp see them. Tiles that f16 cannot carry set their bit in `redo`, for
//   direct_fprop.cuh. Error: docs/design/numerics.md.
// Limits: output time stride 1. Bytes: x once per 32*kWarpsOut output channels, weights from L1 or L2.

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes
constexpr int kOutChannels = 64, kKernel = 3;
constexpr Activation kActivation = static_cast<Activation>(0);
using MmaType = f16;

// --- configuration
constexpr int kInterval = 3, kBuffers = 1, kRowBlocks = 2, kSlices = 4;

struct C : TapRows<1, 0, 1, 1, 3, kKernel> {
  using Element = float;
  static constexpr bool kSplit = 4 == 4, kResident = false;
  static constexpr int kInChannels = 128, kCluster = 1;
  static constexpr Pad kPad = static_cast<Pad>(1);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr int kWarps = 4, kWarpsOut = 2, kWarpsTime = kWarps / kWarpsOut;
  static constexpr int kStageChunks = 2, kPrefetch = 3;
  static constexpr int kBytes = sizeof(Element), kChunk = 4 == 0 ? 4 : 8, kStageChannels = kStageChunks * kChunk;
  static constexpr int kWarpRows = 16 * kRowBlocks, kOutTile = kWarpRows * kWarpsOut, kSweeps = ceil_div(kOutChannels, kOutTile);
  static constexpr int kWarpSteps = 16 * kSlices, kSteps = kWarpSteps * kWarpsTime;  // of a phase
  static constexpr int kWarpColumns = kWarpSteps * kPhases, kStep = kSteps * kPhases;
  static constexpr int64_t kInputStep = static_cast<int64_t>(kSteps) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSteps + kTapRows, kStride);
  static constexpr int kRawNeeded = kPhases > 1 ? kSteps + kTapRows : (kSteps - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSplitBytes = kStageChunks * kChunkRows * 16;
  static constexpr int kStageBytes = kSplitBytes * (kSplit ? 2 : 1);
  static constexpr int kSharedExtremes = kBuffers * kStageBytes;
  static constexpr int kRowWords = kWarpColumns * kBytes / 4, kStagingPitch = kRowWords + 2 * kBytes;  // 64 columns of one phase: no bank conflicts
  static constexpr int kSharedStaging = kSharedExtremes + (kSplit ? kWarps * 8 : 0), kStagingBytes = 8 * kStagingPitch * 4;
  static constexpr int kSharedBytes = kSharedStaging + kWarps * kStagingBytes;
  static constexpr int kChannelBlocks = ceil_div(kInChannels, kStageChannels), kTapGroups = ceil_div(kKernel, kTaps);
  static constexpr bool kWholeStages = kInChannels % kStageChannels == 0;
  static constexpr int kItemStages = kChannelBlocks * kTapGroups, kLastTaps = kKernel - (kTapGroups - 1) * kTaps;

  static constexpr int kTapSteps = kStageChunks / 2;             // k-steps of a tap in a stage
  static constexpr int kFragmentBytes = 512 * (kSplit ? 2 : 1);  // of 16 output channels and one k-step
  static constexpr int64_t kBlockBytes = static_cast<int64_t>(kChannelBlocks) * kKernel * kTapSteps * kFragmentBytes;  // of 16 output channels
};
static_assert(C::kStageChunks % 2 == 0, "a k-step is two chunks");
static_assert(!C::kSplit || (kInterval <= 3 && kBuffers == 1), "the promised interval; stages are packed behind a barrier");
constexpr int kThreads = 32 * C::kWarps;
using Element = C::Element;
using Stage = StageRegisters<C>;

static_assert(C::kSharedBytes == 17952, "the launcher reckons as this file does");

struct Params : FpropParams<Element> {
  const float* weight_inverse;  // LC_ELEMENT 4: 1 / scale of each output channel, a power of two
  uint32_t* redo;               // likewise: one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
};

// Where a block stands in its sequence of stages. Items from the last to the first: below 0 there are no more, which
// takes no register to know.
struct Position {
  int index, stage;  // item of the schedule, stage of the item
  Item item;
  LC_DEVICE explicit Position(const Schedule<C>& schedule)
      : index(schedule.begin + (schedule.end - 1 - schedule.begin) / schedule.step * schedule.step), stage(0), item(schedule.item(index)) {}
  LC_DEVICE bool valid() const { return index >= 0; }
  LC_DEVICE void advance(const Schedule<C>& schedule) {
    if (++stage == C::kItemStages) {
      stage = 0;
      index -= schedule.step;
      if (valid()) item = schedule.item(index);
    }
  }
  LC_DEVICE ChunkWindow<Element> window(const Params& p, int warp) const {
    const int block = stage / C::kTapGroups;
    const int channel = block * C::kStageChannels + warp % C::kStageChunks * C::kChunk;
    return {p.x + item.batch * p.x_batch + (item.group * static_cast<int64_t>(C::kInChannels) + channel) * p.x_channel,
            item.tile * C::kInputStep - p.pad_left + stage % C::kTapGroups * C::kGroupStep,
            C::kInChannels - channel};
  }
  // This lane's part of the first fragment that the item consumes.
  LC_DEVICE const uint8_t* weights(const Params& p, int warp, int lane) const {
    const int block16 = item.group * (C::kSweeps * C::kOutTile / 16) + (item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows) / 16;
    return p.weights + block16 * C::kBlockBytes + lane * 16;
  }
};

// The weights of a warp's output channels for one k-step.
struct Fragment {
  uint32_t hi[kRowBlocks][4], lo[C::kSplit ? kRowBlocks : 1][4];
  LC_DEVICE void load(const uint8_t* w) {
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
      load_global_v4(hi[m], w + m * C::kBlockBytes);
      if constexpr (C::kSplit) load_global_v4(lo[m], w + m * C::kBlockBytes + 512);
    }
  }
};

template <class Type> LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Type type) {
  mma_m16n8k16(d, a, b, type);
}
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32 type) { mma_m16n8k8(d, a, b, type); }
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  multiply(d, a, b, MmaType{});
}

// A warp's sums: [16 channels][phase and 8 of its steps].
using Sums = float[kRowBlocks][C::kPhases * 2 * kSlices][4];

// kCount k-steps from the stage's k-step `first` on, with a[0] .. a[kCount - 1]; leaves the next interval's weights in a.
// rows: shared address of this lane's row for tap 0 of the stage. inverse: 1 / scale of the stage. kPlace: a k-step whose taps have
// the phases of those from `first` on.
template <int kCount, int kPlace>
LC_DEVICE void multiply_interval(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* next) {
  uint32_t at[kCount];
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
    const int tap = (first + q) / C::kTapSteps, s = (first + q) % C::kTapSteps;
    at[q] = rows + (C::tap_row(tap, C::kPlaneRows) + s * 2 * C::kChunkRows) * 16;
  }
  // The order of (slice n of 16 steps, k-step q): with the split a slice's k-steps together, else a k-step's slices.
  constexpr int kRounds = kSlices * kCount, kTiles = 2 * kRowBlocks;  // tiles of 16 channels x 8 steps
  float part[kRowBlocks][2][4], cross[kRowBlocks][2][4];
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int n = C::kSplit ? i / kCount : i % kSlices, q = C::kSplit ? i % kCount : i / kSlices;
    const int column = (C::phase((kPlace + q) / C::kTapSteps) * kSlices + n) * 2;
    const bool begins = q == 0 || C::kPhases > 1, ends = q == kCount - 1 || C::kPhases > 1;  // of part and cross: sums of one phase
    uint32_t x[C::kSplit ? 2 : 1][4];
    load_matrix_x4(x[0], at[q] + n * 256);
    if constexpr (C::kSplit) load_matrix_x4(x[1], at[q] + n * 256 + C::kSplitBytes);
    if constexpr (C::kSplit) {
      if (begins) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) part[j >> 3][j >> 2 & 1][j & 3] = cross[j >> 3][j >> 2 & 1][j & 3] = 0.f;
      }
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].hi[j >> 1], x[1][2 * (j & 1)], x[1][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(part[j >> 1][j & 1], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(cross[j >> 1][j & 1], a[q].lo[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
      if (ends) {
#pragma unroll
        for (int j = 0; j < 4 * kTiles; ++j) {
          const int m = j >> 3, h = j >> 2 & 1, e = j & 3;
          float& total = sum[m][column + h][e];
          total = fmaf(cross[m][h][e], inverse * (1.f / 2048.f), total);
          total = fmaf(part[m][h][e], inverse, total);
        }
        if (i < kRounds - 1) schedule_border(inverse == 0.f);  // or slices overlap until registers spill
      }
    } else {
#pragma unroll
      for (int j = 0; j < kTiles; ++j) multiply(sum[j >> 1][column + (j & 1)], a[q].hi[j >> 1], x[0][2 * (j & 1)], x[0][2 * (j & 1) + 1]);
    }
    if (n == kSlices - 1) a[q].load(next + q * C::kFragmentBytes);
  }
#pragma unroll
  for (int q = kCount; q < kInterval; ++q) a[q].load(next + q * C::kFragmentBytes);
}

// Intervals kIndex to kEnd - 1 from the stage's k-step `first` on, at which a cycle of phases begins. w: their weights; after: those
// that follow.
template <int kIndex, int kEnd>
LC_DEVICE void multiply_intervals(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, int first, float inverse, const uint8_t* w, const uint8_t* after) {
  if constexpr (kIndex < kEnd) {
    const uint8_t* next = kIndex == kEnd - 1 ? after : w + (kIndex + 1) * kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, kIndex * kInterval>(sum, a, rows, first + kIndex * kInterval, inverse, next);
    multiply_intervals<kIndex + 1, kEnd>(sum, a, rows, first, inverse, w, after);
  }
}

// All k-steps of a stage of kTaps taps. w: this stage's weights (in a already); after: the next one's.
template <int kTaps>
LC_DEVICE void multiply_stage(Sums& sum, Fragment (&a)[kInterval], uint32_t rows, float inverse, const uint8_t* w, const uint8_t* after) {
  constexpr int kSteps = kTaps * C::kTapSteps, kWhole = kSteps / kInterval, kRest = kSteps % kInterval;
  if constexpr (C::kPhases > 1) {  // a sum's phase must be a constant: whole cycles of phases are unrolled
    constexpr int kCycleSteps = C::kPeriod * C::kTapSteps, kCycle = kCycleSteps / gcd_of(kCycleSteps, kInterval);  // in intervals
    constexpr int kLast = kWhole / kCycle * kCycle;
#pragma unroll 1
    for (int i = 0; i < kLast; i += kCycle) {
      const uint8_t* next = w + kCycle * kInterval * C::kFragmentBytes;
      multiply_intervals<0, kCycle>(sum, a, rows, i * kInterval, inverse, w, kWhole == kLast && kRest == 0 && i == kLast - kCycle ? after : next);
      w = next;
    }
    const uint8_t* rest = w + (kWhole - kLast) * kInterval * C::kFragmentBytes;
    multiply_intervals<0, kWhole - kLast>(sum, a, rows, kLast * kInterval, inverse, w, kRest == 0 ? after : rest);
    if constexpr (kRest > 0) multiply_interval<kRest, (kWhole - kLast) * kInterval>(sum, a, rows, kWhole * kInterval, inverse, after);
    return;
  }
  constexpr int kUnroll = !C::kSplit && kWhole <= 2 ? 2 : 1;
  int whole = kWhole;
  if (C::kSplit && kRest > 0) forget_origin(whole);
#pragma unroll kUnroll
  for (int i = 0; i < whole; ++i) {
    w += kInterval * C::kFragmentBytes;
    multiply_interval<kInterval, 0>(sum, a, rows, i * kInterval, inverse, kRest == 0 && i == kWhole - 1 ? after : w);
  }
  if constexpr (kRest > 0) multiply_interval<kRest, 0>(sum, a, rows, kWhole * kInterval, inverse, after);
}

// Packs `stage`, of which piece 0 is in registers, for everyone; returns 1 / its scale.
LC_DEVICE float pack_stage(const Params& p, const Schedule<C>& schedule, Stage& stage, const Position& at, uint32_t shared, uint32_t buffer, int warp, int lane) {
  const ChunkWindow<Element> window = at.window(p, warp);
  stage.finish(p);
  float scale = 1.f, inverse = 1.f;
  if constexpr (C::kSplit) {
    Extremes extremes;
    stage.add_to(extremes);
#pragma unroll 1
    for (int piece = 1; piece < Stage::kPieces; ++piece) {
      Stage more;
      more.load(p, window, piece, warp, lane);
      more.finish(p);
      more.add_to(extremes);
    }
    extremes.reduce_warp();
    if (lane == 0) store_shared_v2(shared + C::kSharedExtremes + warp * 8, extremes.largest, __uint_as_float(extremes.smallest));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < C::kWarps; ++i) {
      Extremes other;
      other.largest = load_shared_f32(shared + C::kSharedExtremes + i * 8);
      other.smallest = load_shared_u32(shared + C::kSharedExtremes + i * 8 + 4);
      extremes.merge(other);
    }
    const SlotScale slot(extremes, least_exponent(C::kInChannels * static_cast<int64_t>(kKernel / C::kPeriod)));
    scale = slot.scale;
    inverse = slot.inverse;
    if (!slot.representable && threadIdx.x == 0) {
      const uint32_t tile = static_cast<uint32_t>(at.item.batch * p.groups + at.item.group) * schedule.tiles_per_row + at.item.tile;
      atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
    }
  } else if (kBuffers == 1) {
    __syncthreads();
  }
  const uint32_t chunk = buffer + warp % C::kStageChunks * C::kChunkRows * 16;
  stage.pack(chunk, scale, 0, warp, lane);
#pragma unroll 1
  for (int piece = 1; piece < Stage::kPieces; ++piece) {
    stage.load(p, window, piece, warp, lane);
    stage.finish(p);
    stage.pack(chunk, scale, piece, warp, lane);
  }
  __syncthreads();
  return inverse;
}

LC_DEVICE void stage_pair(uint32_t at, float a, float b, float) { store_shared_v2(at, a, b); }
template <class E> LC_DEVICE void stage_pair(uint32_t at, float a, float b, E) { store_shared_u32(at, pack2<E>(a, b)); }

// Scale, bias, residual, activation, y. Fragments hold 2 columns of 8 rows; through `staging`, the warp's own piece of shared
// memory, they become whole rows: a store then writes 128 bytes of one row wherever it begins, and few sectors in halves.
LC_DEVICE void store_tile(const Params& p, const Item& item, const Sums& sum, uint32_t staging, int warp, int lane) {
  constexpr int kPhases = C::kPhases;
  const int g = lane >> 2, c = lane & 3;
  const int64_t t_warp = static_cast<int64_t>(item.tile) * C::kStep + warp % C::kWarpsTime * C::kWarpColumns;
  const int columns = static_cast<int>(max(static_cast<int64_t>(0), min(p.out_length - t_warp, static_cast<int64_t>(C::kWarpColumns))));
#pragma unroll
  for (int m = 0; m < kRowBlocks; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int out0 = item.sweep * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows + m * 16 + h * 8;
      const int64_t channel0 = item.group * static_cast<int64_t>(kOutChannels) + out0;
      const bool exists = out0 + g < kOutChannels;
      const float bias = 0 && exists ? to_float(p.bias[channel0 + g]) : 0.f;
      const float inverse = C::kSplit && exists ? p.weight_inverse[channel0 + g] : 1.f;
      const Element* residual =
          0 ? p.residual + item.batch * p.residual_batch + (channel0 + g) * p.residual_channel + t_warp + 2 * c * kPhases : nullptr;
      const int here = exists ? columns - 2 * c * kPhases : 0;  // columns from this lane's first one on
      __syncwarp();
#pragma unroll
      for (int pair = 0; pair < 2 * kSlices * kPhases; ++pair) {  // a lane's 2 steps of all phases are 2 * kPhases neighbours
        const int n = pair / kPhases, e = pair % kPhases * 2;
        float v[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          v[i] = fmaf(sum[m][(e + i) % kPhases * (2 * kSlices) + n][2 * h + (e + i) / kPhases], inverse, bias);
          if (0 && n * 8 * kPhases + e + i < here) v[i] += to_float(residual[n * 8 * kPhases + e + i]);
          v[i] = activate<kActivation>(v[i], p.negative_slope);
        }
        const uint32_t at = staging + (g * C::kStagingPitch + ((n * 8 + 2 * c) * kPhases + e) * C::kBytes / 4) * 4;
        stage_pair(at, v[0], v[1], Element{});
      }
      __syncwarp();
      Element* row = p.y + item.batch * p.y_batch + channel0 * p.y_channel + t_warp;
      constexpr int kLaneWords = ceil_div(C::kRowWords, 32), kWordColumns = 4 / C::kBytes;
      constexpr bool kWholeRows = C::kRowWords % 32 == 0;
      const bool words = ((reinterpret_cast<uint64_t>(row) | p.y_channel * C::kBytes) & 3) == 0;  // rows begin on words
      uint32_t word[8 * kLaneWords];
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int place = i % kLaneWords * 32 + lane;
        word[i] = load_shared_u32(staging + (i / kLaneWords * C::kStagingPitch + (kWholeRows ? place : min(place, C::kRowWords - 1))) * 4);
      }
#pragma unroll
      for (int i = 0; i < 8 * kLaneWords; ++i) {
        const int r = i / kLaneWords, column = (i % kLaneWords * 32 + lane) * kWordColumns;
        store_word(row + r * p.y_channel + column, word[i], out0 + r < kOutChannels ? columns - column : 0, words);
      }
    }
}

__global__ void __launch_bounds__(kThreads, 2) longconv_dense_fprop_sm80(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = threadIdx.x >> 5;
  int lane = threadIdx.x & 31;
  const Schedule<C> schedule(p);
  if (schedule.begin >= schedule.end) return;
  Position next(schedule);
  Stage stage;
  stage.load(p, next.window(p, warp), 0, warp, lane);
  wait_for_previous_kernel();  // which packs the weights and clears `redo`
  const uint8_t* w = next.weights(p, warp, lane);
  Fragment a[kInterval];
#pragma unroll
  for (int q = 0; q < kInterval; ++q) a[q].load(w + q * C::kFragmentBytes);
  uint32_t buffer = shared;
  Sums sum = {};
#pragma unroll 1
  while (true) {
    forget_origin(lane);  // rows and offsets of packing are a few instructions: not worth registers across the products
    const float inverse = pack_stage(p, schedule, stage, next, shared, buffer, warp, lane);
    const bool last_taps = C::kTapGroups == 1 || next.stage % C::kTapGroups == C::kTapGroups - 1;
    next.advance(schedule);
    if (next.valid()) stage.load(p, next.window(p, warp), 0, warp, lane);
    else allow_next_kernel();  // only the last stage is left
    const uint8_t* after = w + (last_taps ? C::kLastTaps : C::kTaps) * C::kTapSteps * C::kFragmentBytes;
    if (next.stage == 0) after = next.weights(p, warp, lane);
    // ldmatrix blocks (rows 0-7, chunk 0), (0-7, 1), (8-15, 0), (8-15, 1): the row that this lane names.
    const uint32_t rows = buffer + ((lane >> 3 & 1) * C::kChunkRows + warp % C::kWarpsTime * C::kWarpSteps + (lane >> 4) * 8 + (lane & 7)) * 16;
    if (C::kLastTaps == C::kTaps || !last_taps) multiply_stage<C::kTaps>(sum, a, rows, inverse, w, after);
    else multiply_stage<C::kLastTaps>(sum, a, rows, inverse, w, after);
    w = after;
    if (next.stage == 0) {
      int w_here = warp;
      forget_origin(w_here);  // likewise
      forget_origin(lane);
      store_tile(p, schedule.item(next.index + schedule.step), sum, shared + C::kSharedStaging + w_here * C::kStagingBytes, w_here, lane);
      if (!next.valid()) break;
#pragma unroll
      for (int j = 0; j < static_cast<int>(sizeof(sum) / 4); ++j) (&sum[0][0][0])[j] = 0.f;
    }
    if (kBuffers == 2) buffer = buffer == shared ? shared + C::kStageBytes : shared;
  }
#endif
}

}  // namespace dense_dgrad_sm80_fp32

// ==== The work of dense_wgrad_sm80, fp32. From kernels/conv/dense_wgrad_sm80.cuh.
namespace dense_wgrad_sm80_fp32 {

// Dense weight gradient for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two f16 planes.
//
//   dw[o, i, k] = sum_{n,t} dy[n, o, t] * x[n, i, t*stride + k*dilation - pad_left]        db[o] = sum_{n,t} dy[n, o, t]
//
// A matrix product whose reduction is time. A = dy, [out channel][time] as it lies in memory; B = x, packed once for each
// stage into rows of 16 bytes of channels per time step, by residue of the stride (wgrad_stage.cuh): a tap is a row
// offset, and ldmatrix.trans yields B fragments at any offset (TF32: plain loads).
//
//   block tile: kOutTile out channels x kInTile channels x kTaps taps; warps: kWarpsOut x kWarpsIn
//   warp tile:  16*kWarpM out channels x (16*kWarpI channels x kTaps taps) = kSlices slices of 16 channels of a tap
//
// LC_FLAT, for few channels: (channel, tap) pairs take the place of channels, and there is one tap; x is packed once a pair.
//
// Work items are (split, group, tile): a split is a fixed range of stages (WgradRanges, one stage a chunk), whose partial
// sums are written to the workspace and added by reduce_wgrad.cuh. A round of the loop packs the stage that waits in
// registers, issuing the loads of the next one unit by unit, then multiplies.
//
// Sums: tensor cores truncate when they accumulate, so every kInterval k-steps begin from zero in `part` and are added to f32
// registers; after kRunStages stages these are added to what the workspace holds. Error: docs/design/numerics.md.
// fp32 (LC_ELEMENT 4): v * 2^e = hi + lo * 2^-11 (split_f16.cuh), e per stage and operand; dy x = hi hi + 2^-11 (hi lo + lo hi).
// A stage that f16 cannot carry is multiplied in f32 as it is. The others set flags[split] where zeros that stand for padding
// or for steps behind the signal's end meet a stage with an Inf or NaN. db is summed from the registers, unrounded.
// LC_ACTIVATION_GRADIENT, an activation of the forward sweep: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes; channels are per group
constexpr int kOutChannels = 128;
constexpr int kColumns = 0 ? 64 * 3 : 64, kTapColumns = 0 ? 1 : 3;
using MmaType = f16;

struct C : Polyphase<1, 1, 3> {
  using Element = float;
  static constexpr bool kSplit = 4 == 4, kTf32 = 4 == 0, kFlat = 0;
  static constexpr bool kUnitTime = 1;
  static constexpr int kKernel = 3;
  static constexpr Pad kPad = static_cast<Pad>(0);
  static constexpr Activation kGradientOf = static_cast<Activation>(0);
  static constexpr int kWarpM = 2, kWarpI = 2, kWarpsOut = 4, kWarpsIn = 1;
  static constexpr int kThreads = 32 * kWarpsOut * kWarpsIn, kStep = 32, kBuffers = kSplit ? 1 : 2;
  static constexpr int kOutTile = 16 * kWarpM * kWarpsOut, kInTile = 16 * kWarpI * kWarpsIn, kSlices = kWarpI * kTaps;
  static constexpr bool kWholeOut = kOutChannels % kOutTile == 0, kWholeIn = kColumns % kInTile == 0;
  static constexpr int kChunk = kTf32 ? 4 : 8, kChunks = kInTile / kChunk;
  static constexpr int kPlaneRows = plane_rows(kStep + (kTaps - 1) * kDilation / kStride, kStride);
  static constexpr int kRawNeeded = (kStep - 1) * kStride + (kTaps - 1) * kDilation + 1;
  // TF32: plain loads read four rows of two chunks at once.
  static constexpr int kChunkRows = kTf32 ? (kPlanes * kPlaneRows + 3) / 8 * 8 + 4 : kPlanes * kPlaneRows;
  static constexpr int kXPlaneBytes = kChunks * kChunkRows * 16, kDyPitch = kStep * (kTf32 ? 4 : 2) + 16;
  static constexpr int kDyPlaneBytes = kOutTile * kDyPitch;
  static constexpr int kXBytes = kXPlaneBytes * (kSplit ? 2 : 1), kStageBytes = kXBytes + kDyPlaneBytes * (kSplit ? 2 : 1);
  static constexpr int kSharedBytes = kBuffers * kStageBytes + (kSplit ? kThreads / 32 * 16 : 0);
  static constexpr int kKStep = kTf32 ? 8 : 16, kInterval = 2, kIntervals = kStep / (kKStep * kInterval);
  static constexpr int kSweepM = kSplit && kWarpM > 2 ? 2 : kWarpM;  // fragments of dy at a time
};
static_assert(C::kStep % (C::kKStep * C::kInterval) == 0 && C::kWarpM % C::kSweepM == 0, "whole intervals and sweeps");
static_assert(C::kSharedBytes == 25664, "the launcher reckons as this file does");
using Element = C::Element;
using Stage = WgradStage<C>;
constexpr int kThreads = C::kThreads, kRunStages = 440;
constexpr int kInTiles = ceil_div(kColumns, C::kInTile), kOutTiles = ceil_div(kOutChannels, C::kOutTile), kTapGroups = ceil_div(kTapColumns, C::kTaps);
using Sums = float[C::kWarpM][C::kSlices][2][4];

struct Params {
  const Element* x;
  const Element* dy;
  WgradPartials<float> partials;
  int64_t x_batch, x_channel, x_time, dy_batch, dy_channel, dy_time;  // strides in elements
  int64_t length, out_length, pad_left;
  WgradRanges ranges;
  int groups;
};

struct Tile {
  int split, group, out0, in0, tap0;
};

// A stage of the sequence: chunk `index` of its signal.
struct Position {
  int signal, index;
  LC_DEVICE void advance(const WgradRanges& ranges) {
    if (++index == static_cast<int>(ranges.chunks_per_signal)) index = 0, ++signal;
  }
  LC_DEVICE WgradWindow<Element> window(const Params& p, const Tile& tile) const {
    const int64_t t0 = static_cast<int64_t>(index) * C::kStep;
    const int64_t first = t0 * C::kStride + static_cast<int64_t>(tile.tap0) * C::kDilation - p.pad_left, limit = 1 << 30;
    const int begin = static_cast<int>(max(static_cast<int64_t>(0), min(-first, limit)));
    return {p.x + signal * p.x_batch + (tile.group * static_cast<int64_t>(64) + (C::kFlat ? 0 : tile.in0)) * p.x_channel,
            p.dy + signal * p.dy_batch + (tile.group * static_cast<int64_t>(kOutChannels) + tile.out0) * p.dy_channel,
            first,
            t0,
            static_cast<int>(min(p.out_length - t0, static_cast<int64_t>(C::kStep))),
            kColumns - tile.in0,
            kOutChannels - tile.out0,
            tile.in0,
            begin,
            static_cast<int>(max(static_cast<int64_t>(0), min(p.length - first, limit) - begin))};
  }
};

// Zeros stand for something that does not exist.
LC_DEVICE bool is_ragged(const Params& p, const WgradWindow<Element>& w) {
  constexpr int64_t kNeeded = C::kRawNeeded + (C::kFlat ? static_cast<int64_t>(C::kKernel - 1) * C::kDilation : 0);
  return w.steps < C::kStep || (C::kPad == Pad::zeros && (w.first < 0 || w.first + kNeeded > p.length));
}

template <class Type> LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Type type) {
  mma_m16n8k16(d, a, b, type);
}
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32 type) { mma_m16n8k8(d, a, b, type); }
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  multiply(d, a, b, MmaType{});
}

// Two B fragments (16 channels) of a k-step. rows: shared address of the slice's first chunk at the k-step's first row.
LC_DEVICE void load_x(uint32_t (&b)[4], uint32_t rows, int lane) {
  if constexpr (C::kTf32) {
    const uint32_t at = rows + ((lane >> 4) * C::kChunkRows + (lane & 3)) * 16 + (lane >> 2 & 3) * 4;
    b[0] = load_shared_u32(at), b[1] = load_shared_u32(at + 64);
    b[2] = load_shared_u32(at + C::kChunkRows * 32), b[3] = load_shared_u32(at + C::kChunkRows * 32 + 64);
  } else {
    load_matrix_x4_transposed(b, rows + ((lane >> 4) * C::kChunkRows + (lane & 15)) * 16);
  }
}

// x, dy: shared addresses of the stage's operands. inverse: 1 / scale of the products.
LC_DEVICE void multiply_stage(Sums& sum, uint32_t x, uint32_t dy, float inverse, int warp, int lane) {
  constexpr int kPlanes = C::kSplit ? 2 : 1;
  x += warp % C::kWarpsIn * C::kWarpI * (16 / C::kChunk) * C::kChunkRows * 16;
  dy += (warp / C::kWarpsIn * C::kWarpM * 16 + (lane & 15)) * C::kDyPitch + (lane >> 4) * 16;
#pragma unroll
  for (int m0 = 0; m0 < C::kWarpM; m0 += C::kSweepM)
#pragma unroll
    for (int interval = 0; interval < C::kIntervals; ++interval) {
      uint32_t a[C::kInterval][C::kSweepM][kPlanes][4];
#pragma unroll
      for (int q = 0; q < C::kInterval; ++q)
#pragma unroll
        for (int m = 0; m < C::kSweepM; ++m)
#pragma unroll
          for (int plane = 0; plane < kPlanes; ++plane)
            load_matrix_x4(a[q][m][plane], dy + (m0 + m) * 16 * C::kDyPitch + (interval * C::kInterval + q) * 32 + plane * C::kDyPlaneBytes);
#pragma unroll
      for (int slice = 0; slice < C::kSlices; ++slice) {
        const int tap = slice % C::kTaps, block = slice / C::kTaps;
        const uint32_t rows = x + (block * (16 / C::kChunk) * C::kChunkRows + C::tap_row(tap, C::kPlaneRows) + interval * C::kInterval * C::kKStep) * 16;
        float part[C::kSweepM][2][4] = {}, cross[C::kSplit ? C::kSweepM : 1][2][4] = {};
#pragma unroll
        for (int q = 0; q < C::kInterval; ++q) {
          uint32_t b[kPlanes][4];
#pragma unroll
          for (int plane = 0; plane < kPlanes; ++plane) load_x(b[plane], rows + q * C::kKStep * 16 + plane * C::kXPlaneBytes, lane);
          if constexpr (C::kSplit) {
#pragma unroll
            for (int j = 0; j < 2 * C::kSweepM; ++j) multiply(cross[j >> 1][j & 1], a[q][j >> 1][0], b[1][2 * (j & 1)], b[1][2 * (j & 1) + 1]);
          }
#pragma unroll
          for (int j = 0; j < 2 * C::kSweepM; ++j) multiply(part[j >> 1][j & 1], a[q][j >> 1][0], b[0][2 * (j & 1)], b[0][2 * (j & 1) + 1]);
          if constexpr (C::kSplit) {
#pragma unroll
            for (int j = 0; j < 2 * C::kSweepM; ++j) multiply(cross[j >> 1][j & 1], a[q][j >> 1][1], b[0][2 * (j & 1)], b[0][2 * (j & 1) + 1]);
          }
        }
#pragma unroll
        for (int j = 0; j < 8 * C::kSweepM; ++j) {
          const int m = j >> 3, h = j >> 2 & 1, e = j & 3;
          float& total = sum[m0 + m][slice][h][e];
          if constexpr (C::kSplit) {
            total = fmaf(cross[m][h][e], inverse * (1.f / 2048.f), total);
            total = fmaf(part[m][h][e], inverse, total);
          } else {
            total += part[m][h][e];
          }
        }
        if (C::kSplit) schedule_border(inverse == 0.f);  // or slices overlap until registers spill
      }
    }
}

// fp32, a stage that f16 cannot carry, packed as it is: every thread does the products of its sums. Rare.
LC_DEVICE void multiply_exactly(Sums& sum, const Params& p, const WgradWindow<Element>& from, uint32_t x, uint32_t dy, int warp, int lane) {
  const int row = warp / C::kWarpsIn * C::kWarpM * 16 + (lane >> 2), column = warp % C::kWarpsIn * C::kWarpI * 16 + 2 * (lane & 3);
#pragma unroll
  for (int slice = 0; slice < C::kSlices; ++slice) {
    const int tap = slice % C::kTaps, block = slice / C::kTaps;
    float part[C::kWarpM][2][4] = {};
#pragma unroll 1
    for (int t = 0; t < from.steps; ++t) {
      float a[C::kWarpM][2];
#pragma unroll
      for (int j = 0; j < 2 * C::kWarpM; ++j)
        a[j >> 1][j & 1] = load_shared_f32(dy + (row + j * 8) * C::kDyPitch + (t >> 1) * 4 + (t & 1) * C::kDyPlaneBytes);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int channel = column + block * 16 + (j >> 1) * 8 + (j & 1), k = C::kFlat ? (from.channel0 + channel) % C::kKernel : tap;
        const int64_t position = from.first + static_cast<int64_t>(t) * C::kStride + static_cast<int64_t>(k) * C::kDilation;
        if (C::kPad == Pad::zeros && (position < 0 || position >= p.length)) continue;
        const float b = load_shared_f32(x + (channel / 8 * C::kChunkRows + C::tap_row(tap, C::kPlaneRows) + t) * 16 + (channel & 3) * 4 +
                                        (channel >> 2 & 1) * C::kXPlaneBytes);
#pragma unroll
        for (int m = 0; m < C::kWarpM; ++m) {
          part[m][j >> 1][j & 1] = fmaf(a[m][0], b, part[m][j >> 1][j & 1]);
          part[m][j >> 1][2 + (j & 1)] = fmaf(a[m][1], b, part[m][j >> 1][2 + (j & 1)]);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < 8 * C::kWarpM; ++j) sum[j >> 3][slice][j >> 2 & 1][j & 3] += part[j >> 3][j >> 2 & 1][j & 3];
  }
}

// Adds the registers to the split's partial sums, or begins them.
LC_DEVICE void store_sums(const Params& p, const Tile& tile, Sums& sum, bool begins, int warp, int lane) {
  const int out_warp = tile.out0 + warp / C::kWarpsIn * C::kWarpM * 16 + (lane >> 2);
  const int in_warp = tile.in0 + warp % C::kWarpsIn * C::kWarpI * 16 + 2 * (lane & 3);
  float* weight = p.partials.weight + (static_cast<int64_t>(tile.split) * p.groups + tile.group) * (static_cast<int64_t>(kOutChannels) * kColumns * kTapColumns);
#pragma unroll
  for (int m = 0; m < C::kWarpM; ++m)
#pragma unroll
    for (int slice = 0; slice < C::kSlices; ++slice)
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int h = j >> 2, e = j & 3;
        const int out = out_warp + m * 16 + (e >> 1) * 8, tap = tile.tap0 + slice % C::kTaps;
        const int channel = in_warp + slice / C::kTaps * 16 + h * 8 + (e & 1);
        if (out < kOutChannels && channel < kColumns && tap < kTapColumns) {
          float* at = weight + (static_cast<int64_t>(out) * kColumns + channel) * kTapColumns + tap;
          *at = begins ? sum[m][slice][h][e] : *at + sum[m][slice][h][e];
        }
        sum[m][slice][h][e] = 0.f;
      }
}

LC_DEVICE void compute(const Params& p, const Tile& tile, uint32_t shared, int& buffer, int warp, int lane) {
  constexpr uint32_t kExtremes = C::kBuffers * C::kStageBytes;
  const int64_t begin = p.ranges.begin(tile.split), end = p.ranges.begin(tile.split + 1);
  const bool sums_bias = 0 && tile.in0 == 0 && tile.tap0 == 0;
  Position at{static_cast<int>(begin / p.ranges.chunks_per_signal), static_cast<int>(begin % p.ranges.chunks_per_signal)};
  Sums sum = {};
  float bias[0 ? Stage::kDyUnits : 1] = {};
  Stage stage;
  stage.load(p, at.window(p, tile), warp, lane);
  int run = 0;
  bool begins = true;
#pragma unroll 1
  for (int left = static_cast<int>(end - begin); left > 0; --left) {
    stage.finish(p);
    float x_scale = 1.f, dy_scale = 1.f, inverse = 1.f;
    bool exact = false;
    if constexpr (C::kSplit) {
      Extremes of_x, of_dy;
      stage.add_to(of_x, of_dy);
      of_x.reduce_warp();
      of_dy.reduce_warp();
      if (lane == 0)
        store_shared_v4(shared + kExtremes + warp * 16, __float_as_uint(of_x.largest), of_x.smallest, __float_as_uint(of_dy.largest), of_dy.smallest);
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kThreads / 32; ++i) {
        const uint4 other = load_shared_v4(shared + kExtremes + i * 16);
        of_x.largest = __uint_as_float(max(__float_as_uint(of_x.largest), other.x)), of_x.smallest = min(of_x.smallest, other.y);
        of_dy.largest = __uint_as_float(max(__float_as_uint(of_dy.largest), other.z)), of_dy.smallest = min(of_dy.smallest, other.w);
      }
      const SlotScale x_slot(of_x), dy_slot(of_dy);
      x_scale = x_slot.scale, dy_scale = dy_slot.scale, inverse = x_slot.inverse * dy_slot.inverse;
      // The products' scale must be a normal number too, with room for what a stage adds up.
      exact = !(x_slot.representable && dy_slot.representable && inverse >= 0x1p-100f && inverse <= 0x1p90f);
    } else if (is_ragged(p, at.window(p, tile))) {
      if (!stage.finite()) p.partials.flags[tile.split] = 1;
    }
    if (sums_bias) {
#pragma unroll
      for (int u = 0; u < Stage::kDyUnits; ++u)
        bias[0 ? u : 0] += value_of_bits(stage.dy[u][0], Element{}) + value_of_bits(stage.dy[u][1], Element{});
    }
    const uint32_t x = shared + buffer * C::kStageBytes, dy = x + C::kXBytes;
    const bool more = left > 1;
    if (!more) allow_next_kernel();  // of several tiles the first one says so: all blocks run by then, and keep what they have
    Position next = at;
    next.advance(p.ranges);
    WgradWindow<Element> window = next.window(p, tile);
    if (!more) window.count = window.steps = 0;  // nothing is loaded
#pragma unroll
    for (int u = 0; u < Stage::kXUnits; ++u) {
      stage.pack_x(x, x_scale, exact, u, warp, lane);
      stage.load_x(p, window, u, warp, lane);
    }
#pragma unroll
    for (int u = 0; u < Stage::kDyUnits; ++u) {
      stage.pack_dy(dy, dy_scale, exact, u);
      stage.load_dy(p, window, u);
    }
    __syncthreads();
    if (C::kSplit && exact) multiply_exactly(sum, p, at.window(p, tile), x, dy, warp, lane);
    else multiply_stage(sum, x, dy, inverse, warp, lane);
    at = next;
    if (C::kBuffers > 1) buffer ^= 1;
    if (++run == kRunStages || !more) {
      store_sums(p, tile, sum, begins, warp, lane);
      if (sums_bias) {
#pragma unroll
        for (int u = 0; u < Stage::kDyUnits; ++u) {
          float v = bias[0 ? u : 0];
#pragma unroll
          for (int lanes = 1; lanes < min_of(32, C::kStep / 2); lanes *= 2) v += __shfl_xor_sync(~0u, v, lanes);
          const int row = Stage::dy_row(u);
          if (Stage::dy_step() == 0 && row < C::kOutTile && tile.out0 + row < kOutChannels) {
            float* to = p.partials.bias + (static_cast<int64_t>(tile.split) * p.groups + tile.group) * kOutChannels + tile.out0 + row;
            *to = begins ? v : *to + v;
          }
          bias[0 ? u : 0] = 0.f;
        }
      }
      run = 0;
      begins = false;
    }
  }
}

__global__ void __launch_bounds__(kThreads, 2) longconv_dense_wgrad_sm80(const __grid_constant__ Params p) {
#ifndef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  int shared = static_cast<int>(shared_address(memory));
  forget_origin(shared);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t items = p.ranges.splits * p.groups * (kOutTiles * kInTiles * kTapGroups);
  int buffer = 0;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    // Tiles that read the same range run side by side.
    int64_t rest = item;
    Tile tile;
    tile.tap0 = static_cast<int>(rest % kTapGroups) * C::kTaps, rest /= kTapGroups;
    tile.in0 = static_cast<int>(rest % kInTiles) * C::kInTile, rest /= kInTiles;
    tile.out0 = static_cast<int>(rest % kOutTiles) * C::kOutTile, rest /= kOutTiles;
    tile.group = static_cast<int>(rest % p.groups), tile.split = static_cast<int>(rest / p.groups);
    compute(p, tile, shared, buffer, warp, lane);
  }
#endif
}

}  // namespace dense_wgrad_sm80_fp32

}  // namespace conv1d
"""

# --- Launching them --------------------------------------------------------------------------------------------------

declarations = """
torch::Tensor conv1d_forward(torch::Tensor x, torch::Tensor weight, bool tf32);
torch::Tensor conv1d_backward_input(torch::Tensor grad_y, torch::Tensor weight, int64_t length, bool tf32);
torch::Tensor conv1d_backward_weight(torch::Tensor x, torch::Tensor grad_y, bool tf32);
"""

launcher_source = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t kInChannels = 64, kOutChannels = 128, kKernelSize = 3;
constexpr int64_t kStride = 1, kDilation = 1, kWeights = kOutChannels * kInChannels * kKernelSize;

// What a function works on, contiguous: x (batch, kInChannels, length) and y (batch, kOutChannels, out_length). In the
// backward functions y is its gradient, and so is what they compute: x, or weight and bias.
struct Call {
  torch::Tensor x, weight, bias, y;
  int64_t batch, length, out_length;
  int sm_count = 0, major = 0, minor = 0;
  cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();

  Call(torch::Tensor x_, torch::Tensor weight_, torch::Tensor bias_, torch::Tensor y_)
      : x(x_), weight(weight_), bias(bias_), y(y_), batch(x.size(0)), length(x.size(2)), out_length(y.size(2)) {
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, x.get_device()));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, x.get_device()));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, x.get_device()));
  }
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t align(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

// How a kernel is launched: on `blocks`, or, where that is 0, on a block for each work item, or on as many as the GPU holds
// (blocks_per_sm, where that is not 0), which walk the items: tiles of tile_steps outputs times groups of output channels,
// or tiles of a weight gradient. Whole clusters.
struct Shape {
  int64_t blocks, tile_steps, items_per_tile, blocks_per_sm, cluster_blocks;
  int threads, shared_bytes;
};

int64_t grid(const Call& call, const Shape& shape, int64_t rows, int64_t steps) {
  if (shape.blocks != 0) return shape.blocks;
  const int64_t tiles = rows * ceil_div(steps, shape.tile_steps);
  TORCH_CHECK(tiles * shape.items_per_tile < (int64_t{1} << 31), "x: expected fewer than 2^31 tiles, but got ", tiles);
  if (shape.blocks_per_sm == 0) return tiles * shape.items_per_tile;
  const int64_t clusters = std::max<int64_t>(1, call.sm_count * shape.blocks_per_sm / shape.cluster_blocks);
  return shape.cluster_blocks * std::min(ceil_div(tiles, shape.cluster_blocks) * shape.items_per_tile, clusters);
}

template <class Params>
void launch(void (*kernel)(Params), const Params& params, const Shape& shape, int64_t rows, int64_t steps,
            const Call& call) {
  const dim3 blocks(static_cast<unsigned>(grid(call, shape, rows, steps))), threads(shape.threads);
  if (shape.shared_bytes > 48 * 1024)
    C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.shared_bytes));
#if CUDART_VERSION >= 12000
  if (shape.cluster_blocks > 1) {
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(shape.cluster_blocks), 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = call.stream;
    config.attrs = &cluster;
    config.numAttrs = 1;
    C10_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, params));
    return;
  }
#endif
  kernel<<<blocks, threads, shape.shared_bytes, call.stream>>>(params);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class Pointer>
void point(Pointer& pointer, const void* memory) {
  pointer = reinterpret_cast<Pointer>(const_cast<void*>(memory));
}

const void* last_tap(const torch::Tensor& weight) {
  return static_cast<const char*>(weight.data_ptr()) + (kKernelSize - 1) * weight.element_size();
}

// A sum over batch and time: each signal's outputs are cut into chunks of chunk_steps, which are dealt to `count` splits.
// Their partial sums are added in order, so that gradients are the same bits every time. Of more than most_chunks a split
// would not be exact enough (0: any number is).
struct Splits {
  int64_t chunk_steps, chunks_per_signal, chunks, count;

  Splits(const Call& call, int64_t steps, int64_t most, int64_t most_chunks)
      : chunk_steps(steps), chunks_per_signal(ceil_div(call.out_length, steps)), chunks(call.batch * chunks_per_signal) {
    TORCH_CHECK(chunks < (int64_t{1} << 31), "x: expected fewer than 2^31 chunks of time, but got ", chunks);
    if (most_chunks > 0) most = std::max(most, ceil_div(chunks, most_chunks));
    count = std::min(chunks, most);
  }
  int64_t longest() const { return ceil_div(chunks, count); }
  template <class Ranges>
  void put(Ranges& ranges) const {
    ranges.chunk_steps = chunk_steps, ranges.chunks_per_signal = chunks_per_signal;
    ranges.chunks = chunks, ranges.splits = count;
  }
};

#if CUDART_VERSION >= 12000
// float32 in TF32 on Hopper: dense_fprop_sm90.
// Its configuration: m1 n256 ways2 chunks4 slots3 raw2 taps3 w12 wstep2 stationary1 resident0 full0 rows4 packers4 cluster1.
void forward_tf32_sm90a(const Call& call) {
  namespace pack = conv1d::pack_weights_tf32;
  namespace conv = conv1d::dense_fprop_sm90_tf32;
  // Workspace: flags, packed weights, the counter of drawn tiles.
  constexpr int64_t kWeightOffset = 512, kPackedBytes = 98816;
  const torch::Tensor workspace = torch::empty({kPackedBytes + (1) * 4}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, call.weight.data_ptr());
  w.w_out = kInChannels * kKernelSize, w.w_in = kKernelSize, w.w_tap = 1;
  point(w.packed, memory + kWeightOffset);
  point(w.flags, memory);
  point(w.state, memory + kPackedBytes);
  w.state_words = 1;
  constexpr Shape kPackShape = {/*blocks=*/128, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(pack::longconv_pack_weights, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.y, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.y_batch = kOutChannels * call.out_length, p.y_channel = call.out_length;
  p.length = call.length, p.out_length = call.out_length;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  point(p.drawn, memory + kPackedBytes);
  constexpr Shape kConvShape = {0, /*tile_steps=*/248, /*items_per_tile=*/1, /*blocks_per_sm=*/1,
                                /*cluster_blocks=*/1, /*threads=*/384, /*shared_bytes=*/217680};
  launch(conv::longconv_dense_fprop_sm90, p, kConvShape, call.batch, call.out_length, call);
}
#endif

#if CUDART_VERSION >= 12000
// float32 in TF32 on Hopper: dense_dgrad_sm90.
// Its configuration: m1 n128 ways1 chunks4 slots4 raw2 taps3 w24 wstep2 stationary1 resident0 full1 rows0 packers7 cluster1.
void backward_input_tf32_sm90a(const Call& call) {
  namespace pack = conv1d::pack_weights_dgrad_tf32;
  namespace conv = conv1d::dense_dgrad_sm90_tf32;
  namespace edges = conv1d::direct_dgrad_edges_tf32;
  // Workspace: flags, packed weights, the counter of drawn tiles.
  constexpr int64_t kFlagWords = 64, kWeightOffset = 256, kPackedBytes = 98560;
  const torch::Tensor workspace = torch::empty({kPackedBytes + (1) * 4}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, last_tap(call.weight));
  w.w_out = kKernelSize, w.w_in = kInChannels * kKernelSize, w.w_tap = -1;
  point(w.packed, memory + kWeightOffset);
  point(w.flags, memory);
  point(w.state, memory + kPackedBytes);
  w.state_words = 1;
  constexpr Shape kPackShape = {/*blocks=*/64, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(pack::longconv_pack_weights, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.y.data_ptr());
  point(p.y, call.x.data_ptr());
  p.x_batch = kOutChannels * call.out_length, p.x_channel = call.out_length, p.x_time = 1;
  p.y_batch = kInChannels * call.length, p.y_channel = call.length;
  p.length = call.out_length, p.out_length = call.length;
  p.pad_left = 2;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  point(p.drawn, memory + kPackedBytes);
  constexpr Shape kConvShape = {0, /*tile_steps=*/256, /*items_per_tile=*/1, /*blocks_per_sm=*/1,
                                /*cluster_blocks=*/1, /*threads=*/512, /*shared_bytes=*/226576};
  launch(conv::longconv_dense_fprop_sm90, p, kConvShape, call.batch, call.length, call);
  // Zeros stood for what is outside of y, and 0 * Inf is NaN: the edges again where a weight is not finite.
  edges::Params e{};
  point(e.x, call.y.data_ptr());
  point(e.y, call.x.data_ptr());
  e.x_batch = kOutChannels * call.out_length, e.x_channel = call.out_length, e.x_time = 1;
  e.y_batch = kInChannels * call.length, e.y_channel = call.length;
  e.length = call.out_length, e.out_length = call.length;
  e.pad_left = 2;
  e.batch = static_cast<int>(call.batch), e.groups = 1;
  point(e.w, last_tap(call.weight));
  e.w_out = kKernelSize, e.w_in = kInChannels * kKernelSize, e.w_tap = -1;
  e.y_time = 1;
  point(e.flags, memory);
  e.flag_words = kFlagWords;
  constexpr Shape kEdgesShape = {0, /*tile_steps=*/128, /*items_per_tile=*/1, /*blocks_per_sm=*/4,
                                 /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(edges::longconv_direct_fprop, e, kEdgesShape, call.batch, call.length, call);
}
#endif

#if CUDART_VERSION >= 12000
// float32 in TF32 on Hopper: dense_wgrad_sm90.
// Its configuration: channels64 taps3 m1 n128 wg3 ways1 steps64 windows1 slots3 y2 packers4 splits132 shares0.
void backward_weight_tf32_sm90a(const Call& call) {
  namespace conv = conv1d::dense_wgrad_sm90_tf32;
  namespace repair = conv1d::direct_wgrad_repair_tf32;
  namespace reduce = conv1d::reduce_wgrad;
  const Splits splits(call, /*chunk_steps=*/64, /*splits=*/132, /*most_chunks=*/184320);
  // Workspace: flags, partial sums, sums that blocks of many chunks carry.
  const int64_t weight_offset = align(splits.count * 4);
  const int64_t end_offset = weight_offset + align(splits.count * kWeights * 4);
  const int64_t carry_offset = end_offset;
  const int64_t carry_bytes = splits.longest() > 1024 ? splits.count * 98304 : 0;
  const torch::Tensor workspace = torch::empty({carry_offset + carry_bytes}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  C10_CUDA_CHECK(cudaMemsetAsync(memory, 0, splits.count * 4, call.stream));
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.dy, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.dy_batch = kOutChannels * call.out_length, p.dy_channel = call.out_length, p.dy_time = 1;
  p.length = call.length, p.out_length = call.out_length;
  splits.put(p.ranges);
  point(p.partials.flags, memory);
  point(p.partials.weight, memory + weight_offset);
  point(p.carry, memory + carry_offset);
  constexpr Shape kConvShape = {0, /*tile_steps=*/1, /*items_per_tile=*/1, /*blocks_per_sm=*/0,
                                /*cluster_blocks=*/1, /*threads=*/512, /*shared_bytes=*/226352};
  launch(conv::longconv_dense_wgrad_sm90, p, kConvShape, splits.count, 1, call);
  // Splits whose flag is set hold what the tensor cores cannot sum exactly: again, in plain f32.
  repair::Params r{};
  point(r.x, call.x.data_ptr());
  point(r.dy, call.y.data_ptr());
  r.x_batch = kInChannels * call.length, r.x_channel = call.length, r.x_time = 1;
  r.dy_batch = kOutChannels * call.out_length, r.dy_channel = call.out_length, r.dy_time = 1;
  r.length = call.length, r.out_length = call.out_length;
  splits.put(r.ranges);
  r.groups = 1;
  point(r.partials.flags, memory);
  point(r.partials.weight, memory + weight_offset);
  constexpr Shape kRepairShape = {0, /*tile_steps=*/1, /*items_per_tile=*/6, /*blocks_per_sm=*/6,
                                  /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
  launch(repair::longconv_direct_wgrad, r, kRepairShape, splits.count, 1, call);
  // The splits in order, rounded once.
  reduce::Params s{};
  point(s.partial, memory + weight_offset);
  point(s.w, call.weight.data_ptr());
  s.splits = splits.count, s.weight_elements = kWeights;
  s.row_elements = kInChannels * kKernelSize, s.kernel_size = kKernelSize;
  s.w_out = kInChannels * kKernelSize, s.w_in = kKernelSize, s.w_tap = 1;
  constexpr Shape kReduceShape = {/*blocks=*/768, 0, 0, 0,
                                  /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
  launch(reduce::longconv_reduce_wgrad, s, kReduceShape, 1, 1, call);
}
#endif

#if CUDART_VERSION >= 12000
// fp32 on Hopper: dense_fprop_split_sm90.
// Its configuration: ways2 slots10 raw1 taps3 interval3 chain1 w4 stationary1 resident0 full0 packers4 cluster1 team0 rows0.
void forward_fp32_sm90a(const Call& call) {
  namespace pack = conv1d::pack_weights_fp32;
  namespace conv = conv1d::dense_fprop_split_sm90_fp32;
  namespace repair = conv1d::direct_fprop_repair_fp32;
  // Workspace: flags, scales, packed weights, one redo bit a tile, the counter of drawn tiles.
  constexpr int64_t kFlagWords = 128, kInverseOffset = 512, kWeightOffset = 1024, kPackedBytes = 99328;
  constexpr int64_t kTileSteps = 120;
  const int64_t tiles_per_row = ceil_div(call.out_length, kTileSteps);
  const int64_t redo_words = ceil_div(call.batch * tiles_per_row, 32);
  const torch::Tensor workspace = torch::empty({kPackedBytes + (redo_words + 1) * 4}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, call.weight.data_ptr());
  w.w_out = kInChannels * kKernelSize, w.w_in = kKernelSize, w.w_tap = 1;
  point(w.packed, memory + kWeightOffset);
  point(w.inverse, memory + kInverseOffset);
  point(w.flags, memory);
  point(w.state, memory + kPackedBytes);
  w.state_words = redo_words + 1;
  constexpr Shape kPackShape = {/*blocks=*/128, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(pack::longconv_pack_weights, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.y, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.y_batch = kOutChannels * call.out_length, p.y_channel = call.out_length;
  p.length = call.length, p.out_length = call.out_length;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  point(p.weight_inverse, memory + kInverseOffset);
  point(p.redo, memory + kPackedBytes);
  point(p.drawn, memory + kPackedBytes + redo_words * 4);
  constexpr Shape kConvShape = {0, /*tile_steps=*/120, /*items_per_tile=*/1, /*blocks_per_sm=*/1,
                                /*cluster_blocks=*/1, /*threads=*/384, /*shared_bytes=*/221828};
  launch(conv::longconv_dense_fprop_split_sm90, p, kConvShape, call.batch, call.out_length, call);
  // Tiles that set their bit hold what the tensor cores cannot multiply exactly: again, in plain f32.
  repair::Params r{};
  point(r.x, call.x.data_ptr());
  point(r.y, call.y.data_ptr());
  r.x_batch = kInChannels * call.length, r.x_channel = call.length, r.x_time = 1;
  r.y_batch = kOutChannels * call.out_length, r.y_channel = call.out_length;
  r.length = call.length, r.out_length = call.out_length;
  r.batch = static_cast<int>(call.batch), r.groups = 1;
  point(r.w, call.weight.data_ptr());
  r.w_out = kInChannels * kKernelSize, r.w_in = kKernelSize, r.w_tap = 1;
  r.y_time = 1;
  point(r.flags, memory);
  r.flag_words = kFlagWords;
  point(r.redo, memory + kPackedBytes);
  r.redo_step = kTileSteps, r.redo_span = 128, r.redo_tiles = tiles_per_row;
  constexpr Shape kRepairShape = {0, /*tile_steps=*/128, /*items_per_tile=*/2, /*blocks_per_sm=*/4,
                                  /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(repair::longconv_direct_fprop, r, kRepairShape, call.batch, call.out_length, call);
}
#endif

#if CUDART_VERSION >= 12000
// fp32 on Hopper: dense_dgrad_split_sm90.
// Its configuration: ways1 slots4 raw1 taps3 interval3 chain1 w8 stationary1 resident0 full0 packers4 cluster1 team0 rows0.
void backward_input_fp32_sm90a(const Call& call) {
  namespace pack = conv1d::pack_weights_dgrad_fp32;
  namespace conv = conv1d::dense_dgrad_split_sm90_fp32;
  namespace repair = conv1d::direct_dgrad_repair_fp32;
  // Workspace: flags, scales, packed weights, one redo bit a tile, the counter of drawn tiles.
  constexpr int64_t kFlagWords = 64, kInverseOffset = 256, kWeightOffset = 512, kPackedBytes = 98816;
  constexpr int64_t kTileSteps = 240;
  const int64_t tiles_per_row = ceil_div(call.length, kTileSteps);
  const int64_t redo_words = ceil_div(call.batch * tiles_per_row, 32);
  const torch::Tensor workspace = torch::empty({kPackedBytes + (redo_words + 1) * 4}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, last_tap(call.weight));
  w.w_out = kKernelSize, w.w_in = kInChannels * kKernelSize, w.w_tap = -1;
  point(w.packed, memory + kWeightOffset);
  point(w.inverse, memory + kInverseOffset);
  point(w.flags, memory);
  point(w.state, memory + kPackedBytes);
  w.state_words = redo_words + 1;
  constexpr Shape kPackShape = {/*blocks=*/64, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(pack::longconv_pack_weights, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.y.data_ptr());
  point(p.y, call.x.data_ptr());
  p.x_batch = kOutChannels * call.out_length, p.x_channel = call.out_length, p.x_time = 1;
  p.y_batch = kInChannels * call.length, p.y_channel = call.length;
  p.length = call.out_length, p.out_length = call.length;
  p.pad_left = 2;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  point(p.weight_inverse, memory + kInverseOffset);
  point(p.redo, memory + kPackedBytes);
  point(p.drawn, memory + kPackedBytes + redo_words * 4);
  constexpr Shape kConvShape = {0, /*tile_steps=*/240, /*items_per_tile=*/1, /*blocks_per_sm=*/1,
                                /*cluster_blocks=*/1, /*threads=*/384, /*shared_bytes=*/230884};
  launch(conv::longconv_dense_fprop_split_sm90, p, kConvShape, call.batch, call.length, call);
  // Tiles that set their bit hold what the tensor cores cannot multiply exactly: again, in plain f32.
  repair::Params r{};
  point(r.x, call.y.data_ptr());
  point(r.y, call.x.data_ptr());
  r.x_batch = kOutChannels * call.out_length, r.x_channel = call.out_length, r.x_time = 1;
  r.y_batch = kInChannels * call.length, r.y_channel = call.length;
  r.length = call.out_length, r.out_length = call.length;
  r.pad_left = 2;
  r.batch = static_cast<int>(call.batch), r.groups = 1;
  point(r.w, last_tap(call.weight));
  r.w_out = kKernelSize, r.w_in = kInChannels * kKernelSize, r.w_tap = -1;
  r.y_time = 1;
  point(r.flags, memory);
  r.flag_words = kFlagWords;
  point(r.redo, memory + kPackedBytes);
  r.redo_step = kTileSteps, r.redo_span = 248, r.redo_tiles = tiles_per_row;
  constexpr Shape kRepairShape = {0, /*tile_steps=*/128, /*items_per_tile=*/1, /*blocks_per_sm=*/4,
                                  /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(repair::longconv_direct_fprop, r, kRepairShape, call.batch, call.length, call);
}
#endif

#if CUDART_VERSION >= 12000
// fp32 on Hopper: dense_wgrad_sm90.
// Its configuration: channels64 taps3 m1 n128 wg3 ways1 steps64 windows1 slots2 y1 packers4 splits132 shares0.
void backward_weight_fp32_sm90a(const Call& call) {
  namespace conv = conv1d::dense_wgrad_sm90_fp32;
  namespace repair = conv1d::direct_wgrad_repair_fp32;
  namespace reduce = conv1d::reduce_wgrad;
  const Splits splits(call, /*chunk_steps=*/64, /*splits=*/132, /*most_chunks=*/25600);
  // Workspace: flags, partial sums, sums that blocks of many chunks carry.
  const int64_t weight_offset = align(splits.count * 4);
  const int64_t end_offset = weight_offset + align(splits.count * kWeights * 4);
  const int64_t carry_offset = end_offset;
  const int64_t carry_bytes = splits.longest() > 128 ? splits.count * 98304 : 0;
  const torch::Tensor workspace = torch::empty({carry_offset + carry_bytes}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  // So few products are not exact enough on tensor cores: every split is computed again.
  const bool few = call.batch * call.out_length < 32;
  C10_CUDA_CHECK(cudaMemsetAsync(memory, few ? 0xff : 0, splits.count * 4, call.stream));
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.dy, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.dy_batch = kOutChannels * call.out_length, p.dy_channel = call.out_length, p.dy_time = 1;
  p.length = call.length, p.out_length = call.out_length;
  splits.put(p.ranges);
  point(p.partials.flags, memory);
  point(p.partials.weight, memory + weight_offset);
  point(p.carry, memory + carry_offset);
  constexpr Shape kConvShape = {0, /*tile_steps=*/1, /*items_per_tile=*/1, /*blocks_per_sm=*/0,
                                /*cluster_blocks=*/1, /*threads=*/512, /*shared_bytes=*/204832};
  launch(conv::longconv_dense_wgrad_sm90, p, kConvShape, splits.count, 1, call);
  // Splits whose flag is set hold what the tensor cores cannot sum exactly: again, in plain f32.
  repair::Params r{};
  point(r.x, call.x.data_ptr());
  point(r.dy, call.y.data_ptr());
  r.x_batch = kInChannels * call.length, r.x_channel = call.length, r.x_time = 1;
  r.dy_batch = kOutChannels * call.out_length, r.dy_channel = call.out_length, r.dy_time = 1;
  r.length = call.length, r.out_length = call.out_length;
  splits.put(r.ranges);
  r.groups = 1;
  point(r.partials.flags, memory);
  point(r.partials.weight, memory + weight_offset);
  constexpr Shape kRepairShape = {0, /*tile_steps=*/1, /*items_per_tile=*/6, /*blocks_per_sm=*/6,
                                  /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
  launch(repair::longconv_direct_wgrad, r, kRepairShape, splits.count, 1, call);
  // The splits in order, rounded once.
  reduce::Params s{};
  point(s.partial, memory + weight_offset);
  point(s.w, call.weight.data_ptr());
  s.splits = splits.count, s.weight_elements = kWeights;
  s.row_elements = kInChannels * kKernelSize, s.kernel_size = kKernelSize;
  s.w_out = kInChannels * kKernelSize, s.w_in = kKernelSize, s.w_tap = 1;
  constexpr Shape kReduceShape = {/*blocks=*/768, 0, 0, 0,
                                  /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
  launch(reduce::longconv_reduce_wgrad, s, kReduceShape, 1, 1, call);
}
#endif

// float32 in TF32 on sm_80 and newer: dense_fprop_sm80.
// Its configuration: warps4 out4 chunks4 taps3 interval2 prefetch3 buffers2 blocks3.
void forward_tf32_sm80(const Call& call) {
  namespace pack = conv1d::pack_fragments_tf32;
  namespace conv = conv1d::dense_fprop_sm80_tf32;
  // Workspace: flags, packed weights.
  constexpr int64_t kWeightOffset = 256, kPackedBytes = 99584;
  const torch::Tensor workspace = torch::empty({kPackedBytes}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, call.weight.data_ptr());
  w.w_out = kInChannels * kKernelSize, w.w_in = kKernelSize, w.w_tap = 1;
  point(w.packed, memory + kWeightOffset);
  point(w.flags, memory);
  constexpr Shape kPackShape = {/*blocks=*/8, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/512, /*shared_bytes=*/0};
  launch(pack::longconv_pack_fragments, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.y, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.y_batch = kOutChannels * call.out_length, p.y_channel = call.out_length;
  p.length = call.length, p.out_length = call.out_length;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  constexpr Shape kConvShape = {0, /*tile_steps=*/64, /*items_per_tile=*/1, /*blocks_per_sm=*/3,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/18432};
  launch(conv::longconv_dense_fprop_sm80, p, kConvShape, call.batch, call.out_length, call);
}

// float32 in TF32 on sm_80 and newer: dense_dgrad_sm80.
// Its configuration: warps4 out2 chunks4 taps3 interval2 prefetch5 buffers2 blocks3.
void backward_input_tf32_sm80(const Call& call) {
  namespace pack = conv1d::pack_fragments_dgrad_tf32;
  namespace conv = conv1d::dense_dgrad_sm80_tf32;
  namespace edges = conv1d::direct_dgrad_edges_tf32;
  // Workspace: flags, packed weights.
  constexpr int64_t kFlagWords = 4, kWeightOffset = 256, kPackedBytes = 99584;
  const torch::Tensor workspace = torch::empty({kPackedBytes}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, last_tap(call.weight));
  w.w_out = kKernelSize, w.w_in = kInChannels * kKernelSize, w.w_tap = -1;
  point(w.packed, memory + kWeightOffset);
  point(w.flags, memory);
  constexpr Shape kPackShape = {/*blocks=*/4, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/512, /*shared_bytes=*/0};
  launch(pack::longconv_pack_fragments, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.y.data_ptr());
  point(p.y, call.x.data_ptr());
  p.x_batch = kOutChannels * call.out_length, p.x_channel = call.out_length, p.x_time = 1;
  p.y_batch = kInChannels * call.length, p.y_channel = call.length;
  p.length = call.out_length, p.out_length = call.length;
  p.pad_left = 2;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  constexpr Shape kConvShape = {0, /*tile_steps=*/128, /*items_per_tile=*/1, /*blocks_per_sm=*/3,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/26624};
  launch(conv::longconv_dense_fprop_sm80, p, kConvShape, call.batch, call.length, call);
  // Zeros stood for what is outside of y, and 0 * Inf is NaN: the edges again where a weight is not finite.
  edges::Params e{};
  point(e.x, call.y.data_ptr());
  point(e.y, call.x.data_ptr());
  e.x_batch = kOutChannels * call.out_length, e.x_channel = call.out_length, e.x_time = 1;
  e.y_batch = kInChannels * call.length, e.y_channel = call.length;
  e.length = call.out_length, e.out_length = call.length;
  e.pad_left = 2;
  e.batch = static_cast<int>(call.batch), e.groups = 1;
  point(e.w, last_tap(call.weight));
  e.w_out = kKernelSize, e.w_in = kInChannels * kKernelSize, e.w_tap = -1;
  e.y_time = 1;
  point(e.flags, memory);
  e.flag_words = kFlagWords;
  constexpr Shape kEdgesShape = {0, /*tile_steps=*/128, /*items_per_tile=*/1, /*blocks_per_sm=*/4,
                                 /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(edges::longconv_direct_fprop, e, kEdgesShape, call.batch, call.length, call);
}

// float32 in TF32 on sm_80 and newer: dense_wgrad_sm80.
// Its configuration: m4 in1 wout2 win2 taps3 blocks2 splits648.
void backward_weight_tf32_sm80(const Call& call) {
  namespace conv = conv1d::dense_wgrad_sm80_tf32;
  namespace repair = conv1d::direct_wgrad_repair_tf32;
  namespace reduce = conv1d::reduce_wgrad;
  const Splits splits(call, /*chunk_steps=*/32, /*splits=*/648, /*most_chunks=*/8800);
  // Workspace: flags, partial sums.
  const int64_t weight_offset = align(splits.count * 4);
  const int64_t end_offset = weight_offset + align(splits.count * kWeights * 4);
  const torch::Tensor workspace = torch::empty({end_offset}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  // Zeros stand for steps behind the end of y, and 0 * Inf is NaN.
  const bool ragged = call.out_length % 32 != 0;
  if (ragged) C10_CUDA_CHECK(cudaMemsetAsync(memory, 0, splits.count * 4, call.stream));
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.dy, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.dy_batch = kOutChannels * call.out_length, p.dy_channel = call.out_length, p.dy_time = 1;
  p.length = call.length, p.out_length = call.out_length;
  splits.put(p.ranges);
  p.groups = 1;
  point(p.partials.flags, memory);
  point(p.partials.weight, memory + weight_offset);
  constexpr Shape kConvShape = {0, /*tile_steps=*/1, /*items_per_tile=*/2, /*blocks_per_sm=*/2,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/48128};
  launch(conv::longconv_dense_wgrad_sm80, p, kConvShape, splits.count, 1, call);
  // Splits whose flag is set hold what the tensor cores cannot sum exactly: again, in plain f32.
  if (ragged) {
    repair::Params r{};
    point(r.x, call.x.data_ptr());
    point(r.dy, call.y.data_ptr());
    r.x_batch = kInChannels * call.length, r.x_channel = call.length, r.x_time = 1;
    r.dy_batch = kOutChannels * call.out_length, r.dy_channel = call.out_length, r.dy_time = 1;
    r.length = call.length, r.out_length = call.out_length;
    splits.put(r.ranges);
    r.groups = 1;
    point(r.partials.flags, memory);
    point(r.partials.weight, memory + weight_offset);
    constexpr Shape kRepairShape = {0, /*tile_steps=*/1, /*items_per_tile=*/6, /*blocks_per_sm=*/6,
                                    /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
    launch(repair::longconv_direct_wgrad, r, kRepairShape, splits.count, 1, call);
  }
  // The splits in order, rounded once.
  reduce::Params s{};
  point(s.partial, memory + weight_offset);
  point(s.w, call.weight.data_ptr());
  s.splits = splits.count, s.weight_elements = kWeights;
  s.row_elements = kInChannels * kKernelSize, s.kernel_size = kKernelSize;
  s.w_out = kInChannels * kKernelSize, s.w_in = kKernelSize, s.w_tap = 1;
  constexpr Shape kReduceShape = {/*blocks=*/768, 0, 0, 0,
                                  /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
  launch(reduce::longconv_reduce_wgrad, s, kReduceShape, 1, 1, call);
}

// fp32 on sm_80 and newer: dense_fprop_sm80.
// Its configuration: warps4 out4 chunks2 taps3 interval3 prefetch2 buffers1 blocks2.
void forward_fp32_sm80(const Call& call) {
  namespace pack = conv1d::pack_fragments_fp32;
  namespace conv = conv1d::dense_fprop_sm80_fp32;
  namespace repair = conv1d::direct_fprop_repair_fp32;
  // Workspace: flags, scales, packed weights, one redo bit a tile.
  constexpr int64_t kFlagWords = 8, kInverseOffset = 256, kWeightOffset = 768, kPackedBytes = 102144;
  constexpr int64_t kTileSteps = 64;
  const int64_t tiles_per_row = ceil_div(call.out_length, kTileSteps);
  const int64_t redo_words = ceil_div(call.batch * tiles_per_row, 32);
  const torch::Tensor workspace = torch::empty({kPackedBytes + (redo_words) * 4}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, call.weight.data_ptr());
  w.w_out = kInChannels * kKernelSize, w.w_in = kKernelSize, w.w_tap = 1;
  point(w.packed, memory + kWeightOffset);
  point(w.inverse, memory + kInverseOffset);
  point(w.flags, memory);
  point(w.state, memory + kPackedBytes);
  w.state_words = redo_words;
  constexpr Shape kPackShape = {/*blocks=*/8, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/512, /*shared_bytes=*/0};
  launch(pack::longconv_pack_fragments, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.y, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.y_batch = kOutChannels * call.out_length, p.y_channel = call.out_length;
  p.length = call.length, p.out_length = call.out_length;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  point(p.weight_inverse, memory + kInverseOffset);
  point(p.redo, memory + kPackedBytes);
  constexpr Shape kConvShape = {0, /*tile_steps=*/64, /*items_per_tile=*/1, /*blocks_per_sm=*/2,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/13856};
  launch(conv::longconv_dense_fprop_sm80, p, kConvShape, call.batch, call.out_length, call);
  // Tiles that set their bit hold what the tensor cores cannot multiply exactly: again, in plain f32.
  repair::Params r{};
  point(r.x, call.x.data_ptr());
  point(r.y, call.y.data_ptr());
  r.x_batch = kInChannels * call.length, r.x_channel = call.length, r.x_time = 1;
  r.y_batch = kOutChannels * call.out_length, r.y_channel = call.out_length;
  r.length = call.length, r.out_length = call.out_length;
  r.batch = static_cast<int>(call.batch), r.groups = 1;
  point(r.w, call.weight.data_ptr());
  r.w_out = kInChannels * kKernelSize, r.w_in = kKernelSize, r.w_tap = 1;
  r.y_time = 1;
  point(r.flags, memory);
  r.flag_words = kFlagWords;
  point(r.redo, memory + kPackedBytes);
  r.redo_step = kTileSteps, r.redo_span = 64, r.redo_tiles = tiles_per_row;
  constexpr Shape kRepairShape = {0, /*tile_steps=*/128, /*items_per_tile=*/2, /*blocks_per_sm=*/4,
                                  /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(repair::longconv_direct_fprop, r, kRepairShape, call.batch, call.out_length, call);
}

// fp32 on sm_80 and newer: dense_dgrad_sm80.
// Its configuration: warps4 out2 chunks2 taps3 interval3 prefetch3 buffers1 blocks2.
void backward_input_fp32_sm80(const Call& call) {
  namespace pack = conv1d::pack_fragments_dgrad_fp32;
  namespace conv = conv1d::dense_dgrad_sm80_fp32;
  namespace repair = conv1d::direct_dgrad_repair_fp32;
  // Workspace: flags, scales, packed weights, one redo bit a tile.
  constexpr int64_t kFlagWords = 4, kInverseOffset = 256, kWeightOffset = 512, kPackedBytes = 101888;
  constexpr int64_t kTileSteps = 128;
  const int64_t tiles_per_row = ceil_div(call.length, kTileSteps);
  const int64_t redo_words = ceil_div(call.batch * tiles_per_row, 32);
  const torch::Tensor workspace = torch::empty({kPackedBytes + (redo_words) * 4}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  pack::Params w{};
  point(w.w, last_tap(call.weight));
  w.w_out = kKernelSize, w.w_in = kInChannels * kKernelSize, w.w_tap = -1;
  point(w.packed, memory + kWeightOffset);
  point(w.inverse, memory + kInverseOffset);
  point(w.flags, memory);
  point(w.state, memory + kPackedBytes);
  w.state_words = redo_words;
  constexpr Shape kPackShape = {/*blocks=*/4, 0, 0, 0,
                                /*cluster_blocks=*/1, /*threads=*/512, /*shared_bytes=*/0};
  launch(pack::longconv_pack_fragments, w, kPackShape, 1, 1, call);
  conv::Params p{};
  point(p.x, call.y.data_ptr());
  point(p.y, call.x.data_ptr());
  p.x_batch = kOutChannels * call.out_length, p.x_channel = call.out_length, p.x_time = 1;
  p.y_batch = kInChannels * call.length, p.y_channel = call.length;
  p.length = call.out_length, p.out_length = call.length;
  p.pad_left = 2;
  p.batch = static_cast<int>(call.batch), p.groups = 1;
  point(p.weights, memory + kWeightOffset);
  point(p.weight_inverse, memory + kInverseOffset);
  point(p.redo, memory + kPackedBytes);
  constexpr Shape kConvShape = {0, /*tile_steps=*/128, /*items_per_tile=*/1, /*blocks_per_sm=*/2,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/17952};
  launch(conv::longconv_dense_fprop_sm80, p, kConvShape, call.batch, call.length, call);
  // Tiles that set their bit hold what the tensor cores cannot multiply exactly: again, in plain f32.
  repair::Params r{};
  point(r.x, call.y.data_ptr());
  point(r.y, call.x.data_ptr());
  r.x_batch = kOutChannels * call.out_length, r.x_channel = call.out_length, r.x_time = 1;
  r.y_batch = kInChannels * call.length, r.y_channel = call.length;
  r.length = call.out_length, r.out_length = call.length;
  r.pad_left = 2;
  r.batch = static_cast<int>(call.batch), r.groups = 1;
  point(r.w, last_tap(call.weight));
  r.w_out = kKernelSize, r.w_in = kInChannels * kKernelSize, r.w_tap = -1;
  r.y_time = 1;
  point(r.flags, memory);
  r.flag_words = kFlagWords;
  point(r.redo, memory + kPackedBytes);
  r.redo_step = kTileSteps, r.redo_span = 128, r.redo_tiles = tiles_per_row;
  constexpr Shape kRepairShape = {0, /*tile_steps=*/128, /*items_per_tile=*/1, /*blocks_per_sm=*/4,
                                  /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/0};
  launch(repair::longconv_direct_fprop, r, kRepairShape, call.batch, call.length, call);
}

// fp32 on sm_80 and newer: dense_wgrad_sm80.
// Its configuration: m2 in2 wout4 win1 taps3 blocks2 splits324.
void backward_weight_fp32_sm80(const Call& call) {
  namespace conv = conv1d::dense_wgrad_sm80_fp32;
  namespace repair = conv1d::direct_wgrad_repair_fp32;
  namespace reduce = conv1d::reduce_wgrad;
  const Splits splits(call, /*chunk_steps=*/32, /*splits=*/324, /*most_chunks=*/17600);
  // Workspace: flags, partial sums.
  const int64_t weight_offset = align(splits.count * 4);
  const int64_t end_offset = weight_offset + align(splits.count * kWeights * 4);
  const torch::Tensor workspace = torch::empty({end_offset}, call.x.options().dtype(torch::kUInt8));
  uint8_t* const memory = workspace.data_ptr<uint8_t>();
  // So few products are not exact enough on tensor cores: every split is computed again.
  const bool few = call.batch * call.out_length < 16;
  if (few) C10_CUDA_CHECK(cudaMemsetAsync(memory, few ? 0xff : 0, splits.count * 4, call.stream));
  conv::Params p{};
  point(p.x, call.x.data_ptr());
  point(p.dy, call.y.data_ptr());
  p.x_batch = kInChannels * call.length, p.x_channel = call.length, p.x_time = 1;
  p.dy_batch = kOutChannels * call.out_length, p.dy_channel = call.out_length, p.dy_time = 1;
  p.length = call.length, p.out_length = call.out_length;
  splits.put(p.ranges);
  p.groups = 1;
  point(p.partials.flags, memory);
  point(p.partials.weight, memory + weight_offset);
  constexpr Shape kConvShape = {0, /*tile_steps=*/1, /*items_per_tile=*/2, /*blocks_per_sm=*/2,
                                /*cluster_blocks=*/1, /*threads=*/128, /*shared_bytes=*/25664};
  launch(conv::longconv_dense_wgrad_sm80, p, kConvShape, splits.count, 1, call);
  // Splits whose flag is set hold what the tensor cores cannot sum exactly: again, in plain f32.
  if (few) {
    repair::Params r{};
    point(r.x, call.x.data_ptr());
    point(r.dy, call.y.data_ptr());
    r.x_batch = kInChannels * call.length, r.x_channel = call.length, r.x_time = 1;
    r.dy_batch = kOutChannels * call.out_length, r.dy_channel = call.out_length, r.dy_time = 1;
    r.length = call.length, r.out_length = call.out_length;
    splits.put(r.ranges);
    r.groups = 1;
    point(r.partials.flags, memory);
    point(r.partials.weight, memory + weight_offset);
    constexpr Shape kRepairShape = {0, /*tile_steps=*/1, /*items_per_tile=*/6, /*blocks_per_sm=*/6,
                                    /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
    launch(repair::longconv_direct_wgrad, r, kRepairShape, splits.count, 1, call);
  }
  // The splits in order, rounded once.
  reduce::Params s{};
  point(s.partial, memory + weight_offset);
  point(s.w, call.weight.data_ptr());
  s.splits = splits.count, s.weight_elements = kWeights;
  s.row_elements = kInChannels * kKernelSize, s.kernel_size = kKernelSize;
  s.w_out = kInChannels * kKernelSize, s.w_in = kKernelSize, s.w_tap = 1;
  constexpr Shape kReduceShape = {/*blocks=*/768, 0, 0, 0,
                                  /*cluster_blocks=*/1, /*threads=*/256, /*shared_bytes=*/0};
  launch(reduce::longconv_reduce_wgrad, s, kReduceShape, 1, 1, call);
}

void forward(const Call& call, bool tf32) {
#if CUDART_VERSION >= 12000
  if (call.major == 9 && call.minor == 0) return tf32 ? forward_tf32_sm90a(call) : forward_fp32_sm90a(call);
#endif
  TORCH_CHECK(call.major >= 8, "expected a GPU of compute capability 8.0 or newer, but got ", call.major, ".",
              call.minor);
  tf32 ? forward_tf32_sm80(call) : forward_fp32_sm80(call);
}

void backward_input(const Call& call, bool tf32) {
#if CUDART_VERSION >= 12000
  if (call.major == 9 && call.minor == 0) return tf32 ? backward_input_tf32_sm90a(call) : backward_input_fp32_sm90a(call);
#endif
  TORCH_CHECK(call.major >= 8, "expected a GPU of compute capability 8.0 or newer, but got ", call.major, ".",
              call.minor);
  tf32 ? backward_input_tf32_sm80(call) : backward_input_fp32_sm80(call);
}

void backward_weight(const Call& call, bool tf32) {
#if CUDART_VERSION >= 12000
  if (call.major == 9 && call.minor == 0) return tf32 ? backward_weight_tf32_sm90a(call) : backward_weight_fp32_sm90a(call);
#endif
  TORCH_CHECK(call.major >= 8, "expected a GPU of compute capability 8.0 or newer, but got ", call.major, ".",
              call.minor);
  tf32 ? backward_weight_tf32_sm80(call) : backward_weight_fp32_sm80(call);
}

}  // namespace

torch::Tensor conv1d_forward(torch::Tensor x, torch::Tensor weight, bool tf32) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t out_length = (x.size(2) - (kKernelSize - 1) * kDilation - 1) / kStride + 1;
  const torch::Tensor y = torch::empty({x.size(0), kOutChannels, out_length}, x.options());
  if (x.size(0) > 0) forward({x.contiguous(), weight.contiguous(), {}, y}, tf32);
  return y;
}

torch::Tensor conv1d_backward_input(torch::Tensor grad_y, torch::Tensor weight, int64_t length, bool tf32) {
  const c10::cuda::CUDAGuard guard(grad_y.device());
  // Rows of whole vectors of 16 bytes: what no window reaches is zero, and cut off.
  const int64_t row = ceil_div(length, 4) * 4;
  const torch::Tensor grad_x = torch::empty({grad_y.size(0), kInChannels, row}, grad_y.options());
  if (grad_y.size(0) > 0) backward_input({grad_x, weight.contiguous(), {}, grad_y.contiguous()}, tf32);
  return row == length ? grad_x : grad_x.narrow(2, 0, length);
}

torch::Tensor conv1d_backward_weight(torch::Tensor x, torch::Tensor grad_y, bool tf32) {
  const c10::cuda::CUDAGuard guard(x.device());
  torch::Tensor grad_weight = torch::empty({kOutChannels, kInChannels, kKernelSize}, x.options());
  if (x.size(0) == 0) return grad_weight.zero_();
  backward_weight({x.contiguous(), grad_weight, {}, grad_y.contiguous()}, tf32);
  return grad_weight;
}
"""


@functools.cache
def _extension():
    """Compile the source, once for a machine: some minutes."""
    cuda = tuple(map(int, (torch.version.cuda or "0").split(".")))
    if cuda < (11, 7):
        raise RuntimeError(f"expected a PyTorch for CUDA 11.7 or newer, but got one for {torch.version.cuda}")
    targets = ["-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_80,code=compute_80"]
    if cuda >= (12,):
        targets.append("-gencode=arch=compute_90a,code=sm_90a")
    standard = ["-std=c++17"] if torch.__version__.startswith("1.") else []  # newer ones ask for theirs
    return load_inline(
        name="longconv_conv1d_a18463bb2ef2",
        cpp_sources=declarations,
        cuda_sources=device_source + launcher_source,
        functions=["conv1d_forward", "conv1d_backward_input", "conv1d_backward_weight"],
        extra_cflags=["-O3", *standard],
        extra_cuda_cflags=["-O3", "-diag-suppress=177", "-t=0", *standard, *targets],  # -t: targets side by side
    )


# --- The model -------------------------------------------------------------------------------------------------------


class _Conv1d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.length = x.size(2)
        wants = ctx.needs_input_grad
        ctx.save_for_backward(x if wants[1] else None, weight if wants[0] else None)
        return _extension().conv1d_forward(x, weight, torch.backends.cudnn.allow_tf32)

    @staticmethod
    def backward(ctx, grad_y):
        if torch.is_grad_enabled():
            raise NotImplementedError("gradients of this file have no derivative: for create_graph use longconv")
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _extension().conv1d_backward_input(grad_y, weight, ctx.length, torch.backends.cudnn.allow_tf32)
        if ctx.needs_input_grad[1]:
            grad_weight = _extension().conv1d_backward_weight(x, grad_y, torch.backends.cudnn.allow_tf32)
        return grad_x, grad_weight


class Conv1dFromScratch(nn.Module):
    """The layer, with PyTorch's arguments and initial values for the same seed."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, bias=False):
        super().__init__()
        sizes = (in_channels, out_channels, kernel_size, stride, dilation, bool(bias))
        if sizes != (64, 128, 3, 1, 1, False):
            raise ValueError(
                "(in_channels, out_channels, kernel_size, stride, dilation, bias): this file is compiled for "
                f"(64, 128, 3, 1, 1, False), but got {sizes}: make another with longconv eject"
            )
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.register_parameter("bias", None)

    def forward(self, x):
        """(batch, in_channels, length) to (batch, out_channels, length_out)."""
        if not x.is_cuda:
            raise RuntimeError(f"x: expected a CUDA tensor, but got one on {x.device}: the kernels need an NVIDIA GPU")
        if x.dim() != 3 or x.size(1) != in_channels or x.size(2) <= (kernel_size - 1) * dilation:
            raise ValueError(
                f"x: expected the shape (batch, {in_channels}, more than {(kernel_size - 1) * dilation}), "
                f"but got {tuple(x.shape)}"
            )
        if x.dtype != torch.float32 or self.weight.dtype != x.dtype or self.weight.device != x.device:
            raise TypeError(
                "x and weight: expected torch.float32 on one device, but got "
                f"{x.dtype} on {x.device} and {self.weight.dtype} on {self.weight.device}"
            )
        return _Conv1d.apply(x, self.weight)


class ModelNew(nn.Module):
    """One convolution."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, bias=False):
        super().__init__()
        self.conv1d = Conv1dFromScratch(in_channels, out_channels, kernel_size, stride, dilation, bias)

    def forward(self, x):
        """(batch, in_channels, length) to (batch, out_channels, length_out)."""
        return self.conv1d(x)


def get_inputs():
    """One batch, uniform in [0, 1)."""
    return [torch.rand(batch_size, in_channels, length)]


def get_init_inputs():
    """Arguments of ModelNew."""
    return [in_channels, out_channels, kernel_size, stride, dilation]


if torch.cuda.is_available():
    _extension()
