// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// NVRTC, the run-time compiler, loaded at run time. Needs neither a GPU nor a driver.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/dynamic_library.h"
#include "cuda/kernel_source.h"
#include "longconv/error.h"

namespace longconv::cuda {

/// Where NVRTC is looked for. In this order:
///  1. LONGCONV_NVRTC, a file or a folder; if it is set, nothing else is tried;
///  2. an NVRTC that the process has loaded already (PyTorch's, so that there is one compiler, not two);
///  3. `folders` (the Python face passes site-packages/nvidia/*/lib);
///  4. $CUDA_HOME/lib64, $CUDA_PATH/lib64, /usr/local/cuda/lib64;
///  5. the loader's path.
struct NvrtcSearch {
  std::vector<std::string> folders;
  /// The driver's CUDA major version; 0: unknown. A newer NVRTC's binaries are refused by an older driver, so an NVRTC
  /// of at most this version is preferred, wherever it is found; a newer one is taken when there is no other.
  int driver_major = 0;
};

/// One compilation. `options` as nvrtcCompileProgram takes them, the architecture among them.
struct CompileRequest {
  std::string_view name;  ///< of the source, as it appears in messages: "conv/dense_fprop_sm90.cuh"
  std::string_view text;
  std::vector<KernelFile> headers;  ///< everything the text includes, by the name it is included with
  std::vector<std::string> options;
  std::string problem;  ///< one line that says what the kernel is for; quoted when it does not compile
  bool ptx = false;     ///< the options name a virtual architecture (compute_XY): the result is PTX, not a cubin
};

struct CompileResult {
  std::string image;  ///< cubin, or PTX with its final zero
  std::string log;    ///< warnings, and what --ptxas-options=-v prints
  double seconds = 0;
};

/// A loaded NVRTC. Immutable, usable from any thread; concurrent compilations are as parallel as NVRTC makes them.
class Nvrtc {
 public:
  /// Throws Error{unavailable} with everything that was tried.
  static Nvrtc load(const NvrtcSearch& search);

  int major() const { return major_; }
  int minor() const { return minor_; }
  std::string version_string() const { return std::to_string(major_) + "." + std::to_string(minor_); }
  const std::string& path() const { return library_.path(); }
  /// Compute capabilities as numbers (80 for 8.0), ascending.
  const std::vector<int>& supported_archs() const { return archs_; }

  /// Throws Error{device} with the problem, the options and the compiler's log.
  CompileResult compile(const CompileRequest& request) const;

 private:
  explicit Nvrtc(DynamicLibrary library);
  void check(int result, const char* call) const;

  DynamicLibrary library_;
  int major_ = 0;
  int minor_ = 0;
  std::vector<int> archs_;

  using Program = void*;
  const char* (*error_string_)(int);
  int (*create_program_)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*destroy_program_)(Program*);
  int (*compile_program_)(Program, int, const char* const*);
  int (*cubin_size_)(Program, std::size_t*);
  int (*cubin_)(Program, char*);
  int (*ptx_size_)(Program, std::size_t*);
  int (*ptx_)(Program, char*);
  int (*log_size_)(Program, std::size_t*);
  int (*log_)(Program, char*);
};

}  // namespace longconv::cuda
