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
// fixed range of (batch, time); the tile stays in registers throughout. Roles (384 or 512 threads):
//   warps 0-7   two MMA warpgroups, kM x 64 rows x kN columns each: over rows (kRowWays 2) or columns (kColumnWays 2)
//   warps 8-    4 or 8 packers: each loads its part of the rows of x and of dy, a lane packs a row of dy or a part of one
// Barriers: slot full (packers) -> slot empty (8 MMA warps). A packer waits for its own copies (groups of cp.async).
//
// Accumulation: tensor cores truncate. fp32: hi*lo + lo*hi of one chunk, then its hi*hi, then added to f32 registers; every
// kCarryChunks chunks the sums go to memory of the block's own and begin again at zero. Others: one chain of kCarryChunks
// chunks (at most 128 k-steps), then the same. The splits' sums are added by reduce_wgrad.cuh.
// Where zeros stand for what does not exist (padding, steps behind a signal's end) and an operand there is Inf or NaN, and
// where f32 values leave the range of TF32, the split's flag is set: it is computed again without zeros.
//
// Bytes: x once per tile of output channels and taps, dY once per tile of rows, from L2 where blocks run in step.
// FLOPs: 2 * 64 kM kRowWays * kN kColumnWays per step and tile; fp32 three times that.
#include "conv/dense_wgrad_sm90_tile.cuh"
#include "ptx/control.cuh"
#include "ptx/wgmma.cuh"

// --- packer warps ------------------------------------------------------------------------------------------------
struct PackRole {
  const Params& p;
  const uint32_t shared;
  const Barriers barriers;
  const int packer, lane;
  Packer to;
  bool flagged = false;

  LC_DEVICE PackRole(const Params& params, uint32_t shared_memory, const Barriers& b, int index, int lane_index)
      : p(params), shared(shared_memory), barriers(b), packer(index), lane(lane_index) {}

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
  LC_DEVICE uint32_t x_shared(int index, int window) const {
    return shared + index % kSlots * kSlotBytes + (window * kTileChannels + first_channel()) * XRows::kPitch;
  }
  // Which group of 32 rows of dy in a round, and which part of the steps.
  LC_DEVICE int group_of(int round) const { return kParts > 1 ? packer % kGroups : packer + round * kPackers; }
  LC_DEVICE int first_step() const { return kParts > 1 ? packer / kGroups * kPartSteps : 0; }
  LC_DEVICE const Element* y_row(const Tile& tile, const Cursor& at, int round) const {
    return p.dy + at.signal * p.dy_batch + (static_cast<int64_t>(tile.group) * kOutChannels + tile.out + group_of(round) * 32) * p.dy_channel + (at.step() + first_step()) * p.dy_time;
  }
  LC_DEVICE uint32_t y_shared(int index, int round) const {
    return shared + kSharedRaw + (packer * kYStages + index % kYStages) * kYStageBytes + round * (32 * YRows::kPitch);
  }
  // Where a group's first row belongs in the operand.
  LC_DEVICE uint32_t y_slot(int index, int round) const {
    return shared + index % kSlots * kSlotBytes + kSharedXBytes + first_step() * (kTileOut * kBytes) + group_of(round) * (32 * 16);
  }
  LC_DEVICE int rows_of(const Tile& tile, int round) const { return max(0, min(32, tile.outs - group_of(round) * 32)); }
  LC_DEVICE bool x_copied(const XRows& rows) const { return !kGatherX && (kPad < Pad::reflect || rows.whole()); }

  // Starts the loads of chunk `index`, when its slot is empty.
  LC_DEVICE void issue(int index, const Cursor& at) {
    const Tile tile;
    const int s = index % kSlots;
    barrier_wait(barriers.slot_empty + 8 * s, (index / kSlots & 1) ^ 1);
#pragma unroll 1
    for (int window = 0; window < min(kWindows, tile.taps); ++window) {
      const int64_t first = x_first(tile, at, window);
      const XRows rows(first, p.length);
      if (x_copied(rows)) rows.load(reinterpret_cast<uint64_t>(x_row(tile, at) + first), x_pitch(), channels(tile), x_shared(index, window), lane);
    }
#pragma unroll 1
    for (int round = 0; round < kRounds && !kGatherY; ++round) {
      const YRows rows(at.step() + first_step(), p.out_length);
      const uint64_t from = reinterpret_cast<uint64_t>(y_row(tile, at, round));
      if (kPlacedY) rows.load<16, kTileOut * 16, true>(from, y_pitch(), rows_of(tile, round), y_slot(index, round), lane);
      else rows.load(from, y_pitch(), rows_of(tile, round), y_shared(index, round), lane);
#if LC_ACTIVATION_GRADIENT
      rows.load(from + p.to_forward_y, y_pitch(), rows_of(tile, round), y_shared(index, round) + kYStageBytes / 2, lane);
#endif
    }
  }

  // Zeros for what x does not have; gathers what was not copied. True if a 16-bit value of an edge is Inf or NaN.
  LC_DEVICE bool complete_x(const Tile& tile, int index, const Cursor& at, bool edge) {
    bool special = false;
#pragma unroll 1
    for (int window = 0; window < min(kWindows, tile.taps); ++window) {
      const int64_t first = x_first(tile, at, window);
      XRows rows(first, p.length);
      const uint32_t a = static_cast<uint32_t>(reinterpret_cast<uint64_t>(x_row(tile, at) + first)), pitch = static_cast<uint32_t>(x_pitch());
      if (!x_copied(rows)) {
        XRows::gather<kPad>(x_row(tile, at), p.x_channel, p.x_time, channels(tile), first, p.length, a, pitch, x_shared(index, window), lane);
        __syncwarp();
        rows.begin = 0, rows.end = kWindow;
      }
      special |= rows.complete(a, pitch, channels(tile), x_shared(index, window), kBytes == 2 && edge, lane);
    }
    return special;
  }

  LC_DEVICE void pack(int index, const Cursor& at) {
    const Tile tile;
    const int64_t from = x_first(tile, at, 0);
    // All windows of the chunk, or some steps: zeros stand for what does not exist.
    const bool edge = at.step() + kSteps > p.out_length || from < 0 ||
                      from + (kSteps - 1) * kStride + (kTaps - 1) * static_cast<int64_t>(kDilation) >= p.length;
    to.special = (kGatherX || edge) && complete_x(tile, index, at, edge);
    const int valid = static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(kPartSteps), p.out_length - at.step() - first_step())));
    const bool add = sums(tile);
#pragma unroll 1
    for (int round = 0; round < kRounds; ++round) {
      if (group_of(round) >= kGroups) break;
      const uint32_t dst = y_slot(index, round) + lane * 16;
      const int steps = lane < rows_of(tile, round) ? valid : 0;
      const Element* row = y_row(tile, at, round) + lane * p.dy_channel;
      const uint32_t raw = y_shared(index, round) + lane * YRows::kPitch, shift = (static_cast<uint32_t>(reinterpret_cast<uint64_t>(row)) & 15) / kBytes;
#if LC_ACTIVATION_GRADIENT
      form_gradient<kGradientOf, Element, 2>(raw, raw + kYStageBytes / 2, YRows::kCopyBytes, p.negative_slope, 0, 1);  // a lane its own row
#endif
      float chain;
      if (kGatherY) chain = to.gather(row, p.dy_time, steps, dst, add);
      else if (kPlacedY) chain = edge || !kWholeOut ? to.template finish<true>(steps, dst, add) : to.template finish<false>(steps, dst, add);
      else if (edge || !kWholeOut) chain = to.template pack<false, true>(raw, shift, steps, dst, add);
      else if (__all_sync(~0u, shift == 0)) chain = to.template pack<true, false>(raw, 0, steps, dst, add);
      else chain = to.template pack<false, false>(raw, shift, steps, dst, add);
      if (add) {
        RowSum sum = load_row_sum(row_sum(round));
        sum.add(chain);
        store_row_sum(row_sum(round), sum);
      }
    }
    flagged |= edge && to.special;
    fence_proxy_async();  // every lane, then one arrival: wgmma reads what ordinary stores wrote
    __syncwarp();
    if (lane == 0) barrier_arrive(barriers.slot_full + 8 * (index % kSlots));
  }

  LC_DEVICE void run() {
    for (int round = 0; sums(Tile()) && round < kRounds && group_of(round) < kGroups; ++round) store_row_sum(row_sum(round), RowSum());
    Cursor loading(p, Tile().split);
    const int chunks = Tile().chunks(p);
    int issued = 0;
#pragma unroll 1
    for (int index = 0; index < chunks; ++index) {
      for (; issued < index + kYStages; ++issued) {
        if (issued < chunks) {
          issue(issued, loading);
          loading.advance(p);
        }
        async_commit();  // a group for each chunk, even where there is none: the wait below counts them
      }
      async_wait<kYStages - 1>();
      __syncwarp();  // a lane packs what others have copied
      pack(index, loading.before(p, min(issued, chunks) - index));
    }
    if (flagged || (kBytes == 4 && to.range.left())) p.partials.flags[Tile().split] = 1;
    if (sums(Tile())) store_sums(Tile());
  }

  LC_DEVICE uint32_t row_sum(int round) const {
    return shared + kSharedSums + ((kParts > 1 ? packer / kGroups * kTileOut : 0) + group_of(round) * 32 + lane) * 8;
  }
  // The parts of a row's steps are added in their order.
  LC_DEVICE void store_sums(const Tile& tile) {
    named_barrier_sync(1, 32 * kPackers);
    for (int row = packer * 32 + lane; row < tile.outs; row += 32 * kPackers) {
      float sum = 0.f;
      for (int part = 0; part < kParts; ++part) sum += load_row_sum(shared + kSharedSums + (part * kTileOut + row) * 8).value();
      p.partials.bias[(static_cast<int64_t>(tile.split) * kConvGroups + tile.group) * kOutChannels + tile.out + row] = sum;
    }
  }
};

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
// A of one k-step: rows g and g + 8 of a block.
using Fragment = uint32_t[4];

struct MultiplyRole {
  const Params& p;
  const int warpgroup, warp, lane;
  float acc[kM][kN / 2];
  float sum[kSplit ? kM : 1][kN / 2];

  LC_DEVICE int row_of(int m, int h) const { return ((kRowWays == 2 ? warpgroup : 0) * kM + m) * 64 + warp * 16 + h * 8 + (lane >> 2); }
  static LC_DEVICE bool exists(const Tile& tile, int row) { return row / kTileChannels < tile.taps && row % kTileChannels < tile.channels; }

  // Rows of A: a row's place in a slot, in elements, and how far its address in memory is from that of the chunk, mod 16.
  uint32_t places[kM], low = 0;

  // A as it lies in x. rows: the slot's; begins: address of the chunk's first element, of which the low bits matter.
  LC_DEVICE void load(Fragment& v, uint32_t rows, uint32_t begins, int m, int step) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int h = i & 1;
      const uint32_t row = rows + (places[m] >> (16 * h) & 0xffffu) * kBytes + ((begins + (low >> (4 * (2 * m + h)))) & 15);
      const uint32_t at = row + (step * kStepK + (i >> 1) * (kStepK / 2)) * (kStride * kBytes);
      if constexpr (kBytes == 4) v[i] = load_shared_u32(at);
      else v[i] = kPairs ? load_shared_u32(at) : load_shared_u16(at) | load_shared_u16(at + kStride * 2) << 16;
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
    const Tile tile;
    const int column = (kColumnWays == 2 ? warpgroup : 0) * kN + 2 * (lane & 3);
    float* const out = p.partials.weight + ((static_cast<int64_t>(tile.split) * kConvGroups + tile.group) * kOutChannels + tile.out + column) * kRow;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_of(m, h);
        if (!exists(tile, row)) continue;
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
    uint32_t begins;  // low half of the chunk's first element's address, and of its signal's above
    int chunks, chunk;
    {
      const Tile tile;
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        places[m] = 0;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          // Rows that do not exist read row 0.
          const int row = exists(tile, row_of(m, h)) ? row_of(m, h) : 0, tap = row / kTileChannels, channel = row % kTileChannels;
          const uint32_t place = (kWindows > 1 ? row : channel) * (XRows::kPitch / kBytes) + (kWindows > 1 ? 0 : tap * kDilation) + (lane & 3) * (kBytes == 2 ? 2 : 1) * kStride;
          const uint32_t bytes = static_cast<uint32_t>(channel) * static_cast<uint32_t>(p.x_channel * kBytes) + (kWindows > 1 ? tap * kDilation * kBytes : 0);
          places[m] |= place << (16 * h);
          low |= (bytes & 15) << (4 * (2 * m + h));
        }
      }
      const Cursor at(p, tile.split);
      const Element* origin = p.x + (static_cast<int64_t>(tile.group) * kInChannels + tile.channel) * p.x_channel + static_cast<int64_t>(tile.tap) * kDilation - p.pad_left;
      begins = (static_cast<uint32_t>(reinterpret_cast<uint64_t>(origin + at.signal * p.x_batch)) & 0xffffu) * 0x10001u;
      begins = (begins & 0xffff0000u) | ((begins + static_cast<uint32_t>(at.chunk) * (kSteps * kStride * kBytes)) & 0xffffu);
      chunk = at.chunk, chunks = tile.chunks(p);
    }
    const uint64_t b0 = wgmma_descriptor(shared + kSharedXBytes + (kColumnWays == 2 ? warpgroup * kN * 16 : 0), kTileOut * 16, 128);
    Tf32Range range;
    if constexpr (kSplit) {
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int i = 0; i < kN / 2; ++i) sum[m][i] = 0.f;
    }
#pragma unroll 1
    for (int index = 0; index < chunks; ++index) {
      const int slot = index % kSlots;
      barrier_wait(barriers.slot_full + 8 * slot, index / kSlots & 1);
      const uint32_t rows = shared + slot * kSlotBytes;
      const uint64_t b = b0 + ((slot * kSlotBytes) >> 4);
      if constexpr (kSplit) multiply_pairs(rows, begins, b, range);
      else multiply_slot(rows, begins, b, index % kCarryChunks > 0, range);
      __syncwarp();  // every lane has read its samples
      if (lane == 0) barrier_arrive(barriers.slot_empty + 8 * slot);
      begins = (begins & 0xffff0000u) | ((begins + kSteps * kStride * kBytes) & 0xffffu);
      if (++chunk == static_cast<int>(p.ranges.chunks_per_signal)) {
        chunk = 0;
        begins = (((begins >> 16) + static_cast<uint32_t>(p.x_batch * kBytes)) & 0xffffu) * 0x10001u;
      }
      if constexpr (kSplit) {
#pragma unroll
        for (int m = 0; m < kM; ++m)
#pragma unroll
          for (int i = 0; i < kN / 2; ++i) sum[m][i] += acc[m][i];
      }
      if ((index + 1) % kCarryChunks == 0 && index + 1 < chunks) {
        if constexpr (kSplit) {
          add_carried(sum, true, index < kCarryChunks);
#pragma unroll
          for (int m = 0; m < kM; ++m)
#pragma unroll
            for (int i = 0; i < kN / 2; ++i) sum[m][i] = 0.f;
        } else {
          add_carried(acc, true, index < kCarryChunks);
        }
      }
    }
    if (kBytes == 4 && range.left()) p.partials.flags[Tile().split] = 1;
    if constexpr (kSplit) {
      if (chunks > kCarryChunks) add_carried(sum, false, false);
      store_partial(sum);
    } else {
      if (chunks > kCarryChunks) add_carried(acc, false, false);
      store_partial(acc);
    }
  }
};

extern "C" __global__ void __launch_bounds__(kThreads, 1) longconv_dense_wgrad_sm90(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const Barriers barriers(shared);
  barriers.init();
  if (warp >= 8) {
    decrease_registers<kPackerRegisters>();
    PackRole(p, shared, barriers, warp - 8, lane).run();
  } else {
    increase_registers<kMmaRegisters>();
    MultiplyRole{p, warp >> 2, warp & 3, lane}.run(shared, barriers);
  }
}
