// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "emulator/guarded_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <utility>

namespace longconv::emulator {

GuardedPages::GuardedPages(std::size_t bytes, std::size_t alignment) : bytes_(bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (bytes > std::size_t{1} << 40) return;
  const std::size_t used = (bytes + alignment - 1) / alignment * alignment, inside = (used + page - 1) / page * page;
  void* const made = ::mmap(nullptr, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED) return;
  mapping_ = static_cast<unsigned char*>(made);
  mapping_bytes_ = inside + 2 * page;
  if (::mprotect(mapping_ + page, inside, PROT_READ | PROT_WRITE) != 0) return;
  data_ = mapping_ + page + inside - used;
  std::memset(mapping_ + page, 0xff, inside);
}

GuardedPages::~GuardedPages() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapping_bytes_);
}

std::size_t GuardedPages::slack_bytes() const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return static_cast<std::size_t>(mapping_ + mapping_bytes_ - page - (data_ + bytes_));
}

bool GuardedPages::holds(const void* address) const {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto* at = static_cast<const unsigned char*>(address);
  return at >= mapping_ + page && at < mapping_ + mapping_bytes_ - page;
}

void GuardedPages::allow(Access access) {
  if (access == access_) return;
  access_ = access;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  ::mprotect(mapping_ + page, mapping_bytes_ - 2 * page,
             access == Access::none   ? PROT_NONE
             : access == Access::read ? PROT_READ
                                      : PROT_READ | PROT_WRITE);
}

void* GlobalMemory::allocate(std::size_t bytes) {
  auto pages = std::make_unique<GuardedPages>(bytes, kAlignment);
  if (pages->data() == nullptr) return nullptr;
  unsigned char* const address = pages->data();
  const std::lock_guard lock(mutex_);
  buffers_.emplace(address, Buffer{std::move(pages)});
  return address;
}

bool GlobalMemory::release(void* address) {
  const std::lock_guard lock(mutex_);
  return buffers_.erase(static_cast<unsigned char*>(address)) == 1;
}

bool GlobalMemory::contains(const void* address) const {
  const std::lock_guard lock(mutex_);
  const auto* at = static_cast<const unsigned char*>(address);
  auto it = buffers_.upper_bound(at);
  return it != buffers_.begin() && at < (--it)->first + it->second.pages->bytes();
}

void GlobalMemory::begin_launch() {
  const std::lock_guard lock(mutex_);
  for (auto& [address, buffer] : buffers_) {
    buffer.written_before = std::exchange(buffer.written, false);
    buffer.pages->allow(GuardedPages::Access::read);
  }
}

void GlobalMemory::end_launch() {
  const std::lock_guard lock(mutex_);
  for (auto& [address, buffer] : buffers_) buffer.pages->allow(GuardedPages::Access::all);
}

void GlobalMemory::hide_results() {
  const std::lock_guard lock(mutex_);
  for (auto& [address, buffer] : buffers_)
    if (buffer.written_before) buffer.pages->allow(GuardedPages::Access::none);
}

GlobalMemory::Touch GlobalMemory::touch(const void* address, bool see_results) {
  const std::lock_guard lock(mutex_);
  for (auto& [begin, buffer] : buffers_) {
    if (!buffer.pages->holds(address)) continue;
    switch (buffer.pages->access()) {
      case GuardedPages::Access::none:
        if (!see_results) return Touch::hidden;
        buffer.pages->allow(GuardedPages::Access::read);
        return Touch::allowed;
      case GuardedPages::Access::read:
        buffer.written = true;
        buffer.pages->allow(GuardedPages::Access::all);
        return Touch::allowed;
      case GuardedPages::Access::all: return Touch::outside;
    }
  }
  return Touch::outside;
}

std::size_t GlobalMemory::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  std::size_t sum = 0;
  for (const auto& [address, buffer] : buffers_) sum += buffer.pages->bytes();
  return sum;
}

std::string GlobalMemory::describe(const void* address) const {
  const std::lock_guard lock(mutex_);
  const auto* at = static_cast<const unsigned char*>(address);
  constexpr std::ptrdiff_t kNear = 1 << 20;
  const auto above = buffers_.upper_bound(at);
  if (above != buffers_.begin()) {
    const auto below = std::prev(above);
    const std::ptrdiff_t beyond = at - (below->first + static_cast<std::ptrdiff_t>(below->second.pages->bytes()));
    const std::string buffer = "a buffer of " + std::to_string(below->second.pages->bytes()) + " bytes";
    if (beyond < 0) return std::to_string(at - below->first) + " bytes into " + buffer;
    if (beyond < kNear) return std::to_string(beyond) + " bytes behind the end of " + buffer;
  }
  if (above != buffers_.end() && above->first - at < kNear) {
    return std::to_string(above->first - at) + " bytes before a buffer of " +
           std::to_string(above->second.pages->bytes()) + " bytes";
  }
  return "near no buffer";
}

std::string GlobalMemory::damage() const {
  const std::lock_guard lock(mutex_);
  for (const auto& [address, buffer] : buffers_) {
    const unsigned char* const end = address + buffer.pages->bytes();
    for (std::size_t i = 0; i < buffer.pages->slack_bytes(); ++i) {
      if (end[i] != 0xff)
        return "a write " + std::to_string(i) + " bytes behind the end of a buffer of " +
               std::to_string(buffer.pages->bytes()) + " bytes";
    }
  }
  return {};
}

}  // namespace longconv::emulator
