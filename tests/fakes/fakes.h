// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What tests may set and read in the fake CUDA driver and the fake NVRTC: shared libraries with the real ones'
/// symbols, so that everything above them is tested on machines without a GPU.
#pragma once

#include <atomic>
#include <cstdint>

namespace longconv::fakes {

/// Exported by the fake driver as `fake_driver_state`. The fake machine has `device_count` H100s, whose memory is the
/// host's. A launched kernel does nothing, but the self-test's is imitated.
struct DriverState {
  std::atomic<int> version{12040};
  std::atomic<int> device_count{2};
  std::atomic<int> init_result{0};
  std::atomic<int> load_result{0};    ///< of cuModuleLoadDataEx
  std::atomic<int> max_threads{512};  ///< of a block, of every function: as many as the largest kernel takes
  std::atomic<int> launch_result{0};  ///< of cuLaunchKernel and cuLaunchKernelEx

  std::atomic<int> calls{0};  ///< of any function but cuCtxGetCurrent
  std::atomic<int> modules_loaded{0};
  std::atomic<int> modules_unloaded{0};
  std::atomic<int> launches{0};
  std::atomic<int> clears{0};  ///< cuMemsetD8Async
  std::atomic<int> contexts_pushed{0};
  std::atomic<int> contexts_popped{0};
  std::atomic<int> capture_mode{0};  ///< of the only thread that counts: global
  std::atomic<int> capture_mode_during_load{-1};
  std::atomic<int> dynamic_shared_limit{0};  ///< last cuFuncSetAttribute of it
  std::atomic<int> last_cluster{0};
  std::atomic<bool> last_overlaps{false};
  std::atomic<unsigned> last_blocks{0};
  std::atomic<unsigned> last_threads{0};
  /// Launch number n (from 0) is history[n % kHistory]. One thread's.
  struct Launch {
    unsigned blocks, threads, shared_bytes;
    int cluster;
    bool overlaps;  ///< programmatic stream serialization
  };
  static constexpr int kHistory = 16;
  Launch history[kHistory]{};
  std::atomic<int> last_argument{0};  ///< the first kernel parameter, read as an int

  std::atomic<int> allocations_alive{0};
  std::atomic<int> capturing{0};  ///< what cuStreamIsCapturing says of every stream

  /// Events tell the time of a clock that launches advance: by 1 us a kernel whose image has this text in it, by 100 us
  /// others. FAKE_CUDA_FAST in the environment when the fake is loaded.
  std::atomic<const char*> fast_kernel{nullptr};
  std::atomic<std::int64_t> clock_ns{0};
  std::atomic<bool> wrong_results{false};  ///< kernels/selftest.cuh computes one element wrongly
};

/// Exported by the fake NVRTC as `fake_nvrtc_state`. Its "machine code" is the source text and the options.
struct NvrtcState {
  std::atomic<int> version{12040};   ///< FAKE_NVRTC_VERSION in the environment when it is loaded
  std::atomic<int> newest_arch{90};  ///< of those it makes code for, from 80 on
  std::atomic<int> compilations{0};
  std::atomic<int> programs_alive{0};
  std::atomic<int> milliseconds{0};  ///< a compilation takes
  std::atomic<int> compiling{0};     ///< under way
  std::atomic<int> meet{
      0};  ///< a compilation ends when so many have been under way at once, or after 20 s with an error
  std::atomic<bool> have_met{false};
};

}  // namespace longconv::fakes
