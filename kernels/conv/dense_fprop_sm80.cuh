// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Dense forward convolution for every tensor-core GPU from sm_80 on: bf16, f16, TF32, and fp32 as two TF32 planes.
//
//   y[n, o, t] = act( sum_{i,k} w[o,i,k] * x[n, i, t*stride + k*dilation - pad_left] + bias[o] + residual[n,o,t] )
//
// Pack once, as on Hopper: the block transposes a stage of raw NCW rows (kStageChunks chunks of 16 bytes of channels, one
// tap group) into shared memory as [plane of the split][chunk][residue plane][row] x 16 B, so that a tap is a row offset
// and ldmatrix yields B fragments; 8 rows of 16 bytes are 128 contiguous bytes: no bank conflicts at any offset.
// Weights lie in global memory in fragment order and come through L1, one 16-byte load a lane for 16 channels.
//
//   256 threads, 8 warps: kWarpsOut x kWarpsTime, a warp computes 32 channels x 64 steps; two blocks a multiprocessor
//   overlap one's loads with the other's arithmetic.
//
// fp32 (LC_ELEMENT 4): x = hi + lo, both TF32 rounded to nearest, |x - hi - lo| <= 2^-23 |x|; products hi*lo and lo*hi first,
// then hi*hi. Tensor cores truncate when they accumulate: every stage starts from zero and is added to f32 sums with one
// rounding. Tiles with inputs that this cannot carry (Inf, NaN, |x| >= 2^126, nonzero |x| < 2^-100) set their bit in
// `redo`, for direct_fprop.cuh.
// Limits: output time stride 1. Bytes: x once per 32*kWarpsOut output channels, weights from L2. See docs/design/numerics.md.
#include "ptx/ldmatrix.cuh"
#include "ptx/mma_sync.cuh"
#include "tile/activation.cuh"
#include "tile/pack_order.cuh"
#include "tile/schedule.cuh"
#include "tile/signal.cuh"

// --- problem: LC_ELEMENT 0 f32 as TF32, 1 bf16, 2 f16, 4 f32 as two TF32 planes
constexpr int kOutChannels = LC_OUT_CHANNELS, kKernel = LC_KERNEL_SIZE;
constexpr Activation kActivation = static_cast<Activation>(LC_ACTIVATION);
constexpr bool kSplit = LC_ELEMENT == 4;
#if LC_ELEMENT == 1
using Element = bf16;
using MmaType = bf16;
#elif LC_ELEMENT == 2
using Element = f16;
using MmaType = f16;
#else
using Element = float;
using MmaType = tf32;
#endif

// --- configuration
constexpr int kWarpsOut = LC_WARPS_OUT, kWarpsTime = 8 / kWarpsOut, kThreads = 256;
constexpr int kStageChunks = LC_STAGE_CHUNKS;

struct C {
  static constexpr int kInChannels = LC_IN_CHANNELS, kStride = LC_STRIDE, kDilation = LC_DILATION, kTaps = LC_TAPS;
  static constexpr Pad kPad = static_cast<Pad>(LC_PAD);
  static constexpr bool kResident = false;
  static constexpr int kCluster = 1;
  static constexpr int kBytes = sizeof(Element), kChunk = 16 / kBytes;
  static constexpr int kOutTile = 32 * kWarpsOut, kStep = 64 * kWarpsTime, kPasses = ceil_div(kOutChannels, kOutTile);
  static constexpr int kResidueStep = gcd_of(kDilation % kStride ? kDilation % kStride : kStride, kStride);
  static constexpr bool kAllResidues = kTaps >= kStride / kResidueStep;
  static constexpr int kPlanes = kAllResidues ? kStride / kResidueStep : kTaps;
  static LC_CONSTEXPR int plane(int tap) { return kAllResidues ? tap * kDilation % kStride / kResidueStep : tap; }
  static LC_CONSTEXPR int residue(int plane) { return kAllResidues ? plane * kResidueStep : plane * kDilation % kStride; }
  static constexpr int kPlaneRows = plane_rows(kStep + (kTaps - 1) * kDilation / kStride, kStride);
  static constexpr int kRawNeeded = (kStep - 1) * kStride + (kTaps - 1) * kDilation + 1;
  static constexpr int kChunkRows = kPlanes * kPlaneRows, kSplitBytes = kStageChunks * kChunkRows * 16;
  static constexpr int kSharedBytes = kSplitBytes * (kSplit ? 2 : 1);
  static constexpr int kChannelBlocks = ceil_div(kInChannels, kStageChunks * kChunk), kTapGroups = ceil_div(kKernel, kTaps);
  static constexpr int kFragmentBytes = 512 * (kSplit ? 2 : 1);  // of 16 channels and one k-step
};
static_assert(kStageChunks % 2 == 0, "a k-step is two chunks");

extern "C" __device__ const int longconv_shared_bytes = C::kSharedBytes;

struct Params : FpropParams<Element> {
  uint32_t* redo;
};

// One stage: all warps share the (chunk, step) pairs. Returns whether this thread met a value that cannot be split.
LC_DEVICE bool pack_stage(const Params& p, const Element* x, int channels, int64_t first, uint32_t shared, int warp, int lane) {
  using Order = PackOrder<C>;
  bool unfit = false;
#pragma unroll 2
  for (int unit = warp; unit < kStageChunks * Order::kSteps; unit += 8) {
    const int chunk = unit % kStageChunks;
    const Order at(unit / kStageChunks, lane);
    const int64_t t = padded_index<C::kPad>(first + at.element, p.length);
    const Element* from = x + chunk * C::kChunk * p.x_channel + t * p.x_time;
    uint32_t v[C::kChunk];
#pragma unroll
    for (int j = 0; j < C::kChunk; ++j)
      v[j] = t >= 0 && chunk * C::kChunk + j < channels ? bits_of(from[j * p.x_channel]) : 0u;
    const uint32_t dst = shared + (chunk * C::kChunkRows + at.row) * 16;
    if constexpr (C::kBytes == 2) {
      store_shared_v4(dst, v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
    } else if constexpr (!kSplit) {
      store_shared_v4(dst, round_tf32(v[0]), round_tf32(v[1]), round_tf32(v[2]), round_tf32(v[3]));
    } else {
      uint32_t hi[4], lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t magnitude = v[j] & 0x7fffffffu;
        unfit |= magnitude >= 0x7e800000u || (magnitude != 0 && magnitude < 0x0d800000u);
        hi[j] = (v[j] + 0x1000u) & 0xffffe000u;
        lo[j] = round_tf32(bits_of(__uint_as_float(v[j]) - __uint_as_float(hi[j])));
      }
      store_shared_v4(dst, hi[0], hi[1], hi[2], hi[3]);
      store_shared_v4(dst + C::kSplitBytes, lo[0], lo[1], lo[2], lo[3]);
    }
  }
  return unfit;
}

template <class Type> LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Type type) {
  mma_m16n8k16(d, a, b, type);
}
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], tf32 type) { mma_m16n8k8(d, a, b, type); }
LC_DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  multiply(d, a, b, MmaType{});
}

struct Fragment {
  uint32_t hi[2][4], lo[kSplit ? 2 : 1][4];
};

extern "C" __global__ void __launch_bounds__(kThreads, kSplit ? 1 : 2) longconv_dense_fprop_sm80(const __grid_constant__ Params p) {
  extern __shared__ __align__(128) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, warp_out = warp / kWarpsTime, warp_time = warp % kWarpsTime;
  const Schedule<C> schedule(p);
  constexpr int kSteps = kStageChunks / 2;  // k-steps of a tap in a stage
  constexpr int64_t kBlockBytes = static_cast<int64_t>(C::kChannelBlocks) * kKernel * kSteps * C::kFragmentBytes;  // of 16 channels
  // B addresses of this lane: ldmatrix blocks (rows 0-7, chunk 0), (0-7, 1), (8-15, 0), (8-15, 1).
  const uint32_t b_lane = shared + ((lane >> 3 & 1) * C::kChunkRows + warp_time * 64 + (lane >> 4) * 8 + (lane & 7)) * 16;

  for (int index = schedule.begin; index < schedule.end; index += schedule.step) {
    const Item item = schedule.item(index);
    const Element* x = p.x + item.batch * p.x_batch + item.group * static_cast<int64_t>(C::kInChannels) * p.x_channel;
    const int64_t t0 = static_cast<int64_t>(item.tile) * C::kStep;
    const int out0 = item.pass * C::kOutTile + warp_out * 32;
    // Fragment-ordered weights of this warp's two blocks of 16 channels.
    const uint8_t* w[2];
#pragma unroll
    for (int m = 0; m < 2; ++m)
      w[m] = p.weights + (static_cast<int64_t>(item.group) * (C::kPasses * C::kOutTile / 16) + out0 / 16 + m) * kBlockBytes + lane * 16;
    float sum[2][8][4] = {};
    bool unfit = false;
#pragma unroll 1
    for (int block = 0; block < C::kChannelBlocks; ++block) {
#pragma unroll 1
      for (int group = 0; group < C::kTapGroups; ++group) {
        const int channel0 = block * kStageChunks * C::kChunk;
        __syncthreads();
        unfit |= pack_stage(p, x + channel0 * p.x_channel, C::kInChannels - channel0,
                            t0 * C::kStride - p.pad_left + static_cast<int64_t>(group) * C::kTaps * C::kDilation, shared, warp, lane);
        __syncthreads();
        const int taps = min(C::kTaps, kKernel - group * C::kTaps);
        float part[kSplit ? 2 : 1][kSplit ? 8 : 1][4] = {};
#pragma unroll 1
        for (int k = 0; k < taps; ++k) {
          const uint32_t b_tap = b_lane + (C::plane(k) * C::kPlaneRows + k * C::kDilation / C::kStride) * 16;
#pragma unroll
          for (int s = 0; s < kSteps; ++s) {
            Fragment a;
#pragma unroll
            for (int m = 0; m < 2; ++m) {
              const uint4 v = __ldg(reinterpret_cast<const uint4*>(w[m]));
              a.hi[m][0] = v.x, a.hi[m][1] = v.y, a.hi[m][2] = v.z, a.hi[m][3] = v.w;
              if constexpr (kSplit) {
                const uint4 l = __ldg(reinterpret_cast<const uint4*>(w[m] + 512));
                a.lo[m][0] = l.x, a.lo[m][1] = l.y, a.lo[m][2] = l.z, a.lo[m][3] = l.w;
              }
              w[m] += C::kFragmentBytes;
            }
#pragma unroll
            for (int n = 0; n < 4; ++n) {  // pairs of 8 steps
              uint32_t b[4];
              load_matrix_x4(b, b_tap + (s * 2 * C::kChunkRows + n * 16) * 16);
              if constexpr (kSplit) {
                uint32_t l[4];
                load_matrix_x4(l, b_tap + (s * 2 * C::kChunkRows + n * 16) * 16 + C::kSplitBytes);
#pragma unroll
                for (int m = 0; m < 2; ++m)
#pragma unroll
                  for (int h = 0; h < 2; ++h) {
                    multiply(part[m][2 * n + h], a.hi[m], l[2 * h], l[2 * h + 1]);
                    multiply(part[m][2 * n + h], a.lo[m], b[2 * h], b[2 * h + 1]);
                    multiply(part[m][2 * n + h], a.hi[m], b[2 * h], b[2 * h + 1]);
                  }
              } else {
#pragma unroll
                for (int m = 0; m < 2; ++m)
#pragma unroll
                  for (int h = 0; h < 2; ++h) multiply(sum[m][2 * n + h], a.hi[m], b[2 * h], b[2 * h + 1]);
              }
            }
          }
        }
        if constexpr (kSplit) {
#pragma unroll
          for (int m = 0; m < 2; ++m)
#pragma unroll
            for (int n = 0; n < 8; ++n)
#pragma unroll
              for (int i = 0; i < 4; ++i) sum[m][n][i] += part[m][n][i];
        }
      }
    }
    if (kSplit && unfit) {
      const uint32_t tile = static_cast<uint32_t>(item.batch * p.groups + item.group) * schedule.tiles_per_row + item.tile;
      atomicOr(p.redo + (tile >> 5), 1u << (tile & 31));
    }

    const int g = lane >> 2, c = lane & 3;
    const int64_t t_warp = t0 + warp_time * 64;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int out = out0 + m * 16 + h * 8 + g;
        if (out >= kOutChannels) continue;
        const int64_t channel = item.group * static_cast<int64_t>(kOutChannels) + out;
        const float bias = LC_BIAS ? to_float(p.bias[channel]) : 0.f;
        Element* row = p.y + item.batch * p.y_batch + channel * p.y_channel + t_warp;
        const Element* residual =
            LC_RESIDUAL ? p.residual + item.batch * p.residual_batch + channel * p.residual_channel + t_warp : nullptr;
        const bool paired = (reinterpret_cast<uint64_t>(row) & (2 * C::kBytes - 1)) == 0;
        const int64_t columns = p.out_length - t_warp;
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const int column = n * 8 + 2 * c;
          float v[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            v[i] = sum[m][n][2 * h + i] + bias;
            if (LC_RESIDUAL && column + i < columns) v[i] += to_float(residual[column + i]);
            v[i] = activate<kActivation>(v[i], p.negative_slope);
          }
          if (paired && column + 1 < columns) {
            store_pair(row + column, v[0], v[1]);
          } else {
#pragma unroll
            for (int i = 0; i < 2; ++i)
              if (column + i < columns) from_float(v[i], row[column + i]);
          }
        }
      }
  }
}
