// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What launchers say of a layer's passes is what they launch, at every batch and length: on a fake driver.
#include "cuda/layer_launch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "cuda/kernel_source.h"
#include "cuda/wgrad_common.h"
#include "fakes/fakes.h"
#include "longconv/cuda.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

constexpr const char* kLayers[] = {
    "c64->128 k3 s3 d4 f32",     "c64->128 k3 s3 d4 f32 tf32", "c64->128 k3 f32 bias",  "c64->128 k3 bf16",
    "c256->256 k3 d8 f32 tf32",  "c256->256 k3 d8 f32",        "c256->256 k1 f16 bias", "c512->512 k3 s2 bf16",
    "c128->128 k11 d5 f32 tf32", "c48->96 k8 s4 f32",          "c1->1 k251 f32",        "c1->80 k251 f32 tf32",
    "c4->512 k15 f32",           "c32->64 k40 s17 f32",        "c512->512 k10 s5 bf16", "c64->64 k3 d2 bf16 bias",
    "c64->32 k2 s4 f32 tf32",    "c96->96 k2 s2 f16",          "c5000->4000 k1 f32",
};

/// Pass, layer.
class LayerLaunchTest : public testing::TestWithParam<std::tuple<Pass, const char*>> {
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

/// The problem's rows and their lengths, as LayerStep::blocks() takes them.
std::pair<std::int64_t, std::int64_t> grid_of(const LayerLaunch& layer, const ConvProblem& p) {
  if (p.pass == Pass::fprop) return {p.batch, p.out_length()};
  if (p.pass == Pass::dgrad) return {p.batch, p.length_samples};
  return {layer.sums.splits_of(p.batch * ceil_div(p.out_length(), layer.sums.chunk_steps)), 1};
}

/// The steps of this batch and length.
std::vector<LayerStep> steps_of(const LayerLaunch& layer, const ConvProblem& p) {
  std::vector<LayerStep> steps;
  if (layer.pack) steps.push_back(*layer.pack);
  steps.push_back(layer.main);
  const bool ragged = p.pass == Pass::wgrad && p.out_length() % layer.sums.chunk_steps != 0;
  if (layer.repair && (p.pass != Pass::wgrad || layer.sums.repair == LayerSums::Repair::always ||
                       (ragged && layer.sums.repair == LayerSums::Repair::ragged)))
    steps.push_back(*layer.repair);
  if (layer.edges && PolyphaseProblem(p).pad_code == 1) steps.push_back(*layer.edges);
  if (layer.reduce) steps.push_back(*layer.reduce);
  return steps;
}

/// The plan's config for a sum of this batch and length.
Config config_of(const LayerLaunch& layer, const ConvProblem& p, Config config) {
  for (auto& [name, value] : config.values)
    if (p.pass == Pass::wgrad && std::string(name) == "splits") value = grid_of(layer, p).first;
  return config;
}

/// same: the launch is of the same specialisation. At some lengths the library has a quicker one.
void expect_step(const LayerStep& step, std::pair<std::int64_t, std::int64_t> grid, const Device& device,
                 const fakes::DriverState::Launch& launch, bool same) {
  EXPECT_EQ(step.blocks(grid.first, grid.second, device.sm_count), launch.blocks) << step.spec.to_string();
  EXPECT_EQ(step.threads, launch.threads) << step.spec.to_string();
  EXPECT_EQ(step.cluster_blocks, launch.cluster) << step.spec.to_string();
  if (same) {
    EXPECT_EQ(step.spec.dynamic_shared_bytes, launch.shared_bytes) << step.spec.to_string();
  }
}

TEST_P(LayerLaunchTest, IsWhatIsLaunched) {
  for (const char* model : {"h100", "a100"}) {
    const Device device = Device::known(model);
    ConvProblem p = ConvProblem::parse(std::get<1>(GetParam()));
    p.pass = std::get<0>(GetParam());
    p.has_bias = p.has_bias && p.pass != Pass::dgrad;
    p.batch = 8;
    p.length_samples = p.stride > 4 && p.pass == Pass::fprop ? 524291 : 65539;  // many tiles
    while (PolyphaseProblem(p).pad_code != of_any_length(p).pad_code) ++p.length_samples;
    const Plan plan = make_plan(p, device);
    SCOPED_TRACE(plan.to_string());
    const auto& kernel = dynamic_cast<const CudaKernel&>(*plan.chosen.kernel);
    const LayerLaunch layer = kernel.layer_launch(p, plan.chosen.config, device);
    EXPECT_EQ((p.pass == Pass::dgrad ? p.length_samples : p.out_length()) % layer.out_length_multiple, 0);
    EXPECT_EQ(p.length_samples % layer.length_multiple, 0);
    const std::vector<LayerStep> planned = steps_of(layer, p);
    const std::vector<KernelSpec> specs = kernel.specs(p, plan.chosen.config, device);
    ASSERT_EQ(specs.size(), planned.size());
    for (std::size_t i = 0; i < specs.size(); ++i) EXPECT_TRUE(specs[i] == planned[i].spec) << specs[i].to_string();

    for (const std::int64_t batch : {1, 3, 64})
      for (const std::int64_t length : {900000, 30000, 4000, 1000, 803, 801}) {
        p.batch = batch;
        p.length_samples = length;
        if ((p.pass == Pass::dgrad ? length : p.out_length()) % layer.out_length_multiple != 0) continue;
        if (length % layer.length_multiple != 0) continue;
        const Config config = config_of(layer, p, plan.chosen.config);
        std::vector<LayerStep> steps = steps_of(layer, p);
        const std::int64_t bytes = kernel.workspace_bytes(p, config, device);
        const std::unique_ptr<char[]> workspace(new char[static_cast<std::size_t>(bytes) + 1]);
        const std::int64_t chunks =
            p.batch * ceil_div(p.out_length(), std::max<std::int64_t>(1, layer.sums.chunk_steps));
        if (p.pass == Pass::wgrad && layer.reduce) {
          const std::int64_t splits = layer.sums.splits_of(chunks);
          const bool carries = layer.sums.carry_chunks > 0 && ceil_div(chunks, splits) > layer.sums.carry_chunks;
          EXPECT_EQ(bytes, WgradLayout(p, splits).workspace_bytes() +
                               (carries ? round_up(splits * layer.sums.carry_bytes, 256) : 0));
        }
        ConvTensors tensors;
        void* const data = reinterpret_cast<void*>(std::uintptr_t{1} << 20);
        tensors.x = TensorView::contiguous(data, p.dtype, {p.batch, p.in_channels, p.length_samples});
        tensors.w = TensorView::contiguous(data, p.dtype, {p.out_channels, p.in_channels, p.kernel_size});
        tensors.y = TensorView::contiguous(data, p.dtype, {p.batch, p.out_channels, p.out_length()});
        if (p.has_bias) tensors.bias = TensorView::vector(data, p.dtype, p.out_channels);
        LaunchContext context;
        context.workspace = workspace.get();
        context.workspace_bytes = bytes;
        context.compiler = compiler_.get();
        const int before = gpu().launches;
        kernel.launch(p, config, device, tensors, context);
        const std::vector<KernelSpec> here = kernel.specs(p, config, device);
        // Blocks that have few tiles repair their own; an ejected file launches the repair for any number.
        if (layer.repair && layer.packed.redo_tiles > 0 && here.size() + 1 == steps.size()) {
          steps.erase(steps.begin() + 2);
          steps[1].spec = here[1];
        }
        ASSERT_EQ(gpu().launches - before, static_cast<int>(steps.size()));
        for (std::size_t i = 0; i < steps.size(); ++i)
          expect_step(steps[i], grid_of(layer, p), device,
                      gpu().history[(before + static_cast<int>(i)) % gpu().kHistory],
                      std::find(here.begin(), here.end(), steps[i].spec) != here.end());
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, LayerLaunchTest,
                         testing::Combine(testing::Values(Pass::fprop, Pass::dgrad, Pass::wgrad),
                                          testing::ValuesIn(kLayers)));

TEST(LayerSums, SplitsAreFewWhereChunksAreAndManyWhereTheyWouldBeTooLong) {
  LayerSums sums;
  sums.splits = 132;
  EXPECT_EQ(sums.splits_of(1), 1);
  EXPECT_EQ(sums.splits_of(131), 131);
  EXPECT_EQ(sums.splits_of(1000000), 132);
  sums.most_chunks = 1000;
  EXPECT_EQ(sums.splits_of(132000), 132);
  EXPECT_EQ(sums.splits_of(132001), 133);
}

TEST(DescribeLayer, HoldsEverySourceThatIsIncluded) {
  for (const char* model : {"h100", "a100"}) {
    const std::string text = describe_layer(ConvProblem::parse("n8 c64->128 l9999 k3 f32"), Device::known(model));
    for (const char* name : {"conv/direct_fprop.cuh", "ptx/types.cuh", "tile/common.cuh"})
      EXPECT_NE(text.find('"' + std::string(name) + "\":\""), std::string::npos) << name;
    EXPECT_NE(text.find("\"length\":9999"), std::string::npos);
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
}

TEST(LayerLaunch, AFileHasTheBestKernelThatIsALayer) {
  const auto problem = ConvProblem::parse("wgrad n16 c256->256 l131072 k1 bf16");
  EXPECT_EQ(make_plan(problem, Device::known("h100")).chosen.kernel->name(), "dense_wgrad_tma_sm90");
  EXPECT_NE(describe_layer(problem, Device::known("h100")).find("\"dense_wgrad_sm90\""), std::string::npos);
}

TEST(DescribeLayer, RefusesWhatAFileDoesNotHave) {
  for (const char* problem : {"l99 k3 p1", "c2->2 g2 l99", "l99 residual", "l99 relu", "l99 f64",
                              "wgrad l99 f32_result bf16", "dgrad l99 bias"})
    EXPECT_THROW(describe_layer(ConvProblem::parse(problem), Device::known("h100")), Error) << problem;
  EXPECT_THROW(describe_layer(ConvProblem::parse("l99"), Device::host_cpu(1)), Error);
}

}  // namespace
}  // namespace longconv::cuda
