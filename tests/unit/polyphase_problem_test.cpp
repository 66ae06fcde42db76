// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/polyphase_problem.h"

#include <gtest/gtest.h>

#include <set>

namespace longconv::cuda {
namespace {

/// The header's equation against the definition of the gradient: dx[j] += w[k] * dy[t] for t * s + k * d - pad_left =
/// j.
TEST(PolyphaseProblem, GradientsReadWhatTheDefinitionSays) {
  for (std::int64_t stride = 1; stride <= 9; ++stride) {
    for (const std::int64_t dilation : {1, 2, 3, 4, 6, 9, 35}) {
      for (const std::int64_t taps : {1, 2, 5, 11}) {
        for (const std::int64_t pad_left : {0, 1, 4, 7, 500}) {
          ConvProblem asked = ConvProblem::parse("dgrad n1 c2->3 l600 p(0,2) f32");
          asked.stride = stride, asked.dilation = dilation, asked.kernel_size = taps, asked.pad_left = pad_left;
          asked.validate();
          const PolyphaseProblem p(asked);
          EXPECT_EQ(p.phases, stride);
          EXPECT_EQ(p.in_channels, 3);
          EXPECT_EQ(p.out_length(), 600);
          EXPECT_EQ(p.length_samples, asked.out_length());
          bool reads_outside = false;
          for (std::int64_t j = 0; j < 600; ++j) {
            for (std::int64_t k = 0; k < taps; ++k) {
              const std::int64_t reached = j + pad_left - k * dilation;
              const std::int64_t reversed = taps - 1 - k;
              const std::int64_t phase = (((p.phase_shift - reversed * dilation) % stride) + stride) % stride;
              ASSERT_EQ(reached % stride == 0, phase == j % stride) << asked.to_string() << " " << j << " " << k;
              if (reached % stride != 0) continue;
              const std::int64_t offset = (reversed * dilation + phase - p.phase_shift) / stride;
              ASSERT_EQ(j / stride + offset - p.pad_left, reached / stride)
                  << asked.to_string() << " " << j << " " << k;
              ASSERT_LE(offset, p.offset_span(taps));
              reads_outside |= reached < 0 || reached / stride >= p.length_samples;
            }
          }
          // Where nothing outside is read, padding may be reckoned with all the same, but not the other way round.
          if (reads_outside) {
            EXPECT_EQ(p.pad_code, 1) << asked.to_string();
          }
        }
      }
    }
  }
}

TEST(PolyphaseProblem, TapsOfAPeriodHaveDifferentPhases) {
  for (std::int64_t stride = 2; stride <= 12; ++stride) {
    for (std::int64_t dilation = 1; dilation <= 12; ++dilation) {
      ConvProblem asked = ConvProblem::parse("dgrad n1 c1->1 l900 k30 f32");
      asked.stride = stride, asked.dilation = dilation;
      const PolyphaseProblem p(asked);
      std::set<std::int64_t> phases;
      for (std::int64_t k = 0; k < p.period(); ++k) phases.insert((k * dilation) % stride);
      EXPECT_EQ(static_cast<std::int64_t>(phases.size()), p.period());
      EXPECT_EQ(p.period() * dilation, p.row_step() * stride);
    }
  }
}

TEST(PolyphaseProblem, ForwardIsOnePhase) {
  const ConvProblem asked =
      ConvProblem::parse("fprop n2 c4->6 l100 k3 s2 d5 g2 p(3,1) reflect bf16 bias relu residual");
  const PolyphaseProblem p(asked);
  EXPECT_EQ(p.phases, 1);
  EXPECT_EQ(p.period(), 1);
  EXPECT_EQ(p.row_step(), 5);
  EXPECT_EQ(p.stride, 2);
  EXPECT_EQ(p.pad_left, 3);
  EXPECT_EQ(p.pad_code, 2);
  EXPECT_EQ(p.out_length(), asked.out_length());
}

TEST(PolyphaseProblem, TensorsChangeRoles) {
  float memory[100];
  ConvTensors given;
  given.x = TensorView::contiguous(memory, DType::f32, {1, 2, 9});
  given.y = TensorView::contiguous(memory + 50, DType::f32, {1, 3, 5});
  given.w = TensorView::contiguous(memory + 70, DType::f32, {3, 2, 5});
  const ConvTensors seen = polyphase_tensors(PolyphaseProblem(ConvProblem::parse("dgrad n1 c2->3 l9 k5 f32")), given);
  EXPECT_EQ(seen.x.data, given.y.data);
  EXPECT_EQ(seen.y.data, given.x.data);
  EXPECT_EQ(seen.w.data, memory + 74);  // the last tap
  EXPECT_EQ(seen.w.strides, (std::array<std::int64_t, 3>{5, 10, -1}));
}

}  // namespace
}  // namespace longconv::cuda
