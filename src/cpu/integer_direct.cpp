// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// 64-bit integers, all three passes, as the equations stand: wrap-around modulo 2^64 (by unsigned arithmetic), no
// packing, no workspace. Work is cut into rows of kBlock results, each owned by one task; padding modes are affine
// pieces of the signal (pad_index.h), so inner loops carry no condition.
#include <algorithm>
#include <array>
#include <cstdint>

#include "cpu/pad_index.h"
#include "cpu/parallel_for.h"
#include "plan/registry.h"
#include "problem/checked.h"

namespace longconv {
namespace {

constexpr std::int64_t kBlock = 512;

/// A strided integer tensor, read and written as unsigned.
struct Tensor {
  std::uint64_t* data;
  std::array<std::int64_t, 3> strides;

  explicit Tensor(const TensorView& view) : data(static_cast<std::uint64_t*>(view.data)), strides(view.strides) {}
  std::uint64_t* row(std::int64_t i, std::int64_t j) const { return data + i * strides[0] + j * strides[1]; }
};

struct Call {
  const ConvProblem& problem;
  const ConvTensors& tensors;
  Parallel& parallel;
  std::array<PadPiece, 3> pieces = pad_pieces(problem);

  std::int64_t tap_position(std::int64_t k) const { return k * problem.dilation - problem.pad_left; }
};

/// Adds the residual's row and stores: out[j] = sum[j] + residual[j] for results [begin, end) of row (i, channel).
void store(const Call& call, const TensorView& out, std::int64_t i, std::int64_t channel, Interval range,
           const std::uint64_t* sums) {
  const Tensor result(out), residual(call.tensors.residual);
  std::uint64_t* const row = result.row(i, channel);
  const std::uint64_t* const added = call.problem.has_residual ? residual.row(i, channel) : nullptr;
  for (std::int64_t j = range.begin; j < range.end; ++j) {
    const std::uint64_t addend = added != nullptr ? added[j * residual.strides[2]] : 0;
    row[j * result.strides[2]] = sums[j - range.begin] + addend;
  }
}

/// Calls row_block(i, channel, range) for the blocks of a tensor (batch, channels, length).
template <class Function>
void for_each_row_block(const Call& call, std::int64_t channels, std::int64_t length, Function&& row_block) {
  const std::int64_t blocks = ceil_div(length, kBlock);
  for_each_task(call.parallel, call.problem.batch * channels * blocks, [&](std::int64_t task, int) {
    const std::int64_t row = task / blocks, begin = task % blocks * kBlock;
    row_block(row / channels, row % channels, Interval{begin, std::min(begin + kBlock, length)});
  });
}

void fprop(const Call& call) {
  const ConvProblem& p = call.problem;
  const Tensor x(call.tensors.x), w(call.tensors.w), bias(call.tensors.bias);
  const std::int64_t inputs = p.in_channels_per_group();
  for_each_row_block(call, p.out_channels, p.out_length(), [&](std::int64_t n, std::int64_t o, Interval range) {
    std::array<std::uint64_t, kBlock> sums;
    sums.fill(p.has_bias ? bias.data[o * bias.strides[0]] : 0);
    const std::int64_t first_input = o / p.out_channels_per_group() * inputs;
    for (std::int64_t i = 0; i < inputs; ++i) {
      const std::uint64_t* const x_row = x.row(n, first_input + i);
      for (std::int64_t k = 0; k < p.kernel_size; ++k) {
        const std::uint64_t tap = w.row(o, i)[k * w.strides[2]];
        const std::int64_t at = call.tap_position(k);
        for (const PadPiece& piece : call.pieces) {
          const Interval t = intersect(outputs_reading(piece.positions, at, p.stride, p.out_length()), range);
          for (std::int64_t j = t.begin; j < t.end; ++j) {
            sums[j - range.begin] += tap * x_row[piece.source(j * p.stride + at) * x.strides[2]];
          }
        }
      }
    }
    store(call, call.tensors.y, n, o, range, sums.data());
  });
}

void dgrad(const Call& call) {
  const ConvProblem& p = call.problem;
  const Tensor dy(call.tensors.y), w(call.tensors.w), bias(call.tensors.bias);
  const std::int64_t inputs = p.in_channels_per_group(), outputs = p.out_channels_per_group();
  for_each_row_block(call, p.in_channels, p.length_samples, [&](std::int64_t n, std::int64_t c, Interval range) {
    std::array<std::uint64_t, kBlock> sums;
    sums.fill(p.has_bias ? bias.data[c * bias.strides[0]] : 0);
    const std::int64_t first_output = c / inputs * outputs;
    for (std::int64_t o = first_output; o < first_output + outputs; ++o) {
      const std::uint64_t* const dy_row = dy.row(n, o);
      for (std::int64_t k = 0; k < p.kernel_size; ++k) {
        const std::uint64_t tap = w.row(o, c % inputs)[k * w.strides[2]];
        const std::int64_t at = call.tap_position(k);
        for (const PadPiece& piece : call.pieces) {
          const Interval t = outputs_reading(piece.positions_reading(range), at, p.stride, p.out_length());
          for (std::int64_t j = t.begin; j < t.end; ++j) {
            sums[piece.source(j * p.stride + at) - range.begin] += tap * dy_row[j * dy.strides[2]];
          }
        }
      }
    }
    store(call, call.tensors.x, n, c, range, sums.data());
  });
}

std::uint64_t weight_gradient(const Call& call, std::int64_t o, std::int64_t i, std::int64_t k) {
  const ConvProblem& p = call.problem;
  const Tensor x(call.tensors.x), dy(call.tensors.y);
  const std::int64_t c = o / p.out_channels_per_group() * p.in_channels_per_group() + i;
  const std::int64_t at = call.tap_position(k);
  std::uint64_t sum = 0;
  for (const PadPiece& piece : call.pieces) {
    const Interval t = outputs_reading(piece.positions, at, p.stride, p.out_length());
    for (std::int64_t n = 0; n < p.batch; ++n) {
      const std::uint64_t* const x_row = x.row(n, c);
      const std::uint64_t* const dy_row = dy.row(n, o);
      for (std::int64_t j = t.begin; j < t.end; ++j) {
        sum += dy_row[j * dy.strides[2]] * x_row[piece.source(j * p.stride + at) * x.strides[2]];
      }
    }
  }
  return sum;
}

std::uint64_t bias_gradient(const Call& call, std::int64_t o) {
  const Tensor dy(call.tensors.y);
  std::uint64_t sum = 0;
  for (std::int64_t n = 0; n < call.problem.batch; ++n) {
    for (std::int64_t t = 0; t < call.problem.out_length(); ++t) sum += dy.row(n, o)[t * dy.strides[2]];
  }
  return sum;
}

void wgrad(const Call& call) {
  const ConvProblem& p = call.problem;
  const Tensor dw(call.tensors.w), dbias(call.tensors.bias);
  const std::int64_t taps = p.in_channels_per_group() * p.kernel_size;
  for_each_task(call.parallel, p.out_channels * taps, [&](std::int64_t task, int) {
    const std::int64_t o = task / taps, i = task % taps / p.kernel_size, k = task % p.kernel_size;
    dw.row(o, i)[k * dw.strides[2]] = weight_gradient(call, o, i, k);
  });
  if (!p.has_bias) return;
  for_each_task(call.parallel, p.out_channels,
                [&](std::int64_t o, int) { dbias.data[o * dbias.strides[0]] = bias_gradient(call, o); });
}

class IntegerDirect final : public Kernel {
 public:
  std::string_view name() const override { return "integer_direct"; }

  Support supports(const ConvProblem& p, const Device& device) const override {
    if (device.kind != Device::Kind::cpu) return Support::no("runs on the CPU only");
    if (p.dtype != DType::i64) return Support::no("for i64 only, not " + std::string(longconv::name(p.dtype)));
    if (p.activation != Activation::none) {
      return Support::no("integers have no activation " + std::string(longconv::name(p.activation)));
    }
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem&, const Device&) const override { return {Config{}}; }

  Estimate estimate(const ConvProblem& p, const Config&, const Device& device) const override {
    constexpr double kFlopsPerSecond = 1.5e9,
                     kBytesPerSecond = 1e10;  // of a thread, of the machine: orders of magnitude
    const double compute_seconds = p.flops() / (kFlopsPerSecond * device.threads);
    return {p.compulsory_bytes(), p.flops(), std::max(compute_seconds, p.compulsory_bytes() / kBytesPerSecond)};
  }

  std::int64_t workspace_bytes(const ConvProblem&, const Config&, const Device&) const override { return 0; }

  void launch(const ConvProblem& p, const Config&, const Device&, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    const Call call{p, tensors, *context.parallel};
    switch (p.pass) {
      case Pass::fprop: return fprop(call);
      case Pass::dgrad: return dgrad(call);
      case Pass::wgrad: return wgrad(call);
    }
  }
};

}  // namespace

const Kernel& integer_direct() {
  static const IntegerDirect kernel;
  return kernel;
}

}  // namespace longconv
