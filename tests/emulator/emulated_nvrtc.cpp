// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// A libnvrtc that compiles kernels for the host, with the C++ compiler that built it: see docs/design/emulator.md.
/// Its "machine code" is a shared library that emulated_cuda_driver.cpp loads.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 12040, kCompilationFailed = 6;
constexpr int kArchs[] = {80, 86, 90};

struct Program {
  std::string name, text, image, log;
  std::vector<std::pair<std::string, std::string>> headers;
};

std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}
void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// The exit status; what the command prints goes to `log`.
int run(const std::vector<std::string>& command, const fs::path& log) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t child = 0;
  int status = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) return -1;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Position after a (balanced) bracket that opens at or after `at`.
std::size_t behind_bracket(const std::string& text, std::size_t at) {
  int depth = 0;
  for (; at < text.size(); ++at) {
    if (text[at] == '(') ++depth;
    if (text[at] == ')' && --depth == 0) return at + 1;
  }
  return at;
}

/// What no macro can say. `text` is preprocessed.
///   extern __shared__ __align__(16) char name[];   becomes a pointer to the block's dynamic shared memory
///   __shared__ T name[n];                          becomes a static variable in a section of its own
///   extern "C" __global__ void name(...)           gets a function beside it that takes its parameters as an array
std::string translate(const std::string& text) {
  std::string result = "#define __align__(n) __attribute__((aligned(n)))\n", entries;
  std::size_t done = 0;
  while (true) {
    const std::size_t shared = text.find("__shared__", done), global = text.find("__global__", done);
    const std::size_t found = std::min(shared, global);
    if (found == std::string::npos) break;
    std::size_t begin = found;
    if (found == global) {
      result.append(text, done, found - done);
      done = found + std::strlen("__global__");
      const std::size_t bracket = text.find('(', done);
      std::size_t end = bracket;
      while (end > done && !is_name(text[end - 1])) --end;
      begin = end;
      while (begin > done && is_name(text[begin - 1])) --begin;
      const std::string entry = text.substr(begin, end - begin);
      entries += "extern \"C\" void longconv_emulator_launch_" + entry +
                 "(void** parameters) { longconv::emulator::call(&" + entry + ", parameters); }\n";
      continue;
    }
    while (begin > done && std::isspace(static_cast<unsigned char>(text[begin - 1])) != 0) --begin;
    const bool is_extern = begin >= done + 6 && text.compare(begin - 6, 6, "extern") == 0;
    if (!is_extern) {
      result.append(text, done, found - done);
      result += "static __attribute__((section(\"longconv_shared\")))";
      done = found + std::strlen("__shared__");
      continue;
    }
    result.append(text, done, begin - 6 - done);
    std::size_t type = found + std::strlen("__shared__");
    if (const std::size_t align = text.find_first_not_of(" \t\n", type); text.compare(align, 9, "__align__") == 0)
      type = behind_bracket(text, align);
    const std::size_t end = text.find(';', type), square = text.find('[', type);
    std::size_t name = square;
    while (name > type && is_name(text[name - 1])) --name;
    const std::string element = text.substr(type, name - type);
    result += element + "* const " + text.substr(name, square - name) + " = reinterpret_cast<" + element +
              "*>(longconv_emulator_thread->shared)";
    done = end;
  }
  result.append(text, done);
  // The section's ends are symbols that the linker makes; weak, as there may be no such section.
  return result + "\n" + entries + R"(
extern "C" {
extern unsigned char __start_longconv_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_longconv_shared[] __attribute__((weak, visibility("hidden")));
unsigned char* longconv_emulator_shared_begin = __start_longconv_shared;
unsigned char* longconv_emulator_shared_end = __stop_longconv_shared;
}
)";
}

int compile(Program& program, const std::vector<std::string>& options, const fs::path& folder) {
  const fs::path device = LONGCONV_EMULATOR_DEVICE_FOLDER;
  std::vector<std::string> definitions;
  int arch = 0;
  bool specific = false;
  for (const std::string& option : options) {
    if (option.rfind("-D", 0) == 0) definitions.push_back(option);
    const std::size_t number = option.rfind('_');
    if (option.rfind("--gpu-architecture=", 0) == 0) {
      arch = std::atoi(option.c_str() + number + 1);
      specific = option.back() == 'a';
    }
  }
  definitions.push_back("-D__CUDA_ARCH__=" + std::to_string(arch * 10));
  if (specific && arch == 90) definitions.emplace_back("-D__CUDA_ARCH_FEAT_SM90_ALL=1");

  for (const auto& [name, text] : program.headers) {
    if (fs::exists(device / name)) continue;  // inline PTX: the emulator has its own
    if (text.find("asm") != std::string::npos && name.rfind("ptx/", 0) == 0) {
      program.log = name + ": the emulator has no version of this file; add tests/emulator/device/" + name;
      return kCompilationFailed;
    }
    write(folder / name, text);
  }
  write(folder / "kernel.cu", program.text);
  const fs::path log = folder / "log", unit = folder / "unit.cpp", library = folder / "kernel.so";
  std::vector<std::string> preprocess{LONGCONV_EMULATOR_CXX,
                                      "-x",
                                      "c++",
                                      "-std=c++17",
                                      "-E",
                                      "-w",
                                      "-I",
                                      device,
                                      "-I",
                                      folder,
                                      "-include",
                                      device / "prelude.h",
                                      folder / "kernel.cu",
                                      "-o",
                                      folder / "kernel.ii"};
  preprocess.insert(preprocess.end(), definitions.begin(), definitions.end());
  std::vector<std::string> build{LONGCONV_EMULATOR_CXX,
                                 "-x",
                                 "c++",
                                 "-std=c++17",
                                 "-O1",
                                 "-w",
                                 "-fPIC",
                                 "-shared",
                                 "-fno-exceptions",
                                 "-fno-strict-aliasing",
                                 "-ffp-contract=off",
                                 unit,
                                 "-o",
                                 library,
                                 "-lm"};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))  // fmaf as an instruction
    build.insert(build.end() - 4, {"-mavx2", "-mfma"});
#endif
  int status = run(preprocess, log);
  if (status == 0) {
    write(unit, translate(read(folder / "kernel.ii")));
    status = run(build, log);
  }
  program.log = read(log);
  if (status != 0) return kCompilationFailed;
  const std::string code = read(library);
  program.image = "longconv-emulator " + std::to_string(code.size()) + " " + std::to_string(arch) + " " +
                  (specific ? "1\n" : "0\n") + code;
  return 0;
}

int copy(const std::string& text, char* out) {
  std::memcpy(out, text.data(), text.size());
  return 0;
}

}  // namespace

#define EMULATED extern "C" __attribute__((visibility("default")))

EMULATED const char* nvrtcGetErrorString(int result) {
  return result == kCompilationFailed ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_EMULATED";
}
EMULATED int nvrtcVersion(int* major, int* minor) {
  *major = kVersion / 1000, *minor = kVersion % 1000 / 10;
  return 0;
}
EMULATED int nvrtcGetNumSupportedArchs(int* count) {
  *count = std::size(kArchs);
  return 0;
}
EMULATED int nvrtcGetSupportedArchs(int* archs) {
  std::memcpy(archs, kArchs, sizeof kArchs);
  return 0;
}
EMULATED int nvrtcCreateProgram(Program** program, const char* text, const char* name, int count,
                                const char* const* headers, const char* const* names) {
  *program = new Program{name, text, {}, {}, {}};
  for (int i = 0; i < count; ++i) (*program)->headers.emplace_back(names[i], headers[i]);
  return 0;
}
EMULATED int nvrtcDestroyProgram(Program** program) {
  delete *program;
  *program = nullptr;
  return 0;
}
EMULATED int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
  std::string folder = (fs::temp_directory_path() / "longconv-emulator-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return kCompilationFailed;
  int result = kCompilationFailed;
  try {
    result = compile(*program, {options, options + count}, folder);
  } catch (const std::exception& error) {
    program->log = error.what();
  }
  std::error_code ignored;
  if (std::getenv("LONGCONV_EMULATOR_KEEP") == nullptr) fs::remove_all(folder, ignored);
  return result;
}
EMULATED int nvrtcGetCUBINSize(Program* program, std::size_t* size) {
  *size = program->image.size();
  return 0;
}
EMULATED int nvrtcGetCUBIN(Program* program, char* out) { return copy(program->image, out); }
EMULATED int nvrtcGetPTXSize(Program* program, std::size_t* size) { return nvrtcGetCUBINSize(program, size); }
EMULATED int nvrtcGetPTX(Program* program, char* out) { return copy(program->image, out); }
EMULATED int nvrtcGetProgramLogSize(Program* program, std::size_t* size) {
  *size = program->log.size() + 1;
  return 0;
}
EMULATED int nvrtcGetProgramLog(Program* program, char* out) {
  std::memcpy(out, program->log.c_str(), program->log.size() + 1);
  return 0;
}
