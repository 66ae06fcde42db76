// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Which machine code a kernel is compiled to for a GPU.
#pragma once

#include <string>
#include <vector>

namespace longconv::cuda {

/// What NVRTC is asked for.
struct Target {
  int arch = 0;           ///< 90 for sm_90
  bool specific = false;  ///< the 'a' variant (sm_90a): instructions of this one architecture, wgmma among them
  bool ptx = false;       ///< PTX for a virtual architecture, which the driver translates when it loads it

  std::string name() const;    ///< "sm_90a", "compute_90"
  std::string option() const;  ///< "--gpu-architecture=sm_90a"
  /// Reads name()'s form. Throws Error{invalid_value}.
  static Target parse(const std::string& name);
  bool operator==(const Target&) const = default;
};

/// The best that this NVRTC (its version, 1000 * major + 10 * minor, and the architectures it knows) can make for a
/// GPU:
///  - sm_90a for compute capability 9.0 where NVRTC knows it (CUDA 12.0);
///  - machine code for exactly this architecture;
///  - machine code for an earlier minor version of the same major one, which the hardware runs unchanged;
///  - PTX of the highest architecture below, for a GPU newer than NVRTC.
/// Throws Error{unavailable} when the GPU is older than everything NVRTC knows, or than 8.0, the oldest supported.
Target choose_target(int compute_capability, int nvrtc_version, const std::vector<int>& nvrtc_archs);

}  // namespace longconv::cuda
