// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/kernel_source.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

TEST(KernelSource, EmbedsEveryFileByteForByte) {
  const fs::path folder = fs::path(LONGCONV_SOURCE_DIR) / "kernels";
  std::set<std::string> on_disk, embedded;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".cuh") on_disk.insert(fs::relative(entry.path(), folder).generic_string());
  }
  for (const KernelFile& file : kernel_files()) {
    embedded.insert(std::string(file.name));
    EXPECT_EQ(file.text, read(folder / file.name)) << file.name;
  }
  EXPECT_EQ(embedded, on_disk);
  EXPECT_TRUE(embedded.count("ptx/types.cuh"));
}

// Device code stands alone: it compiles with no include path.
TEST(KernelSource, IncludesOnlyKernelFiles) {
  for (const KernelFile& file : kernel_files()) {
    EXPECT_EQ(file.text.find("#include <"), std::string_view::npos) << file.name << " includes a system header";
    EXPECT_NO_THROW(included_files(file.text, file.name)) << file.name;
  }
}

TEST(KernelSource, FindsIncludesOfIncludesOnce) {
  const auto files =
      included_files("#include \"ptx/mbarrier.cuh\"\n  #  include  \"ptx/types.cuh\" // again\n", "test");
  std::vector<std::string> names;
  for (const auto& file : files) names.emplace_back(file.name);
  EXPECT_EQ(names, (std::vector<std::string>{"ptx/conversions.cuh", "ptx/mbarrier.cuh", "ptx/shared_memory.cuh",
                                             "ptx/types.cuh"}));
  EXPECT_TRUE(included_files("int x;  // no #include \"here\"", "test").empty());
  EXPECT_TRUE(included_files("", "test").empty());
}

TEST(KernelSource, NamesWhatIsMissing) {
  try {
    included_files("#include \"ptx/none.cuh\"", "conv/some.cuh");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::internal);
    EXPECT_NE(std::string(error.what()).find("conv/some.cuh includes \"ptx/none.cuh\""), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(kernel_file("none.cuh"), Error);
  EXPECT_EQ(kernel_file("selftest.cuh").name, "selftest.cuh");
}

}  // namespace
}  // namespace longconv::cuda
