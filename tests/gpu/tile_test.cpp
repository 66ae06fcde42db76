// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Parts of kernels/tile, against results that the host knows exactly.
#include <cstdint>
#include <limits>
#include <vector>

#include "gpu/gpu_fixture.h"

namespace longconv::cuda {
namespace {

class TileTest : public GpuTest {};

/// Numbers around multiples of divisors around powers of two, up to 2^31 - 1, where a reciprocal is most likely off by
/// one; and random ones.
TEST_F(TileTest, DivisorIsExact) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  std::vector<std::int32_t> numbers, divisors;
  const auto add = [&](std::int64_t number, std::int64_t divisor) {
    if (number < 0 || number > kMax || divisor < 1 || divisor > kMax) return;
    numbers.push_back(static_cast<std::int32_t>(number));
    divisors.push_back(static_cast<std::int32_t>(divisor));
  };
  std::uint64_t state = 1;
  const auto random = [&](int bits) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::int64_t>(state >> 33) >> (31 - bits);
  };
  const auto add_multiples = [&](std::int64_t divisor) {
    if (divisor < 1 || divisor > kMax) return;
    const std::int64_t last = kMax / divisor;
    for (const std::int64_t quotient : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, last / 2, last - 1, last}) {
      for (const std::int64_t near : {-1, 0, 1}) add(quotient * divisor + near, divisor);
    }
    add(kMax, divisor);
  };
  for (int bits = 0; bits <= 31; ++bits) {
    for (std::int64_t near = -3; near <= 3; ++near) add_multiples((std::int64_t{1} << bits) + near);
    for (int i = 0; i < 100; ++i) {
      add_multiples(random(bits));
      add(random(31), random(bits));
    }
  }
  const int count = static_cast<int>(numbers.size());
  const auto device_numbers = upload(numbers), device_divisors = upload(divisors);
  const auto quotients = allocate<std::int32_t>(numbers.size()), remainders = allocate<std::int32_t>(numbers.size());
  const TestModule module(compiler_, 0, "tile_checks.cuh");
  launch(driver(), module.function("check_divisor", 0), {(count + 255) / 256, 256}, stream_.get(),
         device_numbers->data(), device_divisors->data(), quotients->data(), remainders->data(), count);
  stream_.synchronize();
  const auto quotient = download<std::int32_t>(*quotients), remainder = download<std::int32_t>(*remainders);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    ASSERT_EQ(quotient[i], numbers[i] / divisors[i]) << numbers[i] << " / " << divisors[i];
    ASSERT_EQ(remainder[i], numbers[i] % divisors[i]) << numbers[i] << " % " << divisors[i];
  }
}

}  // namespace
}  // namespace longconv::cuda
