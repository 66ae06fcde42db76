// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Compiler: from a KernelSpec to a function that can be launched. NVRTC, the disk cache and the table of what each GPU
/// has loaded, behind one call.
///
/// Versions. NVRTC compiles to machine code (a cubin), not to PTX, so the driver needs no compiler of its own and a
/// driver older than NVRTC still takes it, as long as both are of one CUDA major version (NVIDIA's "minor version
/// compatibility"). Across major versions only an NVRTC older than the driver is safe; the search for NVRTC
/// (NvrtcSearch) prefers one that is. PTX is made only for a GPU that NVRTC does not know yet: it needs a driver at
/// least as new as NVRTC, and such a GPU's driver is.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/device.h"
#include "cuda/disk_cache.h"
#include "cuda/driver.h"
#include "cuda/kernel_spec.h"
#include "cuda/nvrtc.h"
#include "cuda/target.h"
#include "longconv/problem.h"

namespace longconv::cuda {

/// A kernel loaded on one GPU.
struct Function {
  CUfunction handle = nullptr;
  CUcontext context = nullptr;
  int registers = 0;
  int local_bytes = 0;  ///< a thread's stack and spills
  int static_shared_bytes = 0;
  int max_threads = 0;                    ///< of a block
  std::int64_t dynamic_shared_bytes = 0;  ///< of its spec
  bool can_overlap = false;  ///< its code has what LaunchShape::overlap_previous needs, and so has the driver
};

class Compiler {
 public:
  struct Options {
    const Driver* driver = nullptr;  ///< null: Driver::instance(), when a GPU is first needed
    NvrtcSearch nvrtc;
    DiskCache::Options cache;
    std::vector<std::string> extra_options;  ///< for NVRTC, e.g. "--generate-line-info" for a profiler
  };
  struct Statistics {
    std::int64_t compilations = 0;  ///< by this object; the rest came from the cache
    double compile_seconds = 0;
    std::int64_t functions = 0;  ///< loaded, on all GPUs
  };

  explicit Compiler(Options options);
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  /// The process's compiler: options from the environment, NVRTC also looked for in `add_nvrtc_folders`. Never
  /// destroyed.
  static Compiler& instance();
  /// Folders for instance()'s NVRTC search; to be called before its first use (later calls have no effect).
  static void add_nvrtc_folders(const std::vector<std::string>& folders);

  /// The kernel, compiled and loaded on the GPU `ordinal`. Compiles once per spec and architecture, loads once per GPU,
  /// however many threads ask: the others wait. When warm this is a hash look-up, with no driver call, so it may be
  /// called while a stream is captured (and may compile and load there too). `problem` is only for error messages.
  /// Throws Error; a failure is not remembered.
  Function get_function(int ordinal, const KernelSpec& spec, const ConvProblem* problem = nullptr);

  /// The same for each of `specs`, in their order; what is missing is compiled side by side, in threads. Throws what
  /// the first spec that fails does.
  std::vector<Function> get_functions(int ordinal, const std::vector<KernelSpec>& specs, const ConvProblem* problem);

  /// Machine code for a target, from the cache or compiled. Needs no GPU and no driver.
  std::string get_image(const Target& target, const KernelSpec& spec, const std::string& problem);

  /// What get_image hands to NVRTC. Needs nothing.
  static CompileRequest make_request(const Target& target, const KernelSpec& spec);

  /// Another number for each Compiler of the process.
  std::uint64_t id() const { return id_; }
  const Driver& driver();
  /// Loaded at the first call. Throws Error{unavailable}.
  const Nvrtc& nvrtc();
  Target target_for(int compute_capability);
  DiskCache& cache() { return cache_; }
  Statistics statistics() const;
  /// The context of a GPU, for ContextScope. No driver call after the first for this GPU.
  CUcontext context(int ordinal) { return gpu(ordinal).context; }
  const Device& device(int ordinal) { return gpu(ordinal).device; }

 private:
  struct Gpu {
    Device device;
    CUcontext context = nullptr;
    std::shared_mutex mutex;  ///< guards functions
    std::unordered_map<KernelSpec, std::shared_future<Function>, KernelSpecHash> functions;
  };
  Gpu& gpu(int ordinal);
  Function load(Gpu& gpu, const KernelSpec& spec, const std::string& problem);
  Function load_image(Gpu& gpu, const KernelSpec& spec, const Target& target, const std::string& image);

  const std::uint64_t id_;
  const Options options_;
  DiskCache cache_;
  mutable std::mutex mutex_;  ///< guards what is made late: nvrtc_, gpus_; and the statistics
  std::optional<Nvrtc> nvrtc_;
  static constexpr int kMaxGpus = 64;
  std::atomic<Gpu*> gpus_[kMaxGpus] = {};
  std::vector<std::unique_ptr<Gpu>> owned_gpus_;
  Statistics statistics_;
};

}  // namespace longconv::cuda
