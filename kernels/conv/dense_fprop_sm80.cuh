// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Dense forward convolution for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two f16 planes.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have sums of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward pass: dy is dL/dz, formed in registers (tile/activation_gradient.cuh).
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
//     after its last use, so that L2's latency passes during the other k-steps,
//   stores y if this was the tile's last stage, packs the next one; one barrier (two with a single buffer).
//
// fp32 (LC_ELEMENT 4): v * 2^e = hi + lo * 2^-11 (split_f16.cuh), e per stage for x, per channel for w;
//   w x = w_hi x_hi + 2^-11 (w_hi x_lo + w_lo x_hi). Tensor cores truncate when they accumulate: every interval (at most
//   3 k-steps of 16 channels) starts from zero in `part` (hi*hi) and `cross`, and is added to f32 sums, scaled back.
//   A slice of 16 steps at a time, so that both are few registers. The stage's extremes are found in the registers that
//   hold it; a barrier more lets every warp see them. Tiles that f16 cannot carry set their bit in `redo`, for
//   direct_fprop.cuh. Error: docs/design/numerics.md.
// Limits: output time stride 1. Bytes: x once per 32*kWarpsOut output channels, weights from L1 or L2.
#include "ptx/control.cuh"
#include "ptx/global_memory.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/mma_sync.cuh"
#include "tile/activation.cuh"
#include "tile/schedule.cuh"
#include "tile/stage_registers.cuh"

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes
constexpr int kOutChannels = LC_OUT_CHANNELS, kKernel = LC_KERNEL_SIZE;
constexpr Activation kActivation = static_cast<Activation>(LC_ACTIVATION);
#if LC_ELEMENT == 1
using MmaType = bf16;
#elif LC_ELEMENT == 2 || LC_ELEMENT == 4
using MmaType = f16;
#else
using MmaType = tf32;
#endif

// --- configuration
constexpr int kInterval = LC_INTERVAL, kBuffers = LC_BUFFERS, kRowBlocks = LC_ROW_BLOCKS, kSlices = LC_SLICES;

struct C : TapRows<LC_PHASES, LC_PHASE_SHIFT, LC_STRIDE, LC_DILATION, LC_TAPS, kKernel> {
#if LC_ELEMENT == 1
  using Element = bf16;
#elif LC_ELEMENT == 2
  using Element = f16;
#else
  using Element = float;
#endif
  static constexpr bool kSplit = LC_ELEMENT == 4, kResident = false;
  static constexpr int kInChannels = LC_IN_CHANNELS, kCluster = 1;
  static constexpr Pad kPad = static_cast<Pad>(LC_PAD);
  static constexpr Activation kGradientOf = static_cast<Activation>(LC_ACTIVATION_GRADIENT);
  static constexpr int kWarps = LC_WARPS, kWarpsOut = LC_WARPS_OUT, kWarpsTime = kWarps / kWarpsOut;
  static constexpr int kStageChunks = LC_STAGE_CHUNKS, kPrefetch = LC_PREFETCH;
  static constexpr int kBytes = sizeof(Element), kChunk = LC_ELEMENT == 0 ? 4 : 8, kStageChannels = kStageChunks * kChunk;
  static constexpr int kWarpRows = 16 * kRowBlocks, kOutTile = kWarpRows * kWarpsOut, kPasses = ceil_div(kOutChannels, kOutTile);
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

static_assert(C::kSharedBytes == LC_SHARED_BYTES, "the launcher reckons as this file does");

struct Params : FpropParams<Element> {
  const float* weight_inverse;  // LC_ELEMENT 4: 1 / scale of each output channel, a power of two
  uint32_t* redo;               // likewise: one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
#if LC_ACTIVATION_GRADIENT
  int64_t to_forward_y;  // bytes, from an element of x
#endif
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
    const int block16 = item.group * (C::kPasses * C::kOutTile / 16) + (item.pass * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows) / 16;
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
      const int out0 = item.pass * C::kOutTile + warp / C::kWarpsTime * C::kWarpRows + m * 16 + h * 8;
      const int64_t channel0 = item.group * static_cast<int64_t>(kOutChannels) + out0;
      const bool exists = out0 + g < kOutChannels;
      const float bias = LC_BIAS && exists ? to_float(p.bias[channel0 + g]) : 0.f;
      const float inverse = C::kSplit && exists ? p.weight_inverse[channel0 + g] : 1.f;
      const Element* residual =
          LC_RESIDUAL ? p.residual + item.batch * p.residual_batch + (channel0 + g) * p.residual_channel + t_warp + 2 * c * kPhases : nullptr;
      const int here = exists ? columns - 2 * c * kPhases : 0;  // columns from this lane's first one on
      __syncwarp();
#pragma unroll
      for (int pair = 0; pair < 2 * kSlices * kPhases; ++pair) {  // a lane's 2 steps of all phases are 2 * kPhases neighbours
        const int n = pair / kPhases, e = pair % kPhases * 2;
        float v[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          v[i] = fmaf(sum[m][(e + i) % kPhases * (2 * kSlices) + n][2 * h + (e + i) / kPhases], inverse, bias);
          if (LC_RESIDUAL && n * 8 * kPhases + e + i < here) v[i] += to_float(residual[n * 8 * kPhases + e + i]);
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

extern "C" __global__ void __launch_bounds__(kThreads, LC_BLOCKS_PER_SM) longconv_dense_fprop_sm80(const __grid_constant__ Params p) {
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
}
