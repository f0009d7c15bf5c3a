// SPDX-License-Identifier: MIT
// Computes  out[m, n] = act(fma(float(sum_k q[m, k] w[n, k] - zp[m] colsum[n]), rs[m] cs[n], bias[n])) + residual
//           with q u8 and w s8, both widened to s16: vpmaddwd adds two products into an int32, which cannot saturate
//           (vpmaddubsw could: 2 * 255 * 127 > 32,767).
// Layout    q is widened once for each call into scratch, row-major s16, read as pairs broadcast to a ymm; weights in
//           16-column panels of s16 pairs (packed_layout.h).
// Registers a tile of R <= 6 rows x 1 panel: 12 accumulators, 2 weight vectors, a broadcast and a product: 16 ymm.
//             vpmaddwd ymm  latency 3, 2 per cycle;   vpaddd ymm  latency 1, 4 per cycle (Zen 4)
// Bound     vector ALU: four instructions (two vpmaddwd, two vpaddd) for 32 products, 24 in a 6-row step against 8 loads.
#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/madd_tile.h"
#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

constexpr int kTileRows = 6;
struct FloatOutput {
  const float* row_scales;
  const std::int32_t* row_zero_points;
  const float* column_scales;
  const std::int32_t* column_sums;
  const float* bias;
  const float* residual;
  std::int64_t residual_stride;
  Activation activation;
  float* out;
  std::int64_t out_stride;
};

struct IntOutput {
  std::int32_t* out;
  std::int64_t out_stride;
};

// One row of half a panel: zero point, scale, bias, activation, residual, store.
__attribute__((always_inline)) inline void store_f32(__m256i sum_i32x8, const FloatOutput& output,
                                                     std::int64_t row, std::int64_t column,
                                                     __m256i valid_s32x8) {
  const __m256i column_sum_i32x8 =
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(output.column_sums + column));
  const __m256i zero_i32x8 =
      _mm256_mullo_epi32(_mm256_set1_epi32(output.row_zero_points[row]), column_sum_i32x8);
  const __m256 corrected_f32x8 = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum_i32x8, zero_i32x8));
  const __m256 scale_f32x8 =
      _mm256_mul_ps(_mm256_set1_ps(output.row_scales[row]), _mm256_loadu_ps(output.column_scales + column));
  const __m256 bias_f32x8 =
      output.bias != nullptr ? _mm256_maskload_ps(output.bias + column, valid_s32x8) : _mm256_setzero_ps();
  __m256 y_f32x8 = activate(_mm256_fmadd_ps(corrected_f32x8, scale_f32x8, bias_f32x8), output.activation);
  if (output.residual != nullptr) {
    const float* residual = output.residual + row * output.residual_stride + column;
    y_f32x8 = _mm256_add_ps(y_f32x8, _mm256_maskload_ps(residual, valid_s32x8));
  }
  _mm256_maskstore_ps(output.out + row * output.out_stride + column, valid_s32x8, y_f32x8);
}

template <int kRows>
void tile_f32(const Tile& tile, const FloatOutput& output) {
  __m256i sum_i32x8[kRows][2];
  unrolled<kRows>([&](auto row)
                      FF_INLINE_LAMBDA { sum_i32x8[row][0] = sum_i32x8[row][1] = _mm256_setzero_si256(); });
  multiply<kRows>(tile, sum_i32x8);
  const __m256i low_s32x8 = lanes_below(tile.columns);
  const __m256i high_s32x8 = lanes_below(tile.columns - 8);
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    store_f32(sum_i32x8[row][0], output, row, 0, low_s32x8);
    if (tile.columns > 8) store_f32(sum_i32x8[row][1], output, row, 8, high_s32x8);
  });
}

template <int kRows>
void tile_s32(const Tile& tile, const IntOutput& output) {
  __m256i sum_i32x8[kRows][2];
  unrolled<kRows>([&](auto row)
                      FF_INLINE_LAMBDA { sum_i32x8[row][0] = sum_i32x8[row][1] = _mm256_setzero_si256(); });
  multiply<kRows>(tile, sum_i32x8);
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    std::int32_t* out = output.out + row * output.out_stride;
    _mm256_maskstore_epi32(out, lanes_below(tile.columns), sum_i32x8[row][0]);
    if (tile.columns > 8) _mm256_maskstore_epi32(out + 8, lanes_below(tile.columns - 8), sum_i32x8[row][1]);
  });
}

constexpr void (*kFloatTiles[kTileRows + 1])(const Tile&, const FloatOutput&) = {
    nullptr, tile_f32<1>, tile_f32<2>, tile_f32<3>, tile_f32<4>, tile_f32<5>, tile_f32<6>};
constexpr void (*kIntTiles[kTileRows + 1])(const Tile&, const IntOutput&) = {
    nullptr, tile_s32<1>, tile_s32<2>, tile_s32<3>, tile_s32<4>, tile_s32<5>, tile_s32<6>};

// u8 rows -> s16 rows of padded_depth values in scratch.
void widen_rows(const std::uint8_t* rows, std::int64_t rows_stride, std::int64_t row_count,
                std::int64_t depth, std::int16_t* wide) {
  const std::int64_t length = padded_depth(depth);
  for (std::int64_t m = 0; m < row_count; ++m, rows += rows_stride, wide += length) {
    std::int64_t k = 0;
    for (; k + 16 <= length; k += 16) {
      const __m128i bytes_u8x16 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + k));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(wide + k), _mm256_cvtepu8_epi16(bytes_u8x16));
    }
    for (; k < length; ++k) wide[k] = rows[k];
  }
}

// Widens the rows, then calls visit(tile, row, rows, panel) for every tile, panels outermost so that one panel stays in
// cache while all rows pass over it.
template <typename Args, typename Visit>
void for_each_tile(const Args& args, const Visit& visit) {
  auto* wide = static_cast<std::int16_t*>(args.scratch);
  widen_rows(args.rows, args.rows_stride, args.row_count, args.depth, wide);
  const std::int64_t stride = padded_depth(args.depth);
  for (std::int64_t panel = args.first_panel; panel < args.last_panel; ++panel) {
    Tile tile{};
    tile.rows_stride = stride;
    tile.panel = static_cast<const std::int16_t*>(args.panels) + panel * kPanelColumns * stride;
    tile.pairs = stride / 2;
    tile.columns = args.columns - panel * kPanelColumns;
    std::int64_t row = 0;
    for (std::int64_t left = (args.row_count + kTileRows - 1) / kTileRows; left > 0; --left) {
      const std::int64_t rows = (args.row_count - row + left - 1) / left;
      tile.rows = wide + row * stride;
      visit(tile, row, rows, panel * kPanelColumns);
      row += rows;
    }
  }
}

}  // namespace

std::int64_t gemm_scratch_bytes(std::int64_t row_count, std::int64_t depth) {
  return row_count * padded_depth(depth) * 2;
}

void gemm_u8s8_s32(const GemmS32Args& args) {
  for_each_tile(args, [&](const Tile& tile, std::int64_t row, std::int64_t rows, std::int64_t column) {
    kIntTiles[rows](tile, {args.out + row * args.out_stride + column, args.out_stride});
  });
}

void gemm_u8s8_f32(const GemmArgs& args) {
  for_each_tile(args, [&](const Tile& tile, std::int64_t row, std::int64_t rows, std::int64_t column) {
    const FloatOutput output = {
        args.row_scales + row,
        args.row_zero_points + row,
        args.column_scales + column,
        args.column_sums + column,
        args.bias != nullptr ? args.bias + column : nullptr,
        args.residual != nullptr ? args.residual + row * args.residual_stride + column : nullptr,
        args.residual_stride,
        args.activation,
        args.out + row * args.out_stride + column,
        args.out_stride};
    kFloatTiles[rows](tile, output);
  });
}

}  // namespace fastformers::avx2
