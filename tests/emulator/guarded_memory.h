// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Memory that faults when touched outside: the emulated GPU's global and shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace longconv::emulator {

/// Pages between two unreadable ones.
class GuardedPages {
 public:
  enum class Access : std::uint8_t { none, read, all };
  /// The bytes end at the upper guard, but for what `alignment` of the first byte leaves. Filled with 0xff: NaN in
  /// every floating-point type. data() is null if there is not enough memory.
  GuardedPages(std::size_t bytes, std::size_t alignment);
  ~GuardedPages();
  GuardedPages(const GuardedPages&) = delete;
  GuardedPages& operator=(const GuardedPages&) = delete;
  unsigned char* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  /// Between the last byte and the guard, filled with 0xff too.
  std::size_t slack_bytes() const;
  void allow(Access access);
  Access access() const { return access_; }
  /// Of its pages.
  bool holds(const void* address) const;

 private:
  unsigned char* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0, bytes_ = 0;
  unsigned char* data_ = nullptr;
  Access access_ = Access::all;
};

/// cuMemAlloc's memory. Thread-safe.
class GlobalMemory {
 public:
  /// CUDA promises 256-byte alignment.
  static constexpr std::size_t kAlignment = 256;
  void* allocate(std::size_t bytes);
  bool release(void* address);
  bool contains(const void* address) const;

  /// From here to end_launch() it is noted which buffers are written, by the first fault in each.
  void begin_launch();
  void end_launch();
  /// Puts what the launch before wrote out of reach.
  void hide_results();
  enum class Touch : std::uint8_t { outside, hidden, allowed };
  /// What a fault at this address means. allowed: noted, and to be tried again; see_results: hidden buffers are shown.
  Touch touch(const void* address, bool see_results);

  std::size_t bytes_in_use() const;
  /// Where an address lies: "16 bytes behind a buffer of 4096 bytes".
  std::string describe(const void* address) const;
  /// Empty, or which buffer was written to behind its end, where alignment leaves bytes before the guard.
  std::string damage() const;

 private:
  mutable std::mutex mutex_;
  struct Buffer {
    std::unique_ptr<GuardedPages> pages;
    bool written = false, written_before = false;  ///< by this launch, by the one before
  };
  std::map<const unsigned char*, Buffer> buffers_;
};

}  // namespace longconv::emulator
