// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "longconv/error.h"
#include "longconv/plan.h"

namespace longconv {
namespace {

/// The best instruction set that CPU and operating system both support. Each needs everything its unit is compiled
/// with: avx2 = AVX2 + FMA + F16C + BMI2 (Haswell, Zen), avx512 = that + F, BW, CD, DQ, VL (Skylake-X, Zen 4).
Isa detect_isa() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool has_f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  const bool has_avx2 = has_f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (!has_avx2) return Isa::portable;
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl");
  return has_avx512 ? Isa::avx512 : Isa::avx2;
#else
  return Isa::portable;
#endif
}

Isa isa_from_environment(Isa detected) {
  const char* const text = std::getenv("LONGCONV_ISA");
  if (text == nullptr || *text == '\0') return detected;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (name(isa) == text) return isa < detected ? isa : detected;
  }
  throw Error(ErrorCode::invalid_value,
              "LONGCONV_ISA: expected portable, avx2 or avx512, but got '" + std::string(text) + "'");
}

/// Cache of the first core as Linux describes it, e.g. level "2", type "Unified", size "512K"; 0 when unknown.
std::int64_t cache_bytes_from_sysfs(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int found_level = 0;
    std::string type, size;
    if (!(std::ifstream(folder + "level") >> found_level)) break;
    std::ifstream(folder + "type") >> type;
    std::ifstream(folder + "size") >> size;
    if (found_level != level || type == "Instruction") continue;
    const long long number = std::atoll(size.c_str());
    return size.find('M') != std::string::npos   ? number << 20
           : size.find('K') != std::string::npos ? number << 10
                                                 : number;
  }
  return 0;
}

std::int64_t cache_bytes(int sysconf_name, int level, std::int64_t fallback) {
  const long bytes = sysconf(sysconf_name);
  if (bytes > 0) return bytes;
  const std::int64_t from_sysfs = cache_bytes_from_sysfs(level);
  return from_sysfs > 0 ? from_sysfs : fallback;
}

}  // namespace

Device Device::host_cpu(int threads) {
  Device device;
  device.isa = isa_from_environment(detect_isa());
  const unsigned hardware_threads = std::thread::hardware_concurrency();
  device.threads = threads > 0 ? threads : hardware_threads > 0 ? static_cast<int>(hardware_threads) : 1;
  device.l1_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 1, device.l1_bytes);
  device.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 2, device.l2_bytes);
  return device;
}

}  // namespace longconv
