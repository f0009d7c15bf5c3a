// SPDX-License-Identifier: MIT
// One piece of work in the instance pool and what became of it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>

namespace fastformers::runtime {

using Clock = std::chrono::steady_clock;

enum class Outcome : int {
  kPending,    // waits or is being computed
  kDone,       // computed
  kFailed,     // run() threw; error() has it
  kExpired,    // its deadline passed before it was begun; nothing was computed
  kCancelled,  // taken back, or the pool closed before it was begun
};

class Ticket {
 public:
  static constexpr std::int64_t kNotPosted = -1;

  // `tokens` is the size that the order of service goes by. A tag of 0 or more is the caller's name for the ticket: it is posted,
  // that is, handed out by take_finished when it is finished.
  Ticket(std::int64_t tokens, Clock::time_point deadline, std::int64_t tag = kNotPosted)
      : tokens_(tokens), deadline_(deadline), tag_(tag) {}
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  virtual ~Ticket() = default;

  // The work, called at most once, on an instance's thread.
  virtual void run(int threads) = 0;

  // Once it is no longer kPending, everything run() wrote is visible to the caller and nothing changes any more.
  Outcome outcome() const { return outcome_.load(std::memory_order_acquire); }
  std::exception_ptr error() const { return error_; }
  std::int64_t tokens() const { return tokens_; }
  Clock::time_point deadline() const { return deadline_; }
  std::int64_t tag() const { return tag_; }
  bool posted() const { return tag_ >= 0; }

 private:
  friend class InstancePool;

  const std::int64_t tokens_;
  const Clock::time_point deadline_;
  const std::int64_t tag_;
  std::exception_ptr error_;
  std::condition_variable finished_;  // with the pool's mutex
  std::atomic<Outcome> outcome_{Outcome::kPending};
};

using TicketPtr = std::shared_ptr<Ticket>;

}  // namespace fastformers::runtime
