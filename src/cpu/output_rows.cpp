// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cpu/output_rows.h"

namespace longconv::cpu {

template <class T>
void read_bias(const IsaTable& table, const TensorView& bias, T* to) {
  SampleRun run;
  run.source = bias.data;
  run.dtype = bias.dtype;
  run.count = bias.sizes[0];
  run.sample_stride = bias.strides[0];
  real_table<T>(table).read_samples(run, to, run.count);
}

template <class T>
OutputRows<T>::OutputRows(const IsaTable& table, const ConvProblem& problem, const TensorView& out,
                          const TensorView& residual, bool non_temporal)
    : table_(table), problem_(problem), out_(out), residual_(residual), non_temporal_(non_temporal) {}

template <class T>
void OutputRows<T>::write(std::int64_t batch, std::int64_t channel, std::int64_t channels, std::int64_t time,
                          std::int64_t time_step, std::int64_t count, const T* sums, std::int64_t sum_pitch,
                          const T* bias, T* residual_row, void* out_rows) const {
  const std::int64_t element = size_bytes(out_.dtype);
  const auto address = [&](const TensorView& tensor, std::int64_t c) {
    return static_cast<char*>(tensor.data) +
           (batch * tensor.strides[0] + c * tensor.strides[1] + time * tensor.strides[2]) * element;
  };
  const bool contiguous = count == 1 || out_.strides[2] * time_step == 1;
  FinishRow<T> row;
  row.activation = problem_.activation;
  row.negative_slope = static_cast<T>(problem_.negative_slope);
  row.dtype = out_.dtype;
  row.count = count;
  row.non_temporal = non_temporal_ && contiguous;
  for (std::int64_t i = 0; i < channels; ++i) {
    if (residual_.defined()) {
      SampleRun run;
      run.source = address(residual_, channel + i);
      run.dtype = residual_.dtype;
      run.count = count;
      run.sample_stride = run_stride(count, time_step, residual_.strides[2]);
      if (sizeof(T) == static_cast<std::size_t>(element) && (count == 1 || run.sample_stride == 1)) {
        row.residual = static_cast<const T*>(run.source);
      } else {
        real_table<T>(table_).read_samples(run, residual_row, count);
        row.residual = residual_row;
      }
    }
    row.sums = sums + i * sum_pitch;
    row.bias = bias == nullptr ? T{} : bias[i];
    row.out = contiguous ? address(out_, channel + i) : static_cast<char*>(out_rows) + i * count * element;
    real_table<T>(table_).finish_row(row);
  }
  if (!contiguous) {
    ScatterRows scatter;
    scatter.rows = out_rows;
    scatter.row_pitch = count;
    scatter.dtype = out_.dtype;
    scatter.channels = channels;
    scatter.count = count;
    scatter.out = address(out_, channel);
    scatter.channel_stride = out_.strides[1];
    scatter.sample_stride = out_.strides[2] * time_step;
    table_.scatter_rows(scatter);
  }
}

template void read_bias<float>(const IsaTable&, const TensorView&, float*);
template void read_bias<double>(const IsaTable&, const TensorView&, double*);
template class OutputRows<float>;
template class OutputRows<double>;

}  // namespace longconv::cpu
