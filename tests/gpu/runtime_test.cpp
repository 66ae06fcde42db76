// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The runtime on a real GPU: self-test, warm calls, many threads, memory.
#include <chrono>
#include <cstdio>
#include <thread>

#include "cuda/doctor.h"
#include "gpu/gpu_fixture.h"
#include "longconv/cuda.h"

namespace longconv::cuda {
namespace {

KernelSpec self_test(std::int64_t variant) {
  KernelSpec spec;
  spec.file = "selftest.cuh";
  spec.entry = "self_test";
  spec.defines = {{"VARIANT", variant}};
  return spec;
}

TEST_F(GpuTest, DiagnosisIsGood) {
  const Diagnosis diagnosis = diagnose();
  std::printf("%s", diagnosis.text.c_str());
  EXPECT_TRUE(diagnosis.usable);
}

TEST_F(GpuTest, EveryGpuPassesTheSelfTest) {
  for (int ordinal = 0; ordinal < device_count(driver()); ++ordinal) EXPECT_NO_THROW(run_self_test(compiler_, ordinal));
  CUcontext current = nullptr;
  driver().ctx_get_current(&current);
  EXPECT_EQ(current, compiler_.context(0)) << "the caller's context is back";
}

TEST_F(GpuTest, AWarmCallIsQuick) {
  const auto time = [&](int calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) compiler_.get_function(0, self_test(1));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
  };
  std::printf("first call %.1f ms, warm call %.0f ns\n", time(1) * 1e3, time(100000) * 1e9);
  EXPECT_EQ(compiler_.get_function(0, self_test(1)).handle, compiler_.get_function(0, self_test(1)).handle);
}

TEST_F(GpuTest, ManyThreadsLoadOneFunction) {
  std::vector<std::thread> threads;
  std::vector<CUfunction> handles(16);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    threads.emplace_back([&, i] { handles[i] = compiler_.get_function(0, self_test(2)).handle; });
  }
  for (auto& thread : threads) thread.join();
  for (const CUfunction handle : handles) EXPECT_EQ(handle, handles[0]);
}

TEST_F(GpuTest, OutOfMemoryIsSaid) {
  try {
    DeviceBuffer buffer(driver(), std::size_t{1} << 50);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory) << error.what();
  }
}

}  // namespace
}  // namespace longconv::cuda
