// SPDX-License-Identifier: MIT
// The order of service, and where instances are placed: no threads, no clock.
#include "runtime/job_queue.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/topology.h"
#include "require.h"
#include "runtime/placement.h"

namespace {

using fastformers::runtime::Clock;
using fastformers::runtime::JobQueue;
using fastformers::runtime::place_instances;
using fastformers::runtime::Ticket;
using fastformers::runtime::TicketPtr;
using Places = std::vector<std::vector<int>>;

class IdleTicket final : public Ticket {
 public:
  using Ticket::Ticket;
  void run(int) override {}
};

TicketPtr ticket(std::int64_t tokens, Clock::time_point deadline = Clock::time_point::max()) {
  return std::make_shared<IdleTicket>(tokens, deadline);
}

std::vector<std::int64_t> sizes_in_order(JobQueue& queue) {
  std::vector<std::int64_t> sizes;
  while (const TicketPtr next = queue.pop()) sizes.push_back(next->tokens());
  return sizes;
}

void similar_sizes_are_served_in_the_order_they_came() {
  JobQueue queue;
  for (const std::int64_t size : {40, 100, 33, 128, 64}) queue.push(ticket(size));
  REQUIRE(queue.size() == 5);
  REQUIRE((sizes_in_order(queue) == std::vector<std::int64_t>{40, 100, 33, 128, 64}));
  REQUIRE(queue.size() == 0 && queue.pop() == nullptr);
}

void a_short_one_passes_all_waiting_long_ones() {
  JobQueue queue;
  for (int i = 0; i < 100; ++i) queue.push(ticket(500));
  for (int i = 0; i < 10; ++i) queue.pop();
  queue.push(ticket(8));
  REQUIRE(queue.pop()->tokens() == 8);
  REQUIRE(queue.pop()->tokens() == 500);
}

void a_long_one_is_not_starved_by_an_endless_stream_of_short_ones() {
  JobQueue queue;
  for (int i = 0; i < 50; ++i) queue.push(ticket(16));
  queue.push(ticket(4096));
  int served_before = 0;
  while (queue.pop()->tokens() == 16) {
    ++served_before;
    queue.push(ticket(16));
  }
  REQUIRE(served_before <= 1);
  queue.push(ticket(4096));  // the next one waits for its lane's turn: as many short tokens as it was itself
  served_before = 0;
  while (queue.pop()->tokens() == 16) {
    ++served_before;
    queue.push(ticket(16));
  }
  REQUIRE(served_before >= 4096 / 16 - 2 && served_before <= 4096 / 16 + 2);
}

void busy_lanes_get_the_same_number_of_tokens() {
  JobQueue queue;
  const std::vector<std::int64_t> kinds{20, 100, 400, 1500, 5000};
  std::map<std::int64_t, std::int64_t> served;
  for (const std::int64_t kind : kinds) queue.push(ticket(kind));
  for (int i = 0; i < 20000; ++i) {
    const std::int64_t kind = queue.pop()->tokens();
    served[kind] += kind;
    queue.push(ticket(kind));
  }
  for (const std::int64_t a : kinds) {
    for (const std::int64_t b : kinds) REQUIRE(served[a] - served[b] <= 2 * 5000);
  }
}

void an_idle_lane_saves_nothing_up() {
  JobQueue queue;
  for (int i = 0; i < 1000; ++i) queue.push(ticket(500));
  for (int i = 0; i < 900; ++i) queue.pop();
  for (int i = 0; i < 100; ++i) queue.push(ticket(10));
  int short_ones = 0;
  for (int i = 0; i < 60; ++i) short_ones += queue.pop()->tokens() == 10 ? 1 : 0;
  REQUIRE(short_ones >= 50 && short_ones < 60);  // 500 tokens' worth of them, then a long one again
}

void expired_ones_are_taken_out_and_no_others() {
  JobQueue queue;
  const Clock::time_point start = Clock::now();
  const auto at = [&](int ms) { return start + std::chrono::milliseconds(ms); };
  for (const int ms : {30, 10, 50, 20, 40}) queue.push(ticket(ms, at(ms)));
  queue.push(ticket(7));
  REQUIRE(queue.earliest_deadline() == at(10));
  REQUIRE(queue.take_expired(at(9)).empty());
  std::vector<std::int64_t> expired;
  for (const TicketPtr& late : queue.take_expired(at(30))) expired.push_back(late->tokens());
  std::sort(expired.begin(), expired.end());
  REQUIRE((expired == std::vector<std::int64_t>{10, 20, 30}));
  REQUIRE(queue.size() == 3 && queue.earliest_deadline() == at(40));
  REQUIRE(queue.take_all().size() == 3 && queue.size() == 0);
  REQUIRE(queue.earliest_deadline() == Clock::time_point::max());
}

void one_can_be_taken_back() {
  JobQueue queue;
  const TicketPtr first = ticket(5), second = ticket(5);
  queue.push(first);
  queue.push(second);
  REQUIRE(queue.remove(*first) && !queue.remove(*first));
  REQUIRE(queue.size() == 1 && queue.pop() == second);
}

fastformers::cpu::Topology topology(std::vector<int> cpus, std::vector<int> cores) {
  fastformers::cpu::Topology made;
  made.affinity_cpus = std::move(cpus);
  made.core_cpus = std::move(cores);
  return made;
}

void instances_are_placed_on_cores_of_their_own() {
  const auto four_cores = topology({0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3});
  REQUIRE((place_instances(four_cores, 4, 1) == Places{{0}, {1}, {2}, {3}}));
  REQUIRE((place_instances(four_cores, 2, 2) == Places{{0, 1}, {2, 3}}));
  REQUIRE((place_instances(four_cores, 3, 2) == Places{{0, 1}, {2, 3}, {4, 5}}));
  REQUIRE((place_instances(topology({3, 9}, {3, 9}), 2, 1) == Places{{3}, {9}}));
  REQUIRE(place_instances(four_cores, 9, 1).empty());
  REQUIRE(place_instances(four_cores, 3, 3).empty());
}

}  // namespace

int main() {
  similar_sizes_are_served_in_the_order_they_came();
  a_short_one_passes_all_waiting_long_ones();
  a_long_one_is_not_starved_by_an_endless_stream_of_short_ones();
  busy_lanes_get_the_same_number_of_tokens();
  an_idle_lane_saves_nothing_up();
  expired_ones_are_taken_out_and_no_others();
  one_can_be_taken_back();
  instances_are_placed_on_cores_of_their_own();
  return require::finish();
}
