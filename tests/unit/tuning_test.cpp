// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Choosing by measurement: the table on disk, and the tuner on the fake driver, whose clock launches advance.
#include "cuda/tuning.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "cuda/compiler.h"
#include "fakes/fakes.h"
#include "longconv/cuda.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

const ConvProblem kProblem = ConvProblem::parse("n2 c64->128 l5000 k3 s3 d4 f32 tf32 bias residual");

DiskCache::Options in(const std::string& folder) {
  DiskCache::Options options;
  options.folder = folder;
  return options;
}

TEST(TuningTable, RemembersByProblemAndModelOfGpu) {
  TemporaryFolder folder;
  const Device h100 = Device::known("h100");
  const TunedChoice choice{"some_kernel", "m1 n256", 1.5e-3};
  TuningTable(in(folder.path())).remember(kProblem, h100, choice);
  TuningTable table(in(folder.path()));
  EXPECT_EQ(table.find(kProblem, h100), choice);
  Device same = h100;
  same.ordinal = 3;
  EXPECT_EQ(table.find(kProblem, same), choice) << "another GPU of the same model";
  EXPECT_FALSE(table.find(kProblem, Device::known("h200")));
  Device smaller = h100;
  smaller.sm_count = 114;
  EXPECT_FALSE(table.find(kProblem, smaller));
  ConvProblem other = kProblem;
  other.length_samples += 1;
  EXPECT_FALSE(table.find(other, h100));
}

TEST(TuningTable, IgnoresDamagedEntriesAndOtherFilesOfTheFolder) {
  TemporaryFolder folder;
  DiskCache(in(folder.path())).store(Sha256::of("kernel"), "machine code");
  TuningTable table(in(folder.path()));
  EXPECT_EQ(table.status().entries, 0);
  for (const char* config : {"", "m1\nn2", "x"}) {  // a config with a line break would not read back: no choice
    table.remember(kProblem, Device::known("h100"), {"kernel", config, 1e-3});
    EXPECT_EQ(table.find(kProblem, Device::known("h100")).has_value(), std::string(config) != "m1\nn2");
  }
  EXPECT_EQ(table.status().entries, 1);
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    if (file.path().extension() == ".tuned") std::filesystem::resize_file(file, 100);
  }
  EXPECT_FALSE(table.find(kProblem, Device::known("h100")));
  EXPECT_EQ(table.status().damaged, 1);
  EXPECT_EQ(DiskCache(in(folder.path())).find(Sha256::of("kernel")), "machine code");
}

TEST(TunedPlan, TakesARememberedCandidateAndNothingElse) {
  TemporaryFolder folder;
  TuningTable table(in(folder.path()));
  const Device h100 = Device::known("h100");
  const Plan plain = make_tuned_plan(kProblem, h100, &table);
  EXPECT_EQ(plain.to_string(), make_plan(kProblem, h100).to_string());
  ASSERT_GE(plain.runners_up.size(), 2u);
  const Plan::Candidate wanted = plain.runners_up[1];
  table.remember(kProblem, h100, {std::string(wanted.kernel->name()), wanted.config.to_string(), 2e-3});
  const Plan tuned = make_tuned_plan(kProblem, h100, &table);
  EXPECT_EQ(tuned.chosen.kernel, wanted.kernel);
  EXPECT_EQ(tuned.chosen.config.to_string(), wanted.config.to_string());
  EXPECT_EQ(tuned.workspace_bytes(), wanted.workspace_bytes);
  EXPECT_NE(tuned.to_string().find(wanted.config.to_string() + ": 2 ms tuned, "), std::string::npos)
      << tuned.to_string();
  ASSERT_EQ(tuned.runners_up.size(), plain.runners_up.size());
  EXPECT_EQ(tuned.runners_up[0].config.to_string(), plain.chosen.config.to_string()) << "the best estimate comes first";
  table.remember(kProblem, h100, {std::string(wanted.kernel->name()), "m7", 1e-3});
  EXPECT_EQ(make_tuned_plan(kProblem, h100, &table).to_string(), plain.to_string()) << "no such candidate any more";
}

class TunerTest : public testing::Test {
 protected:
  TunerTest() : driver_(LONGCONV_FAKE_CUDA_DRIVER), table_(in(folder_.path())) {
    Compiler::Options options;
    options.driver = &driver_;
    ::setenv("LONGCONV_NVRTC", LONGCONV_FAKE_NVRTC, 1);
    options.cache.folder = folder_.path();
    compiler_ = std::make_unique<Compiler>(std::move(options));
  }
  ~TunerTest() override {
    gpu().fast_kernel = nullptr;
    gpu().launch_result = 0;
  }
  static fakes::DriverState& gpu() {
    static void* found = DynamicLibrary::open(LONGCONV_FAKE_CUDA_DRIVER).symbol("fake_driver_state");
    return *static_cast<fakes::DriverState*>(found);
  }

  TemporaryFolder folder_;
  Driver driver_;
  TuningTable table_;
  std::unique_ptr<Compiler> compiler_;
};

TEST_F(TunerTest, MeasuresEveryCandidateAndRemembersTheFastest) {
  const Device device = query_device(driver_, 1);
  const Plan plain = make_plan(kProblem, device);
  // The fake's clock favours a kernel that the planner does not.
  gpu().fast_kernel = "longconv_dense_fprop_sm80";
  ASSERT_NE(plain.chosen.kernel->name(), "dense_fprop_sm80");
  const int before = gpu().allocations_alive;
  {
    Tuner tuner(kProblem, 1, compiler_.get(), &table_);
    EXPECT_GT(tuner.steps(), 0);
    EXPECT_THROW(tuner.results(), Error);
    for (int i = 0; i < tuner.steps(); ++i) tuner.step();
    const auto results = tuner.results();
    EXPECT_EQ(results.size(), 1 + plain.runners_up.size());
    EXPECT_EQ(results.front().kernel->name(), "dense_fprop_sm80");
    for (std::size_t i = 0; i + 1 < results.size(); ++i) {
      EXPECT_GT(results[i].measured_seconds, 0);
      EXPECT_LE(results[i].measured_seconds, results[i + 1].measured_seconds);
    }
    EXPECT_EQ(tuner.remember(), folder_.path());
  }
  EXPECT_EQ(gpu().allocations_alive, before) << "leaks device memory";
  EXPECT_EQ(gpu().contexts_pushed, gpu().contexts_popped);
  EXPECT_EQ(make_tuned_plan(kProblem, device, &table_).chosen.kernel->name(), "dense_fprop_sm80");
}

TEST_F(TunerTest, FailuresAreTold) {
  EXPECT_THROW(Tuner(kProblem, 7, compiler_.get(), &table_), Error);
  EXPECT_THROW(Tuner(ConvProblem::parse("n1 c4->4 l99 i64"), 0, compiler_.get(), &table_), Error);
  EXPECT_THROW(Tuner(ConvProblem::parse("n0 c4->4 l99"), 0, compiler_.get(), &table_), Error);
  const int before = gpu().allocations_alive;
  {
    Tuner tuner(kProblem, 0, compiler_.get(), &table_);
    gpu().launch_result = CUDA_ERROR_LAUNCH_FAILED;
    EXPECT_THROW(tuner.step(), Error);
  }
  EXPECT_EQ(gpu().allocations_alive, before);
}

}  // namespace
}  // namespace longconv::cuda
