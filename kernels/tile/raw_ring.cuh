// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Loads of raw rows: for each unit (slot, channel group of the slot) the rows of one window, by bulk copy from the
// aligned-down address, so rows may begin on any element. A packer that works alone reissues a stage of its own after it has
// packed it, so no barrier leads back to the loader; a team's stages are filled by the weight warp when they are empty.
// Where x is the gradient of an activation's result (kGradientOf), a stage's second half is the same window of that result.
#pragma once
#include "ptx/bulk_copy.cuh"
#include "ptx/control.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/block_barriers.cuh"
#include "tile/drawn_items.cuh"
#include "tile/signal.cuh"

// Where a unit's raw window lies.
template <class Element> struct Window {
  const Element* row;  // position 0 of the unit's first channel
  int64_t first;           // signal position of raw element 0; negative inside the left padding
  int channels;        // channels that exist, may be <= 0 or above the unit's
};

// C: Element, kUnitChannels, kUnitsPerSlot, kSlotChannels, kTapGroups, kGroupStep, kUnits, kInChannels, kInputStep (samples between
// tiles), kPad, kRawNeeded, kRawPitch, kRawBytes, kRawStages, kTeam, kUnitStep, kGather, kWholeSlots, kGradientOf.
template <class C, class P> struct RawRing {
  using Element = typename C::Element;
  static constexpr int kBytes = sizeof(Element);
  static constexpr bool kGradient = C::kGradientOf != Activation::none;
  static constexpr int kSignals = kGradient ? 2 : 1;
  static_assert(!(kGradient && C::kGather), "what is gathered is the gradient itself");
  const P& p;
  const DrawnSchedule<C>& schedule;
  uint32_t memory, full, empty;  // this loader's stages and their barriers
  ItemCursor<C> at;      // of the next unit to load
  int lane, unit, stage = 0, empty_phase = 1;
  uint64_t pitch, base;   // bytes between channels; address of (batch, group, channel 0, sample 0) of the item
  int64_t first;         // raw element 0 of its tile, tap group 0

  // A packer's own stages; a team's, if kTeam > 1. By all lanes of a packer, or by the one lane that loads for a team.
  LC_DEVICE RawRing(const P& params, const DrawnSchedule<C>& s, uint32_t raw, const BlockBarriers<C>& barriers, int packer, int lane_index)
      : p(params), schedule(s), memory(raw + (C::kTeam == 1 ? packer * C::kRawStages * C::kRawBytes : 0)),
        full(barriers.raw_full + (C::kTeam == 1 ? 8 * packer * C::kRawStages : 0)), empty(barriers.raw_empty), at(s), lane(lane_index),
        unit(C::kTeam == 1 ? packer : 0), pitch(static_cast<uint64_t>(params.x_channel) * kBytes) {
    locate();
    settle();
  }
  // Starts the first loads.
  LC_DEVICE void fill() {
    for (int i = 0; i < C::kRawStages; ++i) issue();
  }
  // For a team, by one lane: starts the next load if a stage is empty. False when there is nothing left to load.
  LC_DEVICE bool poll() {
    if (C::kTeam == 1 || C::kGather || at.index >= schedule.end) return false;
    if (barrier_test_wait(empty + 8 * stage, empty_phase)) {
      issue();
      if (stage == 0) empty_phase ^= 1;
    }
    return true;
  }

  static LC_DEVICE Window<Element> window(const P& p, const Item& item, int unit) {
    const int slot = unit / C::kUnitsPerSlot, channel = first_channel(unit);
    return {p.x + item.batch * p.x_batch + (item.group * static_cast<int64_t>(C::kInChannels) + channel) * p.x_channel,
            item.tile * C::kInputStep - p.pad_left + slot % C::kTapGroups * C::kGroupStep,
            C::kInChannels - channel};
  }
  // Does the window leave the signal, so that padding has to be made?
  static LC_DEVICE bool crosses_edge(int64_t first, int64_t length) {
    return C::kPad != Pad::none && (first < 0 || first + C::kRawNeeded > length);
  }
  static LC_DEVICE int valid_begin(int64_t first) { return static_cast<int>(min(max(int64_t(0), -first), static_cast<int64_t>(C::kRawNeeded))); }
  static LC_DEVICE int valid_end(int64_t first, int64_t length) {
    return static_cast<int>(max(int64_t(0), min(static_cast<int64_t>(C::kRawNeeded), length - first)));
  }

  // Starts the load of the next unit. Windows that padding modes fill element by element are skipped.
  LC_DEVICE void issue() {
    if (C::kGather || at.index >= schedule.end) return;
    if (C::kTeam > 1 || elect_one()) {
      const int slot = unit / C::kUnitsPerSlot, channel = first_channel(unit);
      const int64_t from = first + slot % C::kTapGroups * C::kGroupStep;
      load(base + channel * pitch + from * kBytes, from, C::kInChannels - channel, memory + stage * C::kRawBytes, full + 8 * stage);
    }
    if (++stage == C::kRawStages) stage = 0;
    unit += C::kUnitStep;
    settle();
  }

 private:
  static LC_DEVICE int first_channel(int unit) {
    return unit / C::kUnitsPerSlot / C::kTapGroups * C::kSlotChannels + unit % C::kUnitsPerSlot * C::kUnitChannels;
  }
  LC_DEVICE void locate() {
    if (at.index >= schedule.end) return;
    const Item item = schedule.item(at.index);
    base = reinterpret_cast<uint64_t>(p.x + item.batch * p.x_batch) + item.group * (C::kInChannels * pitch);
    first = item.tile * C::kInputStep - p.pad_left;
  }
  // An item may have fewer units than there are packers.
  LC_DEVICE void settle() {
    while (unit >= C::kUnits && at.index < schedule.end) {
      unit -= C::kUnits;
      at.advance(schedule);
      locate();
    }
  }

  LC_DEVICE void load_row(uint32_t dst, uint64_t source, uint32_t bytes, uint32_t bar) const {
    bulk_load(dst, reinterpret_cast<const void*>(source), bytes, bar);
    if constexpr (kGradient) bulk_load(dst + C::kRawBytes / 2, reinterpret_cast<const void*>(source + p.to_forward_y), bytes, bar);
  }

  // One lane, which ptxas knows to be one (elect_one), from uniform values, unrolled: else each bulk copy becomes a loop over lanes. `a`: address of raw element 0.
  LC_DEVICE void load(uint64_t a, int64_t from, int channels, uint32_t dst, uint32_t bar) const {
    int begin = 0, end = C::kRawNeeded;
    if (from < 0 || from + C::kRawNeeded > p.length) {
      begin = valid_begin(from);
      end = valid_end(from, p.length);
      if (end <= begin || C::kPad >= Pad::reflect) {  // nothing, or gathered by the packer
        barrier_arrive(bar);
        return;
      }
    }
    const int rows = C::kWholeSlots ? C::kUnitChannels : min(C::kUnitChannels, channels);
    const uint32_t head = begin * kBytes, tail = end * kBytes + 15;
    if ((pitch & 15) == 0) {  // every row begins on the same place of its 16 bytes
      const uint32_t low = static_cast<uint32_t>(a) & 15, skip = (low + head) & ~15u, bytes = ((low + tail) & ~15u) - skip;
      const uint64_t source = (a & ~15ul) + skip;
      barrier_arrive_expect(bar, kSignals * max(rows, 0) * bytes);
#pragma unroll
      for (int j = 0; j < C::kUnitChannels; ++j)
        if (C::kWholeSlots || j < rows) load_row(dst + skip + j * C::kRawPitch, source + j * pitch, bytes, bar);
    } else {
      uint32_t total = 0, low = static_cast<uint32_t>(a);
#pragma unroll
      for (int j = 0; j < C::kUnitChannels; ++j, low += static_cast<uint32_t>(pitch))
        if (C::kWholeSlots || j < rows) total += (((low & 15) + tail) & ~15u) - (((low & 15) + head) & ~15u);
      barrier_arrive_expect(bar, kSignals * total);
#pragma unroll 4
      for (int j = 0; j < C::kUnitChannels; ++j, a += pitch) {
        if (C::kWholeSlots || j < rows) {
          const uint32_t shift = static_cast<uint32_t>(a) & 15, skip = (shift + head) & ~15u;
          load_row(dst + skip + j * C::kRawPitch, (a & ~15ul) + skip, ((shift + tail) & ~15u) - skip, bar);
        }
      }
    }
  }
};
