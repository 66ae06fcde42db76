// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/driver.h"

#include <atomic>
#include <cstdlib>
#include <mutex>

namespace longconv::cuda {
namespace {

/// What the user can do about a failure; empty when the driver's own words say it all.
const char* advice(CUresult result) {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return "The GPU's memory is full: free tensors, use a smaller batch, or look with nvidia-smi for other "
             "processes.";
    case CUDA_ERROR_NOT_INITIALIZED:
      return "CUDA does not survive fork(): start worker processes with the 'spawn' or 'forkserver' method.";
    case CUDA_ERROR_DEINITIALIZED: return "The process is shutting down: finish GPU work before exit handlers run.";
    case CUDA_ERROR_STUB_LIBRARY:
      return "The toolkit's stub was loaded in place of the driver: take .../lib64/stubs out of LD_LIBRARY_PATH.";
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
      return "Another process holds the GPU in exclusive mode (nvidia-smi -q -d COMPUTE).";
    case CUDA_ERROR_NO_DEVICE:
      return "Look at CUDA_VISIBLE_DEVICES and nvidia-smi; a container must be started with its GPUs (--gpus all).";
    case CUDA_ERROR_INVALID_DEVICE:
      return "The device index is not among the visible GPUs (CUDA_VISIBLE_DEVICES renumbers them).";
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
      return "The driver does not take this binary: it is built for another GPU, or NVRTC is newer than the driver. "
             "Install the newest driver, or point LONGCONV_NVRTC to an NVRTC of the driver's CUDA version.";
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return "NVRTC is newer than the driver: install the newest driver, or point LONGCONV_NVRTC to an NVRTC of the "
             "driver's CUDA version.";
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
      return "libnvidia-ptxjitcompiler.so.1 of the driver is missing: repair the driver's installation, or use an "
             "NVRTC "
             "that knows this GPU (LONGCONV_NVRTC).";
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
      return "libcuda and the kernel module are of different versions: reboot, or repair the driver's installation.";
    case CUDA_ERROR_ECC_UNCORRECTABLE:
      return "The GPU reports a memory error that it could not correct: results are lost, restart the process.";
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
      return "A kernel launched earlier, perhaps by other code, failed and the CUDA context is lost: restart the "
             "process. "
             "CUDA_LAUNCH_BLOCKING=1 or compute-sanitizer finds the kernel.";
    default: return "";
  }
}

ErrorCode code_of(CUresult result) {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY: return ErrorCode::out_of_memory;
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: return ErrorCode::unavailable;
    default: return ErrorCode::device;
  }
}

DynamicLibrary load_driver(const std::string& library) {
  std::string why;
  if (auto loaded = DynamicLibrary::try_open(library, DynamicLibrary::Visibility::local, &why))
    return *std::move(loaded);
  throw Error(
      ErrorCode::unavailable,
      "no CUDA driver: " + why +
          ". Install NVIDIA's driver (CUDA 11.7 or newer; nvidia-smi must work), or start the container with its "
          "GPUs (--gpus all). Tensors on the CPU need none of this.");
}

}  // namespace

std::string cuda_version_string(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Driver::Driver(const std::string& library) : library_(load_driver(library)) {
#define LONGCONV_DRIVER_FUNCTION(name, symbol, since, ...) \
  name.pointer_ = reinterpret_cast<decltype(name)::Pointer>(library_.find_symbol(#symbol));
#include "cuda/driver_functions.inc"
#undef LONGCONV_DRIVER_FUNCTION
  // The version first: it needs no GPU, and explains every other failure of an old driver.
  driver_get_version(&version_);
  if (version_ < kOldestVersion) {
    throw Error(ErrorCode::unavailable, "the CUDA driver (" + path() + ") supports CUDA " +
                                            cuda_version_string(version_) + ", at least " +
                                            cuda_version_string(kOldestVersion) + " is needed: update NVIDIA's driver");
  }
  init(0);
}

const Driver& Driver::instance() {
  static std::mutex mutex;
  // Never destroyed: kernels may be launched from other static objects' destructors, and the driver has its own end.
  static std::atomic<const Driver*> driver{nullptr};
  if (const Driver* made = driver.load(std::memory_order_acquire)) return *made;
  std::lock_guard lock(mutex);
  if (driver.load(std::memory_order_relaxed) == nullptr) {
    const char* file = std::getenv("LONGCONV_CUDA_DRIVER");
    driver.store(new Driver(file != nullptr && *file != '\0' ? file : "libcuda.so.1"), std::memory_order_release);
  }
  return *driver.load(std::memory_order_relaxed);
}

std::string Driver::describe(CUresult result) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (get_error_name.exists()) get_error_name.raw(result, &name);
  if (get_error_string.exists()) get_error_string.raw(result, &text);
  std::string description = name != nullptr ? name : "CUDA error";
  description += " (" + std::to_string(static_cast<int>(result)) + ")";
  if (text != nullptr) description += std::string(": ") + text;
  return description;
}

void Driver::check(CUresult result, const char* symbol) const {
  if (result != CUDA_SUCCESS) throw_failure(result, symbol);
}

void Driver::throw_failure(CUresult result, const char* symbol) const {
  std::string message = std::string(symbol) + " failed with " + describe(result);
  if (const char* hint = advice(result); *hint != '\0') message += std::string(". ") + hint;
  throw Error(code_of(result), message);
}

void Driver::throw_missing(const char* symbol, int since) const {
  std::string supports = version_ > 0 ? " supports CUDA " + cuda_version_string(version_) + " and" : "";
  throw Error(ErrorCode::unavailable, "the CUDA driver (" + path() + ")" + supports + " has no " + symbol +
                                          ", which came with CUDA " + cuda_version_string(since) +
                                          ": update NVIDIA's driver");
}

}  // namespace longconv::cuda
