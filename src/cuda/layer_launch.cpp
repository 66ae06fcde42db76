// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/layer_launch.h"

#include <algorithm>
#include <set>
#include <string>

#include "cuda/kernel_source.h"
#include "longconv/cuda.h"

namespace longconv::cuda {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr char kDigits[] = "0123456789abcdef";
      ((out += "\\u00") += kDigits[c >> 4 & 15]) += kDigits[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// A JSON object, written member by member.
class Object {
 public:
  Object& add(std::string_view key, const std::string& json) {
    if (!text_.empty()) text_ += ',';
    text_.append(quoted(key)).append(":").append(json);
    return *this;
  }
  Object& add(std::string_view key, std::int64_t value) { return add(key, std::to_string(value)); }
  std::string str() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

std::string json(const LayerStep& step) {
  Object defines;
  for (const Define& define : step.spec.defines)
    defines.add(define.name, quoted(define.text != nullptr ? define.text : std::to_string(define.value)));
  return Object{}
      .add("file", quoted(step.spec.file))
      .add("entry", quoted(step.spec.entry))
      .add("defines", defines.str())
      .add("shared_bytes", step.spec.dynamic_shared_bytes)
      .add("threads", step.threads)
      .add("fixed_blocks", step.fixed_blocks)
      .add("tile_steps", step.tile_steps)
      .add("items_per_tile", step.items_per_tile)
      .add("cluster_blocks", step.cluster_blocks)
      .add("blocks_per_sm", step.blocks_per_sm)
      .str();
}

std::string json(const ConvProblem& p) {
  return Object{}
      .add("pass", quoted(name(p.pass)))
      .add("batch_size", p.batch)
      .add("in_channels", p.in_channels)
      .add("out_channels", p.out_channels)
      .add("kernel_size", p.kernel_size)
      .add("length", p.length_samples)
      .add("stride", p.stride)
      .add("dilation", p.dilation)
      .add("bias", p.has_bias ? "true" : "false")
      .add("dtype", quoted(name(p.dtype)))
      .add("text", quoted(p.to_string()))
      .str();
}

std::string json(const LayerSums& sums) {
  constexpr const char* kRepairs[] = {"few", "ragged", "always"};
  return Object{}
      .add("chunk_steps", sums.chunk_steps)
      .add("splits", sums.splits)
      .add("most_chunks", sums.most_chunks)
      .add("carry_chunks", sums.carry_chunks)
      .add("carry_bytes", sums.carry_bytes)
      .add("fewest_products", sums.fewest_products)
      .add("repair", quoted(kRepairs[static_cast<int>(sums.repair)]))
      .str();
}

/// What a file of its own can do: the layers of a model that has channels, kernel size, stride, dilation and bias.
void check_layer(const ConvProblem& p) {
  const char* what = p.dtype != DType::f32 && p.dtype != DType::bf16 && p.dtype != DType::f16 ? "this element type"
                     : p.f32_result                        ? "gradients of another type"
                     : p.pass == Pass::dgrad && p.has_bias ? "a bias in dgrad"
                     : p.groups != 1                       ? "groups"
                     : p.pad_left != 0 || p.pad_right != 0 ? "padding"
                     : p.has_residual                      ? "a residual"
                     : p.activation != Activation::none    ? "an activation"
                                                           : nullptr;
  if (what != nullptr)
    throw Error(ErrorCode::not_supported, p.to_string() + ": a layer as source code does not have " + what + " yet");
}

}  // namespace

LayerLaunch CudaKernel::layer_launch(const ConvProblem& problem, const Config&, const Device&) const {
  throw Error(ErrorCode::not_supported, std::string(name()) + " is no layer: " + problem.to_string());
}

std::int64_t LayerStep::blocks(std::int64_t rows, std::int64_t out_length, std::int64_t sm_count) const {
  if (fixed_blocks != 0) return fixed_blocks;
  const std::int64_t tiles = rows * ceil_div(out_length, tile_steps);
  if (blocks_per_sm == 0) return tiles * items_per_tile;
  return cluster_blocks * std::min(ceil_div(tiles, cluster_blocks) * items_per_tile,
                                   std::max<std::int64_t>(1, sm_count * blocks_per_sm / cluster_blocks));
}

std::int64_t LayerSums::splits_of(std::int64_t chunks) const {
  const std::int64_t fewest = most_chunks == 0 ? 1 : ceil_div(chunks, most_chunks);
  return std::max<std::int64_t>(1, std::min(chunks, std::max(splits, fewest)));
}

PolyphaseProblem of_any_length(const ConvProblem& asked) {
  PolyphaseProblem problem(asked);
  if (problem.is_dgrad && problem.kernel_size > 1) problem.pad_code = 1;
  return problem;
}

std::string describe_layer(const ConvProblem& problem, const Device& device) {
  problem.validate();
  check_layer(problem);
  const Plan plan = make_plan(problem, device);
  if (device.kind != Device::Kind::cuda)
    throw Error(ErrorCode::invalid_value, "expected a GPU, but got " + device.to_string());
  const auto of = [](const Plan::Candidate& c) { return static_cast<const CudaKernel*>(c.kernel); };
  const Plan::Candidate* best = &plan.chosen;
  for (std::size_t i = 0; !of(*best)->is_layer() && i < plan.runners_up.size(); ++i) best = &plan.runners_up[i];
  const CudaKernel* const kernel = of(*best);
  const LayerLaunch layer = kernel->layer_launch(problem, best->config, device);
  std::set<std::string_view> names;
  Object sources, steps;
  const auto add = [&](std::string_view role, const LayerStep& step) {
    steps.add(role, json(step));
    const KernelFile& file = kernel_file(step.spec.file);
    names.insert(file.name);
    for (const KernelFile& header : included_files(file.text, file.name)) names.insert(header.name);
  };
  if (layer.pack) add("pack", *layer.pack);
  add("main", layer.main);
  if (layer.repair) add("repair", *layer.repair);
  if (layer.edges) add("edges", *layer.edges);
  if (layer.reduce) add("reduce", *layer.reduce);
  for (const std::string_view name : names) sources.add(name, quoted(kernel_file(name).text));
  return Object{}
      .add("problem", json(problem))
      .add("kernel", quoted(kernel->name()))
      .add("config", quoted(best->config.to_string()))
      .add("steps", steps.str())
      .add("flag_words", layer.packed.flag_words)
      .add("inverse_bytes", layer.packed.inverse_bytes)
      .add("inverse_offset", layer.packed.inverse_offset())
      .add("weight_offset", layer.packed.weight_offset())
      .add("packed_bytes", layer.pack ? layer.packed.packed_bytes() : 0)
      .add("counters", layer.pack ? layer.packed.counters : 0)
      .add("redo_span", layer.redo_span)
      .add("pad_left", PolyphaseProblem(problem).pad_left)
      .add("out_length_multiple", layer.out_length_multiple)
      .add("length_multiple", layer.length_multiple)
      .add("sums", json(layer.sums))
      .add("sources", sources.str())
      .str();
}

}  // namespace longconv::cuda
