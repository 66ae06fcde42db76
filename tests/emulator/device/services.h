// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What emulated device code asks of the emulator: the border between a kernel, compiled as a shared library of its
/// own, and the emulated driver that loads it. No system header, as kernels have none.
#pragma once

namespace longconv::emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

/// The running thread, as its kernel sees it.
struct Thread {
  Index thread, block, block_size, grid;
  unsigned cluster_rank = 0;
  unsigned char* shared = nullptr;  ///< dynamic shared memory of its block
  unsigned shared_bytes = 0;
  /// For each 16 bytes of it: who wrote there last by ordinary stores, and when: a word of writer(), 0 for nobody.
  unsigned long* writers = nullptr;
  unsigned long* clock = nullptr;  ///< of its block: counts every thread's fence_proxy_async(), from 1
  unsigned long fenced = 0;        ///< what the clock said after this thread's last fence

  unsigned flat() const { return thread.x; }
  unsigned long writer() const { return flat() | *clock << 10; }
};

/// 32-bit shared addresses: dynamic shared memory from here (nothing lies at 0), static shared memory from there. A
/// wgmma descriptor reaches the former only.
constexpr unsigned kDynamicBase = 1024, kStaticBase = 1u << 20;

enum class Number { bf16, f16, tf32, f64 };

/// Done by a warp when all lanes of the mask have come to it.
enum class WarpOperation {
  sync,
  shuffle_xor,  ///< in, out: a 32-bit word; parameter: the lane mask
  shuffle,      ///< parameter: the lane to read
  reduce_max,   ///< unsigned words
  reduce_min,
  ballot,       ///< in: word, zero or not
  load_matrix,  ///< ldmatrix: parameter: shared address; out: `count` words
  load_transposed,
  store_matrix,  ///< stmatrix: in: `count` words
  store_transposed,
  mma_bf16,  ///< m16n8k16: in: 4 + 2 words, out: 4 floats, in place
  mma_f16,
  mma_tf32,    ///< m16n8k8
  mma_f64,     ///< m8n8k4: in: 1 + 1 doubles, out: 2 doubles, in place
  mma_f64_k8,  ///< m16n8k8: in: 4 + 2 doubles, out: 4 doubles, in place
};

struct WarpArgument {
  const void* in = nullptr;
  void* out = nullptr;
  unsigned parameter = 0;
  unsigned count = 0;
};

struct Wgmma {
  Number type;
  int n;
  const unsigned* a_registers;  ///< 4 words, or null: `a` is a descriptor
  unsigned long a, b;
  bool transposed_a, transposed_b, accumulate;
  float* d;  ///< n / 2 accumulators of this thread
};

class Services {
 public:
  /// [[noreturn]] in effect: ends the launch with an error.
  virtual void fail(const char* what) = 0;
  /// Host address of shared memory that is not (all) dynamic; fails if it is not shared memory at all.
  virtual unsigned char* static_shared(unsigned address, unsigned bytes) = 0;
  virtual unsigned shared_address(const void* pointer) = 0;

  /// Barrier 0 among `threads` = 0 threads is __syncthreads().
  virtual void block_barrier(unsigned id, unsigned threads, bool waits) = 0;
  /// __syncthreads_or().
  virtual bool block_any(bool predicate) = 0;
  virtual void cluster_barrier() = 0;
  virtual void wait_for_previous_kernel() = 0;
  virtual void warp(WarpOperation, unsigned mask, const WarpArgument&) = 0;

  virtual void barrier_init(unsigned address, unsigned arrivals) = 0;
  /// `rank`: of the block in the cluster; ~0u: this block.
  virtual void barrier_arrive(unsigned address, unsigned expected_bytes, unsigned rank) = 0;
  virtual bool barrier_test(unsigned address, unsigned parity) = 0;
  virtual void barrier_wait(unsigned address, unsigned parity) = 0;

  /// Bit r of `blocks`: block r of the cluster; 0: this block.
  virtual void bulk_load(unsigned to, const void* from, unsigned bytes, unsigned barrier, unsigned blocks) = 0;
  /// The box of a tensor map (emulator/tensor_map.h) that begins at from[3]; `blocks` as above.
  virtual void tensor_load(unsigned to, const void* map, const int (&from)[3], unsigned barrier, unsigned blocks) = 0;
  virtual void bulk_store(void* to, unsigned from, unsigned bytes) = 0;
  virtual void bulk_commit() = 0;
  virtual void bulk_wait(unsigned pending) = 0;
  virtual void async_copy(unsigned to, const void* from, unsigned bytes, unsigned valid_bytes) = 0;
  virtual void async_commit() = 0;
  virtual void async_wait(unsigned pending) = 0;

  virtual void wgmma(const Wgmma&) = 0;
  virtual void wgmma_commit() = 0;
  virtual void wgmma_wait(unsigned pending) = 0;

 protected:
  ~Services() = default;
};

}  // namespace longconv::emulator
