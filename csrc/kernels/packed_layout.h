// SPDX-License-Identifier: MIT
// How packed weights lie in memory. Canonical weights are s8 [columns, depth], row-major (torch's [N, K]).
//
//   reference    canonical, unchanged.
//   avx512vnni   panels of 16 columns, one after the other; inside a panel, depth in groups of 4:
//                  panel p, group g:  | c0 k0 k1 k2 k3 | c1 k0 k1 k2 k3 | ... | c15 k0 k1 k2 k3 |   64 bytes = 1 zmm
//                with c_i = column 16p + i and k_j = 4g + j. vpdpbusd multiplies one group by 4 broadcast activations.
//   avx2         the same with depth in groups of 2 and weights widened to s16, because vpmaddubsw would
//                saturate and vpmaddwd cannot:  | c0 k0 k1 | ... | c15 k0 k1 |   64 bytes = 2 ymm
//
// Columns are padded to 16 and depth to 4 with zeros; padding is at most 15 columns and 3 rows.
// Why 16 columns and not 64: a tile takes 1 to 4 neighbouring panels, so any column count splits evenly between
// tiles and threads (N = 312 is 20 panels: 10 + 10), and one row (M = 1) reads the weights as one linear stream.
#pragma once

#include <cstdint>

namespace fastformers {

constexpr std::int64_t kPanelColumns = 16;
constexpr std::int64_t kDepthGroup = 4;

constexpr std::int64_t panel_count(std::int64_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns;
}

// Depth padded to whole groups: the number of bytes a quantized row must have.
constexpr std::int64_t padded_depth(std::int64_t depth) {
  return (depth + kDepthGroup - 1) / kDepthGroup * kDepthGroup;
}

}  // namespace fastformers
