// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Checks the tensors against the plan's problem, then launches.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "cuda/wgrad_common.h"
#include "longconv/error.h"
#include "longconv/plan.h"
#include "problem/checked.h"

namespace longconv {
namespace {

using Sizes = std::array<std::int64_t, 3>;

std::string sizes_text(const std::int64_t* values, int rank) {
  std::string text = "[";
  for (int i = 0; i < rank; ++i) text += (i == 0 ? "" : ", ") + std::to_string(values[i]);
  return text + "]";
}

std::string layout_text(const TensorView& view) {
  return "sizes " + sizes_text(view.sizes.data(), view.rank) + " and strides " +
         sizes_text(view.strides.data(), view.rank);
}

[[noreturn]] void reject(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

std::int64_t element_count(const TensorView& view) {
  std::int64_t count = 1;
  for (int i = 0; i < view.rank; ++i) count *= view.sizes[i];
  return count;
}

/// Bytes from the first to one past the last element; at least one element.
std::int64_t extent_bytes(const TensorView& view) {
  std::int64_t last = 0;
  for (int i = 0; i < view.rank; ++i) last += (view.sizes[i] - 1) * view.strides[i];
  return (last + 1) * size_bytes(view.dtype);
}

void check_view(const char* what, const TensorView& view, DType dtype, int rank, const Sizes& sizes) {
  const auto who = [what] { return std::string(what); };
  if (view.rank != rank) {
    reject(who() + ": expected a " + std::to_string(rank) + "-D tensor, but got " +
           (view.defined() ? std::to_string(view.rank) + "-D" : "none"));
  }
  if (view.dtype != dtype) {
    reject(who() + ": expected dtype " + std::string(name(dtype)) + ", but got " + std::string(name(view.dtype)));
  }
  if (!std::equal(sizes.begin(), sizes.begin() + rank, view.sizes.begin())) {
    reject(who() + ": expected size " + sizes_text(sizes.data(), rank) + ", but got " +
           sizes_text(view.sizes.data(), rank));
  }
  if (element_count(view) == 0) return;
  CheckedInt64 last_element = 0;
  for (int i = 0; i < rank; ++i) {
    if (view.sizes[i] == 1) continue;
    if (view.strides[i] < 0) reject(who() + ": strides must not be negative, but got " + layout_text(view));
    last_element = last_element + checked(view.sizes[i] - 1) * view.strides[i];
  }
  if (!((last_element + 1) * size_bytes(dtype)).fits()) {
    throw Error(ErrorCode::overflow, who() + ": does not fit in 63 bits with " + layout_text(view));
  }
  if (view.data == nullptr) reject(who() + ": expected data, but got a null pointer");
  const std::int64_t alignment = size_bytes(real_dtype(dtype));
  if (reinterpret_cast<std::uintptr_t>(view.data) % static_cast<std::uintptr_t>(alignment) != 0) {
    reject(who() + ": expected data aligned to " + std::to_string(alignment) + " bytes");
  }
}

void check_absent(const char* what, const TensorView& view) {
  if (view.defined()) reject(std::string(what) + ": expected none for this problem, but got a tensor");
}

/// The dimensions that move the address as (stride, size), smallest stride first; the others are (0, 1) in front.
std::array<std::pair<std::int64_t, std::int64_t>, 3> strides_and_sizes(const TensorView& view) {
  std::array<std::pair<std::int64_t, std::int64_t>, 3> dims;
  for (int i = 0; i < 3; ++i) {
    const bool moves = i < view.rank && view.sizes[i] != 1;
    dims[i] = moves ? std::pair(view.strides[i], view.sizes[i]) : std::pair(std::int64_t{0}, std::int64_t{1});
  }
  std::sort(dims.begin(), dims.end());
  return dims;
}

/// True when no two elements can share an address: each stride steps over all that the smaller ones span. (Layouts
/// that interleave without touching, such as sizes [2, 3] with strides [3, 2], are refused with the overlapping ones.)
bool is_non_overlapping(const TensorView& view) {
  std::int64_t span = 1;
  for (const auto& [stride, size] : strides_and_sizes(view)) {
    if (size == 1) continue;
    if (stride < span) return false;
    span += stride * (size - 1);
  }
  return true;
}

/// Non-overlapping without gaps: its elements fill its extent.
bool is_dense(const TensorView& view) {
  return is_non_overlapping(view) && extent_bytes(view) == element_count(view) * size_bytes(view.dtype);
}

bool is_same_layout(const TensorView& a, const TensorView& b) {
  return a.data == b.data && strides_and_sizes(a) == strides_and_sizes(b);
}

void check_forward_y(const ConvProblem& p, const ConvTensors& t, const Sizes& y_sizes) {
  if (!p.has_forward_y()) return check_absent("forward_y", t.forward_y);
  check_view("forward_y", t.forward_y, p.dtype, 3, y_sizes);
  if (element_count(t.y) > 0 && !lies_beside(t.forward_y, t.y)) {
    reject(
        "forward_y: expected samples that are consecutive and lie as those of y do, on the same places of 16 bytes, " +
        ("but got " + layout_text(t.forward_y)) + " beside " + layout_text(t.y));
  }
}

void check_output(const char* what, const TensorView& output,
                  std::initializer_list<std::pair<const char*, const TensorView*>> inputs) {
  if (element_count(output) == 0) return;
  if (!is_non_overlapping(output)) {
    reject(std::string(what) + ": the elements of an output must not share memory, but got " + layout_text(output));
  }
  const bool output_is_dense = extent_bytes(output) == element_count(output) * size_bytes(output.dtype);
  for (const auto& [input_name, input] : inputs) {
    if (!input->defined() || element_count(*input) == 0) continue;
    const bool may_be_output = std::string_view(input_name) == "residual";
    if (may_be_output && is_same_layout(*input, output)) continue;
    // Views with gaps may interleave (channels of one buffer): only dense ones can be told apart by their ranges.
    if (!output_is_dense || !is_dense(*input)) continue;
    const auto* output_begin = static_cast<const char*>(output.data);
    const auto* input_begin = static_cast<const char*>(input->data);
    if (output_begin < input_begin + extent_bytes(*input) && input_begin < output_begin + extent_bytes(output)) {
      reject(std::string(what) + ": the output shares memory with the input " + input_name);
    }
  }
}

void check_tensors(const ConvProblem& p, const ConvTensors& t) {
  const Sizes x_sizes{p.batch, p.in_channels, p.length_samples};
  const Sizes w_sizes{p.out_channels, p.in_channels_per_group(), p.kernel_size};
  const Sizes y_sizes{p.batch, p.out_channels, p.out_length()};
  check_view("x", t.x, p.dtype, 3, x_sizes);
  const DType weight_dtype = p.result_dtype();  // differs in wgrad only
  check_view("w", t.w, weight_dtype, 3, w_sizes);
  check_view("y", t.y, p.dtype, 3, y_sizes);
  if (p.has_bias) {
    check_view("bias", t.bias, weight_dtype, 1, {p.bias_channels(), 0, 0});
  } else {
    check_absent("bias", t.bias);
  }
  if (p.has_residual) {
    check_view("residual", t.residual, p.dtype, 3, p.pass == Pass::dgrad ? x_sizes : y_sizes);
  } else {
    check_absent("residual", t.residual);
  }
  check_forward_y(p, t, y_sizes);
  switch (p.pass) {
    case Pass::fprop:
      check_output("y", t.y, {{"x", &t.x}, {"w", &t.w}, {"bias", &t.bias}, {"residual", &t.residual}});
      break;
    case Pass::dgrad:
      check_output(
          "x", t.x,
          {{"y", &t.y}, {"w", &t.w}, {"bias", &t.bias}, {"residual", &t.residual}, {"forward_y", &t.forward_y}});
      break;
    case Pass::wgrad:
      check_output("w", t.w, {{"x", &t.x}, {"y", &t.y}, {"forward_y", &t.forward_y}});
      if (p.has_bias)
        check_output("bias", t.bias, {{"x", &t.x}, {"y", &t.y}, {"w", &t.w}, {"forward_y", &t.forward_y}});
      break;
  }
}

void check_context(const Plan& plan, const LaunchContext& context, const Parallel& parallel) {
  constexpr std::uintptr_t kAlignment = 64;
  const bool packed_elsewhere = context.packed_weights != nullptr;
  const std::int64_t needed = plan.workspace_bytes() - (packed_elsewhere ? plan.packed_weights_bytes() : 0);
  if (context.workspace_bytes < needed) {
    reject("workspace: expected at least " + std::to_string(needed) + " bytes, but got " +
           std::to_string(context.workspace_bytes));
  }
  if (packed_elsewhere && reinterpret_cast<std::uintptr_t>(context.packed_weights) % 256 != 0) {
    reject("packed_weights: expected memory aligned to 256 bytes");
  }
  if (needed > 0) {
    if (context.workspace == nullptr) reject("workspace: expected memory, but got a null pointer");
    if (reinterpret_cast<std::uintptr_t>(context.workspace) % kAlignment != 0) {
      reject("workspace: expected memory aligned to 64 bytes");
    }
  }
  if (plan.device.kind == Device::Kind::cpu && parallel.num_threads() > plan.device.threads) {
    reject("parallel: expected at most the " + std::to_string(plan.device.threads) + " threads of the plan, but got " +
           std::to_string(parallel.num_threads()));
  }
}

void fill_zeros(const TensorView& view) {
  const auto at = [&view](int dim) { return dim < view.rank ? view.strides[dim] : 0; };
  const auto size = [&view](int dim) { return dim < view.rank ? view.sizes[dim] : 1; };
  const std::int64_t element = size_bytes(view.dtype);
  for (std::int64_t i = 0; i < size(0); ++i) {
    for (std::int64_t j = 0; j < size(1); ++j) {
      for (std::int64_t k = 0; k < size(2); ++k) {
        std::memset(static_cast<char*>(view.data) + (i * at(0) + j * at(1) + k * at(2)) * element, 0, element);
      }
    }
  }
}

/// The same memory with stride 0 where a dimension has one element: such a stride may be any number, and kernels
/// compute with strides before they know that they need none.
TensorView plain(TensorView view) {
  for (int i = 0; i < view.rank; ++i) {
    if (view.sizes[i] <= 1) view.strides[i] = 0;
  }
  return view;
}

}  // namespace

bool lies_beside(const TensorView& forward_y, const TensorView& y) {
  const TensorView a = plain(forward_y), b = plain(y);
  const auto place = [](const TensorView& view) { return reinterpret_cast<std::uintptr_t>(view.data) % 16; };
  return a.strides == b.strides && (b.sizes[2] <= 1 || b.strides[2] == 1) && place(a) == place(b);
}

void execute(const Plan& plan, const ConvTensors& tensors, const LaunchContext& context) {
  if (plan.chosen.kernel == nullptr) throw Error(ErrorCode::internal, "execute: the plan has no kernel");
  Parallel& parallel = context.parallel != nullptr ? *context.parallel : serial();
  check_tensors(plan.problem, tensors);
  check_context(plan, context, parallel);
  if (plan.problem.batch == 0) {
    if (plan.problem.pass != Pass::wgrad) return;
    if (plan.device.kind == Device::Kind::cuda) {
      ConvTensors views = tensors;
      views.w = plain(tensors.w), views.bias = plain(tensors.bias);
      return cuda::write_zero_gradients(plan.problem, plan.device, views, context);
    }
    fill_zeros(tensors.w);
    if (plan.problem.has_bias) fill_zeros(tensors.bias);
    return;
  }
  LaunchContext launch = context;
  launch.parallel = &parallel;
  plan.chosen.kernel->launch(plan.problem, plan.chosen.config, plan.device,
                             {plain(tensors.x), plain(tensors.w), plain(tensors.y), plain(tensors.bias),
                              plain(tensors.residual), plain(tensors.forward_y)},
                             launch);
}

}  // namespace longconv
