// SPDX-License-Identifier: MIT
#include "runtime/job_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace fastformers::runtime {

void JobQueue::push(TicketPtr ticket) {
  const auto limit = std::lower_bound(kLaneLimits.begin(), kLaneLimits.end(), ticket->tokens());
  Lane& lane = lanes_[static_cast<std::size_t>(std::distance(kLaneLimits.begin(), limit))];
  if (lane.tickets.empty()) lane.served = std::max(lane.served, now_served_);
  earliest_deadline_ = std::min(earliest_deadline_, ticket->deadline());
  lane.tickets.push_back(std::move(ticket));
  ++size_;
}

TicketPtr JobQueue::pop() {
  Lane* next = nullptr;
  for (Lane& lane : lanes_) {
    if (!lane.tickets.empty() && (next == nullptr || lane.served < next->served)) next = &lane;
  }
  if (next == nullptr) return nullptr;
  TicketPtr ticket = std::move(next->tickets.front());
  next->tickets.pop_front();
  now_served_ = next->served;
  next->served += std::max<std::int64_t>(1, ticket->tokens());
  --size_;
  return ticket;
}

std::vector<TicketPtr> JobQueue::take_expired(Clock::time_point now) {
  std::vector<TicketPtr> expired;
  if (now < earliest_deadline_) return expired;
  earliest_deadline_ = Clock::time_point::max();
  for (Lane& lane : lanes_) {
    std::deque<TicketPtr> kept;
    for (TicketPtr& ticket : lane.tickets) {
      if (ticket->deadline() <= now) {
        expired.push_back(std::move(ticket));
      } else {
        earliest_deadline_ = std::min(earliest_deadline_, ticket->deadline());
        kept.push_back(std::move(ticket));
      }
    }
    lane.tickets.swap(kept);
  }
  size_ -= static_cast<std::int64_t>(expired.size());
  return expired;
}

std::vector<TicketPtr> JobQueue::take_all() { return take_expired(Clock::time_point::max()); }

bool JobQueue::remove(const Ticket& ticket) {
  for (Lane& lane : lanes_) {
    const auto place = std::find_if(lane.tickets.begin(), lane.tickets.end(),
                                    [&](const TicketPtr& candidate) { return candidate.get() == &ticket; });
    if (place == lane.tickets.end()) continue;
    lane.tickets.erase(place);
    --size_;
    return true;
  }
  return false;
}

}  // namespace fastformers::runtime
