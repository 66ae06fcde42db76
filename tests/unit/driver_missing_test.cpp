// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What a user is told when the driver is missing, too old, without a GPU, or fails.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "cuda/device.h"
#include "cuda/driver.h"
#include "fakes/fakes.h"
#include "support/child_process.h"

namespace longconv::cuda {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

fakes::DriverState& state() {
  static auto* found =
      static_cast<fakes::DriverState*>(DynamicLibrary::open(LONGCONV_FAKE_CUDA_DRIVER).symbol("fake_driver_state"));
  return *found;
}

/// "code: message" of what making a driver throws, in a child whose fake driver is changed first.
template <typename Change>
std::string failure(const std::string& library, Change change) {
  return in_child([&]() -> std::string {
    change();
    try {
      Driver driver(library);
    } catch (const Error& error) {
      return std::to_string(static_cast<int>(error.code())) + ": " + error.what();
    }
    return "no error";
  });
}

const std::string kUnavailable = std::to_string(static_cast<int>(ErrorCode::unavailable)) + ": ";

TEST(Driver, MissingLibrary) {
  const std::string message = failure("libcuda-not-here.so.1", [] {});
  EXPECT_TRUE(contains(message, kUnavailable + "no CUDA driver: libcuda-not-here.so.1")) << message;
  EXPECT_TRUE(contains(message, "Install NVIDIA's driver")) << message;
  EXPECT_TRUE(contains(message, "--gpus all")) << message;
}

TEST(Driver, NotADriver) {
  const std::string message = failure("libc.so.6", [] {});
  EXPECT_TRUE(contains(message, "has no cuDriverGetVersion")) << message;
}

TEST(Driver, TooOld) {
  const std::string message = failure(LONGCONV_FAKE_CUDA_DRIVER, [] { state().version = 11040; });
  EXPECT_TRUE(contains(message, "supports CUDA 11.4, at least 11.7 is needed")) << message;
  EXPECT_TRUE(contains(message, LONGCONV_FAKE_CUDA_DRIVER)) << message;
}

TEST(Driver, NoGpu) {
  const std::string message = failure(LONGCONV_FAKE_CUDA_DRIVER, [] { state().init_result = CUDA_ERROR_NO_DEVICE; });
  EXPECT_TRUE(contains(message, kUnavailable + "cuInit failed with CUDA_ERROR_FAKE (100)")) << message;
  EXPECT_TRUE(contains(message, "CUDA_VISIBLE_DEVICES")) << message;
}

TEST(Driver, TheProcessesDriverTriesAgainAfterAFailure) {
  EXPECT_EQ(in_child([]() -> std::string {
              ::setenv("LONGCONV_CUDA_DRIVER", "libcuda-not-here.so.1", 1);
              for (int i = 0; i < 2; ++i) {
                try {
                  Driver::instance();
                  return "no error";
                } catch (const Error& error) {
                  if (!contains(error.what(), "libcuda-not-here")) return error.what();
                }
              }
              ::setenv("LONGCONV_CUDA_DRIVER", LONGCONV_FAKE_CUDA_DRIVER, 1);
              return cuda_version_string(Driver::instance().version());
            }),
            "12.4");
}

TEST(Driver, FailedCallsSayWhatToDo) {
  const Driver driver(LONGCONV_FAKE_CUDA_DRIVER);
  const auto message_of = [&](CUresult result, ErrorCode expected) -> std::string {
    try {
      driver.check(result, "cuSomething");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), expected) << error.what();
      return error.what();
    }
    return "no error";
  };
  const std::string memory = message_of(CUDA_ERROR_OUT_OF_MEMORY, ErrorCode::out_of_memory);
  EXPECT_TRUE(contains(memory, "cuSomething failed with CUDA_ERROR_OUT_OF_MEMORY (2): the fake driver")) << memory;
  EXPECT_TRUE(contains(memory, "smaller batch")) << memory;
  EXPECT_TRUE(contains(message_of(CUDA_ERROR_ILLEGAL_ADDRESS, ErrorCode::device), "compute-sanitizer"));
  EXPECT_TRUE(contains(message_of(CUDA_ERROR_NO_BINARY_FOR_GPU, ErrorCode::device), "LONGCONV_NVRTC"));
  EXPECT_TRUE(contains(message_of(CUDA_ERROR_NOT_INITIALIZED, ErrorCode::device), "fork()"));
  EXPECT_NO_THROW(driver.check(CUDA_SUCCESS, "cuSomething"));
}

TEST(Driver, AFunctionThatTheDriverLacksIsNamed) {
  const Driver driver(LONGCONV_FAKE_CUDA_DRIVER);
  ASSERT_FALSE(driver.mem_get_info.exists());  // the fake has none
  std::size_t free = 0, total = 0;
  try {
    driver.mem_get_info(&free, &total);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unavailable);
    EXPECT_TRUE(contains(error.what(), "supports CUDA 12.4 and has no cuMemGetInfo_v2")) << error.what();
  }
}

TEST(Device, IsWhatTheDriverSays) {
  const Driver driver(LONGCONV_FAKE_CUDA_DRIVER);
  const Device device = query_device(driver, 1);
  EXPECT_EQ(device.kind, Device::Kind::cuda);
  EXPECT_EQ(device.ordinal, 1);
  const Device known = Device::known("h100");
  EXPECT_EQ(device.model, known.model);
  EXPECT_EQ(device.compute_capability, known.compute_capability);
  EXPECT_EQ(device.sm_count, known.sm_count);
  EXPECT_EQ(device.shared_bytes_per_block, known.shared_bytes_per_block);
  EXPECT_EQ(device.shared_bytes_per_sm, known.shared_bytes_per_sm);
  EXPECT_EQ(device.l2_bytes, known.l2_bytes);
  EXPECT_NEAR(device.memory_bytes_per_second, known.memory_bytes_per_second, 1e9);
  EXPECT_EQ(device.clock_hz, known.clock_hz);
  EXPECT_NE(query_device(driver, 0), device) << "another GPU";
  for (const int ordinal : {-1, 2}) {
    try {
      query_device(driver, ordinal);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_value);
      EXPECT_TRUE(contains(error.what(), "no GPU " + std::to_string(ordinal) + ": the process sees 2")) << error.what();
    }
  }
}

TEST(Device, KnownModels) {
  for (const std::string& name : known_device_names()) {
    const Device device = Device::known(name);
    EXPECT_EQ(device.kind, Device::Kind::cuda) << name;
    EXPECT_GE(device.compute_capability, 80) << name;
    EXPECT_LE(device.shared_bytes_per_block, device.shared_bytes_per_sm - 1024) << name << ": a block reserves 1 KiB";
    EXPECT_TRUE(contains(device.to_string(), device.model)) << device.to_string();
    EXPECT_EQ(device, Device::known(name));
  }
  try {
    Device::known("h1000");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_value);
    EXPECT_TRUE(contains(error.what(), "h100, ")) << error.what();
  }
}

TEST(Device, GpuByEitherName) {
  EXPECT_EQ(in_child([]() -> std::string {
              ::setenv("LONGCONV_CUDA_DRIVER", LONGCONV_FAKE_CUDA_DRIVER, 1);
              return Device::gpu("cuda").to_string().substr(0, 7) + Device::gpu("cuda:1").to_string().substr(0, 6);
            }),
            "cuda 0 cuda 1");
  EXPECT_EQ(Device::gpu("l4"), Device::known("l4"));
  for (const char* name : {"cuda:", "cuda:x", "cuda:1x", "cuda1", "cudas", "cuda:99999999999", "", "cpu"}) {
    try {
      Device::gpu(name);
      FAIL() << name << ": no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_value) << name;
      EXPECT_TRUE(contains(error.what(), "\"" + std::string(name) + "\"")) << error.what();
    }
  }
}

}  // namespace
}  // namespace longconv::cuda
