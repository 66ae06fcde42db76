// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Sums the splits of a weight gradient, and of a bias gradient, in fixed order, and rounds once to the result's dtype.
//
//   w[o, i, k] = sum_s partial[s][o][i][k]        bias[o] = sum_s bias_partial[s][o]
//
// A block sums 32 neighbouring elements; of its 8 warps each adds one eighth of the splits, then warp 0 adds the eight.
// All additions are compensated, so that the number of splits does not show in the error: docs/design/numerics.md.
// Bytes: the partial sums once.
#include "ptx/control.cuh"
#include "tile/compensated.cuh"

// LC_RESULT: 0 f32, 1 bf16, 2 f16 (f32 partial sums), 3 f64 (f64 partial sums)
#if LC_RESULT == 0
using Result = float;
#elif LC_RESULT == 1
using Result = bf16;
#elif LC_RESULT == 2
using Result = f16;
#else
using Result = double;
#endif
#if LC_RESULT == 3
using Sum = double;
#else
using Sum = float;
#endif

constexpr int kElements = 32, kWarps = 8;

struct Params {
  const Sum* partial;       // [split][weight_elements]
  const Sum* bias_partial;  // [split][bias_elements]
  Result* w;
  Result* bias;
  int64_t splits, weight_elements, bias_elements;  // bias_elements: 0 without a bias gradient
  int64_t row_elements, kernel_size;               // in_channels_per_group * kernel_size
  int64_t w_out, w_in, w_tap, bias_stride;         // strides in elements
};

LC_DEVICE void narrow(float v, float& out) { out = v; }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(float v, E& out) { from_float(v, out); }

// One variable: the order of several, and with it the machine code, would depend on their mangled names.
__shared__ struct {
  Sum sum[kWarps][kElements], error[kWarps][kElements];
} shared;

extern "C" __global__ void __launch_bounds__(kElements * kWarps) longconv_reduce_wgrad(const __grid_constant__ Params p) {
  wait_for_previous_kernel();
  const int lane = threadIdx.x % kElements, warp = threadIdx.x / kElements;
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kElements + lane;
  const bool in_weight = element < p.weight_elements, exists = element < p.weight_elements + p.bias_elements;
  const int64_t pitch = in_weight ? p.weight_elements : p.bias_elements;
  const Sum* column = in_weight ? p.partial + element : p.bias_partial + (element - p.weight_elements);
  Compensated<Sum> total;
  total.clear();
  if (exists) {
    const int64_t begin = p.splits * warp / kWarps, end = p.splits * (warp + 1) / kWarps;
#pragma unroll 8
    for (int64_t split = begin; split < end; ++split) total.add(column[split * pitch]);
  }
  shared.sum[warp][lane] = total.sum;
  shared.error[warp][lane] = total.error;
  __syncthreads();
  if (warp != 0 || !exists) return;
#pragma unroll
  for (int i = 1; i < kWarps; ++i) total.add(shared.sum[i][lane], shared.error[i][lane]);
  if (in_weight) {
    const int64_t o = element / p.row_elements, rest = element % p.row_elements;
    narrow(total.value(), p.w[o * p.w_out + rest / p.kernel_size * p.w_in + rest % p.kernel_size * p.w_tap]);
  } else {
    narrow(total.value(), p.bias[(element - p.weight_elements) * p.bias_stride]);
  }
}
