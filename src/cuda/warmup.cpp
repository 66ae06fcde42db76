// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/cuda_kernel.h"
#include "longconv/cuda.h"

namespace longconv::cuda {

void add_nvrtc_folders(const std::vector<std::string>& folders) { Compiler::add_nvrtc_folders(folders); }

WarmupReport compile_ahead(const Plan& plan, Compiler* given) {
  WarmupReport report;
  const auto* kernel = dynamic_cast<const CudaKernel*>(plan.chosen.kernel);
  if (kernel == nullptr) return report;
  Compiler& compiler = given != nullptr ? *given : Compiler::instance();
  const Target target = compiler.target_for(plan.device.compute_capability);
  const Compiler::Statistics before = compiler.statistics();
  for (const KernelSpec& spec : kernel->specs(plan.problem, plan.chosen.config, plan.device)) {
    compiler.get_image(target, spec, plan.problem.to_string());
    ++report.kernels;
  }
  const Compiler::Statistics after = compiler.statistics();
  report.compiled = static_cast<int>(after.compilations - before.compilations);
  if (const DiskCache::Status cache = compiler.cache().status(); report.compiled > 0 && !cache.on_disk) {
    throw Error(ErrorCode::unavailable, "compiled kernels cannot be kept on disk: " + cache.reason);
  }
  report.compile_seconds = after.compile_seconds - before.compile_seconds;
  return report;
}

bool is_capturing(void* stream) {
  CUstreamCaptureStatus status{};
  Compiler::instance().driver().stream_is_capturing(static_cast<CUstream>(stream), &status);
  return status != CU_STREAM_CAPTURE_STATUS_NONE;
}

}  // namespace longconv::cuda
