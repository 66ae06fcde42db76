// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The operators' schemas, and those that have no tensors.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <string>
#include <utility>
#include <vector>

#include "gpu_tools.h"
#include "longconv/cuda.h"
#include "longconv/plan.h"
#include "ops.h"

namespace longconv::torch_binding {
namespace {

// Read from the file by python/longconv/_ops.py before it loads the library.
extern "C" __attribute__((used, visibility("default"))) const char longconv_built_for_torch[] =
    "longconv-built-for-torch=" LONGCONV_TORCH_VERSION ";";

template <class Signature>
c10::TypedOperatorHandle<Signature> find(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

template <class Enum>  // PadMode, Activation
StringView text_of(Enum value) {
  const std::string_view text = name(value);
  return StringView(text.data(), text.size());
}

std::string plan(StringView problem, std::int64_t threads, StringView device) {
  TORCH_CHECK(threads >= 0 && threads <= 1 << 20, "longconv::plan: expected threads in [0, 2^20], but got ", threads);
  const bool cpu = device == "cpu";
  TORCH_CHECK(cpu || threads == 0, "longconv::plan: expected no number of threads for a GPU, but got ", threads);
  return with_torch_errors([&] {
    const auto asked = ConvProblem::parse({problem.data(), problem.size()});
    const int count = threads > 0 ? static_cast<int>(threads) : at::get_num_threads();
    return (cpu ? make_plan(asked, Device::host_cpu(count)) : plan_on_gpu(asked, {device.data(), device.size()}))
        .to_string();
  });
}

void add_nvrtc_folders(std::vector<std::string> folders) { cuda::add_nvrtc_folders(folders); }

std::string diagnose_cuda() { return cuda::diagnose().text; }

std::string build_info() {
  return "longconv " LONGCONV_VERSION "\ntorch " LONGCONV_TORCH_VERSION "\ncompiler " LONGCONV_COMPILER "\ndevice " +
         Device::host_cpu(at::get_num_threads()).to_string();
}

#if LONGCONV_TORCH_AT_LEAST(2, 3)
// Any strides of the inputs are read in place, and the result does not depend on them.
#define LONGCONV_TAGS \
  , { at::Tag::pt2_compliant_tag, at::Tag::flexible_layout }
#elif LONGCONV_TORCH_AT_LEAST(2, 2)
#define LONGCONV_TAGS \
  , { at::Tag::pt2_compliant_tag }
#else
#define LONGCONV_TAGS
#endif

#define LONGCONV_FPROP_ARGUMENTS                                                                           \
  "Tensor x, Tensor weight, Tensor? bias, Tensor? residual, int stride, " LONGCONV_SYMINT                  \
  " pad_left, " LONGCONV_SYMINT                                                                            \
  " pad_right, str pad_mode, int dilation, int groups, str activation='none', float negative_slope=0.01, " \
  "str precision='follow'"

#define LONGCONV_DGRAD_ARGUMENTS                                                           \
  "Tensor grad_y, Tensor weight, " LONGCONV_SYMINT " length, int stride, " LONGCONV_SYMINT \
  " pad_left, " LONGCONV_SYMINT                                                            \
  " pad_right, str pad_mode, int dilation, int groups, str precision, Tensor? bias=None, Tensor? residual=None"

#define LONGCONV_TRANSPOSED_ARGUMENTS                                                         \
  "Tensor input, Tensor weight, Tensor? bias, Tensor? residual, int stride, " LONGCONV_SYMINT \
  " padding, " LONGCONV_SYMINT " output_padding, int groups, int dilation, str precision"

TORCH_LIBRARY(longconv, m) {
  m.def("fprop(" LONGCONV_FPROP_ARGUMENTS ") -> Tensor" LONGCONV_TAGS);
  m.def("fprop.out(" LONGCONV_FPROP_ARGUMENTS ", *, Tensor(a!) out) -> Tensor(a!)" LONGCONV_TAGS);
  m.def("fprop_problem(" LONGCONV_FPROP_ARGUMENTS ") -> str");
  m.def("dgrad(" LONGCONV_DGRAD_ARGUMENTS ") -> Tensor" LONGCONV_TAGS);
  m.def("dgrad.out(" LONGCONV_DGRAD_ARGUMENTS ", *, Tensor(a!) out) -> Tensor(a!)" LONGCONV_TAGS);
  m.def(
      "wgrad(Tensor x, Tensor grad_y, int kernel_size, int stride, " LONGCONV_SYMINT " pad_left, " LONGCONV_SYMINT
      " pad_right, str pad_mode, int dilation, int groups, bool bias_grad, str precision, ScalarType? grad_dtype=None) "
      "-> (Tensor, Tensor)" LONGCONV_TAGS);
  m.def("dgrad_through_activation(Tensor grad_y, Tensor y, Tensor weight, " LONGCONV_SYMINT
        " length, int stride, " LONGCONV_SYMINT " pad_left, " LONGCONV_SYMINT
        " pad_right, str pad_mode, int dilation, int groups, str activation, float negative_slope, str precision) "
        "-> Tensor" LONGCONV_TAGS);
  m.def("wgrad_through_activation(Tensor x, Tensor grad_y, Tensor y, int kernel_size, int stride, " LONGCONV_SYMINT
        " pad_left, " LONGCONV_SYMINT
        " pad_right, str pad_mode, int dilation, int groups, bool bias_grad, str activation, float negative_slope, "
        "str precision, ScalarType? grad_dtype=None) -> (Tensor, Tensor)" LONGCONV_TAGS);
  m.def("cast_parameter(Tensor parameter, ScalarType dtype) -> Tensor" LONGCONV_TAGS);
  m.def("conv_transpose1d(" LONGCONV_TRANSPOSED_ARGUMENTS ") -> Tensor" LONGCONV_TAGS);
  m.def("conv_transpose1d.out(" LONGCONV_TRANSPOSED_ARGUMENTS ", *, Tensor(a!) out) -> Tensor(a!)" LONGCONV_TAGS);
  m.def("plan(str problem, int threads, str device='cpu') -> str", plan);
  m.def("add_nvrtc_folders(str[] folders) -> ()", add_nvrtc_folders);
  m.def("diagnose_cuda() -> str", diagnose_cuda);
  m.def("build_info() -> str", build_info);
}

}  // namespace

const c10::TypedOperatorHandle<FpropSignature>& fprop_op() {
  static const auto op = find<FpropSignature>("longconv::fprop");
  return op;
}

const c10::TypedOperatorHandle<FpropOutSignature>& fprop_out_op() {
  static const auto op = find<FpropOutSignature>("longconv::fprop", "out");
  return op;
}

const c10::TypedOperatorHandle<DgradSignature>& dgrad_op() {
  static const auto op = find<DgradSignature>("longconv::dgrad");
  return op;
}

const c10::TypedOperatorHandle<DgradOutSignature>& dgrad_out_op() {
  static const auto op = find<DgradOutSignature>("longconv::dgrad", "out");
  return op;
}

const c10::TypedOperatorHandle<WgradSignature>& wgrad_op() {
  static const auto op = find<WgradSignature>("longconv::wgrad");
  return op;
}

const c10::TypedOperatorHandle<DgradThroughActivationSignature>& dgrad_through_activation_op() {
  static const auto op = find<DgradThroughActivationSignature>("longconv::dgrad_through_activation");
  return op;
}

const c10::TypedOperatorHandle<WgradThroughActivationSignature>& wgrad_through_activation_op() {
  static const auto op = find<WgradThroughActivationSignature>("longconv::wgrad_through_activation");
  return op;
}

const c10::TypedOperatorHandle<CastParameterSignature>& cast_parameter_op() {
  static const auto op = find<CastParameterSignature>("longconv::cast_parameter");
  return op;
}

at::Tensor fprop(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, const Geometry<SymInt>& geometry) {
  return fprop_op().call(x, weight, bias, residual, geometry.stride, geometry.pad_left, geometry.pad_right,
                         text_of(geometry.pad_mode), geometry.dilation, geometry.groups, "none", 0.0,
                         name_of(geometry.precision));
}

at::Tensor dgrad(const at::Tensor& grad_y, const at::Tensor& weight, const OptionalTensor& bias,
                 const OptionalTensor& residual, const SymInt& length, const Geometry<SymInt>& geometry) {
  return dgrad_op().call(grad_y, weight, length, geometry.stride, geometry.pad_left, geometry.pad_right,
                         text_of(geometry.pad_mode), geometry.dilation, geometry.groups, name_of(geometry.precision),
                         bias, residual);
}

std::tuple<at::Tensor, at::Tensor> wgrad(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t kernel_size,
                                         bool bias_grad, const Geometry<SymInt>& geometry,
                                         const OptionalScalarType& grad_dtype) {
  return wgrad_op().call(x, grad_y, kernel_size, geometry.stride, geometry.pad_left, geometry.pad_right,
                         text_of(geometry.pad_mode), geometry.dilation, geometry.groups, bias_grad,
                         name_of(geometry.precision), grad_dtype);
}

at::Tensor dgrad_through_activation(const at::Tensor& grad_y, const at::Tensor& y, const at::Tensor& weight,
                                    const SymInt& length, const Geometry<SymInt>& geometry, const Epilogue& epilogue) {
  return dgrad_through_activation_op().call(grad_y, y, weight, length, geometry.stride, geometry.pad_left,
                                            geometry.pad_right, text_of(geometry.pad_mode), geometry.dilation,
                                            geometry.groups, text_of(epilogue.activation), epilogue.negative_slope,
                                            name_of(geometry.precision));
}

std::tuple<at::Tensor, at::Tensor> wgrad_through_activation(const at::Tensor& x, const at::Tensor& grad_y,
                                                            const at::Tensor& y, std::int64_t kernel_size,
                                                            bool bias_grad, const Geometry<SymInt>& geometry,
                                                            const Epilogue& epilogue,
                                                            const OptionalScalarType& grad_dtype) {
  return wgrad_through_activation_op().call(x, grad_y, y, kernel_size, geometry.stride, geometry.pad_left,
                                            geometry.pad_right, text_of(geometry.pad_mode), geometry.dilation,
                                            geometry.groups, bias_grad, text_of(epilogue.activation),
                                            epilogue.negative_slope, name_of(geometry.precision), grad_dtype);
}

}  // namespace longconv::torch_binding
