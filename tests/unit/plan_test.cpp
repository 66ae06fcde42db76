// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "longconv/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <set>
#include <string>

#include "longconv/error.h"

namespace longconv {
namespace {

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_STRNE(error.what(), "");
    return error.code();
  }
  ADD_FAILURE() << "no exception";
  return ErrorCode::internal;
}

Device small_device() { return {.threads = 2}; }

TEST(Registry, NamesAreUniqueWords) {
  std::set<std::string_view> names;
  for (const Kernel* kernel : all_kernels()) {
    EXPECT_TRUE(names.insert(kernel->name()).second) << kernel->name();
    EXPECT_EQ(kernel->name().find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), std::string_view::npos);
  }
  EXPECT_TRUE(names.count("integer_direct"));
}

/// The promises of the Kernel interface, for every kernel on a table of problems and devices.
TEST(Registry, EveryKernelKeepsItsInterfacesPromises) {
  const char* const shapes[] = {"n2 c3->4 l100 k3",         "n1 c64->128 l524280 k3 s3 d4",
                                "n8 c16->16 l50 k4 g16 p3", "n1 c4->8 l9 k3 g4 reflect p2",
                                "n1 c1->1 l4194304 k1025",  "n1 c512->512 l24000 k3 s2"};
  int supported = 0;
  for (const Kernel* kernel : all_kernels()) {
    for (const char* shape : shapes) {
      for (const Pass pass : {Pass::fprop, Pass::dgrad, Pass::wgrad}) {
        for (const DType dtype :
             {DType::f32, DType::f64, DType::bf16, DType::f16, DType::c64, DType::c128, DType::i64}) {
          ConvProblem p = ConvProblem::parse(shape);
          p.pass = pass, p.dtype = dtype;
          for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
            const Device device{.isa = isa, .threads = 4};
            const Support support = kernel->supports(p, device);
            EXPECT_EQ(support.ok, support.reason.empty()) << kernel->name() << ": " << p.to_string();
            if (!support.ok) continue;
            ++supported;
            const auto configs = kernel->configs(p, device);
            EXPECT_FALSE(configs.empty()) << kernel->name() << ": " << p.to_string();
            for (const Config& config : configs) {
              const Estimate estimate = kernel->estimate(p, config, device);
              EXPECT_GE(estimate.seconds, 0)  // false for NaN
                  << kernel->name() << ": " << p.to_string();
              EXPECT_GE(estimate.flops, p.flops() / 4) << kernel->name() << ": " << p.to_string();
              EXPECT_GT(estimate.bytes, 0);
              EXPECT_GE(kernel->workspace_bytes(p, config, device), 0);
            }
          }
          for (const char* gpu : {"a100", "rtx4090", "h100", "b200"}) {
            const Device device = Device::known(gpu);
            const Support support = kernel->supports(p, device);
            EXPECT_EQ(support.ok, support.reason.empty()) << kernel->name() << ": " << p.to_string();
            if (!support.ok) continue;
            // A kernel that is forced by name leaves the other passes alone.
            EXPECT_NE(kernel->name().find(name(pass)), std::string_view::npos) << kernel->name();
            const auto configs = kernel->configs(p, device);
            EXPECT_FALSE(configs.empty()) << kernel->name() << ": " << p.to_string();
            for (const Config& config : configs) {
              EXPECT_GT(kernel->estimate(p, config, device).seconds, 0) << kernel->name() << ": " << p.to_string();
              EXPECT_LE(kernel->packed_weights_bytes(p, config, device), kernel->workspace_bytes(p, config, device));
            }
          }
        }
      }
    }
  }
  EXPECT_GT(supported, 0);
}

TEST(Plan, ChoosesTheLeastTimeAndIsAFunctionOfItsArguments) {
  const ConvProblem p = ConvProblem::parse("fprop n2 c3->4 l100 k3 i64");
  const Plan plan = make_plan(p, small_device());
  EXPECT_EQ(plan.problem, p);
  EXPECT_EQ(plan.device, small_device());
  ASSERT_NE(plan.chosen.kernel, nullptr);
  for (const auto& candidate : plan.runners_up) EXPECT_GE(candidate.estimate.seconds, plan.chosen.estimate.seconds);
  EXPECT_EQ(plan.to_string(), make_plan(p, small_device()).to_string());
}

TEST(Plan, EveryKernelIsChosenNamedOrRefused) {
  const Plan plan = make_plan(ConvProblem::parse("fprop n2 c3->4 l100 k3 i64"), small_device());
  std::set<const Kernel*> seen{plan.chosen.kernel};
  for (const auto& candidate : plan.runners_up) seen.insert(candidate.kernel);
  for (const auto& refusal : plan.refused) {
    EXPECT_FALSE(refusal.reason.empty());
    EXPECT_TRUE(seen.insert(refusal.kernel).second) << refusal.kernel->name() << " both taken and refused";
  }
  EXPECT_EQ(seen.size(), all_kernels().size());
}

TEST(Plan, AnEmptyBatchIsPlannedInEveryPassAndNeedsNothing) {
  for (const char* dtype : {"f32", "f64", "bf16", "f16", "c64", "c128", "i64"}) {
    for (const char* shape : {"fprop n0 c3->4 l9 k3", "dgrad n0 c3->4 l9 k3", "wgrad n0 c3->4 l9 k3 bias",
                              "fprop n0 c4->4 l9 k3 g4", "dgrad n0 c4->4 l9 k3 g4", "wgrad n0 c4->4 l9 k3 g4"}) {
      const ConvProblem p = ConvProblem::parse(std::string(shape) + " " + dtype);
      const Plan plan = make_plan(p, small_device());
      EXPECT_EQ(plan.problem, p);
      EXPECT_EQ(plan.workspace_bytes(), 0);
      EXPECT_GE(plan.chosen.estimate.seconds, 0) << plan.to_string();  // false for NaN
    }
  }
}

TEST(Plan, EstimatesOfSizesBeyond63BitsInTheirProductsAreNumbers) {
  // Found by the fuzzer under UBSan: channels times stride overflowed in wgrad's estimate.
  for (const char* sizes :
       {"n1 c562949953421311->2 l1 k1 s134217729", "n3 c1->1048577 l5 k2 s1 d1073741824 p1073741823",
        "n1 c2->2 l4 k1073741824 p1073741824 s1073741824"}) {
    for (const char* pass : {"fprop", "dgrad", "wgrad"}) {
      const ConvProblem problem = ConvProblem::parse(std::string(pass) + " " + sizes + " f32");
      const Plan plan = make_plan(problem, small_device());
      EXPECT_GT(plan.chosen.estimate.seconds, 0) << problem.to_string();
      EXPECT_GE(plan.chosen.estimate.flops, 0) << problem.to_string();
    }
  }
}

TEST(Plan, PrintsProblemDeviceChoiceAndRefusals) {
  const Plan plan = make_plan(ConvProblem::parse("fprop n2 c3->4 l100 k3 i64"), small_device());
  const std::string text = plan.to_string();
  for (const char* part : {"problem    fprop n2 c3->4 l100 k3 i64\n", "device     cpu portable threads2 ",
                           "chosen     integer_direct: ", "workspace 0 bytes"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  for (const auto& refusal : plan.refused) {
    EXPECT_NE(text.find("refused    " + std::string(refusal.kernel->name()) + ": " + refusal.reason),
              std::string::npos);
  }
}

TEST(Plan, RejectsWhatTheProblemRejects) {
  EXPECT_EQ(code_of([] { make_plan(ConvProblem::parse("s0"), small_device()); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([] { make_plan(ConvProblem::parse("n4294967296 c4294967296->1"), small_device()); }),
            ErrorCode::overflow);
  EXPECT_EQ(code_of([] { make_plan(ConvProblem::parse("s0 i64"), small_device(), "integer_direct"); }),
            ErrorCode::invalid_argument);
}

TEST(Plan, NoKernelGivesEveryReason) {
  try {
    make_plan(ConvProblem::parse("l9 k3 relu i64"), small_device());
    FAIL() << "integers have no relu";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_supported);
    for (const Kernel* kernel : all_kernels()) {
      EXPECT_NE(std::string(error.what()).find(kernel->name()), std::string::npos) << error.what();
    }
  }
}

TEST(Plan, ForcedKernel) {
  const ConvProblem p = ConvProblem::parse("l9 k3 i64");
  EXPECT_EQ(make_plan(p, small_device(), "integer_direct").chosen.kernel->name(), "integer_direct");
  EXPECT_EQ(code_of([] { make_plan(ConvProblem::parse("l9 k3 f32"), small_device(), "integer_direct"); }),
            ErrorCode::not_supported);
  EXPECT_EQ(code_of([&] { make_plan(p, small_device(), "no_such_kernel"); }), ErrorCode::invalid_value);
}

TEST(Config, PrintsAndLooksUp) {
  const Config config{{{"oc", 6}, {"time", 480}}};
  EXPECT_EQ(config.to_string(), "oc6 time480");
  EXPECT_EQ(config.get("time"), 480);
  EXPECT_EQ(code_of([&] { config.get("ic"); }), ErrorCode::internal);
  EXPECT_EQ(Config{}.to_string(), "");
}

/// Sets an environment variable for a scope.
class ScopedEnvironment {
 public:
  ScopedEnvironment(const char* name, const char* value) : name_(name) {
    const char* const old = std::getenv(name);
    had_value_ = old != nullptr;
    if (had_value_) old_value_ = old;
    setenv(name, value, 1);
  }
  ~ScopedEnvironment() {
    if (had_value_)
      setenv(name_, old_value_.c_str(), 1);
    else
      unsetenv(name_);
  }

 private:
  const char* name_;
  bool had_value_;
  std::string old_value_;
};

TEST(HostDevice, DescribesThisMachine) {
  const Device device = Device::host_cpu(3);
  EXPECT_EQ(device.kind, Device::Kind::cpu);
  EXPECT_EQ(device.threads, 3);
  EXPECT_GE(device.l1_bytes, 4 << 10);
  EXPECT_GE(device.l2_bytes, device.l1_bytes);
  EXPECT_GE(Device::host_cpu(0).threads, 1);
  EXPECT_EQ(device, Device::host_cpu(3));
  EXPECT_NE(device.to_string().find("threads3"), std::string::npos);
}

TEST(HostDevice, EnvironmentLowersButNeverRaisesTheIsa) {
  Isa best = Isa::portable;
  {
    const ScopedEnvironment unset("LONGCONV_ISA", "");
    best = Device::host_cpu(1).isa;
  }
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    const ScopedEnvironment forced("LONGCONV_ISA", std::string(name(isa)).c_str());
    EXPECT_EQ(Device::host_cpu(1).isa, std::min(isa, best));
  }
  const ScopedEnvironment wrong("LONGCONV_ISA", "sse9");
  EXPECT_EQ(code_of([] { Device::host_cpu(1); }), ErrorCode::invalid_value);
}

TEST(Plan, TinyProblemsTakeTheKernelOfOneLaunch) {
  // The others pack weights first, and in fp32 repair after.
  for (const char* model : {"h100", "a100"})
    for (const char* words : {"f32", "f32 bias", "f32 tf32", "bf16"}) {
      const ConvProblem problem = ConvProblem::parse(std::string("n2 c16->16 l128 k3 ") + words);
      EXPECT_EQ(make_plan(problem, Device::known(model)).chosen.kernel->name(), "direct_fprop") << words;
    }
}

// Where y is most of what is moved, stores must fill whole sectors: of rows that begin on 16 bytes, but every other one
// in the middle of a sector, tiles that advance by their whole width do not (one and a half times as long on an H100).
TEST(Plan, RowsThatBeginInTheMiddleOfASectorLeaveInSectors) {
  const Device gpu = Device::known("h100");
  const Plan plan = make_plan(ConvProblem::parse("fprop n2 c4->512 l524290 k15 f32 tf32"), gpu);
  EXPECT_EQ(plan.chosen.kernel->name(), "dense_fprop_sm90") << plan.to_string();
  EXPECT_EQ(plan.chosen.config.get("full"), 0) << plan.to_string();
}

// To measure the planner.
TEST(Plan, ListsMoreCandidatesWhenAsked) {
  const Device gpu = Device::known("h100");
  for (const char* text : {"fprop n8 c512->512 l96000 k3 s2 f32 tf32", "fprop n8 c512->512 l96000 k3 s2 f32"}) {
    const ConvProblem problem = ConvProblem::parse(text);
    const Plan usual = make_plan(problem, gpu);
    ::setenv("LONGCONV_CUDA_CANDIDATES", "40", 1);
    const Plan more = make_plan(problem, gpu);
    ::unsetenv("LONGCONV_CUDA_CANDIDATES");
    EXPECT_EQ(more.chosen.config.to_string(), usual.chosen.config.to_string());
    EXPECT_GE(more.runners_up.size(), usual.runners_up.size() + 20) << text;
    EXPECT_EQ(make_plan(problem, gpu).to_string(), usual.to_string());
  }
}

// The bound of so short a sum, n + 2, has no room for the error of a split operand.
TEST(Plan, SumsOfFewProductsAreNotSplitIntoPlanes) {
  for (const char* text : {"fprop n1 c4->8 l1000 k4 s3 p2 d2 g4 f32", "dgrad n1 c4->8 l1000 k4 s3 p2 d2 g4 f32",
                           "fprop n16 c1->512 l480000 k10 s5 f32"}) {
    for (const char* gpu : {"h100", "a100"}) {
      const Plan plan = make_plan(ConvProblem::parse(text), Device::known(gpu));
      EXPECT_EQ(plan.chosen.kernel->name().rfind("direct", 0), 0U) << plan.to_string();
    }
  }
}

}  // namespace
}  // namespace longconv
