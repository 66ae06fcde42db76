// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Plan and execute: planning is pure (no device, no memory, no timing), executing is a launch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longconv/parallel.h"
#include "longconv/problem.h"
#include "longconv/tensor_view.h"

namespace longconv {

namespace cuda {
class Compiler;
}

/// Instruction sets with a CPU translation unit of their own.
enum class Isa : std::uint8_t { portable, avx2, avx512 };
std::string_view name(Isa);

/// What the planner needs to know of a device. Plain values, so that plans for any device can be made anywhere.
struct Device {
  enum class Kind : std::uint8_t { cpu, cuda };
  Kind kind = Kind::cpu;
  Isa isa = Isa::portable;
  int threads = 1;
  std::int64_t l1_bytes = 32 << 10;  ///< data cache of a core
  std::int64_t l2_bytes = 1 << 20;   ///< second-level cache of a core; of the whole GPU

  // Kind::cuda only.
  std::string model{};                      ///< as the driver names it: "NVIDIA H100 80GB HBM3"
  int ordinal = 0;                          ///< index among the GPUs that the process sees
  int compute_capability = 0;               ///< 10 * major + minor: 90 for an H100
  int sm_count = 0;                         ///< streaming multiprocessors
  std::int64_t shared_bytes_per_block = 0;  ///< shared memory that a block may opt in to
  std::int64_t shared_bytes_per_sm = 0;
  std::int64_t memory_bytes = 0;
  double memory_bytes_per_second = 0;  ///< theoretical peak
  double clock_hz = 0;                 ///< of the multiprocessors, the highest

  /// The machine this runs on. Environment LONGCONV_ISA=portable|avx2|avx512 lowers (never raises) the ISA.
  static Device host_cpu(int threads);
  /// A GPU of this machine. Throws Error{unavailable} without driver or GPU, Error{invalid_value} for a wrong ordinal.
  static Device cuda(int ordinal);
  /// A GPU model by a short name ("h100", "a100", "l4", "rtx4090", "b200", ...): plans need no GPU. Throws
  /// Error{invalid_value} with the names that there are.
  static Device known(std::string_view name);
  /// A GPU by either name: "cuda" (the first of this machine), "cuda:1", or one that known() takes.
  static Device gpu(std::string_view name);
  std::string to_string() const;
  bool operator==(const Device&) const;
};

/// A kernel's tuning parameters: an ordered list of named numbers. Prints as "oc6 time480 icblock64".
struct Config {
  std::vector<std::pair<std::string, std::int64_t>> values;
  std::int64_t get(std::string_view key) const;  ///< throws Error{internal} when absent
  std::string to_string() const;
};

/// What a kernel expects a launch to cost.
struct Estimate {
  double bytes = 0;  ///< moved to and from memory
  double flops = 0;  ///< executed, overcompute included
  double seconds = 0;
};

/// Why a kernel can or cannot take a problem.
struct Support {
  bool ok = false;
  std::string reason;  ///< empty when ok
  static Support yes() { return {true, {}}; }
  static Support no(std::string why) { return {false, std::move(why)}; }
};

/// Caller's resources for one launch.
struct LaunchContext {
  /// At least plan.workspace_bytes() bytes, 64-byte (CUDA: 256-byte) aligned; contents irrelevant.
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
  Parallel* parallel = nullptr;        ///< CPU; num_threads() as in the plan's device. Null: serial()
  void* stream = nullptr;              ///< CUDA: the CUstream (cudaStream_t) to launch on; null: the default stream
  cuda::Compiler* compiler = nullptr;  ///< CUDA: where kernels come from. Null: the process's own
  /// CUDA: memory of the plan's packed_weights_bytes() that the caller keeps with the weights, 256-byte aligned; then
  /// the workspace needs only workspace_bytes() - packed_weights_bytes(). Null: packed weights go into the workspace.
  void* packed_weights = nullptr;
  /// packed_weights already holds these weights, packed by a launch of a plan with the same kernel, config, dtype,
  /// precision and groups on the same GPU.
  bool weights_are_packed = false;
};

/// One way to do a convolution. Stateless; adding a kernel is one file and one line in the registry. Asked about valid
/// problems of at least one batch item only: planner and execute() deal with empty batches.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual std::string_view name() const = 0;
  virtual Support supports(const ConvProblem&, const Device&) const = 0;
  /// Candidates for a supported problem, at least one.
  virtual std::vector<Config> configs(const ConvProblem&, const Device&) const = 0;
  virtual Estimate estimate(const ConvProblem&, const Config&, const Device&) const = 0;
  virtual std::int64_t workspace_bytes(const ConvProblem&, const Config&, const Device&) const = 0;
  /// The part of the workspace that depends on the weights alone (LaunchContext::packed_weights).
  virtual std::int64_t packed_weights_bytes(const ConvProblem&, const Config&, const Device&) const { return 0; }
  /// Tensors were checked against the problem.
  virtual void launch(const ConvProblem&, const Config&, const Device&, const ConvTensors&,
                      const LaunchContext&) const = 0;
};

/// How a problem will be done, and why.
struct Plan {
  struct Candidate {
    const Kernel* kernel = nullptr;
    Config config;
    Estimate estimate;
    std::int64_t workspace_bytes = 0;
    double measured_seconds = 0;  ///< by `longconv tune` on this device; 0: not measured
  };
  struct Refusal {
    const Kernel* kernel = nullptr;
    std::string reason;
  };

  ConvProblem problem;
  Device device;
  Candidate chosen;
  std::vector<Candidate> runners_up;  ///< best first
  std::vector<Refusal> refused;

  std::int64_t workspace_bytes() const { return chosen.workspace_bytes; }
  std::int64_t packed_weights_bytes() const {
    return chosen.kernel->packed_weights_bytes(problem, chosen.config, device);
  }
  /// Chooses a candidate whatever its estimate, by its kernel's name and its config as printed: what `longconv tune`
  /// measured to be the fastest. Returns false, and changes nothing, where there is no such candidate.
  bool prefer(std::string_view kernel_name, std::string_view config, double measured_seconds);
  /// Several lines: problem, device, choice with its estimate and workspace, runners-up, refusals with reasons.
  std::string to_string() const;
};

/// Every kernel of the library, in a fixed order.
const std::vector<const Kernel*>& all_kernels();

/// Validates the problem and picks the supported (kernel, config) with the least estimated time; ties go to the earlier
/// one. Throws Error: the problem's own, or not_supported with every kernel's reason.
Plan make_plan(const ConvProblem& problem, const Device& device);
/// The same with one kernel forced by name (tests, benchmarks). Throws Error{not_supported} with its reason.
Plan make_plan(const ConvProblem& problem, const Device& device, std::string_view kernel_name);

/// Checks the tensors (dtype, rank, sizes, no null data where elements exist) against the plan's problem, throws Error
/// before anything is written, then launches. An empty batch is a no-op for fprop/dgrad and writes zeros for wgrad.
void execute(const Plan& plan, const ConvTensors& tensors, const LaunchContext& context);

}  // namespace longconv
