// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Switching between stacks: what an emulated thread needs. A switch costs a few nanoseconds on x86-64, and two system
/// calls (ucontext) elsewhere.
#pragma once

#include <cstddef>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace longconv::emulator {

/// A point where a stack was left, to go on from there.
class Context {
 public:
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  /// Begins `function`, which must not return, on an empty stack when first switched to.
  void start(unsigned char* stack, std::size_t bytes, void (*function)());
  /// Leaves the running stack in `*this` and goes on at `to`.
  void switch_to(Context& to);

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
};

/// Stacks with unreadable pages between them.
class Stacks {
 public:
  static constexpr std::size_t kBytes = 256 << 10;
  Stacks() = default;
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  void reserve(std::size_t count);
  unsigned char* stack(std::size_t index) const { return memory_ + index * (kBytes + kGuardBytes) + kGuardBytes; }

 private:
  static constexpr std::size_t kGuardBytes = 4096;
  unsigned char* memory_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace longconv::emulator
