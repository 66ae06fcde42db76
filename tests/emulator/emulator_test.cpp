// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The emulator finds the mistakes that tests/device/defects.cuh makes on purpose, in the mode that shows them. That it
/// computes what a GPU computes is what tests/gpu/ptx_test.cpp shows.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "gpu/gpu_fixture.h"
#include "support/child_process.h"

namespace longconv::cuda {
namespace {

/// "right", "wrong numbers" or the launch's error. In a child process, as the mode is chosen once in a process.
std::string outcome(const std::string& mode, const std::string& entry, int defect) {
  return in_child([&]() -> std::string {
    ::setenv("LONGCONV_EMULATOR", mode.c_str(), 1);
    std::FILE* const silenced = std::freopen("/dev/null", "w", stderr);
    Compiler& compiler = Compiler::instance();
    const ContextScope scope(compiler.driver(), compiler.context(0));
    const Stream stream(compiler.driver());
    const TestModule module(compiler, 0, "defects.cuh", {"-DDEFECT=" + std::to_string(defect)});
    constexpr int kRounds = 5;
    std::vector<std::uint32_t> in(128 * kRounds), expected = in, got(in.size());
    std::iota(in.begin(), in.end(), 1000u);
    std::size_t words = 0;
    for (std::size_t i = 0; i < in.size(); ++i) expected[i] = in[i] + 1;
    const DeviceBuffer device_in(compiler.driver(), in.size() * 4), device_out(compiler.driver(), in.size() * 4);
    device_in.upload(in.data(), in.size() * 4, stream);
    device_out.fill(0xff, stream);
    LaunchShape shape;
    const auto run = [&](int threads, std::int64_t shared_bytes, auto... arguments) {
      shape.threads = threads;
      shape.dynamic_shared_bytes = shared_bytes;
      launch(compiler.driver(), module.function(entry, shared_bytes), shape, stream.get(), arguments...);
    };
    try {
      if (entry == "add_one") {
        words = in.size();
        run(32, 128 + 512, device_in.data(), device_out.data(), kRounds);
      } else if (entry == "hand_over") {
        words = 32;
        for (std::size_t i = 0; i < words; ++i) expected[i] = in[31 - i];
        run(64, 0, device_in.data(), device_out.data());
      } else if (entry == "follow") {
        words = 64;
        for (std::size_t i = 0; i < words; ++i) expected[i] = in[31 - i % 32];
        const DeviceBuffer between(compiler.driver(), 128);
        shape.threads = 64;
        launch(compiler.driver(), module.function("hand_over", 0), shape, stream.get(), device_in.data(),
               between.data());
        if (defect == 4) between.fill(0, stream);
        shape.threads = 32, shape.blocks = 2, shape.dynamic_shared_bytes = 256;
        shape.overlap_previous = true;
        Function function = module.function(entry, 256);
        function.can_overlap = true;
        launch(compiler.driver(), function, shape, stream.get(), between.data(), device_out.data());
      } else if (entry == "copy_async") {
        words = 128;
        expected = in;
        run(32, 512, device_in.data(), device_out.data());
      } else {
        words = 512;
        const float sum = 16;
        for (std::uint32_t& word : expected) std::memcpy(&word, &sum, 4);
        run(128, 72 * 32, device_out.data());
      }
    } catch (const Error& error) {
      return error.what();
    }
    device_out.download(got.data(), got.size() * 4, stream);
    if (silenced == nullptr) return "no /dev/null";
    return std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(words), expected.begin())
               ? "right"
               : "wrong numbers";
  });
}

void expect(const std::string& mode, const std::string& entry, int defect, const std::string& part) {
  const std::string got = outcome(mode, entry, defect);
  EXPECT_NE(got.find(part), std::string::npos) << entry << " " << defect << " " << mode << ": " << got;
}

TEST(Emulator, RightKernelsAreRight) {
  for (const char* entry : {"add_one", "hand_over", "copy_async", "multiply_ones"})
    for (const char* mode : {"early 2", "late"}) expect(mode, entry, 0, "right");
}

TEST(Emulator, AMissingWaitShowsWhereWorkIsDoneLate) {
  expect("late", "add_one", 1, "more arrivals in a phase");
  expect("late", "copy_async", 1, "wrong numbers");
  expect("late", "multiply_ones", 1, "wrong numbers");
  expect("late", "multiply_ones", 4, "without waiting for its wgmma");
}

TEST(Emulator, ASlotReusedTooEarlyShowsWhereWorkIsDoneLate) {
  expect("late", "add_one", 2, "wrong numbers");
  expect("late", "multiply_ones", 2, "wrong numbers");
}

TEST(Emulator, AMissingProxyFenceIsSaid) {
  expect("early", "add_one", 3, "without fence_proxy_async");
  expect("early", "multiply_ones", 3, "without fence_proxy_async");
  for (const char* mode : {"early", "late"}) expect(mode, "multiply_ones", 5, "right");  // by the readers
}

TEST(Emulator, ByteCountsAndSizesAreChecked) {
  expect("early", "add_one", 4, "deadlock");
  expect("early", "add_one", 6, "multiples of 16");
  expect("late", "add_one", 7, "bulk_wait_read or bulk_wait is missing");
}

TEST(Emulator, ADeadlockIsReportedWithItsBarrier) {
  const std::string report = outcome("late", "add_one", 5);
  EXPECT_NE(report.find("deadlock"), std::string::npos) << report;
  EXPECT_NE(report.find("threads 0-31: waits at mbarrier 0x400"), std::string::npos) << report;
}

TEST(Emulator, WhatTheKernelBeforeWroteIsOutOfReachBeforeTheWait) {
  for (const char* mode : {"early", "late"}) {
    expect(mode, "follow", 0, "right");
    expect(mode, "follow", 1, "touched without wait_for_previous_kernel, 0 bytes into a buffer of 128 bytes");
    expect(mode, "follow", 2, "a block ended without wait_for_previous_kernel");
    expect(mode, "follow", 3, "touched without wait_for_previous_kernel");
    expect(mode, "follow", 4, "there is none: a copy, a clear or nothing");
  }
}

TEST(Emulator, AccessesOutsideFault) {
  expect("early", "add_one", 8, "512 bytes at shared address");
  expect("early", "add_one", 9, "behind the end of a buffer of 2560 bytes");
}

TEST(Emulator, AMissingBarrierShowsForSomeSeed) {
  int wrong = 0;
  for (int seed = 0; seed < 4; ++seed)
    wrong += outcome("early " + std::to_string(seed), "hand_over", 1) == "wrong numbers";
  EXPECT_GT(wrong, 0);
}

}  // namespace
}  // namespace longconv::cuda
