// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What launchers say of a layer is what they launch, at every batch and length: on a fake driver.
#include "cuda/layer_launch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "cuda/kernel_source.h"
#include "fakes/fakes.h"
#include "longconv/cuda.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

constexpr const char* kLayers[] = {
    "c64->128 k3 s3 d4 f32",     "c64->128 k3 s3 d4 f32 tf32", "c64->128 k3 f32 bias",  "c64->128 k3 bf16",
    "c256->256 k3 d8 f32 tf32",  "c256->256 k3 d8 f32",        "c256->256 k1 f16 bias", "c512->512 k3 s2 bf16",
    "c128->128 k11 d5 f32 tf32", "c48->96 k8 s4 f32",          "c1->1 k251 f32",        "c1->80 k251 f32 tf32",
    "c4->512 k15 f32",           "c32->64 k40 s17 f32",        "c512->512 k10 s5 bf16",
};

class LayerLaunchTest : public testing::TestWithParam<const char*> {
 protected:
  LayerLaunchTest() : driver_(LONGCONV_FAKE_CUDA_DRIVER) {
    ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
    Compiler::Options options;
    options.driver = &driver_;
    options.cache.folder = folder_.path();
    compiler_ = std::make_unique<Compiler>(std::move(options));
  }
  ~LayerLaunchTest() override { ::unsetenv("LONGCONV_NVRTC"); }

  static fakes::DriverState& gpu() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_CUDA_DRIVER).symbol("fake_driver_state");
    return *static_cast<fakes::DriverState*>(found);
  }

  TemporaryFolder folder_;
  Driver driver_;
  std::unique_ptr<Compiler> compiler_;
};

void expect_step(const LayerStep& step, const ConvProblem& p, const Device& device,
                 const fakes::DriverState::Launch& launch) {
  EXPECT_EQ(step.blocks(p.batch, p.out_length(), device.sm_count), launch.blocks) << step.spec.to_string();
  EXPECT_EQ(step.threads, launch.threads) << step.spec.to_string();
  EXPECT_EQ(step.cluster_blocks, launch.cluster) << step.spec.to_string();
  EXPECT_EQ(step.spec.dynamic_shared_bytes, launch.shared_bytes) << step.spec.to_string();
}

TEST_P(LayerLaunchTest, IsWhatIsLaunched) {
  for (const char* model : {"h100", "a100"}) {
    const Device device = Device::known(model);
    ConvProblem p = ConvProblem::parse(GetParam());
    p.batch = 8;
    p.length_samples = 65539;
    const Plan plan = make_plan(p, device);
    SCOPED_TRACE(plan.to_string());
    const auto& kernel = dynamic_cast<const CudaKernel&>(*plan.chosen.kernel);
    const LayerLaunch layer = kernel.layer_launch(p, plan.chosen.config, device);
    std::vector<LayerStep> steps;
    if (layer.pack) steps.push_back(*layer.pack);
    steps.push_back(layer.main);
    if (layer.repair) steps.push_back(*layer.repair);
    const std::vector<KernelSpec> specs = kernel.specs(p, plan.chosen.config, device);
    ASSERT_EQ(specs.size(), steps.size());
    for (std::size_t i = 0; i < specs.size(); ++i) EXPECT_TRUE(specs[i] == steps[i].spec) << specs[i].to_string();

    for (const std::int64_t batch : {1, 3, 64})
      for (const std::int64_t length : {30000, 4000, 1000, 800}) {
        p.batch = batch;
        p.length_samples = length;
        if (p.out_length() % layer.out_length_multiple != 0) continue;
        std::vector<char> workspace(static_cast<std::size_t>(kernel.workspace_bytes(p, plan.chosen.config, device)) +
                                    256);
        ConvTensors tensors;
        void* const data = reinterpret_cast<void*>(std::uintptr_t{1} << 20);
        tensors.x = TensorView::contiguous(data, p.dtype, {p.batch, p.in_channels, p.length_samples});
        tensors.w = TensorView::contiguous(data, p.dtype, {p.out_channels, p.in_channels, p.kernel_size});
        tensors.y = TensorView::contiguous(data, p.dtype, {p.batch, p.out_channels, p.out_length()});
        if (p.has_bias) tensors.bias = TensorView::vector(data, p.dtype, p.out_channels);
        LaunchContext context;
        context.workspace = workspace.data();
        context.workspace_bytes = static_cast<std::int64_t>(workspace.size());
        context.compiler = compiler_.get();
        const int before = gpu().launches;
        kernel.launch(p, plan.chosen.config, device, tensors, context);
        ASSERT_EQ(gpu().launches - before, static_cast<int>(steps.size()));
        for (std::size_t i = 0; i < steps.size(); ++i)
          expect_step(steps[i], p, device, gpu().history[(before + static_cast<int>(i)) % gpu().kHistory]);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, LayerLaunchTest, testing::ValuesIn(kLayers));

TEST(DescribeLayer, HoldsEverySourceThatIsIncluded) {
  for (const char* model : {"h100", "a100"}) {
    const std::string text = describe_layer(ConvProblem::parse("n8 c64->128 l9999 k3 f32"), Device::known(model));
    for (const char* name : {"conv/direct_fprop.cuh", "ptx/types.cuh", "tile/common.cuh"})
      EXPECT_NE(text.find('"' + std::string(name) + "\":\""), std::string::npos) << name;
    EXPECT_NE(text.find("\"length\":9999"), std::string::npos);
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

TEST(DescribeLayer, RefusesWhatAFileDoesNotHave) {
  for (const char* problem : {"l99 k3 p1", "c2->2 g2 l99", "l99 residual", "l99 relu", "l99 f64", "dgrad l99"})
    EXPECT_THROW(describe_layer(ConvProblem::parse(problem), Device::known("h100")), Error) << problem;
  EXPECT_THROW(describe_layer(ConvProblem::parse("l99"), Device::host_cpu(1)), Error);
}

}  // namespace
}  // namespace longconv::cuda
