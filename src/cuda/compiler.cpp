// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/compiler.h"

#include <sys/stat.h>

#include <cstdlib>
#include <exception>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

/// Part of every cache key; to be raised when the meaning of an entry changes.
constexpr std::string_view kKeyFormat = "longconv kernel 1";

/// Everything that the machine code is a function of. NVRTC's own version has no patch level, so the size of its file
/// stands for it. Outputs are no part: NVRTC's are not reproducible byte for byte.
Sha256::Digest make_key(const CompileRequest& request, const Nvrtc& nvrtc) {
  struct stat info{};
  const bool known = ::stat(nvrtc.path().c_str(), &info) == 0;
  Sha256 hash;
  hash.update_field(kKeyFormat);
  hash.update_field(nvrtc.version_string());
  hash.update_field(std::to_string(known ? static_cast<std::int64_t>(info.st_size) : 0));
  hash.update_field(request.name);
  hash.update_field(request.text);
  for (const KernelFile& header : request.headers) {
    hash.update_field(header.name);
    hash.update_field(header.text);
  }
  for (const std::string& option : request.options) hash.update_field(option);
  return hash.finish();
}

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::mutex folders_mutex;
std::vector<std::string>& nvrtc_folders() {
  static auto* folders = new std::vector<std::string>;
  return *folders;
}

}  // namespace

Compiler::Compiler(Options options) : id_(next_id()), options_(std::move(options)), cache_(options_.cache) {}

void Compiler::add_nvrtc_folders(const std::vector<std::string>& folders) {
  std::lock_guard lock(folders_mutex);
  nvrtc_folders().insert(nvrtc_folders().end(), folders.begin(), folders.end());
}

Compiler& Compiler::instance() {
  static Compiler* compiler = [] {
    Options options;
    options.cache = DiskCache::Options::from_environment();
    if (const char* extra = std::getenv("LONGCONV_NVRTC_OPTIONS")) {
      std::istringstream words(extra);
      for (std::string word; words >> word;) options.extra_options.push_back(word);
    }
    std::lock_guard lock(folders_mutex);
    options.nvrtc.folders = nvrtc_folders();
    return new Compiler(std::move(options));
  }();
  return *compiler;
}

const Driver& Compiler::driver() { return options_.driver != nullptr ? *options_.driver : Driver::instance(); }

const Nvrtc& Compiler::nvrtc() {
  std::lock_guard lock(mutex_);
  if (!nvrtc_) {
    NvrtcSearch search = options_.nvrtc;
    if (search.driver_major == 0) {
      try {
        search.driver_major = driver().major();
      } catch (const Error&) {
        // No GPU here: compiling ahead of time for another machine. Any NVRTC will do.
      }
    }
    nvrtc_.emplace(Nvrtc::load(search));
  }
  return *nvrtc_;
}

Target Compiler::target_for(int compute_capability) {
  const Nvrtc& compiler = nvrtc();
  return choose_target(compute_capability, 1000 * compiler.major() + 10 * compiler.minor(), compiler.supported_archs());
}

CompileRequest Compiler::make_request(const Target& target, const KernelSpec& spec) {
  const KernelFile& file = kernel_file(spec.file);
  CompileRequest request;
  request.name = file.name;
  request.text = file.text;
  request.headers = included_files(file.text, file.name);
  request.options = {target.option(), "--std=c++17"};
  request.ptx = target.ptx;
  for (const Define& define : spec.defines) request.options.push_back("-D" + define.to_string());
  return request;
}

std::string Compiler::get_image(const Target& target, const KernelSpec& spec, const std::string& problem) {
  CompileRequest request = make_request(target, spec);
  request.options.insert(request.options.end(), options_.extra_options.begin(), options_.extra_options.end());
  request.problem = problem;
  const Nvrtc& compiler = nvrtc();
  const Sha256::Digest key = make_key(request, compiler);
  if (auto image = cache_.find(key)) return *std::move(image);
  CompileResult result = compiler.compile(request);
  cache_.store(key, result.image);
  std::lock_guard lock(mutex_);
  ++statistics_.compilations;
  statistics_.compile_seconds += result.seconds;
  return std::move(result.image);
}

Compiler::Gpu& Compiler::gpu(int ordinal) {
  if (ordinal >= 0 && ordinal < kMaxGpus) {
    if (Gpu* known = gpus_[ordinal].load(std::memory_order_acquire)) return *known;
  }
  auto made = std::make_unique<Gpu>();
  made->device = query_device(driver(), ordinal);  // throws for an ordinal that there is not
  made->context = primary_context(driver(), ordinal);
  if (ordinal >= kMaxGpus) {
    throw Error(ErrorCode::not_supported, "GPU " + std::to_string(ordinal) + ": at most " + std::to_string(kMaxGpus) +
                                              " GPUs in one process are supported");
  }
  std::lock_guard lock(mutex_);
  if (Gpu* known = gpus_[ordinal].load(std::memory_order_relaxed)) return *known;
  gpus_[ordinal].store(made.get(), std::memory_order_release);
  return *owned_gpus_.emplace_back(std::move(made));
}

Function Compiler::get_function(int ordinal, const KernelSpec& spec, const ConvProblem* problem) {
  Gpu& where = gpu(ordinal);
  std::shared_future<Function> future;
  {
    std::shared_lock lock(where.mutex);
    if (const auto it = where.functions.find(spec); it != where.functions.end()) future = it->second;
  }
  if (future.valid()) return future.get();

  std::promise<Function> promise;
  {
    std::unique_lock lock(where.mutex);
    const auto [it, inserted] = where.functions.try_emplace(spec);
    if (!inserted) {
      future = it->second;
    } else {
      it->second = promise.get_future().share();
    }
  }
  if (future.valid()) return future.get();  // another thread was first: wait for it, share its failure too

  try {
    const Function function = load(where, spec, problem != nullptr ? problem->to_string() : std::string());
    promise.set_value(function);
    return function;
  } catch (...) {
    {
      std::unique_lock lock(where.mutex);
      where.functions.erase(spec);  // the next call tries again: memory may be free by then
    }
    promise.set_exception(std::current_exception());
    throw;
  }
}

std::vector<Function> Compiler::get_functions(int ordinal, const std::vector<KernelSpec>& specs,
                                              const ConvProblem* problem) {
  std::vector<Function> functions(specs.size());
  std::vector<std::exception_ptr> failures(specs.size());
  const auto get = [&](std::size_t i) noexcept {
    try {
      functions[i] = get_function(ordinal, specs[i], problem);
    } catch (...) {
      failures[i] = std::current_exception();
    }
  };
  std::vector<std::size_t> here, elsewhere;  // this thread takes what is there, and one that is not
  {
    Gpu& where = gpu(ordinal);
    std::shared_lock lock(where.mutex);
    bool has_one = false;
    for (std::size_t i = 0; i < specs.size(); ++i)
      (where.functions.count(specs[i]) != 0 || !std::exchange(has_one, true) ? here : elsewhere).push_back(i);
  }
  // NVRTC holds a lock for a part of its work only. A system without another thread to give takes longer.
  std::vector<std::thread> threads;
  for (const std::size_t i : elsewhere) {
    try {
      threads.emplace_back(get, i);
    } catch (const std::system_error&) {
      here.push_back(i);
    }
  }
  for (const std::size_t i : here) get(i);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  return functions;
}

Function Compiler::load(Gpu& gpu, const KernelSpec& spec, const std::string& problem) {
  const Target target = target_for(gpu.device.compute_capability);
  const std::string image = get_image(target, spec, problem);
  return load_image(gpu, spec, target, image);
}

Function Compiler::load_image(Gpu& gpu, const KernelSpec& spec, const Target& target, const std::string& image) {
  const Driver& cuda = driver();
  ContextScope current(cuda, gpu.context);
  RelaxedCaptureScope relaxed(cuda);
  CUmodule module = nullptr;
  try {
    cuda.module_load_data_ex(&module, image.data(), 0, nullptr, nullptr);
  } catch (const Error& error) {
    throw Error(error.code(), "cannot load " + spec.to_string() + " (" + target.name() + " from NVRTC " +
                                  nvrtc().version_string() + ") on " + gpu.device.model + ", driver for CUDA " +
                                  cuda_version_string(cuda.version()) + ": " + error.what());
  }
  Function function;
  function.context = gpu.context;
  function.dynamic_shared_bytes = spec.dynamic_shared_bytes;
  // griddepcontrol is an instruction of sm_90; before 12.3, drivers refuse such launches in captures.
  constexpr int kFirstDriverThatCaptures = 12030;
  function.can_overlap = target.arch >= 90 && cuda.version() >= kFirstDriverThatCaptures;
  try {
    cuda.module_get_function(&function.handle, module, spec.entry);
    const std::pair<CUfunction_attribute, int*> attributes[] = {
        {CU_FUNC_ATTRIBUTE_NUM_REGS, &function.registers},
        {CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, &function.local_bytes},
        {CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, &function.static_shared_bytes},
        {CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &function.max_threads}};
    for (const auto& [attribute, value] : attributes) cuda.func_get_attribute(value, attribute, function.handle);
    if (spec.dynamic_shared_bytes + function.static_shared_bytes > gpu.device.shared_bytes_per_block) {
      throw Error(ErrorCode::internal, spec.to_string() + " wants " + std::to_string(spec.dynamic_shared_bytes) +
                                           " + " + std::to_string(function.static_shared_bytes) +
                                           " bytes of shared memory, " + gpu.device.model + " has " +
                                           std::to_string(gpu.device.shared_bytes_per_block) + " for a block");
    }
    constexpr std::int64_t kWithoutOptIn = 48 << 10;
    if (spec.dynamic_shared_bytes > 0 || spec.keep_carveout) {
      // All of the on-chip memory as shared memory: the kernels bypass L1.
      cuda.func_set_attribute(function.handle, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100);
    }
    if (spec.dynamic_shared_bytes + function.static_shared_bytes > kWithoutOptIn) {
      cuda.func_set_attribute(function.handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                              static_cast<int>(spec.dynamic_shared_bytes));
    }
    if (spec.non_portable_cluster) {
      cuda.func_set_attribute(function.handle, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
    }
  } catch (...) {
    cuda.module_unload.raw(module);
    throw;
  }
  // The module is never unloaded: captured graphs may hold its function as long as the process lives.
  std::lock_guard lock(mutex_);
  ++statistics_.functions;
  return function;
}

Compiler::Statistics Compiler::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

}  // namespace longconv::cuda
