// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda_runtime.h"
