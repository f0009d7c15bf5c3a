// SPDX-License-Identifier: MIT
// The instance pool: all work is done once and ordered before its ticket is finished, instances compute at once with helpers of
// their own, a full queue refuses, deadlines hold, stop drains or cancels, a forked child gets an error, idle costs nothing.
// Also run under ThreadSanitizer (FASTFORMERS_SANITIZE=thread).
#include "runtime/instance_pool.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cpu_seconds.h"
#include "ops/thread_pool.h"
#include "require.h"

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

namespace {

using namespace fastformers::runtime;
using std::chrono::milliseconds;

constexpr Clock::time_point kNever = Clock::time_point::max();

PoolOptions options(int instances, int threads = 1, std::int64_t capacity = 1024) {
  PoolOptions made;
  made.instances = instances;
  made.threads = threads;
  made.capacity = capacity;
  return made;
}

using Work = std::function<void(int threads)>;

class FunctionTicket final : public Ticket {
 public:
  FunctionTicket(Work work, std::int64_t tokens, Clock::time_point deadline, std::int64_t tag)
      : Ticket(tokens, deadline, tag), work_(std::move(work)) {}
  void run(int threads) override { work_(threads); }

 private:
  const Work work_;
};

TicketPtr submit(InstancePool& pool, Work work, std::int64_t tokens, Clock::time_point deadline,
                 bool posted) {
  auto ticket =
      std::make_shared<FunctionTicket>(std::move(work), tokens, deadline, posted ? 7 : Ticket::kNotPosted);
  pool.submit(ticket);
  return ticket;
}

// Work that holds an instance until it is let go.
class Gate {
 public:
  Work work() {
    return [this](int) {
      ++entered_;
      while (!open_) std::this_thread::sleep_for(milliseconds(1));
    };
  }
  void wait_entered(int count) const {
    while (entered_ < count) std::this_thread::sleep_for(milliseconds(1));
  }
  void open() { open_ = true; }

 private:
  std::atomic<int> entered_{0};
  std::atomic<bool> open_{false};
};

// Results are plain ints: the ticket itself must order the work before its outcome.
void all_work_is_done_once_whatever_the_number_of_instances() {
  for (const int instances : {1, 2, 3}) {
    InstancePool pool(options(instances));
    std::vector<int> runs(500, 0);
    std::vector<TicketPtr> tickets;
    for (int& count : runs) {
      tickets.push_back(
          submit(pool, [&count](int threads) { count += threads; }, 1 + rand() % 700, kNever, false));
    }
    for (const TicketPtr& ticket : tickets) REQUIRE(pool.wait(ticket, kNever) == Outcome::kDone);
    REQUIRE(std::all_of(runs.begin(), runs.end(), [](int count) { return count == 1; }));
  }
}

void instances_compute_at_once() {
  InstancePool pool(options(3));
  std::atomic<int> inside{0};
  std::vector<TicketPtr> tickets;
  for (int i = 0; i < 3; ++i) {
    tickets.push_back(submit(
        pool,
        [&](int) {
          ++inside;
          while (inside < 3) std::this_thread::yield();
        },
        1, kNever, false));
  }
  for (const TicketPtr& ticket : tickets) {
    REQUIRE(pool.wait(ticket, Clock::now() + std::chrono::seconds(20)) == Outcome::kDone);
  }
}

// Two instances of two threads: all four must be inside a task at the same time, which one shared pool would not allow.
void each_instance_has_helpers_of_its_own() {
  std::atomic<int> inside{0};
  const auto deadline = Clock::now() + std::chrono::seconds(20);
  InstancePool pool(options(2, 2));
  std::vector<TicketPtr> tickets;
  for (int i = 0; i < 2; ++i) {
    tickets.push_back(submit(
        pool,
        [&](int threads) {
          fastformers::parallel_tasks(threads, [&](int) {
            ++inside;
            while (inside < 4 && Clock::now() < deadline) std::this_thread::yield();
          });
        },
        1, kNever, false));
  }
  for (const TicketPtr& ticket : tickets) REQUIRE(pool.wait(ticket, kNever) == Outcome::kDone);
  REQUIRE(inside == 4 && Clock::now() < deadline);
  REQUIRE(fastformers::pool_workers() == 0);  // none in the process-wide pool
}

void pinned_instances_run_where_they_were_placed() {
  InstancePool pool(options(1));
  REQUIRE(pool.cpus().size() == 1 && pool.cpus()[0].size() == 1);
  int cpu = -1, allowed = 0;
  pool.wait(submit(
                pool,
                [&](int) {
                  cpu = sched_getcpu();
                  cpu_set_t mask;
                  sched_getaffinity(0, sizeof mask, &mask);
                  allowed = CPU_COUNT(&mask);
                },
                1, kNever, false),
            kNever);
  REQUIRE(cpu == pool.cpus()[0][0] && allowed == 1);
  REQUIRE(InstancePool(options(500)).cpus().empty());
}

void what_the_work_throws_comes_back() {
  InstancePool pool(options(1));
  const TicketPtr failing = submit(pool, [](int) { throw std::out_of_range("token 7"); }, 1, kNever, false);
  REQUIRE(pool.wait(failing, kNever) == Outcome::kFailed);
  std::string message;
  try {
    std::rethrow_exception(failing->error());
  } catch (const std::out_of_range& error) {
    message = error.what();
  }
  REQUIRE(message == "token 7");
  REQUIRE(pool.wait(submit(pool, [](int) {}, 1, kNever, false), kNever) == Outcome::kDone);
}

void a_full_queue_refuses_at_once_and_what_waits_is_still_done() {
  InstancePool pool(options(1, 1, 3));
  Gate gate;
  std::vector<TicketPtr> tickets{submit(pool, gate.work(), 1, kNever, false)};
  gate.wait_entered(1);
  for (int i = 0; i < 3; ++i) tickets.push_back(submit(pool, [](int) {}, 1, kNever, false));
  REQUIRE(pool.waiting() == 3 && pool.running() == 1);
  REQUIRE(throws<QueueFullError>([&] { submit(pool, [](int) {}, 1, kNever, false); }));
  gate.open();
  for (const TicketPtr& ticket : tickets) REQUIRE(pool.wait(ticket, kNever) == Outcome::kDone);
}

void a_full_queue_makes_room_by_dropping_what_is_too_late() {
  InstancePool pool(options(1, 1, 1));
  Gate gate;
  submit(pool, gate.work(), 1, kNever, false);
  gate.wait_entered(1);
  const TicketPtr late = submit(pool, [](int) {}, 1, Clock::now(), false);
  const TicketPtr next = submit(pool, [](int) {}, 1, kNever, false);
  REQUIRE(late->outcome() == Outcome::kExpired);
  gate.open();
  REQUIRE(pool.wait(next, kNever) == Outcome::kDone);
}

// The only instance is busy all the time: whoever waits learns it at the deadline, not when the instance is free again.
void a_deadline_is_told_in_time_and_nothing_is_computed() {
  InstancePool pool(options(1));
  Gate gate;
  const TicketPtr busy = submit(pool, gate.work(), 1, kNever, false);
  gate.wait_entered(1);
  std::atomic<int> computed{0};
  const auto count = [&](int) { ++computed; };
  const auto begin = Clock::now();
  const TicketPtr waited = submit(pool, count, 1, begin + milliseconds(30), false);
  REQUIRE(pool.wait(waited, kNever) == Outcome::kExpired);
  submit(pool, count, 1, begin + milliseconds(60), true);
  const std::vector<TicketPtr> posted = pool.take_finished();
  REQUIRE(posted.size() == 1 && posted[0]->outcome() == Outcome::kExpired);
  const auto waited_for = Clock::now() - begin;
  REQUIRE(waited_for >= milliseconds(60) && waited_for < std::chrono::seconds(10));
  REQUIRE(busy->outcome() == Outcome::kPending);
  gate.open();
  REQUIRE(pool.wait(busy, kNever) == Outcome::kDone && computed == 0);
}

void a_deadline_that_is_met_changes_nothing() {
  InstancePool pool(options(1));
  const TicketPtr ticket = submit(pool, [](int) {}, 1, Clock::now() + std::chrono::seconds(60), false);
  REQUIRE(pool.wait(ticket, kNever) == Outcome::kDone);
}

void waiting_can_be_given_up_and_taken_up_again() {
  InstancePool pool(options(1));
  Gate gate;
  const TicketPtr ticket = submit(pool, gate.work(), 1, kNever, false);
  REQUIRE(pool.wait(ticket, Clock::now() + milliseconds(5)) == Outcome::kPending);
  gate.open();
  REQUIRE(pool.wait(ticket, kNever) == Outcome::kDone);
}

void a_waiting_ticket_can_be_taken_back_a_running_one_cannot() {
  InstancePool pool(options(1));
  Gate gate;
  const TicketPtr running = submit(pool, gate.work(), 1, kNever, false);
  gate.wait_entered(1);
  std::atomic<bool> computed{false};
  const TicketPtr waiting = submit(pool, [&](int) { computed = true; }, 1, kNever, false);
  REQUIRE(pool.cancel(waiting) && waiting->outcome() == Outcome::kCancelled);
  REQUIRE(!pool.cancel(waiting) && !pool.cancel(running));
  gate.open();
  REQUIRE(pool.wait(running, kNever) == Outcome::kDone && !computed);
}

void posted_tickets_are_handed_out_once_and_the_end_is_told() {
  const int count = kThreadSanitizer ? 2000 : 20000;
  InstancePool pool(options(2, 1, count));
  std::set<Ticket*> seen;
  std::thread collector([&] {
    for (;;) {
      const std::vector<TicketPtr> finished = pool.take_finished();
      if (finished.empty()) return;
      for (const TicketPtr& ticket : finished) {
        if (ticket->outcome() == Outcome::kDone) seen.insert(ticket.get());
      }
    }
  });
  std::vector<TicketPtr> tickets;  // kept, so that no address is used twice
  for (int i = 0; i < count; ++i) tickets.push_back(submit(pool, [](int) {}, i % 600 + 1, kNever, true));
  pool.stop(true);
  collector.join();
  REQUIRE(static_cast<int>(seen.size()) == count);
}

void many_callers_at_once() {
  const int rounds = kThreadSanitizer ? 300 : 3000;
  InstancePool pool(options(2, 1, 4));
  std::atomic<int> done{0}, refused{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 8; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < rounds; ++round) {
        try {
          int result = 0;
          const TicketPtr ticket =
              submit(pool, [&](int) { result = round + 1; }, 1 + caller * 100, kNever, false);
          pool.wait(ticket, kNever);
          if (result == round + 1) ++done;
        } catch (const QueueFullError&) {
          ++refused;
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  REQUIRE(done + refused == 8 * rounds && done > 0);
}

void stop_drains_or_cancels() {
  for (const bool drain : {true, false}) {
    InstancePool pool(options(1));
    Gate gate;
    const TicketPtr running = submit(pool, gate.work(), 1, kNever, false);
    gate.wait_entered(1);
    std::vector<TicketPtr> waiting;
    for (int i = 0; i < 20; ++i) waiting.push_back(submit(pool, [](int) {}, 1, kNever, false));
    pool.stop(drain);
    REQUIRE(throws<ClosedError>([&] { submit(pool, [](int) {}, 1, kNever, false); }));
    REQUIRE(!pool.wait_stopped(Clock::now() + milliseconds(5)));
    gate.open();
    REQUIRE(pool.wait_stopped(kNever));
    REQUIRE(running->outcome() == Outcome::kDone);
    const Outcome expected = drain ? Outcome::kDone : Outcome::kCancelled;
    for (const TicketPtr& ticket : waiting) REQUIRE(ticket->outcome() == expected);
    REQUIRE(pool.take_finished().empty());
    pool.stop(true);
    REQUIRE(pool.wait_stopped(kNever));
  }
}

int threads_of_process() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("Threads:", 0) == 0) return std::stoi(line.substr(8));
  }
  return -1;
}

void a_destroyed_pool_leaves_no_thread() {
  const int before = threads_of_process();
  for (int i = 0; i < 50; ++i) {
    InstancePool pool(options(2, 2));
    const auto work = [](int threads) { fastformers::parallel_tasks(threads, [](int) {}); };
    pool.wait(submit(pool, work, 1, kNever, false), kNever);
    if (i % 2 == 0) submit(pool, work, 1, kNever, false);  // left behind
  }
  REQUIRE(threads_of_process() == before);
}

void counts_out_of_range_are_refused() {
  for (const PoolOptions& wrong :
       {options(0), options(1, 0), options(1, 1, 0), options(100000), options(1, -1)}) {
    REQUIRE(throws<std::invalid_argument>([&] { InstancePool{wrong}; }));
  }
}

// AddressSanitizer of GCC 12 does not lock its own allocator around a fork, so a child may wait forever for a lock that a
// thread of the parent held: 2 of 160 forks did, and none of 640 without it. Only there may a few children be ended by
// their alarm; none may be wrong.
#ifdef __SANITIZE_ADDRESS__
constexpr int kLostChildren = 5;
#else
constexpr int kLostChildren = 0;
#endif

// Forked while instances compute and threads wait, so that locks may be held: every call ends with an error, none hangs.
void a_forked_child_gets_an_error_and_the_parent_goes_on() {
  int lost = 0;
  for (int round = 0; round < 20; ++round) {
    auto pool = std::make_unique<InstancePool>(options(2));
    std::atomic<bool> enough{false};
    std::thread caller([&] {
      while (!enough) pool->wait(submit(*pool, [](int) {}, 1, kNever, false), kNever);
    });
    const TicketPtr ticket = submit(*pool, [](int) {}, 1, kNever, false);
    const pid_t child = fork();
    if (child == 0) {
      alarm(5);
      bool right = throws<ForkError>([&] { submit(*pool, [](int) {}, 1, kNever, false); });
      right = right && throws<ForkError>([&] { pool->wait(ticket, kNever); });
      right = right && throws<ForkError>([&] { pool->take_finished(); });
      right = right && throws<ForkError>([&] { pool->stop(false); });
      pool.reset();
      InstancePool own(options(2));
      right = right && own.wait(submit(own, [](int) {}, 1, kNever, false), kNever) == Outcome::kDone;
      _exit(right ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    enough = true;
    caller.join();
    const bool out_of_time = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    lost += out_of_time ? 1 : 0;
    REQUIRE(out_of_time || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    REQUIRE(pool->wait(submit(*pool, [](int) {}, 1, kNever, false), kNever) == Outcome::kDone);
  }
  REQUIRE(lost <= kLostChildren);
}

void an_idle_pool_uses_no_cpu() {
  InstancePool pool(options(4, 2));
  std::thread collector([&] { pool.take_finished(); });
  const auto work = [](int threads) { fastformers::parallel_tasks(threads, [](int) {}); };
  pool.wait(submit(pool, work, 1, kNever, false), kNever);
  std::this_thread::sleep_for(milliseconds(50));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const double share = (cpu_seconds() - before) / 2;
  std::printf("idle CPU %.3f %%\n", 100 * share);
  REQUIRE(share < (kThreadSanitizer ? 0.05 : 0.005));  // ThreadSanitizer's own background thread counts too
  pool.stop(false);
  collector.join();
}

}  // namespace

int main() {
  alarm(100);  // a hang is a failure
  all_work_is_done_once_whatever_the_number_of_instances();
  instances_compute_at_once();
  each_instance_has_helpers_of_its_own();
  pinned_instances_run_where_they_were_placed();
  what_the_work_throws_comes_back();
  a_full_queue_refuses_at_once_and_what_waits_is_still_done();
  a_full_queue_makes_room_by_dropping_what_is_too_late();
  a_deadline_is_told_in_time_and_nothing_is_computed();
  a_deadline_that_is_met_changes_nothing();
  waiting_can_be_given_up_and_taken_up_again();
  a_waiting_ticket_can_be_taken_back_a_running_one_cannot();
  posted_tickets_are_handed_out_once_and_the_end_is_told();
  many_callers_at_once();
  stop_drains_or_cancels();
  a_destroyed_pool_leaves_no_thread();
  counts_out_of_range_are_refused();
  // A child of a threaded process may not start threads under ThreadSanitizer (it dies on purpose).
  if (!kThreadSanitizer) a_forked_child_gets_an_error_and_the_parent_goes_on();
  an_idle_pool_uses_no_cpu();
  return require::finish();
}
