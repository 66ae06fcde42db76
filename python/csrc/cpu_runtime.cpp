// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu_runtime.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plan_cache.h"

namespace longconv::torch_binding {
namespace {

constexpr std::int64_t kHugePageThresholdBytes = 4 << 20;

void advise_huge_pages(void* data, std::int64_t bytes) {
#ifdef MADV_HUGEPAGE
  if (bytes < kHugePageThresholdBytes) return;
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + static_cast<std::uintptr_t>(bytes)) / page * page;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // advice: a refusal changes nothing
#else
  (void)data, (void)bytes;
#endif
}

/// PyTorch's intra-op threads.
class TorchThreads final : public Parallel {
 public:
  explicit TorchThreads(int threads) : threads_(threads) {}
  int num_threads() const override { return threads_; }
  void run(void (*body)(void*, int), void* context) override {
    at::parallel_for(0, threads_, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t worker = begin; worker < end; ++worker) body(context, static_cast<int>(worker));
    });
  }

 private:
  int threads_;
};

int available_threads() {
  at::internal::lazy_init_num_threads();
  return at::in_parallel_region() ? 1 : at::get_num_threads();
}

}  // namespace

TensorView view_of(const at::Tensor& tensor, DType dtype) {
  TensorView view;
  view.data = tensor.data_ptr();
  view.dtype = dtype;
  view.rank = static_cast<int>(tensor.dim());
  for (int d = 0; d < view.rank; ++d) {
    view.sizes[d] = tensor.size(d);
    view.strides[d] = tensor.stride(d);
  }
  return view;
}

at::Tensor empty_on_cpu(at::IntArrayRef sizes, at::ScalarType type) {
  at::Tensor tensor = at::empty(sizes, at::TensorOptions().dtype(type).device(at::kCPU));
  advise_huge_pages(tensor.data_ptr(), static_cast<std::int64_t>(tensor.nbytes()));
  return tensor;
}

std::shared_ptr<const Plan> plan_on_cpu(const ConvProblem& problem) {
  static PlanCache* const cache = new PlanCache;  // never destroyed: kernels may run while the process exits
  return cache->get(problem, available_threads(),
                    [](const ConvProblem& asked, int threads) { return make_plan(asked, Device::host_cpu(threads)); });
}

void execute_on_cpu(const Plan& plan, const ConvTensors& tensors) {
  c10::DataPtr workspace;
  LaunchContext context;
  context.workspace_bytes = plan.workspace_bytes();
  if (context.workspace_bytes > 0) {
    workspace = c10::GetCPUAllocator()->allocate(static_cast<std::size_t>(context.workspace_bytes));
    context.workspace = workspace.get();
    advise_huge_pages(context.workspace, context.workspace_bytes);
  }
  TorchThreads threads(plan.device.threads);
  context.parallel = &threads;
  execute(plan, tensors, context);
}

}  // namespace longconv::torch_binding
