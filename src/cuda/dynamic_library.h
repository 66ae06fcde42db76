// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// A shared library found at run time. It stays loaded until the process ends: the CUDA libraries start threads and
/// register exit handlers, so unloading them is never safe.
#pragma once

#include <optional>
#include <string>

namespace longconv::cuda {

class DynamicLibrary {
 public:
  enum class Visibility { local, global };

  /// Loads `path` (a file, or a bare name that the loader looks up). Throws Error{unavailable} with the loader's words.
  static DynamicLibrary open(const std::string& path, Visibility visibility = Visibility::local);
  /// The same, but a failure is an answer: the loader's words go to `why` when it is given.
  static std::optional<DynamicLibrary> try_open(const std::string& path, Visibility visibility = Visibility::local,
                                                std::string* why = nullptr);
  /// Only if the process has loaded it already.
  static std::optional<DynamicLibrary> already_loaded(const std::string& name);

  /// Address of a symbol. Throws Error{unavailable} naming the symbol and the library.
  void* symbol(const char* name) const;
  /// Null when the library has no such symbol.
  void* find_symbol(const char* name) const;
  /// The file that was loaded, as the loader reports it (for a bare name: where it was found).
  const std::string& path() const { return path_; }

 private:
  DynamicLibrary(void* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  void* handle_;
  std::string path_;
};

}  // namespace longconv::cuda
