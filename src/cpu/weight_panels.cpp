// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/weight_panels.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "cpu/output_rows.h"
#include "cpu/parallel_for.h"

namespace longconv::cpu {
namespace {

constexpr std::int64_t kPiece = 256;  // weights converted at once

/// Writes `count` consecutive weights (`stride` elements apart) of one output channel to rows `outputs` elements apart.
template <class T>
bool pack_run(const IsaTable& table, const TensorView& w, std::int64_t at, std::int64_t stride, std::int64_t count,
              std::int64_t outputs, T* to) {
  T piece[kPiece];
  bool finite = true;
  SampleRun run;
  run.dtype = w.dtype;
  run.sample_stride = stride;
  for (std::int64_t done = 0; done < count; done += run.count) {
    run.source = static_cast<const char*>(w.data) + (at + done * stride) * size_bytes(w.dtype);
    run.count = std::min(kPiece, count - done);
    real_table<T>(table).read_samples(run, piece, kPiece);
    for (std::int64_t i = 0; i < run.count; ++i, to += outputs) {
      *to = piece[i];
      finite &= std::isfinite(piece[i]);
    }
  }
  return finite;
}

template <class T>
bool pack_block(const ChainSplit& chains, const IsaTable& table, const TensorView& w, std::int64_t first_output,
                std::int64_t outputs, T* panel) {
  // Rows at equal distances are one run: many short ones take longer than the products of a small problem.
  const bool one_run = chains.taps == 1 || chains.channels == 1 ||
                       (chains.tap_pieces == 1 && w.strides[1] == chains.taps * w.strides[2]);
  const std::int64_t row_stride = w.strides[chains.taps == 1 ? 1 : 2];
  bool finite = true;
  for (std::int64_t o = 0; o < outputs; ++o) {
    const std::int64_t output = (first_output + o) * w.strides[0];
    T* to = panel + o;
    if (one_run) {
      finite &= pack_run(table, w, output, row_stride, chains.rows(), outputs, to);
      continue;
    }
    for (std::int64_t chunk = 0; chunk < chains.channel_chunks; ++chunk) {
      for (std::int64_t tap_piece = 0; tap_piece < chains.tap_pieces; ++tap_piece) {
        const std::int64_t begin = chains.piece_begin(tap_piece), taps = chains.piece_begin(tap_piece + 1) - begin;
        for (std::int64_t c = chains.chunk_begin(chunk); c < chains.chunk_begin(chunk + 1); ++c) {
          finite &=
              pack_run(table, w, output + c * w.strides[1] + begin * w.strides[2], w.strides[2], taps, outputs, to);
          to += taps * outputs;
        }
      }
    }
  }
  return finite;
}

}  // namespace

template <class T>
void pack_weights(const ConvProblem& problem, const ChainSplit& chains, const IsaTable& table,
                  const ConvTensors& tensors, Parallel& parallel, WeightPanels<T>& panels) {
  const std::int64_t outputs = problem.out_channels_per_group();
  const std::int64_t blocks = block_count(outputs, real_table<T>(table).max_block_channels);
  std::atomic<bool> non_finite{false};
  for_each_task(parallel, problem.groups * blocks, [&](std::int64_t task, int) {
    const std::int64_t begin = block_begin(outputs, blocks, task % blocks);
    const std::int64_t end = block_begin(outputs, blocks, task % blocks + 1);
    const std::int64_t first = task / blocks * outputs + begin;
    if (!pack_block(chains, table, tensors.w, first, end - begin, panels.weights + first * chains.rows())) {
      non_finite = true;
    }
  });
  panels.non_finite = non_finite;
  if (problem.has_bias) {
    read_bias(table, tensors.bias, panels.bias);
  } else {
    std::fill(panels.bias, panels.bias + problem.out_channels, T{});
  }
}

template void pack_weights<float>(const ConvProblem&, const ChainSplit&, const IsaTable&, const ConvTensors&, Parallel&,
                                  WeightPanels<float>&);
template void pack_weights<double>(const ConvProblem&, const ChainSplit&, const IsaTable&, const ConvTensors&,
                                   Parallel&, WeightPanels<double>&);

}  // namespace longconv::cpu
