// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Packed weights that callers keep, and what the weight packers leave for the launches after them: flags and a clear
/// state, whatever the memory held before.
#include "cuda/packed_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/layer_launch.h"
#include "support/trial.h"

namespace longconv::testing {
namespace {

struct Case {
  const char *kernel, *problem;
  int capability;
};

class PackedWeights : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (gpu_for(GetParam().capability) < 0) GTEST_SKIP() << "no GPU of its compute capability";
  }
  static Trial make() {
    return {.problem = ConvProblem::parse(GetParam().problem),
            .kernel = GetParam().kernel,
            .capability = GetParam().capability,
            .kept_weights = true};
  }
};

TEST_P(PackedWeights, AreRightWhenKept) {
  Trial trial = make();
  for (const Values values : kValues) {
    trial.values = values;
    EXPECT_EQ(run_trial(trial), "");
  }
}

TEST_P(PackedWeights, AreRightWhenKeptThoughNotFinite) {
  for (const long double special : {static_cast<long double>(INFINITY), static_cast<long double>(NAN)}) {
    for (const bool last : {false, true}) {
      const Trial trial = make();
      TestTensors tensors = make_tensors(trial);
      tensors.w.set(last ? tensors.w.element_count() - 1 : 0, special);
      EXPECT_EQ(run_trial(trial, tensors), "") << static_cast<double>(special) << (last ? " last" : " first");
    }
  }
}

constexpr Case kCases[] = {
    {"dense_fprop_sm90", "n1 c34->70 l300 k3 p1 g2 bf16", 90},
    {"dense_fprop_sm90", "n2 c20->70 l200 k3 p1 f32 tf32", 90},
    {"dense_fprop_split_sm90", "n1 c34->140 l300 k3 p1 g2 f32 bias", 90},
    {"dense_dgrad_split_sm90", "dgrad n1 c40->20 l300 k4 s2 p1 f32", 90},
    {"dense_fprop_sm80", "n1 c40->70 l300 k3 p1 g2 f16", 80},
    {"dense_fprop_sm80", "n1 c34->140 l300 k3 p1 g2 f32 bias", 80},
    {"dense_dgrad_sm80", "dgrad n1 c40->20 l300 k4 s2 p1 f32", 80},
};
INSTANTIATE_TEST_SUITE_P(Kernels, PackedWeights, ::testing::ValuesIn(kCases), [](const auto& info) {
  return std::string(info.param.kernel) + "_" + std::to_string(info.index);
});

/// What a packer wrote: flags, and the launch's state with a word behind it.
struct Written {
  std::vector<std::uint32_t> flags, state;
};

/// Packs (out, in, tap) weights by the layer's packer, on memory full of ones.
Written pack(const Plan& plan, const std::vector<unsigned char>& weights) {
  cuda::Compiler& compiler = cuda::Compiler::instance();
  const cuda::Driver& driver = compiler.driver();
  const auto& kernel = dynamic_cast<const cuda::CudaKernel&>(*plan.chosen.kernel);
  const ConvProblem& p = plan.problem;
  cuda::LayerLaunch layer = kernel.layer_launch(p, plan.chosen.config, plan.device);
  const cuda::PackedLayout& layout = layer.packed;
  const cuda::ContextScope scope(driver, compiler.context(plan.device.ordinal));
  const cuda::Stream stream(driver);
  const cuda::DeviceBuffer w(driver, weights.size());
  w.upload(weights.data(), weights.size(), stream);
  const cuda::DeviceBuffer memory(driver, static_cast<std::size_t>(layout.workspace_bytes() + 256));
  memory.fill(0xff, stream);
  LaunchContext context;
  context.workspace = memory.data();
  const cuda::PackedMemory where(layout, context);
  const TensorView view = TensorView::contiguous(w.data(), p.dtype, {p.out_channels, p.in_channels, p.kernel_size});
  cuda::prepare_packed(driver, compiler.get_function(plan.device.ordinal, layer.pack->spec), view, layout, where,
                       stream.get(), layer.pack->fixed_blocks, static_cast<int>(layer.pack->threads));
  std::vector<unsigned char> bytes(memory.size_bytes());
  memory.download(bytes.data(), bytes.size(), stream);
  stream.synchronize();
  const auto words = [&](const char* from, std::int64_t count) {
    std::vector<std::uint32_t> out(static_cast<std::size_t>(count));
    std::memcpy(out.data(), bytes.data() + (from - memory.as<char>()), out.size() * 4);
    return out;
  };
  return {words(where.packed, layout.flag_words), words(where.state, layout.state_words() + 1)};
}

struct Packer {
  const char *kernel, *problem;
  int capability, rows_of_flag;
};

TEST(WeightPackers, FlagTheirOwnBlocksAndClearTheState) {
  for (const Packer& packer : {Packer{"dense_fprop_sm90", "n2 c20->70 l9000 k3 bf16", 90, 1},
                               {"dense_fprop_sm90", "n2 c20->70 l9000 k3 f32 tf32", 90, 1},
                               {"dense_fprop_split_sm90", "n40 c20->70 l70000 k3 f32", 90, 1},
                               {"dense_fprop_sm80", "n2 c20->70 l9000 k3 f16", 80, 16},
                               {"dense_fprop_sm80", "n40 c20->70 l70000 k3 f32", 80, 16}}) {
    if (gpu_for(packer.capability) < 0) continue;
    SCOPED_TRACE(std::string(packer.kernel) + " " + packer.problem);
    const ConvProblem p = ConvProblem::parse(packer.problem);
    const Plan plan = make_plan(p, device_of({.problem = p, .capability = packer.capability}), packer.kernel);
    const auto element = static_cast<std::size_t>(size_bytes(p.dtype));
    const std::size_t row_bytes = static_cast<std::size_t>(p.in_channels * p.kernel_size) * element;
    const std::size_t flags =
        static_cast<std::size_t>((p.out_channels + packer.rows_of_flag - 1) / packer.rows_of_flag);
    for (const std::size_t bad_row : {70, 0, 17, 69}) {  // 70: none
      std::vector<unsigned char> weights(70 * row_bytes);
      // All bits of an exponent are infinity or NaN.
      if (bad_row < 70) std::memset(weights.data() + (bad_row + 1) * row_bytes - element, 0x7f, element);
      if (bad_row < 70) weights[(bad_row + 1) * row_bytes - 2] = 0xff;
      const Written written = pack(plan, weights);
      ASSERT_EQ(written.flags.size(), flags);
      for (std::size_t i = 0; i < flags; ++i) {
        const bool bad = bad_row < 70 && i == bad_row / static_cast<std::size_t>(packer.rows_of_flag);
        EXPECT_EQ(written.flags[i] != 0, bad) << "flag " << i << " for a bad row " << bad_row;
      }
      for (std::size_t i = 0; i + 1 < written.state.size(); ++i) EXPECT_EQ(written.state[i], 0u) << "word " << i;
      EXPECT_EQ(written.state.back(), ~0u) << "what is behind the state";
    }
  }
}

}  // namespace
}  // namespace longconv::testing
