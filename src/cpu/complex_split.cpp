// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Complex convolutions from four real ones, each done by the planner's choice for the real problem on views of the real
// and imaginary parts (the same memory, strides doubled). With PyTorch's convention for gradients:
//   fprop  y  = conv(x, w)                 y.re  = x.re*w.re - x.im*w.im      y.im  = x.re*w.im + x.im*w.re
//   dgrad  dx = conv_transpose(dy, w~)     dx.re = dy.re*w.re + dy.im*w.im    dx.im = dy.im*w.re - dy.re*w.im
//   wgrad  dw = corr(dy, x~)               dw.re = dy.re*x.re + dy.im*x.im    dw.im = dy.im*x.re - dy.re*x.im
// fprop and dgrad add the second product of a pair to the first one in place (has_residual); the minus sign comes from
// a negated copy of w.im. wgrad has no residual: its second product goes to workspace and is added or subtracted.
// Workspace: one real tensor of w's size, and what the real plans need.
#include <algorithm>
#include <cstdint>
#include <string>

#include "cpu/parallel_for.h"
#include "plan/registry.h"

namespace longconv {
namespace {

constexpr std::int64_t kAlignmentBytes = 64;

/// The real problem of a pair's first product (with the caller's bias and residual) or of its second.
ConvProblem real_problem(const ConvProblem& p, bool is_first) {
  ConvProblem real = p;
  real.dtype = real_dtype(p.dtype);
  if (!is_first) {
    real.has_bias = false;
    real.has_residual = p.pass != Pass::wgrad;
  }
  return real;
}

bool has_kernel(const ConvProblem& problem, const Device& device) {
  return std::any_of(all_kernels().begin(), all_kernels().end(),
                     [&](const Kernel* kernel) { return kernel->supports(problem, device).ok; });
}

enum class Part : int { re, im };

/// The real or imaginary parts of a complex tensor.
TensorView part_of(const TensorView& view, Part part) {
  if (!view.defined()) return {};
  TensorView real = view;
  real.dtype = real_dtype(view.dtype);
  real.data = static_cast<char*>(view.data) + static_cast<int>(part) * size_bytes(real.dtype);
  for (int i = 0; i < view.rank; ++i) real.strides[i] = view.sizes[i] > 1 ? 2 * view.strides[i] : 0;
  return real;
}

std::int64_t weight_bytes(const ConvProblem& p) {
  const std::int64_t bytes =
      p.out_channels * p.in_channels_per_group() * p.kernel_size * size_bytes(real_dtype(p.dtype));
  return (bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
}

/// One complex problem being executed.
class Split {
 public:
  Split(const ConvProblem& p, const Device& device, const ConvTensors& tensors, const LaunchContext& context)
      : problem_(p),
        tensors_(tensors),
        first_(make_plan(real_problem(p, true), device)),
        second_(make_plan(real_problem(p, false), device)),
        spare_w_(TensorView::contiguous(context.workspace, real_dtype(p.dtype),
                                        {p.out_channels, p.in_channels_per_group(), p.kernel_size})),
        real_context_{static_cast<char*>(context.workspace) + weight_bytes(p),
                      context.workspace_bytes - weight_bytes(p), context.parallel} {}

  template <class Real>
  void run() {
    if (problem_.pass == Pass::wgrad) {
      weight_gradient<Real>(Part::re, Part::re, Part::re, 1);
      weight_gradient<Real>(Part::im, Part::im, Part::re, -1);
      return;
    }
    const TensorView w_re = part_of(tensors_.w, Part::re), w_im = part_of(tensors_.w, Part::im);
    for_each_weight<Real>(w_im, [](const Real& w, Real& spare) { spare = -w; });
    if (problem_.pass == Pass::fprop) {
      product_pair(Part::re, Part::re, w_re, Part::im, spare_w_);
      product_pair(Part::im, Part::re, w_im, Part::im, w_re);
    } else {
      product_pair(Part::re, Part::re, w_re, Part::im, w_im);
      product_pair(Part::im, Part::im, w_re, Part::re, spare_w_);
    }
  }

 private:
  /// result part = input part * w + second input part * second w (+ bias and residual).
  void product_pair(Part result, Part input, const TensorView& w, Part second_input, const TensorView& second_w) {
    const bool is_fprop = problem_.pass == Pass::fprop;
    const TensorView& from = is_fprop ? tensors_.x : tensors_.y;
    const TensorView to = part_of(is_fprop ? tensors_.y : tensors_.x, result);
    const auto tensors = [&](Part part, const TensorView& weight) {
      const TensorView operand = part_of(from, part);
      return is_fprop ? ConvTensors{operand, weight, to, {}, {}} : ConvTensors{to, weight, operand, {}, {}};
    };
    ConvTensors call = tensors(input, w);
    call.bias = part_of(tensors_.bias, result);
    call.residual = part_of(tensors_.residual, result);
    execute(first_, call, real_context_);
    call = tensors(second_input, second_w);
    call.residual = to;
    execute(second_, call, real_context_);
  }

  /// dw part = corr(dy part, x part) + sign * corr(the other part of dy, the other part of x); the bias gradient
  /// besides.
  template <class Real>
  void weight_gradient(Part result, Part dy, Part x, int sign) {
    const auto other = [](Part part) { return part == Part::re ? Part::im : Part::re; };
    const TensorView dw = part_of(tensors_.w, result);
    execute(first_, {part_of(tensors_.x, x), dw, part_of(tensors_.y, dy), part_of(tensors_.bias, result), {}},
            real_context_);
    execute(second_, {part_of(tensors_.x, other(x)), spare_w_, part_of(tensors_.y, other(dy)), {}, {}}, real_context_);
    for_each_weight<Real>(dw, [sign](Real& to, const Real& spare) { to += static_cast<Real>(sign) * spare; });
  }

  /// Calls f(element of the view of w's shape, element of spare_w_) for all elements.
  template <class Real, class Function>
  void for_each_weight(const TensorView& view, Function&& f) const {
    for_each_task(*real_context_.parallel, view.sizes[0], [&](std::int64_t o, int) {
      Real* spare = static_cast<Real*>(spare_w_.data) + o * spare_w_.strides[0];
      Real* const row = static_cast<Real*>(view.data) + o * view.strides[0];
      for (std::int64_t i = 0; i < view.sizes[1]; ++i) {
        for (std::int64_t k = 0; k < view.sizes[2]; ++k) f(row[i * view.strides[1] + k * view.strides[2]], *spare++);
      }
    });
  }

  const ConvProblem& problem_;
  const ConvTensors& tensors_;
  const Plan first_, second_;
  const TensorView spare_w_;
  const LaunchContext real_context_;
};

class ComplexSplit final : public Kernel {
 public:
  std::string_view name() const override { return "complex_split"; }

  Support supports(const ConvProblem& p, const Device& device) const override {
    if (device.kind != Device::Kind::cpu) return Support::no("runs on the CPU only");
    if (!is_complex(p.dtype)) {
      return Support::no("for c64 and c128 only, not " + std::string(longconv::name(p.dtype)));
    }
    if (p.activation != Activation::none) {
      return Support::no("complex numbers have no activation " + std::string(longconv::name(p.activation)));
    }
    for (const bool is_first : {true, false}) {
      const ConvProblem real = real_problem(p, is_first);
      if (!has_kernel(real, device)) return Support::no("no kernel does its real parts, " + real.to_string());
    }
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem&, const Device&) const override { return {Config{}}; }

  Estimate estimate(const ConvProblem& p, const Config&, const Device& device) const override {
    Estimate total;
    for (const bool is_first : {true, false}) {
      const Estimate real = make_plan(real_problem(p, is_first), device).chosen.estimate;
      total.bytes += 2 * real.bytes, total.flops += 2 * real.flops, total.seconds += 2 * real.seconds;
    }
    return total;
  }

  std::int64_t workspace_bytes(const ConvProblem& p, const Config&, const Device& device) const override {
    return weight_bytes(p) + std::max(make_plan(real_problem(p, true), device).workspace_bytes(),
                                      make_plan(real_problem(p, false), device).workspace_bytes());
  }

  void launch(const ConvProblem& p, const Config&, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    Split split(p, device, tensors, context);
    if (real_dtype(p.dtype) == DType::f32) {
      split.run<float>();
    } else {
      split.run<double>();
    }
  }
};

}  // namespace

const Kernel& complex_split() {
  static const ComplexSplit kernel;
  return kernel;
}

}  // namespace longconv
