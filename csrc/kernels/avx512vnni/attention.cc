// SPDX-License-Identifier: MIT
// Computes  out[m, i] = float(sum_j P[m, j] v[j, i]) * (value_scale[i] / sum_j P[m, j]), P the u8 softmax of q k (kernel_table.h).
// Layout    q row-major u8; keys and values in 16-column panels (packed_layout.h). Six rows at a time: their scores go to scratch
//           as float32, their P as u8, row-major and in the order of the keys, which is what the second matmul reads.
// Registers both matmuls: R <= 6 rows x P <= 4 panels of accumulators (vnni_tile.h); the epilogue of the scores keeps the row
//           maxima in passing. Softmax: four vectors in lockstep, 12 constants.
//             vpdpbusd, vfmadd, vmulps, vmaxps zmm  1 per cycle;  vaddps, vcvt, integer zmm  2 together (Zen 4)
// Bound     vector ALU. For 16 scores of a row: d / 4 vpdpbusd twice, and 15 instructions of scaling and softmax: convert, scale,
//           maximum | fma, maximum, add, sub, sub, 3 fma, shift, add, convert, 3 / 4 pack, 1 / 4 sum.
// Keys that a row does not see, and the padding of the last panel, get the score -inf where the scores are written, so that
// nothing after that needs a mask: their P comes out as 0.
#include <immintrin.h>

#include <cstring>

#include "kernels/attention_constants.h"
#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/avx512vnni/vnni_tile.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

constexpr int kTileRows = 6;
constexpr int kTilePanels = 4;
constexpr std::int64_t kBlockKeys = 64;  // one vector of P

std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// Scores, P and row values of the rows that are under way. 16 floats between the rows keep them off each other's cache sets.
struct Scratch {
  float* scores;
  std::int64_t stride;
  std::uint8_t* p;
  std::int64_t p_stride;
  float* maxima;  // 16 lanes for each row
};

std::int64_t score_stride(std::int64_t keys) {
  return (keys + kBlockKeys - 1) / kBlockKeys * kBlockKeys + 16;
}
std::int64_t p_stride(std::int64_t keys) { return score_stride(keys) - 16 + kBlockKeys; }

Scratch scratch_at(void* memory, std::int64_t keys) {
  auto* scores = static_cast<float*>(memory);
  auto* p = reinterpret_cast<std::uint8_t*>(scores + kTileRows * score_stride(keys));
  auto* maxima = reinterpret_cast<float*>(p + kTileRows * p_stride(keys));
  return {scores, score_stride(keys), p, p_stride(keys), maxima};
}

// --- scores -------------------------------------------------------------------------------------------------------------

// What the epilogue of a tile of scores needs, with pointers moved to its first row and key.
struct ScoreTile {
  const std::int32_t* key_offsets;
  const float* key_scales;
  const float* bias;  // or null
  std::int64_t bias_stride;
  const float* row_scales;
  float* scores;
  std::int64_t stride;
  float* maxima;
  // Row r sees the keys [first_seen + r * step, last_seen + r * step) below `keys`, counted from the tile's first one.
  bool all_seen;
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

// score(row, panel) for the whole tile: stored, and the row's maximum kept. The maximum's second operand is the one that never
// is NaN.
template <int kRows, int kPanels, typename Score>
__attribute__((always_inline)) inline void store_scores(const ScoreTile& tile, const Score& score) {
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    __m512 maximum_f32x16 = _mm512_load_ps(tile.maxima + row * kPanelColumns);
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const __m512 score_f32x16 = score(row, panel);
      _mm512_store_ps(tile.scores + row * tile.stride + panel * kPanelColumns, score_f32x16);
      maximum_f32x16 = _mm512_max_ps(score_f32x16, maximum_f32x16);
    });
    _mm512_store_ps(tile.maxima + row * kPanelColumns, maximum_f32x16);
  });
}

template <int kRows, int kPanels>
void score_tile(const Tile& product, const ScoreTile& tile) {
  __m512i sum_i32x16[kRows][kPanels];
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    const __m512i offset_i32x16 = _mm512_loadu_si512(tile.key_offsets + panel * kPanelColumns);
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA { sum_i32x16[row][panel] = offset_i32x16; });
  });
  multiply<kRows, kPanels, false>(product, sum_i32x16);
  __m512 key_scale_f32x16[kPanels];
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    key_scale_f32x16[panel] = _mm512_loadu_ps(tile.key_scales + panel * kPanelColumns);
  });
  const auto scaled = [&](auto row, auto panel) FF_INLINE_LAMBDA {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(sum_i32x16[row][panel]), key_scale_f32x16[panel]);
  };
  const auto biased = [&](auto row, auto panel, __mmask16 valid) FF_INLINE_LAMBDA {
    const float* bias = tile.bias + row * tile.bias_stride + panel * kPanelColumns;
    return _mm512_fmadd_ps(scaled(row, panel), _mm512_set1_ps(tile.row_scales[row]),
                           _mm512_maskz_loadu_ps(valid, bias));
  };
  if (tile.all_seen && tile.bias == nullptr) {
    store_scores<kRows, kPanels>(tile, scaled);
  } else if (tile.all_seen) {
    store_scores<kRows, kPanels>(
        tile, [&](auto row, auto panel) FF_INLINE_LAMBDA { return biased(row, panel, 0xFFFF); });
  } else {
    store_scores<kRows, kPanels>(tile, [&](auto row, auto panel) FF_INLINE_LAMBDA {
      const std::int64_t column = panel * kPanelColumns;
      const __m512 score_f32x16 =
          tile.bias != nullptr ? biased(row, panel, lanes_below(tile.keys - column)) : scaled(row, panel);
      return _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), seen_lanes(tile, row, column),
                                score_f32x16);
    });
  }
}

// --- softmax ------------------------------------------------------------------------------------------------------------

// kCount vectors of scores -> 64 bytes of P, zero from 16 kCount on.
template <int kCount>
__attribute__((always_inline)) inline __m512i probabilities(const float* scores, __m512 factor_f32x16,
                                                            __m512 shift_f32x16) {
  const __m512 magic_f32x16 = _mm512_set1_ps(kPowerMagic);
  __m512 shifted_f32x16[kCount], f_f32x16[kCount], p_f32x16[kCount];
  unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
    const __m512 power_f32x16 =
        _mm512_max_ps(_mm512_fmsub_ps(_mm512_load_ps(scores + 16 * i), factor_f32x16, shift_f32x16),
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

// One row of `panels` vectors; returns 1 / sum of P, NaN when that is 0.
float softmax_row(const float* scores, std::int64_t panels, const float* maxima, float factor,
                  std::uint8_t* p) {
  const __m512 factor_f32x16 = _mm512_set1_ps(factor);
  const __m512 shift_f32x16 = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_load_ps(maxima)) * factor);
  const __m512i one_s8x64 = _mm512_set1_epi8(1);
  __m512i total_i32x16 = _mm512_setzero_si512();
  const auto block = [&](auto count) FF_INLINE_LAMBDA {
    const __m512i p_u8x64 = probabilities<count>(scores, factor_f32x16, shift_f32x16);
    total_i32x16 = _mm512_dpbusd_epi32(total_i32x16, p_u8x64, one_s8x64);
    _mm512_store_si512(p, p_u8x64);
  };
  for (; panels >= 4; panels -= 4, scores += kBlockKeys, p += kBlockKeys) block(Constant<4>{});
  if (panels == 3) block(Constant<3>{});
  if (panels == 2) block(Constant<2>{});
  if (panels == 1) block(Constant<1>{});
  const int total = _mm512_reduce_add_epi32(total_i32x16);
  return total > 0 ? 1.0f / static_cast<float>(total) : __builtin_nanf("");
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
  void (*scores[kTilePanels + 1][kTileRows + 1])(const Tile&, const ScoreTile&) = {};
  void (*values[kTilePanels + 1][kTileRows + 1])(const Tile&, const ValueTile&) = {};
};

template <int kPanels, int kRows>
constexpr void fill_tiles(Tiles& tiles) {
  tiles.scores[kPanels][kRows] = score_tile<kRows, kPanels>;
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

// Neighbouring rows [row, row + count) and the panels of keys that one of them sees.
struct RowTile {
  std::int64_t row;
  std::int64_t count;
  std::int64_t first_panel;
  std::int64_t last_panel;
  std::int64_t first_seen;  // by the first row, and not cut off at the sequence's ends
  std::int64_t last_seen;
  std::int64_t end;  // past the last key that a row sees
};

RowTile row_tile(const AttendArgs& args, std::int64_t row, std::int64_t count) {
  if (args.window < 0) return {row, count, 0, panel_count(args.keys), 0, args.keys, args.keys};
  const std::int64_t first = args.first_query + row - args.window;
  const std::int64_t last = args.first_query + row + args.window + 1;
  const std::int64_t end = smaller(last + count - 1, args.keys);
  return {row, count, larger(first, 0) / kPanelColumns, panel_count(end), first, last, end};
}

void write_scores(const AttendArgs& args, const RowTile& rows, const Scratch& scratch) {
  const std::int64_t panel_bytes = padded_depth(args.depth) * kPanelColumns;
  for (std::int64_t m = 0; m < rows.count; ++m) {
    _mm512_store_ps(scratch.maxima + m * kPanelColumns, _mm512_set1_ps(-__builtin_inff()));
  }
  const std::int64_t step = args.window < 0 ? 0 : 1;
  const std::int64_t seen_by_all = larger(rows.first_seen + step * (rows.count - 1), 0);
  for_each_share(rows.first_panel, rows.last_panel, [&](std::int64_t panel, std::int64_t panels) {
    const std::int64_t key = panel * kPanelColumns;
    const Tile product = {args.q + rows.row * args.q_stride,
                          args.q_stride,
                          static_cast<const std::int8_t*>(args.key_panels) + panel * panel_bytes,
                          panel_bytes,
                          padded_depth(args.depth) / kDepthGroup,
                          panels * kPanelColumns};
    ScoreTile tile{};
    tile.key_offsets = args.key_offsets + key;
    tile.key_scales = args.key_scales + key;
    if (args.bias != nullptr) tile.bias = args.bias + rows.row * args.bias_stride + key;
    tile.bias_stride = args.bias_stride;
    tile.row_scales = args.row_scales + rows.row;
    tile.scores = scratch.scores + (panel - rows.first_panel) * kPanelColumns;
    tile.stride = scratch.stride;
    tile.maxima = scratch.maxima;
    tile.all_seen = seen_by_all <= key && key + panels * kPanelColumns <= smaller(rows.last_seen, args.keys);
    tile.first_seen = rows.first_seen - key;
    tile.last_seen = rows.last_seen - key;
    tile.step = step;
    tile.keys = args.keys - key;
    kTiles.scores[panels][rows.count](product, tile);
  });
}

void write_out(const AttendArgs& args, const RowTile& rows, const Scratch& scratch, const float* inverses) {
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

std::int64_t attend_scratch_bytes(std::int64_t, std::int64_t keys) {
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  return kTileRows * (score_stride(keys) * kFloat + p_stride(keys) + kPanelColumns * kFloat);
}

void attend_u8s8(const AttendArgs& args) {
  const Scratch scratch = scratch_at(args.scratch, args.keys);
  std::int64_t row = 0;
  for (std::int64_t left = (args.row_count + kTileRows - 1) / kTileRows; left > 0; --left) {
    const RowTile rows = row_tile(args, row, (args.row_count - row + left - 1) / left);
    write_scores(args, rows, scratch);
    float inverses[kTileRows];
    for (std::int64_t m = 0; m < rows.count; ++m) {
      const float factor = args.bias != nullptr ? kLog2E : args.row_scales[row + m] * kLog2E;
      inverses[m] = softmax_row(scratch.scores + m * scratch.stride, rows.last_panel - rows.first_panel,
                                scratch.maxima + m * kPanelColumns, factor, scratch.p + m * scratch.p_stride);
    }
    write_out(args, rows, scratch, inverses);
    row += rows.count;
  }
}

}  // namespace fastformers::avx512vnni
