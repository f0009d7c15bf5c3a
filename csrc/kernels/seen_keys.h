// SPDX-License-Identifier: MIT
// Which keys neighbouring rows of attention see; kernel_table.h says what a window is.
#pragma once

#include <cstdint>

#include "kernels/extents.h"
#include "kernels/kernel_table.h"
#include "kernels/packed_layout.h"

namespace fastformers {
namespace {

// Neighbouring rows [row, row + count) and the panels of keys that one of them sees.
struct RowTile {
  std::int64_t row;
  std::int64_t count;
  std::int64_t first_panel;
  std::int64_t last_panel;
  std::int64_t first_seen;  // by the first row, and not cut off at the sequence's ends
  std::int64_t last_seen;
  std::int64_t step;  // what the next row sees is so many keys further on
  std::int64_t end;   // past the last key that a row sees
};

inline RowTile row_tile(const AttendArgs& args, std::int64_t row, std::int64_t count) {
  if (args.window < 0) return {row, count, 0, panel_count(args.keys), 0, args.keys, 0, args.keys};
  const std::int64_t first = args.first_query + row - args.window;
  const std::int64_t last = args.first_query + row + args.window + 1;
  const std::int64_t end = smaller(last + count - 1, args.keys);
  return {row, count, larger(first, 0) / kPanelColumns, panel_count(end), first, last, 1, end};
}

}  // namespace
}  // namespace fastformers
