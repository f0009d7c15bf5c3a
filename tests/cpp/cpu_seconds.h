// SPDX-License-Identifier: MIT
// What an idle process must not spend: its CPU time, on all its threads.
#pragma once

#include <sys/resource.h>

// Seconds that this process has computed so far.
inline double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}
