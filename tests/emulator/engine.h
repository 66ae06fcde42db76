// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Runs launches: the grid cluster by cluster, a cluster's threads as fibers that switch at synchronisation only.
///
/// Warps run in an order that a seed shuffles, lanes forwards or backwards. Asynchronous work (bulk copies, cp.async,
/// wgmma) is done when it is issued, or as late as its contract allows: a load when nothing else can go on, wgmma
/// when every one of its threads waits and nothing else can go on, a store's read of shared memory at the wait for it.
#pragma once

#include <csetjmp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulator/device/services.h"
#include "emulator/fiber.h"
#include "emulator/guarded_memory.h"
#include "emulator/tensor_core.h"
#include "emulator/tensor_map.h"

namespace longconv::emulator {

struct Launch {
  void (*entry)(void** parameters) = nullptr;
  void** parameters = nullptr;
  unsigned blocks = 1, threads = 1, cluster_blocks = 1, dynamic_shared_bytes = 0;
  bool overlaps = false;       ///< may start before the launch before it ends, as far as its attributes go
  Thread** running = nullptr;  ///< the kernel's `longconv_emulator_thread`
  unsigned char* static_shared = nullptr;
  unsigned static_shared_bytes = 0;
};

/// What a launch ended with.
struct Outcome {
  bool illegal_address = false;
  std::string error;  ///< empty: all is well
};

struct Fiber;

struct MBarrier {
  unsigned arrivals = 0;  ///< of a phase
  unsigned missing = 0;   ///< arrivals until this phase ends
  long bytes = 0;         ///< expected and not yet complete; below 0 when copies were faster than the expectation
  unsigned phase = 0;
  std::vector<Fiber*> waiting;
};

/// A bulk load whose bytes have not arrived.
struct PendingLoad {
  unsigned block = 0, to = 0, bytes = 0, barrier = 0;
  const void* from = nullptr;
  bool waited = false;  ///< who issued it, for the kernel before
  TensorMap map = {};   ///< of a box, if `from` is null
  int box_from[3] = {};
};

/// One wgmma of a warpgroup, complete when 128 threads have issued it.
struct PendingWgmma {
  Wgmma what;
  unsigned issued = 0;
  unsigned long fenced = ~0ul;  ///< least of its threads'
  float* d[128] = {};
  unsigned a_registers[128][4] = {};
};

struct Warpgroup {
  std::deque<PendingWgmma> queue;
  std::uint64_t done = 0;  ///< wgmmas before queue.front()
  std::vector<Fiber*> waiting;
};

struct Warp {
  WarpOperation operation = WarpOperation::sync;
  unsigned mask = 0, arrived = 0;  ///< arrived = 0: no operation is under way
  WarpArgument arguments[32];
};

struct NamedBarrier {
  unsigned threads = 0, arrived = 0;
  bool any = false, found = false;  ///< a predicate of the phase under way, of the last one
  std::vector<Fiber*> waiting;
};

struct Block {
  std::unique_ptr<GuardedPages> shared;
  std::vector<unsigned long> writers;
  unsigned long clock = 1;
  std::map<unsigned, MBarrier> mbarriers;  ///< by shared address
  NamedBarrier barriers[16];
  std::vector<Warp> warps;
  std::vector<Warpgroup> warpgroups;
  unsigned alive = 0;
};

/// A copy between global and shared memory that a thread issued and waits for itself.
struct ThreadCopy {
  unsigned shared = 0;
  const void* from = nullptr;  ///< cp.async
  void* to = nullptr;          ///< bulk store
  unsigned bytes = 0, valid_bytes = 0;
};
using CopyGroups = std::deque<std::vector<ThreadCopy>>;

enum class State : std::uint8_t { ready, blocked, done };

struct Fiber : Thread {
  Context context;
  unsigned rank = 0;  ///< of its block in the cluster
  State state = State::ready;
  bool waited = false;                             ///< for the kernel before
  std::string (*explain)(const Fiber&) = nullptr;  ///< what it waits for
  const char* waits_for = "";
  unsigned wait_address = 0, wait_parity = 0;
  CopyGroups stores, copies;  ///< the last group is open
  std::uint64_t wgmmas = 0, wgmma_target = 0;
  std::vector<std::uint64_t> wgmma_groups;  ///< wgmmas issued at each commit not yet waited for
};

class Engine final : public Services {
 public:
  struct Options {
    bool late = false;
    std::uint64_t seed = 0;
    /// From LONGCONV_EMULATOR: "early", "late", either followed by a seed: "late 7". Empty: early.
    static Options from_environment();
  };

  explicit Engine(GlobalMemory& memory) : memory_(memory), options_(Options::from_environment()) {}
  /// One launch at a time; the caller sees to that.
  Outcome run(const Launch& launch);

  // Services: called by fibers.
  void fail(const char* what) override;
  unsigned char* static_shared(unsigned address, unsigned bytes) override;
  unsigned shared_address(const void* pointer) override;
  void block_barrier(unsigned id, unsigned threads, bool waits) override;
  bool block_any(bool predicate) override;
  void cluster_barrier() override;
  void wait_for_previous_kernel() override;
  void warp(WarpOperation, unsigned mask, const WarpArgument&) override;
  void barrier_init(unsigned address, unsigned arrivals) override;
  void barrier_arrive(unsigned address, unsigned expected_bytes, unsigned rank) override;
  bool barrier_test(unsigned address, unsigned parity) override;
  void barrier_wait(unsigned address, unsigned parity) override;
  void bulk_load(unsigned to, const void* from, unsigned bytes, unsigned barrier, unsigned blocks) override;
  void tensor_load(unsigned to, const void* map, const int (&from)[3], unsigned barrier, unsigned blocks) override;
  void bulk_store(void* to, unsigned from, unsigned bytes) override;
  void bulk_commit() override;
  void bulk_wait(unsigned pending) override;
  void async_copy(unsigned to, const void* from, unsigned bytes, unsigned valid_bytes) override;
  void async_commit() override;
  void async_wait(unsigned pending) override;
  void wgmma(const Wgmma&) override;
  void wgmma_commit() override;
  void wgmma_wait(unsigned pending) override;

  /// Called by the signal handler: ends the launch for a fault at this address, or returns where that was the first
  /// access to a buffer that was being watched.
  void fault(const void* address);

 private:
  static void fiber_main();
  void run_cluster(unsigned first_block);
  void begin_cluster(unsigned first_block);
  void end_cluster();
  bool sweep();
  /// Does one piece of deferred work. False if there is none.
  bool advance();
  /// To the blocks of the mask, now or later.
  void issue(PendingLoad load, unsigned blocks, const char* what);
  void execute(const PendingLoad& load);
  void copy_box(Block& block, const PendingLoad& load);
  void execute(const ThreadCopy& store);
  void execute_front(Block& block, Warpgroup& group);
  void run_wgmmas(Block& block, Warpgroup& group, std::uint64_t until);
  void copy_into_shared(const ThreadCopy& copy);

  void switch_to(Fiber& fiber);
  /// Leaves the running fiber; it goes on when woken.
  void block_on(const char* what, unsigned address = 0, unsigned parity = 0);
  void wake(std::vector<Fiber*>& fibers);
  void thread_ends(Fiber& fiber);
  void release_if_full(NamedBarrier& barrier, unsigned threads);

  [[noreturn]] void stop(const std::string& what, bool illegal_address = false);
  std::string where() const;
  std::string deadlock_report() const;
  std::string describe_wait(const Fiber& fiber) const;

  Block& block_of(const Fiber& fiber) { return blocks_[fiber.rank]; }
  /// Checked: inside the dynamic shared memory of a block.
  unsigned char* dynamic_shared(Block& block, unsigned address, unsigned bytes, const char* what);
  MBarrier& mbarrier(Block& block, unsigned address, const char* what);
  void end_phase_if_complete(MBarrier& barrier);
  /// Fails if ordinary stores to these bytes were not made visible to the asynchronous proxy: neither the writer nor
  /// the reader, who was last `fenced`, has had a fence since.
  void check_fenced(Block& block, unsigned address, unsigned bytes, const char* reader, unsigned long fenced);
  unsigned random(unsigned below);

  GlobalMemory& memory_;
  const Options options_;
  std::uint64_t random_state_ = 0;
  Launch launch_;
  Stacks stacks_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Block> blocks_;
  std::vector<PendingLoad> loads_;
  NamedBarrier cluster_barrier_;
  unsigned alive_ = 0;
  std::uint64_t progress_ = 0;  ///< counts whatever may let another thread go on
  Fiber* current_ = nullptr;
  const PendingLoad* copying_ = nullptr;  ///< by nobody who runs
  Context scheduler_;
  WgmmaTile tile_;
  sigjmp_buf abort_;
  Outcome outcome_;
};

}  // namespace longconv::emulator
