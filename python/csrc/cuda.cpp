// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// CUDA tensors: one clear refusal until the GPU engine exists. Never a silent detour through the host.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace longconv::torch_binding {
namespace {

void refuse(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto count = op.schema().arguments().size();
  c10::optional<c10::Device> device;
  for (const c10::IValue& argument : torch::jit::last(*stack, count)) {
    if (!argument.isTensor() || !argument.toTensor().defined()) continue;
    const c10::Device other = argument.toTensor().device();
    TORCH_CHECK(!device || *device == other, op.schema().name(),
                ": expected all tensors to be on the same device, but found at least two devices, ", *device, " and ",
                other);
    device = other;
  }
  TORCH_CHECK_NOT_IMPLEMENTED(false, "longconv has no CUDA kernels for ", op.schema().name(),
                              " yet: move the tensors to the CPU, or keep torch.nn.Conv1d for CUDA");
}

TORCH_LIBRARY_IMPL(longconv, CUDA, m) {
  for (const char* op : {"fprop", "fprop.out", "dgrad", "wgrad"}) {
    m.impl(op, torch::CppFunction::makeFromBoxedFunction<&refuse>());
  }
}

}  // namespace
}  // namespace longconv::torch_binding
