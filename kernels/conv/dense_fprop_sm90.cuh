// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Dense forward convolution on Hopper: pack once, multiply from shared memory. TF32, bf16, f16; f32 accumulation.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// And the data gradient: x is then dy, y is dx, whose LC_PHASES interleaved phases have accumulators of their own (tile/phases.cuh).
// LC_ACTIVATION_GRADIENT, an activation of the forward pass: dy is dL/dz, which packers form in their raw stages, where forward's result
// arrives beside dL/dy (tile/activation_gradient.cuh).
//
// As matrices, for one tile of time: D[o, t] += W_k[o, i] * X_k[t, i]^T, where X_k is the tile's packed signal read
// from row offset (k*dilation)/stride of polyphase plane (k*dilation) mod stride. A tap is only an address.
//
//   global x (NCW)           shared                                            registers         global y (NCW)
//   rows i, time e   --bulk-->  raw ring     --pack-->  slots of packed rows
//                               per packer              [chunk of channels][plane][row] x 16 B  \
//   packed weights   --bulk-------------------------->  W ring  [o][k-step]                      wgmma --> acc --stage--> bulk
//
// Roles (384 or 512 threads, one persistent block per multiprocessor):
//   warps 0-7   two MMA warpgroups, kMBlocks x 64 rows x N columns (of each phase) each: over output channels (kChannelWays 2) or time (1)
//   warps 8-10  packers (or 8-14); each loads and packs its own chunks, so the raw ring needs no barrier towards the loader
//   last warp   loads packed weights; where all of them stay in shared memory, it may be the fourth packer after that
// Few weights may stay in the MMA warps' registers instead (LC_W_STATIONARY 2), as wgmma's A operand: shared memory is then the signal's.
// In a cluster of two the blocks stream the same weights for neighbouring tiles: each reads half of them for both.
// A slot holds kChunks chunks (16 bytes of channels) of one tap group: taps whose samples lie close enough to share
// one window. Barriers: slot full (its units' packers arrive) / empty (8 MMA warps); raw full (bytes); W full (bytes) /
// empty (MMA warps). Slots and W stages are released one wgmma group late.
//
// Limits: time stride 1 or the gather packer; kernel, channels, stride, dilation and tile sizes are compile-time.
// Bytes: x once per output-channel pass (kResident: once), y once, weights from L2. FLOPs: 2*kRingRows*ways*N*ICpad*K per tile.
// Accumulation: one f32 chain per output on the tensor core (which truncates); see docs/design/numerics.md.
// Zero padding is zero data in the packed rows; the launcher repairs outputs of non-finite weights (see there).
#include "ptx/wgmma.cuh"
#include "tile/block_barriers.cuh"
#include "tile/finish_rows.cuh"
#include "tile/pack_rows.cuh"
#include "tile/raw_ring.cuh"
#include "tile/weight_ring.cuh"

// --- the problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16; channels are per group
constexpr int kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS, kKernel = LC_KERNEL_SIZE;
constexpr int kStride = LC_STRIDE;
constexpr Pad kPad = static_cast<Pad>(LC_PAD);
#if LC_ELEMENT == 0
using Element = float;
using MmaType = tf32;
#elif LC_ELEMENT == 1
using Element = bf16;
using MmaType = bf16;
#else
using Element = f16;
using MmaType = f16;
#endif

// --- the configuration
constexpr int kN = LC_COLUMNS, kChannelWays = LC_CHANNEL_WAYS, kTimeWays = 2 / kChannelWays;
constexpr int kMBlocks = LC_M_BLOCKS, kRingRows = 64 * kMBlocks;  // output channels of a warpgroup
constexpr int kChunks = LC_CHUNKS, kWSteps = LC_W_STEPS;
constexpr Store kStore = static_cast<Store>(LC_STORE);
enum class Pack { any, transposed, gather };
constexpr Pack kPack = static_cast<Pack>(LC_PACK);
// Weights that stay in the MMA warps' registers, or 160 accumulators a thread instead of 128 at most.
constexpr bool kHeld = LC_W_STATIONARY == 2, kManyRegisters = kHeld || kMBlocks * LC_PHASES * kN > 256;

struct StorePolicy {
  using Element = ::Element;
  static constexpr int kColumns = kN, kPhases = LC_PHASES, kStageRows = LC_STAGE_ROWS;
  static constexpr Store kStore = ::kStore;
};
using Rows = RowStore<StorePolicy>;

// Everything that follows from the problem and the configuration; the tile movers read it.
struct C : TapRows<LC_PHASES, LC_PHASE_SHIFT, kStride, LC_DILATION, LC_TAPS, kKernel> {
  using Element = ::Element;
  static constexpr int kInChannels = ::kInChannels, kOutChannels = ::kOutChannels;
  static constexpr Pad kPad = ::kPad;
  static constexpr Activation kActivation = static_cast<Activation>(LC_ACTIVATION);
  static constexpr Activation kGradientOf = static_cast<Activation>(LC_ACTIVATION_GRADIENT);
  static constexpr bool kBias = LC_BIAS, kResidual = LC_RESIDUAL;
  static constexpr bool kResident = LC_X_RESIDENT, kStationary = LC_W_STATIONARY != 0, kGather = kPack == Pack::gather;
  static constexpr int kPackers = LC_PACKERS, kCluster = LC_CLUSTER, kRawStages = LC_RAW_STAGES, kWStages = LC_W_STAGES, kSlots = LC_SLOTS;

  static constexpr int kTeam = 1, kUnitStep = kPackers, kRawBuffers = kPackers * kRawStages;  // packers work alone
  // Packing: a unit is one 16-byte chunk of channels; planes, one for each needed residue of k*dilation mod stride.
  static constexpr int kBytes = sizeof(Element), kChunk = 16 / kBytes, kUnitChannels = kChunk;
  static constexpr bool kFewRegisters = kManyRegisters && kPackers == 7;  // for packers
  static constexpr int kUnitsPerSlot = kChunks, kPackersPerSlot = kUnitsPerSlot;
  static constexpr int kSpan = Rows::kPhaseStep * (kTimeWays - 1) + kN;  // time steps (of each phase) that a block computes
  static constexpr int kStep = Rows::kStep * kTimeWays;
  static constexpr int64_t kInputStep = static_cast<int64_t>(Rows::kPhaseStep * kTimeWays) * kStride;
  static constexpr int kPlaneRows = plane_rows(kSpan + kTapRows, kStride);
  static constexpr int kRawNeeded = kStride == 1 ? kPlaneRows : (kSpan - 1) * kStride + (kTaps - 1) * kDilation + 1;
  // + kChunk - 1: a row may begin anywhere in its first 16 bytes. Odd multiple of 16 bytes: ldmatrix without conflicts.
  static constexpr int kRawPitch = (ceil_div((kRawNeeded + kChunk - 1) * kBytes, 16) | 1) * 16;
  static constexpr int kRawBytes = kGather ? 0 : kUnitChannels * kRawPitch * (LC_ACTIVATION_GRADIENT ? 2 : 1);
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSlotBytes = kChunkRows * 16 * kChunks;

  static constexpr int kSlotChannels = kChunks * kChunk, kChannelBlocks = ceil_div(kInChannels, kSlotChannels);
  static constexpr bool kWholeSlots = kInChannels % kSlotChannels == 0;  // no slot holds channels that do not exist
  static constexpr int kTapGroups = ceil_div(kKernel, kTaps), kItemSlots = kChannelBlocks * kTapGroups;
  static constexpr int kUnits = kItemSlots * kUnitsPerSlot;  // of an item: what one packer does at a time
  static constexpr int kPasses = ceil_div(kOutChannels, kRingRows * kChannelWays);

  static constexpr int kRings = kChannelWays, kStepBytes = 2048 * kMBlocks, kWStageBytes = kWSteps * kStepBytes;
  static constexpr bool kLastPassIdles = !kStationary && last_pass_idles(kRings, kPasses, kRingRows, kOutChannels);
  static constexpr int kTapStages = kChunks / 2 / kWSteps;
  static constexpr int kPassStages = kChannelBlocks * kKernel * kTapStages;  // W stages of a ring's channels
  static constexpr int64_t kPassBytes = static_cast<int64_t>(kPassStages) * kWStageBytes;
  static LC_CONSTEXPR int stage_bytes(int) { return kWStageBytes; }

  static constexpr int kSharedX = 0, kSharedW = kSharedX + kSlots * kSlotBytes;
  static constexpr int kSharedRaw = kSharedW + kRings * kWStages * kWStageBytes;
  static constexpr int kSharedOut = kSharedRaw + kRawBuffers * kRawBytes;
  static constexpr int kSharedBarriers = kSharedOut + 8 * Rows::kStageBytes;
  static constexpr int kDrawsAhead = draws_ahead((kRawStages + 1) * kUnitStep, kUnits, kStationary ? 0 : kWStages, kPassStages * (kResident ? kPasses : 1));
  static constexpr int kDrawnPlaces = drawn_places(kDrawsAhead, kSlots, kItemSlots);
  static constexpr int kSharedDrawn = kSharedBarriers + 8 * barrier_count(kSlots, kRawBuffers, kRings * kWStages, kTeam);
  static constexpr int kSharedBytes = kSharedDrawn + drawn_bytes(kDrawnPlaces);
};
static_assert(C::kSharedBytes <= LC_SHARED_BYTES && LC_SHARED_BYTES <= 232448, "the launcher reckons as this file does");
static_assert(kChunks % (2 * kWSteps) == 0, "a tap's k-steps are whole W stages");
static_assert(!C::kStationary || (C::kWStages == (kHeld ? 0 : C::kPassStages) && C::kPasses == 1), "stationary weights fit their ring");
static_assert(!kHeld || (kMBlocks == 1 && LC_PHASES == 1), "registers hold fragments of one block of 64 channels");
static_assert(C::kPackers == 3 || C::kPackers == 7 || (C::kPackers == 4 && C::kStationary), "the weight warp packs once its weights are there for good");
static_assert(C::kCluster == 1 || (C::kCluster == 2 && !C::kStationary), "weights that stay are not worth a cluster");
static_assert(!C::kResident || C::kSlots == C::kItemSlots, "resident slots hold a whole item");
static_assert(C::kSlots >= 2 && C::kSlots * C::kUnitsPerSlot >= C::kPackers, "slots are released one group late; a packer is never two uses of a slot ahead");
static_assert(kPack != Pack::transposed || (kStride == 1 && C::kBytes == 2), "transposing packer: 16 bits, stride 1");
// 3 packers and the weight warp, which may be a fourth; or 7 and the weight warp, where accumulators leave the registers.
constexpr int kWeightWarp = C::kPackers == 7 ? 15 : 11, kThreads = 32 * (kWeightWarp + 1), kLaunchRegisters = kThreads == 512 ? 128 : 168;
constexpr int kMmaRegisters = kThreads == 384 || kManyRegisters ? 200 : 160;
constexpr int kPackerRegisters = kThreads == 384 ? 104 : kManyRegisters ? 56 : 96;
static_assert(256 * kMmaRegisters + (kThreads - 256) * kPackerRegisters <= kThreads * kLaunchRegisters, "setmaxnreg moves what the launch took");
static_assert(kThreads == 384 || kN <= 160, "ptxas wants all accumulators of an instruction among the registers of the launch");

#if LC_ACTIVATION_GRADIENT
struct Params : HopperParams<Element> {
  int64_t to_forward_y;  // bytes, from an element of x
};
#else
using Params = HopperParams<Element>;
#endif
using Raw = RawRing<C, Params>;

// --- packer warps ------------------------------------------------------------------------------------------------
// Packs a unit from its raw rows, or from memory.
LC_DEVICE void pack_unit(const Params& p, const Raw& ring, const Window<Element>& w, bool edge, uint32_t raw, uint32_t dst, int lane) {
  if (!C::kWholeSlots && w.channels <= 0) {
    for (int row = lane; row < C::kChunkRows; row += 32) store_shared_v4(dst + row * 16, 0, 0, 0, 0);
    return;
  }
  if (C::kGather || (kPad >= Pad::reflect && edge)) {
    pack_gather<C, kPad>(w.row, p.x_channel, p.x_time, w.channels, w.first, p.length, dst, lane);
    return;
  }
  if constexpr (Raw::kGradient) {
    form_gradient<C::kGradientOf, Element, 4>(raw, raw + C::kRawBytes / 2, min(w.channels, C::kChunk) * C::kRawPitch, p.negative_slope, lane, 32);
    __syncwarp();
  }
  if (!C::kWholeSlots && w.channels < C::kChunk) {  // rows of missing channels: zeros
    for (int j = w.channels; j < C::kChunk; ++j)
      for (int i = lane; i < C::kRawPitch / 16; i += 32) store_shared_v4(raw + j * C::kRawPitch + i * 16, 0, 0, 0, 0);
    fence_proxy_async();  // before the copy that comes there next
    __syncwarp();
  }
  const uint32_t low = static_cast<uint32_t>(reinterpret_cast<uint64_t>(w.row + w.first));
  uint32_t offset[C::kChunk], misaligned = 0;
#pragma unroll
  for (int j = 0; j < C::kChunk; ++j) {
    const uint32_t shift = (low + j * static_cast<uint32_t>(ring.pitch)) & 15;
    misaligned |= shift;
    offset[j] = j * C::kRawPitch + shift;
  }
  if (kPad == Pad::zeros && edge)
    pack_any<C, true, false>(raw, offset, dst, lane, Raw::valid_begin(w.first), Raw::valid_end(w.first, p.length));
  else if (kPack == Pack::transposed && !misaligned)
    pack_transposed<C>(raw, dst, lane);
  else
    pack_window<C>(raw, offset, (ring.pitch & 15) == 0, dst, lane);
}

LC_DEVICE void pack_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                         int packer, int lane) {
  Raw ring(p, schedule, shared + C::kSharedRaw, barriers, packer, lane);
  ring.fill();
  int unit = packer, slot_base = 0, stage = 0, phase = 0;
  ItemDraw<C> draw;
  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    if (packer == 0) draw.at_item(p, schedule, at.number, lane);
    const Item item = schedule.item(at.index);
    for (; unit < C::kUnits; unit += C::kPackers) {
      const int sequence = slot_base + unit / C::kUnitsPerSlot, s = sequence % C::kSlots, use = sequence / C::kSlots;
      const uint32_t dst = shared + C::kSharedX + s * C::kSlotBytes + unit % C::kUnitsPerSlot * (C::kChunkRows * 16);
      const Window<Element> w = Raw::window(p, item, unit);
      const bool edge = Raw::crosses_edge(w.first, p.length);
      barrier_wait(barriers.slot_empty + 8 * s, (use & 1) ^ 1);
      if (!C::kGather) barrier_wait(ring.full + 8 * stage, phase);
      pack_unit(p, ring, w, edge, ring.memory + stage * C::kRawBytes, dst, lane);
      if constexpr (Raw::kGradient) fence_proxy_async();  // bulk copies write next where ordinary stores have formed the gradient
      __syncwarp();  // what every lane has stored is the barrier's; who multiplies makes it wgmma's
      if (arrives(lane)) barrier_arrive(barriers.slot_full + 8 * s);
      ring.issue();
      if (++stage == C::kRawStages) { stage = 0; phase ^= 1; }
    }
    unit -= C::kUnits;
    slot_base += C::kItemSlots;
  }
}

// --- MMA warpgroups ----------------------------------------------------------------------------------------------
#if LC_W_STATIONARY == 2
// The words of each k-step's A fragment that wgmma expects of a lane: rows lane / 4 and 8 more, of both of its chunks the word lane % 4.
LC_DEVICE void multiply_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                             int warpgroup, int warp, int lane) {
  constexpr int kTapSteps = kChunks / 2, kSteps = C::kChannelBlocks * kKernel * kTapSteps;
  const int ring = kChannelWays == 2 ? warpgroup : 0, way = kTimeWays == 2 ? warpgroup : 0;
  const uint64_t b0 = wgmma_descriptor(shared + C::kSharedX + way * Rows::kPhaseStep * 16, C::kChunkRows * 16, 128);
  const uint32_t stage_out = shared + C::kSharedOut + (warpgroup * 4 + warp) * Rows::kStageBytes;
  const uint8_t* from = p.weights + ring * C::kPassBytes + (warp * 16 + (lane >> 2)) * 16 + (lane & 3) * 4;
  uint32_t weights[kSteps][4];
#pragma unroll
  for (int i = 0; i < kSteps; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      weights[i][j] = *reinterpret_cast<const uint32_t*>(from + i * C::kStepBytes + (j >> 1) * (kRingRows * 16) + (j & 1) * 128);

  int slot = 0, slot_phase = 0;
  float acc[1][kN / 2];
  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    const Item item = schedule.item(at.index);
    int old_slot = -1;  // to release once the group that read it has finished
    auto release = [&] {
      if (old_slot >= 0 && arrives(lane)) barrier_arrive(barriers.slot_empty + 8 * old_slot);
    };
#pragma unroll
    for (int i = 0; i < C::kItemSlots; ++i) {
      const int block = i / C::kTapGroups, tap0 = i % C::kTapGroups * C::kTaps;
      barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
      fence_proxy_async();
      const uint64_t b = b0 + ((slot * C::kSlotBytes) >> 4);
      wgmma_fence();
#pragma unroll
      for (int tap = 0; tap < C::kTaps; ++tap) {
        if (tap0 + tap >= kKernel) break;
#pragma unroll
        for (int q = 0; q < kTapSteps; ++q)
          wgmma<MmaType, kN>(acc[0], weights[(block * kKernel + tap0 + tap) * kTapSteps + q],
                             b + C::tap_row(tap, C::kPlaneRows) + q * (2 * C::kChunkRows), i + tap + q > 0);
      }
      wgmma_commit();
      wgmma_wait<1>();
      release();
      old_slot = slot;
      if (++slot == C::kSlots) { slot = 0; slot_phase ^= 1; }
    }
    wgmma_wait<0>();
    release();
    settle_phases<C>(acc);
    finish_rows<C, Rows>(acc, p, item, ring * 64 + warp * 16, way, stage_out, lane);
  }
  Rows::finish();
}
#else
LC_DEVICE void multiply_role(const Params& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers,
                             int warpgroup, int warp, int lane) {
  const int ring = kChannelWays == 2 ? warpgroup : 0, way = kTimeWays == 2 ? warpgroup : 0;
  const uint64_t a0 = wgmma_descriptor(shared + C::kSharedW + ring * C::kWStages * C::kWStageBytes, kRingRows * 16, 128);
  const uint64_t b0 = wgmma_descriptor(shared + C::kSharedX + way * Rows::kPhaseStep * 16, C::kChunkRows * 16, 128);
  const uint32_t full = barriers.w_full + 8 * C::kWStages * ring;
  const uint32_t stage_out = shared + C::kSharedOut + (warpgroup * 4 + warp) * Rows::kStageBytes;
  int slot = 0, slot_phase = 0, ws = 0, w_phase = 0;
  float acc[kMBlocks][C::kPhases][kN / 2];

  for (ItemCursor<C> at(schedule); at.index < schedule.end; at.advance(schedule)) {
    const Item item = schedule.item(at.index);
#pragma unroll 1
    for (int pass = 0; pass < Schedule<C>::kPassesPerItem; ++pass) {
      if (C::kLastPassIdles && ring == 1 && (C::kResident ? pass : item.pass) == C::kPasses - 1) {
        idle_pass<C>(barriers, ring, lane, slot, slot_phase, ws, w_phase);
        continue;
      }
      int old_w = -1, old_slot = -1;  // to release once the group that read them has finished
      auto release = [&] {
        if (arrives(lane)) {
          if (!C::kStationary && old_w >= 0) barriers.release_weights(ring, old_w);
          if (old_slot >= 0) barrier_arrive(barriers.slot_empty + 8 * old_slot);
        }
      };
      int accumulate[C::kPeriod] = {};
#pragma unroll 1
      for (int block = 0; block < C::kChannelBlocks; ++block) {
#pragma unroll 1
        for (int group = 0; group < C::kTapGroups; ++group) {
          if (pass == 0) {
            barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
            fence_proxy_async();  // here, and not where packers store, which wait for it longer
          }
          const int taps = C::kTapGroups == 1 ? kKernel : min(C::kTaps, kKernel - group * C::kTaps);
#pragma unroll 1
          for (int k0 = 0; k0 < taps; k0 += C::kPeriod) {
#pragma unroll
            for (int stage = 0; stage < C::kPeriod * C::kTapStages; ++stage) {  // taps of different phases
              const int i = stage / C::kTapStages, s = stage % C::kTapStages;
              if (C::kPeriod > 1 && k0 + i >= taps) break;
              const uint64_t b = b0 + ((slot * C::kSlotBytes) >> 4) + C::tap_row(k0 + i, C::kPlaneRows);
              barrier_wait(full + 8 * ws, w_phase);
              const uint64_t a = a0 + ((ws * C::kWStageBytes) >> 4);
              wgmma_fence();
#pragma unroll
              for (int q = 0; q < kWSteps; ++q) {
#pragma unroll
                for (int m = 0; m < kMBlocks; ++m)
                  wgmma<MmaType, kN>(acc[m][C::phase(i)], a + q * (C::kStepBytes / 16) + m * 64,
                                               b + (s * kWSteps + q) * (2 * C::kChunkRows), accumulate[i]);
                accumulate[i] = 1;
              }
              wgmma_commit();
              wgmma_wait<1>();
              release();
              old_w = ws;
              old_slot = -1;
              if (++ws == C::kWStages) { ws = 0; if (!C::kStationary) w_phase ^= 1; }
            }
          }
          if (pass == Schedule<C>::kPassesPerItem - 1) old_slot = slot;
          if (++slot == C::kSlots) { slot = 0; if (!C::kResident || pass == Schedule<C>::kPassesPerItem - 1) slot_phase ^= 1; }
        }
      }
      wgmma_wait<0>();
      release();
#pragma unroll
      for (int m = 0; m < kMBlocks; ++m) {
        settle_phases<C>(acc[m]);
        const int channel0 = ((C::kResident ? pass : item.pass) * kChannelWays + ring) * kRingRows + m * 64 + warp * 16;
        finish_rows<C, Rows>(acc[m], p, item, channel0, way, stage_out, lane);
      }
    }
  }
  Rows::finish();
}

#endif

extern "C" __global__ void __launch_bounds__(kThreads, 1) longconv_dense_fprop_sm90(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = __shfl_sync(~0u, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
  const BlockBarriers<C> barriers(shared);
  const DrawnSchedule<C> schedule(p, shared);
  barriers.init(schedule);
  if (warp >= 8) {
    decrease_registers<kPackerRegisters>();
    if (!kHeld && warp == kWeightWarp) {
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
