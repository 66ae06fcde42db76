// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> mma.sync A fragments in the order dense_fprop_sm80.cuh consumes them:
//   [group][16 channels out][stage of LC_STAGE_CHUNKS chunks in][tap][k-step][plane][lane][4 words]
// One block for each 16 channels out; missing channels become zeros. Formats as in dense_fprop_sm80.cuh's LC_ELEMENT: 0
// TF32, 1 bf16, 2 f16, 4 f32 as two f16 planes (tile/split_f16.cuh), scaled by a power of two per output channel so that
// max|w| lies in [2^13, 2^14), and `inverse`[group][out/group].
// flags[group][16 channels out]: not 0 where some weight is Inf or NaN or (format 4) cannot be split exactly enough: scaled,
// it is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).
#include "ptx/control.cuh"
#include "tile/split_f16.cuh"
#include "tile/weight_flags.cuh"

constexpr int kFormat = LC_FORMAT, kKernel = LC_KERNEL_SIZE, kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS;
constexpr bool kSplit = kFormat == 4;
#if LC_FORMAT == 1
using Element = bf16;
#elif LC_FORMAT == 2
using Element = f16;
#else
using Element = float;
#endif
constexpr int kWord = kFormat == 0 ? 1 : 2, kStepChannels = 8 * kWord;  // channels of a word, of a k-step
constexpr int kStageSteps = LC_STAGE_CHUNKS / 2, kBlocks = ceil_div(kInChannels, kStageSteps * kStepChannels);
constexpr int kPaddedRows = LC_PADDED_OUT_CHANNELS;  // of a group, a multiple of 16
constexpr int kThreads = 512, kFragmentBytes = kSplit ? 1024 : 512;

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

extern "C" __global__ void __launch_bounds__(kThreads) longconv_pack_fragments(const __grid_constant__ Params p) {
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / (kPaddedRows / 16), block16 = blockIdx.x % (kPaddedRows / 16);
  auto at = [&](int out, int64_t channel, int64_t tap) -> Element {
    if (out < kOutChannels && channel < kInChannels)
      return p.w[group * (LC_TRANSPOSED ? kInChannels * p.w_in : kOutChannels * p.w_out) + out * p.w_out + channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ float scales[16];
  bool flagged = false;
  if constexpr (kSplit) {
    for (int row = threadIdx.x / 32; row < 16; row += kThreads / 32) {
      const int out = block16 * 16 + row;
      Extremes extremes;
#pragma unroll 8  // loads ahead of their use
      for (int64_t i = threadIdx.x % 32; i < static_cast<int64_t>(kInChannels) * kKernel; i += 32)
        extremes.add(to_float(at(out, i / kKernel, i % kKernel)));
      extremes.reduce_warp();
      const ChannelScale channel(extremes);
      if (threadIdx.x % 32 == 0) {
        scales[row] = channel.scale;
        if (out < kOutChannels) p.inverse[static_cast<int64_t>(group) * kOutChannels + out] = channel.inverse;
        flagged = flagged || !channel.representable;
      }
    }
    __syncthreads();
  }

  const int64_t fragments = static_cast<int64_t>(kBlocks) * kKernel * kStageSteps;  // of 16 channels
  for (int64_t i = threadIdx.x; i < fragments * 32; i += kThreads) {
    const int64_t fragment = i / 32, step = fragment % kStageSteps, tap = fragment / kStageSteps % kKernel;
    const int64_t block = fragment / kStageSteps / kKernel;
    const int g = static_cast<int>(i % 32) / 4, c = static_cast<int>(i % 32) % 4;
    uint32_t hi[4], lo[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = g + 8 * (r & 1), out = block16 * 16 + row;
      const int64_t channel = (block * kStageSteps + step) * kStepChannels + (c + 4 * (r >> 1)) * kWord;
      Element v[kWord];
#pragma unroll
      for (int j = 0; j < kWord; ++j) {
        v[j] = at(out, channel + j, tap);
        if (!kSplit) flagged = flagged || !(fabsf(to_float(v[j])) < __uint_as_float(0x7f800000u));
      }
      if constexpr (kSplit) split2_f16(to_float(v[0]) * scales[row], to_float(v[kWord - 1]) * scales[row], hi[r], lo[r]);
      else if constexpr (kFormat == 0) hi[r] = round_tf32(bits_of(v[0]));
      else hi[r] = bits_of(v[0]) | bits_of(v[kWord - 1]) << 16;
    }
    uint8_t* out = p.packed + ((block16 + static_cast<int64_t>(group) * (kPaddedRows / 16)) * fragments + fragment) * kFragmentBytes + (i % 32) * 16;
    *reinterpret_cast<uint4*>(out) = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    if constexpr (kSplit) *reinterpret_cast<uint4*>(out + 512) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
  }
  flagged = __syncthreads_or(flagged ? 1 : 0) != 0;
  constexpr int kRealBlocks = ceil_div(kOutChannels, 16);
  if (threadIdx.x == 0 && block16 < kRealBlocks) p.flags[static_cast<int64_t>(group) * kRealBlocks + block16] = flagged ? 1 : 0;
}
