// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// One run of the library against the reference, described by one line of text that runs it again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longconv/plan.h"
#include "support/reference.h"

namespace longconv::testing {

/// Everything that a run depends on. In tests:
///   EXPECT_EQ(run_trial({.problem = ConvProblem::parse("fprop n2 c3->4 l100 k3 f32"), .kernel = "dense_fprop"}), "");
struct Trial {
  ConvProblem problem;
  std::string kernel = "";   ///< empty: the planner's choice
  std::int64_t config = -1;  ///< index into the kernel's configs(); -1: the planner's choice
  std::string set = "";      ///< values of the config to replace, "slots=6,raw=1": configs that no list has for it
  int capability = 0;        ///< run on a GPU of this compute capability, or the next newer; 0: on the CPU
  std::string isa = "";      ///< "portable", "avx2", "avx512"; empty: the best of this machine
  int threads = 1;
  Layout layout = Layout::contiguous;
  Values values = Values::uniform;
  std::uint64_t seed = 1;
  bool in_place = false;      ///< the residual is the result tensor itself
  bool kept_weights = false;  ///< GPU: executed a second time, on the weights that the first packed; that result counts

  /// "<problem> | kernel dense_fprop config 0 set slots=6 capability 90 isa avx2 threads 2 layout sliced values wide
  /// seed 7 in_place kept_weights".
  std::string to_string() const;
  /// Reads to_string()'s form.
  static Trial parse(std::string_view text);
};

/// The GPU that a trial of this compute capability runs on; -1 if there is none.
int gpu_for(int capability);

/// The trial's device; `isa` above what the machine has is lowered to it.
Device device_of(const Trial& trial);

/// The trial's plan: kernel and config forced where named.
Plan plan_of(const Trial& trial);

/// Tensors of the problem in the trial's layout: inputs drawn from the seed, outputs NaN.
TestTensors make_tensors(const Trial& trial);

/// A team of `threads` workers that lives as long as the program.
Parallel& team(int threads);

/// Executes (on a GPU: on copies of the tensors' whole allocations, which come back) on NaN-filled workspace of exactly
/// the promised size. Returns what went wrong around the numbers: a write outside the result's elements, to an input or
/// outside the workspace; empty if nothing.
std::string execute_checked(const Plan& plan, TestTensors& tensors, Parallel& parallel, bool kept_weights = false);

/// Plans, executes and compares. Empty if all is well; else what is wrong and the line that replays it
/// (LONGCONV_REPLAY='...' with the test program, see tests/kernels/replay_test.cpp; with LONGCONV_EMULATOR through
/// tools/emulate).
std::string run_trial(const Trial& trial);

/// The same for tensors that the caller has filled (special values): `trial` describes the rest.
std::string run_trial(const Trial& trial, TestTensors& tensors);

/// Names of the instruction sets that this machine runs, portable first.
std::vector<std::string> available_isas();

}  // namespace longconv::testing
