// SPDX-License-Identifier: MIT
// A growable scratch area aligned to the cache line. Its contents are not kept when it grows.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace fastformers {

constexpr std::size_t kCacheLineBytes = 64;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

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
    // Large areas ask for huge pages: streaming 85 MB of weights through 4 KiB pages misses the TLB at every one.
    const bool huge = bytes >= 2 * kHugePageBytes;
    const auto unit = static_cast<std::int64_t>(huge ? kHugePageBytes : 4096);
    const auto rounded = static_cast<std::size_t>(round_up(static_cast<std::int64_t>(bytes), unit));
    data_ = std::aligned_alloc(huge ? kHugePageBytes : kCacheLineBytes, rounded);
    if (data_ == nullptr) throw std::bad_alloc();
    if (huge) madvise(data_, rounded, MADV_HUGEPAGE);  // advice: without huge pages it is merely slower
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
