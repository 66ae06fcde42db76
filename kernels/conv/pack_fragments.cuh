// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Weights (out, in/groups, tap) in any strides -> mma.sync A fragments in the order dense_fprop_sm80.cuh consumes them:
//   [group][16 channels out][stage of LC_STAGE_CHUNKS chunks in][tap group's taps][k-step][plane][lane][4 words]
// Formats as in dense_fprop_sm80.cuh's LC_ELEMENT: 0 TF32, 1 bf16, 2 f16, 4 f32 as two TF32 planes (hi, lo).
// Stages run over channel blocks, then tap groups of LC_TAPS taps: the taps of a channel block are consecutive.
// flags: bit 0 some weight is Inf or NaN; bit 1 (format 4) some weight cannot be split: Inf, NaN, |w| >= 2^126 or nonzero
// below 2^-100. Bits are only ever set: the caller clears the word first.
#include "tile/common.cuh"

constexpr int kFormat = LC_FORMAT, kKernel = LC_KERNEL_SIZE, kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS;
constexpr bool kSplit = kFormat == 4;
#if LC_FORMAT == 1
using Element = bf16;
#elif LC_FORMAT == 2
using Element = f16;
#else
using Element = float;
#endif
constexpr int kWord = 4 / sizeof(Element), kStepChannels = 8 * kWord;  // channels of a word, of a k-step
constexpr int kStageSteps = LC_STAGE_CHUNKS / 2, kBlocks = ceil_div(kInChannels, kStageSteps * kStepChannels);
constexpr int kPaddedRows = LC_PADDED_OUT_CHANNELS;  // of a group, a multiple of 16

struct Params {
  const Element* w;
  uint8_t* packed;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
};

extern "C" __global__ void __launch_bounds__(256) longconv_pack_fragments(const __grid_constant__ Params p) {
  const int group = blockIdx.x / (kPaddedRows / 16), block16 = blockIdx.x % (kPaddedRows / 16);
  const int64_t fragments = static_cast<int64_t>(kBlocks) * kKernel * kStageSteps;  // of 16 channels
  bool finite = true, fit = true;
  for (int64_t i = threadIdx.x; i < fragments * 32; i += 256) {
    const int64_t fragment = i / 32, step = fragment % kStageSteps, tap = fragment / kStageSteps % kKernel;
    const int64_t block = fragment / kStageSteps / kKernel;
    const int g = static_cast<int>(i % 32) / 4, c = static_cast<int>(i % 32) % 4;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int out = block16 * 16 + g + 8 * (r & 1);
      const int64_t channel = (block * kStageSteps + step) * kStepChannels + (c + 4 * (r >> 1)) * kWord;
      uint32_t word = 0;
#pragma unroll
      for (int j = 0; j < kWord; ++j) {
        Element v{};
        if (out < kOutChannels && channel + j < kInChannels)
          v = p.w[(static_cast<int64_t>(group) * kOutChannels + out) * p.w_out + (channel + j) * p.w_in + tap * p.w_tap];
        finite = finite && fabsf(to_float(v)) < __uint_as_float(0x7f800000u);
        word |= bits_of(v) << (16 * j);
      }
      if (kSplit) {
        const uint32_t magnitude = word & 0x7fffffffu;
        fit = fit && magnitude < 0x7e800000u && (magnitude == 0 || magnitude >= 0x0d800000u);
        hi[r] = (word + 0x1000u) & 0xffffe000u;
        lo[r] = round_tf32(__float_as_uint(__uint_as_float(word) - __uint_as_float(hi[r])));
      } else {
        hi[r] = kFormat == 0 ? round_tf32(word) : word;
      }
    }
    uint8_t* out = p.packed + (block16 + static_cast<int64_t>(group) * (kPaddedRows / 16)) * fragments * (kSplit ? 1024 : 512) +
              fragment * (kSplit ? 1024 : 512) + (i % 32) * 16;
    *reinterpret_cast<uint4*>(out) = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    if (kSplit) *reinterpret_cast<uint4*>(out + 512) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  if (!finite) atomicOr(p.flags, 1u);
  if (!fit) atomicOr(p.flags, 2u);
}
