// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The data gradient where a padding mode shows a sample more than once: those elements of dx, whole.
//
//   dx[n, i, j] = sum over o, k, the padded positions P that show sample j, and t = (P + pad_left - k*dilation) / stride, if whole and
//                 inside dy:  w[o,i,k] * dy[n,o,t]    (+ residual[n,i,j])
//
//   reflect: P = j, -j, 2(L-1)-j      circular: P = j, j-L, j+L      replicate: [-pad_left, 0] for j = 0, [L-1, L-1+pad_right] for L-1
//
// The other elements, and these without what padding adds, are some other kernel's, which runs before. A warp computes an element: lanes
// share the products, partial sums are f64, so that no chain of additions is long. Few elements: pads times channels.
#include "ptx/control.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/common.cuh"
#include "tile/signal.cuh"

// --- problem: LC_ELEMENT 0 f32, 1 bf16, 2 f16, 3 f64; channels are per group, of the convolution: kInChannels are dx's
constexpr int kInChannels = LC_IN_CHANNELS, kOutChannels = LC_OUT_CHANNELS;
constexpr int64_t kKernel = LC_KERNEL_SIZE, kStride = LC_STRIDE, kDilation = LC_DILATION;
constexpr Pad kPad = static_cast<Pad>(LC_PAD);
#if LC_ELEMENT == 0
using Element = float;
#elif LC_ELEMENT == 1
using Element = bf16;
#elif LC_ELEMENT == 2
using Element = f16;
#else
using Element = double;
#endif
constexpr int kThreads = 128;

struct Params {
  const Element* dy;
  const Element* w;
  Element* dx;
  const Element* residual;
  int64_t dy_batch, dy_channel, dy_time, w_out, w_in, w_tap, dx_batch, dx_channel, dx_time;  // strides in elements
  int64_t residual_batch, residual_channel, residual_time;
  int64_t length, out_length, pad_left, pad_right;
  int64_t begin[2], end[2];  // two ranges of j, apart
  int64_t batch, groups;
#if LC_ACTIVATION_GRADIENT
  int64_t to_forward_y;  // bytes, from an element of dy
  double negative_slope;
#endif
};

// LC_ACTIVATION_GRADIENT, an activation of the forward pass: dy is dL/dz, formed from dL/dy and forward's result.
LC_DEVICE Element gradient_at(const Params& p, const Element* dy, int64_t offset) {
#if LC_ACTIVATION_GRADIENT
#if LC_ELEMENT == 3
  const double slope = p.negative_slope;
#else
  const float slope = static_cast<float>(p.negative_slope);
#endif
  return activation_gradient<static_cast<Activation>(LC_ACTIVATION_GRADIENT)>(dy[offset], beside(dy, p.to_forward_y)[offset], slope);
#else
  return dy[offset];
#endif
}

// LC_TF32: operands as the TF32 kernels take them.
LC_DEVICE double widen(double v) { return v; }
LC_DEVICE double widen(float v) { return LC_TF32 ? __uint_as_float(round_tf32(v) & 0xffffe000u) : v; }
template <class E> LC_DEVICE double widen(E v) { return to_float(v); }
LC_DEVICE double whole(double v) { return v; }
template <class E> LC_DEVICE double whole(E v) { return to_float(v); }
LC_DEVICE void narrow(double v, double& out) { out = v; }
template <class E> LC_DEVICE void narrow(double v, E& out) { from_float(static_cast<float>(v), out); }

LC_DEVICE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The sum's part of one tap and output channel, for padded positions [low, high].
LC_DEVICE double products(const Params& p, const Element* dy, double w, int64_t k, int64_t low, int64_t high) {
  const int64_t shift = p.pad_left - k * kDilation;
  const int64_t first = max(static_cast<int64_t>(0), floor_div(low + shift + kStride - 1, kStride));
  const int64_t last = min(p.out_length - 1, floor_div(high + shift, kStride));
  double sum = 0;
  for (int64_t t = first; t <= last; ++t) sum = fma(w, widen(gradient_at(p, dy, t * p.dy_time)), sum);
  return sum;
}

extern "C" __global__ void __launch_bounds__(kThreads) longconv_dgrad_padding(const __grid_constant__ Params p) {
  wait_for_previous_kernel();
  const int lane = threadIdx.x % 32;
  const int64_t first_count = p.end[0] - p.begin[0], count = first_count + p.end[1] - p.begin[1];
  const int64_t elements = p.batch * p.groups * kInChannels * count;
  for (int64_t e = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32; e < elements; e += static_cast<int64_t>(gridDim.x) * (kThreads / 32)) {
    const int64_t at = e % count, row = e / count, channel = row % (p.groups * kInChannels), batch = row / (p.groups * kInChannels);
    const int64_t j = at < first_count ? p.begin[0] + at : p.begin[1] + at - first_count;
    const int64_t group = channel / kInChannels, last = p.length - 1;
    const Element* dy = p.dy + batch * p.dy_batch + group * kOutChannels * p.dy_channel;
    const Element* w = p.w + group * kOutChannels * p.w_out + channel % kInChannels * p.w_in;
    double sum = 0;
    for (int64_t i = lane; i < kOutChannels * kKernel; i += 32) {
      const int64_t o = i / kKernel, k = i % kKernel;
      const double weight = widen(w[o * p.w_out + k * p.w_tap]);
      const Element* dy_row = dy + o * p.dy_channel;
      if (kPad == Pad::replicate) {
        sum += products(p, dy_row, weight, k, j == 0 ? -p.pad_left : j, j == last ? last + p.pad_right : j);
      } else {
        sum += products(p, dy_row, weight, k, j, j);
        const int64_t left = kPad == Pad::reflect ? -j : j - p.length, right = kPad == Pad::reflect ? 2 * last - j : j + p.length;
        if (left < 0 && left >= -p.pad_left) sum += products(p, dy_row, weight, k, left, left);
        if (right > last && right <= last + p.pad_right) sum += products(p, dy_row, weight, k, right, right);
      }
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    if (lane == 0) {
      if (LC_RESIDUAL) sum += whole(p.residual[batch * p.residual_batch + channel * p.residual_channel + j * p.residual_time]);
      narrow(sum, p.dx[batch * p.dx_batch + channel * p.dx_channel + j * p.dx_time]);
    }
  }
}
