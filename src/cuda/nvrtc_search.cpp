// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "cuda/nvrtc.h"

namespace longconv::cuda {
namespace {

namespace fs = std::filesystem;

/// An soname and the CUDA major version it belongs to; 0: any.
struct Name {
  const char* file;
  int major;
};
constexpr Name kNames[] = {
    {"libnvrtc.so.13", 13}, {"libnvrtc.so.12", 12}, {"libnvrtc.so.11.2", 11}, {"libnvrtc.so", 0}};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// NVRTC opens its libnvrtc-builtins by bare name while it compiles; in a wheel's folder the loader does not find it
/// unless it is in the process already, with its symbols visible.
void load_builtins(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().rfind("libnvrtc-builtins.so", 0) == 0) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  // If this fails, the compilation says so with NVRTC's own words ("failed to open libnvrtc-builtins").
  for (const fs::path& file : files) DynamicLibrary::try_open(file.string(), DynamicLibrary::Visibility::global);
}

/// Tries files and remembers why each of them is not the one.
class Attempts {
 public:
  std::optional<DynamicLibrary> file(const fs::path& path) {
    load_builtins(path.parent_path());
    return named(path.string());
  }
  std::optional<DynamicLibrary> named(const std::string& name) {
    std::string why;
    auto library = DynamicLibrary::try_open(name, DynamicLibrary::Visibility::local, &why);
    if (!library) note(why);
    return library;
  }
  void note(const std::string& line) { lines_ += "\n  " + line; }
  const std::string& lines() const { return lines_; }

 private:
  std::string lines_;
};

std::optional<DynamicLibrary> in_folder(const fs::path& folder, const std::vector<Name>& names, Attempts& attempts) {
  std::error_code ignored;
  bool present = false;
  for (const Name& name : names) {
    const fs::path path = folder / name.file;
    if (!fs::exists(path, ignored)) continue;
    present = true;
    if (auto library = attempts.file(path)) return library;
  }
  if (!present) attempts.note(folder.string() + ": no libnvrtc.so of a wanted version");
  return std::nullopt;
}

std::optional<DynamicLibrary> search_names(const NvrtcSearch& search, const std::vector<Name>& names,
                                           Attempts& attempts) {
  for (const Name& name : names) {
    if (auto library = DynamicLibrary::already_loaded(name.file)) {
      load_builtins(fs::path(library->path()).parent_path());
      return library;
    }
  }
  std::vector<std::string> folders = search.folders;
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const std::string root = environment(variable); !root.empty()) folders.push_back(root + "/lib64");
  }
  folders.push_back("/usr/local/cuda/lib64");
  for (const std::string& folder : folders) {
    if (auto library = in_folder(folder, names, attempts)) return library;
  }
  for (const Name& name : names) {
    if (auto library = attempts.named(name.file)) return library;
  }
  return std::nullopt;
}

}  // namespace

Nvrtc Nvrtc::load(const NvrtcSearch& search) {
  Attempts attempts;
  const std::vector<Name> all(std::begin(kNames), std::end(kNames));
  if (const std::string given = environment("LONGCONV_NVRTC"); !given.empty()) {
    std::error_code ignored;
    auto library = fs::is_directory(given, ignored) ? in_folder(given, all, attempts) : attempts.file(given);
    if (library) return Nvrtc(*std::move(library));
    throw Error(ErrorCode::unavailable, "LONGCONV_NVRTC=" + given + " gives no NVRTC:" + attempts.lines());
  }
  // First round: versions whose binaries the driver is sure to take. Second round: any, the plain name among them,
  // which does not tell its version before it is loaded.
  std::vector<Name> preferred;
  for (const Name& name : all) {
    if (name.major != 0 && name.major <= search.driver_major) preferred.push_back(name);
  }
  for (const std::vector<Name>& names : {preferred, all}) {
    if (names.empty()) continue;
    if (auto library = search_names(search, names, attempts)) return Nvrtc(*std::move(library));
  }
  throw Error(ErrorCode::unavailable,
              "no NVRTC, CUDA's run-time compiler, was found. Install it (pip install nvidia-cuda-nvrtc, or "
              "nvidia-cuda-nvrtc-cu12 for a CUDA 12 driver), or name its file or folder in LONGCONV_NVRTC. Tried:" +
                  attempts.lines());
}

}  // namespace longconv::cuda
