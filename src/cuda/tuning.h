// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What `longconv tune` found, kept on disk: which candidate of a problem's plan is the fastest on a model of GPU.
#pragma once

#include <optional>
#include <string>

#include "cuda/disk_cache.h"
#include "longconv/plan.h"

namespace longconv::cuda {

struct TunedChoice {
  std::string kernel;  ///< its name
  std::string config;  ///< as it prints
  double seconds = 0;  ///< measured
  bool operator==(const TunedChoice&) const = default;
};

/// Choices by problem, model of GPU (name, compute capability, multiprocessors) and the text of all kernels: a changed
/// kernel forgets what was measured with the old one. Entries live in a DiskCache, which makes them safe under many
/// processes, bounded and verified. Thread-safe.
class TuningTable {
 public:
  /// `options`: of the folder; the entries have a suffix and a bound of their own.
  explicit TuningTable(DiskCache::Options options);
  /// The process's table, beside the compiled kernels. Never destroyed.
  static TuningTable& instance();

  std::optional<TunedChoice> find(const ConvProblem& problem, const Device& device);
  void remember(const ConvProblem& problem, const Device& device, const TunedChoice& choice);
  DiskCache::Status status() const { return cache_.status(); }

 private:
  DiskCache cache_;
};

}  // namespace longconv::cuda
