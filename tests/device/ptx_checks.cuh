// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Device side of tests/gpu/ptx_test.cpp: each entry runs one wrapper of kernels/ptx on data whose result the host knows
/// exactly. Matrices hold small integers, so that sums are exact in every precision and order. Deadlocks trap.
#define LONGCONV_WAIT_LIMIT_NS 2000000000
#include "ptx/bulk_copy.cuh"
#include "ptx/control.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/mma_sync.cuh"
#include "ptx/tensor_map.cuh"
#include "ptx/wgmma.cuh"

using namespace longconv;
using namespace longconv::ptx;

/// out: 4 words an element: bf16 bits | f16 bits << 16, the packed forms of (x, -x) in bf16 and f16, the TF32 operand.
extern "C" __global__ void check_conversions(const float* x, uint32_t* out, float* back, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  out[4 * i] = to_bf16(x[i]).bits | (uint32_t)to_f16(x[i]).bits << 16;
  out[4 * i + 1] = pack_bf16(x[i], -x[i]);
  out[4 * i + 2] = pack_f16(x[i], -x[i]);
  out[4 * i + 3] = round_tf32(x[i]);
  float low, high, low16, high16;
  unpack_bf16(out[4 * i + 1], low, high);
  unpack_f16(out[4 * i + 2], low16, high16);
  back[4 * i] = to_float(to_bf16(x[i]));
  back[4 * i + 1] = to_float(to_f16(x[i]));
  back[4 * i + 2] = low == -high ? low : 12345.0f;
  back[4 * i + 3] = low16 == -high16 ? low16 : 12345.0f;
}

/// Thread t copies 16, 8 and 4 bytes of its 32 with t % 17 (at most the size) of them valid.
extern "C" __global__ void check_cp_async(const char* in, char* out) {
  extern __shared__ __align__(128) char storage[];
  const int t = threadIdx.x;
  char* mine = storage + 32 * t;
  for (int i = 0; i < 32; ++i) mine[i] = 99;
  __syncthreads();
  const uint32_t to = shared_address(mine), valid = t % 17;
  async_copy<16>(to, in + 32 * t, valid);
  async_copy<8>(to + 16, in + 32 * t + 16, valid < 8 ? valid : 8);
  async_copy<4>(to + 24, in + 32 * t + 24, valid < 4 ? valid : 4);
  async_commit();
  async_wait<0>();
  __syncthreads();
  for (int i = 0; i < 32; ++i) out[32 * t + i] = mine[i];
}

/// One warp; four 8 x 8 matrices of 16-bit elements. out: fragments x4, x4 transposed, x2, x2 transposed, x1.
extern "C" __global__ void check_ldmatrix(const uint4* in, uint32_t* out) {
  __shared__ __align__(128) uint4 rows[32];
  const int lane = threadIdx.x;
  rows[lane] = in[lane];
  __syncwarp();
  uint32_t m4[4], t4[4], m2[2], t2[2], m1[1];
  const uint32_t row = shared_address(&rows[lane]);
  load_matrix_x4(m4, row);
  load_matrix_x4_transposed(t4, row);
  load_matrix_x2(m2, row);
  load_matrix_x2_transposed(t2, row);
  load_matrix_x1(m1, row);
  for (int j = 0; j < 4; ++j) out[j * 32 + lane] = m4[j];
  for (int j = 0; j < 4; ++j) out[(4 + j) * 32 + lane] = t4[j];
  for (int j = 0; j < 2; ++j) out[(8 + j) * 32 + lane] = m2[j];
  for (int j = 0; j < 2; ++j) out[(10 + j) * 32 + lane] = t2[j];
  out[12 * 32 + lane] = m1[0];
}

/// One warp. a: 16 rows of 8 words, b: 8 columns of 8 words, d: 16 x 8.
template <typename Multiply>
__device__ __forceinline__ void check_mma(const uint32_t* a, const uint32_t* b, float* d, Multiply multiply) {
  const int g = threadIdx.x / 4, c = threadIdx.x % 4;
  uint32_t fa[4], fb[2];
  float fd[4] = {0, 0, 0, 0};
  for (int i = 0; i < 4; ++i) fa[i] = a[(g + (i & 1) * 8) * 8 + c + (i >> 1) * 4];
  for (int i = 0; i < 2; ++i) fb[i] = b[g * 8 + c + 4 * i];
  multiply(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(g + (i >> 1) * 8) * 8 + 2 * c + (i & 1)] = fd[i];
}
struct MultiplyBf16 {
  __device__ void operator()(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const {
    mma_m16n8k16(d, a, b, bf16{});
  }
};
struct MultiplyF16 {
  __device__ void operator()(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const {
    mma_m16n8k16(d, a, b, f16{});
  }
};
struct MultiplyTf32 {
  __device__ void operator()(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const {
    mma_m16n8k8(d, a, b, tf32{});
  }
};
extern "C" __global__ void check_mma_bf16(const uint32_t* a, const uint32_t* b, float* d) { check_mma(a, b, d, MultiplyBf16{}); }
extern "C" __global__ void check_mma_f16(const uint32_t* a, const uint32_t* b, float* d) { check_mma(a, b, d, MultiplyF16{}); }
extern "C" __global__ void check_mma_tf32(const uint32_t* a, const uint32_t* b, float* d) { check_mma(a, b, d, MultiplyTf32{}); }

/// One warp. a: 8 x 4, b: 8 columns of 4, d: 8 x 8.
extern "C" __global__ void check_mma_f64(const double* a, const double* b, double* d) {
  const int g = threadIdx.x / 4, c = threadIdx.x % 4;
  double fd[2] = {0, 0};
  mma_m8n8k4(fd, a[g * 4 + c], b[g * 4 + c]);
  for (int i = 0; i < 2; ++i) d[g * 8 + 2 * c + i] = fd[i];
}

#if __CUDA_ARCH__ >= 900
/// One warp. a: 16 x 8, b: 8 columns of 8, d: 16 x 8.
extern "C" __global__ void check_mma_f64_k8(const double* a, const double* b, double* d) {
  const int g = threadIdx.x / 4, c = threadIdx.x % 4;
  double fa[4], fb[2], fd[4] = {0, 0, 0, 0};
  for (int i = 0; i < 4; ++i) fa[i] = a[(g + (i & 1) * 8) * 8 + c + (i >> 1) * 4];
  for (int i = 0; i < 2; ++i) fb[i] = b[g * 8 + c + 4 * i];
  mma_m16n8k8(fd, fa, fb);
  for (int i = 0; i < 4; ++i) d[(g + (i >> 1) * 8) * 8 + 2 * c + (i & 1)] = fd[i];
}

/// One warp: matrices go out as they came in, and transposed.
extern "C" __global__ void check_stmatrix(const uint4* in, uint4* out) {
  __shared__ __align__(128) uint4 rows[96];
  const int lane = threadIdx.x;
  rows[lane] = in[lane];
  __syncwarp();
  uint32_t m[4];
  load_matrix_x4(m, shared_address(&rows[lane]));
  store_matrix_x4(shared_address(&rows[32 + lane]), m);
  store_matrix_x4_transposed(shared_address(&rows[64 + lane]), m);
  __syncwarp();
  out[lane] = rows[32 + lane];
  out[32 + lane] = rows[64 + lane];
}

/// Several warps. out: of each thread, whether it was elected; the same one twice.
extern "C" __global__ void check_elect_one(uint32_t* out) {
  const bool elected = elect_one();
  out[threadIdx.x] = elected + 2 * elect_one();
}

/// A cluster of two blocks of 64 threads. Rounds of `bytes`: block 0 loads each and sends it to both blocks, which add 1 to
/// every word and store it: block r to out + r * rounds * bytes. Block 1 hands its slot back by a remote arrive.
extern "C" __global__ void __cluster_dims__(2, 1, 1) check_bulk_copies(const char* in, char* out, uint32_t bytes, int rounds) {
  extern __shared__ __align__(128) char storage[];
  const uint32_t full = shared_address(storage), empty = full + kBarrierBytes, data = full + 128;
  const uint32_t rank = cluster_block_rank();
  if (threadIdx.x == 0) {
    barrier_init(full, 1);
    barrier_init(empty, 2);
    fence_barrier_init();
  }
  cluster_sync();
  for (int round = 0; round < rounds; ++round) {
    const uint32_t parity = round & 1;
    if (threadIdx.x == 0) {
      barrier_arrive_expect(full, bytes);
      if (rank == 0) {
        // Both blocks' slots are free, and both expect the bytes (early completions are counted, too).
        barrier_wait(empty, parity ^ 1);
        bulk_load_multicast(data, in + (uint64_t)round * bytes, bytes, full, 3);
      }
    }
    barrier_wait(full, parity);
    for (uint32_t i = 4 * threadIdx.x; i < bytes; i += 4 * blockDim.x) store_shared_u32(data + i, load_shared_u32(data + i) + 1);
    fence_proxy_async();
    __syncthreads();
    if (threadIdx.x == 0) {
      bulk_store(out + ((uint64_t)rank * rounds + round) * bytes, data, bytes);
      bulk_commit();
      bulk_wait_read<0>();
      barrier_arrive_remote(empty, 0);
    }
  }
  if (threadIdx.x == 0) bulk_wait<0>();
  cluster_sync();
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// A cluster of two blocks: each loads a box of 16 rows of 128 bytes, swizzled, for itself, and one 16 rows further for both. out:
/// for each block its own box, that of block 0, that of block 1, as they lie in shared memory.
extern "C" __global__ void __cluster_dims__(2, 1, 1) check_tensor_loads(const __grid_constant__ TensorMap map, uint32_t* out, int c0, int c1, int c2) {
  extern __shared__ __align__(1024) char storage[];
  constexpr uint32_t kBox = 16 * 128;
  const uint32_t barrier = shared_address(storage), data = barrier + 1024, rank = cluster_block_rank();
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    fence_barrier_init();
  }
  cluster_sync();
  if (threadIdx.x == 0) {
    barrier_arrive_expect(barrier, 3 * kBox);
    tensor_load(data, map, c0, c1 + (int)rank, c2, barrier);
    tensor_load_multicast(data + (1 + rank) * kBox, map, c0, c1 + 16 + (int)rank, c2, barrier, 3);
  }
  barrier_wait(barrier, 0);
  for (uint32_t i = threadIdx.x; i < 3 * kBox / 4; i += blockDim.x) out[rank * (3 * kBox / 4) + i] = load_shared_u32(data + 4 * i);
  cluster_sync();
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// One warpgroup, bf16. a: 64, b: 64 rows of 128 bytes along K, swizzled. d: 64 x 64.
extern "C" __global__ void check_swizzled_wgmma(const char* a, const char* b, float* d) {
  extern __shared__ __align__(1024) char storage[];
  const uint32_t barrier = shared_address(storage), sa = barrier + 1024, sb = sa + 64 * 128;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    fence_barrier_init();
    barrier_arrive_expect(barrier, 2 * 64 * 128);
    bulk_load(sa, a, 64 * 128, barrier);
    bulk_load(sb, b, 64 * 128, barrier);
  }
  __syncthreads();
  barrier_wait(barrier, 0);
  const uint64_t da = wgmma_descriptor(sa, 16, 1024, Swizzle::bytes128), db = wgmma_descriptor(sb, 16, 1024, Swizzle::bytes128);
  float acc[32];
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) wgmma<bf16, 64>(acc, da + 2 * step, db + 2 * step, step > 0);
  wgmma_commit();
  wgmma_wait<0>();
  keep_registers(acc);
  const int w = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) d[(16 * w + g + (i >> 1) * 8) * 64 + 8 * j + 2 * c + (i & 1)] = acc[4 * j + i];
}

/// One warpgroup. Operands of 64 bytes along K, packed [16-byte chunk][row][16 bytes]: a has 64 rows, b has N.
/// d: 64 x N from shared memory, then 64 x N with A in registers.
template <typename Type, int N>
__device__ __forceinline__ void check_wgmma(const char* a, const char* b, float* d) {
  extern __shared__ __align__(1024) char storage[];
  constexpr uint32_t kChunkA = 64 * 16, kChunkB = N * 16;
  const uint32_t barrier = shared_address(storage), sa = barrier + 1024, sb = sa + 4 * kChunkA;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    fence_barrier_init();
    barrier_arrive_expect(barrier, 4 * (kChunkA + kChunkB));
    bulk_load(sa, a, 4 * kChunkA, barrier);
    bulk_load(sb, b, 4 * kChunkB, barrier);
  }
  __syncthreads();
  barrier_wait(barrier, 0);
  const uint64_t da = wgmma_descriptor(sa, kChunkA, 128), db = wgmma_descriptor(sb, kChunkB, 128);
  const int w = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  for (int from_registers = 0; from_registers < 2; ++from_registers) {
    float acc[N / 2];
    uint32_t fragments[2][4];
    for (int step = 0; step < 2; ++step) {
      for (int i = 0; i < 4; ++i) {
        fragments[step][i] = load_shared_u32(sa + (2 * step + (i >> 1)) * kChunkA + (16 * w + g + (i & 1) * 8) * 16 + 4 * c);
      }
    }
    wgmma_fence();
    if (from_registers == 0) {
      wgmma<Type, N>(acc, da, db, 0);
      wgmma<Type, N>(acc, da + (2 * kChunkA >> 4), db + (2 * kChunkB >> 4), 1);
    } else {
      wgmma<Type, N>(acc, fragments[0], db, 0);
      wgmma<Type, N>(acc, fragments[1], db + (2 * kChunkB >> 4), 1);
    }
    wgmma_commit();
    wgmma_wait<0>();
    keep_registers(acc);
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        d[(from_registers * 64 + 16 * w + g + (i >> 1) * 8) * N + 8 * j + 2 * c + (i & 1)] = acc[4 * j + i];
      }
    }
  }
}

/// One warpgroup, 16-bit types. a and b once more, transposed and packed [16-byte chunk of rows][40 lines k][16 bytes], k = 0
/// at line 3: core matrices begin on any line. d: A and B transposed, A, B, B with A in registers; 64 x N each.
template <typename Type, int N>
__device__ __forceinline__ void check_transposed(const char* a, const char* b, const char* at, const char* bt, float* d) {
  extern __shared__ __align__(1024) char storage[];
  constexpr uint32_t kChunkA = 64 * 16, kChunkB = N * 16, kLines = 40, kBytesAt = 64 * kLines * 2, kBytesBt = N * kLines * 2;
  const uint32_t barrier = shared_address(storage), sa = barrier + 1024, sb = sa + 4 * kChunkA, sat = sb + 4 * kChunkB,
                 sbt = sat + kBytesAt;
  if (threadIdx.x == 0) {
    barrier_init(barrier, 1);
    fence_barrier_init();
    barrier_arrive_expect(barrier, 4 * (kChunkA + kChunkB) + kBytesAt + kBytesBt);
    bulk_load(sa, a, 4 * kChunkA, barrier);
    bulk_load(sb, b, 4 * kChunkB, barrier);
    bulk_load(sat, at, kBytesAt, barrier);
    bulk_load(sbt, bt, kBytesBt, barrier);
  }
  __syncthreads();
  barrier_wait(barrier, 0);
  const uint64_t da = wgmma_descriptor(sa, kChunkA, 128), db = wgmma_descriptor(sb, kChunkB, 128);
  const uint64_t dat = wgmma_descriptor(sat + 3 * 16, 128, kLines * 16), dbt = wgmma_descriptor(sbt + 3 * 16, 128, kLines * 16);
  const int w = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  for (int form = 0; form < 4; ++form) {
    float acc[N / 2];
    for (int step = 0; step < 2; ++step) {
      const uint64_t a_step = da + step * (2 * kChunkA >> 4), b_step = db + step * (2 * kChunkB >> 4);
      uint32_t fragment[4];
      for (int i = 0; i < 4; ++i)
        fragment[i] = load_shared_u32(sa + (2 * step + (i >> 1)) * kChunkA + (16 * w + g + (i & 1) * 8) * 16 + 4 * c);
      wgmma_fence();
      if (form == 0) wgmma<Type, N, 1, 1>(acc, dat + 16 * step, dbt + 16 * step, step);
      if (form == 1) wgmma<Type, N, 1, 0>(acc, dat + 16 * step, b_step, step);
      if (form == 2) wgmma<Type, N, 0, 1>(acc, a_step, dbt + 16 * step, step);
      if (form == 3) wgmma<Type, N, 1>(acc, fragment, dbt + 16 * step, step);
      wgmma_commit();
      wgmma_wait<0>();
    }
    keep_registers(acc);
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) d[(form * 64 + 16 * w + g + (i >> 1) * 8) * N + 8 * j + 2 * c + (i & 1)] = acc[4 * j + i];
    }
  }
}

#define CHECK_TRANSPOSED(TYPE, N)                                                                              \
  extern "C" __global__ void __launch_bounds__(128, 1) check_transposed_##TYPE##_##N(                          \
      const char* a, const char* b, const char* at, const char* bt, float* d) {                                \
    check_transposed<TYPE, N>(a, b, at, bt, d);                                                                \
  }
CHECK_TRANSPOSED(bf16, 8)
CHECK_TRANSPOSED(bf16, 64)
CHECK_TRANSPOSED(bf16, 192)
CHECK_TRANSPOSED(f16, 128)

#define CHECK_WGMMA(TYPE, N)                                                                                    \
  extern "C" __global__ void __launch_bounds__(128, 1) check_wgmma_##TYPE##_##N(const char* a, const char* b,   \
                                                                               float* d) {                      \
    check_wgmma<TYPE, N>(a, b, d);                                                                              \
  }
#define CHECK_WGMMA_TYPES(N) CHECK_WGMMA(bf16, N) CHECK_WGMMA(f16, N) CHECK_WGMMA(tf32, N)
CHECK_WGMMA_TYPES(8)
CHECK_WGMMA_TYPES(16)
CHECK_WGMMA_TYPES(24)
CHECK_WGMMA_TYPES(32)
CHECK_WGMMA_TYPES(40)
CHECK_WGMMA_TYPES(48)
CHECK_WGMMA_TYPES(64)
CHECK_WGMMA_TYPES(80)
CHECK_WGMMA_TYPES(96)
CHECK_WGMMA_TYPES(128)
CHECK_WGMMA_TYPES(192)
CHECK_WGMMA_TYPES(256)
#endif
