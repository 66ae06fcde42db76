// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/disk_cache.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "longconv/error.h"
#include "support/child_process.h"
#include "support/temporary_folder.h"

namespace longconv::cuda {
namespace {

namespace fs = std::filesystem;

Sha256::Digest key(int number) { return Sha256::of("key " + std::to_string(number)); }
/// Contents that belong to a key, long enough that a torn write would show.
std::string contents(int number, std::size_t bytes = 20000) {
  std::string text;
  while (text.size() < bytes) text += "entry " + std::to_string(number) + std::string(1, '\0');
  text.resize(bytes);
  return text;
}

DiskCache::Options in(const std::string& folder, std::int64_t max_bytes = std::int64_t{512} << 20) {
  DiskCache::Options options;
  options.folder = folder;
  options.max_bytes = max_bytes;
  return options;
}

std::vector<fs::path> files_in(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

TEST(DiskCache, KeepsWhatIsStored) {
  TemporaryFolder folder;
  const std::string nested = folder.path() + "/a/b";  // made when missing
  {
    DiskCache cache(in(nested));
    EXPECT_FALSE(cache.find(key(1)));
    cache.store(key(1), contents(1));
    cache.store(key(2), "");
    EXPECT_EQ(cache.find(key(1)), contents(1));
    cache.store(key(1), contents(1));  // storing again is no error
  }
  DiskCache again(in(nested));
  EXPECT_EQ(again.find(key(1)), contents(1));
  EXPECT_EQ(again.find(key(2)), "");
  EXPECT_FALSE(again.find(key(3)));
  const auto status = again.status();
  EXPECT_TRUE(status.on_disk) << status.reason;
  EXPECT_EQ(status.entries, 2);
  EXPECT_EQ(status.hits, 2);
  EXPECT_EQ(status.misses, 1);
  EXPECT_EQ(files_in(nested).size(), 2u) << "temporary files are left";
}

// Every kind of damage at every place that matters: the entry is removed and reported as absent, never returned.
TEST(DiskCache, RebuildsDamagedEntries) {
  TemporaryFolder folder;
  DiskCache cache(in(folder.path()));
  const std::string good = contents(1, 1000);
  cache.store(key(1), good);
  const fs::path path = files_in(folder.path()).at(0);
  std::string bytes;
  {
    std::ifstream stream(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  std::vector<std::string> damaged;
  for (std::size_t at = 0; at < bytes.size(); at += at < 100 ? 1 : 97) {
    damaged.push_back(bytes);
    damaged.back()[at] = static_cast<char>(damaged.back()[at] ^ 0x10);
  }
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{87}, std::size_t{88}, bytes.size() - 1}) {
    damaged.push_back(bytes.substr(0, length));
  }
  damaged.push_back(bytes + "x");
  std::int64_t count = 0;
  for (const std::string& text : damaged) {
    std::ofstream(path, std::ios::binary) << text;
    EXPECT_FALSE(cache.find(key(1))) << "damage " << count;
    EXPECT_FALSE(fs::exists(path)) << "damage " << count;
    EXPECT_EQ(cache.status().damaged, ++count);
  }
  // An entry under another key's name is damage too.
  cache.store(key(2), contents(2));
  fs::rename(files_in(folder.path()).at(0), path);
  EXPECT_FALSE(cache.find(key(1)));
  cache.store(key(1), good);
  EXPECT_EQ(cache.find(key(1)), good);
}

TEST(DiskCache, EvictsTheLeastRecentlyUsed) {
  TemporaryFolder folder;
  DiskCache cache(in(folder.path(), 100000));
  for (int i = 0; i < 4; ++i) cache.store(key(i), contents(i));
  // Ages in the order 0 (oldest) to 3; then entry 0 is used.
  for (int i = 0; i < 4; ++i) {
    const fs::path path = folder.path() + "/" + to_hex(key(i)) + ".kernel";
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(10 - i));
  }
  EXPECT_TRUE(cache.find(key(0)));
  cache.store(key(4), contents(4));  // 5 entries of 20088 bytes: over the limit, down to nine tenths
  EXPECT_FALSE(cache.find(key(1)));
  for (const int i : {0, 2, 3, 4}) EXPECT_TRUE(cache.find(key(i))) << i;
  EXPECT_LE(cache.status().bytes, 90000);
  // One entry above the whole limit: it is kept (it is in use), everything else goes.
  cache.store(key(5), contents(5, 200000));
  EXPECT_TRUE(cache.find(key(5)));
  EXPECT_EQ(cache.status().entries, 1);
}

TEST(DiskCache, RemovesTemporaryFilesOfDeadWriters) {
  TemporaryFolder folder;
  const fs::path stale = folder.path() + "/.tmp-1-0-abcdef01", fresh = folder.path() + "/.tmp-1-1-abcdef01";
  const fs::path foreign = folder.path() + "/notes.txt";
  for (const auto& path : {stale, fresh, foreign}) std::ofstream(path) << "x";
  fs::last_write_time(stale, fs::file_time_type::clock::now() - std::chrono::hours(2));
  fs::last_write_time(foreign, fs::file_time_type::clock::now() - std::chrono::hours(2));
  DiskCache cache(in(folder.path()));
  cache.store(key(1), contents(1));
  EXPECT_FALSE(fs::exists(stale));
  EXPECT_TRUE(fs::exists(fresh)) << "may still be written to";
  EXPECT_TRUE(fs::exists(foreign)) << "not ours";
}

// Writers, readers and a tight limit at once: a reader sees an entry whole and its own, or not at all.
void hammer(DiskCache& cache, int seed, int rounds, int& wrong, int& found) {
  unsigned random = static_cast<unsigned>(seed) * 2654435761u + 1;
  for (int i = 0; i < rounds; ++i) {
    random = random * 1664525u + 1013904223u;
    const int number = static_cast<int>(random >> 16) % 12;
    if (const auto got = cache.find(key(number))) {
      ++found;
      if (*got != contents(number)) ++wrong;
    } else {
      cache.store(key(number), contents(number));
    }
  }
}

TEST(DiskCache, ManyThreads) {
  TemporaryFolder folder;
  DiskCache cache(in(folder.path(), 150000));
  std::vector<std::thread> threads;
  int wrong[8] = {}, found[8] = {};
  for (int i = 0; i < 8; ++i) threads.emplace_back([&, i] { hammer(cache, i, 200, wrong[i], found[i]); });
  for (auto& thread : threads) thread.join();
  int total = 0;
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(wrong[i], 0);
    total += found[i];
  }
  EXPECT_GT(total, 0);
  const auto status = cache.status();
  EXPECT_TRUE(status.on_disk) << status.reason;
  EXPECT_EQ(status.damaged, 0);
  EXPECT_LE(status.bytes, 150000 + 8 * 20088);
}

TEST(DiskCache, ManyProcessesAndOneKilled) {
  TemporaryFolder folder;
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      DiskCache cache(in(folder.path(), 150000));
      int wrong = 0, found = 0;
      hammer(cache, i, i == 0 ? 1000000 : 200, wrong, found);  // the first one never ends by itself
      ::_exit(wrong == 0 && found > 0 && cache.status().damaged == 0 ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (int i = 1; i < 6; ++i) {
    int status = 0;
    ::waitpid(children[static_cast<std::size_t>(i)], &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "process " << i;
  }
  ::kill(children[0], SIGKILL);  // most likely in the middle of something
  ::waitpid(children[0], nullptr, 0);
  DiskCache cache(in(folder.path(), 150000));
  int wrong = 0, found = 0;
  hammer(cache, 99, 100, wrong, found);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(cache.status().damaged, 0);
}

TEST(DiskCache, DegradesToMemory) {
  TemporaryFolder folder;
  std::ofstream(folder.path() + "/file") << "x";
  DiskCache cache(in(folder.path() + "/file/below"));  // a folder that cannot be made
  cache.store(key(1), contents(1));
  EXPECT_EQ(cache.find(key(1)), contents(1));
  EXPECT_FALSE(cache.find(key(2)));
  const auto status = cache.status();
  EXPECT_FALSE(status.on_disk);
  EXPECT_NE(status.reason.find("/file/below"), std::string::npos) << status.reason;
}

TEST(DiskCache, ReadsAReadOnlyFolder) {
  TemporaryFolder folder;
  DiskCache(in(folder.path())).store(key(1), contents(1));
  // Root writes anywhere, so the folder is made read-only for an ordinary user and used as one.
  fs::permissions(folder.path(), fs::perms(0555));
  const std::string seen = in_child([&]() -> std::string {
    if (::geteuid() == 0 && (::setegid(65534) != 0 || ::seteuid(65534) != 0)) return "cannot drop root";
    DiskCache cache(in(folder.path()));
    if (cache.find(key(1)) != contents(1)) return "the prepared entry is not used";
    cache.store(key(2), contents(2));
    if (cache.find(key(2)) != contents(2)) return "not kept in memory";
    return cache.status().on_disk ? "claims to be on disk" : cache.status().reason;
  });
  EXPECT_NE(seen.find("cannot "), std::string::npos) << seen;
  EXPECT_NE(seen.find(folder.path()), std::string::npos) << seen;
}

// A disk that takes no more: writes fail half way. (A file size limit makes them fail without filling a disk.)
TEST(DiskCache, AFullDiskLeavesNothingBehind) {
  TemporaryFolder folder;
  const std::string seen = in_child([&]() -> std::string {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    DiskCache cache(in(folder.path()));
    cache.store(key(1), contents(1));
    if (cache.find(key(1)) != contents(1)) return "not kept in memory";
    return cache.status().on_disk ? "claims to be on disk" : cache.status().reason;
  });
  EXPECT_NE(seen.find("cannot write to " + folder.path()), std::string::npos) << seen;
  EXPECT_TRUE(files_in(folder.path()).empty());
}

TEST(DiskCache, ReadsTheEnvironment) {
  const auto with = [](std::vector<std::pair<const char*, const char*>> variables) {
    return in_child([&]() -> std::string {
      for (const char* name : {"LONGCONV_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "LONGCONV_CACHE_MAX_MIB"})
        ::unsetenv(name);
      for (const auto& [name, value] : variables) ::setenv(name, value, 1);
      const auto options = DiskCache::Options::from_environment();
      return options.folder + "|" + std::to_string(options.max_bytes) + "|" + options.reason;
    });
  };
  EXPECT_EQ(with({{"HOME", "/h"}}), "/h/.cache/longconv|536870912|");
  EXPECT_EQ(with({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}), "/x/longconv|536870912|");
  EXPECT_EQ(with({{"LONGCONV_CACHE_DIR", "/c"}, {"XDG_CACHE_HOME", "/x"}, {"LONGCONV_CACHE_MAX_MIB", "2"}}),
            "/c|2097152|");
  EXPECT_EQ(with({{"HOME", "/h"}, {"LONGCONV_CACHE_MAX_MIB", "0"}}), "|0|LONGCONV_CACHE_MAX_MIB is 0");
  EXPECT_EQ(with({}), "|536870912|none of LONGCONV_CACHE_DIR, XDG_CACHE_HOME and HOME is set");
  for (const char* bad : {"x", "-1", "1x", "99999999999999999999"}) {
    EXPECT_EQ(with({{"LONGCONV_CACHE_MAX_MIB", bad}}),
              "threw: LONGCONV_CACHE_MAX_MIB must be a number of MiB, 0 or more, but is \"" + std::string(bad) + "\"");
  }
}

}  // namespace
}  // namespace longconv::cuda
