// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// A slot of 16 channels of f32 rows becomes two f16 planes (split_f16.cuh), by one packer or by a team:
//
//   slot   [hi ch 0-7][hi ch 8-15][lo 0-7][lo 8-15] x [plane][row] (pack_order.cuh) x 16 B
//
// A slot's scale follows from its extremes, which are known when all of it has been read. It is first split by the scale that is
// expected, finding the extremes on the way, and again where that was not the scale.
//
// C: of PackOrder; kTeam (packers of a slot), kRawPitch, kChunkRows, kPad, kLeastExponent (split_f16.cuh).
#pragma once
#include "ptx/control.cuh"
#include "ptx/shared_memory.cuh"
#include "tile/pack_order.cuh"
#include "tile/signal.cuh"
#include "tile/split_f16.cuh"

constexpr uint32_t kTeamBarrier = 1;

// What a packer, or all of a team, has written into the raw stage is there for it.
template <class C> LC_DEVICE void sync_packers() {
  if (C::kTeam == 1) __syncwarp();
  else named_barrier_sync(kTeamBarrier, 32 * C::kTeam);
}

// Rows of channels that do not exist: zeros. In a team each packer clears its share of every row's positions.
template <class C> LC_DEVICE void clear_missing(uint32_t raw, int channels, int packer, int lane) {
  for (int j = max(channels, 0); j < 16; ++j)
    for (int i = C::kTeam == 1 ? lane : packer * 32 + lane; i < C::kRawPitch / 16; i += 32 * C::kTeam)
      store_shared_v4(raw + j * C::kRawPitch + i * 16, 0, 0, 0, 0);
  sync_packers<C>();
}

// Readers give 8 channels (half of a slot's 16) of one time position.
// From the raw stage; kUniform: every row begins on the same place of its 16 bytes, so that addresses are constants.
template <class C, bool kUniform> struct RawReader {
  uint32_t raw;
  uint32_t shift;  // two bits for each channel: its row's offset in elements inside the first 16 bytes
  int begin, end;  // elements that exist (zero padding, end of the row)

  template <bool kMask> LC_DEVICE void read(int element, int half, float (&v)[8]) const {
    const uint32_t at = raw + half * (8 * C::kRawPitch) + (element + (kUniform ? shift & 3 : 0)) * 4;
#pragma unroll
    for (int j = 0; j < 8; ++j)
      v[j] = load_shared_f32(at + j * C::kRawPitch + (kUniform ? 0 : (shift >> (2 * (half * 8 + j)) & 3) * 4));
    if (kMask && (element < begin || element >= end)) {
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] = 0.f;
    }
  }
};
// `shift` of a RawReader. low: of the first row's address; pitch: bytes between rows. One row tells of all where they begin alike;
// a team does not ask (docs/design/gpu-engine.md).
template <class C> LC_DEVICE uint32_t row_shifts(uint32_t low, uint32_t pitch) {
  if (C::kTeam == 1 && (pitch & 15) == 0) return (low >> 2 & 3) * 0x55555555u;
  uint32_t shift = 0;
#pragma unroll
  for (int j = 0; j < 16; ++j) shift |= ((low + j * pitch) >> 2 & 3) << (2 * j);
  return shift;
}
// From global memory, element by element: any time stride, any padding mode.
template <class C> struct GatherReader {
  const float* row;
  int64_t channel_stride, time_stride, first, length;
  int channels;
  template <bool> LC_DEVICE void read(int element, int half, float (&v)[8]) const {
    const int64_t t = padded_index<C::kPad>(first + element, length);
#pragma unroll
    for (int j = 0; j < 8; ++j)
      v[j] = half * 8 + j < channels && t >= 0 ? row[(half * 8 + j) * channel_stride + t * time_stride] : 0.f;
  }
};

// A packer's share of a slot: parts (32 positions, half of the channels), alone all of them, in a team every kTeam-th. Loads
// run a part ahead of the arithmetic.
template <class C> struct Share {
  static constexpr int kParts = 2 * PackOrder<C>::kSteps;
  int first, last;
  LC_DEVICE explicit Share(int packer)
      : first(C::kTeam == 1 ? 0 : packer), last(kParts - 1 - (C::kTeam == 1 ? 0 : (kParts - 1 - packer) % C::kTeam)) {}

  // use(part, values) for each part.
  template <bool kMask, class Reader, class Use> LC_DEVICE void visit(const Reader& reader, int lane, const Use& use) const {
    float a[8], b[8];
    read<kMask>(reader, first, lane, a);
    int part = first;
#pragma unroll 1
    for (; part < last; part += 2 * C::kTeam) {
      read<kMask>(reader, part + C::kTeam, lane, b);
      use(part, a);
      read<kMask>(reader, min(part + 2 * C::kTeam, last), lane, a);
      use(part + C::kTeam, b);
    }
    if (part == last) use(part, a);
  }

 private:
  template <bool kMask, class Reader> static LC_DEVICE void read(const Reader& reader, int part, int lane, float (&v)[8]) {
    reader.template read<kMask>(PackOrder<C>(part >> 1, lane).element, part & 1, v);
  }
};

template <class C> struct StoreSplit {
  uint32_t dst;
  float scale;
  int lane;
  LC_DEVICE void operator()(int part, const float (&v)[8]) const {
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) split2_f16(v[2 * j] * scale, v[2 * j + 1] * scale, hi[j], lo[j]);
    const uint32_t to = dst + ((part & 1) * C::kChunkRows + PackOrder<C>(part >> 1, lane).row) * 16;
    store_shared_v4(to, hi[0], hi[1], hi[2], hi[3]);
    store_shared_v4(to + C::kChunkRows * 32, lo[0], lo[1], lo[2], lo[3]);
  }
};
template <class C> struct StoreSplitFindExtremes {
  StoreSplit<C> store;
  Extremes& extremes;
  LC_DEVICE void operator()(int part, const float (&v)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) extremes.add(v[j]);
    store(part, v);
  }
};

// `expected`: the scale that is tried first. `exchange`: where a team's packers leave their extremes; two places, used in
// turn, so that one barrier suffices.
template <class C, bool kMask, class Reader>
LC_DEVICE SlotScale pack_split(const Reader& reader, const Share<C>& share, float expected, uint32_t dst, uint32_t exchange,
                               int packer, int lane) {
  Extremes extremes;
  share.template visit<kMask>(reader, lane, StoreSplitFindExtremes<C>{{dst, expected, lane}, extremes});
  extremes.reduce_warp();
  if (C::kTeam > 1) {
    if (lane == 0) store_shared_v2(exchange + 8 * packer, extremes.largest, __uint_as_float(extremes.smallest));
    named_barrier_sync(kTeamBarrier, 32 * C::kTeam);
#pragma unroll
    for (int i = 0; i < C::kTeam; ++i)
      extremes.merge({load_shared_f32(exchange + 8 * i), load_shared_u32(exchange + 8 * i + 4)});
  }
  const SlotScale scale(extremes, C::kLeastExponent);
  if (scale.scale != expected) {
    __syncwarp();  // lanes beyond the last position write what others write
    share.template visit<kMask>(reader, lane, StoreSplit<C>{dst, scale.scale, lane});
  }
  return scale;
}
