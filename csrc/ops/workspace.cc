// SPDX-License-Identifier: MIT
#include "ops/workspace.h"

#include "base/aligned_buffer.h"

namespace fastformers {
namespace {

thread_local AlignedBuffer t_buffer;

}  // namespace

Workspace::Workspace(std::int64_t bytes)
    : next_(static_cast<unsigned char*>(t_buffer.reserve(static_cast<std::size_t>(bytes)))) {}

Workspace::~Workspace() {
  if (static_cast<std::int64_t>(t_buffer.capacity()) > kWorkspaceKeepBytes) t_buffer.release();
}

void* Workspace::take_bytes(std::int64_t bytes) {
  void* piece = next_;
  next_ += bytes_for<unsigned char>(bytes);
  return piece;
}

}  // namespace fastformers
