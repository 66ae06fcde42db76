// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
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
// LC_ACTIVATION_GRADIENT, an activation of the forward pass: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).
#include "ptx/control.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/mma_sync.cuh"
#include "tile/wgrad_ranges.cuh"
#include "tile/wgrad_stage.cuh"

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes; channels are per group
constexpr int kOutChannels = LC_OUT_CHANNELS;
constexpr int kColumns = LC_FLAT ? LC_IN_CHANNELS * LC_KERNEL_SIZE : LC_IN_CHANNELS, kTapColumns = LC_FLAT ? 1 : LC_KERNEL_SIZE;
#if LC_ELEMENT == 1
using MmaType = bf16;
#elif LC_ELEMENT == 0
using MmaType = tf32;
#else
using MmaType = f16;
#endif

struct C : Polyphase<LC_STRIDE, LC_DILATION, LC_TAPS> {
#if LC_ELEMENT == 1
  using Element = bf16;
#elif LC_ELEMENT == 2
  using Element = f16;
#else
  using Element = float;
#endif
  static constexpr bool kSplit = LC_ELEMENT == 4, kTf32 = LC_ELEMENT == 0, kFlat = LC_FLAT;
  static constexpr bool kUnitTime = LC_UNIT_TIME;
  static constexpr int kKernel = LC_KERNEL_SIZE;
  static constexpr Pad kPad = static_cast<Pad>(LC_PAD);
  static constexpr Activation kGradientOf = static_cast<Activation>(LC_ACTIVATION_GRADIENT);
  static constexpr int kWarpM = LC_WARP_M, kWarpI = LC_WARP_IN, kWarpsOut = LC_WARPS_OUT, kWarpsIn = LC_WARPS_IN;
  static constexpr int kThreads = 32 * kWarpsOut * kWarpsIn, kStep = LC_STEP, kBuffers = kSplit ? 1 : 2;
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
  static constexpr int kPassM = kSplit && kWarpM > 2 ? 2 : kWarpM;  // fragments of dy at a time
};
static_assert(C::kStep % (C::kKStep * C::kInterval) == 0 && C::kWarpM % C::kPassM == 0, "whole intervals and passes");
static_assert(C::kSharedBytes == LC_SHARED_BYTES, "the launcher reckons as this file does");
using Element = C::Element;
using Stage = WgradStage<C>;
constexpr int kThreads = C::kThreads, kRunStages = LC_RUN_STAGES;
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
#if LC_ACTIVATION_GRADIENT
  int64_t to_forward_y;  // bytes, from an element of dy
  float negative_slope;
#endif
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
    return {p.x + signal * p.x_batch + (tile.group * static_cast<int64_t>(LC_IN_CHANNELS) + (C::kFlat ? 0 : tile.in0)) * p.x_channel,
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
  for (int m0 = 0; m0 < C::kWarpM; m0 += C::kPassM)
#pragma unroll
    for (int interval = 0; interval < C::kIntervals; ++interval) {
      uint32_t a[C::kInterval][C::kPassM][kPlanes][4];
#pragma unroll
      for (int q = 0; q < C::kInterval; ++q)
#pragma unroll
        for (int m = 0; m < C::kPassM; ++m)
#pragma unroll
          for (int plane = 0; plane < kPlanes; ++plane)
            load_matrix_x4(a[q][m][plane], dy + (m0 + m) * 16 * C::kDyPitch + (interval * C::kInterval + q) * 32 + plane * C::kDyPlaneBytes);
#pragma unroll
      for (int slice = 0; slice < C::kSlices; ++slice) {
        const int tap = slice % C::kTaps, block = slice / C::kTaps;
        const uint32_t rows = x + (block * (16 / C::kChunk) * C::kChunkRows + C::tap_row(tap, C::kPlaneRows) + interval * C::kInterval * C::kKStep) * 16;
        float part[C::kPassM][2][4] = {}, cross[C::kSplit ? C::kPassM : 1][2][4] = {};
#pragma unroll
        for (int q = 0; q < C::kInterval; ++q) {
          uint32_t b[kPlanes][4];
#pragma unroll
          for (int plane = 0; plane < kPlanes; ++plane) load_x(b[plane], rows + q * C::kKStep * 16 + plane * C::kXPlaneBytes, lane);
          if constexpr (C::kSplit) {
#pragma unroll
            for (int j = 0; j < 2 * C::kPassM; ++j) multiply(cross[j >> 1][j & 1], a[q][j >> 1][0], b[1][2 * (j & 1)], b[1][2 * (j & 1) + 1]);
          }
#pragma unroll
          for (int j = 0; j < 2 * C::kPassM; ++j) multiply(part[j >> 1][j & 1], a[q][j >> 1][0], b[0][2 * (j & 1)], b[0][2 * (j & 1) + 1]);
          if constexpr (C::kSplit) {
#pragma unroll
            for (int j = 0; j < 2 * C::kPassM; ++j) multiply(cross[j >> 1][j & 1], a[q][j >> 1][1], b[0][2 * (j & 1)], b[0][2 * (j & 1) + 1]);
          }
        }
#pragma unroll
        for (int j = 0; j < 8 * C::kPassM; ++j) {
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
  const bool sums_bias = LC_BIAS && tile.in0 == 0 && tile.tap0 == 0;
  Position at{static_cast<int>(begin / p.ranges.chunks_per_signal), static_cast<int>(begin % p.ranges.chunks_per_signal)};
  Sums sum = {};
  float bias[LC_BIAS ? Stage::kDyUnits : 1] = {};
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
        bias[LC_BIAS ? u : 0] += value_of_bits(stage.dy[u][0], Element{}) + value_of_bits(stage.dy[u][1], Element{});
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
          float v = bias[LC_BIAS ? u : 0];
#pragma unroll
          for (int lanes = 1; lanes < min_of(32, C::kStep / 2); lanes *= 2) v += __shfl_xor_sync(~0u, v, lanes);
          const int row = Stage::dy_row(u);
          if (Stage::dy_step() == 0 && row < C::kOutTile && tile.out0 + row < kOutChannels) {
            float* to = p.partials.bias + (static_cast<int64_t>(tile.split) * p.groups + tile.group) * kOutChannels + tile.out0 + row;
            *to = begins ? v : *to + v;
          }
          bias[LC_BIAS ? u : 0] = 0.f;
        }
      }
      run = 0;
      begins = false;
    }
  }
}

extern "C" __global__ void __launch_bounds__(kThreads, LC_BLOCKS_PER_SM) longconv_dense_wgrad_sm80(const __grid_constant__ Params p) {
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
}
