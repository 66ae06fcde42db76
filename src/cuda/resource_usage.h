// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What a compiled kernel takes, read from the compiler's own report: no GPU and no binary tools needed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longconv::cuda {

/// The NVRTC option that makes the report part of CompileResult::log.
inline constexpr const char* kResourceReportOption = "--ptxas-options=-v";

struct ResourceUsage {
  std::string entry;
  std::string arch;  ///< "sm_90a"
  int registers = 0;
  int stack_bytes = 0;  ///< of a thread: spills and local arrays
  int spill_store_bytes = 0;
  int spill_load_bytes = 0;
  int shared_bytes = 0;           ///< static
  bool serialized_wgmma = false;  ///< ptxas waits after every wgmma (C7510, C7514, ...): a several-fold loss of speed

  bool uses_local_memory() const { return stack_bytes + spill_store_bytes + spill_load_bytes > 0; }
  std::string to_string() const;
};

/// One for each entry function, in the report's order. Throws Error{internal} when the log holds no report: a check
/// that finds nothing to check must not pass.
std::vector<ResourceUsage> parse_resource_report(std::string_view log);

}  // namespace longconv::cuda
