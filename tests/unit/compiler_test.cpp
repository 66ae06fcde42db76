// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The way from a spec to a launch, on a fake driver and a fake NVRTC: once per key, from the cache, under many
/// threads, on two GPUs, in a stream capture, through every failure.
#include "cuda/compiler.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cuda/launch.h"
#include "fakes/fakes.h"
#include "support/child_process.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

KernelSpec self_test(std::int64_t variant = 0) {
  KernelSpec spec;
  spec.file = "selftest.cuh";
  spec.entry = "self_test";
  spec.defines = {{"VARIANT", variant}, {"TYPE", "float"}};
  return spec;
}

/// Each test gets a compiler with a cache of its own and fakes in their first state.
class CompilerTest : public testing::Test {
 protected:
  CompilerTest() : driver_(LONGCONV_FAKE_CUDA_DRIVER) {
    ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
    gpu().launch_result = gpu().load_result = 0;
    gpu().modules_loaded = gpu().modules_unloaded = gpu().launches = 0;
    gpu().capture_mode = 0;
    gpu().dynamic_shared_limit = 0;
    nvrtc().compilations = nvrtc().milliseconds = nvrtc().meet = 0;
    compiler_ = make();
  }
  ~CompilerTest() override { ::unsetenv("LONGCONV_NVRTC"); }

  std::unique_ptr<Compiler> make() {
    Compiler::Options options;
    options.driver = &driver_;
    options.cache.folder = folder_.path();
    return std::make_unique<Compiler>(std::move(options));
  }
  static fakes::DriverState& gpu() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_CUDA_DRIVER).symbol("fake_driver_state");
    return *static_cast<fakes::DriverState*>(found);
  }
  static fakes::NvrtcState& nvrtc() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_NVRTC).symbol("fake_nvrtc_state");
    return *static_cast<fakes::NvrtcState*>(found);
  }

  TemporaryFolder folder_;
  Driver driver_;
  std::unique_ptr<Compiler> compiler_;
};

TEST_F(CompilerTest, CompilesOnceAndIsSilentWhenWarm) {
  const Function first = compiler_->get_function(0, self_test());
  EXPECT_NE(first.handle, nullptr);
  EXPECT_EQ(first.registers, 168);
  EXPECT_EQ(first.max_threads, 512);
  EXPECT_EQ(gpu().contexts_pushed, gpu().contexts_popped) << "the caller's context is back";
  const int calls = gpu().calls;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(compiler_->get_function(0, self_test()).handle, first.handle);
  EXPECT_EQ(gpu().calls, calls) << "a warm look-up calls the driver";
  EXPECT_EQ(nvrtc().compilations, 1);
  EXPECT_EQ(gpu().modules_loaded, 1);
  EXPECT_EQ(nvrtc().programs_alive, 0);
  EXPECT_NE(compiler_->get_function(0, self_test(1)).handle, first.handle);
  EXPECT_EQ(nvrtc().compilations, 2);
  KernelSpec renamed = self_test();
  renamed.defines[0] = {"OTHER_NAME", 0};
  EXPECT_NE(compiler_->get_function(0, renamed).handle, first.handle) << "names count, though no hash looks at them";
}

TEST_F(CompilerTest, ASecondGpuLoadsWithoutCompiling) {
  const Function zero = compiler_->get_function(0, self_test());
  const Function one = compiler_->get_function(1, self_test());
  EXPECT_NE(zero.handle, one.handle);
  EXPECT_NE(zero.context, one.context);
  EXPECT_EQ(nvrtc().compilations, 1);
  EXPECT_EQ(gpu().modules_loaded, 2);
  EXPECT_THROW(compiler_->get_function(2, self_test()), Error);
}

TEST_F(CompilerTest, TheNextProcessFindsTheCache) {
  compiler_->get_function(0, self_test());
  compiler_ = make();
  compiler_->get_function(0, self_test());
  EXPECT_EQ(nvrtc().compilations, 1);
  EXPECT_EQ(compiler_->statistics().compilations, 0);
  EXPECT_EQ(compiler_->cache().status().hits, 1);
}

TEST_F(CompilerTest, EverythingInTheSpecAndTheCompilerIsInTheKey) {
  const Target target = Target::parse("sm_90a");
  const auto compiles = [&](Compiler& compiler, const Target& to, const KernelSpec& spec) {
    const int before = nvrtc().compilations;
    compiler.get_image(to, spec, "");
    return nvrtc().compilations - before;
  };
  EXPECT_EQ(compiles(*compiler_, target, self_test()), 1);
  EXPECT_EQ(compiles(*compiler_, target, self_test()), 0);
  EXPECT_EQ(compiles(*compiler_, Target::parse("sm_80"), self_test()), 1);
  EXPECT_EQ(compiles(*compiler_, target, self_test(7)), 1);
  KernelSpec typed = self_test();
  typed.defines[1] = {"TYPE", "double"};
  EXPECT_EQ(compiles(*compiler_, target, typed), 1);
  nvrtc().version = 12050;
  EXPECT_EQ(compiles(*make(), target, self_test()), 1) << "another compiler version";
  nvrtc().version = 12040;
  EXPECT_EQ(compiles(*make(), target, self_test()), 0);
  // What does not reach the compiler is not in the key.
  KernelSpec larger = self_test();
  larger.dynamic_shared_bytes = 100000;
  EXPECT_EQ(compiles(*compiler_, target, larger), 0);
}

TEST_F(CompilerTest, ManyThreadsCompileOnce) {
  nvrtc().milliseconds = 50;
  std::vector<std::thread> threads;
  std::vector<Function> functions(16);
  for (std::size_t i = 0; i < functions.size(); ++i) {
    threads.emplace_back(
        [&, i] { functions[i] = compiler_->get_function(0, self_test(static_cast<std::int64_t>(i % 2))); });
  }
  for (auto& thread : threads) thread.join();
  for (std::size_t i = 2; i < functions.size(); ++i) EXPECT_EQ(functions[i].handle, functions[i % 2].handle);
  EXPECT_EQ(nvrtc().compilations, 2);
  EXPECT_EQ(gpu().modules_loaded, 2);
  EXPECT_EQ(compiler_->statistics().functions, 2);
}

TEST_F(CompilerTest, FailuresReachEveryWaiterAndAreTriedAgain) {
  nvrtc().milliseconds = 50;
  gpu().load_result = CUDA_ERROR_OUT_OF_MEMORY;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      try {
        compiler_->get_function(0, self_test());
      } catch (const Error& error) {
        failures += error.code() == ErrorCode::out_of_memory &&
                    contains(error.what(), "selftest.cuh:self_test VARIANT=0") &&
                    contains(error.what(), "sm_90a from NVRTC 12.4") && contains(error.what(), "driver for CUDA 12.4");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 4);
  EXPECT_EQ(gpu().contexts_pushed, gpu().contexts_popped);
  gpu().load_result = 0;
  EXPECT_NE(compiler_->get_function(0, self_test()).handle, nullptr);
  EXPECT_EQ(nvrtc().compilations, 1) << "the machine code was good";
}

TEST_F(CompilerTest, ALaunchsFunctionsAreCompiledSideBySide) {
  compiler_->get_function(0, self_test(1));
  const std::vector<KernelSpec> specs{self_test(0), self_test(1), self_test(2), self_test(0), self_test(3)};
  nvrtc().meet = 3;  // what is missing
  nvrtc().have_met = false;
  std::vector<Function> functions[2];
  std::thread other([&] { functions[1] = compiler_->get_functions(0, specs, nullptr); });
  functions[0] = compiler_->get_functions(0, specs, nullptr);
  other.join();
  nvrtc().meet = 0;
  EXPECT_EQ(nvrtc().compilations, 4) << "once each, whoever asks";
  EXPECT_EQ(gpu().modules_loaded, 4);
  for (const auto& got : functions) {
    ASSERT_EQ(got.size(), specs.size());
    for (std::size_t i = 0; i < specs.size(); ++i)
      EXPECT_EQ(got[i].handle, compiler_->get_function(0, specs[i]).handle) << i;
  }
  EXPECT_EQ(gpu().contexts_pushed, gpu().contexts_popped);
}

TEST_F(CompilerTest, OneOfALaunchsFunctionsFails) {
  KernelSpec bad = self_test(1);
  bad.entry = "no_such_entry";
  KernelSpec worse = self_test(2);
  worse.entry = "nor_this_one";
  try {
    compiler_->get_functions(0, {self_test(0), bad, worse, self_test(3)}, nullptr);
    ADD_FAILURE() << "expected an error";
  } catch (const Error& error) {
    EXPECT_TRUE(contains(error.what(), "no_such_entry") || contains(error.what(), "cuModuleGetFunction"))
        << error.what();
  }
  const int compiled = nvrtc().compilations;
  compiler_->get_functions(0, {self_test(0), self_test(3)}, nullptr);
  EXPECT_EQ(nvrtc().compilations, compiled) << "the others were kept";
  EXPECT_THROW(compiler_->get_functions(2, {self_test(0)}, nullptr), Error) << "there is no such GPU";
}

TEST_F(CompilerTest, AMissingEntryUnloadsTheModule) {
  KernelSpec spec = self_test();
  spec.entry = "no_such_entry";
  EXPECT_THROW(compiler_->get_function(0, spec), Error);
  EXPECT_EQ(gpu().modules_loaded, 1);
  EXPECT_EQ(gpu().modules_unloaded, 1);
}

TEST_F(CompilerTest, LoadsDuringAStreamCapture) {
  compiler_->get_function(0, self_test());
  EXPECT_EQ(gpu().capture_mode_during_load, CU_STREAM_CAPTURE_MODE_RELAXED);
  EXPECT_EQ(gpu().capture_mode, CU_STREAM_CAPTURE_MODE_GLOBAL) << "the caller's mode is back";
}

TEST_F(CompilerTest, OptsInToSharedMemory) {
  KernelSpec spec = self_test();
  spec.dynamic_shared_bytes = 48 << 10;
  compiler_->get_function(0, spec);
  EXPECT_EQ(gpu().dynamic_shared_limit, 0) << "needs no opt-in";
  spec.dynamic_shared_bytes = 227 << 10;
  compiler_->get_function(0, spec);
  EXPECT_EQ(gpu().dynamic_shared_limit, 227 << 10);
  spec.dynamic_shared_bytes += 16;
  try {
    compiler_->get_function(0, spec);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_TRUE(contains(error.what(), "wants 232464 + 0 bytes of shared memory, NVIDIA H100 80GB HBM3 has 232448"))
        << error.what();
  }
}

TEST_F(CompilerTest, Launches) {
  const Function function = compiler_->get_function(1, self_test());
  LaunchShape shape;
  shape.blocks = 264;
  shape.threads = 384;
  struct {
    int number;
    double other;
  } parameters{42, 0};
  launch(driver_, function, shape, nullptr, parameters);
  EXPECT_EQ(gpu().last_blocks, 264u);
  EXPECT_EQ(gpu().last_threads, 384u);
  EXPECT_EQ(gpu().last_argument, 42);
  EXPECT_EQ(gpu().contexts_pushed, gpu().contexts_popped);
  shape.cluster_blocks = 2;
  parameters.number = 43;
  launch(driver_, function, shape, nullptr, parameters);
  EXPECT_EQ(gpu().last_cluster, 2);
  EXPECT_EQ(gpu().last_argument, 43);
  EXPECT_FALSE(gpu().last_overlaps);
  shape.overlap_previous = true;
  launch(driver_, function, shape, nullptr, parameters);
  EXPECT_EQ(gpu().launches, 3);
  EXPECT_TRUE(gpu().last_overlaps);
  EXPECT_EQ(gpu().last_cluster, 2);

  for (const LaunchShape& bad : {LaunchShape{0, 384}, LaunchShape{1, 513}, LaunchShape{1, 0}, LaunchShape{3, 384, 2},
                                 LaunchShape{std::int64_t{1} << 31, 32}}) {
    EXPECT_THROW(launch(driver_, function, bad, nullptr, parameters), Error);
  }
  EXPECT_EQ(gpu().launches, 3);
  gpu().launch_result = CUDA_ERROR_LAUNCH_FAILED;
  EXPECT_THROW(launch(driver_, function, shape, nullptr, parameters), Error);
  EXPECT_EQ(gpu().contexts_pushed, gpu().contexts_popped);
}

TEST_F(CompilerTest, ACurrentContextIsLeftAlone) {
  const Function function = compiler_->get_function(0, self_test());
  const ContextScope current(driver_, compiler_->context(0));
  const int pushed = gpu().contexts_pushed;
  launch(driver_, function, LaunchShape{1, 32}, nullptr, 1);
  EXPECT_EQ(gpu().contexts_pushed, pushed);
}

TEST_F(CompilerTest, TheProcessesCompilerReadsTheEnvironment) {
  EXPECT_EQ(in_child([&]() -> std::string {
              ::setenv("LONGCONV_CACHE_DIR", folder_.path().c_str(), 1);
              ::setenv("LONGCONV_NVRTC_OPTIONS", " --generate-line-info  -DX=1 ", 1);
              Compiler& compiler = Compiler::instance();
              const std::string image = compiler.get_image(Target::parse("sm_80"), self_test(), "");
              if (!contains(image, "--generate-line-info\n-DX=1")) return image;
              return compiler.cache().status().folder == folder_.path() ? "good" : compiler.cache().status().folder;
            }),
            "good");
}

// Compiling ahead of time for another machine: no driver here.
TEST_F(CompilerTest, CompilesWithoutADriver) {
  EXPECT_EQ(in_child([&]() -> std::string {
              ::setenv("LONGCONV_CUDA_DRIVER", "libcuda-not-here.so.1", 1);
              Compiler::Options options;
              options.cache.folder = folder_.path() + "/other";
              Compiler compiler(std::move(options));
              const std::string image = compiler.get_image(compiler.target_for(90), self_test(), "");
              if (!contains(image, "-DVARIANT=0\n-DTYPE=float")) return image;
              try {
                compiler.get_function(0, self_test());
              } catch (const Error& error) {
                return error.code() == ErrorCode::unavailable ? "good" : error.what();
              }
              return "no error";
            }),
            "good");
}

TEST(KernelSpec, DefinesTakeEveryKindOfNumber) {
  enum class Mode : std::uint8_t { off, on };
  const KernelSpec spec{
      "a.cuh", "a", {{"ZERO", 0}, {"FLAG", true}, {"MODE", Mode::on}, {"BIG", std::int64_t{1} << 40}}};
  EXPECT_EQ(spec.to_string(), "a.cuh:a ZERO=0 FLAG=1 MODE=1 BIG=1099511627776");
}

TEST(KernelSpec, ComparesByWhatItSays) {
  const std::string name = "VARIANT";  // equal text at another address
  KernelSpec a = self_test(), b = self_test();
  b.defines[0].name = name.c_str();
  EXPECT_EQ(a, b);
  EXPECT_EQ(KernelSpecHash{}(a), KernelSpecHash{}(b));
  EXPECT_EQ(a.to_string(), "selftest.cuh:self_test VARIANT=0 TYPE=float");
  for (auto change : std::vector<void (*)(KernelSpec&)>{
           [](KernelSpec& s) { s.defines[0].value = 1; }, [](KernelSpec& s) { s.defines[1].text = "double"; },
           [](KernelSpec& s) { s.defines.pop_back(); }, [](KernelSpec& s) { s.entry = "other"; },
           [](KernelSpec& s) { s.dynamic_shared_bytes = 1; }, [](KernelSpec& s) { s.defines[1].text = nullptr; }}) {
    KernelSpec changed = self_test();
    change(changed);
    EXPECT_FALSE(changed == a);
    EXPECT_NE(KernelSpecHash{}(changed), KernelSpecHash{}(a));
  }
}

}  // namespace
}  // namespace longconv::cuda
