// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The transposed convolution, which is dgrad run forward: PyTorch's sizes become dgrad's. Composed of operators that
/// know every dispatch key, so that it needs no kernel of its own for any.
#include <ATen/ops/cat.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <cmath>

#include "ops.h"

namespace longconv::torch_binding {
namespace {

constexpr const char* kName = "conv_transpose1d";

/// As a caller of PyTorch's function says it.
struct Sizes {
  std::int64_t stride;
  SymInt padding, output_padding;
  std::int64_t groups, dilation;
};

/// As dgrad wants it: a length whose convolution has as many outputs as the input has samples. An output_padding below
/// the stride gives one. With more (allowed below the dilation) the convolution is padded less at its end by whole
/// strides; where it was padded too little for that, the last samples of the result are ones that no tap reaches.
struct DgradSizes {
  SymInt length, pad_right;
  SymInt unreached;  ///< samples of the result behind dgrad's
};

void check_tensors(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& residual) {
  TORCH_CHECK(input.dim() == 3 || input.dim() == 2, "Expected 2D (unbatched) or 3D (batched) input to ", kName,
              ", but got input of size: ", symbolic_sizes(input));
  TORCH_CHECK(weight.dim() == 3, kName, ": expected 3D weight, (C, O / groups, K), but got weight of size ",
              symbolic_sizes(weight));
  TORCH_CHECK(input.dim() == 3 || !residual.has_value() || residual->dim() == 2, kName,
              ": input is unbatched, expected 2D residual, (O, S), but got residual of size ",
              symbolic_sizes(*residual));
}

void check_sizes(const at::Tensor& input, const at::Tensor& weight, const Sizes& s) {
  TORCH_CHECK(s.groups > 0, "non-positive groups is not supported, got groups=", s.groups);
  TORCH_CHECK(s.stride > 0, "non-positive stride is not supported, got stride=", s.stride);
  TORCH_CHECK(s.dilation > 0, "non-positive dilation is not supported, got dilation=", s.dilation);
  TORCH_CHECK(s.padding >= 0, "negative padding is not supported, got padding=", s.padding);
  TORCH_CHECK(s.output_padding >= 0, "negative output_padding is not supported, got output_padding=", s.output_padding);
  TORCH_CHECK(s.output_padding < s.stride || s.output_padding < s.dilation,
              "output padding must be smaller than either stride or dilation, but got output_padding=",
              s.output_padding, ", stride=", s.stride, ", dilation=", s.dilation);
  const auto check = [&](bool holds, const auto&... expected) {
    TORCH_CHECK(holds, "Given transposed=1, groups=", s.groups, ", weight of size ", symbolic_sizes(weight),
                ", expected ", expected...);
  };
  const std::int64_t channels = number(weight, 0), got_channels = number(input, input.dim() - 2);
  check(channels > 0 && number(weight, 1) > 0 && number(weight, 2) > 0, "weight to have channels and taps");
  check(channels % s.groups == 0, "weight to be divisible by ", s.groups, " at dimension 0");
  check(got_channels == channels, "input", symbolic_sizes(input), " to have ", channels, " channels, but got ",
        got_channels, " channels instead");
  check(symbolic_size(input, input.dim() - 1) > 0, "input", symbolic_sizes(input), " to have samples");
  const auto samples = known(symbolic_size(input, input.dim() - 1)), padding = known(s.padding);
  const double reach = static_cast<double>(number(weight, 2)) * static_cast<double>(s.dilation) +
                       static_cast<double>(samples.value_or(1)) * static_cast<double>(s.stride) +
                       2 * static_cast<double>(padding.value_or(0));
  TORCH_CHECK(reach < std::ldexp(1.0, 62), kName, ": the length of the result does not fit in 63 bits");
}

DgradSizes dgrad_sizes(const at::Tensor& input, const at::Tensor& weight, const Sizes& s) {
  check_sizes(input, weight, s);
  const SymInt samples = symbolic_size(input, input.dim() - 1);
  const SymInt length =
      (samples - 1) * s.stride - s.padding * 2 + s.dilation * (number(weight, 2) - 1) + s.output_padding + 1;
  TORCH_CHECK(length > 0, "Given input size per channel: (", samples, "). Calculated output size per channel: (",
              length, "). Output size is too small");
  const SymInt pad_right = s.padding - s.output_padding / s.stride * s.stride;
  const SymInt unreached = s.output_padding - s.padding - (s.stride - 1);
  DgradSizes sizes{length, pad_right > 0 ? pad_right : SymInt(0), unreached > 0 ? unreached : SymInt(0)};
  sizes.length = length - sizes.unreached;
  return sizes;
}

at::Tensor samples_of(const at::Tensor& tensor, const SymInt& begin, const SymInt& end) {
#if LONGCONV_TORCH_AT_LEAST(2, 0)
  return tensor.slice_symint(2, begin, end);
#else
  return tensor.slice(2, begin, end);
#endif
}

at::Tensor zeros_like(const at::Tensor& tensor, const SymInt& samples) {
#if LONGCONV_TORCH_AT_LEAST(2, 0)
  return tensor.new_zeros_symint({tensor.sym_size(0), tensor.sym_size(1), samples});
#else
  return tensor.new_zeros({tensor.size(0), tensor.size(1), samples});
#endif
}

OptionalTensor batched(const OptionalTensor& tensor, bool is_batched) {
  return is_batched || !tensor.has_value() ? tensor : OptionalTensor(tensor->unsqueeze(0));
}

/// dgrad of batched operands; into `out` if given.
at::Tensor run_dgrad(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     const OptionalTensor& residual, const Sizes& s, const DgradSizes& sizes, StringView precision,
                     at::Tensor* out) {
  const at::Tensor w = weight.is_complex() ? weight.conj() : weight;  // dgrad conjugates, as gradients do
  if (out == nullptr) {
    return dgrad_op().call(input, w, sizes.length, s.stride, s.padding, sizes.pad_right, "zeros", s.dilation, s.groups,
                           precision, bias, residual);
  }
  return dgrad_out_op().call(input, w, sizes.length, s.stride, s.padding, sizes.pad_right, "zeros", s.dilation,
                             s.groups, precision, bias, residual, *out);
}

/// dgrad's result, then samples that no tap reaches: bias and residual alone. Costs a copy of the result.
at::Tensor run_with_unreached(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                              const OptionalTensor& residual, const Sizes& s, const DgradSizes& sizes,
                              StringView precision, at::Tensor* out) {
  OptionalTensor reached;
  if (residual.has_value()) {
    const SymInt samples = symbolic_size(*residual, residual->dim() - 1), expected = sizes.length + sizes.unreached;
    TORCH_CHECK(samples == expected, kName, ": expected residual to have ", expected, " samples, but got ", samples);
    reached = samples_of(*residual, 0, sizes.length);
  }
  const at::Tensor y = run_dgrad(input, weight, bias, reached, s, sizes, precision, nullptr);
  at::Tensor rest = zeros_like(y, sizes.unreached);
  if (bias.has_value()) rest = rest.add(bias->to(y.scalar_type()).unsqueeze(1));
  if (residual.has_value()) {
    rest = rest.add(samples_of(*residual, sizes.length, sizes.length + sizes.unreached).to(y.scalar_type()));
  }
  if (out == nullptr) return at::cat({y, rest}, 2);
  TORCH_CHECK(out->scalar_type() == y.scalar_type(), "Expected out tensor to have dtype ", y.scalar_type(),
              ", but got ", out->scalar_type(), " instead");
  return at::cat_out(*out, {y, rest}, 2);
}

at::Tensor run(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
               const OptionalTensor& residual, const Sizes& s, StringView precision, at::Tensor* out) {
  check_tensors(input, weight, residual);
  const DgradSizes sizes = dgrad_sizes(input, weight, s);
  const bool is_batched = input.dim() == 3;
  const auto of_parts = sizes.unreached > 0 ? &run_with_unreached : &run_dgrad;
  return of_parts(is_batched ? input : input.unsqueeze(0), weight, bias, batched(residual, is_batched), s, sizes,
                  precision, out);
}

at::Tensor conv_transpose1d(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                            const OptionalTensor& residual, std::int64_t stride, SymInt padding, SymInt output_padding,
                            std::int64_t groups, std::int64_t dilation, StringView precision) {
  const at::Tensor y =
      run(input, weight, bias, residual, {stride, padding, output_padding, groups, dilation}, precision, nullptr);
  return input.dim() == 3 ? y : y.squeeze(0);
}

at::Tensor& conv_transpose1d_out(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                                 const OptionalTensor& residual, std::int64_t stride, SymInt padding,
                                 SymInt output_padding, std::int64_t groups, std::int64_t dilation,
                                 StringView precision, at::Tensor& out) {
  const Sizes sizes{stride, padding, output_padding, groups, dilation};
  if (input.dim() == 3) {
    run(input, weight, bias, residual, sizes, precision, &out);
    return out;
  }
  at::Tensor view = out.unsqueeze(0);
  run(input, weight, bias, residual, sizes, precision, &view);
  // The operator may have resized the view, and the memory behind both.
  if (view.dim() != out.dim() + 1 || view[0].sizes() != out.sizes()) out.resize_(view[0].sizes());
  return out;
}

TORCH_LIBRARY_IMPL(longconv, CompositeImplicitAutograd, m) {
  m.impl("conv_transpose1d", TORCH_FN(conv_transpose1d));
  m.impl("conv_transpose1d.out", TORCH_FN(conv_transpose1d_out));
}

#if LONGCONV_TORCH_AT_LEAST(2, 0)
// vmap decomposes nothing that it is not told to.
TORCH_LIBRARY_IMPL(longconv, FuncTorchBatchedDecomposition, m) {
  m.impl("conv_transpose1d", TORCH_FN(conv_transpose1d));
}
#endif

}  // namespace
}  // namespace longconv::torch_binding
