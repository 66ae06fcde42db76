// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/doctor.h"

#include <chrono>
#include <cstdio>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/launch.h"
#include "longconv/cuda.h"

namespace longconv::cuda {
namespace {

/// As in kernels/selftest.cuh.
struct SelfTestParameters {
  const float* x;
  float* y;
  std::int64_t count;
  float a;
};

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

/// Collects lines "what      text"; a failure is a line too.
class Report {
 public:
  void line(const std::string& what, const std::string& text) {
    constexpr std::size_t kColumn = 9;
    text_ += what + std::string(what.size() < kColumn ? kColumn - what.size() : 1, ' ') + text + "\n";
  }
  /// Runs `find`, which returns the line's text; false when it threw.
  template <typename Find>
  bool check(const std::string& what, Find find) {
    try {
      line(what, find());
      return true;
    } catch (const Error& error) {
      line(what, std::string("PROBLEM: ") + error.what());
      return false;
    }
  }
  std::string text() const { return text_; }

 private:
  std::string text_;
};

std::string describe_nvrtc(const Nvrtc& nvrtc) {
  std::string archs;
  for (const int arch : nvrtc.supported_archs()) {
    if (arch >= 80) archs.append(" ").append(std::to_string(arch));
  }
  return "version " + nvrtc.version_string() + " for compute capabilities" + archs + ", " + nvrtc.path();
}

std::string describe_cache(const DiskCache::Status& status) {
  std::string text = status.folder.empty() ? "none" : status.folder;
  text += ": " + std::to_string(status.entries) + " kernels, " +
          format("%.1f MiB", static_cast<double>(status.bytes) / (1 << 20)) + " of at most " +
          std::to_string(status.max_bytes >> 20);
  if (!status.on_disk) text += ". New kernels are kept in memory only: " + status.reason;
  return text;
}

std::string test_gpu(Compiler& compiler, int ordinal) {
  const Device& device = compiler.device(ordinal);
  const Target target = compiler.target_for(device.compute_capability);
  const auto start = std::chrono::steady_clock::now();
  run_self_test(compiler, ordinal);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return device.to_string() + ", " + format("%.1f GiB", static_cast<double>(device.memory_bytes) / (1 << 30)) +
         ", kernels for " + target.name() + ", self-test passed in " + format("%.2f s", seconds);
}

}  // namespace

void run_self_test(Compiler& compiler, int ordinal) {
  KernelSpec spec;
  spec.file = "selftest.cuh";
  spec.entry = "self_test";
  const Function function = compiler.get_function(ordinal, spec);
  const Driver& driver = compiler.driver();
  const ContextScope current(driver, function.context);

  constexpr std::int64_t kCount = 100003;  // no multiple of anything; every value below 2^24 and so exact
  std::vector<float> x(kCount), y(kCount, -1.0f);
  for (std::int64_t i = 0; i < kCount; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i % 1009);
  const std::size_t bytes = x.size() * sizeof(float);
  const Stream stream(driver);
  const DeviceBuffer device_x(driver, bytes), device_y(driver, bytes);
  device_x.upload(x.data(), bytes, stream);
  device_y.fill(0xff, stream);  // NaN: an element that is not written shows
  const SelfTestParameters parameters{device_x.as<const float>(), device_y.as<float>(), kCount, 3.0f};
  LaunchShape shape;
  shape.blocks = 64;
  shape.threads = 256;
  launch(driver, function, shape, stream.get(), parameters);
  device_y.download(y.data(), bytes, stream);
  stream.synchronize();
  for (std::int64_t i = 0; i < kCount; ++i) {
    const float expected = 3.0f * static_cast<float>(i % 1009) + static_cast<float>(i);
    const float actual = y[static_cast<std::size_t>(i)];
    if (actual != expected) {
      throw Error(ErrorCode::device, "the self-test computed " + std::to_string(actual) + " where " +
                                         std::to_string(expected) + " is right (element " + std::to_string(i) +
                                         "): GPU " + std::to_string(ordinal) + " or its driver does not work");
    }
  }
}

Diagnosis diagnose(Compiler* given) {
  Report report;
  Compiler* compiler = given;
  bool good = report.check("cache", [&] {
    if (compiler == nullptr) compiler = &Compiler::instance();  // throws for an environment that makes no sense
    return describe_cache(compiler->cache().status());
  });
  if (compiler == nullptr) return {false, report.text()};
  int gpus = 0;
  good &= report.check("driver", [&] {
    const Driver& driver = compiler->driver();
    gpus = device_count(driver);
    return "for CUDA " + cuda_version_string(driver.version()) + ", " + std::to_string(gpus) + " GPU" +
           (gpus == 1 ? "" : "s") + ", " + driver.path();
  });
  good &= report.check("nvrtc", [&] { return describe_nvrtc(compiler->nvrtc()); });
  const bool runnable = good;
  for (int ordinal = 0; runnable && ordinal < gpus; ++ordinal) {
    good &= report.check("gpu " + std::to_string(ordinal), [&] { return test_gpu(*compiler, ordinal); });
  }
  return {good && gpus > 0, report.text()};
}

}  // namespace longconv::cuda
