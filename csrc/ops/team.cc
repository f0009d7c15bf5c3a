// SPDX-License-Identifier: MIT
#include "ops/team.h"

#include <sched.h>

namespace fastformers {
namespace {

// Pauses before a waiting member offers its core: about 30 microseconds, the length of a long task's tail.
constexpr int kSpins = 1000;

}  // namespace

void Team::Member::phase(int tasks, const TaskRef& task) {
  if (tasks <= 0) return;
  if (team_.members_ == 1) {
    for (int i = 0; i < tasks; ++i) task(i);
    return;
  }
  const std::uint32_t phase = phase_++;
  std::uint64_t word = team_.claims_.load(std::memory_order_acquire);
  for (int spins = 0;;) {
    if (static_cast<std::uint32_t>(word >> 32) != phase) return;  // the others have finished it
    const auto next = static_cast<std::int32_t>(word & 0xFFFFFFFF);
    if (next >= tasks) {
      if (++spins < kSpins) {
        __builtin_ia32_pause();
      } else {
        sched_yield();
      }
      word = team_.claims_.load(std::memory_order_acquire);
      continue;
    }
    if (!team_.claims_.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel,
                                             std::memory_order_acquire)) {
      continue;
    }
    task(next);
    if (team_.done_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks) {
      team_.done_.store(0, std::memory_order_relaxed);
      team_.claims_.store(std::uint64_t{phase + 1} << 32, std::memory_order_release);
      return;
    }
    word = team_.claims_.load(std::memory_order_acquire);
  }
}

}  // namespace fastformers
