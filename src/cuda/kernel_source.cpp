// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/kernel_source.h"

#include <algorithm>
#include <map>

#include "cuda/embedded_kernels.h"
#include "longconv/error.h"

namespace longconv::cuda {
namespace {

std::string_view trim_left(std::string_view text) {
  const std::size_t start = text.find_first_not_of(" \t");
  return start == std::string_view::npos ? std::string_view{} : text.substr(start);
}

/// The name in an `#include "name"` line; empty for any other line.
std::string_view included_name(std::string_view line) {
  line = trim_left(line);
  if (line.empty() || line.front() != '#') return {};
  line = trim_left(line.substr(1));
  constexpr std::string_view kInclude = "include";
  if (line.substr(0, kInclude.size()) != kInclude) return {};
  line = trim_left(line.substr(kInclude.size()));
  if (line.empty() || line.front() != '"') return {};
  const std::size_t end = line.find('"', 1);
  return end == std::string_view::npos ? std::string_view{} : line.substr(1, end - 1);
}

const KernelFile* find(std::string_view name) {
  const auto& files = kernel_files();
  const auto it = std::lower_bound(files.begin(), files.end(), name,
                                   [](const KernelFile& file, std::string_view key) { return file.name < key; });
  return it != files.end() && it->name == name ? &*it : nullptr;
}

void collect(std::string_view text, std::string_view text_name, std::map<std::string_view, const KernelFile*>& found) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view name = included_name(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (name.empty() || found.count(name) != 0) continue;
    const KernelFile* file = find(name);
    if (file == nullptr) {
      throw Error(ErrorCode::internal, "kernel source " + std::string(text_name) + " includes \"" + std::string(name) +
                                           "\", which is no file under kernels/");
    }
    found.emplace(file->name, file);
    collect(file->text, file->name, found);
  }
}

}  // namespace

const std::vector<KernelFile>& kernel_files() {
  // The embedded text comes in pieces (compilers limit a literal's length) and is joined once.
  static const std::vector<KernelFile> files = [] {
    static std::vector<std::string> texts(embedded::kernel_count);
    std::vector<KernelFile> result;
    for (std::size_t i = 0; i < embedded::kernel_count; ++i) {
      const embedded::Kernel& kernel = embedded::kernels[i];
      for (std::size_t piece = 0; piece < kernel.piece_count; ++piece) texts[i] += kernel.pieces[piece];
      result.push_back({kernel.name, texts[i]});
    }
    std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return result;
  }();
  return files;
}

const KernelFile& kernel_file(std::string_view name) {
  if (const KernelFile* file = find(name)) return *file;
  throw Error(ErrorCode::internal, "no kernel source named " + std::string(name) + " is embedded in the library");
}

std::vector<KernelFile> included_files(std::string_view text, std::string_view text_name) {
  std::map<std::string_view, const KernelFile*> found;
  collect(text, text_name, found);
  std::vector<KernelFile> files;
  for (const auto& [name, file] : found) files.push_back(*file);
  return files;
}

}  // namespace longconv::cuda
