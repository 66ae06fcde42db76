// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
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
#include "ptx/wgmma.cuh"
#include "tile/block_barriers.cuh"
#include "tile/finish_rows.cuh"
#include "tile/pack_split.cuh"
#include "tile/raw_ring.cuh"
#include "tile/repair_items.cuh"
#include "tile/weight_ring.cuh"

constexpr int kN = LC_COLUMNS, kOutChannels = LC_OUT_CHANNELS, kKernel = LC_KERNEL_SIZE;
constexpr int kChannelWays = LC_CHANNEL_WAYS, kTimeWays = 2 / kChannelWays, kInterval = LC_INTERVAL;

struct StorePolicy {
  using Element = float;
  static constexpr int kColumns = kN, kPhases = LC_PHASES, kStageRows = LC_STAGE_ROWS;
  static constexpr Store kStore = static_cast<Store>(LC_STORE);
};
using Rows = RowStore<StorePolicy>;

struct C : TapRows<LC_PHASES, LC_PHASE_SHIFT, LC_STRIDE, LC_DILATION, LC_TAPS, kKernel> {
  using Element = float;
  static constexpr int kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS;
  static constexpr Activation kActivation = static_cast<Activation>(LC_ACTIVATION);
  static constexpr Activation kGradientOf = static_cast<Activation>(LC_ACTIVATION_GRADIENT);
  static constexpr bool kBias = LC_BIAS, kResidual = LC_RESIDUAL;
  static constexpr Pad kPad = static_cast<Pad>(LC_PAD);
  static constexpr bool kResident = LC_X_RESIDENT, kStationary = LC_W_STATIONARY, kGather = LC_PACK == 2;
  static constexpr int kPackers = LC_PACKERS, kCluster = LC_CLUSTER, kRawStages = LC_RAW_STAGES, kWStages = LC_W_STAGES, kSlots = LC_SLOTS;

  // A slot is packed by one packer from raw stages of its own, or by all of them together from stages that warp 11 fills:
  // fewer raw stages cover the latency of memory where windows are long.
  static constexpr int kTeam = LC_TEAM ? kPackers : 1, kUnitStep = kPackers / kTeam, kRawBuffers = kRawStages * kUnitStep;
  static constexpr int kBytes = 4, kUnitChannels = 16, kUnitsPerSlot = 1, kPackersPerSlot = kTeam, kSlotChannels = 16;
  static constexpr int kSpan = Rows::kPhaseStep * (kTimeWays - 1) + kN;
  static constexpr int kStep = Rows::kStep * kTimeWays;
  static constexpr int64_t kInputStep = static_cast<int64_t>(Rows::kPhaseStep * kTimeWays) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSpan + kTapRows, kStride);
  static constexpr int kRawNeeded = kPhases > 1 ? kSpan + kTapRows : (kSpan - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kRawPitch = (ceil_div((kRawNeeded + 3) * kBytes, 16) | 1) * 16;
  static constexpr int kRawBytes = kGather ? 0 : kUnitChannels * kRawPitch * (LC_ACTIVATION_GRADIENT ? 2 : 1);
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSlotBytes = kChunkRows * 16 * 4;

  static constexpr int kChannelBlocks = ceil_div(kInChannels, kSlotChannels);
  static constexpr bool kWholeSlots = kInChannels % kSlotChannels == 0;
  static constexpr int kTapGroups = ceil_div(kKernel, kTaps), kItemSlots = kChannelBlocks * kTapGroups, kUnits = kItemSlots;
  static constexpr int kLeastExponent = least_exponent(kInChannels * static_cast<int64_t>(kKernel / kPeriod));
  static constexpr int kPasses = ceil_div(kOutChannels, 64 * kChannelWays);

  // Intervals: each tap group is cut into kInterval taps; the last one of a group may be shorter.
  static constexpr int kTapBytes = 4096, kLastTaps = kKernel - (kTapGroups - 1) * kTaps;
  static constexpr int kRest = kTapGroups > 1 ? kTaps % kInterval : 0, kLastRest = kLastTaps % kInterval;
  static constexpr int kGroupIntervals = ceil_div(kTaps, kInterval), kLastIntervals = ceil_div(kLastTaps, kInterval);
  static constexpr int kBlockIntervals = (kTapGroups - 1) * kGroupIntervals + kLastIntervals;
  static constexpr int kRings = kChannelWays, kWStageBytes = kInterval * kTapBytes;
  static constexpr bool kLastPassIdles = !LC_W_STATIONARY && last_pass_idles(kRings, kPasses, 64, kOutChannels);
  static constexpr int kPassStages = kChannelBlocks * kBlockIntervals;
  static constexpr int64_t kPassBytes = static_cast<int64_t>(kChannelBlocks) * kKernel * kTapBytes;
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
  static constexpr int kDrawsAhead = draws_ahead((kRawStages + 1) * kUnitStep, kUnits, kStationary ? 0 : kWStages, kPassStages * (kResident ? kPasses : 1));
  static constexpr int kDrawnPlaces = drawn_places(kDrawsAhead, kSlots, kItemSlots);
  static constexpr int kSharedDrawn = kSharedBarriers + 8 * barrier_count(kSlots, kRawBuffers, kRings * kWStages, kTeam);
  static constexpr int kSharedRedo = kSharedDrawn + drawn_bytes(kDrawnPlaces);
  static constexpr int kSharedBytes = kSharedRedo + redo_bytes(kPackers);

  // Of repair_items.cuh. LC_SELF_REPAIR: the block repairs its own items, which are few.
  using Taps = Phases<LC_PHASES, LC_DILATION, LC_PHASE_SHIFT, kKernel>;
  using Stores = Rows;
  static constexpr bool kTransposed = LC_TRANSPOSED;
  static constexpr int64_t kAllTaps = kKernel, kSampleStep = LC_STRIDE;
  static constexpr int kItemWays = kTimeWays, kItemChannels = 64 * kChannelWays * (kResident ? kPasses : 1);
};
static_assert(C::kSharedBytes <= LC_SHARED_BYTES && LC_SHARED_BYTES <= 232448, "the launcher reckons as this file does");
static_assert(!C::kStationary || (C::kWStages == C::kPassStages && C::kPasses == 1), "stationary weights fit their ring");
static_assert(kInterval % C::kPeriod == 0, "an interval begins with the same phase as the others");
static_assert(C::kSlots >= C::kUnitStep && C::kSlots >= 2, "a packer is never two uses of a slot ahead");
static_assert(C::kPackers == 3 || (C::kPackers == 4 && C::kStationary), "the weight warp packs once its weights are there for good");
static_assert(C::kPackers == 3 || C::kTeam == 1, "a team's raw stages are filled by the weight warp");
static_assert(C::kCluster == 1 || (C::kCluster == 2 && !C::kStationary), "weights that stay are not worth a cluster");
static_assert(!C::kResident || C::kSlots == C::kItemSlots, "resident slots hold a whole item");
// Intervals that are promoted together: one that has three taps, three of one tap of each phase (48 products either way), or
// more of them where sums are long (docs/design/numerics.md). They start one after the other; the slot and the stage of one are released when
// the next has started and it has finished.
constexpr int kMerge = LC_CHAIN;
static_assert(kMerge == 1 || C::kPeriod == 1 || (C::kRest == 0 && C::kLastRest == 0), "each interval of a chain has taps of all phases");
// Slots that stay are there in all passes but the first: the next one is opened as soon as one has been multiplied. Where x does not
// stay, packers may need the very slot that is not released yet to fill the next one (two-tap chains, four packers, six slots), so
// nobody waits for that with one unreleased.
constexpr bool kOpensAhead = C::kResident && kMerge > 1;
constexpr int kThreads = 384, kMmaRegisters = 208, kPackerRegisters = 88;
static_assert(256 * kMmaRegisters + 128 * kPackerRegisters <= kThreads * 168, "setmaxnreg moves what the launch took");

struct Params : HopperParams<float> {
  const float* weight_inverse;  // 1 / scale of each output channel, a power of two
#if LC_SELF_REPAIR
  RepairParams repair;
#else
  uint32_t* redo;                    // one bit for each (row of (batch, group), tile): row * tiles_per_row + tile
#endif
#if LC_ACTIVATION_GRADIENT
  int64_t to_forward_y;  // bytes, from an element of x
#endif
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
#if LC_SELF_REPAIR
          BlockRepair<C>(shared).mark(packer, at.number);
#else
          const uint32_t tile = static_cast<uint32_t>(item.batch * schedule.groups + item.group) * schedule.tiles_per_row + item.tile;
          wait_for_previous_kernel();  // which clears the bits
          atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
#endif
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
#if LC_SELF_REPAIR
  const BlockRepair<C> repair(shared);
  if (warpgroup == 0 && warp == 0) repair.look_at_weights(p, lane);
#endif
  int slot = 0, slot_phase = 0, ws = 0, w_phase = 0;
  Sums acc, cross, sum;

  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    const Item item = schedule.item(at.index);
#pragma unroll 1
    for (int pass = 0; pass < Schedule<C>::kPassesPerItem; ++pass) {
      if (C::kLastPassIdles && ring == 1 && (C::kResident ? pass : item.pass) == C::kPasses - 1) {
        idle_pass<C>(barriers, ring, lane, slot, slot_phase, ws, w_phase);
        continue;
      }
#pragma unroll
      for (int i = 0; i < C::kPhases * (kN / 2); ++i) sum[i / (kN / 2)][i % (kN / 2)] = 0.f;
      float inverse = 0.f, slot_inverse = 0.f;  // of what is in `cross`, and of the slot
      int accumulate_cross = 0, group = 0, tap = 0;
      auto open_slot = [&] {
        if (pass == 0) barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
        slot_inverse = __uint_as_float(load_shared_u32(shared + C::kSharedScales + 4 * slot));
      };
      if (kOpensAhead) open_slot();
#pragma unroll 1
      for (int interval = 0; interval < C::kPassStages;) {
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
            if (pass == Schedule<C>::kPassesPerItem - 1) old_slot = slot;
            if (++slot == C::kSlots) { slot = 0; if (!C::kResident || pass == Schedule<C>::kPassesPerItem - 1) slot_phase ^= 1; }
            if (interval < C::kPassStages && (kOpensAhead || chain + 1 < kMerge)) {
              if (!kOpensAhead && !__all_sync(~0u, barrier_test_wait(barriers.slot_full + 8 * slot, slot_phase))) {
                wgmma_wait<0>();
                release();
                old_w = old_slot = -1;
              }
              open_slot();
            }
          }
        } while (++chain < kMerge && interval < C::kPassStages && slot_inverse == inverse);
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

      const int channel0 = (C::kResident ? pass : item.pass) * (64 * kChannelWays) + ring * 64 + warp * 16;
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
#if LC_SELF_REPAIR
  repair.run(p, schedule, warpgroup * 4 + warp, lane);
#endif
}

extern "C" __global__ void __launch_bounds__(kThreads, 1) longconv_dense_fprop_split_sm90(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const BlockBarriers<C> barriers(shared);
  const DrawnSchedule<C> schedule(p, shared);
#if LC_SELF_REPAIR
  BlockRepair<C>(shared).init();
#endif
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
}
