// SPDX-License-Identifier: MIT
// A few threads that run one program of many short phases together, with less than a microsecond between phases.
//
// Every member runs the same program; a phase's tasks are claimed one by one, and no member passes the phase before all its
// tasks are done. Nobody waits for a member that has not come: one thread alone completes every phase, and one that
// comes late walks through the finished phases and joins at the current one. So a busy pool or a core taken by another program
// costs speed, never progress.
#pragma once

#include <atomic>
#include <cstdint>

#include "ops/thread_pool.h"

namespace fastformers {

class Team {
 public:
  explicit Team(int members) : members_(members) {}
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int members() const { return members_; }

  // One thread's way through the program; made at its start, on that thread.
  class Member {
   public:
    // waited: nanoseconds without a task are added here, if anybody wants to know.
    explicit Member(Team& team, std::int64_t* waited = nullptr) : team_(team), waited_(waited) {}

    // Runs task(0) ... task(tasks - 1) together with the other members; all are done when it returns. Every member calls
    // it with the same number of tasks.
    void phase(int tasks, const TaskRef& task);

   private:
    Team& team_;
    std::int64_t* waited_;
    std::uint32_t phase_ = 0;
  };

 private:
  const int members_;
  alignas(64) std::atomic<std::uint64_t> claims_{0};  // phase << 32 | next task
  alignas(64) std::atomic<std::int32_t> done_{0};
};

}  // namespace fastformers
