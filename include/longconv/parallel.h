// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Parallel: the caller's threads. The library starts none of its own behind the caller's back.
#pragma once

#include <memory>

namespace longconv {

/// A team of workers. PyTorch's binding wraps at::parallel_for; C++ programs use thread_pool() or their own.
class Parallel {
 public:
  virtual ~Parallel() = default;
  virtual int num_threads() const = 0;
  /// Calls body(context, worker) for each worker in [0, num_threads()), perhaps several on one thread and in any
  /// order; returns when all have returned. An exception of a body is rethrown here after all have ended.
  virtual void run(void (*body)(void* context, int worker), void* context) = 0;
};

/// Runs everything on the calling thread.
Parallel& serial();

/// A pool of `threads` workers, the caller's thread being one of them; 0: one for each hardware thread.
std::unique_ptr<Parallel> thread_pool(int threads = 0);

}  // namespace longconv
