// SPDX-License-Identifier: MIT
#include "runtime/instance_pool.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <utility>

#include "base/check.h"
#include "cpu/topology.h"
#include "ops/thread_pool.h"
#include "runtime/placement.h"

namespace fastformers::runtime {
namespace {

constexpr int kMaxInstances = 1024;

PoolOptions checked(const PoolOptions& options) {
  FF_CHECK(ShapeError, options.instances >= 1 && options.instances <= kMaxInstances,
           "instances must be between 1 and ", kMaxInstances, ", got ", options.instances);
  FF_CHECK(ShapeError, options.threads >= 1 && options.threads <= kMaxInstances,
           "threads must be between 1 and ", kMaxInstances, ", got ", options.threads);
  FF_CHECK(ShapeError, options.capacity >= 1, "the queue must hold at least 1 request, got ",
           options.capacity);
  return options;
}

std::vector<std::vector<int>> places(const PoolOptions& options) {
  if (!options.pin) return {};
  return place_instances(cpu::read_topology(), options.instances, options.threads);
}

// Instances take no signals: Ctrl-C belongs to the interpreter's main thread. Threads inherit the mask.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

InstancePool::InstancePool(const PoolOptions& options)
    : options_(checked(options)),
      cpus_(places(options_)),
      process_(getpid()),
      shared_(std::make_unique<Shared>()) {
  try {
    start();
  } catch (...) {
    stop(false);
    wait_stopped(Clock::time_point::max());
    throw;
  }
}

InstancePool::~InstancePool() {
  if (getpid() != process_) {
    static_cast<void>(shared_.release());
    return;
  }
  stop(false);
  wait_stopped(Clock::time_point::max());
}

void InstancePool::start() {
  const SignalsBlocked blocked;
  const Lock lock(shared_->mutex);  // no instance begins before `alive` counts it
  for (int instance = 0; instance < options_.instances; ++instance) {
    shared_->threads.emplace_back([this, instance] { serve(instance); });
    ++shared_->alive;
  }
}

void InstancePool::check_process() const {
  FF_CHECK(ForkError, getpid() == process_, "this engine was made in process ", process_,
           ", before the fork: its threads do not exist in process ", getpid(),
           ". An engine does not survive a fork; make a new one in the child");
}

void InstancePool::submit(const TicketPtr& ticket) {
  check_process();
  const Lock lock(shared_->mutex);
  FF_CHECK(ClosedError, !shared_->stopped, "the engine is closed");
  if (shared_->queue.size() >= options_.capacity) finish_expired();
  FF_CHECK(QueueFullError, shared_->queue.size() < options_.capacity,
           "the queue is full: ", options_.capacity,
           " requests wait already; try again later, or make the engine with a larger queue");
  // Whoever waits for finished tickets also watches the deadlines, and sleeps until the first of them.
  if (ticket->posted() && ticket->deadline() < shared_->queue.earliest_deadline())
    shared_->finished_or_stop.notify_all();
  shared_->queue.push(ticket);
  if (ticket->posted()) ++shared_->posted_unfinished;
  shared_->work_or_stop.notify_one();
}

Outcome InstancePool::wait(TicketPtr ticket, Clock::time_point until) {
  check_process();
  if (ticket->outcome() != Outcome::kPending) return ticket->outcome();
  Lock lock(shared_->mutex);
  for (;;) {
    const Outcome outcome = ticket->outcome();
    const Clock::time_point now = Clock::now();
    if (outcome != Outcome::kPending || now >= until) return outcome;
    if (now >= shared_->queue.earliest_deadline()) {
      finish_expired();
    } else {
      const Clock::time_point wake = std::min(until, shared_->queue.earliest_deadline());
      if (wake == Clock::time_point::max()) {
        ticket->finished_.wait(lock);
      } else {
        ticket->finished_.wait_until(lock, wake);
      }
    }
  }
}

std::vector<TicketPtr> InstancePool::take_finished() {
  check_process();
  Lock lock(shared_->mutex);
  for (;;) {
    if (Clock::now() >= shared_->queue.earliest_deadline()) finish_expired();
    if (!shared_->finished.empty()) return std::exchange(shared_->finished, {});
    if (shared_->stopped && shared_->posted_unfinished == 0) return {};
    const Clock::time_point wake = shared_->queue.earliest_deadline();
    if (wake == Clock::time_point::max()) {
      shared_->finished_or_stop.wait(lock);
    } else {
      shared_->finished_or_stop.wait_until(lock, wake);
    }
  }
}

bool InstancePool::cancel(const TicketPtr& ticket) {
  check_process();
  const Lock lock(shared_->mutex);
  if (!shared_->queue.remove(*ticket)) return false;
  finish(ticket, Outcome::kCancelled);
  return true;
}

void InstancePool::stop(bool drain) {
  check_process();
  const Lock lock(shared_->mutex);
  shared_->stopped = true;
  if (!drain) {
    for (const TicketPtr& ticket : shared_->queue.take_all()) finish(ticket, Outcome::kCancelled);
  }
  shared_->work_or_stop.notify_all();
  shared_->finished_or_stop.notify_all();
}

bool InstancePool::wait_stopped(Clock::time_point until) {
  check_process();
  Lock lock(shared_->mutex);
  while (shared_->alive > 0) {
    if (until == Clock::time_point::max()) {
      shared_->ended.wait(lock);
    } else if (shared_->ended.wait_until(lock, until) == std::cv_status::timeout && shared_->alive > 0) {
      return false;
    }
  }
  join(lock);
  return true;
}

// The threads have left serve() but may still be giving back their helpers and thread-local memory.
void InstancePool::join(Lock& lock) {
  std::vector<std::thread> threads = std::exchange(shared_->threads, {});
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
}

std::int64_t InstancePool::waiting() const {
  check_process();
  const Lock lock(shared_->mutex);
  return shared_->queue.size();
}

int InstancePool::running() const {
  check_process();
  const Lock lock(shared_->mutex);
  return shared_->running;
}

void InstancePool::serve(int instance) {
  pthread_setname_np(pthread_self(), ("ff-instance-" + std::to_string(instance % 100)).c_str());
  std::vector<int> helper_cpus;
  if (!cpus_.empty()) {
    const std::vector<int>& own = cpus_[static_cast<std::size_t>(instance)];
    cpu::pin_thread(pthread_self(), own.front());
    helper_cpus.assign(own.begin() + 1, own.end());
  }
  const OwnHelpers helpers(std::move(helper_cpus));
  Lock lock(shared_->mutex);
  for (;;) {
    finish_expired();
    if (TicketPtr ticket = shared_->queue.pop()) {
      compute(lock, ticket);
    } else if (shared_->stopped) {
      break;
    } else {
      shared_->work_or_stop.wait(lock);
    }
  }
  if (--shared_->alive == 0) shared_->ended.notify_all();
}

void InstancePool::compute(Lock& lock, const TicketPtr& ticket) {
  ++shared_->running;
  lock.unlock();
  Outcome outcome = Outcome::kDone;
  try {
    ticket->run(options_.threads);
  } catch (...) {
    ticket->error_ = std::current_exception();
    outcome = Outcome::kFailed;
  }
  lock.lock();
  --shared_->running;
  finish(ticket, outcome);
}

void InstancePool::finish(const TicketPtr& ticket, Outcome outcome) {
  ticket->outcome_.store(outcome, std::memory_order_release);
  ticket->finished_.notify_all();
  if (!ticket->posted()) return;
  shared_->finished.push_back(ticket);
  --shared_->posted_unfinished;
  shared_->finished_or_stop.notify_all();
}

void InstancePool::finish_expired() {
  if (shared_->queue.earliest_deadline() == Clock::time_point::max()) return;
  for (const TicketPtr& ticket : shared_->queue.take_expired(Clock::now())) finish(ticket, Outcome::kExpired);
}

}  // namespace fastformers::runtime
