// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// A packer warp's own loads: for each unit (slot, channel group of the slot) the raw rows of one window, by bulk copy
// from the aligned-down address, so rows may begin on any element. A packer reissues a stage after it has packed it,
// so no barrier leads back to the loader.
#pragma once
#include "ptx/async_sm90.cuh"
#include "tile/schedule.cuh"
#include "tile/signal.cuh"

// Where a unit's raw window lies.
template <class Element> struct Window {
  const Element* row;  // position 0 of the unit's first channel
  i64 first;           // signal position of raw element 0; negative inside the left padding
  int channels;        // channels that exist, may be <= 0 or above the unit's
};

// C: Element, kUnitChannels, kUnitsPerSlot, kSlotChannels, kTapGroups, kTaps, kUnits, kInChannels, kStride, kDilation, kStep,
// kPad, kRawNeeded, kRawPitch, kRawBytes, kRawStages, kPackers, kGather, kWholeSlots.
template <class C, class P> struct RawRing {
  using Element = typename C::Element;
  static constexpr int kBytes = sizeof(Element);
  const P& p;
  const Schedule<C>& schedule;
  u32 memory, full;  // this packer's stages and their barriers
  int lane, item, unit, stage = 0;
  Item where;

  LC_DEVICE RawRing(const P& params, const Schedule<C>& s, u32 raw, u32 raw_full, int packer, int lane_index)
      : p(params), schedule(s), memory(raw + packer * C::kRawStages * C::kRawBytes),
        full(raw_full + 8 * packer * C::kRawStages), lane(lane_index), item(s.begin), unit(packer) {
    if (item < schedule.end) where = schedule.item(item);
    settle();
    for (int i = 0; i < C::kRawStages; ++i) issue();
  }

  static LC_DEVICE Window<Element> window(const P& p, const Item& at, int unit) {
    const int slot = unit / C::kUnitsPerSlot;
    const int channel = slot / C::kTapGroups * C::kSlotChannels + unit % C::kUnitsPerSlot * C::kUnitChannels;
    return {p.x + at.batch * p.x_batch + (at.group * static_cast<i64>(C::kInChannels) + channel) * p.x_channel,
            static_cast<i64>(at.tile) * C::kStep * C::kStride - p.pad_left +
                static_cast<i64>(slot % C::kTapGroups) * (static_cast<i64>(C::kTaps) * C::kDilation),
            C::kInChannels - channel};
  }
  // Does the window leave the signal, so that padding has to be made?
  static LC_DEVICE bool crosses_edge(i64 first, i64 length) {
    return C::kPad != Pad::none && (first < 0 || first + C::kRawNeeded > length);
  }
  static LC_DEVICE int valid_begin(i64 first) { return static_cast<int>(min(max(0ll, -first), static_cast<i64>(C::kRawNeeded))); }
  static LC_DEVICE int valid_end(i64 first, i64 length) {
    return static_cast<int>(max(0ll, min(static_cast<i64>(C::kRawNeeded), length - first)));
  }

  // Starts the load of the next unit of this packer. Windows that padding modes fill element by element are skipped.
  LC_DEVICE void issue() {
    if (C::kGather || item >= schedule.end) return;
    if (lane == 0) {
      const Window<Element> w = window(p, where, unit);
      const u32 bar = full + 8 * stage, dst = memory + stage * C::kRawBytes;
      const int begin = valid_begin(w.first), end = valid_end(w.first, p.length);
      if (end <= begin || (C::kPad >= Pad::reflect && crosses_edge(w.first, p.length))) {
        barrier_arrive(bar);
      } else {
        const u64 row0 = reinterpret_cast<u64>(w.row) + w.first * kBytes;
        const u64 pitch = p.x_channel * kBytes;
        int total = 0;
#pragma unroll 4
        for (int j = 0; j < C::kUnitChannels; ++j) {
          if (C::kWholeSlots || j < w.channels) {
            const u64 a = row0 + j * pitch;
            total += static_cast<int>(((a + end * kBytes + 15) & ~15ull) - ((a + begin * kBytes) & ~15ull));
          }
        }
        barrier_arrive_expect(bar, total);
#pragma unroll 4
        for (int j = 0; j < C::kUnitChannels; ++j) {
          if (C::kWholeSlots || j < w.channels) {
            const u64 a = row0 + j * pitch, from = (a + begin * kBytes) & ~15ull;
            bulk_load(dst + j * C::kRawPitch + static_cast<u32>(from - (a & ~15ull)), reinterpret_cast<const void*>(from),
                      static_cast<int>(((a + end * kBytes + 15) & ~15ull) - from), bar);
          }
        }
      }
    }
    if (++stage == C::kRawStages) stage = 0;
    unit += C::kPackers;
    settle();
  }

 private:
  // An item may have fewer units than there are packers.
  LC_DEVICE void settle() {
    while (unit >= C::kUnits) {
      unit -= C::kUnits;
      item += schedule.step;
      if (item < schedule.end) where = schedule.item(item);
    }
  }
};
