// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Dense weight gradient on Hopper: TF32, bf16, f16, and fp32 as pairs of TF32 numbers.
//
//   dW[o, i, k] = sum_{n, t} X[n, i, t*stride + k*dilation - pad_left] * dY[n, o, t]        db[o] = sum_{n, t} dY[n, o, t]
//
// As matrices, for one chunk of kSteps steps: D[(k, i), o] += A[(k, i), t] * B[o, t]^T. A comes from registers, straight from
// raw rows of x: row (k, i) is channel i from element k*dilation on, every stride-th: taps, strides and alignment are
// addresses. B is dY, whose rows already run along K: they are copied into wgmma's layout 16 bytes at a time.
//
//   global x (NCW)   shared: slot s                                   registers
//   rows i     --bulk-->  raw rows of x          --ld.shared-->  A  \
//   global dy                                                        wgmma --> acc[block of 64 (k, i)][o] --> partial sums
//   rows o     --bulk-->  raw --pack--> steps x o  ------------>  B /
//
// A block computes a tile of dW (kTaps x kTileChannels rows of D, kColumns * kColumnWays output channels) over one split, a
// fixed range of (batch, time); the tile stays in registers throughout. Roles (384 threads):
//   warps 0-7   two MMA warpgroups, kM x 64 rows x kN columns each: over rows (kRowWays 2) or columns (kColumnWays 2)
//   warps 8-11  packers: each loads a quarter of the rows of x and its own rows of dy, a lane packs a row
// Barriers: raw full (bytes; a packer's own) -> slot full (4 packers) -> slot empty (8 MMA warps).
//
// Accumulation: tensor cores truncate. fp32: hi*hi + (hi*lo + lo*hi) of one chunk, then added to f32 registers; every
// kCarryChunks chunks the sums go to memory of the block's own and begin again at zero. Others: one chain of kCarryChunks
// chunks (at most 128 k-steps), then the same. The splits' sums are added by reduce_wgrad.cuh.
// Where zeros stand for what does not exist (padding, steps behind a signal's end) and an operand there is Inf or NaN, and
// where f32 values leave the range of TF32, the split's flag is set: it is computed again without zeros.
//
// Bytes: x once per tile of output channels and taps, dY once per tile of rows, from L2 where blocks run in step.
// FLOPs: 2 * 64 kM kRowWays * kN kColumnWays per step and tile; fp32 three times that.
#include "ptx/mbarrier.cuh"
#include "ptx/wgmma.cuh"
#include "ptx/control.cuh"
#include "tile/pack_steps.cuh"
#include "tile/wgrad_ranges.cuh"

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
constexpr int kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS, kKernel = LC_KERNEL_SIZE;
constexpr int kStride = LC_STRIDE, kDilation = LC_DILATION;
constexpr Pad kPad = static_cast<Pad>(LC_PAD);
constexpr bool kBias = LC_BIAS, kGatherX = LC_GATHER_X, kGatherY = LC_GATHER_Y;
constexpr bool kPairs = LC_PAIRS;  // 16-bit, stride 1: every (channel, tap) row of x begins on 4 bytes

// --- the configuration
constexpr int kTileChannels = LC_TILE_CHANNELS, kTaps = LC_TAPS, kM = LC_M_BLOCKS, kN = LC_COLUMNS;
constexpr int kColumnWays = LC_COLUMN_WAYS, kRowWays = 2 / kColumnWays, kSteps = LC_STEPS, kWindows = LC_WINDOWS;
constexpr int kSlots = LC_SLOTS, kYStages = LC_Y_STAGES;

constexpr int kBytes = sizeof(Element), kStepK = 32 / kBytes, kPackers = 4, kThreads = 384;
constexpr bool kSplit = LC_ELEMENT == 3;
constexpr int kPlanes = kSplit ? 2 : 1, kTileOut = kN * kColumnWays;
constexpr int kRowTiles = ceil_div(kInChannels, kTileChannels), kTapTiles = ceil_div(kKernel, kTaps), kOutTiles = ceil_div(kOutChannels, kTileOut);
constexpr bool kWholeOut = kOutChannels % kTileOut == 0;

// x: one window for all taps, or one for each (kWindows == kTaps).
constexpr int kWindow = (kSteps - 1) * kStride + (kTaps / kWindows - 1) * kDilation + 1;
using XRows = RowWindow<Element, kWindow>;
constexpr int kPackerChannels = ceil_div(kTileChannels, kPackers);
// dy: groups of 32 rows; where there are fewer than packers, each packs part of the steps.
constexpr int kGroups = kTileOut / 32, kParts = kGroups == 1 ? 4 : kGroups == 2 ? 2 : 1, kRounds = ceil_div(kGroups, kPackers);
constexpr int kPartSteps = kSteps / kParts;
using YRows = RowWindow<Element, kPartSteps>;
constexpr int kYPlaneBytes = kTileOut * kSteps * kBytes, kYStageBytes = kRounds * 32 * YRows::kPitch;
using Packer = StepPacker<Element, kPartSteps, kTileOut, kPlanes, kYPlaneBytes>;

constexpr int kSharedXBytes = kTileChannels * kWindows * XRows::kPitch;
constexpr int kSlotBytes = kSharedXBytes + kPlanes * kYPlaneBytes, kSharedRaw = kSlots * kSlotBytes;
constexpr int kSharedSums = kSharedRaw + kPackers * kYStages * kYStageBytes;  // of dy, by rows and parts of the steps
constexpr int kSharedBarriers = kSharedSums + (kBias ? kParts * kTileOut * 4 : 0);
constexpr int kSharedBytes = kSharedBarriers + 8 * (2 * kSlots + kPackers * kYStages);

constexpr int kCarryChunks = kSplit ? 256 : 128 * kStepK / kSteps;
constexpr bool kManyRegisters = kM * (kN / 2) * kPlanes > 128;
constexpr int kMmaRegisters = kManyRegisters ? 232 : 216, kPackerRegisters = kManyRegisters ? 40 : 72;

static_assert(kSharedBytes <= LC_SHARED_BYTES && LC_SHARED_BYTES <= 232448, "the launcher reckons as this file does");
static_assert(256 * kMmaRegisters + 128 * kPackerRegisters <= kThreads * 168, "setmaxnreg moves what the launch took");
static_assert(kM * 64 * kRowWays >= kTileChannels * kTaps && kTileOut % 32 == 0 && kTileOut <= 256, "the tile");
static_assert(kPartSteps * kBytes % 16 == 0 && kSteps % (2 * kStepK) == 0, "rows of dy are packed 16 bytes at a time");
static_assert(kSlots > kYStages, "a packer loads kYStages chunks ahead");
static_assert(kWindows == 1 || kWindows == kTaps, "one window, or one for each tap");
static_assert(!kPairs || (kBytes == 2 && kStride == 1), "pairs of neighbours");

struct Params {
  const Element* x;
  const Element* dy;
  int64_t x_batch, x_channel, x_time;  // strides in elements
  int64_t dy_batch, dy_channel, dy_time;
  int64_t length, out_length, pad_left;
  WgradRanges ranges;  // chunk_steps is kSteps
  WgradPartials<float> partials;
  float4* carry;       // [block][accumulators / 4][thread]
  int groups;
};

// What a block computes.
struct Tile {
  int64_t split, group, chunk, chunks;  // first chunk, and how many
  int out, outs, channel, channels, tap, taps;  // first of the group, and how many exist
  LC_DEVICE explicit Tile(const Params& p) {
    int index = blockIdx.x;
    const int o = index % kOutTiles, k = (index /= kOutTiles) % kTapTiles, i = (index /= kTapTiles) % kRowTiles;
    group = (index /= kRowTiles) % p.groups;
    split = index / p.groups;
    chunk = p.ranges.begin(split);
    chunks = p.ranges.begin(split + 1) - chunk;
    out = o * kTileOut, outs = min(kTileOut, kOutChannels - out);
    channel = i * kTileChannels, channels = min(kTileChannels, kInChannels - channel);
    tap = k * kTaps, taps = min(kTaps, kKernel - tap);
  }
};

// Walks the chunks of a split.
struct Cursor {
  int64_t batch, step, last;  // step: first of the chunk; last: that of a signal's last chunk
  LC_DEVICE Cursor(const Params& p, int64_t chunk)
      : batch(chunk / p.ranges.chunks_per_signal), step(chunk % p.ranges.chunks_per_signal * kSteps), last((p.ranges.chunks_per_signal - 1) * kSteps) {}
  LC_DEVICE void advance() {
    if (step == last) { step = 0; ++batch; }
    else step += kSteps;
  }
};

struct Barriers {
  uint32_t slot_full, slot_empty, raw_full;
  LC_DEVICE explicit Barriers(uint32_t shared)
      : slot_full(shared + kSharedBarriers), slot_empty(slot_full + 8 * kSlots), raw_full(slot_empty + 8 * kSlots) {}
  LC_DEVICE void init() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(slot_full + 8 * i, kPackers);
        barrier_init(slot_empty + 8 * i, 8);
      }
      for (int i = 0; i < kPackers * kYStages; ++i) barrier_init(raw_full + 8 * i, 1);
      fence_barrier_init();
    }
    __syncthreads();
  }
};

// --- packer warps ------------------------------------------------------------------------------------------------
struct PackRole {
  const Params& p;
  const Tile& tile;
  const uint32_t shared;
  const Barriers barriers;
  const int packer, lane;
  const int first_channel, channels;  // this packer's rows of x, within the tile
  const uint64_t x_pitch, y_pitch;    // bytes between channels
  Packer packers[kRounds];
  bool flagged = false;

  LC_DEVICE PackRole(const Params& params, const Tile& t, uint32_t shared_memory, const Barriers& b, int index, int lane_index)
      : p(params), tile(t), shared(shared_memory), barriers(b), packer(index), lane(lane_index), first_channel(index * kPackerChannels),
        channels(min(kPackerChannels, t.channels - first_channel)), x_pitch(params.x_channel * kBytes), y_pitch(params.dy_channel * kBytes) {}

  LC_DEVICE int64_t x_first(const Cursor& at, int window) const {
    return at.step * kStride + static_cast<int64_t>(tile.tap + window) * kDilation - p.pad_left;
  }
  LC_DEVICE const Element* x_row(const Cursor& at) const {
    return p.x + at.batch * p.x_batch + (tile.group * kInChannels + tile.channel + first_channel) * p.x_channel;
  }
  LC_DEVICE uint32_t x_shared(int64_t index, int window) const {
    return shared + static_cast<int>(index % kSlots) * kSlotBytes + (window * kTileChannels + first_channel) * XRows::kPitch;
  }
  // Which group of 32 rows of dy in a round, and which part of the steps.
  LC_DEVICE int group_of(int round) const { return kParts > 1 ? packer % kGroups : packer + round * kPackers; }
  LC_DEVICE int first_step() const { return kParts > 1 ? packer / kGroups * kPartSteps : 0; }
  LC_DEVICE const Element* y_row(const Cursor& at, int round) const {
    return p.dy + at.batch * p.dy_batch + (tile.group * kOutChannels + tile.out + group_of(round) * 32) * p.dy_channel + (at.step + first_step()) * p.dy_time;
  }
  LC_DEVICE uint32_t y_shared(int64_t index, int round) const {
    return shared + kSharedRaw + (packer * kYStages + static_cast<int>(index % kYStages)) * kYStageBytes + round * (32 * YRows::kPitch);
  }
  LC_DEVICE int rows_of(int round) const { return max(0, min(32, tile.outs - group_of(round) * 32)); }
  LC_DEVICE bool x_copied(const XRows& rows) const { return !kGatherX && (kPad < Pad::reflect || rows.whole()); }

  // Starts the loads of chunk `index`, when its slot is empty.
  LC_DEVICE void issue(int64_t index, const Cursor& at) {
    const int s = static_cast<int>(index % kSlots);
    barrier_wait(barriers.slot_empty + 8 * s, (index / kSlots & 1) ^ 1);
    if (lane != 0) return;
    const uint32_t full = barriers.raw_full + 8 * (packer * kYStages + static_cast<int>(index % kYStages));
    const uint64_t x = reinterpret_cast<uint64_t>(x_row(at));
    const YRows y_rows(at.step + first_step(), p.out_length);
    uint32_t bytes = 0;
#pragma unroll 1
    for (int window = 0; window < kWindows; ++window) {
      const XRows rows(x_first(at, window), p.length);
      if (x_copied(rows) && window < tile.taps) bytes += rows.load_bytes(x + x_first(at, window) * kBytes, x_pitch, channels);
    }
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
      if (!kGatherY) bytes += y_rows.load_bytes(reinterpret_cast<uint64_t>(y_row(at, round)), y_pitch, rows_of(round));
    barrier_arrive_expect(full, bytes);
#pragma unroll 1
    for (int window = 0; window < kWindows; ++window) {
      const XRows rows(x_first(at, window), p.length);
      if (x_copied(rows) && window < tile.taps)
        rows.template load<kPackerChannels>(x + x_first(at, window) * kBytes, x_pitch, channels, x_shared(index, window), full);
    }
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
      if (!kGatherY) y_rows.template load<32>(reinterpret_cast<uint64_t>(y_row(at, round)), y_pitch, rows_of(round), y_shared(index, round), full);
  }

  // Zeros for what x does not have; gathers what was not copied. True if a value there is Inf or NaN.
  LC_DEVICE bool complete_x(int64_t index, const Cursor& at, bool edge) {
    bool special = false;
#pragma unroll 1
    for (int window = 0; window < min(kWindows, tile.taps); ++window) {
      const int64_t first = x_first(at, window);
      const XRows rows(first, p.length);
      const uint32_t dst = x_shared(index, window);
      const uint64_t a = reinterpret_cast<uint64_t>(x_row(at) + first);
      if (!x_copied(rows)) XRows::gather<kPad>(x_row(at), p.x_channel, p.x_time, channels, first, p.length, a, x_pitch, dst, lane);
      else if (!rows.whole()) rows.clear_missing(a, x_pitch, channels, dst, lane);
      if (kBytes == 2 && edge) {
        __syncwarp();
        for (int r = 0; r < channels; ++r)
          for (int e = lane; e < kWindow; e += 32)
            special |= not_finite<Element>(XRows::load_element(dst + r * XRows::kPitch + (static_cast<uint32_t>(a + r * x_pitch) & 15) + e * kBytes));
      }
    }
    return special;
  }

  LC_DEVICE void pack(int64_t index, const Cursor& at) {
    const uint32_t slot_y = shared + static_cast<int>(index % kSlots) * kSlotBytes + kSharedXBytes + first_step() * (kTileOut * kBytes);
    const int64_t from = x_first(at, 0);
    // All windows of the chunk, or some steps: zeros stand for what does not exist.
    const bool edge = at.step + kSteps > p.out_length || from < 0 ||
                      from + (kSteps - 1) * kStride + (kTaps - 1) * static_cast<int64_t>(kDilation) >= p.length;
    barrier_wait(barriers.raw_full + 8 * (packer * kYStages + static_cast<int>(index % kYStages)), index / kYStages & 1);
    bool special = false;
    if (kGatherX || edge) special = complete_x(index, at, edge);
    const int valid = static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(kPartSteps), p.out_length - at.step - first_step())));
    const bool add = kBias && tile.channel == 0 && tile.tap == 0;
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      if (group_of(round) >= kGroups) break;
      const uint32_t dst = slot_y + (group_of(round) * 32 + lane) * 16;
      const int steps = lane < rows_of(round) ? valid : 0;
      const Element* row = y_row(at, round) + lane * p.dy_channel;
      const uint32_t raw = y_shared(index, round) + lane * YRows::kPitch, low = static_cast<uint32_t>(reinterpret_cast<uint64_t>(row)) & 15;
      Packer& to = packers[round];
      if (kGatherY) to.gather(row, p.dy_time, steps, dst, add);
      else if (edge || !kWholeOut) to.template pack<false, true>(raw, low / kBytes, steps, dst, add);
      else if (__all_sync(~0u, low == 0)) to.template pack<true, false>(raw, 0, steps, dst, add);
      else to.template pack<false, false>(raw, low / kBytes, steps, dst, add);
      special |= to.found_special;
      to.found_special = false;
    }
    flagged |= edge && special;
    fence_proxy_async();  // every lane, then one arrival: wgmma reads what ordinary stores wrote
    __syncwarp();
    if (lane == 0) barrier_arrive(barriers.slot_full + 8 * static_cast<int>(index % kSlots));
  }

  LC_DEVICE void run() {
    Cursor loading(p, tile.chunk), packing = loading;
    int64_t issued = 0;
    for (; issued < min(tile.chunks, static_cast<int64_t>(kYStages)); ++issued, loading.advance()) issue(issued, loading);
#pragma unroll 1
    for (int64_t index = 0; index < tile.chunks; ++index, packing.advance()) {
      pack(index, packing);
      if (issued < tile.chunks) {
        issue(issued++, loading);
        loading.advance();
      }
    }
#pragma unroll
    for (int round = 0; round < kRounds; ++round) flagged |= kBytes == 4 && packers[round].range.left();
    if (flagged) p.partials.flags[tile.split] = 1;
    if (kBias && tile.channel == 0 && tile.tap == 0) store_sums();
  }

  // The parts of a row's steps are added in their order.
  LC_DEVICE void store_sums() {
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
      if (group_of(round) < kGroups)
        store_shared_f32(shared + kSharedSums + (packer / (kParts > 1 ? kGroups : kPackers) * kTileOut + group_of(round) * 32 + lane) * 4, packers[round].sum.value());
    named_barrier_sync(1, 32 * kPackers);
    for (int row = packer * 32 + lane; row < tile.outs; row += 32 * kPackers) {
      float sum = 0.f;
      for (int part = 0; part < kParts; ++part) sum += load_shared_f32(shared + kSharedSums + (part * kTileOut + row) * 4);
      p.partials.bias[(tile.split * p.groups + tile.group) * kOutChannels + tile.out + row] = sum;
    }
  }
};

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
constexpr int kBatch = kSplit ? 1 : 2;  // k-steps whose A is loaded at a time; two batches in turn

// A of one k-step: rows g and g + 8 of a block.
struct Fragment {
  uint32_t a[kPlanes][4];
  LC_DEVICE void load(const uint32_t (&row)[2], int step, Tf32Range& range) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t at = row[i & 1] + (step * kStepK + (i >> 1) * (kStepK / 2)) * (kStride * kBytes);
      if constexpr (kBytes == 2) {
        a[0][i] = kPairs ? load_shared_u32(at) : load_shared_u16(at) | load_shared_u16(at + kStride * 2) << 16;
      } else {
        const uint32_t v = load_shared_u32(at);
        range.add<kPlanes>(v);
        if constexpr (kSplit) split_tf32(v, a[0][i], a[1][i]);
        else a[0][i] = v + kTf32Half;
      }
    }
  }
};

struct MultiplyRole {
  const Params& p;
  const Tile& tile;
  const int warpgroup, warp, lane;
  float acc[kM][kN / 2];
  float sum[kSplit ? kM : 1][kN / 2];

  LC_DEVICE int row_of(int m, int h) const { return ((kRowWays == 2 ? warpgroup : 0) * kM + m) * 64 + warp * 16 + h * 8 + (lane >> 2); }
  LC_DEVICE bool exists(int row) const { return row / kTileChannels < tile.taps && row % kTileChannels < tile.channels; }

  LC_DEVICE void multiply_slot(const uint32_t (&rows)[kM][2], uint64_t b, int accumulate, Tf32Range& range) {
    constexpr uint32_t kStepRows = 2 * kTileOut, kPlaneRows = kYPlaneBytes / 16;
    Fragment fragments[2][kBatch];
#pragma unroll
    for (int n = 0; n < kSteps / kStepK / kBatch * kM; ++n) {
      const int step = n / kM * kBatch, m = n % kM;
      Fragment(&f)[kBatch] = fragments[n & 1];
#pragma unroll
      for (int u = 0; u < kBatch; ++u) f[u].load(rows[m], step + u, range);
      wgmma_fence();
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        const uint64_t at = b + (step + u) * kStepRows;
        const int more = step + u > 0 ? 1 : accumulate;
        if constexpr (kSplit) {
          wgmma<MmaType, kN>(acc[m], f[u].a[0], at + kPlaneRows, more);
          wgmma<MmaType, kN>(acc[m], f[u].a[kPlanes - 1], at, 1);
        }
        wgmma<MmaType, kN>(acc[m], f[u].a[0], at, kSplit ? 1 : more);
      }
      wgmma_commit();
      wgmma_wait<1>();
    }
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < kM; ++m) keep_registers(acc[m]);
  }

  LC_DEVICE float4* carry_at(int m, int j) const {
    return p.carry + (static_cast<int64_t>(blockIdx.x) * (kM * kN / 8) + m * (kN / 8) + j) * 256 + threadIdx.x;
  }
  // `sums` += what was carried, or the other way round.
  template <int kRows> LC_DEVICE void add_carried(float (&sums)[kRows][kN / 2], bool store, bool first) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int j = 0; j < kN / 8; ++j) {
        float(&s)[kN / 2] = sums[m];
        float4 v = first ? make_float4(0.f, 0.f, 0.f, 0.f) : *carry_at(m, j);
        v = make_float4(v.x + s[4 * j], v.y + s[4 * j + 1], v.z + s[4 * j + 2], v.w + s[4 * j + 3]);
        if (store) *carry_at(m, j) = v;
        else s[4 * j] = v.x, s[4 * j + 1] = v.y, s[4 * j + 2] = v.z, s[4 * j + 3] = v.w;
      }
    }
  }
  template <int kRows> LC_DEVICE void store_partial(const float (&sums)[kRows][kN / 2]) {
    constexpr int64_t kRow = static_cast<int64_t>(kInChannels) * kKernel;
    const int column = (kColumnWays == 2 ? warpgroup : 0) * kN + 2 * (lane & 3);
    float* const out = p.partials.weight + ((tile.split * p.groups + tile.group) * kOutChannels + tile.out + column) * kRow;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(m, h);
        if (!exists(row)) continue;
        float* const to = out + (tile.channel + row % kTileChannels) * static_cast<int64_t>(kKernel) + tile.tap + row / kTileChannels;
#pragma unroll
        for (int j = 0; j < kN / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            if (kWholeOut || column + 8 * j + e < tile.outs) to[(8 * j + e) * kRow] = sums[m][4 * j + 2 * h + e];
      }
    }
  }

  LC_DEVICE void run(uint32_t shared, const Barriers& barriers) {
    // A row's place in a slot, and its misalignment in memory beyond that of the chunk. Rows that do not exist read row 0.
    uint32_t place[kM][2], low[kM][2];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = exists(row_of(m, h)) ? row_of(m, h) : 0, tap = row / kTileChannels, channel = row % kTileChannels;
        place[m][h] = (kWindows > 1 ? row : channel) * XRows::kPitch + (kWindows > 1 ? 0 : tap * kDilation * kBytes) +
                      (lane & 3) * (kBytes == 2 ? 2 : 1) * (kStride * kBytes);
        low[m][h] = static_cast<uint32_t>(channel) * static_cast<uint32_t>(p.x_channel * kBytes) + (kWindows > 1 ? tap * kDilation * kBytes : 0);
      }
    }
    const uint64_t b0 = wgmma_descriptor(shared + kSharedXBytes + (kColumnWays == 2 ? warpgroup * kN * 16 : 0), kTileOut * 16, 128);
    Cursor at(p, tile.chunk);
    const uint32_t origin = static_cast<uint32_t>(reinterpret_cast<uint64_t>(
        p.x + (tile.group * kInChannels + tile.channel) * p.x_channel + static_cast<int64_t>(tile.tap) * kDilation - p.pad_left));
    Tf32Range range;
    int slot = 0, phase = 0, chain = 0;
    bool carried = false;
    if constexpr (kSplit) {
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int i = 0; i < kN / 2; ++i) sum[m][i] = 0.f;
    }
#pragma unroll 1
    for (int64_t index = 0; index < tile.chunks; ++index, at.advance()) {
      const uint32_t begins = origin + static_cast<uint32_t>((at.batch * p.x_batch + at.step * kStride) * kBytes);
      uint32_t rows[kM][2];
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) rows[m][h] = shared + slot * kSlotBytes + place[m][h] + ((begins + low[m][h]) & 15);
      barrier_wait(barriers.slot_full + 8 * slot, phase);
      multiply_slot(rows, b0 + ((slot * kSlotBytes) >> 4), kSplit ? 0 : chain > 0, range);
      if (lane == 0) barrier_arrive(barriers.slot_empty + 8 * slot);
      if (++slot == kSlots) { slot = 0; phase ^= 1; }
      if constexpr (kSplit) {
#pragma unroll
        for (int m = 0; m < kM; ++m)
#pragma unroll
          for (int i = 0; i < kN / 2; ++i) sum[m][i] += acc[m][i];
      }
      if (++chain == kCarryChunks && index + 1 < tile.chunks) {
        if constexpr (kSplit) {
          add_carried(sum, true, !carried);
#pragma unroll
          for (int m = 0; m < kM; ++m)
#pragma unroll
            for (int i = 0; i < kN / 2; ++i) sum[m][i] = 0.f;
        } else {
          add_carried(acc, true, !carried);
        }
        carried = true;
        chain = 0;
      }
    }
    if (kBytes == 4 && range.left()) p.partials.flags[tile.split] = 1;
    if constexpr (kSplit) {
      if (carried) add_carried(sum, false, false);
      store_partial(sum);
    } else {
      if (carried) add_carried(acc, false, false);
      store_partial(acc);
    }
  }
};

extern "C" __global__ void __launch_bounds__(kThreads, 1) longconv_dense_wgrad_sm90(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const Barriers barriers(shared);
  barriers.init();
  const Tile tile(p);
  if (warp >= 8) {
    decrease_registers<kPackerRegisters>();
    PackRole(p, tile, shared, barriers, warp - 8, lane).run();
  } else {
    increase_registers<kMmaRegisters>();
    MultiplyRole{p, tile, warp >> 2, warp & 3, lane}.run(shared, barriers);
  }
}
