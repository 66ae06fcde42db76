// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The items of a persistent Hopper block. Equal shares would leave the quick blocks idle at the end: multiprocessors differ in what
// they get of the memory, and half of them were done 2 to 4 % before the last. So only the first items of a block are fixed, every
// gridDim-th; the others are drawn from a counter in global memory, some ahead of their use, by one lane for the whole block. Which
// block computes an item does not show in the result.
#pragma once
#include "ptx/control.cuh"
#include "ptx/mbarrier.cuh"
#include "tile/schedule.cuh"

template <class Element> struct HopperParams : FpropParams<Element> {
  uint32_t* drawn;  // items that have been drawn, 0 when the kernel starts; null: blocks have equal shares
};

// By how many items draws are ahead of the packer that draws. More than anything that it waits for may look ahead, else blocks wait
// for each other in a circle: raw rows (`raw_units` of `units` an item) and weights (`weight_stages` of `item_stages` an item).
LC_CONSTEXPR int draws_ahead(int raw_units, int units, int weight_stages, int item_stages) {
  const int raw = ceil_div(raw_units, units) + 1, weights = ceil_div(weight_stages, item_stages) + 3;
  return raw > weights ? raw : weights;
}
// Places for drawn items, a power of two: whoever is behind that packer is so by at most the slots of packed rows.
LC_CONSTEXPR int drawn_places(int ahead, int slots, int item_slots) {
  int places = 4;
  while (places < ahead + ceil_div(slots, item_slots) + 3) places *= 2;
  return places;
}
// Of shared memory: for each place a barrier and an item.
LC_CONSTEXPR int drawn_bytes(int places) { return places * 12; }

// C: of Schedule, and kDrawsAhead, kDrawnPlaces, kSharedDrawn. In a cluster, blocks stream the same weights and have equal shares.
template <class C> struct DrawnSchedule : Schedule<C> {
  static constexpr int kFixed = C::kDrawsAhead + 2;  // items of a block that are not drawn
  static_assert(kFixed < C::kDrawnPlaces, "they are all there when the kernel starts");
  uint32_t shared;
  template <class P> LC_DEVICE DrawnSchedule(const P& p, uint32_t memory) : Schedule<C>(p), shared(memory + C::kSharedDrawn) {}
  // By one thread, before fence_barrier_init().
  LC_DEVICE void init() const {
    for (int i = 0; i < C::kDrawnPlaces; ++i) barrier_init(full(i), 1);
    for (int i = 0; i < kFixed; ++i) hand_over(i, fixed(i));
  }
  // The block's item `number` where shares are equal.
  LC_DEVICE uint32_t fixed(int number) const { return static_cast<uint32_t>(number) * this->step + this->begin; }
  LC_DEVICE void hand_over(int number, uint32_t index) const {
    store_shared_u32(place(number), min(index, static_cast<uint32_t>(this->end)));
    barrier_arrive(full(number));
  }
  LC_DEVICE int take(int number) const {
    barrier_wait(full(number), number / C::kDrawnPlaces & 1);
    return static_cast<int>(load_shared_u32(place(number)));
  }

 private:
  LC_DEVICE uint32_t full(int number) const { return shared + 8 * (number % C::kDrawnPlaces); }
  LC_DEVICE uint32_t place(int number) const { return shared + 8 * C::kDrawnPlaces + 4 * (number % C::kDrawnPlaces); }
};

// A role's place among its block's items. Where `index` is the schedule's end there are no more, and nobody asks for the next one.
template <class C> struct ItemCursor {
  int index = 0, number = 0;
  ItemCursor() = default;
  LC_DEVICE explicit ItemCursor(const DrawnSchedule<C>& schedule) : index(schedule.begin) {}
  LC_DEVICE void advance(const DrawnSchedule<C>& schedule) { index = schedule.take(++number); }
};

// The drawing packer's lane 0.
template <class C> class ItemDraw {
 public:
  // At the beginning of the block's item `number`: hands over what was drawn at the one before, and draws.
  template <class P> LC_DEVICE void at_item(const P& p, const DrawnSchedule<C>& schedule, int number, int lane) {
    if (lane != 0 || number == 0 || next_ == kEnd) return;
    const bool draws = C::kCluster == 1 && p.drawn != nullptr;
    if (number == 1) {
      if (draws) wait_for_previous_kernel();  // which clears the counter
    } else {
      schedule.hand_over(number + C::kDrawsAhead, next_);
      if (next_ >= static_cast<uint32_t>(schedule.end)) {
        next_ = kEnd;
        return;
      }
    }
    next_ = draws ? static_cast<uint32_t>(DrawnSchedule<C>::kFixed) * schedule.step + atomicAdd(p.drawn, 1u)
                  : schedule.fixed(number + 1 + C::kDrawsAhead);
  }

 private:
  static constexpr uint32_t kEnd = ~0u;  // has been handed over
  uint32_t next_ = 0;
};
