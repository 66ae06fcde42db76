// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "forced_plan.h"

#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

#include "arguments.h"
#include "longconv/cuda.h"
#include "longconv/error.h"

namespace longconv::torch_binding {
namespace {

struct Forced {
  std::string kernel;
  std::int64_t candidate = 0;
};

struct State {
  std::mutex mutex;
  Forced forced;
  std::atomic<int> generation = 0;
};

State& state() {
  static State* const made = [] {
    auto* fresh = new State;  // never destroyed: other threads may plan while the process exits
    if (const char* kernel = std::getenv("LONGCONV_CUDA_KERNEL")) fresh->forced.kernel = kernel;
    if (const char* candidate = std::getenv("LONGCONV_CUDA_CONFIG"))
      fresh->forced.candidate = std::strtoll(candidate, nullptr, 10);
    return fresh;
  }();
  return *made;
}

void force(StringView kernel, std::int64_t candidate) {
  State& shared = state();
  const std::lock_guard<std::mutex> lock(shared.mutex);
  shared.forced = {std::string(kernel.data(), kernel.size()), candidate};
  ++shared.generation;
}

/// By the names of the kernels: "dense_fprop_sm80".
bool does_another_pass(const std::string& kernel, Pass pass) {
  for (const Pass other : {Pass::fprop, Pass::dgrad, Pass::wgrad}) {
    if (other != pass && kernel.find(name(other)) != std::string::npos) return true;
  }
  return false;
}

std::int64_t compile_cuda_plan(StringView problem, StringView device, StringView kernel, std::int64_t candidate) {
  return with_torch_errors([&] {
    const Plan plan = nth_plan(ConvProblem::parse({problem.data(), problem.size()}),
                               Device::gpu({device.data(), device.size()}), {kernel.data(), kernel.size()}, candidate);
    return static_cast<std::int64_t>(cuda::compile_ahead(plan).compiled);
  });
}

TORCH_LIBRARY_FRAGMENT(longconv, m) {
  m.def("force_cuda_plan(str kernel, int candidate) -> ()", force);
  m.def("compile_cuda_plan(str problem, str device, str kernel, int candidate) -> int", compile_cuda_plan);
}

}  // namespace

Plan nth_plan(const ConvProblem& problem, const Device& device, std::string_view kernel, std::int64_t candidate) {
  Plan plan = kernel.empty() ? cuda::make_tuned_plan(problem, device) : make_plan(problem, device, kernel);
  if (candidate < 0 || candidate > static_cast<std::int64_t>(plan.runners_up.size())) {
    throw Error(ErrorCode::invalid_value, "there is no candidate " + std::to_string(candidate) + ": the plan of " +
                                              problem.to_string() + " has " +
                                              std::to_string(plan.runners_up.size() + 1));
  }
  if (candidate > 0) std::swap(plan.chosen, plan.runners_up[static_cast<std::size_t>(candidate - 1)]);
  return plan;
}

Plan cuda_plan(const ConvProblem& problem, const Device& device) {
  Forced forced;
  {
    State& shared = state();
    const std::lock_guard<std::mutex> lock(shared.mutex);
    forced = shared.forced;
  }
  // A kernel of one pass leaves the others to the planner.
  if (does_another_pass(forced.kernel, problem.pass)) forced = {};
  return nth_plan(problem, device, forced.kernel, forced.candidate);
}

int forced_plan_generation() { return state().generation.load(std::memory_order_acquire); }

}  // namespace longconv::torch_binding
