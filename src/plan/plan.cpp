// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "longconv/plan.h"

#include <algorithm>
#include <cstdio>

#include "longconv/error.h"

namespace longconv {
namespace {

/// Up to four significant digits with a decimal prefix: "14.3 G".
std::string with_prefix(double value) {
  constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  std::size_t step = 0;
  while (value >= 1000 && step + 1 < std::size(kPrefixes)) value /= 1000, ++step;
  char text[48];
  std::snprintf(text, sizeof text, "%.4g %s", value, kPrefixes[step]);
  return text;
}

std::string describe(const Plan::Candidate& candidate) {
  char milliseconds[48];
  std::snprintf(milliseconds, sizeof milliseconds, "%.4g ms", candidate.estimate.seconds * 1e3);
  const std::string config = candidate.config.to_string();
  std::string measured;
  if (candidate.measured_seconds > 0) {
    char text[64];
    std::snprintf(text, sizeof text, "%.4g ms tuned, ", candidate.measured_seconds * 1e3);
    measured = text;
  }
  return std::string(candidate.kernel->name()) + (config.empty() ? "" : " " + config) + ": " + measured + milliseconds +
         " expected, " + with_prefix(candidate.estimate.bytes) + "B, " + with_prefix(candidate.estimate.flops) +
         "FLOP, workspace " + std::to_string(candidate.workspace_bytes) + " bytes";
}

[[noreturn]] void throw_unsupported(const Plan& plan) {
  std::string message = "no kernel supports " + plan.problem.to_string() + " on " + plan.device.to_string();
  for (const auto& refusal : plan.refused) {
    message += "\n  " + std::string(refusal.kernel->name()) + ": " + refusal.reason;
  }
  throw Error(ErrorCode::not_supported, message);
}

Plan plan_among(const std::vector<const Kernel*>& kernels, const ConvProblem& problem, const Device& device) {
  Plan plan;
  plan.problem = problem;
  plan.device = device;
  // Kernels never see an empty batch, neither here nor in execute(): the plan is that of one item, without workspace.
  ConvProblem asked = problem;
  asked.batch = std::max<std::int64_t>(problem.batch, 1);
  std::vector<Plan::Candidate> candidates;
  for (const Kernel* kernel : kernels) {
    Support support = kernel->supports(asked, device);
    if (!support.ok) {
      plan.refused.push_back({kernel, std::move(support.reason)});
      continue;
    }
    for (Config& config : kernel->configs(asked, device)) {
      const Estimate estimate = kernel->estimate(asked, config, device);
      const std::int64_t workspace = problem.batch == 0 ? 0 : kernel->workspace_bytes(asked, config, device);
      candidates.push_back({kernel, std::move(config), estimate, workspace});
    }
  }
  if (candidates.empty()) throw_unsupported(plan);
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const auto& a, const auto& b) { return a.estimate.seconds < b.estimate.seconds; });
  plan.chosen = std::move(candidates.front());
  plan.runners_up.assign(std::make_move_iterator(candidates.begin() + 1), std::make_move_iterator(candidates.end()));
  return plan;
}

}  // namespace

std::int64_t Config::get(std::string_view key) const {
  for (const auto& [name, value] : values) {
    if (name == key) return value;
  }
  throw Error(ErrorCode::internal, "no '" + std::string(key) + "' in config '" + to_string() + "'");
}

std::string Config::to_string() const {
  std::string text;
  for (const auto& [name, value] : values) text += (text.empty() ? "" : " ") + name + std::to_string(value);
  return text;
}

std::string Device::to_string() const {
  if (kind == Kind::cuda) {
    return "cuda " + std::to_string(ordinal) + " " + model + " cc" + std::to_string(compute_capability / 10) + "." +
           std::to_string(compute_capability % 10) + " sms" + std::to_string(sm_count) + " shared" +
           std::to_string(shared_bytes_per_block >> 10) + "KiB l2_" + std::to_string(l2_bytes >> 20) + "MiB";
  }
  return "cpu " + std::string(name(isa)) + " threads" + std::to_string(threads) + " l1_" +
         std::to_string(l1_bytes >> 10) + "KiB l2_" + std::to_string(l2_bytes >> 10) + "KiB";
}

bool Device::operator==(const Device& other) const {
  return kind == other.kind && isa == other.isa && threads == other.threads && l1_bytes == other.l1_bytes &&
         l2_bytes == other.l2_bytes && model == other.model && ordinal == other.ordinal &&
         compute_capability == other.compute_capability && sm_count == other.sm_count &&
         shared_bytes_per_block == other.shared_bytes_per_block && shared_bytes_per_sm == other.shared_bytes_per_sm &&
         memory_bytes == other.memory_bytes && memory_bytes_per_second == other.memory_bytes_per_second &&
         clock_hz == other.clock_hz;
}

bool Plan::prefer(std::string_view kernel_name, std::string_view config, double measured_seconds) {
  const auto is_it = [&](const Candidate& candidate) {
    return candidate.kernel->name() == kernel_name && candidate.config.to_string() == config;
  };
  if (!is_it(chosen)) {
    const auto found = std::find_if(runners_up.begin(), runners_up.end(), is_it);
    if (found == runners_up.end()) return false;
    std::swap(chosen, *found);
    // What was chosen before goes back to its place among the estimates, before its equals.
    std::rotate(runners_up.begin(), found, found + 1);
    std::stable_sort(runners_up.begin(), runners_up.end(),
                     [](const auto& a, const auto& b) { return a.estimate.seconds < b.estimate.seconds; });
  }
  chosen.measured_seconds = measured_seconds;
  return true;
}

std::string Plan::to_string() const {
  std::string text = "problem    " + problem.to_string() + "\n";
  text += "           " + with_prefix(problem.flops()) + "FLOP, " + with_prefix(problem.compulsory_bytes()) +
          "B compulsory\n";
  text += "device     " + device.to_string() + "\n";
  text += "chosen     " + describe(chosen) + "\n";
  for (const auto& candidate : runners_up) text += "runner-up  " + describe(candidate) + "\n";
  for (const auto& refusal : refused) {
    text += "refused    " + std::string(refusal.kernel->name()) + ": " + refusal.reason + "\n";
  }
  return text;
}

Plan make_plan(const ConvProblem& problem, const Device& device) {
  problem.validate();
  return plan_among(all_kernels(), problem, device);
}

Plan make_plan(const ConvProblem& problem, const Device& device, std::string_view kernel_name) {
  problem.validate();
  std::string names;
  for (const Kernel* kernel : all_kernels()) {
    if (kernel->name() == kernel_name) return plan_among({kernel}, problem, device);
    names += (names.empty() ? "" : ", ") + std::string(kernel->name());
  }
  throw Error(ErrorCode::invalid_value, "no kernel is called '" + std::string(kernel_name) + "'; there are: " + names);
}

}  // namespace longconv
