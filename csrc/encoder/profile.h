// SPDX-License-Identifier: MIT
// Where the time of a forward call goes. A thread notes the time whenever it finishes an operation, and what passed since its last
// note is that operation's; waiting for other threads is counted for itself. Without a profile a note is one comparison.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastformers::encoder {

// Quantizing rows belongs to the norm or the matmul that does it, an activation to `up`. `first` and `mean` rows belong to what
// reads them. Embedding and heads lie outside of the layers.
enum class Operation { kWaiting, kEmbedding, kQkv, kAttention, kOutput, kUp, kDown, kNorms, kHeads };
inline constexpr std::array<const char*, 9> kOperationNames = {
    "waiting", "embedding", "qkv", "attention", "output", "up", "down", "norms", "heads"};

// One thread's notes: nanoseconds [layers + 1][operations], the last row for what lies outside of the layers.
class StopWatch {
 public:
  explicit StopWatch(std::size_t layers) : spent_((layers + 1) * kOperationNames.size()) {}

  void start() { last_ = now(); }

  void note(std::size_t layer, Operation operation) {
    const std::int64_t time = now(), waited = waited_ - noted_;
    at(layer, operation) += time - last_ - waited;
    at(layer, Operation::kWaiting) += waited;
    last_ = time;
    noted_ = waited_;
  }

  // What a Team::Member adds to while it has no task.
  std::int64_t* waited() { return &waited_; }
  const std::vector<std::int64_t>& spent() const { return spent_; }

 private:
  static std::int64_t now() {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  }
  std::int64_t& at(std::size_t layer, Operation operation) {
    return spent_[layer * kOperationNames.size() + static_cast<std::size_t>(operation)];
  }

  std::vector<std::int64_t> spent_;
  std::int64_t last_ = 0, waited_ = 0, noted_ = 0;
};

// Notes of all threads of one call; made empty, filled by Encoder::forward.
struct Profile {
  std::vector<StopWatch> watches;
  double elapsed = 0.0;  // seconds of the call
};

inline void note(StopWatch* watch, std::size_t layer, Operation operation) {
  if (watch != nullptr) watch->note(layer, operation);
}

}  // namespace fastformers::encoder
