// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/kernel_spec.h"

#include <cstring>

namespace longconv::cuda {
namespace {

/// FNV-1a, a word or a string at a time.
struct Hash {
  std::uint64_t state = 0xcbf29ce484222325;
  void add(std::uint64_t word) { state = (state ^ word) * 0x100000001b3, state ^= state >> 29; }
  void add(const char* text) {
    for (; *text != '\0'; ++text) state = (state ^ static_cast<unsigned char>(*text)) * 0x100000001b3;
    add(std::uint64_t{0xff});
  }
};

/// Literals are often merged, so that equal pointers decide most comparisons.
bool equal(const char* a, const char* b) { return a == b || (a != nullptr && b != nullptr && std::strcmp(a, b) == 0); }

}  // namespace

std::string Define::to_string() const {
  return std::string(name) + "=" + (text != nullptr ? text : std::to_string(value));
}

bool Define::operator==(const Define& other) const {
  return value == other.value && equal(name, other.name) && equal(text, other.text);
}

std::string KernelSpec::to_string() const {
  std::string line = std::string(file) + ":" + entry;
  for (const Define& define : defines) line.append(" ").append(define.to_string());
  return line;
}

bool KernelSpec::operator==(const KernelSpec& other) const {
  return dynamic_shared_bytes == other.dynamic_shared_bytes && non_portable_cluster == other.non_portable_cluster &&
         keep_carveout == other.keep_carveout && allow_local_memory == other.allow_local_memory &&
         allow_serialized_wgmma == other.allow_serialized_wgmma && equal(file, other.file) &&
         equal(entry, other.entry) && defines == other.defines;
}

std::size_t KernelSpecHash::operator()(const KernelSpec& spec) const {
  Hash hash;
  hash.add(spec.entry);
  // Not the names: a kernel's specs have the same ones in the same order.
  for (const Define& define : spec.defines) {
    if (define.text != nullptr) {
      hash.add(define.text);
    } else {
      hash.add(static_cast<std::uint64_t>(define.value));
    }
  }
  hash.add(static_cast<std::uint64_t>(spec.dynamic_shared_bytes));
  return static_cast<std::size_t>(hash.state);
}

}  // namespace longconv::cuda
