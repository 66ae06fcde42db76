// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// What goes on beside the threads: mbarriers, bulk copies, cp.async, wgmma.
#include <algorithm>
#include <cstring>

#include "emulator/engine.h"

namespace longconv::emulator {

namespace {
/// What an mbarrier's bytes hold here, where its state is kept elsewhere: shows when something else is written to them.
std::uint64_t mark_of(unsigned address) { return 0x6261727269657221 ^ std::uint64_t{address} * 0x9e3779b97f4a7c15; }
}  // namespace

// ---- mbarrier -------------------------------------------------------------------------------------------------------

void Engine::barrier_init(unsigned address, unsigned arrivals) {
  Block& block = block_of(*current_);
  if (address % 8 != 0) stop("mbarrier.init: the address is not a multiple of 8");
  if (arrivals == 0 || arrivals >= 1u << 20) stop("mbarrier.init: from 1 to 2^20 - 1 arrivals");
  MBarrier barrier;
  barrier.arrivals = barrier.missing = arrivals;
  block.mbarriers[address] = barrier;
  const std::uint64_t mark = mark_of(address);
  std::memcpy(dynamic_shared(block, address, 8, "mbarrier.init"), &mark, 8);
}

MBarrier& Engine::mbarrier(Block& block, unsigned address, const char* what) {
  const auto it = block.mbarriers.find(address);
  if (it == block.mbarriers.end()) stop(std::string(what) + ": there is no initialised mbarrier at this address", true);
  const std::uint64_t mark = mark_of(address);
  if (std::memcmp(dynamic_shared(block, address, 8, what), &mark, 8) != 0)
    stop(std::string(what) + ": the mbarrier's 8 bytes have been overwritten");
  return it->second;
}

void Engine::end_phase_if_complete(MBarrier& barrier) {
  if (barrier.missing != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.missing = barrier.arrivals;
  wake(barrier.waiting);
}

void Engine::barrier_arrive(unsigned address, unsigned expected_bytes, unsigned rank) {
  if (rank != ~0u && rank >= launch_.cluster_blocks) stop("mbarrier.arrive: no such block in the cluster");
  MBarrier& barrier = mbarrier(rank == ~0u ? block_of(*current_) : blocks_[rank], address, "mbarrier.arrive");
  barrier.bytes += expected_bytes;
  if (barrier.bytes >= 1l << 20) stop("mbarrier: more than 2^20 - 1 bytes expected");
  if (barrier.missing-- == 0) stop("mbarrier.arrive: more arrivals in a phase than it was made for");
  ++progress_;
  end_phase_if_complete(barrier);
}

bool Engine::barrier_test(unsigned address, unsigned parity) {
  MBarrier& barrier = mbarrier(block_of(*current_), address, "mbarrier.test_wait");
  if ((barrier.phase & 1) != (parity & 1)) return true;
  Fiber& self = *current_;
  self.waits_for = "mbarrier";
  self.wait_address = address;
  self.wait_parity = parity;
  self.context.switch_to(scheduler_);  // still ready: it polls
  return false;
}

void Engine::barrier_wait(unsigned address, unsigned parity) {
  MBarrier& barrier = mbarrier(block_of(*current_), address, "mbarrier.try_wait");
  while ((barrier.phase & 1) == (parity & 1)) {
    barrier.waiting.push_back(current_);
    block_on("mbarrier", address, parity);
  }
}

// ---- Bulk copies and cp.async ---------------------------------------------------------------------------------------

void Engine::bulk_load(unsigned to, const void* from, unsigned bytes, unsigned barrier, unsigned blocks) {
  if (to % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0 || bytes % 16 != 0)
    stop("bulk_load: addresses and size must be multiples of 16");
  PendingLoad load;
  load.to = to, load.bytes = bytes, load.barrier = barrier, load.from = from;
  issue(load, blocks, "bulk_load");
}

void Engine::issue(PendingLoad load, unsigned blocks, const char* what) {
  if (blocks == 0) blocks = 1u << current_->rank;
  for (unsigned rank = 0; rank < launch_.cluster_blocks; ++rank) {
    if ((blocks >> rank & 1) == 0) continue;
    dynamic_shared(blocks_[rank], load.to, load.bytes, what);
    mbarrier(blocks_[rank], load.barrier, what);
    load.block = rank, load.waited = current_->waited;
    if (options_.late)
      loads_.push_back(load);
    else
      execute(load);
  }
  ++progress_;
}

void Engine::tensor_load(unsigned to, const void* map, const int (&from)[3], unsigned barrier, unsigned blocks) {
  PendingLoad load;
  std::memcpy(&load.map, map, sizeof load.map);
  if (load.map.mark != TensorMap::kMark) stop("tensor_load: not a tensor map");
  if (to % (load.map.swizzled != 0 ? 1024 : 128) != 0)
    stop("tensor_load: the destination must be a multiple of 128 bytes, of 1024 with swizzling");
  if (from[0] * static_cast<std::int64_t>(load.map.strides_bytes[0]) % 16 != 0)  // an illegal instruction on a GPU
    stop("tensor_load: the box must begin on a multiple of 16 bytes of its row");
  load.to = to, load.bytes = load.map.box_bytes(), load.barrier = barrier;
  std::copy_n(from, 3, load.box_from);
  issue(load, blocks, "tensor_load");
}

namespace {
/// Where a swizzled tile keeps what would lie at this address: 16-byte units of each 128 bytes change places.
unsigned swizzled(unsigned address) { return address ^ (address >> 7 & 7) << 4; }
}  // namespace

void Engine::copy_box(Block& block, const PendingLoad& load) {
  const TensorMap& map = load.map;
  const auto bytes = static_cast<unsigned>(map.strides_bytes[0]);
  unsigned place = load.to;
  for (std::uint32_t k = 0; k < map.box[2]; ++k) {
    for (std::uint32_t j = 0; j < map.box[1]; ++j) {
      for (std::uint32_t i = 0; i < map.box[0]; ++i, place += bytes) {
        const std::uint32_t in_box[3] = {i, j, k};
        const unsigned char* from = map.base;
        bool inside = true;
        for (int d = 0; d < 3; ++d) {
          const std::int64_t at = std::int64_t{load.box_from[d]} + in_box[d];
          inside &= at >= 0 && at < static_cast<std::int64_t>(map.sizes[d]);
          from += at * static_cast<std::int64_t>(map.strides_bytes[d]);
        }
        const unsigned to = map.swizzled != 0 ? swizzled(place) : place;
        unsigned char* const shared = dynamic_shared(block, to, bytes, "tensor_load");
        if (inside)
          std::memcpy(shared, from, bytes);
        else
          std::memset(shared, 0, bytes);
      }
    }
  }
}

void Engine::execute(const PendingLoad& load) {
  Block& block = blocks_[load.block];
  copying_ = &load;
  if (load.from != nullptr)
    std::memcpy(dynamic_shared(block, load.to, load.bytes, "bulk_load"), load.from, load.bytes);
  else
    copy_box(block, load);
  copying_ = nullptr;
  std::fill_n(block.writers.begin() + (load.to - kDynamicBase) / 16, load.bytes / 16, 0ul);
  MBarrier& barrier = mbarrier(block, load.barrier, "bulk_load");
  barrier.bytes -= load.bytes;
  end_phase_if_complete(barrier);
}

void Engine::check_fenced(Block& block, unsigned address, unsigned bytes, const char* reader, unsigned long fenced) {
  for (unsigned at = (address - kDynamicBase) / 16; at <= (address - kDynamicBase + bytes - 1) / 16; ++at) {
    const unsigned long writer = block.writers[at], time = writer >> 10;
    if (writer == 0 || fenced > time) continue;
    const unsigned rank = static_cast<unsigned>(&block - blocks_.data());
    const Fiber& by = *fibers_[rank * launch_.threads + (writer & 1023)];
    if (by.fenced <= time)
      stop(std::string(reader) + " reads shared memory at offset " + std::to_string(at * 16) + " that thread " +
           std::to_string(writer & 1023) + " has stored to without fence_proxy_async since");
  }
}

void Engine::bulk_store(void* to, unsigned from, unsigned bytes) {
  if (from % 16 != 0 || reinterpret_cast<std::uintptr_t>(to) % 16 != 0 || bytes % 16 != 0)
    stop("bulk_store: addresses and size must be multiples of 16");
  dynamic_shared(block_of(*current_), from, bytes, "bulk_store");
  check_fenced(block_of(*current_), from, bytes, "bulk_store", current_->fenced);
  const ThreadCopy store{from, nullptr, to, bytes, bytes};
  if (options_.late || bytes == 0)
    current_->stores.back().push_back(store);
  else
    execute(store);
}
void Engine::execute(const ThreadCopy& store) {
  std::memcpy(store.to, dynamic_shared(block_of(*current_), store.shared, store.bytes, "bulk_store"), store.bytes);
}
void Engine::bulk_commit() { current_->stores.emplace_back(); }
void Engine::bulk_wait(unsigned pending) {
  CopyGroups& groups = current_->stores;
  for (; groups.size() > std::size_t{pending} + 1; groups.pop_front())
    for (const ThreadCopy& store : groups.front()) execute(store);
}

void Engine::async_copy(unsigned to, const void* from, unsigned bytes, unsigned valid_bytes) {
  if (to % bytes != 0 || reinterpret_cast<std::uintptr_t>(from) % bytes != 0)
    stop("cp.async: misaligned address", true);
  const ThreadCopy copy{to, from, nullptr, bytes, std::min(bytes, valid_bytes)};
  if (options_.late)
    current_->copies.back().push_back(copy);
  else
    copy_into_shared(copy);
}
void Engine::copy_into_shared(const ThreadCopy& copy) {
  unsigned char* const to = dynamic_shared(block_of(*current_), copy.shared, copy.bytes, "cp.async");
  std::memcpy(to, copy.from, copy.valid_bytes);
  std::memset(to + copy.valid_bytes, 0, copy.bytes - copy.valid_bytes);
  block_of(*current_).writers[(copy.shared - kDynamicBase) / 16] = current_->writer();
}
void Engine::async_commit() { current_->copies.emplace_back(); }
void Engine::async_wait(unsigned pending) {
  CopyGroups& groups = current_->copies;
  for (; groups.size() > std::size_t{pending} + 1; groups.pop_front())
    for (const ThreadCopy& copy : groups.front()) copy_into_shared(copy);
}

// ---- wgmma ----------------------------------------------------------------------------------------------------------

void Engine::wgmma(const Wgmma& what) {
  Fiber& self = *current_;
  Warpgroup& group = block_of(self).warpgroups[self.flat() / 128];
  const std::uint64_t place = self.wgmmas++ - group.done;
  if (place == group.queue.size()) {
    group.queue.emplace_back();
    group.queue.back().what = what;
  }
  PendingWgmma& pending = group.queue[place];
  const Wgmma& first = pending.what;
  if (first.type != what.type || first.n != what.n || first.a != what.a || first.b != what.b ||
      first.transposed_a != what.transposed_a || first.transposed_b != what.transposed_b ||
      first.accumulate != what.accumulate || (first.a_registers == nullptr) != (what.a_registers == nullptr)) {
    stop("threads of one warpgroup issue different wgmmas");
  }
  pending.d[self.flat() % 128] = what.d;
  pending.fenced = std::min(pending.fenced, self.fenced);
  if (what.a_registers != nullptr) std::memcpy(pending.a_registers[self.flat() % 128], what.a_registers, 16);
  if (++pending.issued < 128) return;
  ++progress_;
  if (!options_.late) run_wgmmas(block_of(self), group, group.done + place + 1);
}

void Engine::run_wgmmas(Block& block, Warpgroup& group, std::uint64_t until) {
  while (group.done < until && !group.queue.empty() && group.queue.front().issued == 128) {
    execute_front(block, group);
    group.queue.pop_front();
    ++group.done;
  }
  wake(group.waiting);
}

void Engine::wgmma_commit() { current_->wgmma_groups.push_back(current_->wgmmas); }

void Engine::wgmma_wait(unsigned pending) {
  Fiber& self = *current_;
  Warpgroup& group = block_of(self).warpgroups[self.flat() / 128];
  if (self.wgmma_groups.size() <= pending) return;
  const std::size_t over = self.wgmma_groups.size() - pending;
  self.wgmma_target = self.wgmma_groups[over - 1];
  self.wgmma_groups.erase(self.wgmma_groups.begin(), self.wgmma_groups.begin() + static_cast<std::ptrdiff_t>(over));
  while (group.done < self.wgmma_target) {
    group.waiting.push_back(&self);
    block_on("wgmma_wait");
  }
}

/// K-major: row r, 16-byte chunk q of K is at r / 8 * stride + r % 8 * 16 + q * leading; swizzled by 128 bytes: at r /
/// 8 * stride + r % 8 * 128 + q * 16, whose units then change places. Transposed (not swizzled): k, 16-byte chunk q of
/// rows is at k / 8 * leading + k % 8 * 16 + q * stride.
void Engine::execute_front(Block& block, Warpgroup& group) {
  PendingWgmma& pending = group.queue.front();
  const Wgmma& what = pending.what;
  const int elements = chunk_elements(what.type), depth = 2 * elements;
  if ((what.transposed_a || what.transposed_b) && what.type == Number::tf32)
    stop("wgmma: operands of 16-bit types only may be transposed");
  const auto bytes_at = [&](unsigned long descriptor, int across, int line, bool transposed) {
    const unsigned long mode = descriptor >> 62;
    if (mode > 1 || (mode == 1 && transposed) || (descriptor >> 49 & 7) != 0)
      stop("wgmma: of swizzled operands, K-major ones by 128 bytes are emulated");
    const unsigned start = static_cast<unsigned>(descriptor & 0x3fff) << 4;
    const unsigned leading = static_cast<unsigned>(descriptor >> 16 & 0x3fff) << 4;
    const unsigned stride = static_cast<unsigned>(descriptor >> 32 & 0x3fff) << 4;
    const unsigned l = static_cast<unsigned>(line), q = static_cast<unsigned>(across);
    const unsigned address =
        mode == 1 ? swizzled(start + l % 8 * 128 + l / 8 * stride + q * 16)
                  : start + l % 8 * 16 + (transposed ? l / 8 * leading + q * stride : l / 8 * stride + q * leading);
    const unsigned char* const bytes = dynamic_shared(block, address, 16, "wgmma");
    check_fenced(block, address, 16, "wgmma", pending.fenced);
    return bytes;
  };
  // The element at (row, k) of an operand is to[row * row_step + k * k_step].
  const auto unpack = [&](unsigned long descriptor, bool transposed, int rows, double* to, int row_step, int k_step) {
    const int lines = transposed ? depth : rows, chunks = (transposed ? rows : depth) / elements;
    const int line_step = transposed ? k_step : row_step, element_step = transposed ? row_step : k_step;
    for (int q = 0; q < chunks; ++q)
      for (int line = 0; line < lines; ++line)
        unpack_chunk(what.type, bytes_at(descriptor, q, line, transposed),
                     to + line * line_step + q * elements * element_step, element_step);
  };
  unpack(what.b, what.transposed_b, what.n, tile_.b[0], 1, WgmmaTile::kMaxColumns);
  if (what.a_registers == nullptr)
    unpack(what.a, what.transposed_a, WgmmaTile::kRows, tile_.a[0], WgmmaTile::kMaxDepth, 1);
  if (what.a_registers != nullptr) {
    // Register i of lane (g, c): row g + 8 * (i % 2), word c of chunk i / 2.
    for (int m = 0; m < WgmmaTile::kRows; ++m) {
      for (int q = 0; q < 2; ++q) {
        unsigned words[4];
        for (int c = 0; c < 4; ++c) words[c] = pending.a_registers[32 * (m / 16) + 4 * (m % 8) + c][2 * q + m % 16 / 8];
        unpack_chunk(what.type, reinterpret_cast<const unsigned char*>(words), &tile_.a[m][q * elements], 1);
      }
    }
  }
  multiply(tile_, what.n, depth, what.accumulate, pending.d);
}

// ---- Late work ------------------------------------------------------------------------------------------------------

bool Engine::advance() {
  // Candidates: loads that somebody waits for (or any load, if nobody does), and warpgroups all of whose wgmmas up to
  // somebody's wait have been issued.
  std::vector<std::size_t> awaited, any;
  for (std::size_t i = 0; i < loads_.size(); ++i) {
    any.push_back(i);
    if (!blocks_[loads_[i].block].mbarriers[loads_[i].barrier].waiting.empty()) awaited.push_back(i);
  }
  std::vector<std::pair<Block*, Warpgroup*>> groups;
  for (Block& block : blocks_)
    for (Warpgroup& group : block.warpgroups)
      if (!group.waiting.empty() && !group.queue.empty() && group.queue.front().issued == 128)
        groups.emplace_back(&block, &group);
  std::vector<std::size_t>& loads = awaited.empty() && groups.empty() ? any : awaited;
  if (loads.empty() && groups.empty()) return false;
  ++progress_;
  const std::size_t chosen = random(static_cast<unsigned>(loads.size() + groups.size()));
  if (chosen < loads.size()) {
    const auto at = loads_.begin() + static_cast<std::ptrdiff_t>(loads[chosen]);
    const PendingLoad load = *at;
    loads_.erase(at);
    execute(load);
  } else {
    const auto& [block, group] = groups[chosen - loads.size()];
    std::uint64_t until = ~std::uint64_t{0};
    for (const Fiber* fiber : group->waiting) until = std::min(until, fiber->wgmma_target);
    run_wgmmas(*block, *group, until);
  }
  return true;
}

}  // namespace longconv::emulator
