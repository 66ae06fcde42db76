// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Weights (out, in/groups, tap), or (in, out/groups, tap) with LC_TRANSPOSED, in any strides -> the order in which the dense forward kernels consume them, and with
// the precision they multiply in. One block for each packed output channel; missing channels become zeros.
//
//   LC_FORMAT 0  TF32 (f32 rounded to nearest, ties away), 1 bf16, 2 f16:
//     [group][ring of LC_RING_ROWS channels][channel block of LC_BLOCK_CHUNKS chunks][tap][k-step][2 chunks][o][16 B]
//   LC_FORMAT 3  two f16 planes of f32 (tile/split_f16.cuh), scaled by a power of two per output channel so that
//     max|w| lies in [2^13, 2^14):
//     [group][64 channels][16 channels][tap][hi 0-7, hi 8-15, lo 0-7, lo 8-15][o][16 B], and `inverse`[group][out/group]
//
// flags[group][out/group]: not 0 where some weight is Inf or NaN or (format 3) cannot be split exactly enough: scaled, it
// is nonzero below 2^-14. The launch's state is cleared (tile/weight_flags.cuh).
#include "ptx/control.cuh"
#include "tile/split_f16.cuh"
#include "tile/weight_flags.cuh"

constexpr int kFormat = LC_FORMAT, kKernel = LC_KERNEL_SIZE, kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS;
constexpr bool kSplit = kFormat == 3;
constexpr int kRows = kSplit ? 64 : LC_RING_ROWS;
constexpr int kChunk = kFormat == 0 ? 4 : 8;                          // elements of 16 bytes
constexpr int kBlockChunks = kSplit ? 2 : LC_BLOCK_CHUNKS;            // chunks of channels of a block
constexpr int kBlocks = ceil_div(kInChannels, kBlockChunks * kChunk);
constexpr int kPaddedRows = LC_PADDED_OUT_CHANNELS;                   // of a group, a multiple of kRows
constexpr int kThreads = 128;

#if LC_FORMAT == 1
using Element = bf16;
#elif LC_FORMAT == 2
using Element = f16;
#else
using Element = float;
#endif

struct Params {
  const Element* w;
  uint8_t* packed;
  float* inverse;
  uint32_t* flags;
  int64_t w_out, w_in, w_tap;  // strides in elements
  uint32_t* state;
  int64_t state_words;
};

extern "C" __global__ void __launch_bounds__(kThreads) longconv_pack_weights(const __grid_constant__ Params p) {
  allow_next_kernel();  // which loads x meanwhile
  clear_state<kThreads>(p.state, p.state_words);
  const int group = blockIdx.x / kPaddedRows, o = blockIdx.x % kPaddedRows;
  const bool real = o < kOutChannels;
  const Element* w = p.w + group * (LC_TRANSPOSED ? kInChannels * p.w_in : kOutChannels * p.w_out) + o * p.w_out;
  const int64_t count = static_cast<int64_t>(kInChannels) * kKernel;
  auto at = [&](int64_t channel, int64_t tap) -> Element {
    if (real && channel < kInChannels) return w[channel * p.w_in + tap * p.w_tap];
    return Element{};
  };

  __shared__ Extremes partial[kThreads / 32];
  Extremes extremes;
  bool finite = true;
  if (real) {
    for (int64_t i = threadIdx.x; i < count; i += kThreads) {
      const float v = to_float(at(i / kKernel, i % kKernel));
      if (kSplit) extremes.add(v);
      else finite = finite && fabsf(v) < __uint_as_float(0x7f800000u);
    }
  }
  float scale = 1.f;
  const int64_t row = static_cast<int64_t>(group) * kOutChannels + o;
  if constexpr (kSplit) {
    extremes.reduce_warp();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = extremes;
    __syncthreads();
    extremes = Extremes{};
    for (int i = 0; i < kThreads / 32; ++i) {
      extremes.merge(partial[i]);
    }
    const ChannelScale channel(extremes);
    scale = channel.scale;
    if (threadIdx.x == 0 && real) {
      p.inverse[row] = channel.inverse;
      p.flags[row] = channel.representable ? 0 : 1;
    }
  } else {
    const bool flagged = __syncthreads_or(finite ? 0 : 1) != 0;
    if (threadIdx.x == 0 && real) p.flags[row] = flagged ? 1 : 0;
  }

  const int64_t chunks = static_cast<int64_t>(kBlocks) * kBlockChunks;
  for (int64_t i = threadIdx.x; i < chunks * kKernel; i += kThreads) {
    const int64_t chunk = i / kKernel, tap = i % kKernel, block = chunk / kBlockChunks, inside = chunk % kBlockChunks;
    // (group, ring, block, tap) then the chunks of a tap, then rows.
    const int64_t tap_index = ((static_cast<int64_t>(group) * (kPaddedRows / kRows) + o / kRows) * kBlocks + block) * kKernel + tap;
    constexpr int kTapChunks = kSplit ? 4 : kBlockChunks;
    uint8_t* out = p.packed + ((tap_index * kTapChunks + inside) * kRows + o % kRows) * 16;
    uint32_t word[4];
    if constexpr (kSplit) {
      uint32_t lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
        split2_f16(to_float(at(chunk * 8 + 2 * j, tap)) * scale, to_float(at(chunk * 8 + 2 * j + 1, tap)) * scale, word[j], lo[j]);
      *reinterpret_cast<uint4*>(out + 2 * kRows * 16) = make_uint4(lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (kFormat == 0) {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = round_tf32(bits_of(at(chunk * 4 + j, tap)));
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) word[j] = bits_of(at(chunk * 8 + 2 * j, tap)) | bits_of(at(chunk * 8 + 2 * j + 1, tap)) << 16;
    }
    *reinterpret_cast<uint4*>(out) = make_uint4(word[0], word[1], word[2], word[3]);
  }
}
