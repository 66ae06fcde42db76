// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The functions that one launch uses, in the order of its specs. The first launch of a plan compiles what is missing,
/// all at once; a warm one finds them by comparing problem and config, and builds no spec.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cuda/compiler.h"
#include "longconv/plan.h"

namespace longconv::cuda {

class LaunchFunctions {
 public:
  /// `make_specs`: the launch's specs, at most kMost, as a function of kernel, problem, config, device and `variant`
  /// (what the launcher chooses by the tensors' layout). Called when this thread has not made such a launch lately.
  /// Throws Error.
  template <typename MakeSpecs>
  LaunchFunctions(const Kernel& kernel, const ConvProblem& problem, const Config& config, const Device& device,
                  const LaunchContext& context, int variant, const MakeSpecs& make_specs)
      : compiler_(context.compiler != nullptr ? *context.compiler : Compiler::instance()),
        known_(find(compiler_, {&kernel, &problem, &config, device.ordinal, variant})) {
    if (!known_.complete) load(known_, compiler_, make_specs());
  }

  /// Of spec i.
  const Function& operator[](std::size_t i) const { return known_.functions[i]; }
  const Driver& driver() const { return compiler_.driver(); }

  static constexpr std::size_t kMost = 4, kMostValues = 16;

 private:
  struct Key {
    const Kernel* kernel;
    const ConvProblem* problem;
    const Config* config;
    int ordinal, variant;
  };
  /// What a thread remembers of a launch. Functions are never unloaded while their compiler lives.
  struct Known {
    std::uint64_t compiler = 0;  ///< Compiler::id()
    const Kernel* kernel = nullptr;
    int ordinal = 0, variant = 0;
    ConvProblem problem;
    std::size_t value_count = 0;
    std::array<std::int64_t, kMostValues> values{};
    std::array<Function, kMost> functions{};
    bool complete = false;

    bool is(const Compiler& compiler, const Key& key) const;
    void become(const Compiler& compiler, const Key& key);
  };
  static Known& find(const Compiler& compiler, const Key& key);
  static void load(Known& known, Compiler& compiler, const std::vector<KernelSpec>& specs);

  Compiler& compiler_;
  Known& known_;
};

}  // namespace longconv::cuda
