// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The operator behind `longconv eject`.
#include <torch/library.h>

#include <string>

#include "longconv/cuda.h"
#include "longconv/plan.h"
#include "ops.h"

namespace longconv::torch_binding {
namespace {

std::string layer_source(StringView problem, StringView device) {
  return with_torch_errors([&] {
    return cuda::describe_layer(ConvProblem::parse({problem.data(), problem.size()}),
                                Device::known({device.data(), device.size()}));
  });
}

TORCH_LIBRARY_FRAGMENT(longconv, m) { m.def("layer_source(str problem, str device) -> str", layer_source); }

}  // namespace
}  // namespace longconv::torch_binding
