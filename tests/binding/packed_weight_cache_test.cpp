// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// When packed weights may be used again, on CPU tensors: the cache looks at no data.
#include "packed_weight_cache.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace longconv::torch_binding {
namespace {

constexpr std::int64_t kPackedBytes = 1000;
const int streams[2] = {};
const void* const kStream = &streams[0];
const void* const kOther = &streams[1];

Plan plan_of(const std::string& words) {
  return make_plan(ConvProblem::parse("n8 c64->128 l90000 k3 " + words), Device::known("h100"));
}
const Plan& plan() {
  static const Plan made = plan_of("f32");
  return made;
}
at::Tensor weights() { return at::ones({128, 64, 3}); }
at::Tensor packed() { return at::empty({kPackedBytes}, at::kByte); }

struct PackedWeights : testing::Test {
  PackedWeightCache cache{10 * kPackedBytes};
  at::Tensor weight = weights();
  at::Tensor kept = packed();

  void SetUp() override { cache.keep(weight, plan(), kStream, kept); }
  bool has(const at::Tensor& w, const Plan& p = plan(), const void* stream = kStream) {
    return cache.find(w, p, stream).defined();
  }
};

TEST_F(PackedWeights, AreThereForTheSameTensor) {
  EXPECT_TRUE(cache.find(weight, plan(), kStream).is_same(kept));
  const at::Tensor alias = weight;
  EXPECT_TRUE(has(alias));
  EXPECT_EQ(cache.bytes(), kPackedBytes);
}

TEST_F(PackedWeights, AreNotThereForAnother) {
  EXPECT_FALSE(has(weights()));
  EXPECT_FALSE(has(weight.clone()));
  EXPECT_FALSE(has(weight.detach())) << "another object, which may go on to change on its own";
  EXPECT_FALSE(has(weight.view({128, 64, 3})));
}

TEST_F(PackedWeights, GoWithEveryChangeThatPyTorchCounts) {
  const auto changes = std::vector<void (*)(const at::Tensor&)>{
      [](const at::Tensor& w) { w.add_(1); },
      [](const at::Tensor& w) {
        const at::NoGradGuard no_grad;
        w.copy_(at::zeros_like(w));
      },
      [](const at::Tensor& w) { w.select(0, 3).zero_(); },  // a view shares the counter
      [](const at::Tensor& w) { w.detach().mul_(2); },
      [](const at::Tensor& w) { w.set_data(at::ones_like(w)); },  // w.data = other
      [](const at::Tensor& w) { w.transpose_(0, 1).transpose_(0, 1); },
  };
  for (const auto& change : changes) {
    const at::Tensor w = weights();
    cache.keep(w, plan(), kStream, packed());
    ASSERT_TRUE(has(w));
    change(w);
    EXPECT_FALSE(has(w)) << "change " << &change - changes.data();
  }
}

TEST_F(PackedWeights, ANewVersionReplacesTheOld) {
  weight.add_(1);
  const at::Tensor again = packed();
  cache.keep(weight, plan(), kStream, again);
  EXPECT_TRUE(cache.find(weight, plan(), kStream).is_same(again));
  EXPECT_EQ(cache.entries(), 1);
}

TEST_F(PackedWeights, SwappingTheStorageToAndFroIsSeen) {
  // The same address may come back with other contents once the storage was freed.
  for (int i = 0; i < 4; ++i) {
    weight.set_data(weight * 2);
    EXPECT_FALSE(has(weight));
    cache.keep(weight, plan(), kStream, packed());
  }
}

TEST_F(PackedWeights, BelongToOneStreamAndOneForm) {
  EXPECT_FALSE(has(weight, plan(), kOther));
  cache.keep(weight, plan(), kOther, packed());
  EXPECT_TRUE(has(weight, plan(), kOther));
  EXPECT_TRUE(has(weight)) << "one entry a stream";
  EXPECT_FALSE(has(weight, plan_of("f32 tf32")));
  Plan other = plan();
  other.chosen.config.values.front().second += 1;
  EXPECT_FALSE(has(weight, other));
}

TEST_F(PackedWeights, ServeEveryLengthThatIsPackedAlike) {
  Plan longer = plan_of("f32");
  longer.problem.length_samples *= 2;
  EXPECT_TRUE(has(weight, longer));
}

TEST_F(PackedWeights, DieWithTheTensor) {
  weight = at::Tensor();
  EXPECT_EQ(kept.use_count(), 2);
  const at::Tensor next = weights();
  EXPECT_FALSE(has(next)) << "a new tensor, wherever it lies";
  cache.keep(next, plan(), kStream, packed());
  EXPECT_EQ(kept.use_count(), 1);
  EXPECT_EQ(cache.entries(), 1);
}

TEST_F(PackedWeights, AreBoundedAndTheLeastRecentlyUsedLeave) {
  std::vector<at::Tensor> many;
  for (int i = 0; i < 20; ++i) {
    many.push_back(weights());
    cache.keep(many.back(), plan(), kStream, packed());
    EXPECT_TRUE(has(many.front())) << "used again and again";
    EXPECT_LE(cache.bytes(), 10 * kPackedBytes);
  }
  EXPECT_EQ(cache.entries(), 10);
  EXPECT_FALSE(has(weight));
  cache.keep(weight, plan(), kStream, at::empty({11 * kPackedBytes}, at::kByte));
  EXPECT_EQ(cache.bytes(), 0) << "larger than the bound";
  cache.clear();
  EXPECT_EQ(cache.entries(), 0);
}

TEST_F(PackedWeights, NeedAVersionCounter) {
  EXPECT_TRUE(PackedWeightCache::can_keep(weight));
  const c10::InferenceMode inference;
  EXPECT_FALSE(PackedWeightCache::can_keep(weights()));
  EXPECT_TRUE(PackedWeightCache::can_keep(weight)) << "made before";
  EXPECT_TRUE(has(weight));
}

TEST_F(PackedWeights, FromManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        const at::Tensor own = weights();
        const void* const stream = &streams[t % 2];
        cache.keep(own, plan(), stream, packed());
        (void)cache.find(weight, plan(), stream);
        (void)cache.find(own, plan(), stream);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.bytes(), 10 * kPackedBytes);
}

}  // namespace
}  // namespace longconv::torch_binding
