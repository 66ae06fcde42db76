// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The CUDA driver, loaded at run time. Works (by saying clearly what is missing) on machines without a GPU.
#pragma once

#include <string>

#include "cuda/driver_abi.h"
#include "cuda/dynamic_library.h"
#include "longconv/error.h"

namespace longconv::cuda {

class Driver;

/// One function of the driver. Calling it throws on failure; `raw` returns the result instead.
template <typename... Parameters>
class DriverFunction {
 public:
  using Pointer = CUresult (*)(Parameters...);
  /// Throws Error: out_of_memory, unavailable (the driver has no such function) or device, with the call's name, the
  /// result's number, name and text, and what can be done about it.
  void operator()(Parameters... arguments) const;
  CUresult raw(Parameters... arguments) const noexcept { return pointer_(arguments...); }
  bool exists() const { return pointer_ != nullptr; }

 private:
  friend class Driver;
  DriverFunction(const Driver& driver, const char* symbol, int since)
      : driver_(driver), symbol_(symbol), since_(since) {}
  const Driver& driver_;
  const char* symbol_;
  int since_;
  Pointer pointer_ = nullptr;
};

/// The loaded driver. Immutable after construction, so usable from any thread. Never usable in a child process that
/// was forked after it was made: CUDA does not survive fork().
class Driver {
 public:
  static constexpr int kOldestVersion = 11070;  ///< CUDA 11.7: 1000 * major + 10 * minor

  /// The process's driver (libcuda.so.1, or the file that LONGCONV_CUDA_DRIVER names), made at the first successful
  /// call. Throws Error{unavailable}: no driver, no GPU, driver older than kOldestVersion. A failure is not remembered.
  static const Driver& instance();

  /// Loads and initialises the driver in `library`. Tests give their own; everyone else calls instance().
  explicit Driver(const std::string& library);
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  int version() const { return version_; }  ///< e.g. 12040 for a driver that supports CUDA 12.4
  int major() const { return version_ / 1000; }
  const std::string& path() const { return library_.path(); }

  /// Throws what a failed call of `symbol` deserves; returns on CUDA_SUCCESS.
  void check(CUresult result, const char* symbol) const;
  /// "CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected".
  std::string describe(CUresult result) const;

 private:
  DynamicLibrary library_;
  int version_ = 0;

 public:
#define LONGCONV_DRIVER_FUNCTION(name, symbol, since, ...) DriverFunction<__VA_ARGS__> name{*this, #symbol, since};
#include "cuda/driver_functions.inc"
#undef LONGCONV_DRIVER_FUNCTION

 private:
  [[noreturn]] void throw_failure(CUresult result, const char* symbol) const;
  [[noreturn]] void throw_missing(const char* symbol, int since) const;
  template <typename...>
  friend class DriverFunction;
};

/// "12.4" for 12040.
std::string cuda_version_string(int version);

template <typename... Parameters>
void DriverFunction<Parameters...>::operator()(Parameters... arguments) const {
  if (pointer_ == nullptr) [[unlikely]]
    driver_.throw_missing(symbol_, since_);
  if (const CUresult result = pointer_(arguments...); result != CUDA_SUCCESS) [[unlikely]] {
    driver_.throw_failure(result, symbol_);
  }
}

}  // namespace longconv::cuda
