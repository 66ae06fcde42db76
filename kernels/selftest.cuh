// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The self-test of `longconv doctor`: shows that a kernel compiles, loads, launches and computes on this GPU.
///
///   y[i] = a * x[i] + i      for i in [0, count)
///
/// One thread an element, a grid-stride loop. With a and x small integers every value is exact.
#include "ptx/types.cuh"

struct SelfTestParameters {
  const float* x;
  float* y;
  int64_t count;
  float a;
};

extern "C" __global__ void __launch_bounds__(256) self_test(SelfTestParameters p) {
  const int64_t step = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.count; i += step) {
    p.y[i] = p.a * p.x[i] + (float)i;
  }
}
