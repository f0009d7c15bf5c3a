// SPDX-License-Identifier: MIT
#include "ops/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <csignal>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cpu/topology.h"

namespace fastformers {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kMaxThreads = 1024;

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr,
          0);
}

void futex_wake(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr,
          0);
}

// A 32-bit word that one side changes and the other waits on: spin first, then sleep.
class Signal {
 public:
  std::uint32_t load() const { return word_.load(std::memory_order_acquire); }

  void raise(std::uint32_t value) {
    word_.store(value, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) != 0) futex_wake(word_);
  }

  std::uint32_t wait_while(std::uint32_t old) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        if (load() != old) return load();
        __builtin_ia32_pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (word_.load(std::memory_order_seq_cst) == old) futex_wait(word_, old);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return load();
  }

 private:
  std::atomic<std::uint32_t> word_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

struct alignas(64) Worker {
  Signal ticket;  // raised once for each job this worker takes part in
};

// The tasks of one job, claimed one by one: job number, task count and next task in a single word, so that a worker that
// wakes up late finds a task of the job it was woken for or nothing: neither one of a job that is over nor one of the next,
// which has threads of its own.
class Claims {
 public:
  void open(std::uint32_t job, int tasks) {
    const auto count = static_cast<std::uint64_t>(tasks);
    word_.store(std::uint64_t{job} << 32 | count << 16, std::memory_order_release);
  }

  // The next task of `job`, or -1 when all are taken.
  int take(std::uint32_t job) {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    for (;;) {
      const auto next = static_cast<int>(word & 0xFFFF), tasks = static_cast<int>(word >> 16 & 0xFFFF);
      if (static_cast<std::uint32_t>(word >> 32) != job || next >= tasks) return -1;
      if (word_.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
        return next;
      }
    }
  }

 private:
  std::atomic<std::uint64_t> word_{0};
};

}  // namespace

class Pool {
 public:
  Pool() = default;
  explicit Pool(std::vector<int> cpus) : cpus_(std::move(cpus)) {}

  // Only for a pool of which no call is running.
  ~Pool() {
    stopping_.store(true, std::memory_order_relaxed);
    ++job_;
    for (const auto& worker : workers_) worker->ticket.raise(job_);
    for (std::thread& thread : threads_) thread.join();
  }

  // The caller takes tasks like every worker: when another program (or torch's own threads) holds the other core, it does
  // them all itself and waits only for tasks that a worker has really begun.
  void run(int tasks, const TaskRef& task) {
    grow(tasks - 1);
    task_ = &task;
    error_ = nullptr;
    const std::uint32_t job = ++job_;
    pending_.store(tasks, std::memory_order_relaxed);
    claims_.open(job, tasks);
    for (int i = 0; i < tasks - 1; ++i) workers_[static_cast<std::size_t>(i)]->ticket.raise(job);
    work(job);
    while (done_.load() != job) done_.wait_while(job - 1);
    if (error_) std::rethrow_exception(error_);
  }

  bool acquire() { return !busy_.test_and_set(std::memory_order_acquire); }
  void release() { busy_.clear(std::memory_order_release); }
  int worker_count() const { return worker_count_.load(std::memory_order_relaxed); }

 private:
  void grow(int wanted) {
    while (worker_count() < wanted) {
      workers_.push_back(std::make_unique<Worker>());
      Worker* worker = workers_.back().get();
      // Workers take no signals: Ctrl-C belongs to the interpreter's main thread.
      sigset_t all, before;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      try {
        threads_.emplace_back([this, worker] { serve(*worker); });
        pin(threads_.back(), threads_.size() - 1);
      } catch (...) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        workers_.pop_back();
        throw;
      }
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      worker_count_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  // A CPU that has been taken away meanwhile leaves the thread where its maker may run.
  void pin(std::thread& thread, std::size_t index) {
    if (index < cpus_.size()) cpu::pin_thread(thread.native_handle(), cpus_[index]);
  }

  void serve(Worker& worker) {
    std::uint32_t seen = 0;
    for (;;) {
      seen = worker.ticket.wait_while(seen);
      if (stopping_.load(std::memory_order_relaxed)) return;
      work(seen);
    }
  }

  void work(std::uint32_t job) {
    for (int task = claims_.take(job); task >= 0; task = claims_.take(job)) {
      attempt(task);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) done_.raise(job);
    }
  }

  void attempt(int task) {
    try {
      (*task_)(task);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  const std::vector<int> cpus_{};
  std::atomic<bool> stopping_{false};
  std::atomic<int> worker_count_{0};
  const TaskRef* task_ = nullptr;
  std::uint32_t job_ = 0;
  alignas(64) Claims claims_;
  alignas(64) std::atomic<int> pending_{0};
  alignas(64) Signal done_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

namespace {

// Never destroyed: its threads may outlive static destruction. A forked child has none of them, so it
// forgets the parent's pool and makes its own when it first needs one.
std::atomic<Pool*> g_pool{nullptr};
std::atomic<int> g_threads{0};
thread_local Pool* t_own_pool = nullptr;

Pool& pool() {
  if (t_own_pool != nullptr) return *t_own_pool;
  Pool* current = g_pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  static const int registered = pthread_atfork(nullptr, nullptr, [] { g_pool.store(nullptr); });
  static_cast<void>(registered);
  auto fresh = std::make_unique<Pool>();
  if (g_pool.compare_exchange_strong(current, fresh.get())) return *fresh.release();
  return *current;
}

}  // namespace

void parallel_tasks(int tasks, const TaskRef& task) {
  if (tasks > 1) {
    Pool& workers = pool();
    if (workers.acquire()) {
      struct Release {
        Pool& pool;
        ~Release() { pool.release(); }
      } release{workers};
      workers.run(tasks, task);
      return;
    }
  }
  for (int i = 0; i < tasks; ++i) task(i);
}

OwnHelpers::OwnHelpers(std::vector<int> cpus) : pool_(std::make_unique<Pool>(std::move(cpus))) {
  t_own_pool = pool_.get();
}

OwnHelpers::~OwnHelpers() { t_own_pool = nullptr; }

int num_threads() {
  int threads = g_threads.load(std::memory_order_relaxed);
  if (threads == 0) {
    threads = cpu::default_threads(cpu::read_topology());
    g_threads.store(threads, std::memory_order_relaxed);
  }
  return threads;
}

int threads_for_call(int threads) {
  if (threads == 0) return num_threads();
  FF_CHECK(ShapeError, threads >= 1 && threads <= kMaxThreads, "threads must be between 1 and ", kMaxThreads,
           ", got ", threads);
  return threads;
}

void set_num_threads(int threads) {
  FF_CHECK(ShapeError, threads != 0, "threads must be between 1 and ", kMaxThreads, ", got 0");
  threads = threads_for_call(threads);
  g_threads.store(threads, std::memory_order_relaxed);
}

int pool_workers() {
  const Pool* current = g_pool.load(std::memory_order_acquire);
  return current != nullptr ? current->worker_count() : 0;
}

}  // namespace fastformers
