// SPDX-License-Identifier: MIT
// Computes  out[m, i] = float(sum_j P[m, j] v[j, i]) * (value_scale[i] / sum_j P[m, j]), P the u8 softmax of q k (kernel_table.h).
// Layout    q row-major u8; keys and values in 16-column panels (packed_layout.h). Six rows at a time: their scores go to scratch
//           as float32, their P as u8, row-major and in the order of the keys, which is what the second matmul reads.
// Registers both matmuls: R <= 6 rows x P <= 4 panels of accumulators (vnni_tile.h); the epilogue of the scores keeps the row
//           maxima in passing. Softmax: four vectors in lockstep, 12 constants.
//             vpdpbusd, vfmadd, vmulps, vmaxps zmm  1 per cycle;  vaddps, vcvt, integer zmm  2 together (Zen 4)
// Bound     vector ALU. For 16 scores of a row: d / 4 vpdpbusd twice, and 16 instructions of scaling and softmax: convert, scale,
//           maximum | sub, scale, maximum, add, sub, sub, 3 fma, shift, add, convert, 1 pack, 1/4 sum.
//           Measured on an Emerald Rapids core, 2 zmm instructions of any kind per cycle: 95 % of that bound at 512 keys and
//           d = 64, 93 % at 128 keys, 90 % at 512 and d = 32; 1 % to 2 % more is the epilogue of the values.
// Tried     All steps of several tiles together (up to 48 rows): 2 % to 4 % slower than the order in attend_u8s8. Row maxima and
//           sums folded where they are needed: 7 % slower, the chains of latency lie open; folded one step early they do not.
//           Accumulators started by loads instead of copies, two chains of maxima, score rows apart: no difference.
// Keys that a row does not see, and the padding of the last panel, get the score -inf where the scores are written, so that
// nothing after that needs a mask: their P comes out as 0.
#include <immintrin.h>

#include <cstring>

#include "kernels/attention_constants.h"
#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/avx512vnni/vnni_tile.h"
#include "kernels/exp_constants.h"
#include "kernels/extents.h"
#include "kernels/packed_layout.h"
#include "kernels/seen_keys.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

constexpr int kTileRows = 6;
constexpr int kTilePanels = 4;
constexpr std::int64_t kBlockKeys = 64;  // one vector of P

// What is known of the rows that are under way. Scores lie panel by panel, 16 lanes of every row side by side, so that a tile
// stores them at constant distances.
struct Scratch {
  float* scores;         // [panels][kTileRows][16]
  float* maxima;         // [kTileRows][16], of the scores
  std::int32_t* totals;  // [kTileRows][16], whose lanes add up to the row's sum of P
  float* factors;        // [16], of the rows
  float* largest;        // [16], score of each row
  std::uint8_t* p;       // [kTileRows][p_stride], in blocks of kBlockKeys
  std::int64_t p_stride;
};

constexpr std::int64_t kPanelScores = kTileRows * kPanelColumns;

Scratch scratch_at(void* memory, std::int64_t keys) {
  auto* scores = static_cast<float*>(memory);
  float* maxima = scores + panel_count(keys) * kPanelScores;
  auto* totals = reinterpret_cast<std::int32_t*>(maxima + kPanelScores);
  auto* factors = reinterpret_cast<float*>(totals + kPanelScores);
  float* largest = factors + kPanelColumns;
  auto* p = reinterpret_cast<std::uint8_t*>(largest + kPanelColumns);
  return {scores, maxima, totals, factors, largest, p, (keys + kBlockKeys - 1) / kBlockKeys * kBlockKeys};
}

std::int64_t scratch_bytes(std::int64_t keys) {
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  return ((panel_count(keys) + 2) * kPanelScores + 2 * kPanelColumns) * kFloat +
         kTileRows * ((keys + kBlockKeys - 1) / kBlockKeys * kBlockKeys);
}

// The 16 lanes of each of six rows folded by `fold`, the results in lanes 0 to 5: 21 instructions, 8 a row if done one by one.
template <typename Fold>
__attribute__((always_inline)) inline __m512 fold_rows(const void* rows, const Fold& fold) {
  __m512 row_f32x16[kTileRows];
  unrolled<kTileRows>([&](auto row) FF_INLINE_LAMBDA {
    row_f32x16[row] = _mm512_load_ps(static_cast<const float*>(rows) + row * kPanelColumns);
  });
  const auto fold_pair = [&](__m512 a_f32x16, __m512 b_f32x16) FF_INLINE_LAMBDA {  // lanes a b a b ...
    return fold(_mm512_unpacklo_ps(a_f32x16, b_f32x16), _mm512_unpackhi_ps(a_f32x16, b_f32x16));
  };
  const auto fold_pairs = [&](__m512 ab_f32x16, __m512 cd_f32x16) FF_INLINE_LAMBDA {  // lanes a b c d ...
    const auto interleave = [&](auto high) FF_INLINE_LAMBDA {
      return _mm512_castpd_ps(
          high == 1 ? _mm512_unpackhi_pd(_mm512_castps_pd(ab_f32x16), _mm512_castps_pd(cd_f32x16))
                    : _mm512_unpacklo_pd(_mm512_castps_pd(ab_f32x16), _mm512_castps_pd(cd_f32x16)));
    };
    return fold(interleave(Constant<0>{}), interleave(Constant<1>{}));
  };
  const __m512 last_f32x16 = fold_pair(row_f32x16[4], row_f32x16[5]);
  const __m512 four_f32x16 =
      fold_pairs(fold_pair(row_f32x16[0], row_f32x16[1]), fold_pair(row_f32x16[2], row_f32x16[3]));
  const __m512 two_f32x16 = fold_pairs(last_f32x16, last_f32x16);
  const __m512 half_f32x16 = fold(_mm512_shuffle_f32x4(four_f32x16, two_f32x16, 0x44),
                                  _mm512_shuffle_f32x4(four_f32x16, two_f32x16, 0xEE));
  const __m512 all_f32x16 = fold(half_f32x16, _mm512_shuffle_f32x4(half_f32x16, half_f32x16, 0xB1));
  return _mm512_shuffle_f32x4(all_f32x16, all_f32x16, 0x08);  // lanes 0 to 3, then 8 and 9
}

// --- scores -------------------------------------------------------------------------------------------------------------

// What tiles of scores need, with pointers moved to the first row and key: `count` tiles side by side, all of one width.
struct ScoreTile {
  std::int64_t count;
  const std::int32_t* key_offsets;
  const float* key_scales;
  const float* bias;  // or null
  std::int64_t bias_stride;
  const float* row_scales;
  float* scores;
  float* maxima;
  // Row r sees the keys [first_seen + r * step, last_seen + r * step) below `keys`, counted from the tile's first one.
  std::int64_t first_seen;
  std::int64_t last_seen;
  std::int64_t step;
  std::int64_t keys;
};

__mmask16 seen_lanes(const ScoreTile& tile, std::int64_t row, std::int64_t column) {
  const std::int64_t first = tile.first_seen + row * tile.step - column;
  const std::int64_t last = smaller(tile.last_seen + row * tile.step, tile.keys) - column;
  return static_cast<__mmask16>(lanes_below(larger(last, 0)) & ~lanes_below(larger(first, 0)));
}

enum class Finish {
  kScale,  // every row sees every key, no bias
  kBias,   // every row sees every key
  kEdge,   // some row does not see some key, or the last panel has padding; a bias or none
};

// Sums -> scores, stored, and the rows' maxima kept. A maximum's second operand is the one that never is NaN.
template <int kRows, int kPanels, Finish kFinish>
__attribute__((always_inline)) inline void finish_scores(const ScoreTile& tile,
                                                         const __m512i (&sum_i32x16)[kRows][kPanels]) {
  __m512 key_scale_f32x16[kPanels];
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    key_scale_f32x16[panel] = _mm512_loadu_ps(tile.key_scales + panel * kPanelColumns);
  });
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    __m512 maximum_f32x16 = _mm512_load_ps(tile.maxima + row * kPanelColumns);
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const std::int64_t column = panel * kPanelColumns;
      __m512 score_f32x16 =
          _mm512_mul_ps(_mm512_cvtepi32_ps(sum_i32x16[row][panel]), key_scale_f32x16[panel]);
      if (kFinish == Finish::kBias || (kFinish == Finish::kEdge && tile.bias != nullptr)) {
        const __mmask16 valid = kFinish == Finish::kBias ? 0xFFFF : lanes_below(tile.keys - column);
        const float* bias = tile.bias + row * tile.bias_stride + column;
        score_f32x16 = _mm512_fmadd_ps(score_f32x16, _mm512_set1_ps(tile.row_scales[row]),
                                       _mm512_maskz_loadu_ps(valid, bias));
      }
      if (kFinish == Finish::kEdge) {
        score_f32x16 = _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), seen_lanes(tile, row, column),
                                          score_f32x16);
      }
      _mm512_store_ps(tile.scores + panel * kPanelScores + row * kPanelColumns, score_f32x16);
      maximum_f32x16 = _mm512_max_ps(score_f32x16, maximum_f32x16);
    });
    _mm512_store_ps(tile.maxima + row * kPanelColumns, maximum_f32x16);
  });
}

__attribute__((always_inline)) inline void advance(Tile& product, ScoreTile& tile, std::int64_t keys) {
  product.panels += keys / kPanelColumns * product.panel_bytes;
  tile.key_offsets += keys;
  tile.key_scales += keys;
  if (tile.bias != nullptr) tile.bias += keys;
  tile.scores += keys / kPanelColumns * kPanelScores;
  tile.first_seen -= keys;
  tile.last_seen -= keys;
  tile.keys -= keys;
}

template <int kRows, int kPanels, Finish kFinish>
void score_tiles(const Tile& first_product, const ScoreTile& first_tile) {
  Tile product = first_product;
  ScoreTile tile = first_tile;
  for (; tile.count > 0; --tile.count) {
    __m512i sum_i32x16[kRows][kPanels];
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const __m512i offset_i32x16 = _mm512_loadu_si512(tile.key_offsets + panel * kPanelColumns);
      unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA { sum_i32x16[row][panel] = offset_i32x16; });
    });
    multiply<kRows, kPanels, false>(product, sum_i32x16);
    finish_scores<kRows, kPanels, kFinish>(tile, sum_i32x16);
    advance(product, tile, kPanels * kPanelColumns);
  }
}

// --- softmax ------------------------------------------------------------------------------------------------------------

// kCount vectors of scores -> 64 bytes of P, zero from 16 kCount on.
template <int kCount>
__attribute__((always_inline)) inline __m512i probabilities(const float* scores, __m512 factor_f32x16,
                                                            __m512 largest_f32x16) {
  const __m512 magic_f32x16 = _mm512_set1_ps(kRoundingMagic);
  __m512 shifted_f32x16[kCount], f_f32x16[kCount], p_f32x16[kCount];
  unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
    const __m512 power_f32x16 =
        _mm512_max_ps(_mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(scores + i * kPanelScores), largest_f32x16),
                                    factor_f32x16),
                      _mm512_set1_ps(kLeastPower));
    shifted_f32x16[i] = _mm512_add_ps(power_f32x16, magic_f32x16);
    f_f32x16[i] = _mm512_sub_ps(power_f32x16, _mm512_sub_ps(shifted_f32x16[i], magic_f32x16));
  });
  unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
    p_f32x16[i] = _mm512_fmadd_ps(_mm512_set1_ps(kPower3), f_f32x16[i], _mm512_set1_ps(kPower2));
  });
  unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
    p_f32x16[i] = _mm512_fmadd_ps(p_f32x16[i], f_f32x16[i], _mm512_set1_ps(kPower1));
  });
  unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
    p_f32x16[i] = _mm512_fmadd_ps(p_f32x16[i], f_f32x16[i], _mm512_set1_ps(kPower0));
  });
  __m512i value_s32x16[4];
  unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
    if constexpr (i < kCount) {
      const __m512i exponent_i32x16 = _mm512_slli_epi32(_mm512_castps_si512(shifted_f32x16[i]), 23);
      const __m512i scaled_i32x16 = _mm512_add_epi32(_mm512_castps_si512(p_f32x16[i]), exponent_i32x16);
      value_s32x16[i] = _mm512_cvtps_epi32(_mm512_castsi512_ps(scaled_i32x16));
    } else {
      value_s32x16[i] = _mm512_setzero_si512();
    }
  });
  const __m512i order_i32x16 = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low_s16x32 = _mm512_packs_epi32(value_s32x16[0], value_s32x16[1]);
  const __m512i high_s16x32 = _mm512_packs_epi32(value_s32x16[2], value_s32x16[3]);
  return _mm512_permutexvar_epi32(order_i32x16, _mm512_packus_epi16(low_s16x32, high_s16x32));
}

// One row of `panels` vectors; returns the lanes of the sum of P.
__attribute__((always_inline)) inline __m512i softmax_row(const float* scores, std::int64_t panels,
                                                          float factor, float largest, std::uint8_t* p) {
  const __m512 factor_f32x16 = _mm512_set1_ps(factor);
  const __m512 largest_f32x16 = _mm512_set1_ps(largest);
  const __m512i one_s8x64 = _mm512_set1_epi8(1);
  __m512i total_i32x16 = _mm512_setzero_si512();
  const auto block = [&](auto count) FF_INLINE_LAMBDA {
    const __m512i p_u8x64 = probabilities<count>(scores, factor_f32x16, largest_f32x16);
    total_i32x16 = _mm512_dpbusd_epi32(total_i32x16, p_u8x64, one_s8x64);
    _mm512_store_si512(p, p_u8x64);
  };
  for (; panels >= 4; panels -= 4, scores += 4 * kPanelScores, p += kBlockKeys) block(Constant<4>{});
  if (panels == 3) block(Constant<3>{});
  if (panels == 2) block(Constant<2>{});
  if (panels == 1) block(Constant<1>{});
  return total_i32x16;
}

// What turns scores into powers of two: x = (t - largest) * factor.
void find_factors(const AttendArgs& args, const RowTile& rows, const Scratch& scratch) {
  const __m512 maximum_f32x16 =
      fold_rows(scratch.maxima, [](__m512 a_f32x16, __m512 b_f32x16)
                                    FF_INLINE_LAMBDA { return _mm512_max_ps(a_f32x16, b_f32x16); });
  __m512 factor_f32x16 = _mm512_set1_ps(kLog2E);
  if (args.bias == nullptr) {
    const float* row_scales = args.row_scales + rows.row;
    factor_f32x16 = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes_below(rows.count), row_scales), factor_f32x16);
  }
  _mm512_store_ps(scratch.factors, factor_f32x16);
  _mm512_store_ps(scratch.largest, maximum_f32x16);
}

void softmax_rows(const RowTile& rows, const Scratch& scratch) {
  for (std::int64_t m = 0; m < rows.count; ++m) {
    const __m512i total_i32x16 =
        softmax_row(scratch.scores + m * kPanelColumns, rows.last_panel - rows.first_panel,
                    scratch.factors[m], scratch.largest[m], scratch.p + m * scratch.p_stride);
    _mm512_store_si512(scratch.totals + m * kPanelColumns, total_i32x16);
  }
}

// 1 / sum of P for each row, NaN when that is 0.
__m512 inverse_totals(const Scratch& scratch) {
  const __m512i total_i32x16 =
      _mm512_castps_si512(fold_rows(scratch.totals, [](__m512 a_f32x16, __m512 b_f32x16) FF_INLINE_LAMBDA {
        return _mm512_castsi512_ps(
            _mm512_add_epi32(_mm512_castps_si512(a_f32x16), _mm512_castps_si512(b_f32x16)));
      }));
  return _mm512_mask_div_ps(_mm512_set1_ps(__builtin_nanf("")),
                            _mm512_test_epi32_mask(total_i32x16, total_i32x16), _mm512_set1_ps(1.0f),
                            _mm512_cvtepi32_ps(total_i32x16));
}

// --- values -------------------------------------------------------------------------------------------------------------

struct ValueTile {
  const float* value_scales;
  const float* inverses;  // of the rows' sums
  float* out;
  std::int64_t out_stride;
};

// The first `count` lanes, by plain stores: a masked one takes several times as long on Zen 4.
__attribute__((always_inline)) inline void store_front(float* out, __m512 y_f32x16, std::int64_t count) {
  if (count >= 16) {
    _mm512_storeu_ps(out, y_f32x16);
    return;
  }
  __m256 half_f32x8 = _mm512_castps512_ps256(y_f32x16);
  if ((count & 8) != 0) {
    _mm256_storeu_ps(out, half_f32x8);
    half_f32x8 = _mm512_extractf32x8_ps(y_f32x16, 1);
    out += 8;
  }
  __m128 quarter_f32x4 = _mm256_castps256_ps128(half_f32x8);
  if ((count & 4) != 0) {
    _mm_storeu_ps(out, quarter_f32x4);
    quarter_f32x4 = _mm256_extractf128_ps(half_f32x8, 1);
    out += 4;
  }
  if ((count & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(out), quarter_f32x4);
    quarter_f32x4 = _mm_movehl_ps(quarter_f32x4, quarter_f32x4);
    out += 2;
  }
  if ((count & 1) != 0) _mm_store_ss(out, quarter_f32x4);
}

template <int kRows, int kPanels>
void value_tile(const Tile& product, const ValueTile& tile) {
  __m512i sum_i32x16[kRows][kPanels];
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA { sum_i32x16[row][panel] = _mm512_setzero_si512(); });
  });
  multiply<kRows, kPanels, false>(product, sum_i32x16);
  const std::int64_t in_last = product.columns - (kPanels - 1) * kPanelColumns;
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    const __m512 inverse_f32x16 = _mm512_set1_ps(tile.inverses[row]);
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const std::int64_t column = panel * kPanelColumns;
      const __m512 scale_f32x16 = _mm512_mul_ps(_mm512_loadu_ps(tile.value_scales + column), inverse_f32x16);
      const __m512 y_f32x16 = _mm512_mul_ps(_mm512_cvtepi32_ps(sum_i32x16[row][panel]), scale_f32x16);
      float* out = tile.out + row * tile.out_stride + column;
      if (panel < kPanels - 1) {
        _mm512_storeu_ps(out, y_f32x16);
      } else {
        store_front(out, y_f32x16, in_last);
      }
    });
  });
}

// --- the whole ----------------------------------------------------------------------------------------------------------

struct Tiles {
  void (*scores[3][kTilePanels + 1][kTileRows + 1])(const Tile&, const ScoreTile&) = {};
  void (*values[kTilePanels + 1][kTileRows + 1])(const Tile&, const ValueTile&) = {};
};

template <int kPanels, int kRows>
constexpr void fill_tiles(Tiles& tiles) {
  tiles.scores[static_cast<int>(Finish::kScale)][kPanels][kRows] =
      score_tiles<kRows, kPanels, Finish::kScale>;
  tiles.scores[static_cast<int>(Finish::kBias)][kPanels][kRows] = score_tiles<kRows, kPanels, Finish::kBias>;
  tiles.scores[static_cast<int>(Finish::kEdge)][kPanels][kRows] = score_tiles<kRows, kPanels, Finish::kEdge>;
  tiles.values[kPanels][kRows] = value_tile<kRows, kPanels>;
  if constexpr (kRows > 1) fill_tiles<kPanels, kRows - 1>(tiles);
}

constexpr Tiles all_tiles() {
  Tiles tiles;
  fill_tiles<1, kTileRows>(tiles);
  fill_tiles<2, kTileRows>(tiles);
  fill_tiles<3, kTileRows>(tiles);
  fill_tiles<4, kTileRows>(tiles);
  return tiles;
}

constexpr Tiles kTiles = all_tiles();

// visit(panel, panels) for [first, last) in even shares of at most kTilePanels.
template <typename Visit>
void for_each_share(std::int64_t first, std::int64_t last, const Visit& visit) {
  for (std::int64_t left = (last - first + kTilePanels - 1) / kTilePanels; left > 0; --left) {
    const std::int64_t panels = (last - first + left - 1) / left;
    visit(first, panels);
    first += panels;
  }
}

void write_scores(const AttendArgs& args, const RowTile& rows, const Scratch& scratch) {
  const std::int64_t panel_bytes = padded_depth(args.depth) * kPanelColumns;
  for (std::int64_t m = 0; m < kTileRows; ++m) {
    _mm512_store_ps(scratch.maxima + m * kPanelColumns, _mm512_set1_ps(-__builtin_inff()));
  }
  const auto run = [&](std::int64_t panel, std::int64_t panels, std::int64_t count, Finish finish) {
    const std::int64_t key = panel * kPanelColumns;
    const Tile product = {args.q + rows.row * args.q_stride,
                          args.q_stride,
                          static_cast<const std::int8_t*>(args.key_panels) + panel * panel_bytes,
                          panel_bytes,
                          padded_depth(args.depth) / kDepthGroup,
                          panels * kPanelColumns};
    ScoreTile tile{};
    tile.count = count;
    tile.key_offsets = args.key_offsets + key;
    tile.key_scales = args.key_scales + key;
    if (args.bias != nullptr) tile.bias = args.bias + rows.row * args.bias_stride + key;
    tile.bias_stride = args.bias_stride;
    tile.row_scales = args.row_scales + rows.row;
    tile.scores = scratch.scores + (panel - rows.first_panel) * kPanelScores;
    tile.maxima = scratch.maxima;
    tile.first_seen = rows.first_seen - key;
    tile.last_seen = rows.last_seen - key;
    tile.step = rows.step;
    tile.keys = args.keys - key;
    kTiles.scores[static_cast<int>(finish)][panels][rows.count](product, tile);
  };
  // Neighbouring tiles of one kind are one call.
  const std::int64_t seen_by_all = larger(rows.first_seen + rows.step * (rows.count - 1), 0);
  const Finish inside = args.bias != nullptr ? Finish::kBias : Finish::kScale;
  std::int64_t pending = rows.first_panel, width = 0, count = 0;
  Finish finish = inside;
  for_each_share(rows.first_panel, rows.last_panel, [&](std::int64_t panel, std::int64_t panels) {
    const bool all_seen = seen_by_all <= panel * kPanelColumns &&
                          (panel + panels) * kPanelColumns <= smaller(rows.last_seen, args.keys);
    const Finish wanted = all_seen ? inside : Finish::kEdge;
    if (count > 0 && (wanted != finish || panels != width)) {
      run(pending, width, count, finish);
      count = 0;
    }
    if (count == 0) pending = panel;
    width = panels;
    finish = wanted;
    ++count;
  });
  run(pending, width, count, finish);
}

void write_out(const AttendArgs& args, const RowTile& rows, const Scratch& scratch) {
  alignas(64) float inverses[16];
  _mm512_store_ps(inverses, inverse_totals(scratch));
  const std::int64_t panel_bytes = padded_depth(args.keys) * kPanelColumns;
  const std::int64_t first_key = rows.first_panel * kPanelColumns;
  for_each_share(0, panel_count(args.channels), [&](std::int64_t panel, std::int64_t panels) {
    const std::int64_t channel = panel * kPanelColumns;
    const Tile product = {
        scratch.p,
        scratch.p_stride,
        static_cast<const std::int8_t*>(args.value_panels) + panel * panel_bytes + first_key * kPanelColumns,
        panel_bytes,
        padded_depth(rows.end - first_key) / kDepthGroup,
        args.channels - channel};
    const ValueTile tile = {args.value_scales + channel, inverses,
                            args.out + rows.row * args.out_stride + channel, args.out_stride};
    kTiles.values[panels][rows.count](product, tile);
  });
}

}  // namespace

std::int64_t attend_scratch_bytes(std::int64_t, std::int64_t keys) { return scratch_bytes(keys); }

// One tile's values come between the next one's scores and its softmax, so that no step waits for the end of the one before it.
void attend_u8s8(const AttendArgs& args) {
  const Scratch scratch = scratch_at(args.scratch, args.keys);
  RowTile previous{};
  std::int64_t row = 0;
  for (std::int64_t left = (args.row_count + kTileRows - 1) / kTileRows; left > 0; --left) {
    const RowTile rows = row_tile(args, row, (args.row_count - row + left - 1) / left);
    write_scores(args, rows, scratch);
    find_factors(args, rows, scratch);
    if (row > 0) write_out(args, previous, scratch);
    softmax_rows(rows, scratch);
    row += rows.count;
    previous = rows;
  }
  if (row > 0) write_out(args, previous, scratch);
}

}  // namespace fastformers::avx512vnni
