// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/launch.h"

#include <string>

#include "longconv/error.h"

namespace longconv::cuda {

void launch_kernel(const Driver& driver, const Function& function, const LaunchShape& shape, void* stream,
                   void** parameters) {
  constexpr std::int64_t kMaxBlocks = (std::int64_t{1} << 31) - 1;
  if (shape.blocks < 1 || shape.blocks > kMaxBlocks || shape.threads < 1 || shape.threads > function.max_threads ||
      shape.cluster_blocks < 1 || shape.blocks % shape.cluster_blocks != 0) {
    throw Error(ErrorCode::internal, "impossible launch: " + std::to_string(shape.blocks) + " blocks of " +
                                         std::to_string(shape.threads) + " threads (at most " +
                                         std::to_string(function.max_threads) + ") in clusters of " +
                                         std::to_string(shape.cluster_blocks));
  }
  const ContextScope current(driver, function.context);
  const auto blocks = static_cast<unsigned>(shape.blocks);
  const auto threads = static_cast<unsigned>(shape.threads);
  const auto shared = static_cast<unsigned>(shape.dynamic_shared_bytes);
  const auto queue = static_cast<CUstream>(stream);
  const bool overlaps = shape.overlap_previous && function.can_overlap;
  if (shape.cluster_blocks == 1 && !overlaps) {
    driver.launch_kernel(function.handle, blocks, 1, 1, threads, 1, 1, shared, queue, parameters, nullptr);
    return;
  }
  CUlaunchAttribute attributes[2] = {};
  CUlaunchConfig config{blocks, 1, 1, threads, 1, 1, shared, queue, attributes, 0};
  if (shape.cluster_blocks > 1) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = {static_cast<unsigned>(shape.cluster_blocks), 1, 1};
  }
  if (overlaps) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
  }
  driver.launch_kernel_ex(&config, function.handle, parameters, nullptr);
}

}  // namespace longconv::cuda
