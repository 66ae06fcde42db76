// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What executing a GPU plan asks of the driver, on the fake one: nothing is computed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/device.h"
#include "fakes/fakes.h"
#include "longconv/plan.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

class CudaExecuteTest : public testing::TestWithParam<const char*> {
 protected:
  CudaExecuteTest() : driver_(LONGCONV_FAKE_CUDA_DRIVER), memory_(1 << 20) {
    ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
    Compiler::Options options;
    options.driver = &driver_;
    options.cache.folder = folder_.path();
    compiler_ = std::make_unique<Compiler>(std::move(options));
    plan_ = make_plan(ConvProblem::parse(std::string("n2 c64->128 l1200 k3 ") + GetParam()), query_device(driver_, 0),
                      std::string(GetParam()) == "f32" ? "dense_fprop_split_sm90" : "dense_fprop_sm90");
    const ConvProblem& p = plan_.problem;
    tensors_.x = TensorView::contiguous(at(0), p.dtype, {p.batch, p.in_channels, p.length_samples});
    tensors_.w = TensorView::contiguous(at(1), p.dtype, {p.out_channels, p.in_channels, p.kernel_size});
    tensors_.y = TensorView::contiguous(at(2), p.dtype, {p.batch, p.out_channels, p.out_length()});
    context_.compiler = compiler_.get();
    context_.workspace = at(3);
    context_.workspace_bytes = plan_.workspace_bytes();
  }
  static fakes::DriverState& gpu() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_CUDA_DRIVER).symbol("fake_driver_state");
    return *static_cast<fakes::DriverState*>(found);
  }
  static fakes::NvrtcState& nvrtc() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_NVRTC).symbol("fake_nvrtc_state");
    return *static_cast<fakes::NvrtcState*>(found);
  }
  /// Addresses that overlap nothing; nobody reads or writes there but memset, which is given real memory.
  void* at(int index) {
    auto address = reinterpret_cast<std::uintptr_t>(memory_.data() + 255) / 256 * 256;
    return index == 3 ? reinterpret_cast<void*>(address)
                      : reinterpret_cast<void*>((std::uintptr_t{1} << 60) + (static_cast<std::uintptr_t>(index) << 40));
  }
  int launches() {
    const int before = gpu().launches;
    execute(plan_, tensors_, context_);
    return gpu().launches - before;
  }

  TemporaryFolder folder_;
  Driver driver_;
  std::vector<char> memory_;
  std::unique_ptr<Compiler> compiler_;
  Plan plan_;
  ConvTensors tensors_;
  LaunchContext context_;
};

TEST_P(CudaExecuteTest, PackedWeightsOfTheCallersArePackedOnce) {
  const int all = launches();
  std::vector<char> storage(static_cast<std::size_t>(plan_.packed_weights_bytes()) + 256);
  context_.packed_weights =
      reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(storage.data()) + 255) / 256 * 256);
  context_.workspace_bytes -= plan_.packed_weights_bytes();
  EXPECT_EQ(launches(), all);
  context_.weights_are_packed = true;
  EXPECT_EQ(launches(), all - 1);
  EXPECT_EQ(launches(), all - 1);
}

/// What a warm call asks of the driver: kernel launches, by their threads, and clears.
struct Calls {
  std::vector<unsigned> threads;
  int clears = 0;
  bool operator==(const Calls& other) const { return threads == other.threads && clears == other.clears; }
};
void PrintTo(const Calls& calls, std::ostream* out) {
  *out << testing::PrintToString(calls.threads) << " and " << calls.clears << " clears";
}

TEST_P(CudaExecuteTest, AWarmCallAsksTheDriverForLittle) {
  const auto calls_of = [this] {
    execute(plan_, tensors_, context_);
    const int launched = gpu().launches, clears = gpu().clears, all = gpu().calls;
    execute(plan_, tensors_, context_);
    Calls calls;
    for (int i = launched; i < gpu().launches; ++i) calls.threads.push_back(gpu().history[i % gpu().kHistory].threads);
    calls.clears = gpu().clears - clears;
    EXPECT_EQ(gpu().calls - all, static_cast<int>(calls.threads.size()) + calls.clears);
    return calls;
  };
  // The GPU's context is current, as in a process that computes: else it is pushed and popped.
  const ContextScope scope(driver_, compiler_->context(0));
  std::vector<char> storage(1 << 20);
  void* const packed = reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(storage.data()) + 255) / 256 * 256);
  const bool splits = std::string(GetParam()) == "f32";
  // Few tiles, and so many that blocks draw them.
  for (const std::string text :
       {"n2 c64->128 l1200 k3 ", "n2 c64->128 l1200 k3 p1 ", "n900 c64->128 l1200 k3 ", "n900 c64->128 l1200 k3 p1 "}) {
    const bool padded = text.find("p1") != std::string::npos, draws = text.find("n900") == 0;
    const ConvProblem p = ConvProblem::parse(text + GetParam());
    plan_ = make_plan(p, plan_.device, plan_.chosen.kernel->name());
    tensors_.x = TensorView::contiguous(at(0), p.dtype, {p.batch, p.in_channels, p.length_samples});
    tensors_.y = TensorView::contiguous(at(2), p.dtype, {p.batch, p.out_channels, p.out_length()});
    context_.packed_weights = nullptr;
    context_.weights_are_packed = false;
    context_.workspace_bytes = plan_.workspace_bytes();
    // Packer, kernel, repairs: nothing is cleared, whether tiles or edges are to be done again. Of few tiles, blocks
    // repair their own.
    const bool repairs = splits ? draws : padded;
    Calls expected = {{128, 384}, 0};
    if (repairs) expected.threads.push_back(128);
    const Calls packs = calls_of();
    ASSERT_GE(packs.threads.size(), 2u);
    expected.threads[1] = packs.threads[1];  // a config's
    EXPECT_EQ(packs, expected) << text;
    context_.packed_weights = packed;
    EXPECT_EQ(calls_of(), expected) << text;
    context_.weights_are_packed = true;
    expected.threads.erase(expected.threads.begin());
    expected.clears = draws ? 1 : 0;  // of the counter and the redo bits
    EXPECT_EQ(calls_of(), expected) << text;
  }
}

TEST_P(CudaExecuteTest, TheFirstCallCompilesWhatItNeedsSideBySide) {
  const int kernels = 2;
  nvrtc().have_met = false;
  nvrtc().meet = kernels;
  EXPECT_NO_THROW(launches());
  nvrtc().meet = 0;
  EXPECT_EQ(compiler_->statistics().compilations, kernels);
}

TEST_P(CudaExecuteTest, WhatAThreadRemembersIsTheVeryLaunch) {
  const auto functions = [this] {
    launches();
    return compiler_->statistics().functions;
  };
  const std::int64_t first = functions();
  EXPECT_EQ(functions(), first);
  // Another layout of the output, as rows that begin anywhere: another main kernel, the same packer.
  const TensorView y = tensors_.y;
  tensors_.y.strides = {y.strides[0] + y.sizes[1], y.strides[1] + 1, 1};
  const std::int64_t second = functions();
  // A config that a caller wrote into the plan.
  tensors_.y = y;
  for (auto& [name, value] : plan_.chosen.config.values)
    if (name == "slots") value = 2;
  const std::int64_t third = functions();
  EXPECT_EQ(third, second + 1);
  // Another compiler, which has loaded nothing, at the same address or not.
  context_.compiler = nullptr;
  compiler_ = nullptr;
  Compiler::Options options;
  options.driver = &driver_;
  compiler_ = std::make_unique<Compiler>(std::move(options));
  context_.compiler = compiler_.get();
  EXPECT_EQ(functions(), first);
  // Many threads at once.
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([this] {
      for (int call = 0; call < 50; ++call) execute(plan_, tensors_, context_);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(functions(), first);
}

TEST_P(CudaExecuteTest, MemoryIsCheckedBeforeAnyWork) {
  const auto refuses = [this] {
    const int before = gpu().calls;
    EXPECT_THROW(execute(plan_, tensors_, context_), Error);
    EXPECT_EQ(gpu().calls, before);
  };
  context_.workspace_bytes -= 1;
  refuses();
  context_.workspace_bytes += 1;
  context_.packed_weights = static_cast<char*>(at(3)) + 64;
  refuses();
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CudaExecuteTest, testing::Values("f32", "bf16", "f32 tf32"), [](const auto& info) {
  return info.param[0] == 'b' ? "bf16" : std::string(info.param) == "f32" ? "fp32" : "tf32";
});

}  // namespace
}  // namespace longconv::cuda
