// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Measures the candidates of a plan on a GPU. Each is tried once (which compiles it), then those within reach of the
// fastest are measured by turns, so that a clock that drifts burdens all alike; a candidate's time is its median.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "cuda/compiler.h"
#include "cuda/device_memory.h"
#include "cuda/tuning.h"
#include "longconv/cuda.h"

namespace longconv::cuda {
namespace {

constexpr int kRounds = 7;
constexpr double kHopeless = 2;               // times the fastest first try: not measured further
constexpr double kMeasurementSeconds = 1e-3;  // short launches are repeated to last so long

/// Random signs and mantissas, magnitudes between 1/16 and 1: nothing that a kernel treats apart, and no zeros, with
/// which a GPU runs cooler and faster.
std::vector<std::uint64_t> random_words(DType dtype, std::size_t count) {
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> words(count);
  const int bits = static_cast<int>(8 * size_bytes(dtype));
  const int mantissa = dtype == DType::f64 ? 52 : dtype == DType::f32 ? 23 : dtype == DType::bf16 ? 7 : 10;
  const int exponent_bits = bits - 1 - mantissa;
  const std::uint64_t bias = (std::uint64_t{1} << (exponent_bits - 1)) - 1;
  const std::uint64_t exponent_mask = ((std::uint64_t{1} << exponent_bits) - 1) << mantissa;
  for (std::uint64_t& word : words) {
    word = random();
    for (int at = 0; at < 64; at += bits) {
      const std::uint64_t exponent = bias - 1 - (random() & 3);
      word = (word & ~(exponent_mask << at)) | (exponent << (mantissa + at));
    }
  }
  return words;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Plan plan_for_tuning(const ConvProblem& problem, const Device& device) {
  problem.validate();
  if (problem.batch == 0) {
    throw Error(ErrorCode::invalid_argument, "tune: expected a batch of at least 1, but got " + problem.to_string());
  }
  return make_plan(problem, device);
}

/// A problem's operands on the GPU, and what launches borrow.
class Operands {
 public:
  Operands(const Driver& driver, const ConvProblem& p, std::int64_t workspace_bytes, std::int64_t packed_bytes)
      : stream(driver),
        workspace(driver, static_cast<std::size_t>(workspace_bytes)),
        packed_weights(driver, static_cast<std::size_t>(packed_bytes)),
        driver_(driver) {
    const std::array<std::int64_t, 3> x{p.batch, p.in_channels, p.length_samples},
        y{p.batch, p.out_channels, p.out_length()}, w{p.out_channels, p.in_channels_per_group(), p.kernel_size};
    tensors.x = TensorView::contiguous(filled(p.dtype, x[0] * x[1] * x[2]), p.dtype, x);
    const DType weight_dtype = p.result_dtype();  // differs in wgrad only
    tensors.w = TensorView::contiguous(filled(weight_dtype, w[0] * w[1] * w[2]), weight_dtype, w);
    tensors.y = TensorView::contiguous(filled(p.dtype, y[0] * y[1] * y[2]), p.dtype, y);
    if (p.has_bias)
      tensors.bias = TensorView::vector(filled(weight_dtype, p.bias_channels()), weight_dtype, p.bias_channels());
    if (p.has_residual) {
      const auto& sizes = p.pass == Pass::dgrad ? x : y;
      tensors.residual = TensorView::contiguous(filled(p.dtype, sizes[0] * sizes[1] * sizes[2]), p.dtype, sizes);
    }
    stream.synchronize();
  }

  const Stream stream;
  ConvTensors tensors;
  const DeviceBuffer workspace, packed_weights;

 private:
  void* filled(DType dtype, std::int64_t count) {
    const auto bytes = static_cast<std::size_t>(count * size_bytes(dtype));
    const DeviceBuffer& buffer = *memory_.emplace_back(std::make_unique<DeviceBuffer>(driver_, bytes));
    const auto words = random_words(dtype, std::min<std::size_t>(bytes / 8 + 1, std::size_t{1} << 20));
    const auto to = reinterpret_cast<CUdeviceptr>(buffer.data());
    std::size_t done = std::min(bytes, words.size() * 8);
    buffer.upload(words.data(), done, stream);
    stream.synchronize();  // the words go
    while (done < bytes) {
      const std::size_t more = std::min(done, bytes - done);
      driver_.memcpy_dtod_async(to + done, to, more, stream.get());
      done += more;
    }
    return buffer.data();
  }

  const Driver& driver_;
  std::vector<std::unique_ptr<DeviceBuffer>> memory_;
};

}  // namespace

struct Tuner::State {
  struct Contender {
    Plan plan;  ///< with this candidate chosen
    double first_seconds = 0;
    std::vector<double> seconds;
    double time() const { return seconds.empty() ? first_seconds : median(seconds); }
  };

  Compiler& compiler;
  TuningTable& table;
  const Device device;
  const Plan plan;
  std::vector<Contender> contenders;
  std::unique_ptr<Operands> operands;
  int done = 0;

  State(const ConvProblem& problem, int ordinal, Compiler& the_compiler, TuningTable& the_table)
      : compiler(the_compiler),
        table(the_table),
        device(compiler.device(ordinal)),
        plan(plan_for_tuning(problem, device)) {
    add(plan.chosen);
    for (const Plan::Candidate& candidate : plan.runners_up) add(candidate);
    std::int64_t workspace_bytes = 0, packed_bytes = 0;
    for (const Contender& contender : contenders) {
      workspace_bytes = std::max(workspace_bytes, contender.plan.workspace_bytes());
      packed_bytes = std::max(packed_bytes, contender.plan.packed_weights_bytes());
    }
    const ContextScope current(compiler.driver(), compiler.context(ordinal));
    operands = std::make_unique<Operands>(compiler.driver(), problem, workspace_bytes, packed_bytes);
  }
  ~State() {
    const ContextScope current(compiler.driver(), compiler.context(device.ordinal));
    operands.reset();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void add(const Plan::Candidate& candidate) {
    Contender contender;
    contender.plan.problem = plan.problem;
    contender.plan.device = plan.device;
    contender.plan.chosen = candidate;
    contenders.push_back(std::move(contender));
  }

  void launch(const Contender& contender, bool packed) const {
    LaunchContext context;
    context.compiler = &compiler;
    context.stream = operands->stream.get();
    context.workspace = operands->workspace.data();
    context.workspace_bytes = static_cast<std::int64_t>(operands->workspace.size_bytes());
    if (contender.plan.packed_weights_bytes() > 0) {
      context.packed_weights = operands->packed_weights.data();
      context.weights_are_packed = packed;
    }
    execute(contender.plan, operands->tensors, context);
  }

  /// Seconds of one launch: one unmeasured that packs, then the mean of as many as make a measurement.
  double measure(const Contender& contender, double expected_seconds) const {
    const int repeats = static_cast<int>(std::clamp(std::ceil(kMeasurementSeconds / expected_seconds), 1.0, 100.0));
    launch(contender, false);
    const Event start(compiler.driver()), end(compiler.driver());
    start.record(operands->stream);
    for (int i = 0; i < repeats; ++i) launch(contender, true);
    end.record(operands->stream);
    return std::max(end.seconds_since(start) / repeats, 1e-9);
  }

  void step() {
    const int count = static_cast<int>(contenders.size()), round = done / count;
    // Odd rounds go backwards: nobody always runs after the same neighbour.
    Contender& contender =
        contenders[static_cast<std::size_t>(round % 2 == 0 ? done % count : count - 1 - done % count)];
    ++done;
    const ContextScope current(compiler.driver(), compiler.context(device.ordinal));
    if (round == 0) {
      contender.first_seconds = measure(contender, kMeasurementSeconds);
      return;
    }
    double fastest = contender.first_seconds;
    for (const Contender& other : contenders) fastest = std::min(fastest, other.first_seconds);
    if (contender.first_seconds > kHopeless * fastest) return;
    contender.seconds.push_back(measure(contender, contender.first_seconds));
  }

  std::vector<Plan::Candidate> results() const {
    std::vector<Plan::Candidate> found;
    for (const Contender& contender : contenders) {
      found.push_back(contender.plan.chosen);
      found.back().measured_seconds = contender.time();
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& a, const auto& b) { return a.measured_seconds < b.measured_seconds; });
    return found;
  }
};

Tuner::Tuner(const ConvProblem& problem, int ordinal, Compiler* compiler, TuningTable* table)
    : state_(std::make_unique<State>(problem, ordinal, compiler != nullptr ? *compiler : Compiler::instance(),
                                     table != nullptr ? *table : TuningTable::instance())) {}
Tuner::~Tuner() = default;

int Tuner::steps() const { return static_cast<int>(state_->contenders.size()) * (1 + kRounds); }

void Tuner::step() {
  if (state_->done < steps()) state_->step();
}

std::vector<Plan::Candidate> Tuner::results() const {
  if (state_->done < steps()) {
    throw Error(ErrorCode::internal, "tune: " + std::to_string(state_->done) + " of " + std::to_string(steps()) +
                                         " steps are done: the results come after the last");
  }
  return state_->results();
}

std::string Tuner::remember() const {
  const Plan::Candidate best = results().front();
  state_->table.remember(state_->plan.problem, state_->device,
                         {std::string(best.kernel->name()), best.config.to_string(), best.measured_seconds});
  const DiskCache::Status status = state_->table.status();
  return status.on_disk ? status.folder : "";
}

}  // namespace longconv::cuda
