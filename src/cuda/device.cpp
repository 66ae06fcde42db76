// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/device.h"

#include <algorithm>
#include <charconv>

#include "longconv/error.h"

namespace longconv {
namespace {

/// What the driver or the vendor's data sheet says of common GPUs.
struct KnownGpu {
  const char* key;
  const char* model;
  int compute_capability;
  int sm_count;
  int shared_kib_per_block;
  int shared_kib_per_sm;
  int l2_mib;
  int memory_gib;
  double memory_gb_per_second;
  double clock_ghz;
};

constexpr KnownGpu kKnownGpus[] = {
    {"a100", "NVIDIA A100-SXM4-80GB", 80, 108, 163, 164, 40, 80, 2039, 1.410},
    {"a10", "NVIDIA A10", 86, 72, 99, 100, 6, 24, 600, 1.695},
    {"rtx3090", "NVIDIA GeForce RTX 3090", 86, 82, 99, 100, 6, 24, 936, 1.695},
    {"l4", "NVIDIA L4", 89, 58, 99, 100, 48, 24, 300, 2.040},
    {"l40s", "NVIDIA L40S", 89, 142, 99, 100, 96, 48, 864, 2.520},
    {"rtx4090", "NVIDIA GeForce RTX 4090", 89, 128, 99, 100, 72, 24, 1008, 2.520},
    {"h100", "NVIDIA H100 80GB HBM3", 90, 132, 227, 228, 50, 80, 3352, 1.980},
    {"h200", "NVIDIA H200", 90, 132, 227, 228, 60, 141, 4800, 1.980},
    {"b200", "NVIDIA B200", 100, 148, 227, 228, 126, 180, 8000, 1.965},
    {"rtx5090", "NVIDIA GeForce RTX 5090", 120, 170, 99, 100, 96, 32, 1792, 2.407},
};

}  // namespace

Device Device::known(std::string_view name) {
  std::string names;
  for (const KnownGpu& gpu : kKnownGpus) {
    if (name != gpu.key) {
      names += std::string(names.empty() ? "" : ", ") + gpu.key;
      continue;
    }
    Device device;
    device.kind = Kind::cuda;
    device.model = gpu.model;
    device.compute_capability = gpu.compute_capability;
    device.sm_count = gpu.sm_count;
    device.shared_bytes_per_block = std::int64_t{gpu.shared_kib_per_block} << 10;
    device.shared_bytes_per_sm = std::int64_t{gpu.shared_kib_per_sm} << 10;
    device.l2_bytes = std::int64_t{gpu.l2_mib} << 20;
    device.memory_bytes = std::int64_t{gpu.memory_gib} << 30;
    device.memory_bytes_per_second = gpu.memory_gb_per_second * 1e9;
    device.clock_hz = gpu.clock_ghz * 1e9;
    return device;
  }
  throw Error(ErrorCode::invalid_value, "no GPU model is known as \"" + std::string(name) + "\"; known are " + names +
                                            " (and cuda, cuda:1, ... for the GPUs of this machine)");
}

Device Device::gpu(std::string_view name) {
  constexpr std::string_view kPrefix = "cuda";
  if (name.substr(0, kPrefix.size()) != kPrefix) return known(name);
  if (name == kPrefix) return cuda(0);
  int ordinal = -1;
  const char* const end = name.data() + name.size();
  const char* const digits = name.data() + std::min(kPrefix.size() + 1, name.size());
  const auto [rest, error] = std::from_chars(digits, end, ordinal);
  if (name[kPrefix.size()] != ':' || error != std::errc{} || rest != end) {
    throw Error(ErrorCode::invalid_value,
                "expected a GPU as \"cuda\", \"cuda:1\" or the name of a model, but got \"" + std::string(name) + "\"");
  }
  return cuda(ordinal);
}

Device Device::cuda(int ordinal) { return cuda::query_device(cuda::Driver::instance(), ordinal); }

namespace cuda {

std::vector<std::string> known_device_names() {
  std::vector<std::string> names;
  for (const KnownGpu& gpu : kKnownGpus) names.push_back(gpu.key);
  return names;
}

int device_count(const Driver& driver) {
  int count = 0;
  driver.device_get_count(&count);
  return count;
}

Device query_device(const Driver& driver, int ordinal) {
  const int count = device_count(driver);
  if (ordinal < 0 || ordinal >= count) {
    throw Error(ErrorCode::invalid_value, "there is no GPU " + std::to_string(ordinal) + ": the process sees " +
                                              std::to_string(count) +
                                              " (CUDA_VISIBLE_DEVICES chooses and renumbers them)");
  }
  CUdevice handle = 0;
  driver.device_get(&handle, ordinal);
  const auto attribute = [&](CUdevice_attribute which) {
    int value = 0;
    driver.device_get_attribute(&value, which, handle);
    return std::int64_t{value};
  };
  char model[256] = {};
  driver.device_get_name(model, sizeof model, handle);
  std::size_t memory_bytes = 0;
  driver.device_total_mem(&memory_bytes, handle);

  Device device;
  device.kind = Device::Kind::cuda;
  device.model = model;
  device.ordinal = ordinal;
  device.compute_capability = static_cast<int>(10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
                                               attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  device.sm_count = static_cast<int>(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  device.shared_bytes_per_block = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  device.shared_bytes_per_sm = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
  device.l2_bytes = attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  device.memory_bytes = static_cast<std::int64_t>(memory_bytes);
  // Two transfers a clock on every memory type that the attribute's clock is given for.
  device.memory_bytes_per_second = 2.0 * 1000.0 *
                                   static_cast<double>(attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)) *
                                   static_cast<double>(attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)) / 8.0;
  device.clock_hz = 1000.0 * static_cast<double>(attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE));
  return device;
}

CUcontext primary_context(const Driver& driver, int ordinal) {
  CUdevice handle = 0;
  driver.device_get(&handle, ordinal);
  CUcontext context = nullptr;
  driver.device_primary_ctx_retain(&context, handle);
  return context;
}

}  // namespace cuda
}  // namespace longconv
