// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Feeds hostile problems to everything that takes one: text through parse(), any numbers through validate(), the
// planner for what is valid, and a run against the reference where that is small enough. Only longconv::Error may come
// out; a wrong result, another exception or a sanitizer's report ends the program with the line that replays it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "longconv/error.h"
#include "longconv/plan.h"
#include "support/trial.h"

/// How far inputs came: a run in which none is planned or executed tests nothing.
extern "C" {
std::int64_t fuzz_planned = 0;
std::int64_t fuzz_executed = 0;
}

namespace longconv::testing {
namespace {

/// Takes numbers off the fuzzer's bytes; zeros once they are used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::uint8_t byte() { return size_ == 0 ? 0 : (--size_, *data_++); }
  std::uint8_t below(int limit) { return static_cast<std::uint8_t>(byte() % limit); }
  /// Small, around a block's edge, around a power of two, or any 64 bits.
  std::int64_t number() {
    switch (below(8)) {
      case 0: {
        std::uint64_t bits = 0;
        for (int i = 0; i < 8; ++i) bits = bits << 8 | byte();
        return static_cast<std::int64_t>(bits);
      }
      case 1: return (std::int64_t{1} << below(63)) + below(3) - 1;
      case 2: return byte() * 8 + below(3);
      default: return below(12);
    }
  }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

/// Sizes of any magnitude; most describe no convolution or one that is only planned.
void take_hostile_sizes(Bytes& bytes, ConvProblem& p) {
  p.batch = bytes.number();
  p.groups = bytes.number();
  const std::int64_t scale = bytes.below(2) == 0 ? p.groups : 1;  // channel counts that groups divide
  const std::int64_t inputs = bytes.number(), outputs = bytes.number();
  if (__builtin_mul_overflow(inputs, scale, &p.in_channels)) p.in_channels = inputs;
  if (__builtin_mul_overflow(outputs, scale, &p.out_channels)) p.out_channels = outputs;
  p.length_samples = bytes.number();
  p.kernel_size = bytes.number();
  p.stride = bytes.number();
  p.dilation = bytes.number();
  p.pad_left = bytes.number();
  p.pad_right = bytes.below(2) == 0 ? p.pad_left : bytes.number();
}

/// Sizes small enough to run, around the edges of vectors and tiles.
void take_small_sizes(Bytes& bytes, ConvProblem& p) {
  p.batch = bytes.below(4);
  p.groups = 1 + bytes.below(8) / 3;
  p.in_channels = p.groups * (1 + bytes.below(9));
  p.out_channels = p.groups * (1 + bytes.below(17));
  p.length_samples = 1 + bytes.byte() * (1 + bytes.below(4));
  p.kernel_size = 1 + bytes.below(12);
  p.stride = 1 + bytes.below(5);
  p.dilation = 1 + bytes.below(6);
  p.pad_left = bytes.below(20);
  p.pad_right = bytes.below(20);
}

ConvProblem problem_from(Bytes& bytes) {
  ConvProblem p;
  p.pass = static_cast<Pass>(bytes.below(3));
  p.dtype = static_cast<DType>(bytes.below(7));
  p.pad_mode = static_cast<PadMode>(bytes.below(4));
  const std::uint8_t flags = bytes.byte();
  p.has_bias = (flags & 1) != 0;
  p.has_residual = (flags & 2) != 0;
  p.precision = (flags & 0x1c) == 0x1c ? Precision::tf32 : Precision::fp32;
  if ((flags & 0x20) != 0) p.activation = static_cast<Activation>(bytes.below(8));
  if ((flags & 0x40) != 0) {
    take_hostile_sizes(bytes, p);
  } else {
    take_small_sizes(bytes, p);
  }
  return p;
}

bool is_small(ConvProblem p) {
  constexpr double kMaxFlops = 2e6, kMaxBytes = 1e6;
  p.batch = std::max<std::int64_t>(p.batch, 1);  // an empty batch of long signals is not small
  return p.flops() <= kMaxFlops && p.compulsory_bytes() <= kMaxBytes;
}

/// The printed form must read back as the same problem, whatever the numbers.
void check_text(const ConvProblem& p) {
  const std::string text = p.to_string();
  if (ConvProblem::parse(text) != p || ConvProblem::parse(text).hash() != p.hash()) fail("does not read back: " + text);
}

void check_plan(const Plan& plan) {
  const ConvProblem& p = plan.problem;
  if (p.out_length() < 1) fail("no output, but a plan: " + p.to_string());
  if (plan.workspace_bytes() < 0) fail("negative workspace: " + plan.to_string());
  if (!(plan.chosen.estimate.seconds >= 0)) fail("no estimate of time: " + plan.to_string());
  plan.to_string();
}

void check_problem(const ConvProblem& p, Bytes& bytes) {
  check_text(p);
  Trial trial{.problem = p};
  trial.threads = 1 + bytes.below(3);
  trial.isa = name(static_cast<Isa>(bytes.below(3)));
  trial.layout = kLayouts[bytes.below(static_cast<int>(std::size(kLayouts)))];
  trial.values = kValues[bytes.below(static_cast<int>(std::size(kValues)))];
  trial.seed = bytes.byte();
  try {
    check_plan(plan_of(trial));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal) fail(error.what());
    return;
  }
  ++fuzz_planned;
  if (!is_small(p)) return;
  ++fuzz_executed;
  trial.in_place = p.has_residual && bytes.below(4) == 0;
  const std::string wrong = run_trial(trial);
  if (!wrong.empty()) fail(wrong);
}

}  // namespace
}  // namespace longconv::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longconv;
  using namespace longconv::testing;
  Bytes bytes(data, size);
  if (bytes.byte() == 't') {  // the rest is text
    try {
      const ConvProblem p = ConvProblem::parse(bytes.text());
      check_problem(p, bytes);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::invalid_value) fail(error.what());
    }
  } else {
    const ConvProblem p = problem_from(bytes);
    check_problem(p, bytes);
  }
  return 0;
}
