// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// `longconv doctor` and warm-up, on the fake driver and NVRTC.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "cuda/cuda_kernel.h"
#include "cuda/doctor.h"
#include "cuda/layer_launch.h"
#include "fakes/fakes.h"
#include "longconv/cuda.h"
#include "support/child_process.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// "usable" or "not usable" and the report, in a child whose environment and fake driver are changed first.
template <typename Change>
std::string doctor(Change change) {
  TemporaryFolder cache;
  return in_child([&]() -> std::string {
    ::setenv("LONGCONV_CUDA_DRIVER", LONGCONV_FAKE_CUDA_DRIVER, 1);
    ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
    ::setenv("LONGCONV_CACHE_DIR", cache.path().c_str(), 1);
    void* symbol = DynamicLibrary::open(LONGCONV_FAKE_CUDA_DRIVER).symbol("fake_driver_state");
    auto& state = *static_cast<fakes::DriverState*>(symbol);
    change(state);
    const Diagnosis diagnosis = diagnose();
    std::string text = (diagnosis.usable ? "usable\n" : "not usable\n") + diagnosis.text;
    if (state.allocations_alive != 0) text += "leaks device memory\n";
    return text;
  });
}

TEST(Doctor, AllIsWell) {
  const std::string text = doctor([](fakes::DriverState&) {});
  EXPECT_EQ(text.rfind("usable\n", 0), 0u) << text;
  for (const char* part :
       {"driver   for CUDA 12.4, 2 GPUs, ", "nvrtc    version 12.4 for compute capabilities 80 86 89 90, ", "cache    ",
        "0 kernels, 0.0 MiB of at most 512", "gpu 0    cuda 0 NVIDIA H100", "gpu 1    cuda 1 NVIDIA H100",
        "kernels for sm_90a, self-test passed"}) {
    EXPECT_TRUE(contains(text, part)) << part << " in\n" << text;
  }
  EXPECT_FALSE(contains(text, "PROBLEM") || contains(text, "leaks")) << text;
}

TEST(Doctor, TellsWhatIsWrong) {
  struct Case {
    void (*change)(fakes::DriverState&);
    const char* part;
  };
  const Case cases[] = {
      {[](fakes::DriverState& s) { s.wrong_results = true; }, "PROBLEM: the self-test computed 0.0000"},
      {[](fakes::DriverState& s) { s.launch_result = CUDA_ERROR_LAUNCH_FAILED; }, "PROBLEM: cuLaunchKernel failed"},
      {[](fakes::DriverState& s) { s.device_count = 0; }, "0 GPUs"},
      {[](fakes::DriverState& s) { s.version = 11000; }, "driver   PROBLEM: the CUDA driver"},
      {[](fakes::DriverState&) { ::setenv("LONGCONV_NVRTC", "/nowhere", 1); },
       "nvrtc    PROBLEM: LONGCONV_NVRTC=/nowhere"},
      {[](fakes::DriverState&) { ::setenv("LONGCONV_CUDA_DRIVER", "/nowhere", 1); },
       "driver   PROBLEM: no CUDA driver"},
      {[](fakes::DriverState&) { ::setenv("LONGCONV_CACHE_MAX_MIB", "x", 1); },
       "cache    PROBLEM: LONGCONV_CACHE_MAX_MIB"}};
  for (const Case& c : cases) {
    const std::string text = doctor(c.change);
    EXPECT_EQ(text.rfind("not usable\n", 0), 0u) << text;
    EXPECT_TRUE(contains(text, c.part)) << c.part << " in\n" << text;
    EXPECT_FALSE(contains(text, "leaks")) << text;
  }
  const std::string memory = doctor([](fakes::DriverState&) { ::setenv("LONGCONV_CACHE_DIR", "/dev/null/x", 1); });
  EXPECT_EQ(memory.rfind("usable\n", 0), 0u) << memory;
  EXPECT_TRUE(contains(memory, "kept in memory only: cannot make the folder /dev/null/x")) << memory;
}

/// A kernel with a packer, as launchers have.
class TwoSpecs : public CudaKernel {
 public:
  std::string_view name() const override { return "two_specs"; }
  Support supports(const ConvProblem&, const Device&) const override { return Support::yes(); }
  std::vector<Config> configs(const ConvProblem&, const Device&) const override { return {Config{}}; }
  Estimate estimate(const ConvProblem&, const Config&, const Device&) const override { return {}; }
  std::int64_t workspace_bytes(const ConvProblem&, const Config&, const Device&) const override { return 0; }
  void launch(const ConvProblem&, const Config&, const Device&, const ConvTensors&,
              const LaunchContext&) const override {}
  std::vector<KernelSpec> specs(const ConvProblem& problem, const Config&, const Device&) const override {
    KernelSpec spec;
    spec.file = "selftest.cuh";
    spec.entry = "self_test";
    KernelSpec other = spec;
    other.defines = {{"VARIANT", problem.kernel_size}};
    return {spec, other};
  }
  LayerLaunch layer_launch(const ConvProblem&, const Config&, const Device&) const override { return {}; }
};

TEST(Warmup, CompilesIntoTheCacheWithoutAGpu) {
  TemporaryFolder cache;
  EXPECT_EQ(in_child([&]() -> std::string {
              ::setenv("LONGCONV_CUDA_DRIVER", "/nowhere", 1);
              ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
              Compiler::Options options;
              options.cache.folder = cache.path();
              Compiler compiler(std::move(options));
              const TwoSpecs kernel;
              Plan plan;
              plan.device = Device::known("h100");
              plan.chosen.kernel = &kernel;
              std::string text;
              for (int i = 0; i < 2; ++i) {
                const WarmupReport report = compile_ahead(plan, &compiler);
                text += std::to_string(report.kernels) + " " + std::to_string(report.compiled) + ", ";
              }
              return text + std::to_string(compiler.cache().status().entries);
            }),
            "2 2, 2 0, 2");
  const Plan cpu = make_plan(ConvProblem::parse("n1 c1->1 l9 k3 i64"), Device::host_cpu(1));
  EXPECT_EQ(compile_ahead(cpu).kernels, 0);
}

}  // namespace
}  // namespace longconv::cuda
