// SPDX-License-Identifier: MIT
// SplitMix64: small, fast, and good enough that neighbouring seeds give unrelated cases. Unlike <random>'s
// distributions it gives the same numbers with every standard library, so a printed seed is a reproduction.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace fuzz {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

  // In [0, bound); bound >= 1. The bias of the multiplication is below 2^-32 * bound.
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(((next() >> 32) * static_cast<std::uint64_t>(bound)) >> 32);
  }

  std::int64_t between(std::int64_t first, std::int64_t last) { return first + below(last - first + 1); }

  bool percent(int chance) { return below(100) < chance; }

  // In [low, high).
  float uniform(float low, float high) {
    return low + static_cast<float>(next() >> 40) * 0x1p-24f * (high - low);
  }

  template <typename T>
  T pick(std::initializer_list<T> choices) {
    return *(choices.begin() + below(static_cast<std::int64_t>(choices.size())));
  }

 private:
  std::uint64_t state_;
};

}  // namespace fuzz
