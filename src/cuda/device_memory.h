// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Owners of device memory, streams and events, for self-tests, kernel tests and benchmarks. The library's own launches
/// allocate nothing: callers bring their memory and stream. All need the GPU's context to be current (ContextScope),
/// and release in their destructors without reporting failures.
#pragma once

#include <cstddef>

#include "cuda/driver.h"

namespace longconv::cuda {

class Stream {
 public:
  /// Not synchronised with the default stream.
  explicit Stream(const Driver& driver) : driver_(driver) { driver.stream_create(&stream_, CU_STREAM_NON_BLOCKING); }
  ~Stream() { driver_.stream_destroy.raw(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  CUstream get() const { return stream_; }
  /// Waits for all of the stream's work; throws Error with its failure.
  void synchronize() const { driver_.stream_synchronize(stream_); }

 private:
  const Driver& driver_;
  CUstream stream_ = nullptr;
};

class DeviceBuffer {
 public:
  /// At least 256-byte aligned. Contents are undefined. Throws Error{out_of_memory}.
  DeviceBuffer(const Driver& driver, std::size_t size_bytes) : driver_(driver), size_bytes_(size_bytes) {
    if (size_bytes > 0) driver.mem_alloc(&address_, size_bytes);
  }
  ~DeviceBuffer() {
    if (address_ != 0) driver_.mem_free.raw(address_);
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void* data() const { return reinterpret_cast<void*>(address_); }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(address_);
  }
  std::size_t size_bytes() const { return size_bytes_; }

  /// Queue a copy or fill of the first bytes on the stream; host memory must live until the stream is synchronised.
  void upload(const void* host, std::size_t bytes, const Stream& stream) const {
    driver_.memcpy_htod_async(address_, host, bytes, stream.get());
  }
  void download(void* host, std::size_t bytes, const Stream& stream) const {
    driver_.memcpy_dtoh_async(host, address_, bytes, stream.get());
  }
  void fill(unsigned char byte, const Stream& stream) const {
    if (size_bytes_ > 0) driver_.memset_d8_async(address_, byte, size_bytes_, stream.get());
  }

 private:
  const Driver& driver_;
  std::size_t size_bytes_;
  CUdeviceptr address_ = 0;
};

class Event {
 public:
  explicit Event(const Driver& driver) : driver_(driver) { driver.event_create(&event_, 0); }
  ~Event() { driver_.event_destroy.raw(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const Stream& stream) const { driver_.event_record(event_, stream.get()); }
  /// Waits for `this`; seconds of GPU time since `start`.
  double seconds_since(const Event& start) const {
    float milliseconds = 0;
    driver_.event_synchronize(event_);
    driver_.event_elapsed_time(&milliseconds, start.event_, event_);
    return milliseconds * 1e-3;
  }

 private:
  const Driver& driver_;
  CUevent event_ = nullptr;
};

}  // namespace longconv::cuda
