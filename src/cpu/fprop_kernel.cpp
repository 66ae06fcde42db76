// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/fprop_kernel.h"

#include <algorithm>
#include <string>

#include "problem/checked.h"

namespace longconv::cpu {

Support FpropKernel::supports(const ConvProblem& problem, const Device& device) const {
  if (device.kind != Device::Kind::cpu) return Support::no("runs on the CPU only");
  if (problem.pass != Pass::fprop)
    return Support::no("does fprop only, not " + std::string(longconv::name(problem.pass)));
  switch (problem.dtype) {
    case DType::f32:
    case DType::f64:
    case DType::bf16:
    case DType::f16: return Support::yes();
    default: return Support::no("for f32, f64, bf16 and f16 only, not " + std::string(longconv::name(problem.dtype)));
  }
}

std::vector<Config> FpropKernel::configs(const ConvProblem& problem, const Device& device) const {
  std::vector<Config> list;
  for (const FpropTuning& tuning : tunings(problem, device)) list.push_back(tuning.config());
  return list;
}

Estimate FpropKernel::estimate(const ConvProblem& problem, const Config& config, const Device& device) const {
  return estimate_fprop(problem, device, FpropTuning::from(config));
}

std::int64_t FpropKernel::workspace_bytes(const ConvProblem& problem, const Config& config,
                                          const Device& device) const {
  return make_fprop_schedule(problem, device, FpropTuning::from(config)).workspace_bytes();
}

void FpropKernel::launch(const ConvProblem& problem, const Config& config, const Device& device,
                         const ConvTensors& tensors, const LaunchContext& context) const {
  run_fprop(problem, device, FpropTuning::from(config), tensors, context);
}

Estimate estimate_fprop(const ConvProblem& problem, const Device& device, const FpropTuning& tuning) {
  // Measured on a Zen 3 core and scaled by the vector length: vectors of multiply-adds a second, and what surrounds
  // them.
  constexpr double kVectorsPerSecond = 5.6e9, kPackedPerSecond = 1.5e9, kStoredPerSecond = 3e9, kTaskSeconds = 0.3e-6;
  constexpr double kBytesPerSecond = 2.8e10;
  const FpropSchedule s = make_fprop_schedule(problem, device, tuning);
  const bool is_double = problem.dtype == DType::f64;
  const IsaTable& table = isa_table(device.isa);
  const int lanes = is_double ? table.f64.lanes : table.f32.lanes;
  const double rows = static_cast<double>(s.chains.rows()), tasks = static_cast<double>(s.tasks);
  const double outputs = static_cast<double>(problem.batch) * static_cast<double>(problem.out_channels) *
                         static_cast<double>(s.tiles) * static_cast<double>(s.time_samples);
  // A block of few channels is bound by loads: o channels cost about as much as o + 1.
  const double channels = static_cast<double>(problem.out_channels_per_group()) / static_cast<double>(s.panels);
  const double products = outputs * rows / lanes * (1 + 1 / channels) / kVectorsPerSecond;
  const double chain_count = static_cast<double>(s.chains.channel_chunks * s.chains.tap_pieces);
  const double stores = outputs * (1 + chain_count) / kStoredPerSecond;
  const double packed_bytes = static_cast<double>(s.pack_bytes) * static_cast<double>(s.blocks);
  const double packing = tasks * packed_bytes / (is_double ? 8 : 4) / kPackedPerSecond;
  // Rows that do not stay in the second-level cache come from the third for each panel of output channels.
  const double spill = s.pack_bytes * 4 > device.l2_bytes * 3 ? 1.2 : 1.0;
  const double busy_workers = std::max(1.0, std::min<double>(s.workers, tasks));  // an empty batch has no tasks
  const double seconds = (products * spill + stores + packing + tasks * kTaskSeconds) / busy_workers;
  Estimate estimate;
  estimate.bytes = problem.compulsory_bytes();
  estimate.flops = 2 * outputs * rows;
  estimate.seconds = std::max(seconds, estimate.bytes / kBytesPerSecond);
  return estimate;
}

}  // namespace longconv::cpu
