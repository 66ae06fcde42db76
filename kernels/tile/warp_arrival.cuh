// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// A warp's arrival at an mbarrier: one lane's. What the other lanes did before is ordered by the __syncwarp in front of it (wgmma's
// reads by the wait for its group), as arrivals and waits are cumulative.
//
// The race detector of compute-sanitizer does not follow that __syncwarp: it takes all accesses of lanes 1 to 31 for unordered. With
// -DLONGCONV_EVERY_LANE_ARRIVES each lane arrives by itself, which it follows. The code is the same otherwise.
#pragma once
#include "tile/common.cuh"

#ifdef LONGCONV_EVERY_LANE_ARRIVES
constexpr int kWarpArrivals = 32;
LC_DEVICE bool arrives(int) { return true; }
#else
constexpr int kWarpArrivals = 1;
LC_DEVICE bool arrives(int lane) { return lane == 0; }
#endif
