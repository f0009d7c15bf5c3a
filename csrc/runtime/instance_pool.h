// SPDX-License-Identifier: MIT
// N instances, each a thread (with helpers of its own) that takes work from one bounded queue. Weights are not known here:
// the tickets of an engine all run the one encoder that its instances share.
//
// Nothing spins: instances and waiters sleep on condition variables. A pool belongs to the process that made it; in a forked child
// its threads do not exist, so every call there throws ForkError without touching a lock, and the destructor does nothing.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/job_queue.h"
#include "runtime/ticket.h"

namespace fastformers::runtime {

// The queue holds as many tickets as it may. Becomes QueueFullError in Python.
struct QueueFullError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The pool takes no more work. Becomes ClosedError in Python.
struct ClosedError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The pool was made before this process was forked. Becomes ForkError in Python.
struct ForkError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct PoolOptions {
  int instances = 1;
  int threads = 1;  // of each instance
  bool pin = true;
  std::int64_t capacity = 1024;  // tickets that may wait, those being computed not counted
};

class InstancePool {
 public:
  // Starts the instances; throws ShapeError for a count out of range, std::system_error when the system gives no thread.
  explicit InstancePool(const PoolOptions& options);
  InstancePool(const InstancePool&) = delete;
  InstancePool& operator=(const InstancePool&) = delete;
  // stop(false), then waits for the work in progress.
  ~InstancePool();

  // Queues a fresh ticket. Throws QueueFullError, ClosedError, ForkError; never waits.
  void submit(const TicketPtr& ticket);
  // Waits until the ticket is finished or `until` has come; the outcome, kPending in the latter case. By value: the waiting
  // thread's own reference keeps the ticket alive in a child forked meanwhile, where destroying a condition
  // variable that someone waited on would hang.
  Outcome wait(TicketPtr ticket, Clock::time_point until);
  // All posted tickets that have finished since the last call; waits for the first. Empty when the pool is stopped and no
  // more will come.
  std::vector<TicketPtr> take_finished();
  // Takes a ticket back; false when it is being computed or finished already.
  bool cancel(const TicketPtr& ticket);

  // Refuses new work from now on. What waits is computed (drain) or cancelled. Returns at once; may be called again.
  void stop(bool drain);
  // Waits until all instances have ended, or `until` has come; whether they have.
  bool wait_stopped(Clock::time_point until);

  std::int64_t waiting() const;
  int running() const;
  // The CPUs of each instance; empty when they are not pinned.
  const std::vector<std::vector<int>>& cpus() const { return cpus_; }
  const PoolOptions& options() const { return options_; }

 private:
  // What the threads share. A forked child leaves it alone, locks and all.
  struct Shared {
    mutable std::mutex mutex;
    std::condition_variable work_or_stop;
    std::condition_variable finished_or_stop;
    std::condition_variable ended;
    JobQueue queue;
    std::vector<TicketPtr> finished;  // posted ones not handed out yet
    std::int64_t posted_unfinished = 0;
    int running = 0;
    int alive = 0;
    bool stopped = false;
    std::vector<std::thread> threads;
  };
  using Lock = std::unique_lock<std::mutex>;

  void start();
  void serve(int instance);
  void compute(Lock& lock, const TicketPtr& ticket);
  void finish(const TicketPtr& ticket, Outcome outcome);
  void finish_expired();
  void check_process() const;
  void join(Lock& lock);

  const PoolOptions options_;
  const std::vector<std::vector<int>> cpus_;
  const pid_t process_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace fastformers::runtime
