// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/resource_usage.h"

#include <gtest/gtest.h>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

constexpr const char* kLog = R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 22 registers, 384 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
    640 bytes stack frame, 664 bytes spill stores, 1040 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 640 bytes cumulative stack size, 128 bytes smem, 360 bytes cmem[0]
)";

TEST(ResourceReport, ReadsEveryEntry) {
  const auto usages = parse_resource_report(kLog);
  ASSERT_EQ(usages.size(), 2u);
  EXPECT_EQ(usages[0].entry, "first");
  EXPECT_EQ(usages[0].arch, "sm_80");
  EXPECT_EQ(usages[0].registers, 22);
  EXPECT_FALSE(usages[0].uses_local_memory());
  EXPECT_EQ(usages[1].registers, 64);
  EXPECT_EQ(usages[1].stack_bytes, 640);
  EXPECT_EQ(usages[1].spill_store_bytes, 664);
  EXPECT_EQ(usages[1].spill_load_bytes, 1040);
  EXPECT_EQ(usages[1].shared_bytes, 128);
  EXPECT_TRUE(usages[1].uses_local_memory());
  EXPECT_FALSE(usages[1].serialized_wgmma);
}

TEST(ResourceReport, SeesSerializedWgmma) {
  const auto usages = parse_resource_report(
      std::string("ptxas info : (C7514) Potential Performance Loss: wgmma.mma_async instructions are serialized due to "
                  "non wgmma instructions defining accumulator registers in function 'first'\n") +
      kLog);
  EXPECT_TRUE(usages[0].serialized_wgmma);
  EXPECT_NE(usages[0].to_string().find("SERIALIZED"), std::string::npos);
}

TEST(ResourceReport, AnEmptyLogIsNoPass) {
  EXPECT_THROW(parse_resource_report(""), Error);
  EXPECT_THROW(parse_resource_report("some warning"), Error);
}

}  // namespace
}  // namespace longconv::cuda
