// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Runs the fuzz target without libFuzzer: files named on the command line, or a fixed number of inputs made from a
// fixed seed (problem_fuzz_standalone [--inputs N]). The same inputs on every machine.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/test_tensor.h"

extern "C" {
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern std::int64_t fuzz_planned;
extern std::int64_t fuzz_executed;
}

namespace {

using longconv::testing::Random;

/// Lines to start from, one for each part of the grammar.
const char* const kLines[] = {
    "fprop n64 c64->128 l524280 k3 s3 d4 f32",
    "fprop n2 c6->4 l50 k3 s2 d2 g2 p(3,1) reflect bf16 bias residual gelu",
    "dgrad n1 c4->4 l33 k5 g4 p4 circular f64 residual",
    "wgrad n3 c2->6 l40 k4 d3 p(0,9) replicate f16 bias",
    "fprop n1 c1->1 l9 k3 f32 tf32 leaky_relu(-0.25)",
    "dgrad n2 c3->3 l20 k2 s5 c64",
    "wgrad n1 c1->2 l64 k9 c128",
    "fprop n0 c9223372036854775807->1 l4611686018427387904 k1 i64",
};

std::vector<std::uint8_t> mutated_line(Random& random) {
  std::string text = kLines[random.integer(0, std::size(kLines) - 1)];
  for (std::int64_t edits = random.integer(0, 4); edits > 0 && !text.empty(); --edits) {
    const auto at = static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(text.size()) - 1));
    switch (random.integer(0, 3)) {
      case 0: text.erase(at, 1); break;
      case 1: text[at] = static_cast<char>('0' + random.integer(0, 9)); break;
      case 2: text.insert(at, 1, static_cast<char>(random.integer(0, 255))); break;
      default: text.insert(at, text.substr(at, static_cast<std::size_t>(random.integer(0, 8)))); break;
    }
  }
  std::vector<std::uint8_t> bytes{'t'};
  bytes.insert(bytes.end(), text.begin(), text.end());
  return bytes;
}

std::vector<std::uint8_t> random_bytes(Random& random) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(random.integer(0, 96)));
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.bits());
  return bytes;
}

int run_files(int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    std::ifstream file(paths[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", paths[i]);
      return 1;
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::int64_t inputs = 20000;
  if (argc == 3 && std::string(argv[1]) == "--inputs") {
    inputs = std::atoll(argv[2]);
  } else if (argc > 1) {
    return run_files(argc - 1, argv + 1);
  }
  Random random(1);
  for (std::int64_t i = 0; i < inputs; ++i) {
    const auto bytes = random.integer(0, 2) == 0 ? mutated_line(random) : random_bytes(random);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%lld inputs, %lld planned, %lld executed, no finding\n", static_cast<long long>(inputs),
              static_cast<long long>(fuzz_planned), static_cast<long long>(fuzz_executed));
  return fuzz_executed > 0 ? 0 : 1;
}
