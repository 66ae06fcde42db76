// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// What a warm launch costs the host in the core: execute() of plans for a GPU on the fake driver, whose launches cost
// nothing. Needs no GPU.
//   build/dev/tests/longconv_host_overhead
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "longconv/plan.h"

using namespace longconv;

namespace {

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Microseconds of CPU time of a call: the best of several batches.
template <typename Call>
double microseconds(Call call) {
  constexpr int kBatches = 20, kCalls = 2000;
  double best = 1e9;
  for (int batch = 0; batch < kBatches; ++batch) {
    const double start = cpu_seconds();
    for (int i = 0; i < kCalls; ++i) call();
    best = std::min(best, (cpu_seconds() - start) / kCalls);
  }
  return best * 1e6;
}

void* address(int index) {
  return reinterpret_cast<void*>((std::uintptr_t{1} << 60) + (static_cast<std::uintptr_t>(index) << 40));
}

}  // namespace

int main() {
  ::setenv("LONGCONV_CUDA_DRIVER", LONGCONV_FAKE_CUDA_DRIVER, 1);
  ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
  ::setenv("LONGCONV_CACHE_MAX_MIB", "0", 1);
  const cuda::Driver& driver = cuda::Driver::instance();
  std::vector<char> memory(8 << 20);
  std::printf("%-24s %-50s %8s %8s\n", "kernel", "problem", "packs us", "kept us");
  const std::string headline = "n64 c64->128 l524280 k3 s3 d4 ", small = "n2 c64->128 l1200 k3 ";
  for (const auto& [kernel, problem] :
       {std::pair<const char*, std::string>{"dense_fprop_split_sm90", headline + "f32"},
        {"dense_fprop_sm90", headline + "f32 tf32"},
        {"dense_fprop_sm90", headline + "bf16"},
        {"dense_fprop_split_sm90", small + "f32"},
        {"dense_fprop_split_sm90", small + "f32 bias"},
        {"dense_fprop_split_sm90", small + "f32 s2"},
        {"dense_fprop_split_sm90", small + "f32 p1 bias relu"},
        {"dense_fprop_sm90", small + "f32 tf32"},
        {"dense_fprop_sm90", small + "bf16 p1 bias relu"},
        {"dense_fprop_sm80", small + "f32"},
        {"dense_fprop_sm80", small + "bf16"},
        {"direct_fprop", small + "f32"}}) {
    const ConvProblem p = ConvProblem::parse(problem);
    const Plan plan = make_plan(p, cuda::query_device(driver, 0), kernel);
    ConvTensors tensors;
    tensors.x = TensorView::contiguous(address(0), p.dtype, {p.batch, p.in_channels, p.length_samples});
    tensors.w = TensorView::contiguous(address(1), p.dtype, {p.out_channels, p.in_channels, p.kernel_size});
    tensors.y = TensorView::contiguous(address(2), p.dtype, {p.batch, p.out_channels, p.out_length()});
    if (p.has_bias) tensors.bias = TensorView::vector(address(3), p.dtype, p.out_channels);
    LaunchContext context;
    context.workspace = memory.data() + (256 - reinterpret_cast<std::uintptr_t>(memory.data()) % 256) % 256;
    context.workspace_bytes = plan.workspace_bytes();
    // As in a process that computes: the GPU's context is current.
    const cuda::ContextScope current(driver, cuda::Compiler::instance().context(0));
    const double packs = microseconds([&] { execute(plan, tensors, context); });
    context.packed_weights = static_cast<char*>(context.workspace) + (4 << 20);
    context.weights_are_packed = true;
    const double kept = microseconds([&] { execute(plan, tensors, context); });
    std::printf("%-24s %-50s %8.2f %8.2f\n", kernel, p.to_string().c_str(), packs, kept);
  }
}
