// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Of dense_wgrad_sm90.cuh: its problem and configuration as constants, what follows from them, and which part of the work is
// whose.
#pragma once
#include "ptx/control.cuh"
#include "ptx/mbarrier.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/pack_steps.cuh"
#include "tile/warp_arrival.cuh"
#include "tile/wgrad_ranges.cuh"
#include "tile/wgrad_shares.cuh"

// --- the problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 3 f32; channels are per group
#if LC_ELEMENT == 1
using Element = bf16;
using MmaType = bf16;
#elif LC_ELEMENT == 2
using Element = f16;
using MmaType = f16;
#else
using Element = float;
using MmaType = tf32;
#endif
constexpr int kConvGroups = LC_GROUPS, kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS, kKernel = LC_KERNEL_SIZE;
constexpr int kStride = LC_STRIDE, kDilation = LC_DILATION;
constexpr Pad kPad = static_cast<Pad>(LC_PAD);
constexpr Activation kGradientOf = static_cast<Activation>(LC_ACTIVATION_GRADIENT);
constexpr bool kGradient = kGradientOf != Activation::none;  // dy is dL/dz, formed where forward's result arrives beside dL/dy
constexpr bool kBias = LC_BIAS, kGatherX = LC_GATHER_X, kGatherY = LC_GATHER_Y;
constexpr bool kPlacedY = LC_PLACED_Y;  // 16-bit, every row of dy begins on 16 bytes
constexpr bool kPairs = LC_PAIRS;  // 16-bit, stride 1: every (channel, tap) row of x begins on 4 bytes

// --- the configuration
constexpr int kTileChannels = LC_TILE_CHANNELS, kTaps = LC_TAPS, kM = LC_M_BLOCKS, kN = LC_COLUMNS;
constexpr int kColumnWays = LC_COLUMN_WAYS, kRowWays = LC_WARPGROUPS / kColumnWays, kSteps = LC_STEPS, kWindows = LC_WINDOWS;
constexpr int kSlots = LC_SLOTS, kYStages = LC_Y_STAGES, kPackers = LC_PACKERS;
constexpr bool kShares = LC_SHARES;  // a block sums a segment of an equal share (tile/wgrad_shares.cuh), else a split

constexpr int kBytes = sizeof(Element), kStepK = 32 / kBytes, kMmaWarps = 4 * LC_WARPGROUPS, kMmaThreads = 32 * kMmaWarps, kThreads = kMmaThreads + 32 * kPackers;
constexpr bool kSplit = LC_ELEMENT == 3;
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

static_assert(kSharedBytes <= LC_SHARED_BYTES && LC_SHARED_BYTES <= 232448, "the launcher reckons as this file does");
static_assert(kColumnWays * kRowWays == LC_WARPGROUPS && (LC_WARPGROUPS == 2 || (kThree && kColumnWays == 1)), "the warpgroups");
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
#if LC_ACTIVATION_GRADIENT || LC_SHARES
  int64_t to_forward_y;  // bytes, from an element of dy
  float negative_slope;
#endif
#if LC_SHARES
  ShareOrder order;
#endif
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
