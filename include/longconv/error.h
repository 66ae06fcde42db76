// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The one exception type of the library.
#pragma once

#include <stdexcept>
#include <string>

namespace longconv {

enum class ErrorCode {
  invalid_argument,  ///< sizes, strides, dtypes that describe no convolution (PyTorch: RuntimeError)
  invalid_value,     ///< a name or text that means nothing (PyTorch: ValueError)
  overflow,          ///< a size that does not fit in 64 bits (PyTorch: RuntimeError)
  not_supported,     ///< meaningful, but no kernel does it (PyTorch: NotImplementedError)
  unavailable,       ///< no GPU, driver or run-time compiler, or one too old (PyTorch: RuntimeError)
  out_of_memory,     ///< device memory (PyTorch: OutOfMemoryError, a RuntimeError)
  device,            ///< a call to the driver or to the run-time compiler failed (PyTorch: RuntimeError)
  internal,          ///< a broken promise of ours
};

/// Thrown before any work is done: when it is caught, no tensor was written. The one exception is ErrorCode::device,
/// which may report the failure of work that was queued earlier: outputs of that work are undefined.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace longconv
