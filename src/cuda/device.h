// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// GPUs as plain values (longconv::Device), and the context that work on one of them needs.
#pragma once

#include <string>
#include <vector>

#include "cuda/driver.h"
#include "longconv/plan.h"

namespace longconv::cuda {

/// Number of GPUs that the process sees.
int device_count(const Driver& driver);

/// What the driver says of a GPU. Throws Error{invalid_value} when there is no such ordinal.
Device query_device(const Driver& driver, int ordinal);

/// The names that Device::known() takes.
std::vector<std::string> known_device_names();

/// Makes a GPU's primary context (the one that PyTorch and the CUDA runtime use) current for a scope, if it is not
/// already: then the scope costs one driver call. `context` comes from primary_context().
class ContextScope {
 public:
  ContextScope(const Driver& driver, CUcontext context) : driver_(driver) {
    CUcontext current = nullptr;
    driver.ctx_get_current(&current);
    if (current == context) return;
    driver.ctx_push_current(context);
    pushed_ = true;
  }
  ~ContextScope() {
    CUcontext popped;
    if (pushed_) driver_.ctx_pop_current.raw(&popped);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  const Driver& driver_;
  bool pushed_ = false;
};

/// Retains the primary context of a GPU. It is not released again: it lives as long as the process.
CUcontext primary_context(const Driver& driver, int ordinal);

/// Allows calls that a stream capture of this thread would refuse (loading a module) for a scope: they do not touch the
/// captured stream.
class RelaxedCaptureScope {
 public:
  explicit RelaxedCaptureScope(const Driver& driver) : driver_(driver) {
    driver_.thread_exchange_stream_capture_mode(&mode_);
  }
  ~RelaxedCaptureScope() { driver_.thread_exchange_stream_capture_mode.raw(&mode_); }
  RelaxedCaptureScope(const RelaxedCaptureScope&) = delete;
  RelaxedCaptureScope& operator=(const RelaxedCaptureScope&) = delete;

 private:
  const Driver& driver_;
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

}  // namespace longconv::cuda
