// SPDX-License-Identifier: MIT
// The reference layout is the canonical one: a copy.
#include <cstring>

#include "kernels/reference/tables.h"

namespace fastformers::reference {

std::int64_t panels_bytes(std::int64_t columns, std::int64_t depth) { return columns * depth; }

void pack_s8(const std::int8_t* weights, std::int64_t columns, std::int64_t depth, void* panels) {
  std::memcpy(panels, weights, static_cast<std::size_t>(columns * depth));
}

void unpack_s8(const void* panels, std::int64_t columns, std::int64_t depth, std::int8_t* weights) {
  std::memcpy(weights, panels, static_cast<std::size_t>(columns * depth));
}

}  // namespace fastformers::reference
