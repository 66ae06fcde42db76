// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Which launches of a call may begin before the one ahead of them ends (LaunchShape::overlap_previous), on the fake
/// driver. That the kernels wait themselves is the emulated GPU's to test.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "fakes/fakes.h"
#include "longconv/plan.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

class CudaOverlapTest : public testing::Test {
 protected:
  CudaOverlapTest() { ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1); }
  ~CudaOverlapTest() override {
    ::unsetenv("LONGCONV_NVRTC");
    gpu().version = 12040;
    nvrtc().newest_arch = 90;
  }
  static fakes::DriverState& gpu() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_CUDA_DRIVER).symbol("fake_driver_state");
    return *static_cast<fakes::DriverState*>(found);
  }
  static fakes::NvrtcState& nvrtc() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_NVRTC).symbol("fake_nvrtc_state");
    return *static_cast<fakes::NvrtcState*>(found);
  }

  /// The launches of a call, in order: '+' those that may overlap the one before, '-' the others; 'c' before them: a
  /// clear. kept: on weights that were packed before.
  std::string launches(const std::string& kernel, const std::string& text, bool kept = false) {
    const Driver driver(LONGCONV_FAKE_CUDA_DRIVER);
    Compiler::Options options;
    options.driver = &driver;
    options.cache.folder = folder_.path();
    Compiler compiler(std::move(options));
    const ConvProblem p = ConvProblem::parse(text);
    const Plan plan = make_plan(p, query_device(driver, 0), kernel);
    const auto at = [](int index) {
      return reinterpret_cast<void*>((std::uintptr_t{1} << 60) + (static_cast<std::uintptr_t>(index) << 40));
    };
    ConvTensors tensors;
    tensors.x = TensorView::contiguous(at(0), p.dtype, {p.batch, p.in_channels, p.length_samples});
    tensors.w =
        TensorView::contiguous(at(1), p.result_dtype(), {p.out_channels, p.in_channels_per_group(), p.kernel_size});
    tensors.y = TensorView::contiguous(at(2), p.dtype, {p.batch, p.out_channels, p.out_length()});
    LaunchContext context;
    context.compiler = &compiler;
    std::vector<char> memory(static_cast<std::size_t>(plan.workspace_bytes()) + 256);
    context.workspace = reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 255) / 256 * 256);
    context.workspace_bytes = plan.workspace_bytes();
    if (kept) context.packed_weights = at(3), context.weights_are_packed = true;
    const int before = gpu().launches, clears = gpu().clears;
    execute(plan, tensors, context);
    std::string found(static_cast<std::size_t>(gpu().clears - clears), 'c');
    for (int i = before; i < gpu().launches; ++i) found += gpu().history[i % gpu().kHistory].overlaps ? '+' : '-';
    return found;
  }

  TemporaryFolder folder_;
};

TEST_F(CudaOverlapTest, AllOfACallButTheFirst) {
  EXPECT_EQ(launches("dense_fprop_sm90", "n2 c64->128 l1200 k3 bf16"), "-+");
  EXPECT_EQ(launches("dense_fprop_sm90", "n2 c64->128 l1200 k3 p1 f32 tf32"), "-++");
  EXPECT_EQ(launches("dense_fprop_split_sm90", "n2 c64->128 l1200 k3 f32"), "-+");  // few tiles: it repairs its own
  EXPECT_EQ(launches("dense_fprop_split_sm90", "n900 c64->128 l1200 k3 f32"), "-++");
  EXPECT_EQ(launches("dense_fprop_sm80", "n2 c64->128 l1200 k3 f32"), "-++");
  EXPECT_EQ(launches("dense_fprop_sm80", "n2 c64->128 l1200 k3 bf16"), "-+");
  EXPECT_EQ(launches("direct_fprop", "n2 c64->128 l1200 k3 f32"), "-");
  EXPECT_EQ(launches("dense_dgrad_sm90", "dgrad n2 c64->128 l1200 k3 p1 reflect bf16"), "-+++");
  EXPECT_EQ(launches("dense_dgrad_split_sm90", "dgrad n2 c64->128 l1200 k3 p1 reflect f32"), "-++");
  EXPECT_EQ(launches("dense_dgrad_split_sm90", "dgrad n900 c64->128 l1200 k3 p1 reflect f32"), "-+++");
  EXPECT_EQ(launches("direct_dgrad", "dgrad n2 c64->128 l1200 k3 p1 reflect f32"), "-+");
  EXPECT_EQ(launches("direct_wgrad", "wgrad n2 c64->128 l1200 k3 f32"), "-+");
}

TEST_F(CudaOverlapTest, NoneBehindAClear) {
  EXPECT_EQ(launches("dense_wgrad_sm90", "wgrad n2 c64->128 l1202 k3 f32"), "c-++");
  EXPECT_EQ(launches("dense_wgrad_sm80", "wgrad n2 c64->128 l1202 k3 p1 bf16"), "c-++");
  EXPECT_EQ(launches("dense_wgrad_sm80", "wgrad n2 c64->128 l1202 k3 f32"), "-+");
  EXPECT_EQ(launches("dense_fprop_split_sm90", "n900 c64->128 l1200 k3 f32", true), "c-+");
  EXPECT_EQ(launches("dense_fprop_sm90", "n900 c64->128 l1200 k3 bf16", true), "c-");
}

TEST_F(CudaOverlapTest, NotTheFirstWhateverItIs) {
  EXPECT_EQ(launches("dense_fprop_sm90", "n2 c64->128 l1200 k3 bf16", true), "-");
  EXPECT_EQ(launches("dense_fprop_sm90", "n2 c64->128 l1200 k3 p1 bf16", true), "-+");
  EXPECT_EQ(launches("dense_fprop_split_sm90", "n2 c64->128 l1200 k3 f32", true), "-");
  EXPECT_EQ(launches("direct_wgrad", "wgrad n0 c64->128 l1200 k3 f32"), "-");
}

// Graphs hold such launches from CUDA 12.3 on.
TEST_F(CudaOverlapTest, NoneOnAnOldDriver) {
  gpu().version = 12020;
  EXPECT_EQ(launches("dense_fprop_split_sm90", "n900 c64->128 l1200 k3 f32"), "---");
  gpu().version = 12030;
  EXPECT_EQ(launches("dense_fprop_split_sm90", "n900 c64->128 l1200 k3 f32"), "-++");
}

// On a Hopper GPU, of code for sm_80: no instruction there waits.
TEST_F(CudaOverlapTest, NoneOfCodeThatCannotWait) {
  nvrtc().newest_arch = 89;
  EXPECT_EQ(launches("dense_fprop_sm80", "n2 c64->128 l1200 k3 f32"), "---");
}

}  // namespace
}  // namespace longconv::cuda
