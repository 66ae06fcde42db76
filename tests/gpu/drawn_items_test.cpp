// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Blocks of the Hopper kernels that draw their items from a counter (kernels/tile/drawn_items.cuh).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/layer_launch.h"
#include "support/trial.h"

namespace longconv::testing {
namespace {

constexpr int kHopper = 90;

struct Case {
  const char *kernel, *problem;
};

class DrawnItems : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (gpu_for(kHopper) < 0) GTEST_SKIP() << "no GPU of compute capability 9.0";
    // With {n}: so large a batch that every block has more items than the fixed ones.
    problem_ = GetParam().problem;
    const Device device = device_of({.problem = ConvProblem::parse("n1 c16->16 l100 k1 bf16"), .capability = kHopper});
    const std::string batch = std::to_string(12 * device.sm_count);
    problem_.replace(problem_.find("{n}"), 3, "n" + batch);
  }
  Trial make() const {
    return {.problem = ConvProblem::parse(problem_), .kernel = GetParam().kernel, .capability = kHopper};
  }

  std::string problem_;
};

TEST_P(DrawnItems, ResultsAreRight) {
  Trial trial = make();
  for (const Values values : kValues) {
    trial.values = values;
    trial.kept_weights = !trial.kept_weights;
    EXPECT_EQ(run_trial(trial), "");
  }
}

/// Of one launch on zeros, in a workspace full of ones.
TEST_P(DrawnItems, TheCounterSaysThatTheyWereDrawn) {
  const Plan plan = plan_of(make());
  const ConvProblem& p = plan.problem;
  const auto& kernel = dynamic_cast<const cuda::CudaKernel&>(*plan.chosen.kernel);
  const cuda::LayerLaunch layer = kernel.layer_launch(p, plan.chosen.config, plan.device);
  cuda::Compiler& compiler = cuda::Compiler::instance();
  const cuda::Driver& driver = compiler.driver();
  const cuda::ContextScope scope(driver, compiler.context(plan.device.ordinal));
  const cuda::Stream stream(driver);
  const auto bytes = [&](std::int64_t elements) { return static_cast<std::size_t>(elements * size_bytes(p.dtype)); };
  const cuda::DeviceBuffer x(driver, bytes(p.batch * p.in_channels * p.length_samples));
  const cuda::DeviceBuffer y(driver, bytes(p.batch * p.out_channels * p.out_length()));
  const cuda::DeviceBuffer w(driver, bytes(p.out_channels * p.in_channels / p.groups * p.kernel_size));
  for (const cuda::DeviceBuffer* buffer : {&x, &y, &w}) buffer->fill(0, stream);
  const cuda::DeviceBuffer workspace(driver, static_cast<std::size_t>(plan.workspace_bytes()));
  workspace.fill(0xff, stream);
  ConvTensors tensors;
  tensors.x = TensorView::contiguous(x.data(), p.dtype, {p.batch, p.in_channels, p.length_samples});
  tensors.y = TensorView::contiguous(y.data(), p.dtype, {p.batch, p.out_channels, p.out_length()});
  tensors.w = TensorView::contiguous(w.data(), p.dtype, {p.out_channels, p.in_channels / p.groups, p.kernel_size});
  LaunchContext context;
  context.workspace = workspace.data();
  context.workspace_bytes = plan.workspace_bytes();
  context.stream = stream.get();
  execute(plan, tensors, context);
  std::vector<std::uint32_t> words(workspace.size_bytes() / 4);
  workspace.download(words.data(), words.size() * 4, stream);
  stream.synchronize();

  const bool is_dgrad = p.pass == Pass::dgrad;
  const std::int64_t written = is_dgrad ? p.length_samples : p.out_length();
  const std::int64_t tiles = p.batch * p.groups * ((written + layer.main.tile_steps - 1) / layer.main.tile_steps);
  const std::int64_t redo_words = layer.repair ? (tiles + 31) / 32 : 0;
  const std::int64_t drawn = words[static_cast<std::size_t>(layer.packed.packed_bytes() / 4 + redo_words)];
  const std::int64_t items = tiles * layer.main.items_per_tile, blocks = plan.device.sm_count;
  ASSERT_GT(items, 6 * blocks) << "the case is too small";
  EXPECT_GT(drawn, blocks) << plan.chosen.config.to_string();
  EXPECT_LE(drawn, items) << plan.chosen.config.to_string();
}

constexpr Case kCases[] = {
    {"dense_fprop_sm90", "{n} c16->16 l400 k3 bf16"},
    {"dense_fprop_sm90", "{n} c40->70 l300 k2 d3 p2 f32 tf32"},
    {"dense_fprop_sm90", "{n} c32->24 l301 k3 s2 f16"},
    {"dense_fprop_split_sm90", "{n} c20->140 l140 k1 f32"},
    {"dense_fprop_split_sm90", "{n} c33->30 l300 k3 p1 f32 relu"},
    {"dense_dgrad_split_sm90", "dgrad {n} c24->40 l310 k3 s2 f32"},
    {"dense_dgrad_sm90", "dgrad {n} c40->24 l300 k4 p1 bf16"},
};
INSTANTIATE_TEST_SUITE_P(Kernels, DrawnItems, ::testing::ValuesIn(kCases), [](const auto& info) {
  return std::string(info.param.kernel) + "_" + std::to_string(info.index);
});

}  // namespace
}  // namespace longconv::testing
