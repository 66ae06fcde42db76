// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// What execute() refuses before anything is written. The integer kernel carries the tests: the checks are the same for
// all.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "longconv/error.h"
#include "longconv/plan.h"

namespace longconv {
namespace {

constexpr std::int64_t kUnwritten = 7777;

/// Tensors of "n2 c4->6 l10 k3" in one buffer each, with a bias and a residual.
struct Call {
  ConvProblem problem = ConvProblem::parse("fprop n2 c4->6 l10 k3 i64 bias residual");
  std::vector<std::int64_t> x = std::vector<std::int64_t>(80, 1), w = std::vector<std::int64_t>(72, 1);
  std::vector<std::int64_t> y = std::vector<std::int64_t>(96, kUnwritten), bias = std::vector<std::int64_t>(6, 1);
  std::vector<std::int64_t> residual = std::vector<std::int64_t>(96, 1);
  ConvTensors views{
      TensorView::contiguous(x.data(), DType::i64, {2, 4, 10}), TensorView::contiguous(w.data(), DType::i64, {6, 4, 3}),
      TensorView::contiguous(y.data(), DType::i64, {2, 6, 8}), TensorView::vector(bias.data(), DType::i64, 6),
      TensorView::contiguous(residual.data(), DType::i64, {2, 6, 8})};
  Device device{.threads = 2};

  void run(LaunchContext context = {}) { execute(make_plan(problem, device), views, context); }
};

void expect_refused(const std::function<void(Call&)>& spoil, const std::string& message,
                    ErrorCode code = ErrorCode::invalid_argument) {
  Call call;
  spoil(call);
  try {
    call.run();
    ADD_FAILURE() << "accepted; expected: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
  }
  for (const std::int64_t value : call.y) ASSERT_EQ(value, kUnwritten) << message;
}

TEST(Execute, RunsWhatFits) {
  Call call;
  call.run();
  for (const std::int64_t value : call.y) EXPECT_EQ(value, 4 * 3 + 1 + 1);
}

TEST(Execute, RefusesTensorsThatDoNotMatchTheProblem) {
  expect_refused([](Call& c) { c.views.x = {}; }, "x: expected a 3-D tensor, but got none");
  expect_refused([](Call& c) { c.views.x.rank = 2; }, "x: expected a 3-D tensor, but got 2-D");
  expect_refused([](Call& c) { c.views.x.dtype = DType::f64; }, "x: expected dtype i64, but got f64");
  expect_refused([](Call& c) { c.views.x.sizes[2] = 9; }, "x: expected size [2, 4, 10], but got [2, 4, 9]");
  expect_refused([](Call& c) { c.views.w.sizes[1] = 2; }, "w: expected size [6, 4, 3], but got [6, 2, 3]");
  expect_refused([](Call& c) { c.views.y.sizes[2] = 10; }, "y: expected size [2, 6, 8], but got [2, 6, 10]");
  expect_refused([](Call& c) { c.views.bias.sizes[0] = 5; }, "bias: expected size [6], but got [5]");
  expect_refused([](Call& c) { c.views.bias = {}; }, "bias: expected a 1-D tensor, but got none");
  expect_refused([](Call& c) { c.views.residual = {}; }, "residual: expected a 3-D tensor, but got none");
  expect_refused([](Call& c) { c.views.residual.sizes[0] = 1; }, "residual: expected size [2, 6, 8]");
  expect_refused([](Call& c) { c.problem.has_bias = false; }, "bias: expected none for this problem");
  expect_refused([](Call& c) { c.problem.has_residual = false; }, "residual: expected none for this problem");
  expect_refused([](Call& c) { c.views.w.data = nullptr; }, "w: expected data, but got a null pointer");
  expect_refused([](Call& c) { c.views.w.data = reinterpret_cast<char*>(c.w.data()) + 4; },
                 "w: expected data aligned to 8");
}

TEST(Execute, RefusesStridesThatLeaveTheAddressSpace) {
  expect_refused([](Call& c) { c.views.x.strides[1] = -10; }, "x: strides must not be negative");
  expect_refused([](Call& c) { c.views.x.strides[1] = std::numeric_limits<std::int64_t>::max(); },
                 "x: does not fit in 63 bits", ErrorCode::overflow);
  expect_refused([](Call& c) { c.views.x.strides[1] = std::numeric_limits<std::int64_t>::max() / 8; },
                 "x: does not fit in 63 bits", ErrorCode::overflow);
}

TEST(Execute, RefusesOutputsWhoseElementsShareMemory) {
  expect_refused([](Call& c) { c.views.y.strides = {0, 8, 1}; }, "must not share memory, but got sizes [2, 6, 8]");
  expect_refused([](Call& c) { c.views.y.strides = {48, 7, 1}; }, "must not share memory");
  expect_refused([](Call& c) { c.views.y.strides = {48, 8, 0}; }, "strides [48, 8, 0]");
  expect_refused([](Call& c) { c.views.y.strides = {1, 1, 12}; }, "must not share memory");
}

TEST(Execute, RefusesOutputsThatShareMemoryWithAnInput) {
  expect_refused([](Call& c) { c.views.x.data = c.y.data(); }, "y: the output shares memory with the input x");
  expect_refused([](Call& c) { c.views.w.data = c.y.data() + 20; }, "shares memory with the input w");
  expect_refused([](Call& c) { c.views.bias.data = c.y.data() + 90; }, "shares memory with the input bias");
  // A residual may be the result, but not half of it.
  expect_refused(
      [](Call& c) {
        c.residual.resize(200);
        c.views.residual = TensorView::contiguous(c.y.data(), DType::i64, {2, 6, 8});
        c.views.residual.strides = {8, 16, 1};
      },
      "shares memory with the input residual");
}

TEST(Execute, BiasOfDgradHasTheChannelsOfItsResult) {
  Call call;
  call.problem = ConvProblem::parse("dgrad n2 c4->6 l10 k3 i64 bias");
  call.views.residual = {};
  const auto refused = [&call] {
    try {
      call.run();
      return std::string();
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_NE(refused().find("bias: expected size [4], but got [6]"), std::string::npos);
  call.views.bias = TensorView::vector(call.x.data() + 76, DType::i64, 4);
  EXPECT_NE(refused().find("x: the output shares memory with the input bias"), std::string::npos);
  call.views.bias = TensorView::vector(call.bias.data(), DType::i64, 4);
  call.y.assign(96, 1);
  EXPECT_EQ(refused(), "");
  EXPECT_EQ(call.x.front(), 6 + 1);  // one tap reaches the first sample
}

TEST(Execute, AllowsAnyLayoutThatDoesNotOverlap) {
  for (const std::array<std::int64_t, 3> strides :
       {std::array<std::int64_t, 3>{1, 2, 12}, {48, 1, 6}, {8, 16, 1}, {100, 16, 2}}) {
    Call call;
    call.y.assign(400, kUnwritten);
    call.views.y.data = call.y.data();
    call.views.y.strides = strides;
    EXPECT_NO_THROW(call.run());
    EXPECT_EQ(std::count(call.y.begin(), call.y.end(), 14), 96);
  }
  Call in_place;
  in_place.views.residual = in_place.views.y;
  EXPECT_NO_THROW(in_place.run());
  EXPECT_EQ(in_place.y[0], kUnwritten + 13);
}

TEST(Execute, StridesOfSizeOneDimensionsDoNotMatter) {
  ConvProblem problem = ConvProblem::parse("fprop n1 c1->1 l10 k1 i64");
  std::vector<std::int64_t> x(10, 3), w(1, 2), y(10);
  ConvTensors views{TensorView::contiguous(x.data(), DType::i64, {1, 1, 10}),
                    TensorView::contiguous(w.data(), DType::i64, {1, 1, 1}),
                    TensorView::contiguous(y.data(), DType::i64, {1, 1, 10}),
                    {},
                    {}};
  views.y.strides = {0, 0, 1};
  views.w.strides = {0, 0, 0};
  execute(make_plan(problem, {}), views, {});
  EXPECT_EQ(y, std::vector<std::int64_t>(10, 6));
}

TEST(Execute, KernelsNeverComputeWithStridesOfSizeOneDimensions) {
  // Found by the fuzzer under UBSan: dgrad multiplied the stride of a single tap.
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max() - 1;
  for (const char* pass : {"fprop", "dgrad", "wgrad"}) {
    const ConvProblem problem = ConvProblem::parse(std::string(pass) + " n1 c1->1 l1 k1 f32");
    float x = 3, w = 3, y = 3;
    const auto view = [](float& value) { return TensorView{&value, DType::f32, 3, {1, 1, 1}, {kHuge, kHuge, kHuge}}; };
    const Plan plan = make_plan(problem, Device{});
    std::vector<float> workspace(static_cast<std::size_t>(plan.workspace_bytes()) / 4 + 32);
    LaunchContext context;
    const auto address = reinterpret_cast<std::uintptr_t>(workspace.data());
    context.workspace = reinterpret_cast<void*>((address + 63) / 64 * 64);
    context.workspace_bytes = plan.workspace_bytes();
    execute(plan, {view(x), view(w), view(y), {}, {}}, context);
    EXPECT_EQ(x * w * y, 81) << pass;  // one of them became the product of the others
  }
}

/// A kernel reads forward's result at one distance from dL/dy, with the same copies of 16 bytes.
TEST(Execute, ForwardResultLiesBesideItsGradient) {
  std::vector<float> memory(4096);
  float* const base = reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 * 64);
  const TensorView y = TensorView::contiguous(base, DType::f32, {2, 6, 8});
  TensorView other = y;
  other.data = base + 1000;
  EXPECT_TRUE(lies_beside(other, y));
  other.data = base + 1001;
  EXPECT_FALSE(lies_beside(other, y)) << "another place of 16 bytes";
  other.data = base + 1000;
  other.strides[1] = 9;
  EXPECT_FALSE(lies_beside(other, y));
  TensorView stepped = y;
  stepped.strides = {48 * 2, 16, 2};
  EXPECT_FALSE(lies_beside(stepped, stepped)) << "samples apart";
  TensorView one = y;
  one.sizes = {1, 6, 8};
  other = one;
  other.strides[0] = 12345;  // of one item: any number
  EXPECT_TRUE(lies_beside(other, one));
}

TEST(Execute, AGradientPassWantsForwardsResultWithAnActivationOnly) {
  const Device gpu = Device::known("a100");
  std::vector<float> memory(4096);
  const auto view = [&](std::int64_t at, std::array<std::int64_t, 3> sizes) {
    return TensorView::contiguous(memory.data() + at, DType::f32, sizes);
  };
  ConvTensors tensors{view(0, {2, 4, 10}), view(200, {6, 4, 3}), view(400, {2, 6, 8}), {}, {}};
  const auto message_of = [&](const char* text) -> std::string {
    try {
      execute(make_plan(ConvProblem::parse(text), gpu), tensors, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message_of("dgrad n2 c4->6 l10 k3 relu"), "forward_y: expected a 3-D tensor, but got none");
  tensors.forward_y = view(601, {2, 6, 8});
  EXPECT_NE(
      message_of("wgrad n2 c4->6 l10 k3 relu").find("forward_y: expected samples that are consecutive and lie as"),
      std::string::npos);
  EXPECT_EQ(message_of("dgrad n2 c4->6 l10 k3"), "forward_y: expected none for this problem, but got a tensor");
}

TEST(Execute, EmptyBatch) {
  for (const char* text : {"fprop n0 c2->3 l10 k3 i64", "dgrad n0 c2->3 l10 k3 i64"}) {
    const ConvProblem problem = ConvProblem::parse(text);
    std::vector<std::int64_t> w(18, 1);
    const ConvTensors views{TensorView::contiguous(nullptr, DType::i64, {0, 2, 10}),
                            TensorView::contiguous(w.data(), DType::i64, {3, 2, 3}),
                            TensorView::contiguous(nullptr, DType::i64, {0, 3, 8}),
                            {},
                            {}};
    EXPECT_NO_THROW(execute(make_plan(problem, {}), views, {})) << text;
  }
  const ConvProblem problem = ConvProblem::parse("wgrad n0 c2->3 l10 k3 i64 bias");
  std::vector<std::int64_t> dw(36, kUnwritten), dbias(3, kUnwritten);
  ConvTensors views{TensorView::contiguous(nullptr, DType::i64, {0, 2, 10}),
                    TensorView::contiguous(dw.data(), DType::i64, {3, 2, 3}),
                    TensorView::contiguous(nullptr, DType::i64, {0, 3, 8}),
                    TensorView::vector(dbias.data(), DType::i64, 3),
                    {}};
  views.w.strides = {12, 6, 2};  // every second element
  execute(make_plan(problem, {}), views, {});
  for (std::size_t i = 0; i < dw.size(); ++i) EXPECT_EQ(dw[i], i % 2 == 0 ? 0 : kUnwritten);
  EXPECT_EQ(dbias, std::vector<std::int64_t>(3, 0));
}

TEST(Execute, RefusesAPlanWithoutKernelAndTooManyThreads) {
  Call call;
  EXPECT_THROW(execute(Plan{}, call.views, {}), Error);
  const auto pool = thread_pool(3);
  try {
    call.run({nullptr, 0, pool.get()});
    FAIL() << "3 threads on a plan for 2";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("expected at most the 2 threads of the plan, but got 3"),
              std::string::npos);
  }
}

/// A kernel that only asks for workspace.
class HungryKernel final : public Kernel {
 public:
  std::string_view name() const override { return "hungry"; }
  Support supports(const ConvProblem&, const Device&) const override { return Support::yes(); }
  std::vector<Config> configs(const ConvProblem&, const Device&) const override { return {Config{}}; }
  Estimate estimate(const ConvProblem&, const Config&, const Device&) const override { return {1, 1, 1}; }
  std::int64_t workspace_bytes(const ConvProblem&, const Config&, const Device&) const override { return 128; }
  void launch(const ConvProblem&, const Config&, const Device&, const ConvTensors&,
              const LaunchContext& context) const override {
    EXPECT_GE(context.workspace_bytes, 128);
    EXPECT_NE(context.workspace, nullptr);
    EXPECT_NE(context.parallel, nullptr);
    ++launches;
  }
  mutable int launches = 0;
};

TEST(Execute, ChecksTheWorkspace) {
  Call call;
  HungryKernel kernel;
  Plan plan = make_plan(call.problem, call.device);
  plan.chosen = {&kernel, {}, {}, 128};
  alignas(64) unsigned char memory[192];
  const auto message_of = [&](void* workspace, std::int64_t bytes) -> std::string {
    try {
      execute(plan, call.views, {workspace, bytes, nullptr});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message_of(memory, 127), "workspace: expected at least 128 bytes, but got 127");
  EXPECT_EQ(message_of(nullptr, 128), "workspace: expected memory, but got a null pointer");
  EXPECT_EQ(message_of(memory + 32, 128), "workspace: expected memory aligned to 64 bytes");
  EXPECT_EQ(kernel.launches, 0);
  EXPECT_EQ(message_of(memory, 128), "");
  EXPECT_EQ(kernel.launches, 1);
}

}  // namespace
}  // namespace longconv
