// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/dgrad_padding.h"

#include <algorithm>

#include "cuda/dense_fprop_common.h"

namespace longconv::cuda {
namespace {

constexpr std::int64_t kThreads = 128, kElementsOfBlock = kThreads / 32;

/// As Params of the kernel.
struct Parameters {
  const void *dy, *w;
  void* dx;
  const void* residual;
  std::int64_t dy_batch, dy_channel, dy_time, w_out, w_in, w_tap, dx_batch, dx_channel, dx_time;
  std::int64_t residual_batch, residual_channel, residual_time;
  std::int64_t length, out_length, pad_left, pad_right;
  std::array<std::int64_t, 2> begin, end;
  std::int64_t batch, groups, to_forward_y;
  double negative_slope;
};

KernelSpec spec_of(const ConvProblem& problem) {
  KernelSpec spec;
  spec.file = "conv/dgrad_padding.cuh";
  spec.entry = "longconv_dgrad_padding";
  spec.defines = {{"LC_IN_CHANNELS", problem.in_channels_per_group()},
                  {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                  {"LC_KERNEL_SIZE", problem.kernel_size},
                  {"LC_STRIDE", problem.stride},
                  {"LC_DILATION", problem.dilation},
                  {"LC_PAD", 1 + static_cast<std::int64_t>(problem.pad_mode)},
                  {"LC_ACTIVATION_GRADIENT", static_cast<std::int64_t>(problem.activation)},
                  {"LC_RESIDUAL", problem.has_residual},
                  {"LC_ELEMENT", direct_element_code(problem.dtype)},
                  {"LC_TF32", problem.dtype == DType::f32 && problem.precision == Precision::tf32}};
  return spec;
}

}  // namespace

PaddingGradient::PaddingGradient(const ConvProblem& p) {
  if (p.pass != Pass::dgrad) return;
  const std::int64_t length = p.length_samples;
  switch (p.pad_mode) {
    case PadMode::zeros: return;
    case PadMode::reflect:
      begin = {1, length - 1 - p.pad_right};
      end = {1 + p.pad_left, length - 1};
      break;
    case PadMode::replicate:
      begin = {0, length - 1};
      end = {p.pad_left > 0 ? 1 : 0, p.pad_right > 0 ? length : length - 1};
      break;
    case PadMode::circular:
      begin = {0, length - p.pad_left};
      end = {p.pad_right, length};
      break;
  }
  if (begin[0] < end[0] && begin[1] < end[1] && begin[1] < end[0]) {  // they meet: one range
    begin[0] = std::min(begin[0], begin[1]);
    end[0] = std::max(end[0], end[1]);
    begin[1] = end[1] = 0;
  }
}

std::string no_bias_in_dgrad_padding(const ConvProblem& problem) {
  if (!problem.has_bias || PaddingGradient(problem).empty()) return {};
  return "adds no bias in dgrad with padding mode " + std::string(name(problem.pad_mode));
}

void launch_dgrad_padding(const LaunchFunctions& functions, std::size_t index, const PolyphaseProblem& problem,
                          const Device& device, const ConvTensors& tensors, void* stream) {
  const ConvProblem& asked = problem.asked;
  const PaddingGradient where(asked);
  if (where.empty()) return;
  const TensorView &dy = tensors.x, &dx = tensors.y, &w = tensors.w, &residual = tensors.residual;
  Parameters p{};
  p.dy = dy.data, p.w = w.data, p.dx = dx.data;
  p.dy_batch = dy.strides[0], p.dy_channel = dy.strides[1], p.dy_time = dy.strides[2];
  p.dx_batch = dx.strides[0], p.dx_channel = dx.strides[1], p.dx_time = dx.strides[2];
  // Of the convolution, its first tap first.
  p.w_out = w.strides[1], p.w_in = w.strides[0], p.w_tap = -w.strides[2];
  p.w = static_cast<const char*>(w.data) + (asked.kernel_size - 1) * w.strides[2] * size_bytes(asked.dtype);
  if (asked.has_residual) {
    p.residual = residual.data;
    p.residual_batch = residual.strides[0], p.residual_channel = residual.strides[1];
    p.residual_time = residual.strides[2];
  }
  p.length = asked.length_samples, p.out_length = asked.out_length();
  p.pad_left = asked.pad_left, p.pad_right = asked.pad_right;
  p.begin = where.begin, p.end = where.end;
  for (int i = 0; i < 2; ++i) p.end[i] = std::max(p.begin[i], p.end[i]);
  p.batch = asked.batch, p.groups = asked.groups;
  p.to_forward_y = distance_to_forward_y(dy, tensors.forward_y), p.negative_slope = asked.negative_slope;
  const std::int64_t elements = asked.batch * asked.in_channels * (p.end[0] - p.begin[0] + p.end[1] - p.begin[1]);
  LaunchShape shape;
  shape.blocks = std::min<std::int64_t>(ceil_div(elements, kElementsOfBlock), device.sm_count * 16);
  shape.threads = static_cast<int>(kThreads);
  shape.overlap_previous = true;
  launch(functions.driver(), functions[index], shape, stream, p);
}

void add_dgrad_padding_spec(const PolyphaseProblem& problem, std::vector<KernelSpec>& specs) {
  if (!PaddingGradient(problem.asked).empty()) specs.push_back(spec_of(problem.asked));
}

}  // namespace longconv::cuda
