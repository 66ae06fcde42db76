// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Dense weight gradient of stride 1 on Hopper, both operands by tensor maps: TF32, bf16, f16.
//
//   dW[o, i, k] = sum_{n, t} X[n, i, t + k*dilation - pad_left] * dY[n, o, t]        db[o] = sum_{n, t} dY[n, o, t]
//
// As matrices, for one chunk of 128 bytes of steps: D[(k, i), o] += A[(k, i), t] * B[o, t]^T. Rows of x and of dy run along
// the reduction, which is how wgmma wants operands in shared memory. A tap is an offset of a box's coordinate, which must be a
// multiple of 16 bytes (kernel size 1, or such dilations and paddings); what of a box lies outside of a signal arrives as zeros.
// So nobody packs:
//
//   global x, dy (NCW)  --boxes of 128 bytes of time x rows, swizzled-->  shared: slot (x rows, dy rows)  --wgmma-->  acc
//
// Blocks of a cluster that read the same x (neighbours in output channels, kShareX) or the same dy (neighbours in rows, kShareY)
// load a part of it each, for all of them: the second-level cache delivers it once.
//
// Roles (384 threads):
//   warps 0 to 7     two MMA warpgroups, kM x 64 rows x kN columns each
//   warp 8           starts the copies
//   warps 9 to 11    f32: round what has landed to TF32 (ties away; the hardware's own conversion rounds them to even); sum rows of
//                    dy for the bias
// Barriers of a slot: landed (copies) -> dressed (warps 9 to 11, where they round) -> empty (MMA warps, in all blocks that
// copy into it).
//
// Accumulation: tensor cores truncate. A chain of at most 128 k-steps is added to f32 registers, and every kRun chains those go to
// memory of the block's own; where no registers are left, chains go there, which are the longer the more products a sum has, 192 to
// 1536 k-steps. reduce_wgrad.cuh adds the splits.
// A sum that is Inf or NaN flags its split, which direct_wgrad.cuh then computes again: zeros that stand for what does not exist
// may have met Inf or NaN, and f32 values may have left the range of TF32.
//
// Bytes: x once per pair of tiles of output channels and for each tap, dY once per tile of rows.
#include "ptx/bulk_copy.cuh"
#include "ptx/control.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tensor_map.cuh"
#include "ptx/wgmma.cuh"
#include "tile/carried_sums.cuh"
#include "tile/row_sum.cuh"
#include "tile/tf32_pair.cuh"
#include "tile/warp_arrival.cuh"
#include "tile/wgrad_ranges.cuh"

// --- the problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16; channels are per group
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
constexpr int kDilation = LC_DILATION;
constexpr bool kBias = LC_BIAS;

// --- the configuration
constexpr int kTileChannels = LC_TILE_CHANNELS, kTaps = LC_TAPS, kM = LC_M_BLOCKS, kN = LC_COLUMNS, kSlots = LC_SLOTS;
constexpr int kShareX = LC_SHARE_X, kShareY = LC_SHARE_Y, kCluster = kShareX * kShareY;
constexpr int kXBoxRows = LC_X_BOX_ROWS, kYBoxRows = LC_Y_BOX_ROWS;

constexpr int kBytes = sizeof(Element), kRowBytes = 128, kSteps = kRowBytes / kBytes;
constexpr int kMmaWarps = 8, kDressers = 3, kThreads = 32 * (kMmaWarps + 1 + kDressers), kMmaThreads = 32 * kMmaWarps;
constexpr int kRows = 128 * kM, kUsedRows = kTaps * kTileChannels;
constexpr int kRowTiles = ceil_div(kInChannels, kTileChannels), kTapTiles = ceil_div(kKernel, kTaps), kOutTiles = ceil_div(kOutChannels, kN);
constexpr bool kRounds = kBytes == 4;
constexpr int kReleases = kMmaWarps + (kBias && !kRounds ? kDressers : 0);  // of a block's slot, by warps

constexpr int kSharedY = kRows * kRowBytes, kSlotBytes = kSharedY + kN * kRowBytes;
constexpr int kSharedSums = kSlots * kSlotBytes, kSharedBarriers = kSharedSums + (kBias ? kN * 8 : 0);
constexpr int kSharedBytes = kSharedBarriers + 8 * 3 * kSlots;

constexpr int kAccumulators = kM * kN / 2, kStepsOfSlot = kRowBytes / 32;
constexpr bool kSums = kAccumulators <= 96;  // in registers
constexpr int kShortChain = 128 / kStepsOfSlot, kRun = kSums ? 64 : 1;
constexpr int kMmaRegisters = 216, kOtherRegisters = 72;

static_assert(kSharedBytes <= LC_SHARED_BYTES && LC_SHARED_BYTES <= 232448, "the launcher reckons as this file does");
static_assert(register_pool_suffices(kMmaThreads, kMmaRegisters, kThreads - kMmaThreads, kOtherRegisters), "setmaxnreg moves what the launch took");
static_assert(kUsedRows <= kRows && kN % 32 == 0 && kN <= 256 && kAccumulators <= 128, "the tile");
static_assert(kTileChannels % kXBoxRows == 0 && kN % kYBoxRows == 0 && kXBoxRows % 8 == 0 && kYBoxRows % 8 == 0, "boxes are of one tap, of whole swizzles");
static_assert(kOutTiles % kShareX == 0 && kRowTiles * kTapTiles % kShareY == 0, "clusters are full");
static_assert(kSlots >= 2, "a slot is given back when the products of the next one have been started");

struct Params {
  TensorMap x_map, y_map;  // time, channels, signals
  int64_t pad_left;
  WgradRanges ranges;  // chunk_steps is kSteps
  WgradPartials<float> partials;
  float4* carry;  // carried_sums.cuh
  int chain_chunks;  // of a chain that goes to memory
};

// What a block computes. Made anew where it is used: registers are scarce.
struct Tile {
  int split, group, out, outs, channel, channels, tap, taps, rank;  // first of the group, and how many exist
  LC_DEVICE Tile() {
    int index = blockIdx.x;
    forget_origin(index);
    rank = index % kCluster, index /= kCluster;
    out = (index % (kOutTiles / kShareX) * kShareX + rank % kShareX) * kN, index /= kOutTiles / kShareX;
    constexpr int kClusterRows = kRowTiles * kTapTiles / kShareY;
    const int rows = index % kClusterRows * kShareY + rank / kShareX;
    index /= kClusterRows;
    tap = rows % kTapTiles * kTaps, channel = rows / kTapTiles * kTileChannels;
    group = index % kConvGroups, split = index / kConvGroups;
    outs = min(kN, kOutChannels - out);
    channels = min(kTileChannels, kInChannels - channel);
    taps = min(kTaps, kKernel - tap);
  }
  LC_DEVICE int chunks(const Params& p) const { return static_cast<int>(p.ranges.begin(split + 1) - p.ranges.begin(split)); }
  LC_DEVICE bool has_row(int row) const { return row / kTileChannels < taps && row % kTileChannels < channels; }
};

// The ring: a slot's index and the parity of its phase under way.
struct Turn {
  int slot = 0;
  uint32_t phase = 0;
  LC_DEVICE void advance() {
    if (++slot == kSlots) slot = 0, phase ^= 1;
  }
};

struct Barriers {
  uint32_t landed, dressed, empty;
  LC_DEVICE explicit Barriers(uint32_t shared) : landed(shared + kSharedBarriers), dressed(landed + 8 * kSlots), empty(dressed + 8 * kSlots) {}
  LC_DEVICE void init() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(landed + 8 * i, 1);
        barrier_init(dressed + 8 * i, kDressers * kWarpArrivals);
        barrier_init(empty + 8 * i, kReleases * kWarpArrivals * (kShareX + kShareY - 1));
      }
      fence_barrier_init();
    }
    if (kCluster > 1) cluster_sync();
    else __syncthreads();
  }
  // By a warp that has read a slot: to every block that copies into it.
  LC_DEVICE void release(int slot, int lane) const {
    __syncwarp();
    if (!arrives(lane)) return;
    barrier_arrive(empty + 8 * slot);
    if constexpr (kCluster > 1) {
      const int rank = static_cast<int>(cluster_block_rank());
#pragma unroll
      for (int i = 1; i < kShareX; ++i) barrier_arrive_remote(empty + 8 * slot, rank / kShareX * kShareX + (rank % kShareX + i) % kShareX);
#pragma unroll
      for (int i = 1; i < kShareY; ++i) barrier_arrive_remote(empty + 8 * slot, (rank + i * kShareX) % kCluster);
    }
  }
};

// --- the thread that starts copies ---------------------------------------------------------------------------------
// Signals of which a cluster is the only reader must not drive the sums that blocks carry out of the second-level cache.
constexpr bool kReadOnce = kOutTiles == kShareX && kKernel == 1 && kRowTiles == kShareY;

LC_DEVICE void load_box(uint32_t to, const TensorMap& map, int c0, int c1, int c2, uint32_t barrier, int blocks, uint32_t mask) {
  const auto blocks_of = static_cast<uint16_t>(mask);
  if constexpr (kReadOnce && !kSums) {
    if (blocks == 1) tensor_load(to, map, c0, c1, c2, barrier, l2_evict_first());
    else tensor_load_multicast(to, map, c0, c1, c2, barrier, blocks_of, l2_evict_first());
  } else {
    if (blocks == 1) tensor_load(to, map, c0, c1, c2, barrier);
    else tensor_load_multicast(to, map, c0, c1, c2, barrier, blocks_of);
  }
}

LC_DEVICE void load_role(const Params& p, uint32_t shared, const Barriers& barriers) {
  const Tile tile;
  const int of_x = tile.rank % kShareX, of_y = tile.rank / kShareX;  // this block's part of the shared rows
  const uint32_t x_mask = ((1u << kShareX) - 1) << (of_y * kShareX);
  uint32_t y_mask = 0;
  for (int i = 0; i < kShareY; ++i) y_mask |= 1u << (i * kShareX + of_x);
  const int x_row = tile.group * kInChannels + tile.channel, y_row = tile.group * kOutChannels + tile.out;
  ChunkCursor at(p.ranges, p.ranges.begin(tile.split));
  Turn turn;
#pragma unroll 1
  for (int left = tile.chunks(p); left > 0; --left, turn.advance(), at.advance(p.ranges)) {
    barrier_wait(barriers.empty + 8 * turn.slot, turn.phase ^ 1);
    const uint32_t landed = barriers.landed + 8 * turn.slot, slot = shared + turn.slot * kSlotBytes;
    const int step = at.chunk * kSteps;
    barrier_arrive_expect(landed, (kUsedRows + kN) * kRowBytes);
#pragma unroll 1
    for (int row = of_x * kXBoxRows; row < kUsedRows; row += kShareX * kXBoxRows) {
      const int time = step + (tile.tap + row / kTileChannels) * kDilation - static_cast<int>(p.pad_left);
      load_box(slot + row * kRowBytes, p.x_map, time, x_row + row % kTileChannels, at.signal, landed, kShareX, x_mask);
    }
#pragma unroll 1
    for (int row = of_y * kYBoxRows; row < kN; row += kShareY * kYBoxRows)
      load_box(slot + kSharedY + row * kRowBytes, p.y_map, step, y_row + row, at.signal, landed, kShareY, y_mask);
  }
}

// --- warps that change or sum what has landed --------------------------------------------------------------------------
struct DressRole {
  const Params& p;
  const uint32_t shared;
  const Barriers barriers;
  const int thread, lane;  // of kDressers warps
  Tf32Range range;

  static constexpr int kWorkers = 32 * kDressers;
  static LC_DEVICE bool sums(const Tile& tile) { return kBias && tile.channel == 0 && tile.tap == 0; }
  LC_DEVICE uint32_t row_sum(int column) const { return shared + kSharedSums + column * 8; }
  // Where 16 bytes of a row are: swizzled.
  static LC_DEVICE uint32_t unit_at(uint32_t row, int unit) { return row + ((unit ^ (row >> 7 & 7)) << 4); }

  // Rounds a row; its sum before.
  LC_DEVICE float dress_row(uint32_t row) {
    float chain = 0.f;
#pragma unroll
    for (int from = 0; from < 8; from += 4) {
      uint4 units[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) units[i] = load_shared_v4(unit_at(row, from + i));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint32_t v[4] = {units[i].x, units[i].y, units[i].z, units[i].w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if constexpr (kRounds) {
            chain += __uint_as_float(v[j]);
            range.add<1>(v[j]);
            v[j] += kTf32Half;
          } else {
            chain += to_float(Element{static_cast<uint16_t>(v[j])});
            chain += to_float(Element{static_cast<uint16_t>(v[j] >> 16)});
          }
        }
        if (kRounds) store_shared_v4(unit_at(row, from + i), v[0], v[1], v[2], v[3]);
      }
    }
    return chain;
  }
  LC_DEVICE void dress(uint32_t slot, bool add) {
#pragma unroll 1
    for (int row = thread; kRounds && row < kUsedRows; row += kWorkers) dress_row(slot + row * kRowBytes);
#pragma unroll 1
    for (int column = thread; (kRounds || add) && column < kN; column += kWorkers) {
      const float chain = dress_row(slot + kSharedY + column * kRowBytes);
      if (!add) continue;
      RowSum sum = load_row_sum(row_sum(column));
      sum.add(chain);
      store_row_sum(row_sum(column), sum);
    }
  }

  LC_DEVICE void run() {
    const bool add = sums(Tile());
    for (int column = thread; add && column < kN; column += kWorkers) store_row_sum(row_sum(column), RowSum());
    Turn turn;
#pragma unroll 1
    for (int left = Tile().chunks(p); left > 0; --left, turn.advance()) {
      barrier_wait(barriers.landed + 8 * turn.slot, turn.phase);
      dress(shared + turn.slot * kSlotBytes, add);
      if (kRounds) {
        __syncwarp();  // what every lane has stored is the barrier's; who multiplies makes it wgmma's
        if (arrives(lane)) barrier_arrive(barriers.dressed + 8 * turn.slot);
      } else {
        barriers.release(turn.slot, lane);
      }
    }
    if (kRounds && range.left()) p.partials.flags[Tile().split] = 1;
    const Tile tile;
    for (int column = thread; add && column < kN; column += kWorkers) {
      if (column < tile.outs)
        p.partials.bias[(static_cast<int64_t>(tile.split) * kConvGroups + tile.group) * kOutChannels + tile.out + column] = load_row_sum(row_sum(column)).value();
    }
  }
};

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
struct MultiplyRole {
  const Params& p;
  const int warpgroup, warp, lane;
  float acc[kM][kN / 2];
  FinishedChains<kSums, kM, kN / 2> finished;

  LC_DEVICE int row_of(int m, int h) const { return (warpgroup * kM + m) * 64 + warp * 16 + h * 8 + (lane >> 2); }
  LC_DEVICE void store_partial(const float (&sums)[kM][kN / 2]) {
    constexpr int64_t kRow = static_cast<int64_t>(kInChannels) * kKernel;
    const Tile tile;
    float* const out = p.partials.weight + ((static_cast<int64_t>(tile.split) * kConvGroups + tile.group) * kOutChannels + tile.out) * kRow;
    bool finite = true;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(m, h);
        if (!tile.has_row(row)) continue;
        float* const to = out + (tile.channel + row % kTileChannels) * static_cast<int64_t>(kKernel) + tile.tap + row / kTileChannels;
#pragma unroll
        for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int o = 8 * j + 2 * (lane & 3) + e;
            const float v = sums[m][4 * j + 2 * h + e];
            if (o >= tile.outs) continue;
            finite &= v - v == 0.f;
            to[o * kRow] = v;
          }
        }
      }
    }
    if (!finite) p.partials.flags[tile.split] = 1;
  }

  LC_DEVICE void run(uint32_t shared, const Barriers& barriers) {
    const uint64_t a0 = wgmma_descriptor(shared + warpgroup * (kM * 64 * kRowBytes), 16, 8 * kRowBytes, Swizzle::bytes128);
    const uint64_t b0 = wgmma_descriptor(shared + kSharedY, 16, 8 * kRowBytes, Swizzle::bytes128);
    const uint32_t ready = kRounds ? barriers.dressed : barriers.landed;
    finished.clear();
    int chained = 0, runs = 0, before = -1;  // chunks of the chain; finished chains of the run; the slot to give back
    const int chain = kSums ? kShortChain : p.chain_chunks;
    bool carried = false;
    Turn turn;
#pragma unroll 1
    for (int left = Tile().chunks(p); left > 0; --left, turn.advance()) {
      barrier_wait(ready + 8 * turn.slot, turn.phase);
      if (kRounds) fence_proxy_async();
      const uint64_t a = a0 + ((turn.slot * kSlotBytes) >> 4), b = b0 + ((turn.slot * kSlotBytes) >> 4);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kStepsOfSlot; ++step)
#pragma unroll
        for (int m = 0; m < kM; ++m) wgmma<MmaType, kN>(acc[m], a + (m * 64 * kRowBytes + step * 32) / 16, b + step * 2, step > 0 ? 1 : chained);
      wgmma_commit();
      const bool last = left == 1;
      const bool ends = ++chained == chain || last;
      wgmma_wait<1>();
      if (before >= 0) barriers.release(before, lane);
      before = turn.slot;
      if (!ends) continue;
      wgmma_wait<0>();
#pragma unroll
      for (int m = 0; m < kM; ++m) keep_registers(acc[m]);
      barriers.release(before, lane);
      before = -1, chained = 0;
      finished.add(acc);
      if (++runs < kRun || last) continue;
      runs = 0;
      add_carried_sums<kMmaThreads, 16>(p.carry, finished.of(acc), true, !carried);
      finished.clear();
      carried = true;
    }
    if (carried) add_carried_sums<kMmaThreads, 16>(p.carry, finished.of(acc), false, false);
    store_partial(finished.of(acc));
  }
};

extern "C" __global__ void __launch_bounds__(kThreads, 1) longconv_dense_wgrad_tma_sm90(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const Barriers barriers(shared);
  barriers.init();
  if (warp >= kMmaWarps) {
    decrease_registers<kOtherRegisters>();
    if (warp > kMmaWarps) {
      if (kRounds || kBias) DressRole{p, shared, barriers, static_cast<int>(threadIdx.x) - kMmaThreads - 32, lane}.run();
    } else {
      if (elect_one()) load_role(p, shared, barriers);
      allow_next_kernel();  // as in dense_fprop_sm90.cuh
      __syncwarp();
    }
  } else {
    increase_registers<kMmaRegisters>();
    MultiplyRole{p, warp >> 2, warp & 3, lane}.run(shared, barriers);
  }
  if (kCluster > 1) cluster_sync();  // nobody's memory ends before others have copied into it
}
