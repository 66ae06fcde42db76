// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Instantiates every wrapper of kernels/ptx that the architecture has, so that the compile-all check assembles all of
/// them. Not meant to be launched. Several entries: the accumulators of one wgmma shape fill the register file.
#include "ptx/bulk_copy.cuh"
#include "ptx/control.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/global_memory.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/mma_sync.cuh"
#include "ptx/shared_memory.cuh"
#include "ptx/tensor_map.cuh"
#include "ptx/types.cuh"
#include "ptx/wgmma.cuh"

using namespace longconv;
using namespace longconv::ptx;

static_assert(register_pool_suffices(256, 200, 128, 104), "measured: runs");
static_assert(!register_pool_suffices(256, 200, 128, 112), "measured: waits forever");

extern "C" __global__ void conversions(const uint16_t* in16, const float* in, uint32_t* out) {
  const int i = threadIdx.x;
  const float x = in[i], y = in[i + 1];
  out[0] = to_bf16(x).bits + to_f16(y).bits;
  out[1] = pack_bf16(x, y);
  out[2] = pack_f16(x, y);
  float low, high, low16, high16;
  unpack_bf16(out[1], low, high);
  unpack_f16(out[2], low16, high16);
  out[3] = __float_as_uint(low + high + low16 + high16 + to_float(bf16{in16[i]}) + to_float(f16{in16[i]}) + to_float(x));
  out[4] = round_tf32(x) + round_tf32(__float_as_uint(y));
  out[5] = __float_as_uint(max_nan(x, y));
}

extern "C" __global__ void shared_and_async_copy(const char* in, uint32_t* out) {
  extern __shared__ __align__(128) char storage[];
  const uint32_t base = shared_address(storage) + 128 * threadIdx.x;
  async_copy<4>(base, in);
  async_copy<8>(base + 8, in + 8, 3);
  async_copy<16>(base + 16, in + 16, out[0]);
  async_commit();
  async_wait<1>();
  async_wait<0>();
  __syncthreads();
  store_shared_u16(base + 32, load_shared_u16(base));
  store_shared_u32(base + 36, load_shared_u32(base + 4));
  store_shared_f32(base + 40, load_shared_f32(base + 8));
  store_shared_v2(base + 48, load_shared_f32(base + 8), 1.0f);
  const uint4 v = load_shared_v4(base + 16);
  store_shared_v4(base + 64, v.w, v.z, v.y, v.x);
  named_barrier_arrive(1, 64);
  named_barrier_sync(1, 64);
  out[1] = load_shared_u32(base + 64);
}

extern "C" __global__ void global_memory(const float* in, const bf16* in16, const f16* in16h, uint32_t* out) {
  wait_for_previous_kernel();
  const bool wanted = threadIdx.x < out[0];
  schedule_border(out[1] == 0);
  uint32_t v[4];
  load_global_v4(v, in + 4 * threadIdx.x);
  out[1] = load_streamed_or_zero(in, wanted) + load_streamed_or_zero(in16, wanted) + load_streamed_or_zero(in16h, wanted);
  for (int i = 0; i < 4; ++i) out[2 + i] = v[i];
  allow_next_kernel();
}

extern "C" __global__ void matrices(float* out, double* out64) {
  extern __shared__ __align__(128) char storage[];
  const uint32_t row = shared_address(storage) + 16 * threadIdx.x;
  uint32_t a1[1], b[2], b2[2], a[4], a2[4];
  load_matrix_x1(a1, row);
  load_matrix_x2(b, row);
  load_matrix_x2_transposed(b2, row);
  load_matrix_x4(a, row);
  load_matrix_x4_transposed(a2, row);
  float d[4] = {(float)a1[0], 0, 0, 0};
  mma_m16n8k16(d, a, b, bf16{});
  mma_m16n8k16(d, a2, b2, f16{});
  mma_m16n8k8(d, a, b2, tf32{});
  for (int i = 0; i < 4; ++i) out[i] = d[i];
  double e[2] = {0, 0};
  mma_m8n8k4(e, out64[0], out64[1]);
  for (int i = 0; i < 2; ++i) out64[2 + i] = e[i];
#if __CUDA_ARCH__ >= 900
  double f[4] = {0, 0, 0, 0};
  const double fa[4] = {out64[4], out64[5], out64[6], out64[7]}, fb[2] = {out64[8], out64[9]};
  mma_m16n8k8(f, fa, fb);
  for (int i = 0; i < 4; ++i) out64[10 + i] = f[i];
  store_matrix_x4(row, a);
  store_matrix_x4_transposed(row, a2);
#endif
}

#if __CUDA_ARCH__ >= 900
extern "C" __global__ void bulk_copies(const char* in, char* out, uint32_t bytes) {
  extern __shared__ __align__(128) char storage[];
  const uint32_t barrier = shared_address(storage), data = barrier + 128;
  if (elect_one()) {
    barrier_init(barrier, 1);
    barrier_init(barrier + kBarrierBytes, 2);
    fence_barrier_init();
  }
  cluster_sync();
  if (threadIdx.x == 0) {
    bulk_prefetch(in, bytes);
    barrier_arrive_expect(barrier, 3 * bytes);
    bulk_load(data, in, bytes, barrier);
    bulk_load(data + 1024, in, bytes, barrier, l2_evict_first());
    bulk_load_multicast(data + 2048, in, bytes, barrier, 3);
    barrier_arrive(barrier + kBarrierBytes);
    barrier_arrive_remote(barrier + kBarrierBytes, cluster_block_rank() ^ 1);
  }
  // Two waits in one function: labels in the PTX would clash.
  barrier_wait(barrier, 0);
  barrier_wait(barrier + kBarrierBytes, barrier_test_wait(barrier, 1) ? 1 : 0);
  fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    bulk_store(out, data, bytes);
    bulk_store(out + 4096, data, bytes, l2_evict_last());
    bulk_commit();
    bulk_wait_read<1>();
    bulk_wait<0>();
  }
  cluster_sync();
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // elsewhere they compile, but sm_120 keeps the map's address on the stack
extern "C" __global__ void tensor_copies(const __grid_constant__ TensorMap map) {
  extern __shared__ __align__(1024) char storage[];
  const uint32_t barrier = shared_address(storage), data = barrier + 1024;
  if (elect_one()) {
    tensor_load(data, map, 0, 1, 2, barrier);
    tensor_load(data, map, 0, 1, 2, barrier, l2_evict_first());
    tensor_load_multicast(data, map, 0, 1, 2, barrier, 3);
    tensor_load_multicast(data, map, 0, 1, 2, barrier, 3, l2_evict_first());
  }
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
template <typename Type, int N>
__device__ __forceinline__ void multiply(float* out, uint32_t address, int steps) {
  float d[N / 2];
  const uint64_t a = wgmma_descriptor(address, 1024, 128), b = wgmma_descriptor(address + 8192, 4096, 128);
  uint32_t registers[4];
  for (int i = 0; i < 4; ++i) registers[i] = load_shared_u32(address + 16 * threadIdx.x + 4 * i);
  wgmma_fence();
  for (int step = 0; step < steps; ++step) wgmma<Type, N>(d, a + 128 * step, b + 512 * step, step != 0);
  wgmma<Type, N>(d, registers, b, 1);
  wgmma_commit();
  wgmma_wait<0>();
  keep_registers(d);
#pragma unroll
  for (int i = 0; i < N / 2; ++i) out[i * 128 + threadIdx.x] = d[i];
}

// Writing each (type, N) as an entry of its own keeps every one within its registers.
#define WGMMA_ENTRY(TYPE, N)                                                                              \
  extern "C" __global__ void __launch_bounds__(128, 1) wgmma_##TYPE##_n##N(float* out, int steps) {       \
    extern __shared__ __align__(1024) char storage[];                                                     \
    multiply<TYPE, N>(out, shared_address(storage), steps);                                               \
  }
#define WGMMA_ENTRIES(N) WGMMA_ENTRY(bf16, N) WGMMA_ENTRY(f16, N) WGMMA_ENTRY(tf32, N)
WGMMA_ENTRIES(8)
WGMMA_ENTRIES(16)
WGMMA_ENTRIES(24)
WGMMA_ENTRIES(32)
WGMMA_ENTRIES(40)
WGMMA_ENTRIES(48)
WGMMA_ENTRIES(64)
WGMMA_ENTRIES(80)
WGMMA_ENTRIES(96)
WGMMA_ENTRIES(128)
WGMMA_ENTRIES(192)
WGMMA_ENTRIES(256)

extern "C" __global__ void __launch_bounds__(384, 1) warp_roles(float* out) {
  extern __shared__ __align__(1024) char storage[];
  if (threadIdx.x >= 256) {
    decrease_registers<72>();
  } else {
    increase_registers<216>();
    float d[128];
    const uint64_t a = wgmma_descriptor(shared_address(storage), 1024, 128);
    wgmma_fence();
    wgmma<bf16, 256, 1, 1>(d, a, a, 0);
    wgmma_commit();
    wgmma_wait<0>();
    keep_registers(d);
    for (int i = 0; i < 128; ++i) out[i * 256 + threadIdx.x] = d[i];
  }
}
#endif
