// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Memory faults as calls of a function.
#pragma once

namespace longconv::emulator {

/// For as long as it lives, faults of the process call `report`, on a stack of their own: what overflowed may be a
/// fiber's. It may siglongjmp; when it returns, the access is tried again.
class FaultHandler {
 public:
  explicit FaultHandler(void (*report)(const void* address));
  ~FaultHandler();
  FaultHandler(const FaultHandler&) = delete;
  FaultHandler& operator=(const FaultHandler&) = delete;
};

}  // namespace longconv::emulator
