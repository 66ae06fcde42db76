// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The CUDA engine's own doors: where its compiler is looked for, what state it is in, compiling ahead of time,
/// choosing by measurement.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "longconv/plan.h"

namespace longconv {
namespace cuda {

class TuningTable;

/// Folders in which NVRTC is looked for, after LONGCONV_NVRTC and before the toolkit. Has an effect until the first GPU
/// plan is executed.
void add_nvrtc_folders(const std::vector<std::string>& folders);

/// What `longconv doctor` prints.
struct Diagnosis {
  bool usable = false;  ///< driver, NVRTC and at least one supported GPU are there, and every GPU passed its self-test
  std::string text;  ///< several lines: driver, NVRTC, cache, each GPU with its architecture and self-test, or what is
                     ///< wrong and what to do about it
};
/// Looks at everything, compiles and runs a small kernel on every GPU. Never throws for what it finds.
Diagnosis diagnose(Compiler* compiler = nullptr);

/// What compile_ahead did.
struct WarmupReport {
  int kernels = 0;   ///< specialisations that the plan uses
  int compiled = 0;  ///< of those, not found in the cache
  double compile_seconds = 0;
};
/// Compiles everything that executing the plan on dense tensors needs into the disk cache. (Other layouts, such as
/// channels-last signals, may need another variant of a kernel, which their first launch compiles.) Needs NVRTC, but
/// neither a GPU nor a driver: the plan may be for Device::known(...). A plan for the CPU needs nothing. Throws Error.
WarmupReport compile_ahead(const Plan& plan, Compiler* compiler = nullptr);

/// The layer of a forward problem without padding, groups, residual and activation, as JSON: the chosen kernels with
/// their definitions, grids and memory layout as numbers that hold for every batch and length, and the source text they
/// need. What `longconv eject` writes files from; src/cuda/layer_launch.h has the meaning. Pure. Throws Error.
std::string describe_layer(const ConvProblem& problem, const Device& device);

/// Where compiled kernels and tuned choices are kept; empty where the disk is not used.
std::string cache_folder();

/// make_plan(), or what a Tuner found to be faster on this GPU, if it still is one of the plan's candidates. Reads the
/// disk. `table` null: the process's own, beside the compiled kernels.
Plan make_tuned_plan(const ConvProblem& problem, const Device& device, TuningTable* table = nullptr);

/// Measures the candidates of a problem's plan on a GPU and remembers the fastest for make_tuned_plan(). In steps, so
/// that a caller can show progress and stop; not thread-safe. Dense operands of random numbers, weights packed before.
class Tuner {
 public:
  /// Plans, and allocates the operands on the GPU. Throws Error, as make_plan() and the driver do.
  Tuner(const ConvProblem& problem, int ordinal, Compiler* compiler = nullptr, TuningTable* table = nullptr);
  ~Tuner();
  Tuner(const Tuner&) = delete;
  Tuner& operator=(const Tuner&) = delete;

  /// How many calls of step() there will be.
  int steps() const;
  /// First compiles and tries one candidate after the other, then measures those that are not hopeless by turns.
  /// Throws Error.
  void step();
  /// Candidates with their medians, fastest first; to be called after the last step.
  std::vector<Plan::Candidate> results() const;
  /// Keeps the fastest on disk. Returns where; empty if the disk took nothing.
  std::string remember() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Whether work on the stream (a CUstream; null: the default stream) is being captured into a graph. Throws Error.
bool is_capturing(void* stream);

}  // namespace cuda
}  // namespace longconv
