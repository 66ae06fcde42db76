// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Compiles every kernel, in every config that the planner may pick, for every architecture, and reports what each
/// takes. Needs NVRTC, but neither a GPU nor a driver.
///
///   longconv_compile_kernels [--arch sm_80,sm_90a] [--file kernel.cuh]... [--problem "fprop ..."]... [--filter text]
///                            [--timeout seconds] [--jobs n] [--configs n] [--save folder] [--verbose]
///
/// --configs compiles the first n configs of each kernel and problem, as its estimate orders them (0, the default:
/// all).
/// --save keeps the machine code, one file for each case (a disassembler reads them; equal code before and after a
/// change of the source shows that nothing but the source changed).
/// --file compiles a source outside kernels/ too (it may include kernel files). Without --problem a list is used that
/// reaches every kernel family. Each compilation runs in a child process with a timeout: a compiler that crashes or
/// hangs fails one case, with its name, and not the run. Exit status 1: a kernel does not compile, spills registers or
/// uses local memory unasked, or has its wgmma serialized.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/cuda_kernel.h"
#include "cuda/resource_usage.h"
#include "cuda/sha256.h"
#include "longconv/error.h"
#include "longconv/plan.h"

namespace {

using namespace longconv;
using namespace longconv::cuda;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::vector<std::string> archs{"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100", "sm_120"};
  std::vector<std::string> files, problems;
  std::string filter, save_folder;
  int timeout_seconds = 120;
  int jobs = 1;
  int configs = 0;  ///< of a kernel and problem, best first; 0: all
  bool verbose = false;
  bool thin = false;  ///< the default list: see kEverywhere
};

/// Shapes that reach every family: long and strided, few channels, many channels, odd sizes, depthwise, grouped.
const char* const kShapes[] = {"n64 c64->128 l524280 k3 s3 d4", "n16 c256->256 l65536 k3 d8",
                               "n8 c128->128 l65536 k11 d5",    "n2 c512->640 l262144 k5",
                               "n8 c512->512 l96000 k3 s2",     "n16 c256->256 l131072 k1",
                               "n4 c48->96 l441000 k8 s4",      "n3 c65->100 l131071 k3 p1 bias",
                               "n16 c1->512 l480000 k10 s5",    "n256 c12->64 l5000 k15 s2 bias relu",
                               "n8 c4096->4096 l8192 k4 g4096", "n8 c512->512 l65536 k3 g32",
                               "n1 c1->1 l16777216 k4097",      "n2 c40->40 l10007 k7 p3 reflect gelu residual"};
const char* const kTypes[] = {"f32", "f32 tf32", "bf16", "f16", "f64"};

/// What is compiled for every architecture. Of the rest, those that have kernels of their own get all; the others have
/// sm_80's: forward passes are dealt to them in turn, gradients left out.
const char* const kEverywhere = "n64 c64->128 l524280 k3 s3 d4";
bool is_dealt_to(const Target& target, const ConvProblem& problem, std::size_t turn) {
  const int others[] = {86, 89, 100, 120};
  if (std::find(std::begin(others), std::end(others), target.arch) == std::end(others)) return true;
  return problem.pass == Pass::fprop && others[turn % std::size(others)] == target.arch;
}

std::vector<std::string> default_problems() {
  std::vector<std::string> problems;
  // Phases of every number, fewer taps than phases, tap groups of phases, what padding modes add.
  for (const char* shape : {"n8 c128->256 l524288 k16 s8", "n4 c96->64 l65536 k4 s2 p1 reflect residual",
                            "n4 c64->64 l65537 k20 s16 d3 p20", "n2 c48->48 l65536 k7 s6 d4",
                            "n2 c128->128 l65536 k2 s5", "n2 c64->64 l65536 k9 s2 d1001 p4000"}) {
    for (const char* type : kTypes) problems.push_back("dgrad " + std::string(shape) + " " + type);
  }
  for (const char* pass : {"fprop", "dgrad", "wgrad"}) {
    for (const char* shape : kShapes) {
      const bool activation = std::strstr(shape, "elu") != nullptr, bias = std::strstr(shape, "bias") != nullptr;
      if (activation && std::strcmp(pass, "fprop") != 0) continue;
      if (bias && std::strcmp(pass, "dgrad") == 0) continue;
      for (const char* type : kTypes) problems.push_back(std::string(pass) + " " + shape + " " + type);
    }
  }
  return problems;
}

/// One thing to compile.
struct Case {
  Target target;
  CompileRequest request;
  bool allow_local_memory = false, allow_serialized_wgmma = false;
  std::string name() const {
    std::string text = target.name() + " " + std::string(request.name);
    for (const std::string& option : request.options) {
      if (option.rfind("-D", 0) == 0) text += " " + option;
    }
    return text;
  }
};

/// A GPU to plan for, for an architecture.
Device device_for(const Target& target) {
  for (const std::string& name : known_device_names()) {
    const Device device = Device::known(name);
    if (device.compute_capability == target.arch) return device;
  }
  throw Error(ErrorCode::invalid_value, "no known GPU has the architecture " + target.name());
}

std::vector<Case> collect_cases(const Arguments& arguments, const std::vector<std::string>& file_texts) {
  std::vector<Case> cases;
  std::set<std::string> seen;
  const auto add = [&](Case item) {
    item.request.options.push_back(kResourceReportOption);
    const std::string name = item.name();
    if (name.find(arguments.filter) != std::string::npos && seen.insert(name).second) cases.push_back(std::move(item));
  };
  for (const std::string& arch : arguments.archs) {
    const Target target = Target::parse(arch);
    const Device device = device_for(target);
    KernelSpec self_test;
    self_test.file = "selftest.cuh";
    self_test.entry = "self_test";
    add({target, Compiler::make_request(target, self_test), false});
    for (std::size_t i = 0; i < arguments.files.size(); ++i) {
      CompileRequest request;
      request.name = arguments.files[i];
      request.text = file_texts[i];
      request.headers = included_files(request.text, request.name);
      request.options = {target.option(), "--std=c++17"};
      add({target, request, false});
    }
    std::size_t turn = 0;
    for (const std::string& text : arguments.problems) {
      const ConvProblem problem = ConvProblem::parse(text);
      problem.validate();
      if (arguments.thin && text.find(kEverywhere) == std::string::npos && !is_dealt_to(target, problem, turn++))
        continue;
      for (const Kernel* kernel : all_kernels()) {
        const auto* cuda_kernel = dynamic_cast<const CudaKernel*>(kernel);
        if (cuda_kernel == nullptr || !cuda_kernel->supports(problem, device).ok) continue;
        std::vector<Config> configs = cuda_kernel->configs(problem, device);
        if (arguments.configs > 0 && configs.size() > static_cast<std::size_t>(arguments.configs)) {
          configs.resize(static_cast<std::size_t>(arguments.configs));
        }
        for (const Config& config : configs) {
          for (const KernelSpec& spec : cuda_kernel->specs(problem, config, device)) {
            CompileRequest request = Compiler::make_request(target, spec);
            request.problem = text;
            add({target, std::move(request), spec.allow_local_memory, spec.allow_serialized_wgmma});
          }
        }
      }
    }
  }
  return cases;
}

constexpr int kSkipped = 77;  ///< exit status of a child whose NVRTC does not know the architecture

/// In the child: compiles, prints the report to `out`. Returns the exit status.
int compile_in_child(const Case& item, const Arguments& arguments, std::FILE* out) {
  try {
    const Nvrtc nvrtc = Nvrtc::load({});
    const auto& archs = nvrtc.supported_archs();
    bool known = false;
    for (const int arch : archs) known |= arch == item.target.arch;
    if (!known || (item.target.specific && nvrtc.major() < 12)) {
      std::fprintf(out, "  NVRTC %s does not know %s\n", nvrtc.version_string().c_str(), item.target.name().c_str());
      return kSkipped;
    }
    const CompileResult result = nvrtc.compile(item.request);
    bool good = true;
    for (const ResourceUsage& usage : parse_resource_report(result.log)) {
      const bool bad = (usage.uses_local_memory() && !item.allow_local_memory) ||
                       (usage.serialized_wgmma && !item.allow_serialized_wgmma);
      good &= !bad;
      std::fprintf(out, "  %s%s: %s\n", bad ? "BAD " : "", usage.entry.c_str(), usage.to_string().c_str());
    }
    if (!arguments.save_folder.empty()) {
      const std::string path = arguments.save_folder + "/" + to_hex(Sha256::of(item.name())).substr(0, 16) + ".cubin";
      std::ofstream(path, std::ios::binary) << result.image;
      std::fprintf(out, "  %s\n", path.c_str());
    }
    std::fprintf(out, "  %.2f s, %zu bytes, NVRTC %s\n", result.seconds, result.image.size(),
                 nvrtc.version_string().c_str());
    if (arguments.verbose) std::fprintf(out, "%s\n", result.log.c_str());
    return good ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(out, "  %s\n", error.what());
    return 1;
  }
}

/// A case being compiled by a child process.
struct Running {
  const Case* item = nullptr;
  pid_t pid = -1;
  int pipe_fd = -1;
  Clock::time_point deadline;
  std::string output;
};

Running start(const Case& item, const Arguments& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(ErrorCode::internal, "pipe: " + std::string(std::strerror(errno)));
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) throw Error(ErrorCode::internal, "fork: " + std::string(std::strerror(errno)));
  if (pid == 0) {
    std::FILE* out = ::fdopen(ends[1], "w");
    const int status = compile_in_child(item, arguments, out);
    std::fflush(out);
    ::_exit(status);
  }
  ::close(ends[1]);
  return {&item, pid, ends[0], Clock::now() + std::chrono::seconds(arguments.timeout_seconds), {}};
}

/// Reads what there is; true when the child has ended its output or its time is over.
bool collect_output(Running& running) {
  pollfd waiting{running.pipe_fd, POLLIN, 0};
  while (::poll(&waiting, 1, 50) > 0) {
    char buffer[4096];
    const ssize_t got = ::read(running.pipe_fd, buffer, sizeof buffer);
    if (got <= 0) return true;
    running.output.append(buffer, static_cast<std::size_t>(got));
  }
  if (Clock::now() < running.deadline) return false;
  ::kill(running.pid, SIGKILL);
  running.output += "  the compiler did not end in time\n";
  return true;
}

/// The child's exit status, 1 for one that died; prints the case.
int finish(Running& running) {
  ::close(running.pipe_fd);
  int status = 0;
  ::waitpid(running.pid, &status, 0);
  if (WIFSIGNALED(status)) running.output += "  the compiler died of signal " + std::to_string(WTERMSIG(status)) + "\n";
  const int result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  const bool good = result == 0 || result == kSkipped;
  std::printf("%s %s%s\n%s",
              result == 0 ? "ok  "
              : good      ? "skip"
                          : "FAIL",
              running.item->name().c_str(),
              good || running.item->request.problem.empty() ? "" : (" [" + running.item->request.problem + "]").c_str(),
              running.output.c_str());
  return result;
}

int run(const std::vector<Case>& cases, const Arguments& arguments) {
  std::vector<Running> running;
  std::size_t next = 0;
  std::size_t failures = 0, skipped = 0;
  while (next < cases.size() || !running.empty()) {
    while (next < cases.size() && static_cast<int>(running.size()) < arguments.jobs) {
      running.push_back(start(cases[next++], arguments));
    }
    for (std::size_t i = 0; i < running.size();) {
      if (!collect_output(running[i])) {
        ++i;
        continue;
      }
      const int result = finish(running[i]);
      (result == kSkipped ? skipped : failures) += result != 0;
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  std::printf("%zu compilations, %zu failed, %zu skipped\n", cases.size(), failures, skipped);
  return failures == 0 && skipped < cases.size() ? 0 : 1;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Arguments parse_arguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--verbose") {
      arguments.verbose = true;
      continue;
    }
    if (i + 1 == argc) throw Error(ErrorCode::invalid_value, option + ": unknown, or its value is missing");
    const std::string value = argv[++i];
    if (option == "--arch") {
      arguments.archs = split(value);
    } else if (option == "--file") {
      arguments.files.push_back(value);
    } else if (option == "--problem") {
      arguments.problems.push_back(value);
    } else if (option == "--filter") {
      arguments.filter = value;
    } else if (option == "--save") {
      arguments.save_folder = value;
    } else if (option == "--timeout") {
      arguments.timeout_seconds = std::stoi(value);
    } else if (option == "--configs") {
      arguments.configs = std::stoi(value);
    } else if (option == "--jobs") {
      arguments.jobs = std::stoi(value);
    } else {
      throw Error(ErrorCode::invalid_value, "unknown option " + option);
    }
  }
  arguments.thin = arguments.problems.empty();
  if (arguments.thin) arguments.problems = default_problems();
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse_arguments(argc, argv);
    std::vector<std::string> texts;
    for (const std::string& file : arguments.files) {
      std::ifstream stream(file);
      if (!stream) throw Error(ErrorCode::invalid_value, "cannot read " + file);
      texts.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
    }
    return run(collect_cases(arguments, texts), arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "longconv_compile_kernels: %s\n", error.what());
    return 2;
  }
}
