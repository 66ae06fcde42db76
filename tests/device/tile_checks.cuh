// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Device side of tests/gpu/tile_test.cpp: parts of kernels/tile on data whose result the host knows exactly.
#include "tile/divisor.cuh"

extern "C" __global__ void check_divisor(const int* numbers, const int* divisors, int* quotients, int* remainders, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) quotients[i] = Divisor(divisors[i]).divide(numbers[i], remainders[i]);
}
