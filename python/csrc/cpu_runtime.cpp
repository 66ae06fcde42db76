// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu_runtime.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <unistd.h>

#include <list>
#include <mutex>
#include <unordered_map>
#include <utility>

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

/// Least recently used plans leave first.
class PlanCache {
 public:
  std::shared_ptr<const Plan> get(const ConvProblem& problem, int threads) {
    const Key key{problem, threads};
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto found = index_.find(key); found != index_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return found->second->second;
      }
    }
    auto plan = std::make_shared<const Plan>(make_plan(problem, Device::host_cpu(threads)));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto found = index_.find(key); found != index_.end()) return found->second->second;
    entries_.emplace_front(key, plan);
    index_.emplace(key, entries_.begin());
    if (entries_.size() > kCapacity) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return plan;
  }

 private:
  static constexpr std::size_t kCapacity = 1024;
  struct Key {
    ConvProblem problem;
    int threads;
    bool operator==(const Key& other) const { return threads == other.threads && problem == other.problem; }
  };
  struct Hash {
    std::size_t operator()(const Key& key) const {
      return key.problem.hash() ^ (static_cast<std::size_t>(key.threads) * 0x9E3779B97F4A7C15ull);
    }
  };
  using Entries = std::list<std::pair<Key, std::shared_ptr<const Plan>>>;

  std::mutex mutex_;
  Entries entries_;  // most recently used first
  std::unordered_map<Key, Entries::iterator, Hash> index_;
};

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
  return cache->get(problem, available_threads());
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
