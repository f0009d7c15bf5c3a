// SPDX-License-Identifier: MIT
// Scratch memory of one thread, kept between calls so that a warm call allocates nothing, and given back when a rare
// large call has made it bigger than kWorkspaceKeepBytes.
#pragma once

#include <cstdint>

namespace fastformers {

constexpr std::int64_t kWorkspaceKeepBytes = std::int64_t{4} << 20;

// Takes pieces of this thread's scratch memory; all pieces are 64-byte aligned and valid until the object dies.
// One Workspace lives per thread at a time (the ops do not nest).
class Workspace {
 public:
  explicit Workspace(std::int64_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <typename T>
  T* take(std::int64_t count) {
    return static_cast<T*>(take_bytes(count * static_cast<std::int64_t>(sizeof(T))));
  }

  // What a piece of `count` elements uses up.
  template <typename T>
  static std::int64_t bytes_for(std::int64_t count) {
    return (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
  }

 private:
  void* take_bytes(std::int64_t bytes);

  unsigned char* next_;
};

}  // namespace fastformers
