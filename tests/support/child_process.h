// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Runs a function in a forked child, for what cannot be undone in a process: loaded libraries, a changed environment,
/// a crash.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <string>

namespace longconv {

/// What `function` returned (a string), or "threw: ..." or "died of signal n".
template <typename Function>
std::string in_child(Function function) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::string result;
    try {
      result = function();
    } catch (const std::exception& error) {
      result = std::string("threw: ") + error.what();
    }
    for (std::size_t done = 0; done < result.size();) {
      const ssize_t put = ::write(ends[1], result.data() + done, result.size() - done);
      if (put <= 0) break;
      done += static_cast<std::size_t>(put);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string result;
  char buffer[4096];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    result.append(buffer, static_cast<std::size_t>(got));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) return "died of signal " + std::to_string(WTERMSIG(status));
  return result;
}

}  // namespace longconv
