// SPDX-License-Identifier: MIT
// The order in which waiting tickets are served: lanes by size, each with the same share of the computing time.
//
// First come, first served lets one long text hold up a hundred short ones; shortest first lets short ones hold up a long one for
// good. Here tickets of similar size share a lane, first come first served inside it, and the lane that has had the least computing
// time (in tokens) is served next. So a short text waits for at most the work in progress when all others are long, a
// long one for at most as many short tokens as it has itself, times the number of lanes. A lane that was empty gets no credit for it.
//
// Knows no threads and no clock: the pool locks around it and says what time it is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "runtime/ticket.h"

namespace fastformers::runtime {

class JobQueue {
 public:
  std::int64_t size() const { return size_; }

  void push(TicketPtr ticket);
  // The next one to compute, null when nothing waits. Those whose deadline has passed must have been taken out before.
  TicketPtr pop();
  // Takes out what is past its deadline at `now`.
  std::vector<TicketPtr> take_expired(Clock::time_point now);
  std::vector<TicketPtr> take_all();
  // Takes one out; false when it is not here.
  bool remove(const Ticket& ticket);
  // No ticket's deadline is earlier than this.
  Clock::time_point earliest_deadline() const { return earliest_deadline_; }

 private:
  struct Lane {
    std::deque<TicketPtr> tickets;
    std::int64_t served = 0;  // tokens, on the same scale for all lanes
  };
  static constexpr std::array<std::int64_t, 4> kLaneLimits{32, 128, 512, 2048};

  std::array<Lane, kLaneLimits.size() + 1> lanes_;
  std::int64_t now_served_ = 0;  // what the lane last served had had before
  std::int64_t size_ = 0;
  Clock::time_point earliest_deadline_ = Clock::time_point::max();
};

}  // namespace fastformers::runtime
