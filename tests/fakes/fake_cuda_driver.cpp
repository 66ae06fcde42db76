// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// A libcuda.so.1 for tests: see fakes.h. Only what the library calls without a GPU's answer mattering.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "cuda/driver_abi.h"
#include "fakes/fakes.h"

using namespace longconv::cuda;

extern "C" {
longconv::fakes::DriverState fake_driver_state;
}

namespace {

auto& state = fake_driver_state;

const struct ReadFast {
  ReadFast() { state.fast_kernel = std::getenv("FAKE_CUDA_FAST"); }
} read_fast;

/// Contexts, modules and functions are pointers to these; nobody looks inside.
int contexts[16];
struct Module {
  std::string image;
  bool is_self_test = false;
  bool is_fast = false;
};
/// Modules that are loaded. The library never unloads a good one; here they are owned, which a leak checker wants.
std::mutex modules_mutex;
std::map<Module*, std::unique_ptr<Module>> modules;
thread_local CUcontext current_context = nullptr;
thread_local CUcontext context_stack[64];
thread_local int context_depth = 0;

CUresult called(int result = 0) {
  ++state.calls;
  return static_cast<CUresult>(result);
}

/// kernels/selftest.cuh.
void imitate_self_test(void* parameter) {
  struct {
    const float* x;
    float* y;
    std::int64_t count;
    float a;
  } p;
  std::memcpy(&p, parameter, sizeof p);
  for (std::int64_t i = 0; i < p.count; ++i) p.y[i] = p.a * p.x[i] + static_cast<float>(i);
  if (state.wrong_results) p.y[p.count - 1] = 0;
}

CUresult launched(CUfunction function, void** parameters, unsigned shared_bytes) {
  if (state.launch_result != 0) return called(state.launch_result);
  state.history[state.launches++ % state.kHistory] = {state.last_blocks, state.last_threads, shared_bytes,
                                                      state.last_cluster, state.last_overlaps};
  state.last_argument = *static_cast<const int*>(parameters[0]);
  const Module& module = *reinterpret_cast<Module*>(function);
  state.clock_ns += module.is_fast ? 1000 : 100000;
  if (module.is_self_test) imitate_self_test(parameters[0]);
  return called();
}

}  // namespace

#define FAKE extern "C" __attribute__((visibility("default"))) CUresult

FAKE cuInit(unsigned) { return called(state.init_result); }
FAKE cuDriverGetVersion(int* version) {
  *version = state.version;
  return called();
}
FAKE cuGetErrorName(CUresult result, const char** name) {
  *name = result == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_FAKE";
  return CUDA_SUCCESS;
}
FAKE cuGetErrorString(CUresult, const char** text) {
  *text = "the fake driver was told to fail";
  return CUDA_SUCCESS;
}
FAKE cuDeviceGetCount(int* count) {
  *count = state.device_count;
  return called();
}
FAKE cuDeviceGet(CUdevice* device, int ordinal) {
  *device = 100 + ordinal;  // a handle is not an ordinal
  return called();
}
FAKE cuDeviceGetName(char* name, int size, CUdevice) {
  std::snprintf(name, static_cast<std::size_t>(size), "NVIDIA H100 80GB HBM3");
  return called();
}
FAKE cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice) {
  *bytes = std::size_t{85} << 30;
  return called();
}
FAKE cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1980000; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 2619000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 << 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = 228 << 10; break;
    default: return called(CUDA_ERROR_INVALID_VALUE);
  }
  return called();
}
FAKE cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = reinterpret_cast<CUcontext>(&contexts[device - 100]);
  return called();
}
FAKE cuCtxGetCurrent(CUcontext* context) {
  *context = current_context;
  return CUDA_SUCCESS;
}
FAKE cuCtxPushCurrent_v2(CUcontext context) {
  context_stack[context_depth++] = current_context;
  current_context = context;
  ++state.contexts_pushed;
  return called();
}
FAKE cuCtxPopCurrent_v2(CUcontext* context) {
  *context = current_context;
  current_context = context_stack[--context_depth];
  ++state.contexts_popped;
  return called();
}
FAKE cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, int*, void**) {
  if (current_context == nullptr) return called(CUDA_ERROR_INVALID_CONTEXT);
  if (state.load_result != 0) return called(state.load_result);
  state.capture_mode_during_load = state.capture_mode.load();
  auto made = std::make_unique<Module>(Module{static_cast<const char*>(image)});
  const auto has = [&](const char* text) { return made->image.find(text) != std::string::npos; };
  made->is_self_test = has("self_test") && !has("VARIANT");
  const char* const fast = state.fast_kernel;
  made->is_fast = fast != nullptr && has(fast);
  *module = reinterpret_cast<CUmodule>(made.get());
  std::lock_guard lock(modules_mutex);
  Module* key = made.get();
  modules.emplace(key, std::move(made));
  ++state.modules_loaded;
  return called();
}
FAKE cuModuleUnload(CUmodule module) {
  std::lock_guard lock(modules_mutex);
  modules.erase(reinterpret_cast<Module*>(module));
  ++state.modules_unloaded;
  return called();
}
FAKE cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  if (reinterpret_cast<Module*>(module)->image.find(name) == std::string::npos) return called(CUDA_ERROR_NOT_FOUND);
  *function = reinterpret_cast<CUfunction>(module);
  return called();
}
FAKE cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction) {
  *value = attribute == CU_FUNC_ATTRIBUTE_NUM_REGS                ? 168
           : attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? state.max_threads.load()
                                                                  : 0;
  return called();
}
FAKE cuFuncSetAttribute(CUfunction, CUfunction_attribute attribute, int value) {
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) state.dynamic_shared_limit = value;
  return called();
}
FAKE cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  *mode = static_cast<CUstreamCaptureMode>(state.capture_mode.exchange(*mode));
  return called();
}
FAKE cuLaunchKernel(CUfunction function, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned, unsigned,
                    unsigned shared_bytes, CUstream, void** parameters, void**) {
  state.last_blocks = blocks, state.last_threads = threads, state.last_cluster = 1, state.last_overlaps = false;
  return launched(function, parameters, shared_bytes);
}
FAKE cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void**) {
  state.last_blocks = config->gridDimX, state.last_threads = config->blockDimX, state.last_cluster = 1;
  state.last_overlaps = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
      state.last_cluster = static_cast<int>(config->attrs[i].value.clusterDim.x);
    }
    if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) {
      state.last_overlaps = config->attrs[i].value.programmaticStreamSerializationAllowed != 0;
    }
  }
  return launched(function, parameters, config->sharedMemBytes);
}
FAKE cuMemAlloc_v2(CUdeviceptr* address, std::size_t bytes) {
  *address = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  ++state.allocations_alive;
  return called();
}
FAKE cuMemFree_v2(CUdeviceptr address) {
  std::free(reinterpret_cast<void*>(address));
  --state.allocations_alive;
  return called();
}
FAKE cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, std::size_t bytes, CUstream) {
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return called();
}
FAKE cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, std::size_t bytes, CUstream) {
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return called();
}
FAKE cuMemsetD8Async(CUdeviceptr to, unsigned char byte, std::size_t bytes, CUstream) {
  std::memset(reinterpret_cast<void*>(to), byte, bytes);
  ++state.clears;
  return called();
}
FAKE cuStreamCreate(CUstream* stream, unsigned) {
  *stream = reinterpret_cast<CUstream>(&contexts[15]);
  return called();
}
FAKE cuStreamDestroy_v2(CUstream) { return called(); }
FAKE cuStreamSynchronize(CUstream) { return called(); }
FAKE cuStreamIsCapturing(CUstream, CUstreamCaptureStatus* status) {
  *status = static_cast<CUstreamCaptureStatus>(state.capturing.load());
  return called();
}
FAKE cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream) {
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  return called();
}
FAKE cuEventCreate(CUevent* event, unsigned) {
  *event = reinterpret_cast<CUevent>(new std::int64_t(0));
  ++state.allocations_alive;
  return called();
}
FAKE cuEventDestroy_v2(CUevent event) {
  delete reinterpret_cast<std::int64_t*>(event);
  --state.allocations_alive;
  return called();
}
FAKE cuEventRecord(CUevent event, CUstream) {
  *reinterpret_cast<std::int64_t*>(event) = state.clock_ns;
  return called();
}
FAKE cuEventSynchronize(CUevent) { return called(); }
FAKE cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  *milliseconds =
      static_cast<float>(*reinterpret_cast<std::int64_t*>(end) - *reinterpret_cast<std::int64_t*>(start)) * 1e-6f;
  return called();
}
