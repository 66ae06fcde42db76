// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "plan/registry.h"

namespace longconv {

const std::vector<const Kernel*>& all_kernels() {
  static const std::vector<const Kernel*> kernels{
      &integer_direct(),       &complex_split(),
      &depthwise_fprop(),      &dense_fprop(),
      &depthwise_dgrad(),      &dense_dgrad(),
      &depthwise_wgrad(),      &dense_wgrad(),
      &dense_fprop_sm90(),     &dense_fprop_split_sm90(),
      &dense_fprop_sm80(),     &direct_fprop(),
      &dense_dgrad_sm90(),     &dense_dgrad_split_sm90(),
      &dense_dgrad_sm80(),     &direct_dgrad(),
      &dense_wgrad_tma_sm90(), &dense_wgrad_sm90(),
      &dense_wgrad_sm80(),     &direct_wgrad(),
  };
  return kernels;
}

}  // namespace longconv
