// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Plans that were made before: planning is pure, so a plan never grows old.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "longconv/plan.h"

namespace longconv::torch_binding {

/// Bounded, thread-safe. `device_key` tells devices apart: a number of threads on the CPU, an ordinal on CUDA. Least
/// recently used plans leave first.
class PlanCache {
 public:
  template <class MakePlan>
  std::shared_ptr<const Plan> get(const ConvProblem& problem, int device_key, const MakePlan& make) {
    const Key key{problem, device_key};
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto found = index_.find(key); found != index_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return found->second->second;
      }
    }
    auto plan = std::make_shared<const Plan>(make(problem, device_key));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto found = index_.find(key); found != index_.end()) return found->second->second;
    entries_.emplace_front(key, plan);
    index_.emplace(key, entries_.begin());
    if (entries_.size() > kCapacity) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return plan;
  }

 private:
  static constexpr std::size_t kCapacity = 1024;
  struct Key {
    ConvProblem problem;
    int device_key;
    bool operator==(const Key& other) const { return device_key == other.device_key && problem == other.problem; }
  };
  struct Hash {
    std::size_t operator()(const Key& key) const {
      return key.problem.hash() ^ (static_cast<std::size_t>(key.device_key) * 0x9E3779B97F4A7C15ull);
    }
  };
  using Entries = std::list<std::pair<Key, std::shared_ptr<const Plan>>>;

  std::mutex mutex_;
  Entries entries_;  // most recently used first
  std::unordered_map<Key, Entries::iterator, Hash> index_;
};

}  // namespace longconv::torch_binding
