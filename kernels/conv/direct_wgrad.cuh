// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
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
// LC_ACTIVATION_GRADIENT, an activation of the forward pass: dy is then dL/dz, formed from dL/dy and forward's result as both are read.
// f32 for bf16/f16/f32 (subnormals kept), f64 for f64. LC_TF32: f32 operands are rounded to TF32 first, except for db.
#include "ptx/control.cuh"
#include "tile/common.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/compensated.cuh"
#include "tile/signal.cuh"
#include "tile/wgrad_ranges.cuh"

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group; LC_RESULT: of dw and db, likewise
constexpr int kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS;
constexpr int64_t kKernel = LC_KERNEL_SIZE, kStride = LC_STRIDE, kDilation = LC_DILATION;
constexpr int64_t kColumns = kInChannels * kKernel;
constexpr Pad kPad = static_cast<Pad>(LC_PAD);
template <int kType> struct ElementType { using Type = float; };
template <> struct ElementType<1> { using Type = bf16; };
template <> struct ElementType<2> { using Type = f16; };
template <> struct ElementType<3> { using Type = double; };
using Element = ElementType<LC_ELEMENT>::Type;
using Result = ElementType<LC_RESULT>::Type;
using Sum = ElementType<LC_ELEMENT == 3 ? 3 : 0>::Type;

// --- configuration
constexpr int kThreads = 256, kThreadOut = LC_THREAD_OUT, kThreadColumns = LC_THREAD_COLUMNS;
constexpr int kOutThreads = LC_OUT_THREADS, kColumnThreads = LC_COLUMN_THREADS, kTimeThreads = kThreads / (kOutThreads * kColumnThreads);
constexpr int kOutTile = kThreadOut * kOutThreads, kColumnTile = kThreadColumns * kColumnThreads, kSteps = LC_STEPS;
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
#if LC_ACTIVATION_GRADIENT
  int64_t to_forward_y;  // bytes, from an element of dy
  Sum negative_slope;
#endif
};

LC_DEVICE Element gradient_at(const Params& p, const Element* dy, int64_t offset) {
#if LC_ACTIVATION_GRADIENT
  return activation_gradient<static_cast<Activation>(LC_ACTIVATION_GRADIENT)>(dy[offset], beside(dy, p.to_forward_y)[offset], p.negative_slope);
#else
  return dy[offset];
#endif
}

LC_DEVICE Sum widen(double v) { return static_cast<Sum>(v); }
template <class E> LC_DEVICE float widen(E v) { return to_float(v); }
// LC_TF32: operands as the TF32 kernels take them, so that a result does not depend on which kernel was chosen.
LC_DEVICE double factor(double v) { return v; }
LC_DEVICE float factor(float v) { return LC_TF32 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
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
  const bool sums_bias = LC_BIAS && tile.column0 == 0 && b == 0;
  Compensated<Sum> total[kThreadOut][kThreadColumns], bias_total[LC_BIAS ? kThreadOut : 1];
  Sum part[kThreadOut][kThreadColumns], bias_part[LC_BIAS ? kThreadOut : 1];
  auto close_chains = [&] {
#pragma unroll
    for (int o = 0; o < kThreadOut; ++o) {
#pragma unroll
      for (int j = 0; j < kThreadColumns; ++j) total[o][j].add(part[o][j]), part[o][j] = Sum(0);
      if (LC_BIAS) bias_total[o].add(bias_part[o]), bias_part[o] = Sum(0);
    }
  };
#pragma unroll
  for (int o = 0; o < kThreadOut; ++o) {
#pragma unroll
    for (int j = 0; j < kThreadColumns; ++j) total[o][j].clear(), part[o][j] = Sum(0);
    if (LC_BIAS) bias_total[o].clear(), bias_part[o] = Sum(0);
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
          for (int o = 0; o < kThreadOut; ++o) bias_part[LC_BIAS ? o : 0] += shared.dy[step][a + o * kOutThreads];
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
      if (LC_MODE == 2) narrow(v, p.dw[(row0 + row) * p.dw_out + column / kKernel * p.dw_in + column % kKernel * p.dw_tap]);
      else p.partials.weight[((tile.split * p.groups + tile.group) * kOutChannels + row) * kColumns + column] = v;
    }
    if (LC_BIAS && tile.column0 == 0) {
      const Sum v = sum_of_time_threads(bias_total[o]);
      if (!row_exists || b != 0) continue;
      if (LC_MODE == 2) narrow(v, p.db[(row0 + row) * p.db_stride]);
      else p.partials.bias[tile.split * p.groups * kOutChannels + row0 + row] = v;
    }
  }
}

extern "C" __global__ void __launch_bounds__(kThreads) longconv_direct_wgrad(const __grid_constant__ Params p) {
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
    if (LC_MODE == 1 && p.partials.flags[tile.split] == 0) continue;
    compute(p, tile, turn);
  }
}
