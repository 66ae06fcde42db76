// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/dynamic_library.h"

#include <dlfcn.h>
#include <link.h>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

std::string loaded_path(void* handle, const std::string& fallback) {
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr && map->l_name != nullptr &&
      map->l_name[0] != '\0') {
    return map->l_name;
  }
  return fallback;
}

}  // namespace

std::optional<DynamicLibrary> DynamicLibrary::try_open(const std::string& path, Visibility visibility,
                                                       std::string* why) {
  // RTLD_NOW: a library that misses a dependency must fail here, where it can be explained, not in the middle of a
  // call.
  void* handle = dlopen(path.c_str(), RTLD_NOW | (visibility == Visibility::global ? RTLD_GLOBAL : RTLD_LOCAL));
  if (handle == nullptr) {
    const char* message = dlerror();
    if (why != nullptr) *why = message != nullptr ? message : "the loader gives no reason";
    return std::nullopt;
  }
  return DynamicLibrary(handle, loaded_path(handle, path));
}

DynamicLibrary DynamicLibrary::open(const std::string& path, Visibility visibility) {
  std::string why;
  if (auto library = try_open(path, visibility, &why)) return *std::move(library);
  throw Error(ErrorCode::unavailable, "cannot load " + path + ": " + why);
}

std::optional<DynamicLibrary> DynamicLibrary::already_loaded(const std::string& name) {
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle == nullptr) {
    dlerror();  // forget the message
    return std::nullopt;
  }
  return DynamicLibrary(handle, loaded_path(handle, name));
}

void* DynamicLibrary::find_symbol(const char* name) const {
  dlerror();
  void* address = dlsym(handle_, name);
  return dlerror() == nullptr ? address : nullptr;
}

void* DynamicLibrary::symbol(const char* name) const {
  if (void* address = find_symbol(name)) return address;
  throw Error(ErrorCode::unavailable, path_ + " has no function " + name);
}

}  // namespace longconv::cuda
