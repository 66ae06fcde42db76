// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/tuning.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "cuda/kernel_source.h"
#include "longconv/cuda.h"

namespace longconv::cuda {
namespace {

/// Part of every key; to be raised when the meaning of an entry changes.
constexpr std::string_view kKeyFormat = "longconv tuning 1";
constexpr std::int64_t kMaxBytes = std::int64_t{4} << 20;  // some ten thousand choices

DiskCache::Options table_options(DiskCache::Options options) {
  options.suffix = ".tuned";
  options.max_bytes = std::min(options.max_bytes, kMaxBytes);
  return options;
}

const Sha256::Digest& kernels_digest() {
  static const Sha256::Digest digest = [] {
    Sha256 hash;
    for (const KernelFile& file : kernel_files()) {
      hash.update_field(file.name);
      hash.update_field(file.text);
    }
    return hash.finish();
  }();
  return digest;
}

Sha256::Digest key_of(const ConvProblem& problem, const Device& device) {
  Sha256 hash;
  hash.update_field(kKeyFormat);
  hash.update_field(to_hex(kernels_digest()));
  hash.update_field(device.model);
  hash.update_field(std::to_string(device.compute_capability));
  hash.update_field(std::to_string(device.sm_count));
  hash.update_field(problem.to_string());
  return hash.finish();
}

/// "kernel\nconfig\nnanoseconds\n".
std::string write(const TunedChoice& choice) {
  return choice.kernel + "\n" + choice.config + "\n" + std::to_string(static_cast<std::int64_t>(choice.seconds * 1e9)) +
         "\n";
}

std::optional<TunedChoice> read(std::string_view text) {
  std::string_view lines[3];
  for (std::string_view& line : lines) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    line = text.substr(0, end);
    text.remove_prefix(end + 1);
  }
  std::int64_t nanoseconds = 0;
  const auto [rest, error] = std::from_chars(lines[2].data(), lines[2].data() + lines[2].size(), nanoseconds);
  if (error != std::errc{} || nanoseconds <= 0 || !text.empty()) return std::nullopt;
  return TunedChoice{std::string(lines[0]), std::string(lines[1]), static_cast<double>(nanoseconds) * 1e-9};
}

}  // namespace

TuningTable::TuningTable(DiskCache::Options options) : cache_(table_options(std::move(options))) {}

TuningTable& TuningTable::instance() {
  static auto* table = new TuningTable(DiskCache::Options::from_environment());
  return *table;
}

std::optional<TunedChoice> TuningTable::find(const ConvProblem& problem, const Device& device) {
  const auto text = cache_.find(key_of(problem, device));
  return text ? read(*text) : std::nullopt;
}

void TuningTable::remember(const ConvProblem& problem, const Device& device, const TunedChoice& choice) {
  cache_.store(key_of(problem, device), write(choice));
}

std::string cache_folder() { return DiskCache::Options::from_environment().folder; }

Plan make_tuned_plan(const ConvProblem& problem, const Device& device, TuningTable* table) {
  Plan plan = make_plan(problem, device);
  if (device.kind != Device::Kind::cuda) return plan;
  const auto choice = (table != nullptr ? *table : TuningTable::instance()).find(problem, device);
  if (choice) plan.prefer(choice->kernel, choice->config, choice->seconds);
  return plan;
}

}  // namespace longconv::cuda
