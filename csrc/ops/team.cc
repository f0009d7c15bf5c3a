// SPDX-License-Identifier: MIT
#include "ops/team.h"

#include <sched.h>

#include <chrono>

namespace fastformers {
namespace {

// Pauses before a waiting member offers its core: about 30 microseconds, the length of a long task's tail.
constexpr int kSpins = 1000;

// Counts the time without a task of one phase, from its making to its end.
class Waiting {
 public:
  explicit Waiting(std::int64_t* total) : total_(total) { begin(); }
  ~Waiting() { end(); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  void begin() {
    if (total_ != nullptr) start_ = std::chrono::steady_clock::now();
  }
  void end() {
    if (total_ == nullptr) return;
    const auto passed = std::chrono::steady_clock::now() - start_;
    *total_ += std::chrono::duration_cast<std::chrono::nanoseconds>(passed).count();
  }

 private:
  std::int64_t* total_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

void Team::Member::phase(int tasks, const TaskRef& task) {
  if (tasks <= 0) return;
  if (team_.members_ == 1) {
    for (int i = 0; i < tasks; ++i) task(i);
    return;
  }
  const std::uint32_t phase = phase_++;
  Waiting waiting(waited_);
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
    waiting.end();
    task(next);
    waiting.begin();
    if (team_.done_.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks) {
      team_.done_.store(0, std::memory_order_relaxed);
      team_.claims_.store(std::uint64_t{phase + 1} << 32, std::memory_order_release);
      return;
    }
    word = team_.claims_.load(std::memory_order_acquire);
  }
}

}  // namespace fastformers
