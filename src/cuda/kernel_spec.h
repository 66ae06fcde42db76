// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// KernelSpec: one specialisation of one kernel, as a value. What a launcher hands to the compiler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace longconv::cuda {

/// A preprocessor definition: -Dname=value, or -Dname=text. Both strings must be literals (static storage).
struct Define {
  const char* name;
  std::int64_t value = 0;
  const char* text = nullptr;

  /// Any integer, bool or enumeration. A template, so that a literal 0 is a number and not a null pointer.
  template <typename Integer, typename = std::enable_if_t<std::is_integral_v<Integer> || std::is_enum_v<Integer>>>
  Define(const char* define_name, Integer define_value)
      : name(define_name), value(static_cast<std::int64_t>(define_value)) {}
  Define(const char* define_name, const char* define_text) : name(define_name), text(define_text) {}
  std::string to_string() const;  ///< "KERNEL_SIZE=3"
  bool operator==(const Define& other) const;
};

/// Two equal specs are the same machine code. Cheap to hash and compare; warm launches build none (launch_functions.h).
struct KernelSpec {
  const char* file = "";   ///< under kernels/, a literal: "conv/dense_fprop_sm90.cuh"
  const char* entry = "";  ///< name of its `extern "C" __global__` function, a literal
  std::vector<Define> defines;
  /// Dynamic shared memory of a launch; more than 48 KiB is opted in to when the kernel is loaded.
  std::int64_t dynamic_shared_bytes = 0;
  /// All of the on-chip memory is shared memory, as for kernels with dynamic shared memory: for small kernels around
  /// them, as a multiprocessor must be empty to be divided otherwise.
  bool keep_carveout = false;
  /// Clusters of more than 8 blocks, which not every GPU takes.
  bool non_portable_cluster = false;
  /// The kernel may use local memory (spills, stack). The compile-all check fails a kernel that does so unasked.
  bool allow_local_memory = false;
  /// ptxas may wait for each wgmma before the next (slower, as right). The compile-all check fails a kernel where it
  /// does so unasked.
  bool allow_serialized_wgmma = false;

  std::string to_string() const;  ///< "conv/dense_fprop_sm90.cuh:dense_fprop KERNEL_SIZE=3 STRIDE=3"
  bool operator==(const KernelSpec& other) const;
};

struct KernelSpecHash {
  std::size_t operator()(const KernelSpec& spec) const;
};

}  // namespace longconv::cuda
