// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Kernels with one mistake each (DEFECT), for tests of the emulator that has to find it. Entry by entry, DEFECT 0 is right.
#include "ptx/bulk_copy.cuh"
#include "ptx/control.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/wgmma.cuh"

using namespace longconv;
using namespace longconv::ptx;

/// 32 threads: `rounds` stages of 512 bytes travel through one slot of shared memory, each thread adds 1 to its words.
/// DEFECT 1: the wait for a load is missing. 2: the slot is loaded into before its store has been read. 3: no fence
/// before the store. 4: fewer bytes are expected than come. 5: a wait for a phase that never ends. 6: a copy of 24 bytes.
/// 7: the kernel ends while a store reads shared memory. 8: a copy behind the shared memory. 9: a write behind `out`.
extern "C" __global__ void add_one(const char* in, char* out, int rounds) {
  extern __shared__ __align__(128) char storage[];
  constexpr uint32_t kBytes = 512;
  const uint32_t full = shared_address(storage), data = full + 128 + (DEFECT == 8 ? 256 : 0), lane = threadIdx.x;
  if (lane == 0) {
    barrier_init(full, 1);
    fence_barrier_init();
  }
  __syncwarp();
  for (int round = 0; round < rounds; ++round) {
    if (lane == 0) {
      if (DEFECT != 2) bulk_wait_read<0>();
      barrier_arrive_expect(full, DEFECT == 4 ? kBytes - 16 : kBytes);
      bulk_load(data, in + round * kBytes, DEFECT == 6 ? 24 : kBytes, full);
    }
    if (DEFECT != 1) barrier_wait(full, round & 1);
    for (uint32_t i = 16 * lane; i < 16 * lane + 16; i += 4) store_shared_u32(data + i, load_shared_u32(data + i) + 1);
    if (DEFECT != 3) fence_proxy_async();
    __syncwarp();
    if (lane == 0) {
      bulk_store(out + round * kBytes, data, kBytes);
      bulk_commit();
    }
    __syncwarp();
  }
  if (DEFECT == 5) barrier_wait(full, rounds & 1);
  if (lane == 0 && DEFECT != 7) bulk_wait<0>();
  if (DEFECT == 9) *reinterpret_cast<uint32_t*>(out + rounds * kBytes + 4 * lane) = 0;
}

/// 64 threads: warp 0 writes, warp 1 reads. DEFECT 1: no barrier between.
extern "C" __global__ void hand_over(const int* in, int* out) {
  __shared__ int shared[32];
  if (threadIdx.x < 32) shared[threadIdx.x] = in[threadIdx.x];
  if (DEFECT != 1) __syncthreads();
  if (threadIdx.x >= 32) out[threadIdx.x - 32] = shared[63 - threadIdx.x];
}

/// Blocks of 32 threads behind another kernel of the stream, whose `in` is. DEFECT 1: read before the wait. 2: block 1 does not
/// wait. 3: a bulk load is issued before the wait.
extern "C" __global__ void follow(const int* in, int* out) {
  extern __shared__ __align__(128) char storage[];
  const uint32_t full = shared_address(storage), data = full + 128;
  if (threadIdx.x == 0) {
    barrier_init(full, 1);
    fence_barrier_init();
  }
  __syncwarp();
  if (DEFECT == 1) static_cast<void>(*static_cast<const volatile int*>(in + threadIdx.x));
  if (DEFECT == 2 && blockIdx.x == 1) return;
  if (DEFECT != 3) wait_for_previous_kernel();
  if (threadIdx.x == 0) {
    barrier_arrive_expect(full, 128);
    bulk_load(data, in, 128, full);
  }
  if (DEFECT == 3) wait_for_previous_kernel();
  barrier_wait(full, 0);
  out[blockIdx.x * 32 + threadIdx.x] = static_cast<int>(load_shared_u32(data + 4 * threadIdx.x));
}

/// 32 threads, 16 bytes each by cp.async. DEFECT 1: the wait is missing.
extern "C" __global__ void copy_async(const char* in, char* out) {
  extern __shared__ __align__(128) char storage[];
  const uint32_t at = shared_address(storage) + 16 * threadIdx.x;
  async_copy<16>(at, in + 16 * threadIdx.x);
  async_commit();
  if (DEFECT == 1) async_wait<1>(); else async_wait<0>();
  reinterpret_cast<uint4*>(out)[threadIdx.x] = load_shared_v4(at);
  async_wait<0>();
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// A warpgroup: out = the products of A and B, both full of ones (64 x 16, 8 x 16). DEFECT 1: the accumulators are read
/// before the wait. 2: B is overwritten before it. 3: no fence after the operands were stored. 4: no wait at all. 5, which is right:
/// the fence is the readers', after the barrier.
extern "C" __global__ void __launch_bounds__(128, 1) multiply_ones(float* out) {
  extern __shared__ __align__(1024) char storage[];
  const uint32_t a = shared_address(storage), b = a + 64 * 32;
  for (uint32_t i = threadIdx.x * 4; i < 72 * 32; i += 512) store_shared_u32(a + i, 0x3f803f80u);
  if (DEFECT != 3 && DEFECT != 5) fence_proxy_async();
  __syncthreads();
  if (DEFECT == 5) fence_proxy_async();
  float d[4] = {-1, -1, -1, -1};
  wgmma_fence();
  wgmma<bf16, 8>(d, wgmma_descriptor(a, 1024, 128), wgmma_descriptor(b, 128, 128), 0);
  wgmma_commit();
  if (DEFECT == 1)
    for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = d[i];
  if (DEFECT == 2) {
    __syncthreads();
    store_shared_u32(b + 4 * (threadIdx.x % 64), 0);
    fence_proxy_async();
  }
  if (DEFECT != 4) wgmma_wait<0>();
  keep_registers(d);
  if (DEFECT != 1)
    for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = d[i];
}
#endif
