// SPDX-License-Identifier: MIT
// Computes  out[m, n] = act(fma(float(sum_k q[m, k] w[n, k] - zp[m] colsum[n]), rs[m] cs[n], bias[n])) + residual
//           with q u8, w s8 and the sum in int32 (vpdpbusd: four products and the running sum, never saturating).
// Layout    q row-major, read as 4-byte groups broadcast to a zmm; weights in 16-column panels (packed_layout.h).
// Registers a tile of R rows x P panels keeps R * P <= 24 accumulators, P weight vectors and a broadcast: at most
//           24 + 4 + 1 of the 32 zmm. Widths: 4 panels x 6 rows, 3 x 8, 2 x 12, 1 x 12.
//             vpdpbusd zmm      latency 4, 1 per cycle (Zen 4; 2 per cycle on cores with two 512-bit ports)
//             vpbroadcastd mem  a load, no ALU;   vmovdqa64 zmm mem  1 per cycle
// Bound     vpdpbusd: a 6 x 4 step of depth 4 is 24 of them against 10 loads. One row (M = 1) is bound by reading
//           the weights instead: 64 bytes each vpdpbusd.
// The zero point enters as the accumulators' start value, -zp * colsum, which saves a subtraction at the end;
// partial sums may wrap, the total cannot (kMaxDepth), and int32 addition is exact modulo 2^32.
#include <immintrin.h>

#include <cstring>

#include "base/dcheck.h"
#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/avx512vnni/vnni_tile.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

constexpr std::int64_t kMaxTileRows[5] = {0, 12, 12, 8, 6};  // by panels in the tile
constexpr int kMaxTilePanels = 4;

struct FloatOutput {
  const float* row_scales;
  const std::int32_t* row_zero_points;
  const float* column_scales;
  const std::int32_t* column_sums;
  const float* bias;
  const float* residual;
  std::int64_t residual_stride;
  std::int32_t floor;  // bits: 0 for ReLU, else the smallest integer, which changes nothing
  float* out;
  std::int64_t out_stride;
};

struct IntOutput {
  std::int32_t* out;
  std::int64_t out_stride;
};

// One row of one panel as a linear stream: four sums over depth groups 0, 4, 8 ... / 1, 5, 9 ... / ..., to cover the latency.
// Reading the panels one after the other gets 98 % of the bandwidth of a plain read loop; four streams side by side get half
// of it without prefetches and 90 % with them (Zen 4, weights in L2 or L3).
__attribute__((always_inline)) inline __m512i multiply_row(const std::uint8_t* row, const std::int8_t* panel,
                                                           std::int64_t groups, __m512i start_i32x16) {
  __m512i sum_i32x16[4] = {start_i32x16, _mm512_setzero_si512(), _mm512_setzero_si512(),
                           _mm512_setzero_si512()};
  const auto step = [&](__m512i& sum, std::int64_t group) FF_INLINE_LAMBDA {
    std::int32_t four;
    std::memcpy(&four, row + group * kDepthGroup, sizeof four);
    accumulate(sum, _mm512_set1_epi32(four), _mm512_load_si512(panel + group * kDepthGroup * kPanelColumns));
  };
  std::int64_t group = 0;
  for (; group + 4 <= groups; group += 4) {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA { step(sum_i32x16[i], group + i); });
  }
  for (; group < groups; ++group) step(sum_i32x16[0], group);
  return _mm512_add_epi32(_mm512_add_epi32(sum_i32x16[0], sum_i32x16[1]),
                          _mm512_add_epi32(sum_i32x16[2], sum_i32x16[3]));
}

// One row of one panel: scale, bias, ReLU, residual, store.
__attribute__((always_inline)) inline void store_f32(__m512i sum_i32x16, const FloatOutput& output,
                                                     std::int64_t row, std::int64_t column,
                                                     __m512 column_scale_f32x16, __m512 bias_f32x16,
                                                     __mmask16 valid) {
  const __m512 scale_f32x16 = _mm512_mul_ps(_mm512_set1_ps(output.row_scales[row]), column_scale_f32x16);
  __m512 y_f32x16 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum_i32x16), scale_f32x16, bias_f32x16);
  y_f32x16 = relu_above(y_f32x16, output.floor);
  if (output.residual != nullptr) {
    const float* residual = output.residual + row * output.residual_stride + column;
    y_f32x16 = _mm512_add_ps(y_f32x16, _mm512_maskz_loadu_ps(valid, residual));
  }
  float* out = output.out + row * output.out_stride + column;
  store_lanes(out, y_f32x16, valid);
}

template <int kRows, int kPanels, bool kHalf>
void tile_f32(const Tile& tile, const FloatOutput& output) {
  __m512i sum_i32x16[kRows][kPanels];
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    const __m512i column_sum_i32x16 = _mm512_loadu_si512(output.column_sums + panel * kPanelColumns);
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      const __m512i zero_point_i32x16 = _mm512_set1_epi32(-output.row_zero_points[row]);
      sum_i32x16[row][panel] = _mm512_mullo_epi32(zero_point_i32x16, column_sum_i32x16);
    });
  });
  multiply<kRows, kPanels, kHalf>(tile, sum_i32x16);
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    const std::int64_t column = panel * kPanelColumns;
    const __mmask16 valid = lanes_below(tile.columns - column);
    const __m512 column_scale_f32x16 = _mm512_loadu_ps(output.column_scales + column);
    const __m512 bias_f32x16 =
        output.bias != nullptr ? _mm512_maskz_loadu_ps(valid, output.bias + column) : _mm512_setzero_ps();
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      store_f32(sum_i32x16[row][panel], output, row, column, column_scale_f32x16, bias_f32x16, valid);
    });
  });
}

// A tile of one row and any number of panels.
void row_f32(const Tile& tile, const FloatOutput& output, std::int64_t panels) {
  const __m512i zero_point_i32x16 = _mm512_set1_epi32(-output.row_zero_points[0]);
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    const std::int64_t column = panel * kPanelColumns;
    const __m512i start_i32x16 =
        _mm512_mullo_epi32(zero_point_i32x16, _mm512_loadu_si512(output.column_sums + column));
    const __m512i sum_i32x16 =
        multiply_row(tile.rows, tile.panels + panel * tile.panel_bytes, tile.groups, start_i32x16);
    const __mmask16 valid = lanes_below(tile.columns - column);
    const __m512 bias_f32x16 =
        output.bias != nullptr ? _mm512_maskz_loadu_ps(valid, output.bias + column) : _mm512_setzero_ps();
    store_f32(sum_i32x16, output, 0, column, _mm512_loadu_ps(output.column_scales + column), bias_f32x16,
              valid);
  }
}

template <int kRows, int kPanels, bool kHalf>
void tile_s32(const Tile& tile, const IntOutput& output) {
  __m512i sum_i32x16[kRows][kPanels];
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA { sum_i32x16[row][panel] = _mm512_setzero_si512(); });
  });
  multiply<kRows, kPanels, kHalf>(tile, sum_i32x16);
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const std::int64_t column = panel * kPanelColumns;
      _mm512_mask_storeu_epi32(output.out + row * output.out_stride + column,
                               lanes_below(tile.columns - column), sum_i32x16[row][panel]);
    });
  });
}

using FloatTile = void (*)(const Tile&, const FloatOutput&);
using IntTile = void (*)(const Tile&, const IntOutput&);

// at[half][panels][rows]: filled for every tile that kMaxTileRows allows.
struct Tiles {
  FloatTile f32[2][kMaxTilePanels + 1][13] = {};
  IntTile s32[2][kMaxTilePanels + 1][13] = {};
};

template <int kPanels, int kRows>
constexpr void fill_tiles(Tiles& tiles) {
  tiles.f32[0][kPanels][kRows] = tile_f32<kRows, kPanels, false>;
  tiles.f32[1][kPanels][kRows] = tile_f32<kRows, kPanels, true>;
  tiles.s32[0][kPanels][kRows] = tile_s32<kRows, kPanels, false>;
  tiles.s32[1][kPanels][kRows] = tile_s32<kRows, kPanels, true>;
  if constexpr (kRows > 1) fill_tiles<kPanels, kRows - 1>(tiles);
}

constexpr Tiles all_tiles() {
  Tiles tiles;
  fill_tiles<1, kMaxTileRows[1]>(tiles);
  fill_tiles<2, kMaxTileRows[2]>(tiles);
  fill_tiles<3, kMaxTileRows[3]>(tiles);
  fill_tiles<4, kMaxTileRows[4]>(tiles);
  return tiles;
}

constexpr Tiles kTiles = all_tiles();

// A tile's linear result on its way to GELU: 16 instructions a vector do not fit beside 24 accumulators, so the tile is
// written here (in L1) and not to `out`, which may be the residual that is still to be read.
struct alignas(64) LinearTile {
  static constexpr std::int64_t kStride = kMaxTilePanels * kPanelColumns;
  float values[12 * kStride];
};

// Only the tile's own panels: what lies beyond them was never written, and denormals there cost more than the matmul (8 rows,
// tiles of 3 panels: 20 % slower than 16 rows).
template <int kPanels>
void finish_gelu(const GemmArgs& args, const LinearTile& tile, std::int64_t row, std::int64_t row_count,
                 std::int64_t column) {
  const GeluTable table(args.activation);
  for (std::int64_t m = 0; m < row_count; ++m) {
    gelu_row<kPanels>(
        tile.values + m * LinearTile::kStride,
        args.residual != nullptr ? args.residual + (row + m) * args.residual_stride + column : nullptr,
        args.out + (row + m) * args.out_stride + column, args.columns - column, table);
  }
}

using FinishGelu = void (*)(const GemmArgs&, const LinearTile&, std::int64_t, std::int64_t, std::int64_t);
constexpr FinishGelu kFinishGelu[kMaxTilePanels + 1] = {nullptr, finish_gelu<1>, finish_gelu<2>,
                                                        finish_gelu<3>, finish_gelu<4>};

// The widest tile whose number of passes over the weights is least: 8 rows are one pass of 8 x 3, not two of 4 x 4.
int tile_panels(std::int64_t row_count) {
  if (row_count <= 6) return 4;
  if (row_count <= 8) return 3;
  return 4;
}

template <typename Args>
Tile tile_at(const Args& args, std::int64_t row, std::int64_t panel) {
  const std::int64_t panel_bytes = padded_depth(args.depth) * kPanelColumns;
  return {args.rows + row * args.rows_stride,
          args.rows_stride,
          static_cast<const std::int8_t*>(args.panels) + panel * panel_bytes,
          panel_bytes,
          padded_depth(args.depth) / kDepthGroup,
          args.columns - panel * kPanelColumns};
}

bool is_half(const Tile& tile, std::int64_t panels) {
  return tile.columns <= panels * kPanelColumns - kPanelColumns / 2;
}

// Where a group of panels finds what it brings into L2 for the next one: the panels that follow, or the caller's next matrix.
template <typename Args>
const std::int8_t* panels_after(const Args& args, std::int64_t panel) {
  if (panel < panel_count(args.columns)) {
    return static_cast<const std::int8_t*>(args.panels) + panel * padded_depth(args.depth) * kPanelColumns;
  }
  return static_cast<const std::int8_t*>(args.next_panels);
}

// Calls visit(tile, row, rows, panel, panels) for every tile: panels outermost, so that a group of panels stays in L2 (or L1)
// while all rows pass over it. Rows and panels are split evenly: 13 panels are 4 + 3 + 3 + 3, 16 rows 6 + 5 + 5.
template <typename Args, typename Visit>
void for_each_tile(const Args& args, const Visit& visit) {
  const int widest = tile_panels(args.row_count);
  std::int64_t panel = args.first_panel;
  for (std::int64_t groups = (args.last_panel - panel + widest - 1) / widest; groups > 0; --groups) {
    const std::int64_t panels = (args.last_panel - panel + groups - 1) / groups;
    const std::int64_t tallest = kMaxTileRows[panels];
    const std::int64_t tiles = (args.row_count + tallest - 1) / tallest;
    // The next group is as large as this one; the tiles share its lines evenly.
    const std::int8_t* ahead = panels_after(args, panel + panels);
    const std::int64_t bursts = (padded_depth(args.depth) / kDepthGroup + kBurstGroups - 1) / kBurstGroups;
    // A single tile is bound by reading its own weights; the hardware's prefetchers are busy enough.
    const std::int64_t lines =
        ahead != nullptr && tiles > 1 ? (panels * kBurstGroups + tiles - 1) / tiles : 0;
    std::int64_t row = 0;
    for (std::int64_t left = tiles; left > 0; --left) {
      const std::int64_t rows = (args.row_count - row + left - 1) / left;
      Tile tile = tile_at(args, row, panel);
      tile.ahead = ahead;
      tile.ahead_lines = lines;
      visit(tile, row, rows, panel, panels);
      ahead += lines * bursts * 64;
      row += rows;
    }
    panel += panels;
  }
}

}  // namespace

std::int64_t gemm_scratch_bytes(std::int64_t, std::int64_t) { return 0; }

void gemm_u8s8_s32(const GemmS32Args& args) {
  for_each_tile(args, [&](const Tile& tile, std::int64_t row, std::int64_t rows, std::int64_t panel,
                          std::int64_t panels) {
    const IntOutput output = {args.out + row * args.out_stride + panel * kPanelColumns, args.out_stride};
    kTiles.s32[is_half(tile, panels)][panels][rows](tile, output);
  });
}

void gemm_u8s8_f32(const GemmArgs& args) {
  const bool gelu = args.activation == Activation::kGeluErf || args.activation == Activation::kGeluTanh;
  LinearTile linear;
  const auto output_at = [&](std::int64_t row, std::int64_t panel) {
    const std::int64_t column = panel * kPanelColumns;
    FloatOutput output{};
    output.row_scales = args.row_scales + row;
    output.row_zero_points = args.row_zero_points + row;
    output.column_scales = args.column_scales + column;
    output.column_sums = args.column_sums + column;
    output.bias = args.bias != nullptr ? args.bias + column : nullptr;
    output.floor = args.activation == Activation::kRelu ? 0 : INT32_MIN;
    output.out = gelu ? linear.values : args.out + row * args.out_stride + column;
    output.out_stride = gelu ? LinearTile::kStride : args.out_stride;
    if (gelu || args.residual == nullptr) return output;
    output.residual = args.residual + row * args.residual_stride + column;
    output.residual_stride = args.residual_stride;
    return output;
  };
  if (args.row_count == 1 && !gelu) {
    row_f32(tile_at(args, 0, args.first_panel), output_at(0, args.first_panel),
            args.last_panel - args.first_panel);
    return;
  }
  for_each_tile(args, [&](const Tile& tile, std::int64_t row, std::int64_t rows, std::int64_t panel,
                          std::int64_t panels) {
    kTiles.f32[is_half(tile, panels)][panels][rows](tile, output_at(row, panel));
    if (gelu) kFinishGelu[panels](args, linear, row, rows, panel * kPanelColumns);
  });
}

}  // namespace fastformers::avx512vnni
