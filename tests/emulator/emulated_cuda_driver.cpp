// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// A libcuda.so.1 that runs kernels on the host: see docs/design/emulator.md. Streams are synchronous. Its modules are
/// shared libraries made by emulated_nvrtc.cpp. The machine has three GPUs, of compute capability 9.0, 8.0 and 8.6,
/// with few multiprocessors, so that small problems keep persistent blocks busy for several tiles.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "cuda/driver_abi.h"
#include "emulator/engine.h"
#include "emulator/tensor_map.h"

using namespace longconv::cuda;
using namespace longconv::emulator;

namespace {

struct Gpu {
  const char* model;
  int major, minor, sm_count, shared_per_block, shared_per_sm, l2_bytes;
};
constexpr Gpu kGpus[] = {{"NVIDIA H100 80GB HBM3 (emulated)", 9, 0, 3, 227 << 10, 228 << 10, 50 << 20},
                         {"NVIDIA A100-SXM4-80GB (emulated)", 8, 0, 2, 163 << 10, 164 << 10, 40 << 20},
                         {"NVIDIA GeForce RTX 3090 (emulated)", 8, 6, 2, 99 << 10, 100 << 10, 6 << 20}};
constexpr int kGpuCount = static_cast<int>(std::size(kGpus));
constexpr std::size_t kMemoryBytes = std::size_t{80} << 30;

/// A context is a pointer to one of these; nobody looks inside.
int contexts[kGpuCount];
thread_local CUcontext current_context = nullptr;
thread_local CUcontext context_stack[64];
thread_local int context_depth = 0;
thread_local CUstreamCaptureMode capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

const Gpu& current_gpu() { return kGpus[reinterpret_cast<int*>(current_context) - contexts]; }

struct Module {
  void* library = nullptr;
  int file = -1;  // open as long as the module: its number is in the library's name
  Thread** running = nullptr;
  unsigned char *shared_begin = nullptr, *shared_end = nullptr;
  ~Module() {
    if (library != nullptr) ::dlclose(library);
    if (file >= 0) ::close(file);
  }
  template <typename T>
  T* find(const std::string& name) const {
    return static_cast<T*>(::dlsym(library, name.c_str()));
  }
  unsigned static_shared_bytes() const { return static_cast<unsigned>(shared_end - shared_begin); }
};

struct Kernel {
  Module* module;
  void (*entry)(void**);
  int dynamic_shared_limit = 48 << 10;
};

GlobalMemory& memory() {
  static auto* const memory = new GlobalMemory;
  return *memory;
}
Engine& engine() {
  static auto* const engine = new Engine(memory());
  return *engine;
}
std::mutex launching;

/// As of a real GPU after a fault, nothing works any more; but here other tests want to go on, so it is told once only.
thread_local std::string last_failure;

/// Whether the last work of a stream was a kernel: only that may be overlapped.
std::map<CUstream, bool>& ends_with_kernel() {
  static auto* const streams = new std::map<CUstream, bool>;
  return *streams;
}
/// A copy or a clear: no kernel runs meanwhile, which may be watching the memory.
template <typename Work>
CUresult not_a_kernel(CUstream stream, const Work& work) {
  const std::lock_guard lock(launching);
  ends_with_kernel()[stream] = false;
  work();
  return CUDA_SUCCESS;
}

CUresult launch(CUfunction function, unsigned blocks, unsigned threads, unsigned cluster, unsigned shared_bytes,
                CUstream stream, bool overlaps, void** parameters) {
  const auto& kernel = *reinterpret_cast<Kernel*>(function);
  if (current_context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  constexpr unsigned kMostThreads = 1024, kMostClusterBlocks = 8;
  if (threads < 1 || threads > kMostThreads || cluster > kMostClusterBlocks || blocks % cluster != 0 ||
      (cluster > 1 && current_gpu().major < 9)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (shared_bytes > static_cast<unsigned>(kernel.dynamic_shared_limit)) return CUDA_ERROR_INVALID_VALUE;
  Launch what;
  what.entry = kernel.entry;
  what.parameters = parameters;
  what.blocks = blocks;
  what.threads = threads;
  what.cluster_blocks = cluster;
  what.dynamic_shared_bytes = shared_bytes;
  what.running = kernel.module->running;
  what.static_shared = kernel.module->shared_begin;
  what.static_shared_bytes = kernel.module->static_shared_bytes();
  what.overlaps = overlaps;
  const std::lock_guard lock(launching);
  Outcome outcome;
  if (overlaps && !ends_with_kernel()[stream])
    outcome.error = "a launch may overlap the kernel before, but there is none: a copy, a clear or nothing";
  else
    outcome = engine().run(what);
  ends_with_kernel()[stream] = true;
  if (outcome.error.empty()) return CUDA_SUCCESS;
  last_failure = outcome.error;
  std::fprintf(stderr, "emulator: %s\n", outcome.error.c_str());
  return outcome.illegal_address ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_ERROR_LAUNCH_FAILED;
}

double now_milliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

#define EMULATED extern "C" __attribute__((visibility("default"))) CUresult

EMULATED cuInit(unsigned) { return CUDA_SUCCESS; }
EMULATED cuDriverGetVersion(int* version) {
  *version = 12040;
  return CUDA_SUCCESS;
}
EMULATED cuGetErrorName(CUresult result, const char** name) {
  switch (result) {
    case CUDA_ERROR_INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
    case CUDA_ERROR_OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case CUDA_ERROR_ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case CUDA_ERROR_LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
    default: *name = "CUDA_ERROR_EMULATED";
  }
  return CUDA_SUCCESS;
}
EMULATED cuGetErrorString(CUresult result, const char** text) {
  const bool launch_failed = result == CUDA_ERROR_ILLEGAL_ADDRESS || result == CUDA_ERROR_LAUNCH_FAILED;
  *text = launch_failed ? last_failure.c_str() : "an error of the emulated driver";
  return CUDA_SUCCESS;
}

EMULATED cuDeviceGetCount(int* count) {
  *count = kGpuCount;
  return CUDA_SUCCESS;
}
EMULATED cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return ordinal >= 0 && ordinal < kGpuCount ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
EMULATED cuDeviceGetName(char* name, int size, CUdevice device) {
  std::snprintf(name, static_cast<std::size_t>(size), "%s", kGpus[device].model);
  return CUDA_SUCCESS;
}
EMULATED cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice) {
  *bytes = kMemoryBytes;
  return CUDA_SUCCESS;
}
EMULATED cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  const Gpu& gpu = kGpus[device];
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1980000; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = gpu.sm_count; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 2619000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = gpu.l2_bytes; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = gpu.major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = gpu.minor; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = gpu.shared_per_block; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = gpu.shared_per_sm; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: *value = 0; break;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
EMULATED cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = reinterpret_cast<CUcontext>(&contexts[device]);
  return CUDA_SUCCESS;
}

EMULATED cuCtxGetCurrent(CUcontext* context) {
  *context = current_context;
  return CUDA_SUCCESS;
}
EMULATED cuCtxPushCurrent_v2(CUcontext context) {
  if (context_depth == static_cast<int>(std::size(context_stack))) return CUDA_ERROR_INVALID_VALUE;
  context_stack[context_depth++] = current_context;
  current_context = context;
  return CUDA_SUCCESS;
}
EMULATED cuCtxPopCurrent_v2(CUcontext* context) {
  if (context_depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
  *context = current_context;
  current_context = context_stack[--context_depth];
  return CUDA_SUCCESS;
}
EMULATED cuCtxSynchronize() { return CUDA_SUCCESS; }

EMULATED cuModuleLoadDataEx(CUmodule* loaded, const void* image, unsigned, int*, void**) {
  if (current_context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  // emulated_nvrtc.cpp's image: a line "longconv-emulator BYTES ARCH FEATURES" before the library.
  unsigned long bytes = 0;
  int arch = 0, header = 0, specific = 0;
  if (std::sscanf(static_cast<const char*>(image), "longconv-emulator %lu %d %d%n", &bytes, &arch, &specific,
                  &header) != 3)
    return CUDA_ERROR_INVALID_IMAGE;
  const Gpu& gpu = current_gpu();
  const int capability = 10 * gpu.major + gpu.minor;
  if (arch / 10 != gpu.major || arch > capability || (specific != 0 && arch != capability))
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  auto module = std::make_unique<Module>();
  module->file = ::memfd_create("longconv-kernel", MFD_CLOEXEC);
  const char* at = static_cast<const char*>(image) + header + 1;
  for (unsigned long done = 0; done < bytes;) {
    const ssize_t written = ::write(module->file, at + done, bytes - done);
    if (written <= 0) return CUDA_ERROR_OUT_OF_MEMORY;
    done += static_cast<unsigned long>(written);
  }
  module->library = ::dlopen(("/proc/self/fd/" + std::to_string(module->file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module->library == nullptr) {
    std::fprintf(stderr, "emulator: %s\n", ::dlerror());
    return CUDA_ERROR_INVALID_IMAGE;
  }
  *module->find<Services*>("longconv_emulator_services") = &engine();
  module->running = module->find<Thread*>("longconv_emulator_thread");
  module->shared_begin = *module->find<unsigned char*>("longconv_emulator_shared_begin");
  module->shared_end = *module->find<unsigned char*>("longconv_emulator_shared_end");
  *loaded = reinterpret_cast<CUmodule>(module.release());
  return CUDA_SUCCESS;
}
EMULATED cuModuleUnload(CUmodule module) {
  delete reinterpret_cast<Module*>(module);
  return CUDA_SUCCESS;
}
EMULATED cuModuleGetFunction(CUfunction* function, CUmodule handle, const char* name) {
  auto* const module = reinterpret_cast<Module*>(handle);
  void* const entry = module->find<void>(std::string("longconv_emulator_launch_") + name);
  if (entry == nullptr) return CUDA_ERROR_NOT_FOUND;
  // As long as the process, like the library's modules.
  *function = reinterpret_cast<CUfunction>(new Kernel{module, reinterpret_cast<void (*)(void**)>(entry)});
  return CUDA_SUCCESS;
}
EMULATED cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  const auto& kernel = *reinterpret_cast<Kernel*>(function);
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = static_cast<int>(kernel.module->static_shared_bytes()); break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = kernel.dynamic_shared_limit; break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}
EMULATED cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
  if (value > current_gpu().shared_per_block) return CUDA_ERROR_INVALID_VALUE;
  reinterpret_cast<Kernel*>(function)->dynamic_shared_limit = std::max(48 << 10, value);
  return CUDA_SUCCESS;
}
EMULATED cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int, std::size_t) {
  *blocks = 1;
  return CUDA_SUCCESS;
}
EMULATED cuOccupancyMaxActiveClusters(int* clusters, CUfunction, const CUlaunchConfig*) {
  *clusters = 1;
  return CUDA_SUCCESS;
}
EMULATED cuLaunchKernel(CUfunction function, unsigned blocks, unsigned y, unsigned z, unsigned threads, unsigned ty,
                        unsigned tz, unsigned shared_bytes, CUstream stream, void** parameters, void**) {
  if (y * z * ty * tz != 1) return CUDA_ERROR_NOT_SUPPORTED;
  return launch(function, blocks, threads, 1, shared_bytes, stream, false, parameters);
}
EMULATED cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void**) {
  unsigned cluster = 1;
  bool overlaps = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const CUlaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) cluster = attribute.value.clusterDim.x;
    if (attribute.id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
      overlaps = attribute.value.programmaticStreamSerializationAllowed != 0;
  }
  return launch(function, config->gridDimX, config->blockDimX, cluster, config->sharedMemBytes, config->hStream,
                overlaps, parameters);
}

EMULATED cuTensorMapEncodeTiled(CUtensorMap* out, CUtensorMapDataType type, unsigned rank, void* base,
                                const std::uint64_t* sizes, const std::uint64_t* strides_bytes,
                                const std::uint32_t* box, const std::uint32_t* element_strides, CUtensorMapInterleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const bool known = type == CU_TENSOR_MAP_DATA_TYPE_UINT16 || type == CU_TENSOR_MAP_DATA_TYPE_UINT32;
  const bool swizzled = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  if (!known || rank != 3 || !(swizzled || swizzle == CU_TENSOR_MAP_SWIZZLE_NONE)) return CUDA_ERROR_NOT_SUPPORTED;
  if (reinterpret_cast<std::uintptr_t>(base) % 16 != 0 || reinterpret_cast<std::uintptr_t>(out) % 64 != 0)
    return CUDA_ERROR_INVALID_VALUE;
  TensorMap map;
  map.base = static_cast<const unsigned char*>(base);
  map.swizzled = swizzled ? 1 : 0;
  map.strides_bytes[0] = type == CU_TENSOR_MAP_DATA_TYPE_UINT16 ? 2 : 4;
  for (int d = 0; d < 3; ++d) {
    map.sizes[d] = sizes[d], map.box[d] = box[d];
    if (sizes[d] == 0 || sizes[d] > std::uint64_t{1} << 32 || box[d] == 0 || box[d] > 256 || element_strides[d] != 1)
      return CUDA_ERROR_INVALID_VALUE;
    if (d == 0) continue;
    map.strides_bytes[d] = strides_bytes[d - 1];
    if (map.strides_bytes[d] % 16 != 0 || map.strides_bytes[d] >= std::uint64_t{1} << 40)
      return CUDA_ERROR_INVALID_VALUE;
  }
  const std::uint64_t row_bytes = box[0] * map.strides_bytes[0];
  if (row_bytes % 16 != 0 || (swizzled && row_bytes != 128)) return CUDA_ERROR_INVALID_VALUE;
  std::memset(out, 0, sizeof *out);
  std::memcpy(out, &map, sizeof map);
  return CUDA_SUCCESS;
}

EMULATED cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  *total = kMemoryBytes;
  *free = kMemoryBytes - memory().bytes_in_use();
  return CUDA_SUCCESS;
}
EMULATED cuMemAlloc_v2(CUdeviceptr* address, std::size_t bytes) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  void* const made = bytes > kMemoryBytes ? nullptr : memory().allocate(bytes);
  *address = reinterpret_cast<CUdeviceptr>(made);
  return made == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
EMULATED cuMemFree_v2(CUdeviceptr address) {
  return memory().release(reinterpret_cast<void*>(address)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
EMULATED cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream) {
  return not_a_kernel(stream, [&] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
}
EMULATED cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  return not_a_kernel(stream, [&] { std::memcpy(to, reinterpret_cast<const void*>(from), bytes); });
}
EMULATED cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  return not_a_kernel(stream,
                      [&] { std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes); });
}
EMULATED cuMemsetD8Async(CUdeviceptr to, unsigned char byte, std::size_t bytes, CUstream stream) {
  return not_a_kernel(stream, [&] { std::memset(reinterpret_cast<void*>(to), byte, bytes); });
}
EMULATED cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr address) {
  if (!memory().contains(reinterpret_cast<const void*>(address))) return CUDA_ERROR_INVALID_VALUE;
  const int found = attribute == CU_POINTER_ATTRIBUTE_MEMORY_TYPE ? 2 : 0;
  std::memcpy(value, &found, sizeof found);
  return CUDA_SUCCESS;
}

EMULATED cuStreamCreate(CUstream* stream, unsigned) {
  *stream = reinterpret_cast<CUstream>(new char);
  return CUDA_SUCCESS;
}
EMULATED cuStreamDestroy_v2(CUstream stream) {
  delete reinterpret_cast<char*>(stream);
  return CUDA_SUCCESS;
}
EMULATED cuStreamSynchronize(CUstream) { return CUDA_SUCCESS; }
EMULATED cuStreamIsCapturing(CUstream, CUstreamCaptureStatus* status) {
  *status = CU_STREAM_CAPTURE_STATUS_NONE;
  return CUDA_SUCCESS;
}
EMULATED cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return CUDA_SUCCESS;
}
EMULATED cuEventCreate(CUevent* event, unsigned) {
  *event = reinterpret_cast<CUevent>(new double(0));
  return CUDA_SUCCESS;
}
EMULATED cuEventDestroy_v2(CUevent event) {
  delete reinterpret_cast<double*>(event);
  return CUDA_SUCCESS;
}
EMULATED cuEventRecord(CUevent event, CUstream) {
  *reinterpret_cast<double*>(event) = now_milliseconds();
  return CUDA_SUCCESS;
}
EMULATED cuEventSynchronize(CUevent) { return CUDA_SUCCESS; }
EMULATED cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  *milliseconds = static_cast<float>(*reinterpret_cast<double*>(end) - *reinterpret_cast<double*>(start));
  return CUDA_SUCCESS;
}
