// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// As much of the CUDA runtime and of PyTorch's header files about it as an ejected file's host part uses:
/// declarations, to compile it without a toolkit. Nothing is linked.
#pragma once
#include <c10/core/Device.h>

#include <cstddef>

#define CUDART_VERSION 13000
#define C10_CUDA_CHECK(call) (void)static_cast<cudaError_t>(call)
#define C10_CUDA_KERNEL_LAUNCH_CHECK() C10_CUDA_CHECK(cudaGetLastError())

enum cudaError_t { cudaSuccess };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };
typedef struct CUstream_st* cudaStream_t;
struct float4;

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

cudaError_t cudaGetLastError();
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream);
template <class Function>
cudaError_t cudaFuncSetAttribute(Function* function, cudaFuncAttribute attribute, int value);
template <class... Expected, class... Actual>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), Actual&&... arguments);

namespace c10::cuda {

class CUDAGuard {
 public:
  explicit CUDAGuard(c10::Device device);
  ~CUDAGuard();
};
struct CUDAStream {
  cudaStream_t stream() const;
};
CUDAStream getCurrentCUDAStream(signed char device = -1);

}  // namespace c10::cuda
