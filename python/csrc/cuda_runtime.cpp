// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda_runtime.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty.h>
#include <c10/core/Stream.h>
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "forced_plan.h"
#include "longconv/cuda.h"
#include "longconv/error.h"
#include "packed_weight_cache.h"
#include "plan_cache.h"

namespace longconv::torch_binding {
namespace {

/// c10::cuda::CUDAStream is a c10::Stream and nothing else, and both are returned in registers.
static_assert(sizeof(c10::Stream) == 16 && std::is_trivially_copyable_v<c10::Stream>,
              "the layout of c10::Stream changed");

void* current_stream(int ordinal) {
  struct Functions {
    c10::Stream (*current)(c10::DeviceIndex);
    void* (*handle)(const c10::Stream*);
  };
  static const Functions functions = [] {
    void* library = dlopen("libc10_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    Functions found{};
    if (library != nullptr) {
      found.current = reinterpret_cast<decltype(found.current)>(dlsym(library, "_ZN3c104cuda20getCurrentCUDAStreamEa"));
      found.handle = reinterpret_cast<decltype(found.handle)>(dlsym(library, "_ZNK3c104cuda10CUDAStream6streamEv"));
    }
    return found;
  }();
  TORCH_CHECK(functions.current != nullptr && functions.handle != nullptr,
              "longconv: this build of PyTorch has no libc10_cuda.so with getCurrentCUDAStream, which longconv needs "
              "for CUDA tensors");
  const c10::Stream stream = functions.current(static_cast<c10::DeviceIndex>(ordinal));
  return functions.handle(&stream);
}

constexpr std::int64_t kMostPackedBytes = std::int64_t{256} << 20;

PackedWeightCache& packed_weights() {
  static auto* const cache = new PackedWeightCache(kMostPackedBytes);  // never destroyed, as the plans
  return *cache;
}

std::atomic<bool>& reuse_enabled() {
  static std::atomic<bool> enabled = [] {
    const char* const asked = std::getenv("LONGCONV_REUSE_PACKED_WEIGHTS");
    return asked != nullptr && std::string_view(asked) == "1";
  }();
  return enabled;
}

}  // namespace

Precision precision_on_cuda(PrecisionRequest request, DType dtype) {
  if (dtype != DType::f32 || request == PrecisionRequest::fp32) return Precision::fp32;
  if (request == PrecisionRequest::tf32) return Precision::tf32;
#if LONGCONV_TORCH_AT_LEAST(2, 9)
  const bool allowed = at::globalContext().allowTF32CuDNN(at::Float32Op::CONV);
#else
  const bool allowed = at::globalContext().allowTF32CuDNN();
#endif
  return allowed ? Precision::tf32 : Precision::fp32;
}

std::shared_ptr<const Plan> plan_on_cuda(const ConvProblem& problem, int ordinal) {
  static PlanCache* const cache = new PlanCache;  // never destroyed: kernels may run while the process exits
  const int key = ordinal + (forced_plan_generation() << 8);
  return cache->get(problem, key,
                    [ordinal](const ConvProblem& asked, int) { return cuda_plan(asked, Device::cuda(ordinal)); });
}

void reuse_packed_weights(bool enabled) {
  reuse_enabled() = enabled;
  if (!enabled) packed_weights().clear();
}

bool reuses_packed_weights() { return reuse_enabled(); }

void execute_on_cuda(const Plan& plan, const ConvTensors& tensors, const at::Tensor& weight) {
  LaunchContext context;
  context.stream = current_stream(plan.device.ordinal);
  context.workspace_bytes = plan.workspace_bytes();
  // A capture packs into memory of its graph: a replay must see the weights as they are then.
  std::int64_t packed_bytes = 0;
  if (reuse_enabled() && PackedWeightCache::can_keep(weight) && !cuda::is_capturing(context.stream)) {
    packed_bytes = plan.packed_weights_bytes();
  }
  at::Tensor packed;
  if (packed_bytes > 0) {
    packed = packed_weights().find(weight, plan, context.stream);
    context.weights_are_packed = packed.defined();
    if (!packed.defined()) packed = at::empty({packed_bytes}, weight.options().dtype(at::kByte));
    context.packed_weights = packed.data_ptr();
    context.workspace_bytes -= packed_bytes;
  }
  c10::DataPtr workspace;  // no tensor: a small call would wait for its making longer than for the memory
  if (context.workspace_bytes > 0) {
    workspace = at::detail::getCUDAHooks().getCUDADeviceAllocator()->allocate(
        static_cast<std::size_t>(context.workspace_bytes));
    context.workspace = workspace.get();
  }
  execute(plan, tensors, context);
  if (packed_bytes > 0 && !context.weights_are_packed) {
    packed_weights().keep(weight, plan, context.stream, std::move(packed));
  }
}

}  // namespace longconv::torch_binding
