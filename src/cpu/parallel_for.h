// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Tasks dealt to workers as they become free.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <type_traits>

#include "longconv/parallel.h"

namespace longconv {

/// Calls f(task, worker) once for each task in [0, tasks), worker in [0, parallel.num_threads()); returns when all have
/// ended. Two tasks with the same worker never run at the same time, so scratch may be indexed by worker. Which worker
/// gets a task is a race: a task's result must not depend on it. After an exception no further task starts; it is
/// rethrown here.
template <class Function>
void for_each_task(Parallel& parallel, std::int64_t tasks, Function&& f) {
  if (tasks <= 0) return;
  if (tasks == 1 || parallel.num_threads() == 1) {
    for (std::int64_t task = 0; task < tasks; ++task) f(task, 0);
    return;
  }
  struct Shared {
    std::remove_reference_t<Function>& f;
    const std::int64_t tasks;
    std::atomic<std::int64_t> next{0};
  } shared{f, tasks, {}};
  parallel.run(
      [](void* context, int worker) {
        auto& s = *static_cast<Shared*>(context);
        try {
          for (std::int64_t task = s.next++; task < s.tasks; task = s.next++) s.f(task, worker);
        } catch (...) {
          s.next = s.tasks;
          throw;
        }
      },
      &shared);
}

/// The first `workers` of a caller's team: what is left where scratch memory does not suffice for all.
class FewerWorkers final : public Parallel {
 public:
  FewerWorkers(Parallel& team, int workers) : team_(team), workers_(std::min(workers, team.num_threads())) {}
  int num_threads() const override { return workers_; }
  void run(void (*body)(void*, int), void* context) override {
    struct Call {
      void (*body)(void*, int);
      void* context;
      int workers;
    } call{body, context, workers_};
    team_.run(
        [](void* pointer, int worker) {
          const Call& c = *static_cast<Call*>(pointer);
          if (worker < c.workers) c.body(c.context, worker);
        },
        &call);
  }

 private:
  Parallel& team_;
  int workers_;
};

}  // namespace longconv
