// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// A libnvrtc for tests: see fakes.h. A source that contains "#error" does not compile.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>

#include "fakes/fakes.h"

extern "C" {
longconv::fakes::NvrtcState fake_nvrtc_state;
}

namespace {

auto& state = fake_nvrtc_state;

struct Program {
  std::string text, image, log;
};

const struct ReadVersion {
  ReadVersion() {
    if (const char* version = std::getenv("FAKE_NVRTC_VERSION")) state.version = std::atoi(version);
  }
} read_version;

constexpr int kArchs[] = {90, 80, 86, 89};  // in no order, as nobody promises one

int copy_size(const std::string& text, std::size_t* size) {
  *size = text.size() + 1;
  return 0;
}
int copy(const std::string& text, char* out) {
  std::memcpy(out, text.c_str(), text.size() + 1);
  return 0;
}

}  // namespace

#define FAKE extern "C" __attribute__((visibility("default")))

FAKE const char* nvrtcGetErrorString(int result) {
  return result == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_FAKE";
}
FAKE int nvrtcVersion(int* major, int* minor) {
  *major = state.version / 1000, *minor = state.version % 1000 / 10;
  return 0;
}
FAKE int nvrtcGetNumSupportedArchs(int* count) {
  *count = static_cast<int>(
      std::count_if(std::begin(kArchs), std::end(kArchs), [](int arch) { return arch <= state.newest_arch; }));
  return 0;
}
FAKE int nvrtcGetSupportedArchs(int* archs) {
  std::copy_if(std::begin(kArchs), std::end(kArchs), archs, [](int arch) { return arch <= state.newest_arch; });
  return 0;
}
FAKE int nvrtcCreateProgram(Program** program, const char* text, const char* name, int, const char* const*,
                            const char* const*) {
  *program = new Program{std::string(name) + "\n" + text, {}, {}};
  ++state.programs_alive;
  return 0;
}
FAKE int nvrtcDestroyProgram(Program** program) {
  delete *program;
  *program = nullptr;
  --state.programs_alive;
  return 0;
}
FAKE int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
  ++state.compilations;
  const auto start = std::chrono::steady_clock::now();
  if (++state.compiling >= state.meet) state.have_met = true;
  while (!state.have_met && std::chrono::steady_clock::now() - start < std::chrono::seconds(20))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(state.milliseconds));
  --state.compiling;
  if (!state.have_met) {
    program->log = "the others have not come";
    return 6;
  }
  if (program->text.find("#error") != std::string::npos) {
    program->log = "fake.cuh(1): error: #error directive";
    return 6;
  }
  program->image = program->text;
  for (int i = 0; i < count; ++i) program->image += std::string("\n") + options[i];
  return 0;
}
FAKE int nvrtcGetCUBINSize(Program* program, std::size_t* size) { return copy_size(program->image, size); }
FAKE int nvrtcGetCUBIN(Program* program, char* out) { return copy(program->image, out); }
FAKE int nvrtcGetPTXSize(Program* program, std::size_t* size) { return copy_size(program->image, size); }
FAKE int nvrtcGetPTX(Program* program, char* out) { return copy(program->image, out); }
FAKE int nvrtcGetProgramLogSize(Program* program, std::size_t* size) { return copy_size(program->log, size); }
FAKE int nvrtcGetProgramLog(Program* program, char* out) { return copy(program->log, out); }
