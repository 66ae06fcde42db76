// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The device code under kernels/, embedded in the library at build time: nothing is read from disk at run time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longconv::cuda {

/// A file under kernels/. `name` is its path from there: "ptx/types.cuh". Both live as long as the process.
struct KernelFile {
  std::string_view name;
  std::string_view text;
};

/// All of them, sorted by name.
const std::vector<KernelFile>& kernel_files();

/// One file. Throws Error{internal} when there is none of that name.
const KernelFile& kernel_file(std::string_view name);

/// The files that `text` includes, directly or not, each once, sorted by name. Only `#include "path from kernels/"` is
/// an include here; a name that is no kernel file throws Error{internal} saying who includes it.
std::vector<KernelFile> included_files(std::string_view text, std::string_view text_name);

}  // namespace longconv::cuda
