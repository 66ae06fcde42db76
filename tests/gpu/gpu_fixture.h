// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What tests on a real GPU share: the process's compiler, a stream, device copies of host arrays, kernels from test
/// files.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/device_memory.h"
#include "cuda/launch.h"

namespace longconv::cuda {

/// GPU 0, its context current. Without a GPU every test fails: these run where there is one, or not at all.
class GpuTest : public testing::Test {
 protected:
  GpuTest()
      : compiler_(Compiler::instance()),
        scope_(compiler_.driver(), compiler_.context(0)),
        stream_(compiler_.driver()) {}
  const Driver& driver() const { return compiler_.driver(); }
  const Device& device() const { return compiler_.device(0); }

  template <typename T>
  std::unique_ptr<DeviceBuffer> upload(const std::vector<T>& host) {
    auto buffer = std::make_unique<DeviceBuffer>(driver(), host.size() * sizeof(T));
    buffer->upload(host.data(), host.size() * sizeof(T), stream_);
    stream_.synchronize();
    return buffer;
  }
  /// Filled with ones: NaN in every floating-point type, so that what is not written shows.
  template <typename T>
  std::unique_ptr<DeviceBuffer> allocate(std::size_t count) {
    auto buffer = std::make_unique<DeviceBuffer>(driver(), count * sizeof(T));
    buffer->fill(0xff, stream_);
    return buffer;
  }
  template <typename T>
  std::vector<T> download(const DeviceBuffer& buffer) {
    std::vector<T> host(buffer.size_bytes() / sizeof(T));
    buffer.download(host.data(), buffer.size_bytes(), stream_);
    stream_.synchronize();
    return host;
  }

  Compiler& compiler_;
  ContextScope scope_;
  Stream stream_;
};

/// A file of tests/device, compiled for a GPU and loaded.
class TestModule {
 public:
  TestModule(Compiler& compiler, int ordinal, const std::string& file, const std::vector<std::string>& definitions = {})
      : compiler_(compiler), ordinal_(ordinal) {
    const std::string path = std::string(LONGCONV_SOURCE_DIR) + "/tests/device/" + file;
    std::ifstream stream(path);
    const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    if (text.empty()) throw Error(ErrorCode::internal, "cannot read " + path);
    CompileRequest request;
    request.name = file;
    request.text = text;
    request.headers = included_files(text, file);
    request.options = {compiler.target_for(compiler.device(ordinal).compute_capability).option(), "--std=c++17"};
    request.options.insert(request.options.end(), definitions.begin(), definitions.end());
    const std::string image = compiler.nvrtc().compile(request).image;
    const ContextScope current(compiler.driver(), compiler.context(ordinal));
    compiler.driver().module_load_data_ex(&module_, image.data(), 0, nullptr, nullptr);
  }
  ~TestModule() { compiler_.driver().module_unload.raw(module_); }
  TestModule(const TestModule&) = delete;
  TestModule& operator=(const TestModule&) = delete;

  Function function(const std::string& entry, std::int64_t dynamic_shared_bytes = 0) const {
    Function function;
    function.context = compiler_.context(ordinal_);
    function.max_threads = 1024;
    compiler_.driver().module_get_function(&function.handle, module_, entry.c_str());
    if (dynamic_shared_bytes > 0) {
      compiler_.driver().func_set_attribute(function.handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                            static_cast<int>(dynamic_shared_bytes));
    }
    return function;
  }

 private:
  Compiler& compiler_;
  int ordinal_;
  CUmodule module_ = nullptr;
};

}  // namespace longconv::cuda
