// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/disk_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporary = ".tmp-";
constexpr auto kStaleTemporary = std::chrono::hours(1);  ///< older: its writer died

/// What a file starts with; the contents follow. All fields little-endian, as every host with CUDA is.
struct Header {
  char magic[8] = {'L', 'C', 'K', 'E', 'R', 'N', 'E', 'L'};
  std::uint32_t version = 1;
  std::uint32_t header_bytes = sizeof(Header);
  std::uint64_t content_bytes = 0;
  Sha256::Digest key{};
  Sha256::Digest checksum{};  ///< of the contents
};
static_assert(sizeof(Header) == 88);

class File {
 public:
  File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool ok() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  bool read(void* data, std::size_t size) const {
    for (auto* bytes = static_cast<char*>(data); size > 0;) {
      const ssize_t got = ::read(fd_, bytes, size);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      bytes += got, size -= static_cast<std::size_t>(got);
    }
    return true;
  }
  bool write(const void* data, std::size_t size) const {
    for (const auto* bytes = static_cast<const char*>(data); size > 0;) {
      const ssize_t put = ::write(fd_, bytes, size);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return false;
      bytes += put, size -= static_cast<std::size_t>(put);
    }
    return true;
  }
  /// False when the system could not keep what was written (some file systems tell only now).
  bool close() {
    const int result = ::close(fd_);
    fd_ = -1;
    return result == 0;
  }

 private:
  int fd_;
};

enum class ReadResult { absent, damaged, good };

ReadResult read_entry(const std::string& path, const Sha256::Digest& key, std::string& contents) {
  File file(path, O_RDONLY);
  if (!file.ok()) return ReadResult::absent;
  struct stat info{};
  Header header;
  const Header expected;
  if (::fstat(file.fd(), &info) != 0 || !file.read(&header, sizeof header) ||
      std::memcmp(header.magic, expected.magic, sizeof header.magic) != 0 || header.version != expected.version ||
      header.header_bytes != sizeof header || header.key != key ||
      static_cast<std::uint64_t>(info.st_size) != sizeof header + header.content_bytes) {
    return ReadResult::damaged;
  }
  contents.resize(header.content_bytes);
  if (!file.read(contents.data(), contents.size()) || Sha256::of(contents) != header.checksum) {
    return ReadResult::damaged;
  }
  return ReadResult::good;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

struct Entry {
  fs::path path;
  std::int64_t bytes;
  fs::file_time_type used;
};

/// The entries of a folder; temporary files whose writer died are removed on the way. Files that vanish meanwhile
/// (another process evicts too) are no error.
std::vector<Entry> list_entries(const std::string& folder, const std::string& suffix) {
  std::vector<Entry> entries;
  std::error_code error;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code gone;
    const auto used = fs::last_write_time(it->path(), gone);
    if (gone) continue;
    if (name.rfind(kTemporary, 0) == 0) {
      if (fs::file_time_type::clock::now() - used > kStaleTemporary) fs::remove(it->path(), gone);
      continue;
    }
    if (it->path().extension() != suffix) continue;
    const auto bytes = fs::file_size(it->path(), gone);
    if (!gone) entries.push_back({it->path(), static_cast<std::int64_t>(bytes), used});
  }
  return entries;
}

}  // namespace

DiskCache::Options DiskCache::Options::from_environment() {
  Options options;
  if (const std::string limit = environment("LONGCONV_CACHE_MAX_MIB"); !limit.empty()) {
    std::int64_t mib = 0;
    const auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), mib);
    if (error != std::errc() || end != limit.data() + limit.size() || mib < 0 || mib > (std::int64_t{1} << 40)) {
      throw Error(ErrorCode::invalid_value,
                  "LONGCONV_CACHE_MAX_MIB must be a number of MiB, 0 or more, but is \"" + limit + "\"");
    }
    options.max_bytes = mib << 20;
  }
  if (options.max_bytes == 0) {
    options.reason = "LONGCONV_CACHE_MAX_MIB is 0";
  } else if (const std::string folder = environment("LONGCONV_CACHE_DIR"); !folder.empty()) {
    options.folder = folder;
  } else if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) {
    options.folder = cache + "/longconv";
  } else if (const std::string home = environment("HOME"); !home.empty()) {
    options.folder = home + "/.cache/longconv";
  } else {
    options.reason = "none of LONGCONV_CACHE_DIR, XDG_CACHE_HOME and HOME is set";
  }
  return options;
}

DiskCache::DiskCache(Options options) : options_(std::move(options)), reason_(options_.reason) {
  if (options_.folder.empty()) return;
  std::error_code error;
  fs::create_directories(options_.folder, error);
  if (!fs::is_directory(options_.folder)) {
    reason_ = "cannot make the folder " + options_.folder + ": " + error.message();
    return;
  }
  on_disk_ = true;  // a folder that cannot be written may still be read: a cache prepared by someone else
  if (::access(options_.folder.c_str(), W_OK) != 0) {
    reason_ = "cannot write to " + options_.folder + ": " + std::strerror(errno) +
              "; its entries are used, new ones are "
              "kept in memory";
  }
}

std::string DiskCache::path_of(const Sha256::Digest& key) const {
  return options_.folder + "/" + to_hex(key) + options_.suffix;
}

std::optional<std::string> DiskCache::find(const Sha256::Digest& key) {
  {
    std::lock_guard lock(mutex_);
    if (const auto it = in_memory_.find(to_hex(key)); it != in_memory_.end()) {
      ++hits_;
      return it->second;
    }
    if (!on_disk_) {
      ++misses_;
      return std::nullopt;
    }
  }
  const std::string path = path_of(key);
  std::string contents;
  const ReadResult result = read_entry(path, key, contents);
  if (result == ReadResult::good)
    ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // best effort: keeps it from eviction
  if (result == ReadResult::damaged) ::unlink(path.c_str());
  std::lock_guard lock(mutex_);
  if (result == ReadResult::good) {
    ++hits_;
    return contents;
  }
  ++misses_;
  if (result == ReadResult::damaged) ++damaged_;
  return std::nullopt;
}

bool DiskCache::write_entry(const Sha256::Digest& key, std::string_view contents, std::string& why) const {
  // Unique among threads by the counter, among processes by the id; a clash (a folder shared by machines) fails on
  // O_EXCL.
  static std::atomic<std::uint64_t> counter{0};
  const std::string path = path_of(key);
  const std::string temporary = options_.folder + "/" + std::string(kTemporary) + std::to_string(::getpid()) + "-" +
                                std::to_string(counter++) + "-" + to_hex(key).substr(0, 8);
  Header header;
  header.content_bytes = contents.size();
  header.key = key;
  header.checksum = Sha256::of(contents);
  File file(temporary, O_WRONLY | O_CREAT | O_EXCL);
  if (!file.ok()) {
    why = "cannot create a file in " + options_.folder + ": " + std::strerror(errno);
    return false;
  }
  if (!file.write(&header, sizeof header) || !file.write(contents.data(), contents.size()) || !file.close() ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    why = "cannot write to " + options_.folder + ": " + std::strerror(errno);
    ::unlink(temporary.c_str());
    return false;
  }
  return true;
}

void DiskCache::store(const Sha256::Digest& key, std::string_view contents) {
  bool on_disk;
  {
    std::lock_guard lock(mutex_);
    on_disk = on_disk_;
  }
  std::string why;
  if (on_disk && write_entry(key, contents, why)) {
    evict(path_of(key));
    return;
  }
  std::lock_guard lock(mutex_);
  if (on_disk) reason_ = why + "; new entries are kept in memory";
  in_memory_.insert_or_assign(to_hex(key), std::string(contents));
}

void DiskCache::evict(const std::string& keep) const {
  std::vector<Entry> entries = list_entries(options_.folder, options_.suffix);
  std::int64_t bytes = 0;
  for (const Entry& entry : entries) bytes += entry.bytes;
  if (bytes <= options_.max_bytes) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  // Down to nine tenths, so that a full cache is not scanned and trimmed by one entry at every store.
  const std::int64_t target = options_.max_bytes / 10 * 9;
  for (const Entry& entry : entries) {
    if (bytes <= target) break;
    if (entry.path == keep) continue;  // just written; a coarse clock may make it look old
    std::error_code gone;
    fs::remove(entry.path, gone);
    bytes -= entry.bytes;
  }
}

DiskCache::Status DiskCache::status() const {
  Status status;
  status.folder = options_.folder;
  status.max_bytes = options_.max_bytes;
  if (!options_.folder.empty()) {
    for (const Entry& entry : list_entries(options_.folder, options_.suffix)) {
      ++status.entries;
      status.bytes += entry.bytes;
    }
  }
  std::lock_guard lock(mutex_);
  status.on_disk = on_disk_ && reason_.empty();
  status.reason = reason_;
  status.hits = hits_, status.misses = misses_, status.damaged = damaged_;
  return status;
}

}  // namespace longconv::cuda
