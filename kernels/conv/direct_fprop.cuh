// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Direct forward convolution with ordinary multiply-adds: every dtype, stride, padding, group count and tensor layout.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient (LC_TRANSPOSED): then x is dy, y is dx, and y comes in LC_PHASES interleaved phases (tile/phases.cuh), each a
// convolution of its own with stride 1. A block does a tile of one phase. LC_ACTIVATION_GRADIENT, an activation of the forward pass: x
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
#include "ptx/control.cuh"
#include "tile/common.cuh"
#include "tile/activation.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/phases.cuh"
#include "tile/signal.cuh"
#include "tile/visit_marked.cuh"
#include "tile/weight_flags.cuh"

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group
constexpr int kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS;
constexpr int64_t kKernel = LC_KERNEL_SIZE, kStride = LC_STRIDE, kPhases = LC_PHASES;
using Taps = Phases<kPhases, LC_DILATION, LC_PHASE_SHIFT, kKernel>;
constexpr int64_t kTapStep = Taps::kPeriod, kDilation = Taps::kRowStep;  // from one tap of a phase to the next: in w, in x
constexpr Pad kPad = static_cast<Pad>(LC_PAD);
constexpr Activation kActivation = static_cast<Activation>(LC_ACTIVATION);
#if LC_ELEMENT == 0
using Element = float;
#elif LC_ELEMENT == 1
using Element = bf16;
#elif LC_ELEMENT == 2
using Element = f16;
#else
using Element = double;
#endif
template <class E> struct SumType { using Type = float; };
template <> struct SumType<double> { using Type = double; };
using Sum = SumType<Element>::Type;

// --- configuration
constexpr int kThreadOut = LC_THREAD_OUT, kThreadTime = LC_THREAD_TIME, kOutThreads = LC_OUT_THREADS, kThreads = 128;
constexpr int kTimeThreads = kThreads / kOutThreads;
constexpr int kOutTile = kThreadOut * kOutThreads, kTimeTile = kThreadTime * kTimeThreads;
constexpr int kStageChannels = LC_STAGE_CHANNELS, kStageTaps = LC_STAGE_TAPS, kLoads = LC_LOADS;  // kLoads: under way at a time
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
#if LC_ACTIVATION_GRADIENT
  int64_t to_forward_y;  // bytes, from an element of x
#endif
};

LC_DEVICE Element sample_at(const Params& p, const Element* x, int64_t offset) {
#if LC_ACTIVATION_GRADIENT
  return activation_gradient<static_cast<Activation>(LC_ACTIVATION_GRADIENT)>(x[offset], beside(x, p.to_forward_y)[offset], p.negative_slope);
#else
  return x[offset];
#endif
}

LC_DEVICE Sum widen(double v) { return static_cast<Sum>(v); }
// LC_TF32: operands as the TF32 kernels take them, so that a result does not depend on which kernel was chosen.
LC_DEVICE float widen(float v) { return LC_TF32 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
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
#if LC_MODE == 1
  MarkedWords<kThreads> marked;
  bool finite;  // the weights: no register for it
#endif
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
#if LC_MODE == 2
  const int64_t begin = tile.first_sample(tile.t0);
  const int64_t end = begin + (kTimeTile - 1) * kStride + (tile.taps - 1) * kDilation;
  return begin < 0 || end >= p.length;
#else
  return true;
#endif
}

template <bool kExact> LC_DEVICE void compute(const Params& p, const Tile& tile, Sum (&total)[kThreadOut][kThreadTime]) {
  const int a = threadIdx.x / kTimeThreads, b = threadIdx.x % kTimeThreads;
  const Element* x = p.x + tile.batch * p.x_batch + tile.group * static_cast<int64_t>(kInChannels) * p.x_channel;
  const Element* w = p.w + tile.group * (LC_TRANSPOSED ? kInChannels * p.w_in : kOutChannels * p.w_out) + tile.out0 * p.w_out +
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
      if (LC_SKIP && ((t >= p.skip_begin[0] && t < p.skip_end[0]) || (t >= p.skip_begin[1] && t < p.skip_end[1]))) continue;
      const int64_t first = tile.first_sample(step);
      if (LC_MODE == 2 && first >= 0 && first + reach < p.length) continue;
      Sum v = total[o][j];
      if (LC_BIAS) v += to_sum(p.bias[channel * p.bias_channel]);
      if (LC_RESIDUAL) v += to_sum(p.residual[tile.batch * p.residual_batch + channel * p.residual_channel + t * p.residual_time]);
      v = activate<kActivation>(v, p.negative_slope);
      narrow(v, p.y[tile.batch * p.y_batch + channel * p.y_channel + t * p.y_time]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(kThreads) longconv_direct_fprop(const __grid_constant__ Params p) {
  const int out_tiles = ceil_div(kOutChannels, kOutTile);
  wait_for_previous_kernel();
#if LC_MODE == 1
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
#else
#if LC_MODE == 2
  if (!any_word<kThreads>(p.flags, p.flag_words)) return;
#endif
  const int64_t time_tiles = (p.out_length + kTimeTile * kPhases - 1) / (kTimeTile * kPhases);
  const int64_t phases = kPhases == 1 ? 1 : min(kPhases, p.out_length);  // that have outputs
  const int64_t items = time_tiles * out_tiles * phases * p.batch * p.groups;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    // Phases of a tile one after the other: the sectors that they share meet in the cache.
    const int64_t rest = item / (phases * out_tiles), row = rest / time_tiles;
    const Tile tile(p, row, static_cast<int>(item / phases % out_tiles) * kOutTile, rest % time_tiles * kTimeTile, item % phases);
    if (wanted(p, tile)) compute_tile(p, tile, false);
  }
#endif
}
