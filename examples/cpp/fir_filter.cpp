// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Filters a long signal with plain C++: no PyTorch, no Python, no copy of the signal.
//
// Two seconds of a 440 Hz tone with a 12 kHz whistle on top, sampled at 48 kHz, go through a low-pass filter of 255
// taps (cut-off 2 kHz). The program prints the plan and what is left of both tones, and fails if the filter did not
// do its work.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "longconv/error.h"
#include "longconv/plan.h"

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kSampleRateHz = 48000;
constexpr std::int64_t kLengthSamples = 96000;
constexpr std::int64_t kTaps = 255;  // odd: the filter has a centre, and the output no shift

std::vector<float> two_tones(double low_hz, double high_hz) {
  std::vector<float> signal(kLengthSamples);
  for (std::size_t t = 0; t < signal.size(); ++t) {
    const double seconds = static_cast<double>(t) / kSampleRateHz;
    signal[t] = static_cast<float>(std::sin(2 * kPi * low_hz * seconds) + std::sin(2 * kPi * high_hz * seconds));
  }
  return signal;
}

/// Ideal low-pass (a sinc), made finite by a Hann window, scaled to pass a constant unchanged.
std::vector<float> low_pass(double cutoff_hz) {
  std::vector<double> taps(kTaps);
  double sum = 0;
  for (std::int64_t k = 0; k < kTaps; ++k) {
    const double from_centre = static_cast<double>(k - kTaps / 2);
    const double phase = 2 * kPi * cutoff_hz / kSampleRateHz * from_centre;
    const double sinc = from_centre == 0 ? 1.0 : std::sin(phase) / phase;
    const double window = 0.5 * (1 + std::cos(2 * kPi * from_centre / static_cast<double>(kTaps + 1)));
    sum += taps[k] = sinc * window;
  }
  std::vector<float> scaled(kTaps);
  for (std::int64_t k = 0; k < kTaps; ++k) scaled[k] = static_cast<float>(taps[k] / sum);
  return scaled;
}

/// Amplitude of one frequency in a signal, by correlation with a complex tone.
double amplitude(const std::vector<float>& signal, double hz) {
  double re = 0, im = 0;
  for (std::size_t t = 0; t < signal.size(); ++t) {
    const double phase = 2 * kPi * hz * static_cast<double>(t) / kSampleRateHz;
    re += signal[t] * std::cos(phase);
    im += signal[t] * std::sin(phase);
  }
  return 2 * std::hypot(re, im) / static_cast<double>(signal.size());
}

/// Memory that the plan asks for, aligned as it wants it.
struct Workspace {
  explicit Workspace(std::int64_t size) : bytes(size), memory(static_cast<std::size_t>(size) + 64) {
    void* at = memory.data();
    std::size_t space = memory.size();
    data = std::align(64, static_cast<std::size_t>(size), at, space);
  }
  std::int64_t bytes;
  std::vector<unsigned char> memory;
  void* data;
};

std::vector<float> filtered(std::vector<float>& signal, std::vector<float>& filter) {
  // What is asked: one channel in, one out, as many samples out as in.
  longconv::ConvProblem problem;
  problem.dtype = longconv::DType::f32;
  problem.length_samples = static_cast<std::int64_t>(signal.size());
  problem.kernel_size = static_cast<std::int64_t>(filter.size());
  problem.pad_left = problem.pad_right = problem.kernel_size / 2;

  // How it will be done, on how many threads.
  const std::unique_ptr<longconv::Parallel> pool = longconv::thread_pool();
  const longconv::Plan plan = longconv::make_plan(problem, longconv::Device::host_cpu(pool->num_threads()));
  std::printf("%s", plan.to_string().c_str());

  // Doing it: views of our own memory, a workspace of our own.
  std::vector<float> result(static_cast<std::size_t>(problem.out_length()));
  longconv::ConvTensors tensors;
  tensors.x = longconv::TensorView::contiguous(signal.data(), problem.dtype, {1, 1, problem.length_samples});
  tensors.w = longconv::TensorView::contiguous(filter.data(), problem.dtype, {1, 1, problem.kernel_size});
  tensors.y = longconv::TensorView::contiguous(result.data(), problem.dtype, {1, 1, problem.out_length()});
  Workspace workspace(plan.workspace_bytes());
  longconv::execute(plan, tensors, {workspace.data, workspace.bytes, pool.get()});
  return result;
}

double decibel(double ratio) { return 20 * std::log10(ratio); }

}  // namespace

int main() {
  constexpr double kLowHz = 440, kHighHz = 12000;
  try {
    std::vector<float> signal = two_tones(kLowHz, kHighHz);
    std::vector<float> filter = low_pass(2000);
    const std::vector<float> result = filtered(signal, filter);
    const double low_db = decibel(amplitude(result, kLowHz) / amplitude(signal, kLowHz));
    const double high_db = decibel(amplitude(result, kHighHz) / amplitude(signal, kHighHz));
    std::printf("%5.0f Hz: %+7.2f dB (kept)\n%5.0f Hz: %+7.2f dB (removed)\n", kLowHz, low_db, kHighHz, high_db);
    return std::abs(low_db) < 0.1 && high_db < -60 ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const longconv::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
