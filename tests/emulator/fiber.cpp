// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__x86_64__)
extern "C" void longconv_emulator_switch(void** save, void* load);
// Registers that a call preserves go to the stack that is left; the return address is there already.
asm(R"(
.text
.p2align 4
.type longconv_emulator_switch, @function
longconv_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size longconv_emulator_switch, .-longconv_emulator_switch
)");
#endif

namespace longconv::emulator {

#if defined(__x86_64__)

void Context::start(unsigned char* stack, std::size_t bytes, void (*function)()) {
  auto** top = reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(stack + bytes) & ~std::uintptr_t{15});
  *--top = nullptr;  // a return address for debuggers: none
  *--top = reinterpret_cast<void*>(function);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  stack_pointer_ = top;
}

void Context::switch_to(Context& to) { longconv_emulator_switch(&stack_pointer_, to.stack_pointer_); }

#else

void Context::start(unsigned char* stack, std::size_t bytes, void (*function)()) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, function, 0);
}

void Context::switch_to(Context& to) { swapcontext(&context_, &to.context_); }

#endif

Stacks::~Stacks() {
  if (memory_ != nullptr) ::munmap(memory_, count_ * (kBytes + kGuardBytes));
}

void Stacks::reserve(std::size_t count) {
  if (count <= count_) return;
  if (memory_ != nullptr) ::munmap(memory_, count_ * (kBytes + kGuardBytes));
  count_ = count;
  void* const made = ::mmap(nullptr, count * (kBytes + kGuardBytes), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<unsigned char*>(made);
  for (std::size_t i = 0; i < count; ++i) ::mprotect(memory_ + i * (kBytes + kGuardBytes), kGuardBytes, PROT_NONE);
}

}  // namespace longconv::emulator
