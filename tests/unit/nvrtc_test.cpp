// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// NVRTC's search and its wrapper against a fake library, and the real one where LONGCONV_TEST_NVRTC names it
/// (`.ci/run` does). Everything that loads a library runs in a child process: a loaded NVRTC would be found by the next
/// test.
#include "cuda/nvrtc.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "cuda/resource_usage.h"
#include "support/child_process.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Puts a copy of the fake NVRTC under this name.
std::string install(const std::string& folder, const std::string& name) {
  fs::create_directories(folder);
  fs::copy_file(LONGCONV_FAKE_NVRTC, folder + "/" + name);
  return folder + "/" + name;
}

/// The path of the NVRTC that the search finds; the environment holds only what is given.
std::string found(const NvrtcSearch& search, const std::string& given = "", const std::string& home = "") {
  return in_child([&]() -> std::string {
    for (const char* name : {"LONGCONV_NVRTC", "CUDA_HOME", "CUDA_PATH"}) ::unsetenv(name);
    if (!given.empty()) ::setenv("LONGCONV_NVRTC", given.c_str(), 1);
    if (!home.empty()) ::setenv("CUDA_HOME", home.c_str(), 1);
    return Nvrtc::load(search).path();
  });
}

TEST(NvrtcSearch, EnvironmentBeatsFoldersBeatToolkit) {
  TemporaryFolder root;
  const std::string file = install(root.path() + "/given", "libanything.so");
  const std::string folder = install(root.path() + "/wheel", "libnvrtc.so.12");
  const std::string toolkit = install(root.path() + "/toolkit/lib64", "libnvrtc.so.12");
  NvrtcSearch search;
  search.folders = {root.path() + "/absent", root.path() + "/wheel"};
  EXPECT_EQ(found(search, file, root.path() + "/toolkit"), file);
  EXPECT_EQ(found(search, root.path() + "/wheel", root.path() + "/toolkit"), folder);
  EXPECT_EQ(found(search, "", root.path() + "/toolkit"), folder);
  EXPECT_EQ(found({}, "", root.path() + "/toolkit"), toolkit);
}

// A newer NVRTC's code is refused by an older driver: the driver's own version wins wherever it lies.
TEST(NvrtcSearch, PrefersWhatTheDriverTakes) {
  TemporaryFolder root;
  const std::string newer = install(root.path() + "/a", "libnvrtc.so.13");
  const std::string same = install(root.path() + "/b", "libnvrtc.so.12");
  const std::string older = install(root.path() + "/c", "libnvrtc.so.11.2");
  NvrtcSearch search;
  search.folders = {root.path() + "/a", root.path() + "/b", root.path() + "/c"};
  search.driver_major = 12;
  EXPECT_EQ(found(search), same);
  search.driver_major = 11;
  EXPECT_EQ(found(search), older);
  search.driver_major = 13;
  EXPECT_EQ(found(search), newer);
  search.driver_major = 0;
  EXPECT_EQ(found(search), newer);
  fs::remove(same);
  fs::remove(older);
  search.driver_major = 12;
  EXPECT_EQ(found(search), newer) << "better a newer one than none";
}

TEST(NvrtcSearch, TellsEverythingThatWasTried) {
  TemporaryFolder root;
  fs::create_directories(root.path() + "/wheel");
  std::ofstream(root.path() + "/wheel/libnvrtc.so.12") << "no library";
  NvrtcSearch search;
  search.folders = {root.path() + "/wheel", root.path() + "/empty"};
  const std::string message = found(search, "", root.path() + "/toolkit");
  // A machine with a toolkit has an NVRTC on the loader's path; then there is nothing to tell.
  if (contains(message, "threw")) {
    for (const std::string& part :
         {root.path() + "/wheel/libnvrtc.so.12", root.path() + "/empty", root.path() + "/toolkit/lib64",
          std::string("pip install nvidia-cuda-nvrtc"), std::string("LONGCONV_NVRTC"), std::string("libnvrtc.so.13")}) {
      EXPECT_TRUE(contains(message, part)) << part << " in\n" << message;
    }
  }
  const std::string wrong = found({}, root.path() + "/empty");
  EXPECT_TRUE(contains(wrong, "LONGCONV_NVRTC=" + root.path() + "/empty")) << wrong;
}

TEST(NvrtcSearch, RefusesAnNvrtcThatIsTooOld) {
  TemporaryFolder root;
  const std::string file = install(root.path(), "libnvrtc.so.11.2");
  const std::string message = in_child([&]() -> std::string {
    ::setenv("FAKE_NVRTC_VERSION", "11010", 1);
    ::setenv("LONGCONV_NVRTC", file.c_str(), 1);
    return Nvrtc::load({}).version_string();
  });
  EXPECT_TRUE(contains(message, "NVRTC 11.1 (" + file + ") is too old")) << message;
}

TEST(Nvrtc, ReportsAndCompiles) {
  const std::string seen = in_child([]() -> std::string {
    ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
    const Nvrtc nvrtc = Nvrtc::load({});
    if (nvrtc.version_string() != "12.4") return nvrtc.version_string();
    if (nvrtc.supported_archs() != std::vector<int>{80, 86, 89, 90}) return "archs are not sorted";
    CompileRequest request;
    request.name = "a.cuh";
    request.text = std::string_view("source, cut here", 6);  // views need not end in a zero
    request.options = {"-DX=1"};
    const CompileResult result = nvrtc.compile(request);
    return result.image.c_str();
  });
  EXPECT_EQ(seen, "a.cuh\nsource\n-DX=1");
}

TEST(Nvrtc, ACompileErrorTellsProblemOptionsAndLog) {
  const std::string message = in_child([]() -> std::string {
    ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
    const Nvrtc nvrtc = Nvrtc::load({});
    CompileRequest request;
    request.name = "conv/some.cuh";
    request.text = "#error";
    request.options = {"--gpu-architecture=sm_80", "-DK=3"};
    request.problem = "fprop n1 c2->3 l9 k3 f32";
    nvrtc.compile(request);
    return "no error";
  });
  for (const char* part : {"conv/some.cuh does not compile", "fprop n1 c2->3 l9 k3 f32", "NVRTC_ERROR_COMPILATION",
                           "NVRTC 12.4", "options: --gpu-architecture=sm_80 -DK=3", "fake.cuh(1): error"}) {
    EXPECT_TRUE(contains(message, part)) << part << " in\n" << message;
  }
}

/// Runs with a real NVRTC; several can be named, separated by colons.
class RealNvrtc : public testing::Test {
 protected:
  template <typename Function>
  void with_each(Function function) {
    const char* names = std::getenv("LONGCONV_TEST_NVRTC");
    if (names == nullptr || *names == '\0') GTEST_SKIP() << "LONGCONV_TEST_NVRTC names no NVRTC";
    std::string rest = names;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(':'), rest.size());
      const std::string file = rest.substr(0, end);
      rest.erase(0, end + 1);
      EXPECT_EQ(in_child([&]() -> std::string {
                  ::setenv("LONGCONV_NVRTC", file.c_str(), 1);
                  return function(Nvrtc::load({}));
                }),
                "good")
          << file;
    }
  }
};

TEST_F(RealNvrtc, CompilesWithEmbeddedHeaders) {
  with_each([](const Nvrtc& nvrtc) -> std::string {
    CompileRequest request;
    const KernelFile& file = kernel_file("selftest.cuh");
    request.name = file.name;
    request.text = file.text;
    request.headers = included_files(file.text, file.name);
    request.options = {"--gpu-architecture=sm_80", "--std=c++17", kResourceReportOption};
    const CompileResult cubin = nvrtc.compile(request);
    if (cubin.image.substr(0, 4) !=
        "\x7f"
        "ELF")
      return "no ELF file";
    if (!contains(cubin.image, "self_test")) return "no entry point";
    const auto usage = parse_resource_report(cubin.log).at(0);
    if (usage.entry != "self_test" || usage.arch != "sm_80" || usage.registers < 4 || usage.uses_local_memory()) {
      return "report: " + usage.to_string();
    }
    request.options = {"--gpu-architecture=compute_80", "--std=c++17"};
    request.ptx = true;
    const CompileResult ptx = nvrtc.compile(request);
    return contains(ptx.image, ".target sm_80") && ptx.image.back() == '\0' ? "good" : "no PTX";
  });
}

// The check that fails a build must see what it looks for: spills, stack, static shared memory.
TEST_F(RealNvrtc, TheReportShowsLocalMemory) {
  with_each([](const Nvrtc& nvrtc) -> std::string {
    CompileRequest request;
    request.name = "greedy.cuh";
    request.text = R"(
extern "C" __global__ void __launch_bounds__(1024, 1) greedy(float* x) {
  __shared__ float s[32];
  float v[128];
#pragma unroll
  for (int i = 0; i < 128; ++i) v[i] = x[i * 1024 + threadIdx.x];
  s[threadIdx.x % 32] = v[0];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 128; ++i) x[i * 1024 + threadIdx.x] = v[127 - i] * v[(i * 7) % 128] + s[i % 32];
})";
    request.options = {"--gpu-architecture=sm_80", kResourceReportOption};
    const auto usage = parse_resource_report(nvrtc.compile(request).log).at(0);
    if (usage.spill_store_bytes == 0 || usage.spill_load_bytes == 0) return "no spills: " + usage.to_string();
    return usage.shared_bytes == 128 && usage.uses_local_memory() ? "good" : usage.to_string();
  });
}

TEST_F(RealNvrtc, ACompileErrorCarriesTheLog) {
  with_each([](const Nvrtc& nvrtc) -> std::string {
    CompileRequest request;
    request.name = "broken.cuh";
    request.text = "extern \"C\" __global__ void f() { nonsense; }";
    request.options = {"--gpu-architecture=sm_80"};
    try {
      nvrtc.compile(request);
    } catch (const Error& error) {
      return contains(error.what(), "broken.cuh(1)") && contains(error.what(), "nonsense") ? "good" : error.what();
    }
    return "no error";
  });
}

}  // namespace
}  // namespace longconv::cuda
