// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "longconv/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cpu/parallel_for.h"

namespace longconv {
namespace {

using Counts = std::vector<std::atomic<int>>;

void count_worker(void* context, int worker) { ++(*static_cast<Counts*>(context))[worker]; }

TEST(Parallel, EveryWorkerRunsOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    const auto pool = thread_pool(threads);
    ASSERT_EQ(pool->num_threads(), threads);
    for (int repeat = 0; repeat < 200; ++repeat) {
      Counts counts(threads);
      pool->run(count_worker, &counts);
      for (const auto& count : counts) ASSERT_EQ(count, 1);
    }
  }
  Counts counts(1);
  serial().run(count_worker, &counts);
  EXPECT_EQ(counts[0], 1);
  EXPECT_EQ(serial().num_threads(), 1);
  EXPECT_GE(thread_pool()->num_threads(), 1);
}

TEST(Parallel, WorkersRunAtTheSameTime) {
  const auto pool = thread_pool(3);
  std::atomic<int> arrived{0};
  pool->run(
      [](void* context, int) {
        auto& counter = *static_cast<std::atomic<int>*>(context);
        ++counter;
        while (counter < 3) std::this_thread::yield();
      },
      &arrived);
  EXPECT_EQ(arrived, 3);
}

TEST(Parallel, ExceptionOfTheFirstWorkerReachesTheCallerAfterAllEnded) {
  for (const int threads : {1, 2, 4}) {
    const auto pool = thread_pool(threads);
    Counts counts(threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      try {
        pool->run(
            [](void* context, int worker) {
              count_worker(context, worker);
              throw std::runtime_error("worker " + std::to_string(worker));
            },
            &counts);
        FAIL() << "no exception";
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "worker 0");
      }
      for (const auto& count : counts) ASSERT_EQ(count, repeat + 1);
    }
  }
}

TEST(Parallel, NestedAndConcurrentCallsComplete) {
  const auto pool = thread_pool(3);
  struct Shared {
    Parallel& pool;
    std::atomic<int> inner{0};
  };
  std::vector<std::thread> callers;
  std::atomic<int> total{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        Shared shared{*pool, {}};
        pool->run(
            [](void* context, int) {
              auto& outer = *static_cast<Shared*>(context);
              outer.pool.run([](void* inner, int) { ++static_cast<Shared*>(inner)->inner; }, &outer);
            },
            &shared);
        total += shared.inner;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 50 * 3 * 3);
}

TEST(ForEachTask, EveryTaskOnceAndAWorkerAtATime) {
  for (const int threads : {1, 2, 5}) {
    const auto pool = thread_pool(threads);
    for (const std::int64_t tasks : {-1, 0, 1, 2, 7, 1000}) {
      Counts done(tasks > 0 ? tasks : 0), busy(threads);
      for_each_task(*pool, tasks, [&](std::int64_t task, int worker) {
        ASSERT_EQ(++busy.at(worker), 1);
        ++done.at(task);
        --busy.at(worker);
      });
      for (const auto& count : done) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ForEachTask, AnExceptionStopsTheRest) {
  const auto pool = thread_pool(2);
  std::atomic<std::int64_t> started{0};
  EXPECT_THROW(for_each_task(*pool, std::int64_t{1} << 40,
                             [&](std::int64_t, int) {
                               if (++started == 100) throw std::runtime_error("enough");
                             }),
               std::runtime_error);
  EXPECT_LT(started, std::int64_t{1} << 40);
}

}  // namespace
}  // namespace longconv
