// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/resource_usage.h"

#include <charconv>

#include "longconv/error.h"

namespace longconv::cuda {
namespace {

/// The number in front of `unit` ("40 registers"), 0 when the line has no such unit.
int number_before(std::string_view line, std::string_view unit) {
  const std::size_t at = line.find(unit);
  if (at == std::string_view::npos) return 0;
  std::size_t end = at;
  while (end > 0 && line[end - 1] == ' ') --end;
  std::size_t start = end;
  while (start > 0 && line[start - 1] >= '0' && line[start - 1] <= '9') --start;
  int value = 0;
  std::from_chars(line.data() + start, line.data() + end, value);
  return value;
}

/// The text between the first pair of quotes after `from`.
std::string_view quoted(std::string_view line, std::size_t from) {
  const std::size_t start = line.find('\'', from);
  if (start == std::string_view::npos) return {};
  const std::size_t end = line.find('\'', start + 1);
  return end == std::string_view::npos ? std::string_view{} : line.substr(start + 1, end - start - 1);
}

}  // namespace

std::string ResourceUsage::to_string() const {
  std::string text = std::to_string(registers) + " registers, " + std::to_string(shared_bytes) + " B static shared";
  if (uses_local_memory()) {
    text += ", LOCAL MEMORY: " + std::to_string(stack_bytes) + " B stack, spills " + std::to_string(spill_store_bytes) +
            " B stored " + std::to_string(spill_load_bytes) + " B loaded";
  }
  if (serialized_wgmma) text += ", WGMMA SERIALIZED";
  return text;
}

std::vector<ResourceUsage> parse_resource_report(std::string_view log) {
  std::vector<ResourceUsage> usages;
  constexpr std::string_view kEntry = "Compiling entry function ";
  bool serialized = false;
  for (std::string_view rest = log; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (line.find("wgmma") != std::string_view::npos && line.find("serialized") != std::string_view::npos) {
      serialized = true;  // printed before or after the entry's own lines: charged to all, a run is one kernel
    }
    if (const std::size_t at = line.find(kEntry); at != std::string_view::npos) {
      ResourceUsage& usage = usages.emplace_back();
      usage.entry = quoted(line, at);
      usage.arch = quoted(line, line.find(" for ", at));
      continue;
    }
    if (usages.empty()) continue;
    ResourceUsage& usage = usages.back();
    if (line.find("bytes stack frame") != std::string_view::npos) {
      usage.stack_bytes = number_before(line, "bytes stack frame");
      usage.spill_store_bytes = number_before(line, "bytes spill stores");
      usage.spill_load_bytes = number_before(line, "bytes spill loads");
    } else if (line.find(" registers") != std::string_view::npos) {
      usage.registers = number_before(line, " registers");
      usage.shared_bytes = number_before(line, "bytes smem");
    }
  }
  if (usages.empty()) {
    throw Error(ErrorCode::internal, "the compiler's log holds no resource report (" +
                                         std::string(kResourceReportOption) + " missing?):\n" + std::string(log));
  }
  for (ResourceUsage& usage : usages) usage.serialized_wgmma = serialized;
  return usages;
}

}  // namespace longconv::cuda
