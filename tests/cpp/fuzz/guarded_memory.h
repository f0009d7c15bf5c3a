// SPDX-License-Identifier: MIT
// Buffers whose surroundings tell on a kernel that leaves them: an unmapped page before and after every mapping, and
// canary bytes between the buffer and those pages. Mappings are kept between cases, because mmap and page faults
// would otherwise cost more than the kernels.
//
//   | PROT_NONE | canary ... | buffer ... | canary ... | PROT_NONE |
//
//   kEnd     the buffer's last byte is the last one before the guard page: reading one byte too many is a SIGSEGV
//   kStart   its first byte is the first one after the guard page
//   kMiddle  at a random offset of 0..63 bytes from a cache line, canaries on both sides
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "fuzz/random.h"

namespace fuzz {

enum class Placement { kEnd, kStart, kMiddle };

constexpr std::int64_t kPageBytes = 4096;
constexpr std::int64_t kCanaryBytes = 128;
constexpr std::uint8_t kCanary = 0xA5;

// One mapping between two guard pages, and the buffer that lies in it for the current case.
class Region {
 public:
  Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region() { unmap(); }

  std::uint8_t* place(std::int64_t bytes, std::int64_t alignment, Placement placement, Random& random) {
    ensure(bytes + 64 + kCanaryBytes);
    std::int64_t offset = 0;
    if (placement == Placement::kEnd) offset = (capacity_ - bytes) / alignment * alignment;
    if (placement == Placement::kMiddle) {
      const std::int64_t steps = alignment < 64 ? 64 / alignment : 1;
      offset = kCanaryBytes / 2 + random.below(steps) * alignment;
    }
    begin_ = offset;
    end_ = offset + bytes;
    std::memset(first_ + clamped(begin_ - kCanaryBytes), kCanary,
                static_cast<std::size_t>(begin_ - clamped(begin_ - kCanaryBytes)));
    std::memset(first_ + end_, kCanary, static_cast<std::size_t>(clamped(end_ + kCanaryBytes) - end_));
    return first_ + begin_;
  }

  bool canaries_intact() const {
    for (std::int64_t i = clamped(begin_ - kCanaryBytes); i < begin_; ++i) {
      if (first_[i] != kCanary) return false;
    }
    for (std::int64_t i = end_; i < clamped(end_ + kCanaryBytes); ++i) {
      if (first_[i] != kCanary) return false;
    }
    return true;
  }

 private:
  std::int64_t clamped(std::int64_t offset) const {
    return offset < 0 ? 0 : (offset > capacity_ ? capacity_ : offset);
  }

  void ensure(std::int64_t bytes) {
    if (bytes <= capacity_) return;
    unmap();
    capacity_ = 4 * kPageBytes;
    while (capacity_ < bytes) capacity_ *= 2;
    void* mapping = mmap(nullptr, static_cast<std::size_t>(capacity_ + 2 * kPageBytes), PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    first_ = static_cast<std::uint8_t*>(mapping) + kPageBytes;
    if (mapping == MAP_FAILED ||
        mprotect(first_, static_cast<std::size_t>(capacity_), PROT_READ | PROT_WRITE) != 0) {
      std::perror("fuzz_kernels: cannot map a test buffer");
      std::exit(2);
    }
  }

  void unmap() {
    if (first_ != nullptr) munmap(first_ - kPageBytes, static_cast<std::size_t>(capacity_ + 2 * kPageBytes));
    first_ = nullptr;
  }

  std::uint8_t* first_ = nullptr;
  std::int64_t capacity_ = 0;
  std::int64_t begin_ = 0;
  std::int64_t end_ = 0;
};

// The buffers of one case; clear() keeps the mappings for the next one.
class Arena {
 public:
  template <typename T>
  T* take(std::int64_t count, Placement placement, Random& random, std::int64_t alignment = alignof(T)) {
    if (used_ == regions_.size()) regions_.emplace_back();
    const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
    return reinterpret_cast<T*>(regions_[used_++].place(bytes, alignment, placement, random));
  }

  bool canaries_intact() const {
    for (std::size_t i = 0; i < used_; ++i) {
      if (!regions_[i].canaries_intact()) return false;
    }
    return true;
  }

  void clear() { used_ = 0; }

 private:
  std::deque<Region> regions_;
  std::size_t used_ = 0;
};

// A matrix whose rows lie `stride` elements apart and whose last row ends with its last element.
template <typename T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;

  std::int64_t count() const { return rows == 0 ? 0 : (rows - 1) * stride + columns; }
  T& at(std::int64_t row, std::int64_t column) const { return data[row * stride + column]; }
  std::vector<T> copy() const { return std::vector<T>(data, data + count()); }
};

template <typename T>
Matrix<T> take_matrix(Arena& arena, std::int64_t rows, std::int64_t columns, std::int64_t stride,
                      Placement placement, Random& random) {
  Matrix<T> matrix{nullptr, rows, columns, stride};
  matrix.data = arena.take<T>(matrix.count(), placement, random);
  return matrix;
}

}  // namespace fuzz
