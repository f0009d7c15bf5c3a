// SPDX-License-Identifier: MIT
// Computes  out[m, i] = float(sum_j P[m, j] v[j, i]) * (value_scale[i] / sum_j P[m, j]), P the u8 softmax of q k (kernel_table.h).
// Layout    q row-major u8, widened to s16 six rows at a time; keys and values in 16-column panels of s16 pairs (packed_layout.h).
//           Six rows at a time: their scores go to scratch as float32, panel by panel, and their P as s16, row-major.
// Registers both matmuls: R <= 6 rows x 1 panel, 12 accumulators (madd_tile.h). Softmax: two vectors in lockstep.
//             vpmaddwd, vfmadd, vmulps, vmaxps ymm  2 per cycle;  vpaddd ymm  4 per cycle (Zen 4)
// Bound     vector ALU: four instructions for 32 products in the matmuls, 15 for 8 scores between them.
// Keys that a row does not see, and the padding of the last panel, get the score -inf where the scores are written, so that
// nothing after that needs a mask: their P comes out as 0.
#include <immintrin.h>

#include <cstring>

#include "kernels/attention_constants.h"
#include "kernels/avx2/madd_tile.h"
#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/exp_constants.h"
#include "kernels/extents.h"
#include "kernels/packed_layout.h"
#include "kernels/seen_keys.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

constexpr int kTileRows = 6;
constexpr std::int64_t kPanelScores = kTileRows * kPanelColumns;
constexpr std::int64_t kChunkDepth = 256;  // of queries widened at a time: all of any usual head

// What is known of one tile's rows.
struct Scratch {
  float* scores;    // [panels][kTileRows][16]
  std::int16_t* p;  // [kTileRows][p_stride]
  std::int64_t p_stride;
};

Scratch scratch_at(void* memory, std::int64_t keys) {
  auto* scores = static_cast<float*>(memory);
  const std::int64_t panels = panel_count(keys);
  return {scores, reinterpret_cast<std::int16_t*>(scores + panels * kPanelScores), panels * kPanelColumns};
}

// --- scores -------------------------------------------------------------------------------------------------------------

// u8 queries [first, last) of `count` rows -> s16, kChunkDepth apart.
void widen(const std::uint8_t* q, std::int64_t stride, std::int64_t count, std::int64_t first,
           std::int64_t last, std::int16_t* wide) {
  for (std::int64_t m = 0; m < count; ++m) {
    const std::uint8_t* row = q + m * stride + first;
    std::int16_t* out = wide + m * kChunkDepth;
    std::int64_t k = 0;
    for (; k + 16 <= last - first; k += 16) {
      const __m128i bytes_u8x16 = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + k));
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + k), _mm256_cvtepu8_epi16(bytes_u8x16));
    }
    for (; k < last - first; ++k) out[k] = row[k];
  }
}

// Half a panel of one row: 8 sums -> scores; keys that are not seen get -inf.
__attribute__((always_inline)) inline __m256 finish_score(__m256i sum_i32x8, const AttendArgs& args,
                                                          const RowTile& rows, std::int64_t m,
                                                          std::int64_t key) {
  __m256 score_f32x8 = _mm256_mul_ps(_mm256_cvtepi32_ps(sum_i32x8), _mm256_loadu_ps(args.key_scales + key));
  if (args.bias != nullptr && key < args.keys) {
    const float* bias = args.bias + (rows.row + m) * args.bias_stride + key;
    score_f32x8 = _mm256_fmadd_ps(score_f32x8, _mm256_set1_ps(args.row_scales[rows.row + m]),
                                  _mm256_maskload_ps(bias, lanes_below(args.keys - key)));
  }
  const std::int64_t first = larger(rows.first_seen + m * rows.step, 0);
  const std::int64_t last = smaller(rows.last_seen + m * rows.step, args.keys);
  if (first <= key && key + 8 <= last) return score_f32x8;
  const __m256i seen_s32x8 =
      _mm256_andnot_si256(lanes_below(larger(first - key, 0)), lanes_below(larger(last - key, 0)));
  return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), score_f32x8, _mm256_castsi256_ps(seen_s32x8));
}

template <int kRows>
void write_scores(const AttendArgs& args, const RowTile& rows, const Scratch& scratch) {
  alignas(64) std::int16_t wide[kTileRows * kChunkDepth];
  const std::int64_t depth = padded_depth(args.depth);
  const auto widen_chunk = [&](std::int64_t first) {
    widen(args.q + rows.row * args.q_stride, args.q_stride, kRows, first, smaller(first + kChunkDepth, depth),
          wide);
  };
  if (depth <= kChunkDepth) widen_chunk(0);
  for (std::int64_t panel = rows.first_panel; panel < rows.last_panel; ++panel) {
    const std::int64_t key = panel * kPanelColumns;
    __m256i sum_i32x8[kRows][2];
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      unrolled<2>([&](auto half) FF_INLINE_LAMBDA {
        sum_i32x8[row][half] =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(args.key_offsets + key + 8 * half));
      });
    });
    for (std::int64_t first = 0; first < depth; first += kChunkDepth) {
      if (depth > kChunkDepth) widen_chunk(first);
      const auto* panels = static_cast<const std::int16_t*>(args.key_panels);
      const Tile tile = {wide, kChunkDepth, panels + panel * kPanelColumns * depth + first * kPanelColumns,
                         (smaller(first + kChunkDepth, depth) - first) / 2, kPanelColumns};
      multiply<kRows>(tile, sum_i32x8);
    }
    float* scores = scratch.scores + (panel - rows.first_panel) * kPanelScores;
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      unrolled<2>([&](auto half) FF_INLINE_LAMBDA {
        const __m256 score_f32x8 = finish_score(sum_i32x8[row][half], args, rows, row, key + 8 * half);
        _mm256_store_ps(scores + row * kPanelColumns + 8 * half, score_f32x8);
      });
    });
  }
}

// --- softmax ------------------------------------------------------------------------------------------------------------

// A maximum's second operand is the one that never is NaN.
float largest_score(const float* scores, std::int64_t panels) {
  __m256 largest_f32x8[2] = {_mm256_set1_ps(-__builtin_inff()), _mm256_set1_ps(-__builtin_inff())};
  for (; panels > 0; --panels, scores += kPanelScores) {
    largest_f32x8[0] = _mm256_max_ps(_mm256_load_ps(scores), largest_f32x8[0]);
    largest_f32x8[1] = _mm256_max_ps(_mm256_load_ps(scores + 8), largest_f32x8[1]);
  }
  const __m256 half_f32x8 = _mm256_max_ps(largest_f32x8[0], largest_f32x8[1]);
  __m128 fold_f32x4 = _mm_max_ps(_mm256_castps256_ps128(half_f32x8), _mm256_extractf128_ps(half_f32x8, 1));
  fold_f32x4 = _mm_max_ps(fold_f32x4, _mm_movehl_ps(fold_f32x4, fold_f32x4));
  return _mm_cvtss_f32(_mm_max_ss(fold_f32x4, _mm_movehdup_ps(fold_f32x4)));
}

// 8 scores -> P as s32, 0 to 255.
__attribute__((always_inline)) inline __m256i probabilities(__m256 score_f32x8, __m256 factor_f32x8,
                                                            __m256 largest_f32x8) {
  const __m256 magic_f32x8 = _mm256_set1_ps(kRoundingMagic);
  const __m256 x_f32x8 = _mm256_max_ps(_mm256_mul_ps(_mm256_sub_ps(score_f32x8, largest_f32x8), factor_f32x8),
                                       _mm256_set1_ps(kLeastPower));
  const __m256 shifted_f32x8 = _mm256_add_ps(x_f32x8, magic_f32x8);
  const __m256 f_f32x8 = _mm256_sub_ps(x_f32x8, _mm256_sub_ps(shifted_f32x8, magic_f32x8));
  __m256 p_f32x8 = _mm256_fmadd_ps(_mm256_set1_ps(kPower3), f_f32x8, _mm256_set1_ps(kPower2));
  p_f32x8 = _mm256_fmadd_ps(p_f32x8, f_f32x8, _mm256_set1_ps(kPower1));
  p_f32x8 = _mm256_fmadd_ps(p_f32x8, f_f32x8, _mm256_set1_ps(kPower0));
  const __m256i exponent_i32x8 = _mm256_slli_epi32(_mm256_castps_si256(shifted_f32x8), 23);
  const __m256i scaled_i32x8 = _mm256_add_epi32(_mm256_castps_si256(p_f32x8), exponent_i32x8);
  return _mm256_cvtps_epi32(_mm256_castsi256_ps(scaled_i32x8));
}

// One row; returns 1 / sum of P, NaN when that is 0.
float softmax_row(const float* scores, std::int64_t panels, float factor, std::int16_t* p) {
  const __m256 factor_f32x8 = _mm256_set1_ps(factor);
  const __m256 largest_f32x8 = _mm256_set1_ps(largest_score(scores, panels));
  __m256i total_i32x8 = _mm256_setzero_si256();
  for (; panels > 0; --panels, scores += kPanelScores, p += kPanelColumns) {
    const __m256i low_s32x8 = probabilities(_mm256_load_ps(scores), factor_f32x8, largest_f32x8);
    const __m256i high_s32x8 = probabilities(_mm256_load_ps(scores + 8), factor_f32x8, largest_f32x8);
    const __m256i p_s16x16 = _mm256_permute4x64_epi64(_mm256_packs_epi32(low_s32x8, high_s32x8), 0xD8);
    total_i32x8 = _mm256_add_epi32(total_i32x8, _mm256_madd_epi16(p_s16x16, _mm256_set1_epi16(1)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(p), p_s16x16);
  }
  __m128i fold_i32x4 =
      _mm_add_epi32(_mm256_castsi256_si128(total_i32x8), _mm256_extracti128_si256(total_i32x8, 1));
  fold_i32x4 = _mm_add_epi32(fold_i32x4, _mm_shuffle_epi32(fold_i32x4, 0x4E));
  fold_i32x4 = _mm_add_epi32(fold_i32x4, _mm_shuffle_epi32(fold_i32x4, 0xB1));
  const int total = _mm_cvtsi128_si32(fold_i32x4);
  return total > 0 ? 1.0f / static_cast<float>(total) : __builtin_nanf("");
}

// --- values -------------------------------------------------------------------------------------------------------------

template <int kRows>
void write_out(const AttendArgs& args, const RowTile& rows, const Scratch& scratch, const float* inverses) {
  const std::int64_t depth = padded_depth(args.keys);
  const std::int64_t first_key = rows.first_panel * kPanelColumns;
  for (std::int64_t channel = 0; channel < args.channels; channel += kPanelColumns) {
    const auto* panel = static_cast<const std::int16_t*>(args.value_panels) + channel * depth;
    const Tile tile = {scratch.p, scratch.p_stride, panel + first_key * kPanelColumns,
                       padded_depth(rows.end - first_key) / 2, args.channels - channel};
    __m256i sum_i32x8[kRows][2];
    unrolled<kRows>([&](auto row)
                        FF_INLINE_LAMBDA { sum_i32x8[row][0] = sum_i32x8[row][1] = _mm256_setzero_si256(); });
    multiply<kRows>(tile, sum_i32x8);
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      float* out = args.out + (rows.row + row) * args.out_stride + channel;
      unrolled<2>([&](auto half) FF_INLINE_LAMBDA {
        if (tile.columns <= 8 * half) return;
        const __m256 scale_f32x8 = _mm256_mul_ps(_mm256_loadu_ps(args.value_scales + channel + 8 * half),
                                                 _mm256_set1_ps(inverses[row]));
        const __m256 y_f32x8 = _mm256_mul_ps(_mm256_cvtepi32_ps(sum_i32x8[row][half]), scale_f32x8);
        if (tile.columns >= 8 * half + 8) {
          _mm256_storeu_ps(out + 8 * half, y_f32x8);
        } else {
          _mm256_maskstore_ps(out + 8 * half, lanes_below(tile.columns - 8 * half), y_f32x8);
        }
      });
    });
  }
}

template <int kRows>
void attend_tile(const AttendArgs& args, std::int64_t row, const Scratch& scratch) {
  const RowTile rows = row_tile(args, row, kRows);
  write_scores<kRows>(args, rows, scratch);
  float inverses[kRows];
  for (std::int64_t m = 0; m < kRows; ++m) {
    const float factor = args.bias != nullptr ? kLog2E : args.row_scales[row + m] * kLog2E;
    inverses[m] = softmax_row(scratch.scores + m * kPanelColumns, rows.last_panel - rows.first_panel, factor,
                              scratch.p + m * scratch.p_stride);
  }
  write_out<kRows>(args, rows, scratch, inverses);
}

constexpr void (*kAttendTiles[kTileRows + 1])(const AttendArgs&, std::int64_t, const Scratch&) = {
    nullptr, attend_tile<1>, attend_tile<2>, attend_tile<3>, attend_tile<4>, attend_tile<5>, attend_tile<6>};

}  // namespace

std::int64_t attend_scratch_bytes(std::int64_t, std::int64_t keys) {
  return panel_count(keys) * (kPanelScores * static_cast<std::int64_t>(sizeof(float)) +
                              kTileRows * kPanelColumns * static_cast<std::int64_t>(sizeof(std::int16_t)));
}

void attend_u8s8(const AttendArgs& args) {
  const Scratch scratch = scratch_at(args.scratch, args.keys);
  std::int64_t row = 0;
  for (std::int64_t left = (args.row_count + kTileRows - 1) / kTileRows; left > 0; --left) {
    const std::int64_t rows = (args.row_count - row + left - 1) / left;
    kAttendTiles[rows](args, row, scratch);
    row += rows;
  }
}

}  // namespace fastformers::avx2
