// SPDX-License-Identifier: MIT
// A growable scratch area aligned to the cache line. Its contents are not kept when it grows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace fastformers {

constexpr std::size_t kCacheLineBytes = 64;

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~AlignedBuffer() { std::free(data_); }

  // At least `bytes` bytes, 64-byte aligned; throws std::bad_alloc and keeps nothing when there is no memory.
  void* reserve(std::size_t bytes) {
    if (bytes <= capacity_) return data_;
    release();
    const auto rounded = static_cast<std::size_t>(round_up(static_cast<std::int64_t>(bytes), 4096));
    data_ = std::aligned_alloc(kCacheLineBytes, rounded);
    if (data_ == nullptr) throw std::bad_alloc();
    capacity_ = rounded;
    return data_;
  }

  void release() {
    std::free(data_);
    data_ = nullptr;
    capacity_ = 0;
  }

  void* data() const { return data_; }
  std::size_t capacity() const { return capacity_; }

 private:
  void* data_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace fastformers
