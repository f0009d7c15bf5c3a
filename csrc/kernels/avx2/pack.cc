// SPDX-License-Identifier: MIT
// Computes  canonical s8 [columns, depth] <-> panels of 16 columns x groups of 2 depth, widened to s16.
// Layout    see kernels/packed_layout.h; one 64-byte group is what two ymm of the matmul load.
// Registers none worth a name: packing runs once per model, so it stays scalar and readable.
// Bound     memory, twice the bytes of the VNNI layout: the price of exact products without VNNI.
#include <cstring>

#include "kernels/avx2/tables.h"
#include "kernels/packed_layout.h"

namespace fastformers::avx2 {
namespace {

// Place of weight [n, k] in the panels.
std::int64_t place(std::int64_t n, std::int64_t k, std::int64_t depth) {
  const std::int64_t panel = n / kPanelColumns * kPanelColumns * padded_depth(depth);
  return panel + k / 2 * 2 * kPanelColumns + n % kPanelColumns * 2 + k % 2;
}

}  // namespace

std::int64_t panels_bytes(std::int64_t columns, std::int64_t depth) {
  return panel_count(columns) * kPanelColumns * padded_depth(depth) * 2;
}

void pack_s8(const std::int8_t* weights, std::int64_t columns, std::int64_t depth, void* panels) {
  auto* out = static_cast<std::int16_t*>(panels);
  std::memset(out, 0, static_cast<std::size_t>(panels_bytes(columns, depth)));
  for (std::int64_t n = 0; n < columns; ++n) {
    for (std::int64_t k = 0; k < depth; ++k) out[place(n, k, depth)] = weights[n * depth + k];
  }
}

void unpack_s8(const void* panels, std::int64_t columns, std::int64_t depth, std::int8_t* weights) {
  const auto* in = static_cast<const std::int16_t*>(panels);
  for (std::int64_t n = 0; n < columns; ++n) {
    for (std::int64_t k = 0; k < depth; ++k) {
      weights[n * depth + k] = static_cast<std::int8_t>(in[place(n, k, depth)]);
    }
  }
}

}  // namespace fastformers::avx2
