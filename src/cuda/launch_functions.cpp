// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/launch_functions.h"

#include <algorithm>
#include <memory>
#include <string>

#include "longconv/error.h"

namespace longconv::cuda {

bool LaunchFunctions::Known::is(const Compiler& c, const Key& key) const {
  return compiler == c.id() && kernel == key.kernel && ordinal == key.ordinal && variant == key.variant &&
         std::equal(values.begin(), values.begin() + value_count, key.config->values.begin(), key.config->values.end(),
                    [](std::int64_t mine, const auto& value) { return mine == value.second; }) &&
         problem == *key.problem;
}

void LaunchFunctions::Known::become(const Compiler& c, const Key& key) {
  complete = false;
  compiler = c.id(), kernel = key.kernel, ordinal = key.ordinal, variant = key.variant;
  problem = *key.problem;
  value_count = key.config->values.size();
  if (value_count > kMostValues) throw Error(ErrorCode::internal, "config: more numbers than LaunchFunctions keeps");
  for (std::size_t i = 0; i < value_count; ++i) values[i] = key.config->values[i].second;
}

LaunchFunctions::Known& LaunchFunctions::find(const Compiler& compiler, const Key& key) {
  // As many layers as a thread is likely to alternate between; a collision costs the building of specs.
  constexpr std::size_t kSlots = 256;
  thread_local std::array<std::unique_ptr<Known>, kSlots> slots;
  const ConvProblem& p = *key.problem;
  // Sums of products: short, and the fields that differ from layer to layer reach the upper bits.
  std::uint64_t mixed = reinterpret_cast<std::uintptr_t>(key.kernel) / 8 * 0x9e3779b97f4a7c15;
  mixed += static_cast<std::uint64_t>(p.in_channels) * 0xbf58476d1ce4e5b9;
  mixed += static_cast<std::uint64_t>(p.out_channels) * 0x94d049bb133111eb;
  mixed += static_cast<std::uint64_t>(p.length_samples) * 0xd6e8feb86659fd93;
  mixed += static_cast<std::uint64_t>(p.kernel_size) * 0xa0761d6478bd642f;
  mixed += static_cast<std::uint64_t>(p.batch * 8 + p.stride * 64 + p.dilation) * 0xe7037ed1a0b428db;
  mixed += static_cast<std::uint64_t>(key.variant * 2 + (p.has_bias ? 1 : 0)) * 0x8ebc6af09c88c6e3;
  std::unique_ptr<Known>& slot = slots[mixed >> 56];
  static_assert(kSlots == 256, "eight bits");
  if (!slot) slot = std::make_unique<Known>();
  if (!slot->is(compiler, key)) slot->become(compiler, key);
  return *slot;
}

void LaunchFunctions::load(Known& known, Compiler& compiler, const std::vector<KernelSpec>& specs) {
  if (specs.size() > kMost) throw Error(ErrorCode::internal, "a launch of more kernels than LaunchFunctions keeps");
  const std::vector<Function> functions = compiler.get_functions(known.ordinal, specs, &known.problem);
  std::copy(functions.begin(), functions.end(), known.functions.begin());
  known.complete = true;
}

}  // namespace longconv::cuda
