// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "emulator/fault_handler.h"

#include <csignal>

namespace longconv::emulator {
namespace {

// One handler at a time.
void (*report_fault)(const void*) = nullptr;
struct sigaction old_segv, old_bus;
stack_t old_stack;
unsigned char stack_memory[64 << 10];

void on_fault(int, siginfo_t* info, void*) { report_fault(info->si_addr); }

}  // namespace

FaultHandler::FaultHandler(void (*report)(const void*)) {
  report_fault = report;
  stack_t stack{};
  stack.ss_sp = stack_memory;
  stack.ss_size = sizeof stack_memory;
  ::sigaltstack(&stack, &old_stack);
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigaction(SIGSEGV, &action, &old_segv);
  ::sigaction(SIGBUS, &action, &old_bus);
}

FaultHandler::~FaultHandler() {
  ::sigaction(SIGSEGV, &old_segv, nullptr);
  ::sigaction(SIGBUS, &old_bus, nullptr);
  ::sigaltstack(&old_stack, nullptr);
}

}  // namespace longconv::emulator
