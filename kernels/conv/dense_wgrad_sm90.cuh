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
#include "conv/dense_wgrad_sm90_tile.cuh"
#include "ptx/wgmma.cuh"
#include "tile/carried_sums.cuh"

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
#if LC_ACTIVATION_GRADIENT
        YRows::load_inner<32, kWholeOut>(from + p.to_forward_y, y_pitch(), rows_of(tile, round), y_shared(stage.y_stage, round) + kYStageBytes / 2, lane);
#endif
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
#if LC_ACTIVATION_GRADIENT
      rows.load(from + p.to_forward_y, y_pitch(), rows_of(tile, round), y_shared(stage.y_stage, round) + kYStageBytes / 2, lane);
#endif
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
#if LC_ACTIVATION_GRADIENT
      form_gradient<kGradientOf, Element, 2>(raw, raw + kYStageBytes / 2, YRows::kCopyBytes, p.negative_slope, 0, 1);  // a lane its own row
#endif
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

extern "C" __global__ void __launch_bounds__(kThreads, 1) longconv_dense_wgrad_sm90(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const Barriers barriers(shared);
#if LC_SHARES
  if (threadIdx.x == 0) Segment(p.order, p.ranges.chunks, kConvGroups * kRowTiles * kTapTiles * kOutTiles, blockIdx.x).store(shared + kSharedSegment);
#endif
  barriers.init();  // and a barrier of the block
  if (warp >= kMmaWarps) {
    decrease_registers<kPackerRegisters>();
    PackRole(p, shared, barriers, warp - kMmaWarps, lane).run();
    allow_next_kernel();  // as in dense_fprop_sm90.cuh
  } else {
    increase_registers<kMmaRegisters>();
    MultiplyRole{p, shared, warp >> 2, warp & 3, lane}.run(barriers);
  }
}
