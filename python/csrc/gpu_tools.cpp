// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Operators and the class behind `longconv warmup` and `longconv tune`, and the CUDA engine's switch.
#include "gpu_tools.h"

#include <torch/library.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "arguments.h"
#include "cuda_runtime.h"
#include "forced_plan.h"
#include "longconv/cuda.h"

namespace longconv::torch_binding {

Plan plan_on_gpu(const ConvProblem& problem, std::string_view device) {
  const Device gpu = Device::gpu(device);
  return device.substr(0, 4) == "cuda" ? cuda_plan(problem, gpu) : make_plan(problem, gpu);
}

namespace {

/// The one-line problem that fprop with these arguments has on CUDA; the tensors may be of any device, meta too.
std::string fprop_problem(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                          const OptionalTensor& residual, std::int64_t stride, std::int64_t pad_left,
                          std::int64_t pad_right, StringView pad_mode, std::int64_t dilation, std::int64_t groups,
                          StringView activation, double negative_slope, StringView precision) {
  const auto geometry = make_geometry<std::int64_t>(stride, pad_left, pad_right, pad_mode, dilation, groups, precision);
  ConvProblem problem =
      request_fprop<std::int64_t>(x, weight, bias, residual, geometry, {parse_activation(activation), negative_slope})
          .problem;
  problem.precision = precision_on_cuda(geometry.precision, problem.dtype);
  return problem.to_string();
}

/// Specialisations, those of them that were compiled, seconds of that.
std::tuple<std::int64_t, std::int64_t, double> compile_ahead(StringView problem, StringView device) {
  return with_torch_errors([&] {
    const auto asked = ConvProblem::parse({problem.data(), problem.size()});
    const cuda::WarmupReport report = cuda::compile_ahead(plan_on_gpu(asked, {device.data(), device.size()}));
    return std::tuple<std::int64_t, std::int64_t, double>(report.kernels, report.compiled, report.compile_seconds);
  });
}

struct Tuner final : torch::CustomClassHolder {
  Tuner(const std::string& problem, std::int64_t ordinal)
      : tuner(with_torch_errors(
            [&] { return std::make_unique<cuda::Tuner>(ConvProblem::parse(problem), static_cast<int>(ordinal)); })) {}
  std::unique_ptr<cuda::Tuner> tuner;
};

/// Kernel and config, estimated and measured seconds; fastest first.
std::vector<std::tuple<std::string, double, double>> results(const Tuner& tuner) {
  std::vector<std::tuple<std::string, double, double>> rows;
  for (const Plan::Candidate& candidate : tuner.tuner->results()) {
    const std::string config = candidate.config.to_string();
    rows.emplace_back(std::string(candidate.kernel->name()) + (config.empty() ? "" : " " + config),
                      candidate.estimate.seconds, candidate.measured_seconds);
  }
  return rows;
}

TORCH_LIBRARY_IMPL(longconv, CompositeExplicitAutograd, m) { m.impl("fprop_problem", fprop_problem); }

TORCH_LIBRARY_FRAGMENT(longconv, m) {
  m.def("compile_ahead(str problem, str device) -> (int, int, float)", compile_ahead);
  m.def("reuse_packed_weights(bool enabled) -> ()", reuse_packed_weights);
  m.def("reuses_packed_weights() -> bool", reuses_packed_weights);
  m.def("cache_folder() -> str", [] { return with_torch_errors([] { return cuda::cache_folder(); }); });
  using Self = c10::intrusive_ptr<Tuner>;
  m.class_<Tuner>("Tuner")
      .def(torch::init<std::string, std::int64_t>())
      .def("steps", [](const Self& self) { return std::int64_t{self->tuner->steps()}; })
      .def("step", [](const Self& self) { with_torch_errors([&] { self->tuner->step(); }); })
      .def("results", [](const Self& self) { return with_torch_errors([&] { return results(*self); }); })
      .def("remember", [](const Self& self) { return with_torch_errors([&] { return self->tuner->remember(); }); });
}

}  // namespace
}  // namespace longconv::torch_binding
