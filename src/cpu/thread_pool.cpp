// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "longconv/parallel.h"

namespace longconv {
namespace {

class Serial final : public Parallel {
 public:
  int num_threads() const override { return 1; }
  void run(void (*body)(void*, int), void* context) override { body(context, 0); }
};

/// The first exception by worker number, so that what the caller sees does not depend on timing.
class FirstException {
 public:
  void capture(int worker) {
    const std::lock_guard lock(mutex_);
    if (exception_ && worker_ <= worker) return;
    exception_ = std::current_exception();
    worker_ = worker;
  }
  void rethrow_if_any() const {
    if (exception_) std::rethrow_exception(exception_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr exception_;
  int worker_ = 0;
};

/// Workers 1 .. threads-1 are threads that sleep between calls; worker 0 is the caller. Calls from several threads
/// take turns; a call from inside a body runs all its workers on the calling thread.
class ThreadPool final : public Parallel {
 public:
  explicit ThreadPool(int threads) : num_threads_(threads) {
    try {
      for (int worker = 1; worker < threads; ++worker) threads_.emplace_back([this, worker] { serve(worker); });
    } catch (...) {  // the system refuses more threads: end those that were started
      stop();
      throw;
    }
  }
  ~ThreadPool() override { stop(); }

  int num_threads() const override { return num_threads_; }

  void run(void (*body)(void*, int), void* context) override {
    FirstException first_exception;
    const auto call = [&](int worker) {
      try {
        body(context, worker);
      } catch (...) {
        first_exception.capture(worker);
      }
    };
    if (active_pool_ == this || num_threads_ == 1) {
      for (int worker = 0; worker < num_threads_; ++worker) call(worker);
    } else {
      const std::lock_guard turn(turn_);
      const Job job{[](const void* function, int worker) { (*static_cast<const decltype(call)*>(function))(worker); },
                    &call};
      {
        const std::lock_guard lock(mutex_);
        job_ = &job;
        pending_ = num_threads_ - 1;
        ++generation_;
      }
      start_.notify_all();
      enter(job, 0);
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return pending_ == 0; });
    }
    first_exception.rethrow_if_any();
  }

 private:
  struct Job {
    void (*call)(const void* function, int worker);
    const void* function;
  };

  void enter(const Job& job, int worker) {
    const ThreadPool* const outer = active_pool_;
    active_pool_ = this;
    job.call(job.function, worker);
    active_pool_ = outer;
  }

  void serve(int worker) {
    std::uint64_t seen_generation = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return stopping_ || generation_ != seen_generation; });
      if (stopping_) return;
      seen_generation = generation_;
      const Job job = *job_;
      lock.unlock();
      enter(job, worker);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    start_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  static thread_local const ThreadPool* active_pool_;  ///< the pool whose body this thread is in

  const int num_threads_;
  std::vector<std::thread> threads_;
  std::mutex turn_;  ///< one run() at a time
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const Job* job_ = nullptr;
  int pending_ = 0;
  std::uint64_t generation_ = 0;
  bool stopping_ = false;
};

thread_local const ThreadPool* ThreadPool::active_pool_ = nullptr;

}  // namespace

Parallel& serial() {
  static Serial instance;
  return instance;
}

std::unique_ptr<Parallel> thread_pool(int threads) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  return std::make_unique<ThreadPool>(threads > 0 ? threads : 1);
}

}  // namespace longconv
