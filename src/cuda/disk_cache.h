// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// A cache on disk, of compiled kernels and of tuned choices: safe under many threads and processes, bounded, never
/// trusted blindly.
///
/// One file an entry, named by its key. An entry is written to a temporary file in the same folder and renamed, so a
/// reader sees all of it or nothing. There is no fsync: after a power failure an entry may be torn, but every entry
/// carries its key, length and a SHA-256 of its contents, and one that does not match is removed and made again; the
/// cache holds nothing that cannot be. The size is bounded by removing the least recently
/// used entries (a hit renews the file's modification time).
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "cuda/sha256.h"

namespace longconv::cuda {

class DiskCache {
 public:
  struct Options {
    std::string folder;  ///< empty: nothing is kept on disk
    std::int64_t max_bytes = std::int64_t{512} << 20;
    std::string suffix = ".kernel";  ///< of the files' names: caches of several kinds may share a folder
    std::string reason;              ///< why the folder is empty, for `status()`

    /// LONGCONV_CACHE_DIR, or $XDG_CACHE_HOME/longconv, or ~/.cache/longconv; LONGCONV_CACHE_MAX_MIB (512; 0 turns the
    /// disk off). Throws Error{invalid_value} when LONGCONV_CACHE_MAX_MIB is no number.
    static Options from_environment();
  };

  /// For people: `longconv doctor` prints it.
  struct Status {
    std::string folder;
    std::int64_t entries = 0;
    std::int64_t bytes = 0;
    std::int64_t max_bytes = 0;
    std::int64_t hits = 0;  ///< of this process
    std::int64_t misses = 0;
    std::int64_t damaged = 0;  ///< entries found damaged, removed
    bool on_disk = false;      ///< false: kernels are kept in memory only, `reason` says why
    std::string reason;
  };

  /// Makes the folder if need be. Never throws for the disk's sake: what cannot be kept there is kept in memory.
  explicit DiskCache(Options options);

  /// The contents stored under `key`, or nothing. Thread-safe, as all of it.
  std::optional<std::string> find(const Sha256::Digest& key);
  /// Stores; failures of the disk (full, read-only, gone) move this entry to memory and are told by status().
  void store(const Sha256::Digest& key, std::string_view contents);
  Status status() const;

 private:
  std::string path_of(const Sha256::Digest& key) const;
  bool write_entry(const Sha256::Digest& key, std::string_view contents, std::string& why) const;
  void evict(const std::string& keep) const;

  const Options options_;
  mutable std::mutex mutex_;  ///< guards what follows
  bool on_disk_ = false;
  std::string reason_;
  std::int64_t hits_ = 0, misses_ = 0, damaged_ = 0;
  std::unordered_map<std::string, std::string> in_memory_;  ///< what the disk did not take, by hexadecimal key
};

}  // namespace longconv::cuda
