// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/direct_fprop.cuh, as direct_fprop and direct_dgrad: the engine of last resort, and the
// repair passes of the others.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "cuda/dense_fprop_common.h"
#include "cuda/dgrad_padding.h"
#include "cuda/layer_launch.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

constexpr std::int64_t kThreads = 128;

/// Tile sizes of a launch; see the kernel for their meaning. `loads`: that a thread has under way at a time.
struct DirectTile {
  std::int64_t thread_out, thread_time, out_threads, stage_channels, stage_taps, loads = 4;

  std::int64_t outs() const { return thread_out * out_threads; }
  std::int64_t steps() const { return thread_time * (kThreads / out_threads); }
  Config config() const {
    return Config{{{"out", outs()}, {"time", steps()}, {"channels", stage_channels}, {"taps", stage_taps}}};
  }
};

/// The products of a stage form one chain of additions: see docs/design/numerics.md.
constexpr std::int64_t kMaxStageTerms = 256;

/// Samples and weights that a stage holds.
std::int64_t stage_elements(const PolyphaseProblem& problem, const DirectTile& t) {
  const std::int64_t dense = (t.steps() - 1) * problem.stride + (t.stage_taps - 1) * problem.row_step() + 1;
  return t.stage_channels * (std::min(dense, t.steps() * t.stage_taps) + t.stage_taps * t.outs());
}

/// Of stages that fit static shared memory.
DirectTile fitted(const PolyphaseProblem& problem, DirectTile t) {
  t.stage_channels = std::min(t.stage_channels, problem.in_channels_per_group());
  t.stage_taps = std::min({t.stage_taps, problem.phase_taps(), kMaxStageTerms / t.stage_channels});
  const std::int64_t element_bytes = problem.dtype == DType::f64 ? 8 : 4;
  while (stage_elements(problem, t) * element_bytes > 47 * 1024) {
    if (t.stage_channels > 1)
      t.stage_channels /= 2;
    else if (t.stage_taps > 1)
      t.stage_taps /= 2;
    else
      t.thread_time /= 2;
  }
  return t;
}

/// For large problems, and for repairs.
DirectTile tile_of(const PolyphaseProblem& problem) {
  const std::int64_t out = problem.out_channels_per_group(), time = problem.dtype == DType::f64 ? 4 : 8;
  return fitted(problem, out >= 32  ? DirectTile{8, time, 8, 8, 32}
                         : out >= 8 ? DirectTile{4, 8, 4, 8, 32}
                         : out >= 2 ? DirectTile{2, 8, 1, 8, 32}
                                    : DirectTile{1, 8, 1, 8, 64});
}
/// Small, with long stages, for problems that would not give every multiprocessor a tile: what counts there is how
/// often a block waits for memory. None where its 16 channels are twice as many as there are, or its stages do not fit.
std::optional<DirectTile> small_tile(const PolyphaseProblem& problem, std::int64_t thread_time) {
  const DirectTile t = fitted(problem, {2, thread_time, 8, 64, 32, 16});
  return problem.out_channels_per_group() > 8 && t.thread_time == thread_time ? std::optional(t) : std::nullopt;
}
constexpr std::int64_t kSmallThreadTimes[] = {4, 2, 1};

/// At every launch: without a list of the others.
DirectTile tile_of(const PolyphaseProblem& problem, const Config& config) {
  const std::int64_t out = config.get("out"), time = config.get("time");
  const auto is_it = [&](const DirectTile& t) { return t.outs() == out && t.steps() == time; };
  if (const DirectTile t = tile_of(problem); is_it(t)) return t;
  for (const std::int64_t thread_time : kSmallThreadTimes)
    if (const auto t = small_tile(problem, thread_time); t && is_it(*t)) return *t;
  throw Error(ErrorCode::internal, "direct convolution: no such config for this problem: " + config.to_string());
}

/// A launch, but for its spec.
LayerStep direct_grid(const PolyphaseProblem& problem, const DirectTile& t, int mode) {
  LayerStep step;
  step.threads = kThreads;
  step.tile_steps = t.steps() * problem.phases;
  step.items_per_tile = ceil_div(problem.out_channels_per_group(), t.outs()) * problem.phases;
  // A repair mostly finds nothing to do: as many blocks as run at a time.
  step.blocks_per_sm = mode == 0 ? 16 : 4;
  return step;
}

/// As Params in kernels/conv/direct_fprop.cuh.
template <typename Slope>
struct DirectParams {
  const void *x, *w;
  void* y;
  const void *bias, *residual, *redo, *flags;
  std::int64_t x_batch, x_channel, x_time, w_out, w_in, w_tap, y_batch, y_channel, y_time;
  std::int64_t bias_channel, residual_batch, residual_channel, residual_time;
  std::int64_t length, out_length, pad_left, redo_step, redo_span, redo_tiles, flag_words;
  std::array<std::int64_t, 2> skip_begin, skip_end;
  std::int32_t batch, groups;
  Slope negative_slope;
  std::int64_t to_forward_y;
};

template <typename Slope>
void launch_with(const Driver& driver, const Function& function, const PolyphaseProblem& problem,
                 const DirectTile& tile, const Device& device, const ConvTensors& tensors, void* stream,
                 const Repair& repair) {
  DirectParams<Slope> p{};
  p.x = tensors.x.data;
  p.w = tensors.w.data;
  p.y = tensors.y.data;
  p.redo = repair.redo;
  p.flags = repair.flags;
  p.x_batch = tensors.x.strides[0], p.x_channel = tensors.x.strides[1], p.x_time = tensors.x.strides[2];
  p.w_out = tensors.w.strides[0], p.w_in = tensors.w.strides[1], p.w_tap = tensors.w.strides[2];
  p.y_batch = tensors.y.strides[0], p.y_channel = tensors.y.strides[1], p.y_time = tensors.y.strides[2];
  if (problem.has_bias) {
    p.bias = tensors.bias.data;
    p.bias_channel = tensors.bias.strides[0];
  }
  if (problem.has_residual) {
    p.residual = tensors.residual.data;
    p.residual_batch = tensors.residual.strides[0];
    p.residual_channel = tensors.residual.strides[1];
    p.residual_time = tensors.residual.strides[2];
  }
  p.length = problem.length_samples, p.out_length = problem.out_length(), p.pad_left = problem.pad_left;
  p.flag_words = repair.flag_words;
  p.redo_step = repair.redo_step, p.redo_span = repair.redo_span, p.redo_tiles = repair.redo_tiles;
  p.batch = static_cast<std::int32_t>(problem.batch), p.groups = static_cast<std::int32_t>(problem.groups);
  p.negative_slope = static_cast<Slope>(problem.negative_slope);
  p.to_forward_y = distance_to_forward_y(tensors.x, tensors.forward_y);
  const PaddingGradient padding(problem.asked);
  p.skip_begin = padding.begin, p.skip_end = padding.end;
  const LayerStep step = direct_grid(problem, tile, repair.mode);
  LaunchShape shape;
  shape.blocks = step.blocks(problem.batch * problem.groups, problem.out_length(), device.sm_count);
  shape.threads = static_cast<int>(step.threads);
  shape.overlap_previous = repair.mode != 0;
  launch(driver, function, shape, stream, p);
}

KernelSpec spec_of(const PolyphaseProblem& problem, const DirectTile& t, int mode) {
  KernelSpec spec;
  spec.file = "conv/direct_fprop.cuh";
  spec.entry = "longconv_direct_fprop";
  spec.keep_carveout = mode != 0;
  spec.allow_local_memory = true;  // ptxas trades a few words outside the product loop for a third block
  spec.defines = problem_defines(problem);
  for (const Define& define :
       {Define{"LC_ELEMENT", direct_element_code(problem.dtype)}, Define{"LC_MODE", std::int64_t{mode}},
        Define{"LC_SKIP", std::int64_t{!PaddingGradient(problem.asked).empty()}},
        Define{"LC_TF32", std::int64_t{problem.dtype == DType::f32 && problem.precision == Precision::tf32}},
        Define{"LC_THREAD_OUT", t.thread_out}, Define{"LC_THREAD_TIME", t.thread_time},
        Define{"LC_OUT_THREADS", t.out_threads}, Define{"LC_STAGE_CHANNELS", t.stage_channels},
        Define{"LC_STAGE_TAPS", t.stage_taps}, Define{"LC_LOADS", t.loads}}) {
    spec.defines.push_back(define);
  }
  return spec;
}

LayerStep step_of(const PolyphaseProblem& problem, const DirectTile& tile, int mode) {
  LayerStep step = direct_grid(problem, tile, mode);
  step.spec = spec_of(problem, tile, mode);
  return step;
}

void launch_tiles(const Driver& driver, const Function& function, const PolyphaseProblem& problem,
                  const DirectTile& tile, const Device& device, const ConvTensors& tensors, void* stream,
                  const Repair& repair) {
  if (problem.dtype == DType::f64)
    launch_with<double>(driver, function, problem, tile, device, tensors, stream, repair);
  else
    launch_with<float>(driver, function, problem, tile, device, tensors, stream, repair);
}

class Direct final : public CudaKernel {
 public:
  explicit Direct(Pass pass) : pass_(pass) {}
  std::string_view name() const override { return pass_ == Pass::dgrad ? "direct_dgrad" : "direct_fprop"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    if (device.kind != Device::Kind::cuda) return Support::no("a CUDA kernel");
    if (problem.pass != pass_) return Support::no("does " + std::string(longconv::name(pass_)) + " only");
    if (is_complex(problem.dtype) || problem.dtype == DType::i64) {
      return Support::no("has no kernel for " + std::string(longconv::name(problem.dtype)));
    }
    if (problem.in_channels_per_group() > (1 << 30) || problem.out_channels_per_group() > (1 << 30) ||
        problem.batch > 0x7fffffff || problem.groups > 0x7fffffff) {
      return Support::no("more than 2^30 channels of a group, or 2^31 groups or signals");
    }
    if (std::string why = no_bias_in_dgrad_padding(problem); !why.empty()) return Support::no(std::move(why));
    if (pass_ == Pass::dgrad && problem.stride > 0x7fffffff) return Support::no("a stride above 2^31");
    return Support::yes();
  }
  std::vector<Config> configs(const ConvProblem& asked, const Device&) const override {
    const PolyphaseProblem problem(asked);
    std::vector<Config> configs{tile_of(problem).config()};
    for (const std::int64_t thread_time : kSmallThreadTimes)
      if (const auto t = small_tile(problem, thread_time)) configs.push_back(t->config());
    return configs;
  }
  Estimate estimate(const ConvProblem& asked, const Config& config, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    Estimate e;
    const double out_tiles = static_cast<double>(ceil_div(problem.out_channels_per_group(), config.get("out")));
    e.bytes = asked.compulsory_bytes() * (1 + 0.3 * (out_tiles - 1));
    e.flops = asked.flops();
    // Ordinary multiply-adds (f64: half as many units), of which a thread tile's share of shared-memory reads leaves a
    // part; few tiles leave multiprocessors idle.
    const double clock = device.clock_hz > 0 ? device.clock_hz : 1.5e9;
    const double peak = clock * device.sm_count * (problem.dtype == DType::f64 ? 128 : 256);
    const double tile = static_cast<double>(config.get("out")) >= 8 ? 0.2 : 0.12;
    const double tiles = static_cast<double>(problem.batch * problem.groups) * out_tiles *
                         static_cast<double>(ceil_div(problem.out_length(), config.get("time")));
    const double busy = std::min(1.0, tiles / device.sm_count);
    // Each phase writes elements of sectors that it shares with the others.
    const double memory = e.bytes / Rates(device).bytes_per_second * (problem.phases == 1 ? 1.5 : 3);
    // Samples are staged one by one, TF32 rounded on the way.
    const auto batch = static_cast<double>(problem.batch);
    const double elements =
        batch * static_cast<double>(problem.in_channels) * static_cast<double>(problem.length_samples) * out_tiles *
            (asked.has_forward_y() ? 2 : 1) +
        batch * static_cast<double>(problem.out_channels) * static_cast<double>(problem.out_length());
    const bool rounds = asked.dtype == DType::f32 && asked.precision == Precision::tf32;
    const double staging = elements * (rounds ? 0.82 : 0.56) / (clock * device.sm_count);
    e.seconds = std::max({memory, staging, e.flops / (peak * tile)}) / busy + 5e-6;
    // A block's stages follow one another, each a wait for its loads and its products (measured: of problems with few
    // tiles); blocks that run side by side hide half of it.
    const DirectTile t = tile_of(problem, config);
    const auto of_stage = static_cast<double>(t.stage_channels * t.stage_taps);
    const double stages = static_cast<double>(ceil_div(problem.in_channels_per_group(), t.stage_channels) *
                                              ceil_div(problem.phase_taps(), t.stage_taps));
    const double loads = static_cast<double>(stage_elements(problem, t)) / static_cast<double>(kThreads * t.loads);
    const double waits = stages * (std::ceil(loads) * (rounds ? 4400 : 1600) + of_stage * 65 + 400) / clock;
    const double side_by_side = std::max(1., tiles * static_cast<double>(problem.phases) / device.sm_count);
    e.seconds = std::max(e.seconds, waits * (1 + 0.5 * (side_by_side - 1)) + 5e-6);
    return e;
  }
  std::int64_t workspace_bytes(const ConvProblem&, const Config&, const Device&) const override { return 0; }
  std::vector<KernelSpec> specs(const ConvProblem& asked, const Config& config, const Device&) const override {
    const PolyphaseProblem problem(asked);
    return specs(problem, tile_of(problem, config));
  }
  LayerLaunch layer_launch(const ConvProblem& asked, const Config& config, const Device&) const override {
    const PolyphaseProblem problem = of_any_length(asked);
    LayerLaunch layer;
    layer.main = step_of(problem, tile_of(problem, config), 0);
    return layer;
  }
  void launch(const ConvProblem& asked, const Config& config, const Device& device, const ConvTensors& given,
              const LaunchContext& context) const override {
    const PolyphaseProblem problem(asked);
    const ConvTensors tensors = polyphase_tensors(problem, given);
    const DirectTile tile = tile_of(problem, config);
    const LaunchFunctions functions(*this, asked, config, device, context, 0, [&] { return specs(problem, tile); });
    launch_tiles(functions.driver(), functions[0], problem, tile, device, tensors, context.stream, Repair{});
    launch_dgrad_padding(functions, 1, problem, device, tensors, context.stream);
  }

 private:
  const Pass pass_;

  static std::vector<KernelSpec> specs(const PolyphaseProblem& problem, const DirectTile& tile) {
    std::vector<KernelSpec> specs{spec_of(problem, tile, 0)};
    add_dgrad_padding_spec(problem, specs);
    return specs;
  }
};

}  // namespace

std::int64_t direct_element_code(DType dtype) {
  return dtype == DType::f32 ? 0 : dtype == DType::bf16 ? 1 : dtype == DType::f16 ? 2 : 3;
}

KernelSpec direct_spec(const PolyphaseProblem& problem, int mode) { return spec_of(problem, tile_of(problem), mode); }

LayerStep direct_step(const PolyphaseProblem& problem, int mode) { return step_of(problem, tile_of(problem), mode); }

void launch_direct(const Driver& driver, const Function& function, const PolyphaseProblem& problem,
                   const Device& device, const ConvTensors& tensors, void* stream, const Repair& repair) {
  launch_tiles(driver, function, problem, tile_of(problem), device, tensors, stream, repair);
}

}  // namespace cuda

const Kernel& direct_fprop() {
  static const cuda::Direct kernel(Pass::fprop);
  return kernel;
}
const Kernel& direct_dgrad() {
  static const cuda::Direct kernel(Pass::dgrad);
  return kernel;
}

}  // namespace longconv
