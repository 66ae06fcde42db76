// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// out= under torch.compile and torch.func.functionalize: the result of the functional operator takes out's place.
#include "compat.h"

#if LONGCONV_TORCH_AT_LEAST(2, 1)
#include <ATen/FunctionalTensorWrapper.h>
#include <torch/library.h>

#include "ops.h"

namespace longconv::torch_binding {
namespace {

namespace functional = at::functionalization::impl;

/// The tensor inside of a functional wrapper, with pending mutations applied; other tensors as they are.
at::Tensor unwrap(const at::Tensor& tensor) {
  if (!functional::isFunctionalTensor(tensor)) return tensor;
  functional::sync(tensor);
  return functional::from_functional_tensor(tensor);
}

OptionalTensor unwrap(const OptionalTensor& tensor) {
  return tensor.has_value() && tensor->defined() ? OptionalTensor(unwrap(*tensor)) : OptionalTensor();
}

/// out = compute(), which is called below functionalization, on unwrapped tensors.
template <class Compute>
at::Tensor& write_functional(const char* op, at::Tensor& out, Compute&& compute) {
  TORCH_CHECK(functional::isFunctionalTensor(out), op,
              ": out was made outside of functionalize() and cannot be written inside of it");
  const at::Tensor result = [&] {
    const at::AutoDispatchSkipFunctionalize guard;
    return compute();
  }();
  TORCH_CHECK(out.scalar_type() == result.scalar_type(), "Expected out tensor to have dtype ", result.scalar_type(),
              ", but got ", out.scalar_type(), " instead");
  TORCH_CHECK(out.sym_sizes() == result.sym_sizes(), op, ": expected out of size ", result.sym_sizes(),
              " while tracing (it cannot be resized there), but got ", out.sym_sizes());
  functional::replace_(out, result);
  functional::commit_update(out);
  functional::sync(out);
  return out;
}

at::Tensor& fprop_out_functionalize(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                                    const OptionalTensor& residual, std::int64_t stride, SymInt pad_left,
                                    SymInt pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                                    StringView activation, double negative_slope, StringView precision,
                                    at::Tensor& out) {
  return write_functional("longconv::fprop.out", out, [&] {
    return fprop_op().call(unwrap(x), unwrap(weight), unwrap(bias), unwrap(residual), stride, pad_left, pad_right,
                           pad_mode, dilation, groups, activation, negative_slope, precision);
  });
}

at::Tensor& dgrad_out_functionalize(const at::Tensor& grad_y, const at::Tensor& weight, SymInt length,
                                    std::int64_t stride, SymInt pad_left, SymInt pad_right, StringView pad_mode,
                                    std::int64_t dilation, std::int64_t groups, StringView precision,
                                    const OptionalTensor& bias, const OptionalTensor& residual, at::Tensor& out) {
  return write_functional("longconv::dgrad.out", out, [&] {
    return dgrad_op().call(unwrap(grad_y), unwrap(weight), length, stride, pad_left, pad_right, pad_mode, dilation,
                           groups, precision, unwrap(bias), unwrap(residual));
  });
}

TORCH_LIBRARY_IMPL(longconv, Functionalize, m) {
  m.impl("fprop.out", TORCH_FN(fprop_out_functionalize));
  m.impl("dgrad.out", TORCH_FN(dgrad_out_functionalize));
}

}  // namespace
}  // namespace longconv::torch_binding
#endif
