// SPDX-License-Identifier: MIT
// The way of a float matmul through its blocks, the same for every instruction set; the tiles are its own. In an anonymous
// namespace, so that each instruction set's file has a copy compiled with its flags.
//
//   rows in blocks of Isa::kRowBlock          what is read of `a` stays in L2 while all panels pass
//     groups of 1 to Isa::widest_group panels   what is read of `b` stays in L2 or L1 while all rows of the block pass
//       depth in blocks of Isa::kDepthBlock       partial sums wait in L1 or L2: storing and loading a float changes nothing
//         tiles of up to Isa::tallest_tile rows     sums in registers
//
// Every division is even: 16 rows in tiles of up to 6 are 6 + 5 + 5, 13 panels in groups of up to 4 are 4 + 3 + 3 + 3.
#pragma once

#include <cstdint>

#include "kernels/extents.h"
#include "kernels/kernel_table.h"
#include "kernels/packed_layout.h"

namespace fastformers {
namespace {

// The operands of a tile, with pointers moved to its first row, panel and k.
struct FloatTile {
  const float* a;
  std::int64_t a_stride;
  const float* b;
  std::int64_t panel_stride;
  std::int64_t row_stride;
  std::int64_t depth;
  std::int64_t columns;   // valid columns from the tile's first one on
  const float* prefetch;  // a panel that will be needed soon, or null
};

// Where its sums come from and what becomes of them.
struct FloatFinish {
  const float* start;  // partial sums to go on from, Isa::kPartialStride apart; null: from zero
  const float* bias;
  const float* residual;
  std::int64_t residual_stride;
  bool relu;
  float* out;
  std::int64_t out_stride;
  bool to_sums;  // `out` is FloatBlocks::sums_, where whole vectors may be written

  bool is_plain() const { return bias == nullptr && residual == nullptr && !relu; }
};

// A block of rows times a group of panels.
struct FloatBlock {
  std::int64_t row;
  std::int64_t rows;
  std::int64_t panel;
  std::int64_t panels;
};

inline bool is_gelu(Activation activation) {
  return activation == Activation::kGeluErf || activation == Activation::kGeluTanh;
}

using FloatTileFunction = void (*)(const FloatTile&, const FloatFinish&);

// at[partial][width][rows]: Shapes::run<rows, width, partial> for each width up to Shapes::kWidest and each count of rows up to
// Shapes::kMaxRows[width], which is largest for a width of 1.
template <typename Shapes>
struct FloatTiles {
  FloatTileFunction at[2][Shapes::kWidest + 1][Shapes::kMaxRows[1] + 1] = {};

  constexpr FloatTiles() { fill_widths<Shapes::kWidest>(); }

 private:
  template <int kWidth>
  constexpr void fill_widths() {
    fill_rows<kWidth, Shapes::kMaxRows[kWidth]>();
    if constexpr (kWidth > 1) fill_widths<kWidth - 1>();
  }

  template <int kWidth, int kRows>
  constexpr void fill_rows() {
    at[0][kWidth][kRows] = Shapes::template run<kRows, kWidth, false>;
    at[1][kWidth][kRows] = Shapes::template run<kRows, kWidth, true>;
    if constexpr (kRows > 1) fill_rows<kWidth, kRows - 1>();
  }
};

template <typename Isa>
class FloatBlocks {
 public:
  explicit FloatBlocks(const GemmF32Args& args) : args_(args) {}

  void run() {
    const std::int64_t panels = panel_count(args_.columns);
    const std::int64_t widest = Isa::widest_group(args_.row_count);
    FloatBlock block{};
    for (std::int64_t left = parts(args_.row_count, Isa::kRowBlock); left > 0; --left) {
      block.rows = parts(args_.row_count - block.row, left);
      block.panel = 0;
      for (std::int64_t groups = parts(panels, widest); groups > 0; --groups) {
        block.panels = parts(panels - block.panel, groups);
        run_block(block);
        block.panel += block.panels;
      }
      block.row += block.rows;
    }
  }

 private:
  void run_block(const FloatBlock& block) {
    std::int64_t k = 0;
    std::int64_t left = args_.depth > Isa::kDepthBlock ? parts(args_.depth, Isa::kDepthBlock) : 1;
    for (; left > 0; --left) {  // once even for a depth of 0
      const std::int64_t depth = parts(args_.depth - k, left);
      run_depth(block, k, depth);
      k += depth;
    }
  }

  // The k in [first_k, first_k + depth).
  void run_depth(const FloatBlock& block, std::int64_t first_k, std::int64_t depth) {
    const bool first = first_k == 0;
    const bool last = first_k + depth == args_.depth;
    FloatTile operands{};
    operands.a_stride = args_.a_stride;
    operands.b = args_.b + block.panel * args_.b_panel_stride + first_k * args_.b_row_stride;
    operands.panel_stride = args_.b_panel_stride;
    operands.row_stride = args_.b_row_stride;
    operands.depth = depth;
    operands.columns = smaller(args_.columns - block.panel * kPanelColumns, block.panels * kPanelColumns);
    FloatBlock tile = block;
    float* sums = sums_;
    std::int64_t nth = 0;
    for (std::int64_t left = parts(block.rows, Isa::tallest_tile(block.panels)); left > 0; --left, ++nth) {
      tile.rows = parts(block.row + block.rows - tile.row, left);
      operands.a = args_.a + tile.row * args_.a_stride + first_k;
      operands.prefetch = following(block, first_k, depth, nth);
      Isa::run_tile(operands, tile.rows, tile.panels, finish_of(tile, first, last, sums));
      if (last && is_gelu(args_.activation)) finish_gelu(tile, operands.columns, sums);
      tile.row += tile.rows;
      sums += tile.rows * Isa::kPartialStride;
    }
  }

  // The nth panel of the block of b that follows: more depth of these panels, or else the start of the next ones; null where
  // all of b is in the cache already.
  const float* following(const FloatBlock& block, std::int64_t first_k, std::int64_t depth,
                         std::int64_t nth) const {
    const std::int64_t panels = panel_count(args_.columns);
    const bool deeper = first_k + depth < args_.depth;
    if (!deeper && block.panels == panels) return nullptr;
    const std::int64_t first = deeper ? block.panel : (block.panel + block.panels) % panels;
    const std::int64_t panel = smaller(first + nth % block.panels, panels - 1);
    return args_.b + panel * args_.b_panel_stride + (deeper ? (first_k + depth) * args_.b_row_stride : 0);
  }

  // Partial sums go to `sums`, and so does what GELU is still to be applied to.
  FloatFinish finish_of(const FloatBlock& tile, bool first, bool last, float* sums) const {
    FloatFinish finish{};
    finish.start = first ? nullptr : sums;
    finish.out = sums;
    finish.out_stride = Isa::kPartialStride;
    finish.to_sums = true;
    if (!last) return finish;
    const std::int64_t column = tile.panel * kPanelColumns;
    finish.bias = args_.bias != nullptr ? args_.bias + column : nullptr;
    finish.relu = args_.activation == Activation::kRelu;
    if (!is_gelu(args_.activation)) set_output(finish, tile);
    return finish;
  }

  void set_output(FloatFinish& finish, const FloatBlock& tile) const {
    const std::int64_t column = tile.panel * kPanelColumns;
    finish.out = args_.out + tile.row * args_.out_stride + column;
    finish.out_stride = args_.out_stride;
    finish.to_sums = false;
    finish.residual_stride = args_.residual_stride;
    if (args_.residual != nullptr)
      finish.residual = args_.residual + tile.row * args_.residual_stride + column;
  }

  void finish_gelu(const FloatBlock& tile, std::int64_t columns, const float* sums) const {
    FloatFinish finish{};
    finish.start = sums;
    set_output(finish, tile);
    Isa::finish_gelu(args_.activation, tile.rows, columns, finish);
  }

  const GemmF32Args& args_;
  // Sums of a block, or linear results on their way to GELU. Not in `out`, which may be the residual still to be read.
  alignas(64) float sums_[Isa::kRowBlock * Isa::kPartialStride];
};

}  // namespace
}  // namespace fastformers
