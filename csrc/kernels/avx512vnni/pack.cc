// SPDX-License-Identifier: MIT
// Computes  canonical s8 [columns, depth] <-> panels of 16 columns x groups of 4 depth.
// Layout    see kernels/packed_layout.h; one 64-byte group is what one zmm of the matmul loads.
// Registers none worth a name: packing runs once per model, so it stays scalar and readable.
// Bound     memory: BERT-base (85 M weights) packs in about 0.1 s on one core.
#include <cstring>

#include "kernels/avx512vnni/tables.h"
#include "kernels/packed_layout.h"

namespace fastformers::avx512vnni {

std::int64_t panels_bytes(std::int64_t columns, std::int64_t depth) {
  return panel_count(columns) * kPanelColumns * padded_depth(depth);
}

void pack_s8(const std::int8_t* weights, std::int64_t columns, std::int64_t depth, void* panels) {
  auto* out = static_cast<std::int8_t*>(panels);
  std::memset(out, 0, static_cast<std::size_t>(panels_bytes(columns, depth)));
  for (std::int64_t n = 0; n < columns; ++n) {
    std::int8_t* panel = out + n / kPanelColumns * kPanelColumns * padded_depth(depth);
    std::int8_t* column = panel + n % kPanelColumns * kDepthGroup;
    const std::int8_t* row = weights + n * depth;
    std::int64_t k = 0;
    for (; k + kDepthGroup <= depth; k += kDepthGroup) {
      std::memcpy(column + k * kPanelColumns, row + k, kDepthGroup);
    }
    for (std::int64_t i = 0; k + i < depth; ++i) column[k * kPanelColumns + i] = row[k + i];
  }
}

void unpack_s8(const void* panels, std::int64_t columns, std::int64_t depth, std::int8_t* weights) {
  const auto* in = static_cast<const std::int8_t*>(panels);
  for (std::int64_t n = 0; n < columns; ++n) {
    const std::int8_t* panel = in + n / kPanelColumns * kPanelColumns * padded_depth(depth);
    const std::int8_t* column = panel + n % kPanelColumns * kDepthGroup;
    for (std::int64_t k = 0; k < depth; ++k) {
      weights[n * depth + k] = column[k / kDepthGroup * kDepthGroup * kPanelColumns + k % kDepthGroup];
    }
  }
}

}  // namespace fastformers::avx512vnni
