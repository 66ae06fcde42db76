// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>

#include "longconv/plan.h"
#include "longconv/types.h"

namespace longconv {
namespace {

// One table per vocabulary, indexed by the enumerator's value: name() and parse() cannot disagree.
constexpr std::array<std::string_view, 3> kPassNames{"fprop", "dgrad", "wgrad"};
constexpr std::array<std::string_view, 7> kDTypeNames{"f32", "f64", "bf16", "f16", "c64", "c128", "i64"};
constexpr std::array<std::string_view, 4> kPadModeNames{"zeros", "reflect", "replicate", "circular"};
constexpr std::array<std::string_view, 8> kActivationNames{"none",      "relu", "leaky_relu", "gelu",
                                                           "gelu_tanh", "silu", "tanh",       "sigmoid"};
constexpr std::array<std::string_view, 2> kPrecisionNames{"fp32", "tf32"};
constexpr std::array<std::string_view, 3> kIsaNames{"portable", "avx2", "avx512"};

template <class Enum, std::size_t N>
std::string_view lookup(const std::array<std::string_view, N>& names, Enum value) {
  const auto index = static_cast<std::size_t>(value);
  return index < N ? names[index] : std::string_view("unknown");
}

template <class Enum, std::size_t N>
bool find(const std::array<std::string_view, N>& names, std::string_view text, Enum& out) {
  for (std::size_t index = 0; index < N; ++index) {
    if (names[index] == text) {
      out = static_cast<Enum>(index);
      return true;
    }
  }
  return false;
}

}  // namespace

std::string_view name(Pass value) { return lookup(kPassNames, value); }
std::string_view name(DType value) { return lookup(kDTypeNames, value); }
std::string_view name(PadMode value) { return lookup(kPadModeNames, value); }
std::string_view name(Activation value) { return lookup(kActivationNames, value); }
std::string_view name(Precision value) { return lookup(kPrecisionNames, value); }
std::string_view name(Isa value) { return lookup(kIsaNames, value); }

bool parse(std::string_view text, Pass& out) { return find(kPassNames, text, out); }
bool parse(std::string_view text, DType& out) { return find(kDTypeNames, text, out); }
bool parse(std::string_view text, PadMode& out) { return find(kPadModeNames, text, out); }
bool parse(std::string_view text, Activation& out) { return find(kActivationNames, text, out); }
bool parse(std::string_view text, Precision& out) { return find(kPrecisionNames, text, out); }

}  // namespace longconv
