// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Threads, their order, and what they wait for. Asynchronous work is in engine_async.cpp.
#include "emulator/engine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "emulator/fault_handler.h"

namespace longconv::emulator {
namespace {

Engine* active = nullptr;  // one launch at a time

std::string hex(unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

}  // namespace

Engine::Options Engine::Options::from_environment() {
  Options options;
  const char* const text = std::getenv("LONGCONV_EMULATOR");
  std::istringstream words(text == nullptr ? "" : text);
  std::string mode;
  if (!(words >> mode)) return options;
  if (mode != "early" && mode != "late") {
    std::fprintf(stderr, "LONGCONV_EMULATOR: expected early or late, perhaps a seed, but got \"%s\"\n", text);
    std::abort();
  }
  options.late = mode == "late";
  words >> options.seed;
  return options;
}

unsigned Engine::random(unsigned below) {
  std::uint64_t z = (random_state_ += 0x9e3779b97f4a7c15);  // splitmix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<unsigned>((z ^ (z >> 31)) % below);
}

// ---- A launch -------------------------------------------------------------------------------------------------------

Outcome Engine::run(const Launch& launch) {
  launch_ = launch;
  outcome_ = {};
  random_state_ = options_.seed;
  const std::size_t threads = std::size_t{launch.threads} * launch.cluster_blocks;
  stacks_.reserve(threads);
  while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
  blocks_.clear();
  blocks_.resize(launch.cluster_blocks);
  const FaultHandler handler([](const void* address) { active->fault(address); });
  active = this;
  copying_ = nullptr;
  memory_.begin_launch();
  // Nothing on this stack needs a destructor between here and a jump back.
  if (sigsetjmp(abort_, 1) == 0) {
    for (unsigned first = 0; first < launch.blocks; first += launch.cluster_blocks) run_cluster(first);
  }
  memory_.end_launch();
  active = nullptr;
  current_ = nullptr;
  if (outcome_.error.empty()) outcome_.error = memory_.damage();
  return outcome_;
}

void Engine::begin_cluster(unsigned first_block) {
  if (launch_.overlaps) memory_.hide_results();
  loads_.clear();
  cluster_barrier_ = {};
  progress_ = 0;
  alive_ = launch_.threads * launch_.cluster_blocks;
  if (launch_.static_shared_bytes > 0) std::memset(launch_.static_shared, 0xff, launch_.static_shared_bytes);
  for (unsigned rank = 0; rank < launch_.cluster_blocks; ++rank) {
    Block& block = blocks_[rank];
    if (block.shared == nullptr)
      block.shared = std::make_unique<GuardedPages>(launch_.dynamic_shared_bytes, 1024);
    else
      std::memset(block.shared->data(), 0xff, launch_.dynamic_shared_bytes);
    block.writers.assign(launch_.dynamic_shared_bytes / 16 + 1, 0);
    block.clock = 1;
    block.mbarriers.clear();
    for (NamedBarrier& barrier : block.barriers) barrier = {};
    block.warps.assign((launch_.threads + 31) / 32, {});
    block.warpgroups.clear();
    block.warpgroups.resize((launch_.threads + 127) / 128);
    block.alive = launch_.threads;
    for (unsigned i = 0; i < launch_.threads; ++i) {
      const unsigned index = rank * launch_.threads + i;
      Fiber& fiber = *fibers_[index];
      static_cast<Thread&>(fiber) =
          Thread{{i, 0, 0},   {first_block + rank, 0, 0}, {launch_.threads, 1, 1},      {launch_.blocks, 1, 1},
                 rank,        block.shared->data(),       launch_.dynamic_shared_bytes, block.writers.data(),
                 &block.clock};
      fiber.rank = rank;
      fiber.state = State::ready;
      fiber.waits_for = "";
      fiber.waited = false;
      fiber.stores.assign(1, {});
      fiber.copies.assign(1, {});
      fiber.wgmmas = fiber.wgmma_target = 0;
      fiber.wgmma_groups.clear();
      fiber.context.start(stacks_.stack(index), Stacks::kBytes, fiber_main);
    }
  }
}

void Engine::run_cluster(unsigned first_block) {
  begin_cluster(first_block);
  // Threads that poll are always ready: after some rounds in which nothing happened they count as waiting.
  constexpr int kIdleRounds = 4, kHopelessRounds = 1000;
  int idle = 0;
  while (alive_ > 0) {
    const std::uint64_t before = progress_;
    const bool ran = sweep();
    if (progress_ != before) {
      idle = 0;
      continue;
    }
    ++idle;
    if (ran && idle < kIdleRounds) continue;
    if (advance()) {
      idle = 0;
    } else if (!ran || idle > kHopelessRounds) {
      stop(deadlock_report());
    }
  }
  end_cluster();
}

bool Engine::sweep() {
  const unsigned lanes = launch_.threads * launch_.cluster_blocks, warps = (lanes + 31) / 32;
  const bool backwards = random(2) == 1;
  unsigned order[64];
  for (unsigned i = 0; i < warps; ++i) {
    const unsigned j = random(i + 1);
    order[i] = order[j];
    order[j] = i;
  }
  bool ran = false;
  for (unsigned i = 0; i < warps; ++i) {
    const unsigned first = order[i] * 32, count = std::min(32u, lanes - first);
    for (unsigned k = 0; k < count; ++k) {
      Fiber& fiber = *fibers_[first + (backwards ? count - 1 - k : k)];
      if (fiber.state != State::ready) continue;
      ran = true;
      switch_to(fiber);
    }
  }
  return ran;
}

void Engine::end_cluster() {
  current_ = nullptr;
  for (unsigned rank = 0; launch_.overlaps && rank < launch_.cluster_blocks; ++rank) {
    const auto* const first = &fibers_[std::size_t{rank} * launch_.threads];
    if (std::none_of(first, first + launch_.threads, [](const auto& fiber) { return fiber->waited; }))
      stop("a block ended without wait_for_previous_kernel, but its launch may overlap the kernel before");
  }
  if (!loads_.empty()) stop("the block ended while a bulk load into its shared memory was under way");
  for (const Block& block : blocks_) {
    for (const auto& [address, barrier] : block.mbarriers) {
      if (barrier.bytes != 0)
        stop("the block ended with " + std::to_string(barrier.bytes) + " bytes still expected by the mbarrier at " +
             hex(address));
    }
  }
}

// ---- Fibers ---------------------------------------------------------------------------------------------------------

void Engine::switch_to(Fiber& fiber) {
  current_ = &fiber;
  *launch_.running = &fiber;
  scheduler_.switch_to(fiber.context);
}

void Engine::fiber_main() {
  Engine& engine = *active;
  Fiber& self = *engine.current_;
  engine.launch_.entry(engine.launch_.parameters);
  engine.thread_ends(self);
  self.context.switch_to(engine.scheduler_);
}

void Engine::thread_ends(Fiber& fiber) {
  for (const auto& group : fiber.stores)
    if (!group.empty())
      stop("the thread ended while its bulk store was reading shared memory: bulk_wait_read or bulk_wait is missing");
  for (const auto& group : fiber.copies)
    if (!group.empty()) stop("the thread ended without waiting for its cp.async");
  if (fiber.wgmma_target != fiber.wgmmas) stop("the thread ended without waiting for its wgmma");
  fiber.state = State::done;
  ++progress_;
  --alive_;
  Block& block = block_of(fiber);
  --block.alive;
  if (block.barriers[0].arrived > 0) release_if_full(block.barriers[0], block.alive);
}

void Engine::block_on(const char* what, unsigned address, unsigned parity) {
  Fiber& self = *current_;
  self.state = State::blocked;
  self.waits_for = what;
  self.wait_address = address;
  self.wait_parity = parity;
  self.context.switch_to(scheduler_);
}

void Engine::wake(std::vector<Fiber*>& fibers) {
  for (Fiber* fiber : fibers) fiber->state = State::ready;
  fibers.clear();
  ++progress_;
}

// ---- Barriers and warps ---------------------------------------------------------------------------------------------

void Engine::release_if_full(NamedBarrier& barrier, unsigned threads) {
  if (barrier.arrived < threads) return;
  barrier.arrived = barrier.threads = 0;
  barrier.found = std::exchange(barrier.any, false);
  wake(barrier.waiting);
}

void Engine::block_barrier(unsigned id, unsigned threads, bool waits) {
  Fiber& self = *current_;
  Block& block = block_of(self);
  if (id > 15) stop("there is no named barrier " + std::to_string(id));
  if (id == 0 && threads == 0) threads = block.alive;
  if (threads % 32 != 0 && threads != block.alive) stop("a named barrier takes a multiple of 32 threads");
  NamedBarrier& barrier = block.barriers[id];
  if (barrier.arrived > 0 && id != 0 && barrier.threads != threads)
    stop("named barrier " + std::to_string(id) + " is among " + std::to_string(barrier.threads) +
         " threads, but this one says " + std::to_string(threads));
  barrier.threads = threads;
  ++barrier.arrived;
  if (waits) barrier.waiting.push_back(&self);
  if (barrier.arrived >= threads) {
    release_if_full(barrier, threads);
    return;
  }
  if (waits) block_on(id == 0 ? "__syncthreads" : "named barrier", id);
}

bool Engine::block_any(bool predicate) {
  NamedBarrier& barrier = block_of(*current_).barriers[0];
  barrier.any |= predicate;
  block_barrier(0, 0, true);
  return barrier.found;  // the next phase cannot end before this thread has come to it
}

void Engine::cluster_barrier() {
  cluster_barrier_.waiting.push_back(current_);
  if (++cluster_barrier_.arrived == alive_) return release_if_full(cluster_barrier_, alive_);
  block_on("cluster barrier");
}

void Engine::wait_for_previous_kernel() { current_->waited = true; }

void Engine::warp(WarpOperation operation, unsigned mask, const WarpArgument& argument) {
  Fiber& self = *current_;
  Block& block = block_of(self);
  const unsigned index = self.flat() / 32, lane = self.flat() % 32;
  Warp& warp = block.warps[index];
  if ((mask >> lane & 1) == 0) stop(std::string(name(operation)) + ": the mask leaves out the lane itself");
  if (const unsigned lanes = launch_.threads - index * 32; lanes < 32) mask &= (1u << lanes) - 1;
  if (warp.arrived != 0 && (warp.operation != operation || warp.mask != mask)) {
    stop(std::string("lanes of one warp are at different operations: ") + name(warp.operation) + " and " +
         name(operation));
  }
  warp.operation = operation;
  warp.mask = mask;
  warp.arrived |= 1u << lane;
  warp.arguments[lane] = argument;
  if (warp.arrived != mask) return block_on(name(operation));

  unsigned char* rows[32] = {};
  if (takes_rows(operation)) {
    for (unsigned i = 0; i < 8 * argument.count; ++i) {
      const unsigned address = warp.arguments[i].parameter;
      if (address % 16 != 0) stop(std::string(name(operation)) + ": a row is not 16-byte aligned");
      const unsigned offset = address - kDynamicBase;
      const bool dynamic = offset < self.shared_bytes && self.shared_bytes - offset >= 16;
      rows[i] = dynamic ? self.shared + offset : static_shared(address, 16);
      if (dynamic && stores_rows(operation)) {
        // The lanes whose registers it holds write a row: any of them stands for all, as they fence together.
        block.writers[offset / 16] = fibers_[self.rank * launch_.threads + index * 32 + i]->writer();
      }
    }
  }
  perform(operation, mask, warp.arguments, rows);
  warp.arrived = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (mask >> i & 1) fibers_[self.rank * launch_.threads + index * 32 + i]->state = State::ready;
  ++progress_;
}

// ---- Addresses and failures -----------------------------------------------------------------------------------------

unsigned char* Engine::static_shared(unsigned address, unsigned bytes) {
  const unsigned offset = address - kStaticBase;
  if (offset < launch_.static_shared_bytes && bytes <= launch_.static_shared_bytes - offset)
    return launch_.static_shared + offset;
  stop("shared memory: no such address: " + std::to_string(bytes) + " bytes at " + hex(address) + " (offset " +
           std::to_string(static_cast<int>(address - kDynamicBase)) + " of " +
           std::to_string(launch_.dynamic_shared_bytes) + " dynamic bytes)",
       true);
}

unsigned Engine::shared_address(const void* pointer) {
  const auto* at = static_cast<const unsigned char*>(pointer);
  if (at >= current_->shared && at <= current_->shared + launch_.dynamic_shared_bytes)
    return kDynamicBase + static_cast<unsigned>(at - current_->shared);
  if (at >= launch_.static_shared && at <= launch_.static_shared + launch_.static_shared_bytes)
    return kStaticBase + static_cast<unsigned>(at - launch_.static_shared);
  stop("shared_address: the pointer is not to shared memory", true);
}

unsigned char* Engine::dynamic_shared(Block& block, unsigned address, unsigned bytes, const char* what) {
  const unsigned offset = address - kDynamicBase;
  if (offset > launch_.dynamic_shared_bytes || bytes > launch_.dynamic_shared_bytes - offset) {
    stop(std::string(what) + ": " + std::to_string(bytes) + " bytes at shared address " + hex(address) + ", but " +
             std::to_string(launch_.dynamic_shared_bytes) + " begin at " + hex(kDynamicBase),
         true);
  }
  return block.shared->data() + offset;
}

std::string Engine::where() const {
  if (current_ == nullptr) return "";
  return "block " + std::to_string(current_->block.x) + ", thread " + std::to_string(current_->flat()) + ": ";
}

void Engine::stop(const std::string& what, bool illegal_address) {
  outcome_ = {illegal_address, where() + what};
  siglongjmp(abort_, 1);
}
void Engine::fail(const char* what) { stop(what, true); }

void Engine::fault(const void* address) {
  const bool waited = copying_ != nullptr ? copying_->waited : current_ != nullptr && current_->waited;
  switch (memory_.touch(address, waited)) {
    case GlobalMemory::Touch::allowed: return;
    case GlobalMemory::Touch::hidden:
      stop("what the kernel before has written is touched without wait_for_previous_kernel, " +
               memory_.describe(address),
           true);
    case GlobalMemory::Touch::outside: break;
  }
  outcome_ = {true, where() + "no memory at the address touched, " + memory_.describe(address)};
  for (const Block& block : blocks_) {
    if (block.shared == nullptr) continue;
    const std::ptrdiff_t offset = static_cast<const unsigned char*>(address) - block.shared->data();
    if (offset >= -4096 && offset < static_cast<std::ptrdiff_t>(launch_.dynamic_shared_bytes) + 8192)
      outcome_.error = where() + "offset " + std::to_string(offset) + " of " +
                       std::to_string(launch_.dynamic_shared_bytes) + " bytes of shared memory touched";
  }
  siglongjmp(abort_, 1);
}

std::string Engine::describe_wait(const Fiber& fiber) const {
  std::string text = fiber.state == State::ready ? "polls " : "waits at ";
  text += fiber.waits_for;
  const Block& block = blocks_[fiber.rank];
  if (const auto it = block.mbarriers.find(fiber.wait_address); it != block.mbarriers.end()) {
    const MBarrier& barrier = it->second;
    char state[200];
    std::snprintf(
        state, sizeof state,
        " 0x%x for the end of a phase of parity %u; it is in phase %u, %u of %u arrivals and %ld bytes missing",
        fiber.wait_address, fiber.wait_parity, barrier.phase, barrier.missing, barrier.arrivals, barrier.bytes);
    text += state;
  } else if (fiber.wait_address != 0) {
    text += ' ';
    text += std::to_string(fiber.wait_address);
  }
  return text;
}

std::string Engine::deadlock_report() const {
  std::string report = "deadlock: no thread can go on";
  const std::size_t count = std::size_t{launch_.threads} * launch_.cluster_blocks;
  for (std::size_t first = 0; first < count;) {
    const Fiber& fiber = *fibers_[first];
    if (fiber.state == State::done) {
      ++first;
      continue;
    }
    const std::string text = describe_wait(fiber);
    std::size_t end = first + 1;
    while (end < count && fibers_[end]->rank == fiber.rank && fibers_[end]->state != State::done &&
           describe_wait(*fibers_[end]) == text) {
      ++end;
    }
    report += "\n  block " + std::to_string(fiber.block.x) + ", threads " + std::to_string(fiber.flat()) + "-" +
              std::to_string(fibers_[end - 1]->flat()) + ": " + text;
    first = end;
  }
  return report;
}

}  // namespace longconv::emulator
