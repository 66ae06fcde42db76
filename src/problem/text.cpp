// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The one-line form of a problem, written and read.
#include <algorithm>
#include <charconv>
#include <set>
#include <string>

#include "longconv/error.h"
#include "longconv/problem.h"

namespace longconv {
namespace {

const ConvProblem kDefaults;

std::string slope_text(double slope) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, slope).ptr;  // shortest text that reads back equal
  return std::string(buffer, end);
}

template <class Number>
bool read_number(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

/// "<left><separator><right>" as two numbers.
bool read_pair(std::string_view text, std::string_view separator, std::int64_t& left, std::int64_t& right) {
  const auto at = text.find(separator);
  return at != std::string_view::npos && read_number(text.substr(0, at), left) &&
         read_number(text.substr(at + separator.size()), right);
}

/// "name(inner)" -> inner.
bool read_call(std::string_view text, std::string_view name, std::string_view& inner) {
  if (text.size() < name.size() + 2 || text.substr(0, name.size()) != name) return false;
  if (text[name.size()] != '(' || text.back() != ')') return false;
  inner = text.substr(name.size() + 1, text.size() - name.size() - 2);
  return true;
}

/// Reads one word into the problem; the name of the setting it belongs to, or nullptr when it means nothing.
const char* read_word(std::string_view word, ConvProblem& p) {
  if (parse(word, p.pass)) return "pass";
  if (parse(word, p.dtype)) return "dtype";
  if (parse(word, p.precision)) return "precision";
  if (parse(word, p.pad_mode)) return "padding mode";
  if (parse(word, p.activation)) return "activation";
  std::string_view inner;
  if (read_call(word, "leaky_relu", inner)) {
    p.activation = Activation::leaky_relu;
    return read_number(inner, p.negative_slope) ? "activation" : nullptr;
  }
  if (word == "bias") return p.has_bias = true, "bias";
  if (word == "f32_result") return p.f32_result = true, "f32_result";
  if (word == "residual") return p.has_residual = true, "residual";
  if (read_call(word, "p", inner)) return read_pair(inner, ",", p.pad_left, p.pad_right) ? "padding" : nullptr;

  const std::string_view number = word.substr(1);
  switch (word.front()) {
    case 'n': return read_number(number, p.batch) ? "batch" : nullptr;
    case 'c': return read_pair(number, "->", p.in_channels, p.out_channels) ? "channels" : nullptr;
    case 'l': return read_number(number, p.length_samples) ? "length" : nullptr;
    case 'k': return read_number(number, p.kernel_size) ? "kernel size" : nullptr;
    case 's': return read_number(number, p.stride) ? "stride" : nullptr;
    case 'd': return read_number(number, p.dilation) ? "dilation" : nullptr;
    case 'g': return read_number(number, p.groups) ? "groups" : nullptr;
    case 'p':
      if (!read_number(number, p.pad_left)) return nullptr;
      p.pad_right = p.pad_left;
      return "padding";
    default: return nullptr;
  }
}

}  // namespace

std::string ConvProblem::to_string() const {
  std::string text(name(pass));
  const auto add = [&text](std::string_view prefix, std::int64_t value) {
    text.append(" ").append(prefix).append(std::to_string(value));
  };
  add("n", batch);
  add("c", in_channels);
  text += "->" + std::to_string(out_channels);
  add("l", length_samples);
  add("k", kernel_size);
  if (stride != kDefaults.stride) add("s", stride);
  if (dilation != kDefaults.dilation) add("d", dilation);
  if (groups != kDefaults.groups) add("g", groups);
  if (pad_left != pad_right) {
    text += " p(" + std::to_string(pad_left) + "," + std::to_string(pad_right) + ")";
  } else if (pad_left != kDefaults.pad_left) {
    add("p", pad_left);
  }
  const auto add_word = [&text](std::string_view word) { text.append(" ").append(word); };
  if (pad_mode != kDefaults.pad_mode) add_word(name(pad_mode));
  add_word(name(dtype));
  if (precision != kDefaults.precision) add_word(name(precision));
  if (has_bias) add_word("bias");
  if (f32_result) add_word("f32_result");
  if (has_residual) add_word("residual");
  if (activation == Activation::leaky_relu) {
    add_word("leaky_relu(" + slope_text(negative_slope) + ")");
  } else if (activation != kDefaults.activation) {
    add_word(name(activation));
  }
  return text;
}

ConvProblem ConvProblem::parse(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  ConvProblem problem;
  std::set<std::string_view> settings_seen;
  for (auto begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;
       begin = text.find_first_not_of(kSpace, begin)) {
    const auto end = std::min(text.find_first_of(kSpace, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    const char* const setting = read_word(word, problem);
    if (setting == nullptr) {
      throw Error(ErrorCode::invalid_value,
                  "not understood in a problem: '" + std::string(word) +
                      "'; expected words like 'fprop n64 c64->128 l524280 k3 s3 d4 g1 p(0,2) reflect f32 tf32 bias "
                      "residual leaky_relu(0.01)'");
    }
    if (!settings_seen.insert(setting).second) {
      throw Error(ErrorCode::invalid_value, "given twice in a problem: " + std::string(setting) +
                                                ", the second time by '" + std::string(word) + "'");
    }
    begin = end;
  }
  return problem;
}

}  // namespace longconv
