// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/direct_wgrad.cuh: the weight gradient's engine of last resort, and the repair of the others.
#include <algorithm>

#include "cuda/wgrad_common.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

constexpr std::int64_t kThreads = 256, kBlocksPerSm = 6;

/// LC_MODE of the kernel.
enum class Mode : int { partials, repair, result };

/// Tile sizes of a launch; see the kernel for their meaning.
struct DirectTile {
  std::int64_t thread_out, thread_columns, out_threads, column_threads, steps;
  std::int64_t out() const { return thread_out * out_threads; }
  std::int64_t columns() const { return thread_columns * column_threads; }
};

std::int64_t power_of_two_at_least(std::int64_t value, std::int64_t most) {
  std::int64_t power = 1;
  while (power < value && power < most) power *= 2;
  return power;
}

DirectTile tile_of(const ConvProblem& problem) {
  const std::int64_t out = problem.out_channels_per_group();
  const std::int64_t columns = problem.in_channels_per_group() * problem.kernel_size;
  DirectTile t{};
  t.thread_out = std::min<std::int64_t>(out, 4);
  t.thread_columns = std::min<std::int64_t>(columns, 4);
  t.out_threads = power_of_two_at_least(ceil_div(out, t.thread_out), 16);
  t.column_threads = power_of_two_at_least(ceil_div(columns, t.thread_columns), 16);
  // A stage: shared memory for two blocks and more, at least a step for each thread, chains of at most 256 products.
  const std::int64_t time_threads = kThreads / (t.out_threads * t.column_threads);
  const std::int64_t step_bytes = (t.out() + t.columns() + 2) * (problem.dtype == DType::f64 ? 8 : 4);
  t.steps = 16;
  while (t.steps < time_threads || (2 * t.steps * step_bytes <= 20 * 1024 && t.steps < 16 * time_threads)) t.steps *= 2;
  return t;
}

/// dw itself is written where partial sums of one split would not fit into the workspace.
bool writes_result(const ConvProblem& problem) { return WgradLayout::most_splits(problem) == 0; }

std::int64_t tiles_of(const ConvProblem& problem, const DirectTile& t) {
  return problem.groups * ceil_div(problem.out_channels_per_group(), t.out()) *
         ceil_div(problem.in_channels_per_group() * problem.kernel_size, t.columns());
}

KernelSpec direct_wgrad_spec(const ConvProblem& problem, Mode mode) {
  const auto element = [](DType dtype) {
    return std::int64_t{dtype == DType::f32 ? 0 : dtype == DType::bf16 ? 1 : dtype == DType::f16 ? 2 : 3};
  };
  const DirectTile t = tile_of(problem);
  KernelSpec spec;
  spec.file = "conv/direct_wgrad.cuh";
  spec.entry = "longconv_direct_wgrad";
  spec.keep_carveout = mode == Mode::repair;
  spec.allow_local_memory = true;  // CUDA 11.7 spills a few words for the blocks that the launch bounds ask for
  spec.defines = {{"LC_IN_CHANNELS", problem.in_channels_per_group()},
                  {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                  {"LC_KERNEL_SIZE", problem.kernel_size},
                  {"LC_STRIDE", problem.stride},
                  {"LC_DILATION", problem.dilation},
                  {"LC_PAD", std::int64_t{pad_code(problem)}},
                  {"LC_BIAS", std::int64_t{problem.has_bias}},
                  {"LC_ACTIVATION_GRADIENT", static_cast<std::int64_t>(problem.activation)},
                  {"LC_ELEMENT", element(problem.dtype)},
                  {"LC_RESULT", element(problem.result_dtype())},
                  {"LC_TF32", std::int64_t{problem.dtype == DType::f32 && problem.precision == Precision::tf32}},
                  {"LC_MODE", static_cast<std::int64_t>(mode)},
                  {"LC_THREAD_OUT", t.thread_out},
                  {"LC_THREAD_COLUMNS", t.thread_columns},
                  {"LC_OUT_THREADS", t.out_threads},
                  {"LC_COLUMN_THREADS", t.column_threads},
                  {"LC_STEPS", t.steps}};
  return spec;
}

/// Without the spec.
LayerStep direct_wgrad_grid(const ConvProblem& problem, Mode mode) {
  LayerStep step;
  step.threads = kThreads;
  step.tile_steps = 1;
  step.items_per_tile = tiles_of(problem, tile_of(problem));
  step.blocks_per_sm = mode == Mode::repair ? kBlocksPerSm : 0;
  return step;
}

LayerStep direct_wgrad_step(const ConvProblem& problem, Mode mode) {
  LayerStep step = direct_wgrad_grid(problem, mode);
  step.spec = direct_wgrad_spec(problem, mode);
  return step;
}

template <typename Slope>
void launch_with(const Driver& driver, const Function& function, const ConvProblem& problem, const Device& device,
                 const ConvTensors& tensors, const WgradRanges& ranges, const WgradPartials& partials, Mode mode,
                 void* stream) {
  struct {
    const void *x, *dy;
    WgradPartials partials;
    void *dw, *db;
    std::int64_t x_batch, x_channel, x_time, dy_batch, dy_channel, dy_time, dw_out, dw_in, dw_tap, db_stride;
    std::int64_t length, out_length, pad_left;
    WgradRanges ranges;
    std::int32_t groups;
    std::int64_t to_forward_y;
    Slope negative_slope;
  } p{tensors.x.data,
      tensors.y.data,
      partials,
      tensors.w.data,
      problem.has_bias ? tensors.bias.data : nullptr,
      tensors.x.strides[0],
      tensors.x.strides[1],
      tensors.x.strides[2],
      tensors.y.strides[0],
      tensors.y.strides[1],
      tensors.y.strides[2],
      tensors.w.strides[0],
      tensors.w.strides[1],
      tensors.w.strides[2],
      problem.has_bias ? tensors.bias.strides[0] : 0,
      problem.length_samples,
      problem.out_length(),
      problem.pad_left,
      ranges,
      static_cast<std::int32_t>(problem.groups),
      distance_to_forward_y(tensors.y, tensors.forward_y),
      static_cast<Slope>(problem.negative_slope)};
  const LayerStep step = direct_wgrad_grid(problem, mode);
  LaunchShape shape;
  shape.blocks =
      std::min(step.blocks(ranges.splits, 1, device.sm_count), std::int64_t{1} << 30);  // they walk the items
  shape.threads = static_cast<int>(step.threads);
  shape.overlap_previous = mode == Mode::repair;
  launch(driver, function, shape, stream, p);
}

void launch_direct_wgrad(const Driver& driver, const Function& function, const ConvProblem& problem,
                         const Device& device, const ConvTensors& tensors, const WgradRanges& ranges,
                         const WgradPartials& partials, Mode mode, void* stream) {
  if (problem.dtype == DType::f64)
    launch_with<double>(driver, function, problem, device, tensors, ranges, partials, mode, stream);
  else
    launch_with<float>(driver, function, problem, device, tensors, ranges, partials, mode, stream);
}

class DirectWgrad final : public CudaKernel {
 public:
  std::string_view name() const override { return "direct_wgrad"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    return supports_wgrad(problem, device);
  }
  std::vector<Config> configs(const ConvProblem& problem, const Device& device) const override {
    const DirectTile t = tile_of(problem);
    // Two waves of blocks; a split has at least a few stages, and 64 KB or more to read.
    const std::int64_t blocks = 2 * kBlocksPerSm * std::max(device.sm_count, 1);
    const std::int64_t wanted = writes_result(problem) ? 1 : ceil_div(blocks, tiles_of(problem, t));
    const std::int64_t most = std::min({wanted, std::max<std::int64_t>(1, WgradLayout::most_splits(problem)),
                                        ceil_div(problem.batch * ceil_div(problem.out_length(), t.steps), 4)});
    return {Config{{{"out", t.out()},
                    {"columns", t.columns()},
                    {"steps", t.steps},
                    {"splits", WgradRanges(problem, t.steps, most).splits}}}};
  }
  Estimate estimate(const ConvProblem& problem, const Config& config, const Device& device) const override {
    Estimate e;
    const std::int64_t columns = problem.in_channels_per_group() * problem.kernel_size;
    const double out_tiles = static_cast<double>(ceil_div(problem.out_channels_per_group(), config.get("out")));
    const double column_tiles = static_cast<double>(ceil_div(columns, config.get("columns")));
    const double partials = static_cast<double>(WgradLayout(problem, config.get("splits")).workspace_bytes());
    e.bytes = problem.compulsory_bytes() * (0.7 + 0.15 * (out_tiles + column_tiles)) + 2 * partials;
    e.flops = 2 * static_cast<double>(problem.batch) * static_cast<double>(problem.out_length()) *
              static_cast<double>(problem.groups) * out_tiles * column_tiles *
              static_cast<double>(config.get("out") * config.get("columns"));
    // Ordinary multiply-adds (f64: half as many units), of which reads of shared memory leave a part; a stage's
    // gathering and barriers cost as much again for small tiles.
    const double clock = device.clock_hz > 0 ? device.clock_hz : 1.5e9;
    const double peak = clock * device.sm_count * (problem.dtype == DType::f64 ? 128 : 256);
    const double tile = static_cast<double>(config.get("out") * config.get("columns"));
    const double share = tile >= 2048 ? 0.3 : tile >= 256 ? 0.15 : tile >= 32 ? 0.06 : 0.03;
    e.seconds = std::max(e.bytes / Rates(device).bytes_per_second * 1.5, e.flops / (peak * share)) + 1e-5;
    return e;
  }
  std::int64_t workspace_bytes(const ConvProblem& problem, const Config& config, const Device&) const override {
    return writes_result(problem) ? 0 : WgradLayout(problem, config.get("splits")).workspace_bytes();
  }
  std::vector<KernelSpec> specs(const ConvProblem& problem, const Config&, const Device&) const override {
    return specs(problem);
  }
  static std::vector<KernelSpec> specs(const ConvProblem& problem) {
    if (writes_result(problem)) return {direct_wgrad_spec(problem, Mode::result)};
    return {direct_wgrad_spec(problem, Mode::partials), reduce_wgrad_step(problem).spec};
  }
  LayerLaunch layer_launch(const ConvProblem& problem, const Config& config, const Device&) const override {
    const bool direct = writes_result(problem);
    LayerLaunch layer;
    layer.main = direct_wgrad_step(problem, direct ? Mode::result : Mode::partials);
    if (!direct) layer.reduce = reduce_wgrad_step(problem);
    layer.sums.chunk_steps = config.get("steps");
    layer.sums.splits = config.get("splits");
    return layer;
  }
  void launch(const ConvProblem& problem, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    const LaunchFunctions functions(*this, problem, config, device, context, 0, [&] { return specs(problem); });
    const WgradRanges ranges(problem, config.get("steps"), config.get("splits"));
    const WgradLayout layout(problem, ranges.splits);
    const bool direct = writes_result(problem);
    launch_direct_wgrad(functions.driver(), functions[0], problem, device, tensors, ranges,
                        WgradPartials(layout, context.workspace), direct ? Mode::result : Mode::partials,
                        context.stream);
    if (!direct)
      launch_reduce_wgrad(functions.driver(), functions[1], problem, tensors, layout, context.workspace,
                          context.stream);
  }
};

}  // namespace

LayerStep wgrad_repair_step(const ConvProblem& problem) { return direct_wgrad_step(problem, Mode::repair); }

void launch_wgrad_repair(const Driver& driver, const Function& function, const ConvProblem& problem,
                         const Device& device, const ConvTensors& tensors, const WgradRanges& ranges,
                         const WgradLayout& layout, void* workspace, void* stream) {
  launch_direct_wgrad(driver, function, problem, device, tensors, ranges, WgradPartials(layout, workspace),
                      Mode::repair, stream);
}

}  // namespace cuda

const Kernel& direct_wgrad() {
  static const cuda::DirectWgrad kernel;
  return kernel;
}

}  // namespace longconv
