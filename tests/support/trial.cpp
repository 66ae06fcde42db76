// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "support/trial.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>

#include "cuda/compiler.h"
#include "cuda/device_memory.h"

namespace longconv::testing {
namespace {

bool is_output_layout(Layout layout) { return layout != Layout::expanded_batch && layout != Layout::expanded_all; }

Isa isa_named(std::string_view text) {
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (longconv::name(isa) == text) return isa;
  }
  throw std::invalid_argument("no instruction set is called " + std::string(text));
}

const Kernel& kernel_named(std::string_view name) {
  for (const Kernel* kernel : all_kernels()) {
    if (kernel->name() == name) return *kernel;
  }
  throw std::invalid_argument("no kernel is called " + std::string(name));
}

/// changes: "key=value,key=value".
void replace_values(Config& config, const std::string& changes) {
  std::istringstream words(changes);
  for (std::string word; std::getline(words, word, ',');) {
    const auto equals = word.find('=');
    bool known = false;
    for (auto& [key, value] : config.values) {
      if (equals == std::string::npos || key != word.substr(0, equals)) continue;
      value = std::stoll(word.substr(equals + 1));
      known = true;
    }
    if (!known) throw std::invalid_argument("no value of the config is set by " + word);
  }
}

std::string find_changed(const char* what, const TestTensor& tensor, const std::vector<unsigned char>& before) {
  if (!tensor.defined() || tensor.snapshot() == before) return {};
  return std::string("the input ") + what + " was written to; ";
}

std::string replay_line(const Trial& trial) {
  const char* const emulator = std::getenv("LONGCONV_EMULATOR");
  return "\n  replay: " + (emulator == nullptr ? "" : "LONGCONV_EMULATOR='" + std::string(emulator) + "' ") +
         "LONGCONV_REPLAY='" + trial.to_string() + "'";
}

/// What the arithmetic of a trial promises.
Arithmetic arithmetic_of(const Trial& trial) {
  const ConvProblem& p = trial.problem;
  const bool tensor_core = p.dtype == DType::bf16 || p.dtype == DType::f16 || p.precision == Precision::tf32;
  return trial.capability != 0 && tensor_core ? Arithmetic::tensor_core : Arithmetic::engine;
}

/// A tensor's whole allocation on a GPU, the elements at the same place in it.
class DeviceTensor {
 public:
  DeviceTensor(const TestTensor& tensor, const cuda::Driver& driver, const cuda::Stream& stream)
      : tensor_(tensor), stream_(stream), view_(tensor.view()), buffer_(driver, tensor.memory().mapped_bytes()) {
    const GuardedMemory& host = tensor.memory();
    if (!tensor.defined()) return;
    reset();
    view_.data = buffer_.as<char>() + (static_cast<unsigned char*>(tensor.view().data) - host.mapped());
  }
  const TensorView& view() const { return view_; }
  /// As on the host again.
  void reset() const {
    const GuardedMemory& host = tensor_.memory();
    if (tensor_.defined()) buffer_.upload(host.mapped(), host.mapped_bytes(), stream_);
  }
  void bring_back() const {
    const GuardedMemory& host = tensor_.memory();
    if (tensor_.defined()) buffer_.download(host.mapped(), host.mapped_bytes(), stream_);
  }

 private:
  const TestTensor& tensor_;
  const cuda::Stream& stream_;
  TensorView view_;
  cuda::DeviceBuffer buffer_;
};

/// Empty, or that something was written behind the workspace.
std::string execute_on_gpu(const Plan& plan, const TestTensors& tensors, bool kept_weights) {
  cuda::Compiler& compiler = cuda::Compiler::instance();
  const cuda::Driver& driver = compiler.driver();
  const cuda::ContextScope scope(driver, compiler.context(plan.device.ordinal));
  const cuda::Stream stream(driver);
  const DeviceTensor x(tensors.x, driver, stream), w(tensors.w, driver, stream), y(tensors.y, driver, stream),
      bias(tensors.bias, driver, stream), residual(tensors.residual, driver, stream),
      forward_y(tensors.forward_y, driver, stream);
  ConvTensors views{x.view(), w.view(), y.view(), bias.view(), residual.view(), forward_y.view()};
  if (plan.problem.has_residual && !tensors.residual.defined())
    views.residual = plan.problem.pass == Pass::dgrad ? x.view() : y.view();
  constexpr std::size_t kMargin = 256;
  const auto packed_bytes = kept_weights ? static_cast<std::size_t>(plan.packed_weights_bytes()) : 0;
  const auto bytes = static_cast<std::size_t>(plan.workspace_bytes()) - packed_bytes;
  const cuda::DeviceBuffer workspace(driver, bytes + kMargin), packed(driver, packed_bytes);
  workspace.fill(0xff, stream);
  packed.fill(0xff, stream);
  LaunchContext context;
  context.workspace = workspace.data();
  context.workspace_bytes = static_cast<std::int64_t>(bytes);
  context.stream = stream.get();
  if (packed_bytes > 0) {
    context.packed_weights = packed.data();
    execute(plan, views, context);
    context.weights_are_packed = true;
    workspace.fill(0xff, stream);
    for (const DeviceTensor* tensor : {&x, &y}) tensor->reset();
  }
  execute(plan, views, context);
  for (const DeviceTensor* tensor : {&x, &w, &y, &bias, &residual, &forward_y}) tensor->bring_back();
  std::vector<unsigned char> after(bytes + kMargin);
  workspace.download(after.data(), after.size(), stream);
  stream.synchronize();
  for (std::size_t i = bytes; i < after.size(); ++i)
    if (after[i] != 0xff) return "a byte behind the workspace was written; ";
  return {};
}

}  // namespace

int gpu_for(int capability) {
  cuda::Compiler& compiler = cuda::Compiler::instance();
  int best = -1;
  for (int ordinal = 0; ordinal < cuda::device_count(compiler.driver()); ++ordinal) {
    const int has = compiler.device(ordinal).compute_capability;
    if (has >= capability && (best < 0 || has < compiler.device(best).compute_capability)) best = ordinal;
  }
  return best;
}

std::string Trial::to_string() const {
  std::string text = problem.to_string() + " |";
  if (!kernel.empty()) text += " kernel " + kernel;
  if (config >= 0) text += " config " + std::to_string(config);
  if (!set.empty()) text += " set " + set;
  if (capability != 0) text += " capability " + std::to_string(capability);
  if (!isa.empty()) text += " isa " + isa;
  text += " threads " + std::to_string(threads) + " layout " + std::string(name(layout)) + " values " +
          std::string(name(values)) + " seed " + std::to_string(seed);
  if (in_place) text += " in_place";
  if (kept_weights) text += " kept_weights";
  return text;
}

Trial Trial::parse(std::string_view text) {
  Trial trial;
  const auto bar = text.find('|');
  trial.problem = ConvProblem::parse(text.substr(0, bar));
  std::istringstream words(std::string(bar == std::string_view::npos ? "" : text.substr(bar + 1)));
  for (std::string key, value; words >> key;) {
    if (key == "in_place") {
      trial.in_place = true;
      continue;
    }
    if (key == "kept_weights") {
      trial.kept_weights = true;
      continue;
    }
    if (!(words >> value)) throw std::invalid_argument("nothing follows " + key);
    if (key == "kernel")
      trial.kernel = value;
    else if (key == "config")
      trial.config = std::stoll(value);
    else if (key == "set")
      trial.set = value;
    else if (key == "capability")
      trial.capability = std::stoi(value);
    else if (key == "isa")
      trial.isa = value;
    else if (key == "threads")
      trial.threads = std::stoi(value);
    else if (key == "seed")
      trial.seed = std::stoull(value);
    else if (key == "layout" && testing::parse(value, trial.layout))
      continue;
    else if (key == "values" && testing::parse(value, trial.values))
      continue;
    else
      throw std::invalid_argument("not understood in a trial: " + key + " " + value);
  }
  return trial;
}

Device device_of(const Trial& trial) {
  if (trial.capability != 0) {
    const int ordinal = gpu_for(trial.capability);
    if (ordinal < 0) throw std::runtime_error("no GPU of compute capability " + std::to_string(trial.capability));
    return cuda::Compiler::instance().device(ordinal);
  }
  Device device = Device::host_cpu(trial.threads);
  if (!trial.isa.empty()) device.isa = std::min(device.isa, isa_named(trial.isa));
  return device;
}

Plan plan_of(const Trial& trial) {
  const Device device = device_of(trial);
  Plan plan = trial.kernel.empty() ? make_plan(trial.problem, device) : make_plan(trial.problem, device, trial.kernel);
  if (trial.config >= 0 || !trial.set.empty()) {
    const Kernel& kernel = kernel_named(plan.chosen.kernel->name());
    Config config = plan.chosen.config;
    if (trial.config >= 0) config = kernel.configs(trial.problem, device).at(static_cast<std::size_t>(trial.config));
    replace_values(config, trial.set);
    plan.chosen = {&kernel, config, kernel.estimate(trial.problem, config, device),
                   kernel.workspace_bytes(trial.problem, config, device)};
  }
  return plan;
}

TestTensors make_tensors(const Trial& trial) {
  const ConvProblem& p = trial.problem;
  Random random(trial.seed);
  TestTensors t;
  std::int64_t tail_elements = 0;
  const auto make = [&](std::vector<std::int64_t> sizes, bool is_input, DType dtype) {
    const Layout layout = is_input || is_output_layout(trial.layout) ? trial.layout : Layout::contiguous;
    tail_elements = random.integer(0, 8);
    TestTensor tensor(dtype, std::move(sizes), layout, tail_elements);
    if (is_input) tensor.fill(random, trial.values);
    return tensor;
  };
  const std::vector<std::int64_t> x_sizes{p.batch, p.in_channels, p.length_samples};
  const std::vector<std::int64_t> y_sizes{p.batch, p.out_channels, p.out_length()};
  t.x = make(x_sizes, p.pass != Pass::dgrad, p.dtype);
  t.w = make({p.out_channels, p.in_channels_per_group(), p.kernel_size}, p.pass != Pass::wgrad, p.result_dtype());
  t.y = make(y_sizes, p.pass != Pass::fprop, p.dtype);
  const std::int64_t y_tail_elements = tail_elements;
  if (p.has_bias) t.bias = make({p.bias_channels()}, p.pass != Pass::wgrad, p.result_dtype());
  if (p.has_residual && trial.in_place) t.result(p.pass).fill(random, trial.values);
  if (p.has_residual && !trial.in_place) t.residual = make(p.pass == Pass::fprop ? y_sizes : x_sizes, true, p.dtype);
  if (p.has_forward_y()) {  // on the same place of 16 bytes as y
    t.forward_y = TestTensor(p.dtype, y_sizes, trial.layout, y_tail_elements);
    t.forward_y.fill(random, Values::uniform);
    for (std::int64_t i = 0; i < t.forward_y.element_count(); ++i)
      t.forward_y.set(i, activate(p, 2 * t.forward_y.get(i)));
  }
  return t;
}

Parallel& team(int threads) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Parallel>> teams;
  const std::lock_guard lock(mutex);
  auto& entry = teams[threads];
  if (!entry) entry = thread_pool(threads);
  return *entry;
}

std::string execute_checked(const Plan& plan, TestTensors& tensors, Parallel& parallel, bool kept_weights) {
  const ConvProblem& p = plan.problem;
  ConvTensors views = tensors.views();
  if (p.has_residual && !tensors.residual.defined()) views.residual = tensors.result(p.pass).view();
  const std::pair<const char*, const TestTensor*> all[] = {{"x", &tensors.x},
                                                           {"w", &tensors.w},
                                                           {"y", &tensors.y},
                                                           {"bias", &tensors.bias},
                                                           {"residual", &tensors.residual},
                                                           {"forward_y", &tensors.forward_y}};
  const auto is_written = [&](const TestTensor* tensor) {
    return tensor == &tensors.result(p.pass) || (p.pass == Pass::wgrad && tensor == &tensors.bias);
  };
  std::vector<std::vector<unsigned char>> before;
  for (const auto& [what, tensor] : all) {
    before.push_back(tensor->defined() ? tensor->snapshot() : std::vector<unsigned char>());
  }
  constexpr std::size_t kAlignment = 64;
  const bool on_gpu = plan.device.kind == Device::Kind::cuda;
  const auto workspace_bytes = on_gpu ? 0 : static_cast<std::size_t>(plan.workspace_bytes());
  const GuardedMemory workspace(workspace_bytes, kAlignment);
  std::string wrong;
  if (on_gpu)
    wrong += execute_on_gpu(plan, tensors, kept_weights);
  else
    execute(plan, views, {workspace.data(), plan.workspace_bytes(), &parallel});

  for (std::size_t i = 0; i < std::size(all); ++i) {
    const auto& [what, tensor] = all[i];
    if (!tensor->defined()) continue;
    if (!is_written(tensor)) {
      wrong += find_changed(what, *tensor, before[i]);
    } else if (const std::string stray = tensor->stray_write(); !stray.empty()) {
      wrong += std::string(what) + ": " + stray + "; ";
    }
  }
  for (const unsigned char* at = workspace.mapped(); at < workspace.mapped() + workspace.mapped_bytes(); ++at) {
    const bool inside = at >= workspace.data() && at < workspace.data() + workspace_bytes;
    if (!inside && *at != 0xff) return wrong + "a byte outside the workspace was written; ";
  }
  return wrong;
}

std::string run_trial(const Trial& trial, TestTensors& tensors) {
  const auto replay = [&trial](const std::string& what) { return what + replay_line(trial); };
  try {
    const bool in_place = trial.problem.has_residual && !tensors.residual.defined();
    const Plan plan = plan_of(trial);
    if (in_place) {
      const TestTensor& result = tensors.result(trial.problem.pass);
      std::vector<std::int64_t> sizes(result.view().sizes.begin(), result.view().sizes.end());
      tensors.residual = TestTensor(trial.problem.dtype, sizes, Layout::contiguous);
      for (std::int64_t flat = 0; flat < result.element_count(); ++flat) {
        for (int c = 0; c < result.components(); ++c) {
          if (trial.problem.dtype == DType::i64)
            tensors.residual.set_integer(flat, result.get_integer(flat));
          else
            tensors.residual.set(flat, result.get(flat, c), c);
        }
      }
    }
    const Reference expected = reference(trial.problem, tensors, arithmetic_of(trial));
    if (in_place) tensors.residual = TestTensor();
    std::string wrong = execute_checked(plan, tensors, team(trial.threads), trial.kept_weights);
    wrong += compare(tensors.result(trial.problem.pass), expected.result);
    if (trial.problem.pass == Pass::wgrad && trial.problem.has_bias) {
      const std::string wrong_bias = compare(tensors.bias, expected.bias_gradient);
      if (!wrong_bias.empty()) wrong += " bias gradient: " + wrong_bias;
    }
    return wrong.empty() ? wrong : replay(std::string(plan.chosen.kernel->name()) + ": " + wrong);
  } catch (const std::exception& error) {
    return replay(std::string("exception: ") + error.what());
  }
}

std::string run_trial(const Trial& trial) {
  try {
    TestTensors tensors = make_tensors(trial);
    return run_trial(trial, tensors);
  } catch (const std::exception& error) {
    return std::string("exception: ") + error.what() + replay_line(trial);
  }
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  const Isa best = Device::host_cpu(1).isa;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (isa <= best) names.emplace_back(longconv::name(isa));
  }
  return names;
}

}  // namespace longconv::testing
