// SPDX-License-Identifier: MIT
// The thread pool: every task runs once, exceptions come back, nesting and strangers do not hang it, it survives fork,
// takes no signals, and sleeps when there is nothing to do. Also run under ThreadSanitizer (FASTFORMERS_SANITIZE=thread).
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
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

using fastformers::parallel_tasks;

// Written without atomics: the pool itself must order the tasks' writes before its return.
bool every_task_runs_once(int tasks) {
  std::vector<int> runs(static_cast<std::size_t>(tasks), 0);
  parallel_tasks(tasks, [&](int task) { ++runs[static_cast<std::size_t>(task)]; });
  for (const int count : runs) {
    if (count != 1) return false;
  }
  return true;
}

void starts_no_thread_before_it_needs_one() {
  REQUIRE(fastformers::pool_workers() == 0);
  REQUIRE(every_task_runs_once(0));
  REQUIRE(every_task_runs_once(1));
  REQUIRE(fastformers::pool_workers() == 0);
}

void runs_every_task_once() {
  for (const int tasks : {2, 3, 4, 8, 5, 2, 1}) REQUIRE(every_task_runs_once(tasks));
  REQUIRE(fastformers::pool_workers() == 7);  // 8 tasks, one of them on the caller
}

// Each task waits for all others to have begun, so that no thread can take two of them.
template <typename Body>
void on_different_threads(int tasks, const Body& body) {
  std::atomic<int> begun{0};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  parallel_tasks(tasks, [&](int task) {
    ++begun;
    while (begun < tasks && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    body(task);
  });
}

void tasks_run_at_once_on_the_caller_and_on_workers() {
  std::vector<std::thread::id> where(4);
  on_different_threads(4,
                       [&](int task) { where[static_cast<std::size_t>(task)] = std::this_thread::get_id(); });
  REQUIRE(std::count(where.begin(), where.end(), std::this_thread::get_id()) == 1);
  for (std::size_t a = 0; a < where.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) REQUIRE(where[a] != where[b]);
  }
}

// Seven workers are woken for the wide call, some of them late: none may take the place of the narrow call's own threads.
void a_call_after_a_wider_one_has_its_own_threads() {
  const int rounds = kThreadSanitizer ? 100 : 2000;
  int strangers = 0;
  for (int round = 0; round < rounds; ++round) {
    REQUIRE(every_task_runs_once(8));
    std::atomic<int> on_caller{0};
    const std::thread::id caller = std::this_thread::get_id();
    on_different_threads(2, [&](int) { on_caller += std::this_thread::get_id() == caller ? 1 : 0; });
    strangers += on_caller == 1 ? 0 : 1;
  }
  REQUIRE(strangers == 0);
}

// Longer and shorter than the spin, so that workers are met spinning, falling asleep and asleep.
void many_small_jobs_end() {
  const int jobs = kThreadSanitizer ? 4000 : 40000;
  long total = 0;
  for (int job = 0; job < jobs; ++job) {
    std::vector<int> parts(static_cast<std::size_t>(2 + job % 3), 0);
    parallel_tasks(static_cast<int>(parts.size()),
                   [&](int task) { parts[static_cast<std::size_t>(task)] = 1; });
    total += std::accumulate(parts.begin(), parts.end(), 0) - static_cast<long>(parts.size());
    if (job % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(job % 256));
  }
  REQUIRE(total == 0);
}

void nested_calls_run_on_their_own_thread() {
  std::vector<int> inner_runs(3, 0);
  std::atomic<int> strangers{0};
  parallel_tasks(3, [&](int outer) {
    const std::thread::id self = std::this_thread::get_id();
    parallel_tasks(4, [&](int) {
      ++inner_runs[static_cast<std::size_t>(outer)];
      if (std::this_thread::get_id() != self) ++strangers;
    });
  });
  for (const int runs : inner_runs) REQUIRE(runs == 4);
  REQUIRE(strangers == 0);
}

void concurrent_callers_all_finish() {
  const int rounds = kThreadSanitizer ? 300 : 3000;
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) wrong += every_task_runs_once(2 + round % 3) ? 0 : 1;
    });
  }
  for (std::thread& caller : callers) caller.join();
  REQUIRE(wrong == 0);
}

std::string message_of(int failing_task, int tasks, std::atomic<int>& finished) {
  try {
    parallel_tasks(tasks, [&](int task) {
      if (task == failing_task) throw std::runtime_error("task " + std::to_string(task));
      ++finished;
    });
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

void exceptions_come_back_after_all_tasks_ended() {
  for (const int failing : {0, 1, 3}) {
    std::atomic<int> finished{0};
    REQUIRE(message_of(failing, 4, finished) == "task " + std::to_string(failing));
    REQUIRE(finished == 3);
    REQUIRE(every_task_runs_once(4));
  }
  bool thrown = false;
  try {
    parallel_tasks(4, [](int) { throw std::out_of_range("all of them"); });
  } catch (const std::out_of_range&) {
    thrown = true;
  }
  REQUIRE(thrown);
}

int exit_status_of_child(int (*body)()) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);  // a child that hangs dies of SIGALRM, and the test fails instead of hanging
    _exit(body());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

void a_forked_child_has_a_pool_of_its_own() {
  REQUIRE(every_task_runs_once(4));
  const auto body = [] {
    if (fastformers::pool_workers() != 0) return 10;
    if (!every_task_runs_once(4)) return 11;
    return fastformers::pool_workers() == 3 ? 0 : 12;
  };
  for (int child = 0; child < 4; ++child) REQUIRE(exit_status_of_child(body) == 0);
  REQUIRE(every_task_runs_once(4));
}

// The parent's pool is busy, held by another thread, at the moment of the fork.
void a_child_forked_in_the_middle_of_a_job_works() {
  std::atomic<bool> stop{false};
  std::thread caller([&] {
    while (!stop) every_task_runs_once(3);
  });
  const auto body = [] { return every_task_runs_once(3) ? 0 : 11; };
  for (int child = 0; child < 20; ++child) REQUIRE(exit_status_of_child(body) == 0);
  stop = true;
  caller.join();
}

void workers_take_no_signals() {
  std::vector<int> blocked(3, 0);  // of SIGINT and SIGTERM
  on_different_threads(3, [&](int task) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked[static_cast<std::size_t>(task)] = sigismember(&mask, SIGINT) + sigismember(&mask, SIGTERM);
  });
  std::sort(blocked.begin(), blocked.end());
  REQUIRE((blocked == std::vector<int>{0, 2, 2}));  // the caller, and two workers
}

void an_idle_pool_uses_no_cpu() {
  REQUIRE(every_task_runs_once(8));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the spin after the last job
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const double share = (cpu_seconds() - before) / 2;
  std::printf("idle CPU %.3f %%\n", 100 * share);
  REQUIRE(share < (kThreadSanitizer ? 0.05 : 0.005));  // ThreadSanitizer's own background thread counts too
}

void thread_count_is_set_and_checked() {
  fastformers::set_num_threads(5);
  REQUIRE(fastformers::num_threads() == 5);
  for (const int nonsense : {0, -1, 100000}) {
    bool refused = false;
    try {
      fastformers::set_num_threads(nonsense);
    } catch (const std::invalid_argument& error) {
      refused = std::string(error.what()).find(std::to_string(nonsense)) != std::string::npos;
    }
    REQUIRE(refused);
  }
  REQUIRE(fastformers::num_threads() == 5);
}

}  // namespace

int main() {
  alarm(100);  // a hang is a failure
  starts_no_thread_before_it_needs_one();
  runs_every_task_once();
  tasks_run_at_once_on_the_caller_and_on_workers();
  a_call_after_a_wider_one_has_its_own_threads();
  many_small_jobs_end();
  nested_calls_run_on_their_own_thread();
  concurrent_callers_all_finish();
  exceptions_come_back_after_all_tasks_ended();
  workers_take_no_signals();
  // A child of a threaded process may not start threads under ThreadSanitizer (it dies on purpose).
  if (!kThreadSanitizer) a_forked_child_has_a_pool_of_its_own();
  if (!kThreadSanitizer) a_child_forked_in_the_middle_of_a_job_works();
  an_idle_pool_uses_no_cpu();
  thread_count_is_set_and_checked();
  return require::finish();
}
