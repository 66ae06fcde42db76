// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/wgrad_common.h"

#include <algorithm>
#include <utility>

namespace longconv::cuda {
namespace {

constexpr int kReduceThreads = 256;
/// A block for 32 elements.
std::int64_t reduce_blocks(const WgradLayout& layout) {
  return ceil_div(layout.weight_elements + layout.bias_elements, 32);
}

}  // namespace

WgradRanges::WgradRanges(const ConvProblem& problem, std::int64_t steps, std::int64_t most_splits)
    : chunk_steps(steps),
      chunks_per_signal(ceil_div(problem.out_length(), steps)),
      chunks(problem.batch * chunks_per_signal),
      splits(std::max<std::int64_t>(1, std::min(chunks, most_splits))) {}

WgradLayout::WgradLayout(const ConvProblem& problem, std::int64_t count)
    : splits(count),
      weight_elements(problem.out_channels * problem.in_channels_per_group() * problem.kernel_size),
      bias_elements(problem.has_bias ? problem.out_channels : 0),
      sum_bytes(problem.dtype == DType::f64 ? 8 : 4) {}

std::int64_t WgradLayout::most_splits(const ConvProblem& problem) {
  const WgradLayout one(problem, 1);
  const std::int64_t of_a_split = (one.weight_elements + one.bias_elements) * one.sum_bytes + 4;
  return (kMaxWgradWorkspaceBytes - 3 * 256) / of_a_split;
}

bool choose_wgrad_splits(std::int64_t tiles, const Device& device, std::int64_t fewest, std::int64_t& splits,
                         const std::function<bool()>& fits) {
  const std::int64_t sms = std::max(device.sm_count, 1);
  const auto time_of = [&](std::int64_t count) {  // of a block, in blocks of one split
    return static_cast<double>(ceil_div(tiles * count, sms)) / static_cast<double>(count);
  };
  splits = fewest;
  if (!fits()) return false;
  std::int64_t best = fewest;
  double least = time_of(fewest) * (1 + 0.02 * static_cast<double>(ceil_div(tiles * fewest, sms)));
  for (std::int64_t waves = 1; waves <= 6; ++waves) {
    splits = std::max(fewest, waves * sms / tiles);
    while (splits > fewest && !fits()) --splits;
    const double cost = time_of(splits) * (1 + 0.02 * static_cast<double>(waves));
    if (cost < least) least = cost, best = splits;
  }
  splits = best;
  return true;
}

std::int64_t fewest_products(const ConvProblem& p) {
  if (p.pad_mode != PadMode::zeros) return p.batch * p.out_length();
  std::int64_t fewest = p.out_length();
  for (const std::int64_t k : {std::int64_t{0}, p.kernel_size - 1}) {
    const std::int64_t before = p.pad_left - k * p.dilation;  // t*stride must lie in [before, before + length)
    const std::int64_t first = before <= 0 ? 0 : ceil_div(before, p.stride);
    const std::int64_t end = before + p.length_samples <= 0 ? 0 : ceil_div(before + p.length_samples, p.stride);
    fewest = std::min(fewest, std::max<std::int64_t>(0, std::min(end, p.out_length()) - first));
  }
  return p.batch * fewest;
}

Support supports_wgrad(const ConvProblem& problem, const Device& device) {
  if (device.kind != Device::Kind::cuda) return Support::no("a CUDA kernel");
  if (problem.pass != Pass::wgrad) return Support::no("does wgrad only");
  if (is_complex(problem.dtype) || problem.dtype == DType::i64) {
    return Support::no("has no kernel for " + std::string(name(problem.dtype)));
  }
  if (problem.kernel_size > (1 << 20) || problem.stride > (1 << 20) || problem.dilation > (1 << 26)) {
    return Support::no("kernel size or stride above 2^20, or dilation above 2^26");
  }
  if (problem.in_channels_per_group() > (1 << 24) || problem.out_channels_per_group() > (1 << 24) ||
      problem.groups > 0x7fffffff || problem.batch > 0x7fffffff) {
    return Support::no("more than 2^24 channels of a group, or 2^31 groups or signals");
  }
  return Support::yes();
}

void clear_wgrad_flags(const Driver& driver, CUcontext context, const WgradLayout& layout, void* workspace,
                       void* stream) {
  const ContextScope scope(driver, context);
  driver.memset_d8_async(reinterpret_cast<CUdeviceptr>(WgradPartials(layout, workspace).flags), 0,
                         static_cast<std::size_t>(layout.splits * 4), static_cast<CUstream>(stream));
}

LayerStep reduce_wgrad_step(const ConvProblem& problem) {
  const DType result = problem.result_dtype();
  LayerStep step;
  step.spec.file = "conv/reduce_wgrad.cuh";
  step.spec.entry = "longconv_reduce_wgrad";
  step.spec.keep_carveout = true;
  step.spec.defines = {{"LC_RESULT", result == DType::f32    ? 0
                                     : result == DType::bf16 ? 1
                                     : result == DType::f16  ? 2
                                                             : 3}};
  step.threads = kReduceThreads;
  step.fixed_blocks = reduce_blocks(WgradLayout(problem, 1));
  return step;
}

void launch_reduce_wgrad(const Driver& driver, const Function& function, const ConvProblem& problem,
                         const ConvTensors& tensors, const WgradLayout& layout, void* workspace, void* stream) {
  const WgradPartials partials(layout, workspace);
  struct {
    const void *partial, *bias_partial;
    void *w, *bias;
    std::int64_t splits, weight_elements, bias_elements, row_elements, kernel_size, w_out, w_in, w_tap, bias_stride;
  } p{partials.weight,
      partials.bias,
      tensors.w.data,
      problem.has_bias ? tensors.bias.data : nullptr,
      layout.splits,
      layout.weight_elements,
      layout.bias_elements,
      problem.in_channels_per_group() * problem.kernel_size,
      problem.kernel_size,
      tensors.w.strides[0],
      tensors.w.strides[1],
      tensors.w.strides[2],
      problem.has_bias ? tensors.bias.strides[0] : 0};
  LaunchShape shape;
  shape.blocks = reduce_blocks(layout);
  shape.threads = kReduceThreads;
  shape.overlap_previous = layout.splits > 0;
  launch(driver, function, shape, stream, p);
}

bool wgrad_needs_repair(const ConvProblem& p, std::int64_t chunk_steps) {
  return p.dtype == DType::f32 || p.pad_left > 0 || p.pad_right > 0 || p.out_length() % chunk_steps != 0;
}

std::vector<KernelSpec> wgrad_specs(KernelSpec main, const ConvProblem& problem, bool repair) {
  std::vector<KernelSpec> specs{std::move(main)};
  if (repair) specs.push_back(wgrad_repair_step(problem).spec);
  specs.push_back(reduce_wgrad_step(problem).spec);
  return specs;
}

void write_zero_gradients(const ConvProblem& problem, const Device& device, const ConvTensors& tensors,
                          const LaunchContext& context) {
  Compiler& compiler = context.compiler != nullptr ? *context.compiler : Compiler::instance();
  const Function function = compiler.get_function(device.ordinal, reduce_wgrad_step(problem).spec, &problem);
  launch_reduce_wgrad(compiler.driver(), function, problem, tensors, WgradLayout(problem, 0), nullptr, context.stream);
}

}  // namespace longconv::cuda
