// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Launching a loaded kernel: nothing but one driver call.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/compiler.h"

namespace longconv::cuda {

struct LaunchShape {
  std::int64_t blocks = 1;                ///< one-dimensional grid; persistent kernels walk their tiles themselves
  int threads = 0;                        ///< of a block
  int cluster_blocks = 1;                 ///< blocks of a cluster; more than 1 needs compute capability 9.0
  std::int64_t dynamic_shared_bytes = 0;  ///< as in the KernelSpec
  /// The kernel may start before the one ahead of it in the stream ends; it waits itself (wait_for_previous_kernel in
  /// kernels/ptx/control.cuh). Only behind a kernel of the same call: a call's first launch, and one behind a clear,
  /// start when all that was queued before has ended. Means nothing where Function::can_overlap is false.
  bool overlap_previous = false;
};

/// Launches with parameters as the driver takes them: an array of pointers to each. Throws Error.
void launch_kernel(const Driver& driver, const Function& function, const LaunchShape& shape, void* stream,
                   void** parameters);

/// Launches on `stream` (a CUstream of the function's GPU; null: the default stream). The arguments must have exactly
/// the types of the kernel's parameters: nothing checks them. One struct passed by value keeps both sides together.
/// Asynchronous; capturable into a graph. Throws Error.
template <typename... Arguments>
void launch(const Driver& driver, const Function& function, const LaunchShape& shape, void* stream,
            const Arguments&... arguments) {
  static_assert((std::is_trivially_copyable_v<Arguments> && ...), "kernel parameters are copied as bytes");
  void* parameters[] = {const_cast<void*>(static_cast<const void*>(&arguments))..., nullptr};
  launch_kernel(driver, function, shape, stream, parameters);
}

}  // namespace longconv::cuda
