// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/target.h"

#include <algorithm>
#include <charconv>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

constexpr int kOldestArch = 80;
constexpr int kFirstVersionWithSm90a = 12000;

}  // namespace

std::string Target::name() const { return (ptx ? "compute_" : "sm_") + std::to_string(arch) + (specific ? "a" : ""); }

std::string Target::option() const { return "--gpu-architecture=" + name(); }

Target Target::parse(const std::string& name) {
  Target target;
  std::size_t prefix = 0;
  if (name.rfind("sm_", 0) == 0) {
    prefix = 3;
  } else if (name.rfind("compute_", 0) == 0) {
    prefix = 8;
    target.ptx = true;
  }
  const char* last = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data() + prefix, last, target.arch);
  target.specific = end != last && *end == 'a';
  if (prefix == 0 || error != std::errc() || end + (target.specific ? 1 : 0) != last) {
    throw Error(ErrorCode::invalid_value,
                "\"" + name + "\" names no architecture: expected a form such as sm_80 or sm_90a");
  }
  return target;
}

Target choose_target(int compute_capability, int nvrtc_version, const std::vector<int>& nvrtc_archs) {
  const std::string gpu = std::to_string(compute_capability / 10) + "." + std::to_string(compute_capability % 10);
  if (compute_capability < kOldestArch) {
    throw Error(ErrorCode::unavailable,
                "the GPU has compute capability " + gpu + "; longconv needs 8.0 (Ampere) or newer. Use the CPU");
  }
  int same_major = 0;
  int below = 0;
  for (const int arch : nvrtc_archs) {
    if (arch > compute_capability) continue;
    below = std::max(below, arch);
    if (arch / 10 == compute_capability / 10) same_major = std::max(same_major, arch);
  }
  if (same_major == 90 && compute_capability == 90) return {90, nvrtc_version >= kFirstVersionWithSm90a, false};
  if (same_major != 0) return {same_major, false, false};
  if (below >= kOldestArch) return {below, false, true};
  throw Error(ErrorCode::unavailable,
              "this NVRTC makes no code for the GPU (compute capability " + gpu +
                  "): the newest architecture it knows is " +
                  (nvrtc_archs.empty() ? std::string("none") : "sm_" + std::to_string(nvrtc_archs.back())) +
                  ". Install a newer nvidia-cuda-nvrtc");
}

}  // namespace longconv::cuda
