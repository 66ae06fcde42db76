// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/nvrtc.h"

#include <algorithm>
#include <chrono>
#include <optional>

namespace longconv::cuda {
namespace {

template <typename Function>
void resolve(const DynamicLibrary& library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(library.symbol(name));
}

/// Owns an nvrtcProgram. The program is given back whatever is thrown in between.
struct ProgramGuard {
  void* program = nullptr;
  int (*destroy)(void**);
  ~ProgramGuard() {
    if (program != nullptr) destroy(&program);
  }
};

}  // namespace

Nvrtc::Nvrtc(DynamicLibrary library) : library_(std::move(library)) {
  int (*version)(int*, int*);
  int (*arch_count)(int*);
  int (*archs)(int*);
  resolve(library_, "nvrtcGetErrorString", error_string_);
  resolve(library_, "nvrtcVersion", version);
  check(version(&major_, &minor_), "nvrtcVersion");
  // cubin output came with 11.1, the list of architectures with 11.2; the promise of this library is 11.7.
  if (major_ * 1000 + minor_ * 10 < 11020) {
    throw Error(ErrorCode::unavailable, "NVRTC " + version_string() + " (" + path() + ") is too old: 11.2 is needed");
  }
  resolve(library_, "nvrtcGetNumSupportedArchs", arch_count);
  resolve(library_, "nvrtcGetSupportedArchs", archs);
  resolve(library_, "nvrtcCreateProgram", create_program_);
  resolve(library_, "nvrtcDestroyProgram", destroy_program_);
  resolve(library_, "nvrtcCompileProgram", compile_program_);
  resolve(library_, "nvrtcGetCUBINSize", cubin_size_);
  resolve(library_, "nvrtcGetCUBIN", cubin_);
  resolve(library_, "nvrtcGetPTXSize", ptx_size_);
  resolve(library_, "nvrtcGetPTX", ptx_);
  resolve(library_, "nvrtcGetProgramLogSize", log_size_);
  resolve(library_, "nvrtcGetProgramLog", log_);
  int count = 0;
  check(arch_count(&count), "nvrtcGetNumSupportedArchs");
  archs_.resize(static_cast<std::size_t>(count));
  check(archs(archs_.data()), "nvrtcGetSupportedArchs");
  std::sort(archs_.begin(), archs_.end());
}

void Nvrtc::check(int result, const char* call) const {
  if (result == 0) return;
  throw Error(ErrorCode::device, std::string(call) + " (NVRTC " + version_string() + ", " + path() + ") failed with " +
                                     error_string_(result) + " (" + std::to_string(result) + ")");
}

CompileResult Nvrtc::compile(const CompileRequest& request) const {
  const auto start = std::chrono::steady_clock::now();
  // NVRTC wants C strings; views need not end in a zero.
  const std::string name(request.name);
  const std::string text(request.text);
  std::vector<std::string> strings;
  strings.reserve(2 * request.headers.size());
  std::vector<const char*> header_texts, header_names, options;
  for (const KernelFile& header : request.headers) {
    header_texts.push_back(strings.emplace_back(header.text).c_str());
    header_names.push_back(strings.emplace_back(header.name).c_str());
  }
  for (const std::string& option : request.options) options.push_back(option.c_str());

  ProgramGuard guard{nullptr, destroy_program_};
  check(create_program_(&guard.program, text.c_str(), name.c_str(), static_cast<int>(header_texts.size()),
                        header_texts.data(), header_names.data()),
        "nvrtcCreateProgram");
  const int status = compile_program_(guard.program, static_cast<int>(options.size()), options.data());

  CompileResult result;
  std::size_t size = 0;
  if (log_size_(guard.program, &size) == 0 && size > 1) {
    result.log.resize(size);
    if (log_(guard.program, result.log.data()) != 0) result.log.clear();
    while (!result.log.empty() && result.log.back() == '\0') result.log.pop_back();
  }
  if (status != 0) {
    std::string message = "the kernel " + name + " does not compile";
    if (!request.problem.empty()) message += " for the problem \"" + request.problem + "\"";
    message +=
        ": " + std::string(error_string_(status)) + " from NVRTC " + version_string() + " (" + path() + ")\noptions:";
    for (const std::string& option : request.options) message += " " + option;
    message += "\nlog:\n" + (result.log.empty() ? std::string("(empty)") : result.log);
    throw Error(ErrorCode::device, message);
  }
  const auto read_size = request.ptx ? ptx_size_ : cubin_size_;
  const auto read = request.ptx ? ptx_ : cubin_;
  check(read_size(guard.program, &size), request.ptx ? "nvrtcGetPTXSize" : "nvrtcGetCUBINSize");
  if (size == 0)
    throw Error(ErrorCode::internal, "NVRTC returned no code for " + name + ": options ask for another kind");
  result.image.resize(size);
  check(read(guard.program, result.image.data()), request.ptx ? "nvrtcGetPTX" : "nvrtcGetCUBIN");
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace longconv::cuda
