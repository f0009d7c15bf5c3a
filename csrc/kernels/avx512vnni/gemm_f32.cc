// SPDX-License-Identifier: MIT
// Computes  out[m, n] = act(sum_k a[m, k] b[k, n] + bias[n]) + residual[m, n], the sum one chain of fma over ascending k
//           from 0, so that every tile shape and every instruction set gives the same bits.
// Layout    a row-major, read as floats broadcast to a zmm; b in panels of 16 columns, one k a zmm (pack_f32), or a
//           row-major matrix in place. The last panel, where it is partial, is read through a mask.
// Registers a tile of R rows x P panels keeps R * P <= 24 accumulators, P vectors of b and a broadcast: at most
//           24 + 4 + 1 of the 32 zmm. Widths: 4 panels x 6 rows, 3 x 8, 2 x 12, 1 x 12; one row: up to 8 panels, as each is
//           a chain of its own and only several of them cover the latency.
//             vfmadd231ps zmm   latency 4, 1 per cycle (Zen 4; 2 per cycle on cores with two 512-bit ports)
//             vbroadcastss mem  a load, no ALU;   vmovups zmm mem  1 per cycle
// Bound     vfmadd231ps: one k of a 6 x 4 tile is 24 of them against 10 loads and a prefetch. Up to about 8 rows are bound
//           by reading b.
// A tile also prefetches one panel of what comes next: the first tile of a group of panels otherwise waits for L3, 768 x 768
// at M = 64 then reaches 92 % of the ceiling instead of 97 %, 3072 x 768 86 % instead of 95 % (Xeon, two 512-bit ports).
// A deep sum is cut into blocks of k whose partial sums wait in L1 or L2: storing and loading a float changes nothing.
#include <immintrin.h>

#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

constexpr int kMaxTilePanels = 8;  // of one row; of more rows 4
constexpr std::int64_t kMaxTileRows[kMaxTilePanels + 1] = {0, 12, 12, 8, 6, 1, 1, 1, 1};  // by panels
constexpr int kTallestTile = 12;

// Rows and k whose operands stay in L2: 120 x 1024 of a and 1024 x 64 of b are 480 + 256 KiB.
constexpr std::int64_t kRowBlock = 120;
constexpr std::int64_t kDepthBlock = 1024;

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

std::int64_t parts(std::int64_t count, std::int64_t largest) { return (count + largest - 1) / largest; }

// The operands of a tile, with pointers moved to its first row, panel and k.
struct Tile {
  const float* a;
  std::int64_t a_stride;
  const float* b;
  std::int64_t panel_stride;
  std::int64_t row_stride;
  std::int64_t depth;
  std::int64_t columns;   // valid columns from the tile's first one on
  const float* prefetch;  // a panel that will be needed soon
};

// Where its sums come from and what becomes of them.
struct Finish {
  const float* start;  // partial sums to go on from, PartialSums::kStride apart; null: from zero
  const float* bias;
  const float* residual;
  std::int64_t residual_stride;
  bool relu;
  float* out;
  std::int64_t out_stride;
};

// Sums, or linear results on their way to GELU, of a block of rows and a group of panels. Not in `out`, which may be the
// residual that is still to be read.
struct alignas(64) PartialSums {
  static constexpr std::int64_t kStride = 4 * kPanelColumns;  // one row of 8 panels is alone
  float values[kRowBlock * kStride];
};

template <int kRows, int kPanels, bool kPartial>
__attribute__((always_inline)) inline void multiply(const Tile& tile, __m512 (&sum_f32x16)[kRows][kPanels]) {
  const float* a = tile.a;
  const float* b = tile.b;
  const float* prefetch = tile.prefetch;
  const std::int64_t a_stride = tile.a_stride;
  const std::int64_t panel_stride = tile.panel_stride;
  const std::int64_t row_stride = tile.row_stride;
  const __mmask16 valid = lanes_below(tile.columns - (kPanels - 1) * kPanelColumns);
  for (std::int64_t k = tile.depth; k > 0; --k) {
    __m512 b_f32x16[kPanels];
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const float* at = b + panel * panel_stride;
      b_f32x16[panel] =
          kPartial && panel == kPanels - 1 ? _mm512_maskz_loadu_ps(valid, at) : _mm512_loadu_ps(at);
    });
    if constexpr (kRows * kPanels > 12) {
      _mm_prefetch(reinterpret_cast<const char*>(prefetch), _MM_HINT_T1);
      prefetch += row_stride;
    }
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      const __m512 a_f32x16 = _mm512_set1_ps(a[row * a_stride]);
      unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
        sum_f32x16[row][panel] = _mm512_fmadd_ps(a_f32x16, b_f32x16[panel], sum_f32x16[row][panel]);
      });
    });
    a += 1;
    b += row_stride;
  }
}

// One row of one panel: bias, ReLU, residual, store.
__attribute__((always_inline)) inline void store(__m512 y_f32x16, const Finish& finish, std::int64_t row,
                                                 std::int64_t column, __m512 bias_f32x16, __mmask16 valid) {
  y_f32x16 = _mm512_add_ps(y_f32x16, bias_f32x16);
  if (finish.relu) y_f32x16 = _mm512_max_ps(_mm512_setzero_ps(), y_f32x16);
  if (finish.residual != nullptr) {
    const float* residual = finish.residual + row * finish.residual_stride + column;
    y_f32x16 = _mm512_add_ps(y_f32x16, _mm512_maskz_loadu_ps(valid, residual));
  }
  store_lanes(finish.out + row * finish.out_stride + column, y_f32x16, valid);
}

template <int kRows, int kPanels, bool kPartial>
void run_tile(const Tile& tile, const Finish& finish) {
  __m512 sum_f32x16[kRows][kPanels];
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      constexpr std::int64_t place = row * PartialSums::kStride + panel * kPanelColumns;
      sum_f32x16[row][panel] =
          finish.start != nullptr ? _mm512_load_ps(finish.start + place) : _mm512_setzero_ps();
    });
  });
  multiply<kRows, kPanels, kPartial>(tile, sum_f32x16);
  const bool plain = finish.bias == nullptr && !finish.relu && finish.residual == nullptr;
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    const std::int64_t column = panel * kPanelColumns;
    const bool partial = kPartial && panel == kPanels - 1;
    const __mmask16 valid = partial ? lanes_below(tile.columns - column) : static_cast<__mmask16>(0xFFFF);
    if (plain) {  // the scores of attention, of small depth: what is not done there counts
      unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
        store_lanes(finish.out + row * finish.out_stride + column, sum_f32x16[row][panel], valid);
      });
      return;
    }
    // x + 0 is not x for x = -0, but x + -0 is.
    const __m512 bias_f32x16 =
        finish.bias != nullptr ? _mm512_maskz_loadu_ps(valid, finish.bias + column) : _mm512_set1_ps(-0.0f);
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      store(sum_f32x16[row][panel], finish, row, column, bias_f32x16, valid);
    });
  });
}

// at[partial][panels][rows]: filled for every tile that kMaxTileRows allows.
struct Tiles {
  void (*at[2][kMaxTilePanels + 1][kTallestTile + 1])(const Tile&, const Finish&) = {};
};

template <int kPanels, int kRows>
constexpr void fill_rows(Tiles& tiles) {
  tiles.at[0][kPanels][kRows] = run_tile<kRows, kPanels, false>;
  tiles.at[1][kPanels][kRows] = run_tile<kRows, kPanels, true>;
  if constexpr (kRows > 1) fill_rows<kPanels, kRows - 1>(tiles);
}

template <int kPanels>
constexpr void fill_tiles(Tiles& tiles) {
  fill_rows<kPanels, kMaxTileRows[kPanels]>(tiles);
  if constexpr (kPanels > 1) fill_tiles<kPanels - 1>(tiles);
}

constexpr Tiles all_tiles() {
  Tiles tiles;
  fill_tiles<kMaxTilePanels>(tiles);
  return tiles;
}

constexpr Tiles kTiles = all_tiles();

// GELU and residual of up to four vectors of linear results, `columns` of them valid, which is to say wanted.
void finish_gelu_row(const float* in, const float* residual, float* out, std::int64_t columns,
                     const GeluTable& table) {
  __m512 y_f32x16[4];
  unrolled<4>([&](auto i) FF_INLINE_LAMBDA { y_f32x16[i] = _mm512_load_ps(in + 16 * i); });
  gelu(y_f32x16, table);
  unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
    const std::int64_t n = 16 * i;
    if (n >= columns) return;
    const __mmask16 valid = lanes_below(columns - n);
    if (residual != nullptr)
      y_f32x16[i] = _mm512_add_ps(y_f32x16[i], _mm512_maskz_loadu_ps(valid, residual + n));
    store_lanes(out + n, y_f32x16[i], valid);
  });
}

// A block of rows times a group of panels, all of the depth.
struct Block {
  std::int64_t row;
  std::int64_t rows;
  std::int64_t panel;
  std::int64_t panels;
};

void finish_gelu(const GemmF32Args& args, const Block& tile, const float* in) {
  const GeluTable table(args.activation);
  const std::int64_t first = tile.panel * kPanelColumns;
  const std::int64_t last = smaller(first + tile.panels * kPanelColumns, args.columns);
  for (std::int64_t m = 0; m < tile.rows; ++m, in += PartialSums::kStride) {
    float* out = args.out + (tile.row + m) * args.out_stride;
    const float* residual =
        args.residual != nullptr ? args.residual + (tile.row + m) * args.residual_stride : nullptr;
    for (std::int64_t n = first; n < last; n += 4 * kPanelColumns) {
      finish_gelu_row(in + (n - first), residual != nullptr ? residual + n : nullptr, out + n, last - n,
                      table);
    }
  }
}

bool is_gelu(Activation activation) {
  return activation == Activation::kGeluErf || activation == Activation::kGeluTanh;
}

// Partial sums go to `sums`, as does what GELU is still to be applied to.
Finish finish_of(const GemmF32Args& args, const Block& tile, bool first, bool last, float* sums) {
  Finish finish{};
  finish.start = first ? nullptr : sums;
  finish.out = sums;
  finish.out_stride = PartialSums::kStride;
  if (!last) return finish;
  const std::int64_t column = tile.panel * kPanelColumns;
  finish.bias = args.bias != nullptr ? args.bias + column : nullptr;
  finish.relu = args.activation == Activation::kRelu;
  if (is_gelu(args.activation)) return finish;
  finish.out = args.out + tile.row * args.out_stride + column;
  finish.out_stride = args.out_stride;
  finish.residual =
      args.residual != nullptr ? args.residual + tile.row * args.residual_stride + column : nullptr;
  finish.residual_stride = args.residual_stride;
  return finish;
}

// The block of b that follows: more depth of these panels, or else the start of the next ones.
const float* following(const GemmF32Args& args, const Block& block, std::int64_t next_k, std::int64_t nth) {
  const std::int64_t panels = panel_count(args.columns);
  const std::int64_t first = next_k < args.depth ? block.panel : (block.panel + block.panels) % panels;
  const std::int64_t panel = smaller(first + nth % block.panels, panels - 1);
  return args.b + panel * args.b_panel_stride + next_k % args.depth * args.b_row_stride;
}

// The k in [first_k, first_k + depth). Rows are split evenly: 16 are 6 + 5 + 5.
void run_depth(const GemmF32Args& args, const Block& block, std::int64_t first_k, std::int64_t depth,
               PartialSums& partial) {
  const bool first = first_k == 0;
  const bool last = first_k + depth >= args.depth;
  Tile operands{};
  operands.a_stride = args.a_stride;
  operands.b = args.b + block.panel * args.b_panel_stride + first_k * args.b_row_stride;
  operands.panel_stride = args.b_panel_stride;
  operands.row_stride = args.b_row_stride;
  operands.depth = depth;
  operands.columns = args.columns - block.panel * kPanelColumns;
  const bool is_partial = operands.columns < block.panels * kPanelColumns;
  Block tile = block;
  float* sums = partial.values;
  std::int64_t nth = 0;
  for (std::int64_t left = parts(block.rows, kMaxTileRows[block.panels]); left > 0; --left, ++nth) {
    tile.rows = parts(block.row + block.rows - tile.row, left);
    operands.a = args.a + tile.row * args.a_stride + first_k;
    operands.prefetch = depth > 0 ? following(args, block, first_k + depth, nth) : nullptr;
    kTiles.at[is_partial][tile.panels][tile.rows](operands, finish_of(args, tile, first, last, sums));
    if (last && is_gelu(args.activation)) finish_gelu(args, tile, sums);
    tile.row += tile.rows;
    sums += tile.rows * PartialSums::kStride;
  }
}

void run_block(const GemmF32Args& args, const Block& block, PartialSums& partial) {
  std::int64_t k = 0;
  std::int64_t left = args.depth > kDepthBlock ? parts(args.depth, kDepthBlock) : 1;
  for (; left > 0; --left) {
    const std::int64_t depth = parts(args.depth - k, left);
    run_depth(args, block, k, depth, partial);
    k += depth;
  }
}

// The widest group whose number of passes over b is least: 8 rows are one pass of 8 x 3, not two of 4 x 4.
std::int64_t widest_group(std::int64_t row_count) {
  if (row_count == 1) return kMaxTilePanels;
  return row_count == 7 || row_count == 8 ? 3 : 4;
}

}  // namespace

void gemm_f32(const GemmF32Args& args) {
  PartialSums partial;
  const std::int64_t panels = panel_count(args.columns);
  Block block{};
  for (std::int64_t left = parts(args.row_count, kRowBlock); left > 0; --left) {
    block.rows = parts(args.row_count - block.row, left);
    block.panel = 0;
    for (std::int64_t groups = parts(panels, widest_group(args.row_count)); groups > 0; --groups) {
      block.panels = parts(panels - block.panel, groups);
      run_block(args, block, partial);
      block.panel += block.panels;
    }
    block.row += block.rows;
  }
}

}  // namespace fastformers::avx512vnni
