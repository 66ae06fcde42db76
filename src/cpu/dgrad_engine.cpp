// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The data gradient, which is the transposed convolution (equation and classes of taps: dgrad_schedule.h).
//
// A task is one tile of positions of one batch sample, one group, one slice of input channels. For each block of rows
// of dy it packs what the tile's classes read, then for each panel of input channels and each class runs the
// microkernel chain by chain; after the last block the classes' sums are interleaved into a row of positions, which is
// written (output_rows.h). With a padding mode that reads the signal, positions in the padding are computed in the same
// way and added to the samples they mirror, in the order of pad_pieces(): scratch is a tile's.
#include <atomic>
#include <cmath>

#include "cpu/dgrad_schedule.h"
#include "cpu/isa_table.h"
#include "cpu/output_rows.h"
#include "cpu/pad_index.h"
#include "cpu/parallel_for.h"
#include "cpu/tap_rows.h"
#include "cpu/wgrad_blocking.h"
#include "problem/checked.h"

namespace longconv::cpu {
namespace {

constexpr std::int64_t kPiece = 256;  // weights or samples converted at once

/// w for the microkernel: for each panel of input channels [term][channel], terms in the order of
/// DgradBlock::first_term().
template <class T>
struct PackedWeights {
  T* weights = nullptr;
  T* bias = nullptr;                    ///< in_channels; null without a bias
  std::atomic<bool> non_finite{false};  ///< some weight is Inf or NaN: a zero outside dy must not meet it
};

template <class T>
class Dgrad {
 public:
  Dgrad(const ConvProblem& problem, const DgradSchedule& schedule, const IsaTable& table, const ConvTensors& tensors,
        PackedWeights<T>& packed, bool non_temporal)
      : p_(problem),
        s_(schedule),
        isa_(table),
        real_(real_table<T>(table)),
        t_(tensors),
        packed_(packed),
        out_(table, problem, tensors.x, tensors.residual, non_temporal),
        group_terms_(problem.out_channels_per_group() * problem.kernel_size) {}

  void pack_panel(std::int64_t index) const {
    const Panel panel = panel_at(index / s_.panels, index % s_.panels);
    T piece[kPiece];
    bool finite = true;
    for (std::int64_t b = 0; b < s_.blocks(); ++b) {
      const DgradBlock block = s_.block(b, p_.out_channels_per_group());
      for (std::int64_t i = 0; i < s_.classes.count; ++i) {
        const std::int64_t members = block.members_of(s_.classes, i);
        T* to = panel_weights(panel) + block.first_term(s_.classes, i) * panel.channels;
        for (std::int64_t o = 0; o < block.outputs; ++o) {
          for (std::int64_t j = 0; j < members; j += kPiece) {
            const std::int64_t count = std::min(kPiece, members - j);
            for (std::int64_t c = 0; c < panel.channels; ++c) {
              read_weights(panel.group, block.first_output + o, panel.first + c, i, block.first_member + j, count,
                           piece);
              for (std::int64_t m = 0; m < count; ++m) {
                to[m * panel.channels + c] = piece[m];
                finite &= std::isfinite(piece[m]);
              }
            }
            to += count * panel.channels;
          }
        }
      }
    }
    if (!finite) packed_.non_finite = true;
  }

  void task(std::int64_t index, const DgradScratch<T>& scratch) const {
    const std::int64_t slice = index % s_.slices;
    index /= s_.slices;
    const std::int64_t begin = index % s_.tiles * s_.tile_samples;
    const Interval samples{begin, std::min(begin + s_.tile_samples, p_.length_samples)};
    index /= s_.tiles;
    const Task task{index / p_.groups, index % p_.groups, samples};
    const Interval panels{slice * s_.panels_per_slice, std::min((slice + 1) * s_.panels_per_slice, s_.panels)};
    if (!mirrors_padding(samples)) {
      positions(task, {samples.begin + p_.pad_left, samples.end + p_.pad_left}, panels, scratch,
                [&](const Panel& panel, const T* rows) { write(task, panel, rows, scratch); });
      return;
    }
    for (std::int64_t panel = panels.begin; panel < panels.end; ++panel) fold(task, panel, scratch);
  }

 private:
  using Slot = typename DgradScratch<T>::Slot;

  struct Task {
    std::int64_t batch_index, group;
    Interval samples;
  };
  struct Panel {
    std::int64_t group, first, channels;  ///< input channels within the group
  };

  Panel panel_at(std::int64_t group, std::int64_t panel) const {
    const std::int64_t inputs = p_.in_channels_per_group(), begin = block_begin(inputs, s_.panels, panel);
    return {group, begin, block_begin(inputs, s_.panels, panel + 1) - begin};
  }
  T* panel_weights(const Panel& panel) const {
    return packed_.weights + (panel.group * p_.in_channels_per_group() + panel.first) * group_terms_;
  }

  /// `count` taps of class i from member j on.
  void read_weights(std::int64_t group, std::int64_t output, std::int64_t input, std::int64_t i, std::int64_t j,
                    std::int64_t count, T* to) const {
    const TensorView& w = t_.w;
    SampleRun run;
    run.source = static_cast<const char*>(w.data) + ((group * p_.out_channels_per_group() + output) * w.strides[0] +
                                                     input * w.strides[1] + (i + j * s_.classes.cycle) * w.strides[2]) *
                                                        size_bytes(w.dtype);
    run.dtype = w.dtype;
    run.count = count;
    run.sample_stride = run_stride(count, s_.classes.cycle, w.strides[2]);
    real_.read_samples(run, to, count);
  }

  bool mirrors_padding(Interval samples) const {
    if (p_.pad_mode == PadMode::zeros) return false;
    const auto pieces = pad_pieces(p_);
    return !pieces.front().positions_reading(samples).empty() || !pieces.back().positions_reading(samples).empty();
  }

  void write(const Task& task, const Panel& panel, const T* rows, const DgradScratch<T>& scratch) const {
    const std::int64_t channel = task.group * p_.in_channels_per_group() + panel.first;
    const T* const bias = packed_.bias == nullptr ? nullptr : packed_.bias + channel;
    out_.write(task.batch_index, channel, panel.channels, task.samples.begin, 1, task.samples.end - task.samples.begin,
               rows, s_.tile_pitch, bias, scratch.residual_row, scratch.out_rows);
  }

  /// The tile's own positions and all in the padding that read its samples.
  void fold(const Task& task, std::int64_t panel_index, const DgradScratch<T>& scratch) const {
    std::fill_n(scratch.folded, s_.panel_channels * s_.tile_pitch, T{});
    for (const PadPiece& piece : pad_pieces(p_)) {
      const Interval reading = piece.positions_reading(task.samples);
      for (std::int64_t begin = reading.begin; begin < reading.end; begin += s_.tile_samples) {
        const Interval part{begin, std::min(begin + s_.tile_samples, reading.end)};
        positions(task, {part.begin + p_.pad_left, part.end + p_.pad_left}, {panel_index, panel_index + 1}, scratch,
                  [&](const Panel& panel, const T* rows) {
                    for (std::int64_t c = 0; c < panel.channels; ++c) {
                      add_mirrored(piece, part, task.samples.begin, rows + c * s_.tile_pitch,
                                   scratch.folded + c * s_.tile_pitch);
                    }
                  });
      }
    }
    write(task, panel_at(task.group, panel_index), scratch.folded, scratch);
  }

  static void add_mirrored(const PadPiece& piece, Interval part, std::int64_t first_sample, const T* row, T* to) {
    if (piece.step == 0) {
      double sum = 0;
      for (std::int64_t p = part.begin; p < part.end; ++p) sum += row[p - part.begin];
      to[piece.offset - first_sample] += static_cast<T>(sum);
      return;
    }
    for (std::int64_t p = part.begin; p < part.end; ++p) to[piece.source(p) - first_sample] += row[p - part.begin];
  }

  /// dxpad at positions u of the extended signal (at most a tile's), for panels [begin, end) of a group:
  /// sink(panel, rows) with rows[c * tile_pitch + u - u.begin].
  template <class Sink>
  void positions(const Task& task, Interval u, Interval panels, const DgradScratch<T>& scratch, Sink&& sink) const {
    const std::int64_t first_q = u.begin / p_.stride;
    const std::int64_t slots = find_slots(u, scratch.slots);
    const std::int64_t slot_pitch = s_.panel_channels * s_.sum_pitch;
    for (std::int64_t b = 0; b < s_.blocks(); ++b) {
      const DgradBlock block = s_.block(b, p_.out_channels_per_group());
      const DyRows layout = make_dy_rows(s_.classes, block.members, s_.slot_samples, s_.slots, sizeof(T));
      const T* const rows = pack(task, block, layout, first_q, slots, scratch);
      fill_offsets(block, layout, first_q, slots, scratch);
      for (std::int64_t index = panels.begin; index < panels.end; ++index) {
        const Panel panel = panel_at(task.group, index);
        const std::int64_t waiting = (s_.blocks() == 1 ? 0 : index - panels.begin) * s_.slots * slot_pitch;
        T* const sums = scratch.sums + waiting;
        const std::int32_t* offsets = scratch.offsets;
        for (std::int64_t slot = 0; slot < slots; ++slot) {
          const std::int64_t at = waiting + slot * slot_pitch;
          offsets += multiply(panel, b, scratch.slots[slot], rows, offsets,
                              scratch.subtotals + (s_.blocks_per_subtotal > 1 ? at : 0), scratch.sums + at);
        }
        if (b + 1 < s_.blocks()) continue;
        T* result = sums;
        if (p_.stride == 1 && s_.sum_pitch == s_.tile_pitch) {  // one class: positions are in order already
        } else {
          interleave(u, slots, scratch, panel.channels, sums);
          result = scratch.tile;
        }
        if (packed_.non_finite) redo_at_ends(task, panel, u, result);
        sink(panel, const_cast<const T*>(result));
      }
    }
  }

  /// The classes that have positions in u.
  std::int64_t find_slots(Interval u, Slot* slots) const {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < s_.classes.count; ++i) {
      const std::int64_t residue = s_.classes.residue(i);
      const std::int64_t begin = ceil_div(u.begin - residue, p_.stride), end = ceil_div(u.end - residue, p_.stride);
      if (begin < end) slots[count++] = {i, begin, end - begin};
    }
    return count;
  }

  /// First sample of dy that a segment holds.
  std::int64_t segment_start(const DgradBlock& block, std::int64_t first_q) const {
    return first_q - s_.classes.shift(s_.classes.count - 1) -
           (block.first_member + block.members - 1) * s_.classes.gap_samples;
  }

  const T* pack(const Task& task, const DgradBlock& block, const DyRows& layout, std::int64_t first_q,
                std::int64_t slots, const DgradScratch<T>& scratch) const {
    const PaddedSignal dy = padded_signal(t_.y, task.batch_index, PadMode::zeros);
    const std::int64_t channel = task.group * p_.out_channels_per_group() + block.first_output;
    const auto read = [&](std::int64_t position, T* to) {
      read_padded_rows<T>(isa_, dy, channel, block.outputs, position, 1, layout.segment_samples, layout.segment_samples,
                          to, layout.pitch);
    };
    if (layout.shared) {
      const std::int64_t start = segment_start(block, first_q);
      if (block.outputs == 1 && t_.y.strides[2] == 1 && size_bytes(t_.y.dtype) == sizeof(T) && start >= 0 &&
          start + layout.segment_samples <= p_.out_length()) {  // one row that lies in memory as it is wanted
        return static_cast<const T*>(t_.y.data) + task.batch_index * t_.y.strides[0] + channel * t_.y.strides[1] +
               start;
      }
      read(start, scratch.rows);
      return scratch.rows;
    }
    for (std::int64_t slot = 0; slot < slots; ++slot) {
      const std::int64_t i = scratch.slots[slot].tap_class;
      for (std::int64_t j = 0; j < block.members_of(s_.classes, i); ++j) {
        read(first_q - s_.classes.shift(i) - (block.first_member + j) * s_.classes.gap_samples,
             scratch.rows + (slot * block.members + j) * layout.segment_pitch);
      }
    }
    return scratch.rows;
  }

  void fill_offsets(const DgradBlock& block, const DyRows& layout, std::int64_t first_q, std::int64_t slots,
                    const DgradScratch<T>& scratch) const {
    std::int32_t* to = scratch.offsets;
    const std::int64_t start = segment_start(block, first_q);
    for (std::int64_t slot = 0; slot < slots; ++slot) {
      const auto [i, q, count] = scratch.slots[slot];
      const std::int64_t members = block.members_of(s_.classes, i);
      for (std::int64_t o = 0; o < block.outputs; ++o) {
        for (std::int64_t j = 0; j < members; ++j) {
          const std::int64_t sample = q - s_.classes.shift(i) - (block.first_member + j) * s_.classes.gap_samples;
          const std::int64_t in_channel =
              layout.shared ? sample - start : (slot * block.members + j) * layout.segment_pitch + (q - first_q);
          *to++ = static_cast<std::int32_t>(o * layout.pitch + in_channel);
        }
      }
    }
  }

  /// One microkernel call for each chain of the block's terms of one class. Returns their number.
  std::int64_t multiply(const Panel& panel, std::int64_t block_index, const Slot& slot, const T* rows,
                        const std::int32_t* offsets, T* subtotals, T* sums) const {
    const DgradBlock block = s_.block(block_index, p_.out_channels_per_group());
    const std::int64_t terms = block.outputs * block.members_of(s_.classes, slot.tap_class);
    TileProduct<T> product;
    product.samples = rows;
    product.sums_pitch = s_.sum_pitch;
    product.time_vectors = ceil_div(slot.count, real_.lanes);
    const T* const weights = panel_weights(panel) + block.first_term(s_.classes, slot.tap_class) * panel.channels;
    const ChainTree tree = s_.chain_tree(block_index, terms);
    std::int64_t chain = 0, begin = 0;
    for (std::int64_t subtotal = 0; subtotal < tree.subtotals; ++subtotal) {
      bool opens = subtotal > 0 || tree.opens;
      for (const std::int64_t chain_end = tree.first_chain(subtotal + 1); chain < chain_end; ++chain) {
        const bool closes = chain + 1 == chain_end && (subtotal + 1 < tree.subtotals || tree.closes);
        const std::int64_t end = tree.first_term(chain + 1);
        product.row_offsets = offsets + begin;
        product.weights = weights + begin * panel.channels;
        product.row_count = end - begin;
        product.sums = closes ? sums : subtotals;
        product.subtotals = closes && !opens ? subtotals : nullptr;
        product.accumulate = closes ? tree.total_begun || subtotal > 0 : !opens;
        real_.tile_product[panel.channels - 1](product);
        opens = false;
        begin = end;
      }
    }
    return terms;
  }

  /// tile[c][u] from the classes' sums; zero where no tap reaches.
  void interleave(Interval u, std::int64_t slots, const DgradScratch<T>& scratch, std::int64_t channels,
                  const T* sums) const {
    const std::int64_t stride = p_.stride;
    for (std::int64_t c = 0; c < channels; ++c) {
      T* const row = scratch.tile + c * s_.tile_pitch;
      if (s_.classes.count < stride) std::fill_n(row, u.end - u.begin, T{});
      for (std::int64_t slot = 0; slot < slots; ++slot) {
        const auto [i, q, count] = scratch.slots[slot];
        const T* const from = sums + (slot * s_.panel_channels + c) * s_.sum_pitch;
        T* const to = row + q * stride + s_.classes.residue(i) - u.begin;
        for (std::int64_t j = 0; j < count; ++j) to[j * stride] = from[j];
      }
    }
  }

  /// With a weight that is Inf or NaN, the zeros beyond dy's ends must not be multiplied: positions that meet them are
  /// summed again, from real samples only.
  void redo_at_ends(const Task& task, const Panel& panel, Interval u, T* rows) const {
    const TapClasses& classes = s_.classes;
    const std::int64_t first_whole = (p_.kernel_size - 1) * p_.dilation, last_whole = (p_.out_length() - 1) * p_.stride;
    for (std::int64_t i = 0; i < classes.count; ++i) {
      const std::int64_t residue = classes.residue(i);
      for (std::int64_t q = ceil_div(u.begin - residue, p_.stride); q * p_.stride + residue < u.end; ++q) {
        const std::int64_t position = q * p_.stride + residue;
        if (position >= first_whole && position <= last_whole) continue;
        for (std::int64_t c = 0; c < panel.channels; ++c) {
          rows[c * s_.tile_pitch + position - u.begin] = sum_of_real_samples(task, panel.first + c, i, q);
        }
      }
    }
  }

  T sum_of_real_samples(const Task& task, std::int64_t input, std::int64_t i, std::int64_t q) const {
    const TapClasses& classes = s_.classes;
    const std::int64_t latest = q - classes.shift(i);  // sample of dy that member 0 reads
    const std::int64_t begin = std::max<std::int64_t>(0, ceil_div(latest - (p_.out_length() - 1), classes.gap_samples));
    const std::int64_t end = latest < 0 ? 0 : std::min(classes.taps_of(i), latest / classes.gap_samples + 1);
    const TensorView& dy = t_.y;
    T weights[kPiece], samples[kPiece];
    double sum = 0;
    for (std::int64_t o = 0; o < p_.out_channels_per_group(); ++o) {
      for (std::int64_t j = begin; j < end; j += kPiece) {
        SampleRun run;
        run.source =
            static_cast<const char*>(dy.data) +
            (task.batch_index * dy.strides[0] + (task.group * p_.out_channels_per_group() + o) * dy.strides[1] +
             (latest - j * classes.gap_samples) * dy.strides[2]) *
                size_bytes(dy.dtype);
        run.dtype = dy.dtype;
        run.count = std::min(kPiece, end - j);
        run.sample_stride = run_stride(run.count, -classes.gap_samples, dy.strides[2]);
        real_.read_samples(run, samples, kPiece);
        read_weights(task.group, o, input, i, j, run.count, weights);
        for (std::int64_t m = 0; m < run.count; ++m) sum += static_cast<double>(weights[m]) * samples[m];
      }
    }
    return static_cast<T>(sum);
  }

  const ConvProblem& p_;
  const DgradSchedule& s_;
  const IsaTable& isa_;
  const IsaTable::Real<T>& real_;
  const ConvTensors& t_;
  PackedWeights<T>& packed_;
  OutputRows<T> out_;
  const std::int64_t group_terms_;
};

template <class T>
void run(const ConvProblem& problem, const Device& device, const DgradTuning& tuning, const ConvTensors& tensors,
         const LaunchContext& context) {
  const DgradSchedule schedule = make_dgrad_schedule(problem, device, tuning);
  FewerWorkers team(*context.parallel, schedule.workers);
  char* const workspace = static_cast<char*>(context.workspace);
  PackedWeights<T> packed;
  packed.weights = reinterpret_cast<T*>(workspace);
  const IsaTable& table = isa_table(device.isa);
  if (problem.has_bias) {
    packed.bias = reinterpret_cast<T*>(workspace + schedule.weight_bytes - schedule.bias_bytes);
    read_bias(table, tensors.bias, packed.bias);
  }
  const Dgrad<T> dgrad(problem, schedule, table, tensors, packed, tuning.non_temporal);
  for_each_task(team, problem.groups * schedule.panels, [&](std::int64_t panel, int) { dgrad.pack_panel(panel); });
  for_each_task(team, schedule.tasks, [&](std::int64_t task, int worker) {
    dgrad.task(task,
               DgradScratch<T>(problem, schedule, workspace + schedule.weight_bytes + worker * schedule.worker_bytes));
  });
}

}  // namespace

void run_dgrad(const ConvProblem& problem, const Device& device, const DgradTuning& tuning, const ConvTensors& tensors,
               const LaunchContext& context) {
  if (problem.dtype == DType::f64) return run<double>(problem, device, tuning, tensors, context);
  run<float>(problem, device, tuning, tensors, context);
}

Support DgradKernel::supports(const ConvProblem& problem, const Device& device) const {
  return supports_real_pass(problem, device, Pass::dgrad);
}
std::vector<Config> DgradKernel::configs(const ConvProblem& problem, const Device&) const {
  return {tuning(problem).config()};
}
Estimate DgradKernel::estimate(const ConvProblem& problem, const Config& config, const Device& device) const {
  return estimate_dgrad(problem, device, DgradTuning::from(config));
}
std::int64_t DgradKernel::workspace_bytes(const ConvProblem& problem, const Config& config,
                                          const Device& device) const {
  return make_dgrad_schedule(problem, device, DgradTuning::from(config)).workspace_bytes();
}
void DgradKernel::launch(const ConvProblem& problem, const Config& config, const Device& device,
                         const ConvTensors& tensors, const LaunchContext& context) const {
  run_dgrad(problem, device, DgradTuning::from(config), tensors, context);
}

}  // namespace longconv::cpu
