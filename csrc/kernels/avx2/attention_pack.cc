// SPDX-License-Identifier: MIT
// Computes  float queries, keys and values of one head -> integers with one scale each row, key and channel (kernel_table.h).
// Layout    queries row-major u8; keys and values in panels of 16 columns x pairs of depth, s16 (packed_layout.h). A column is a
//           key, or a channel, whose depth is the keys: two rows of 16 channels are one pair.
// Registers 8 keys x 8 depth at a time: vpackssdw and vshufps leave 4 pairs of 4 keys in each 128-bit lane, vperm2i128 makes 8 keys
//           of it. Values: a shift and a vpblendw make pairs of two neighbouring keys.
//             vmulps, vcvtps2dq, vpmaxud, vpackssdw, vshufps  2 per cycle;   vperm2i128  1 per cycle
// Bound     vector ALU, and both read their floats twice: the scale comes first.
// Quantizing needs no clamp: inverse is a normal number within 2 ulp of 127 / max|x|, so |x * inverse| rounds to 127 at most.
#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

constexpr std::uint32_t kInfinity = 0x7F800000u;
constexpr float kLeastNormal = 0x1p-126f;
constexpr std::int64_t kHalf = 8;                        // columns of one ymm
constexpr std::int64_t kPairValues = 2 * kPanelColumns;  // s16 values of one depth pair of a panel

// The bits of |x|: as integers they sort as the magnitudes do, NaN and infinity last.
__attribute__((always_inline)) inline __m256i magnitude_bits(__m256 x_f32x8) {
  return _mm256_and_si256(_mm256_castps_si256(x_f32x8), _mm256_set1_epi32(0x7FFFFFFF));
}

bool any_not_finite(__m256i magnitude_u32x8) {  // none has its sign bit set
  const __m256i infinity_s32x8 = _mm256_set1_epi32(static_cast<int>(kInfinity) - 1);
  return _mm256_movemask_epi8(_mm256_cmpgt_epi32(magnitude_u32x8, infinity_s32x8)) != 0;
}

struct Scales {
  __m256 scale_f32x8;
  __m256 inverse_f32x8;
};

Scales symmetric_scales(__m256i largest_u32x8) {
  const __m256 scale_f32x8 = _mm256_mul_ps(_mm256_castsi256_ps(largest_u32x8), _mm256_set1_ps(1.0f / 127.0f));
  const __m256 normal_f32x8 = _mm256_cmp_ps(scale_f32x8, _mm256_set1_ps(kLeastNormal), _CMP_NLT_UQ);
  return {_mm256_and_ps(normal_f32x8, scale_f32x8),
          _mm256_and_ps(normal_f32x8, _mm256_div_ps(_mm256_set1_ps(1.0f), scale_f32x8))};
}

__attribute__((always_inline)) inline __m256i round_s32(__m256 x_f32x8, __m256 inverse_f32x8) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(x_f32x8, inverse_f32x8));
}

void store_s16(std::int16_t* out, __m256i value_s16x16) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(out), value_s16x16);
}

__attribute__((always_inline)) inline std::uint32_t fold_largest(__m256i largest_u32x8) {
  __m128i fold_u32x4 =
      _mm_max_epu32(_mm256_castsi256_si128(largest_u32x8), _mm256_extracti128_si256(largest_u32x8, 1));
  fold_u32x4 = _mm_max_epu32(fold_u32x4, _mm_shuffle_epi32(fold_u32x4, 0x4E));
  fold_u32x4 = _mm_max_epu32(fold_u32x4, _mm_shuffle_epi32(fold_u32x4, 0xB1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(fold_u32x4));
}

std::uint32_t largest_of_row(const float* x, std::int64_t depth) {
  __m256i largest_u32x8 = _mm256_setzero_si256();
  std::int64_t k = 0;
  for (; k + 8 <= depth; k += 8) {
    largest_u32x8 = _mm256_max_epu32(largest_u32x8, magnitude_bits(_mm256_loadu_ps(x + k)));
  }
  if (k < depth) {
    const __m256 x_f32x8 = _mm256_maskload_ps(x + k, lanes_below(depth - k));
    largest_u32x8 = _mm256_max_epu32(largest_u32x8, magnitude_bits(x_f32x8));
  }
  return fold_largest(largest_u32x8);
}

// --- keys ---------------------------------------------------------------------------------------------------------------

// Up to 8 keys, half a panel.
struct KeyRows {
  const float* first;
  std::int64_t stride;
  std::int64_t count;  // 0 or less: none
  std::int64_t depth;
};

// 8 keys x 8 depth from k on, `valid` of them -> 4 pairs of depth.
__attribute__((always_inline)) inline void quantize_keys(const KeyRows& keys, std::int64_t k,
                                                         __m256i valid_s32x8, const float* inverses,
                                                         __m256i (&pair_s16x16)[4]) {
  const auto value = [&](std::int64_t key) FF_INLINE_LAMBDA {
    if (key >= keys.count) return _mm256_setzero_si256();
    const __m256 x_f32x8 = _mm256_maskload_ps(keys.first + key * keys.stride + k, valid_s32x8);
    return round_s32(x_f32x8, _mm256_set1_ps(inverses[key]));
  };
  __m256 two_s16x16[4];  // two keys: in lane l the pairs 2l and 2l + 1 of one, then of the other
  unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
    two_s16x16[i] = _mm256_castsi256_ps(_mm256_packs_epi32(value(2 * i), value(2 * i + 1)));
  });
  const auto four = [&](__m256 a_s16x16, __m256 b_s16x16, auto odd) FF_INLINE_LAMBDA {
    return _mm256_castps_si256(odd == 1 ? _mm256_shuffle_ps(a_s16x16, b_s16x16, 0xDD)
                                        : _mm256_shuffle_ps(a_s16x16, b_s16x16, 0x88));
  };
  unrolled<2>([&](auto odd) FF_INLINE_LAMBDA {
    const __m256i low_s16x16 = four(two_s16x16[0], two_s16x16[1], odd);
    const __m256i high_s16x16 = four(two_s16x16[2], two_s16x16[3], odd);
    pair_s16x16[odd] = _mm256_permute2x128_si256(low_s16x16, high_s16x16, 0x20);
    pair_s16x16[2 + odd] = _mm256_permute2x128_si256(low_s16x16, high_s16x16, 0x31);
  });
}

// Half a panel; returns false when one of its keys is not finite.
bool pack_half(const KeyRows& keys, std::int16_t* panel, float* scales, std::int32_t* offsets) {
  alignas(32) std::uint32_t largest[kHalf] = {};
  for (std::int64_t key = 0; key < keys.count; ++key) {
    largest[key] = largest_of_row(keys.first + key * keys.stride, keys.depth);
  }
  const __m256i largest_u32x8 = _mm256_load_si256(reinterpret_cast<const __m256i*>(largest));
  if (any_not_finite(largest_u32x8)) return false;
  const Scales scale = symmetric_scales(largest_u32x8);
  alignas(32) float inverses[kHalf];
  _mm256_store_ps(inverses, scale.inverse_f32x8);
  const std::int64_t pairs = padded_depth(keys.depth) / 2;
  __m256i sum_i32x8 = _mm256_setzero_si256();
  for (std::int64_t k = 0; k < keys.depth; k += 8) {
    __m256i pair_s16x16[4];
    quantize_keys(keys, k, lanes_below(keys.depth - k), inverses, pair_s16x16);
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      if (k / 2 + i >= pairs) return;
      sum_i32x8 = _mm256_add_epi32(sum_i32x8, _mm256_madd_epi16(pair_s16x16[i], _mm256_set1_epi16(128)));
      store_s16(panel + (k / 2 + i) * kPairValues, pair_s16x16[i]);
    });
  }
  _mm256_storeu_ps(scales, scale.scale_f32x8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(offsets),
                      _mm256_sub_epi32(_mm256_setzero_si256(), sum_i32x8));
  return true;
}

// --- values -------------------------------------------------------------------------------------------------------------

// Half a panel of channels; `count` of them exist, 0 or less: none.
bool pack_channels(const PackValuesArgs& args, std::int64_t channel, std::int16_t* panel, float* scales) {
  const __m256i valid_s32x8 = lanes_below(args.channels - channel);
  const auto load = [&](std::int64_t key) FF_INLINE_LAMBDA {
    if (channel >= args.channels || key >= args.keys) return _mm256_setzero_ps();
    return _mm256_maskload_ps(args.v + key * args.v_stride + channel, valid_s32x8);
  };
  __m256i largest_u32x8 = _mm256_setzero_si256();
  for (std::int64_t key = 0; key < args.keys; ++key) {
    largest_u32x8 = _mm256_max_epu32(largest_u32x8, magnitude_bits(load(key)));
  }
  if (any_not_finite(largest_u32x8)) return false;
  const Scales scale = symmetric_scales(largest_u32x8);
  for (std::int64_t key = 0; key < padded_depth(args.keys); key += 2) {
    const __m256i even_s32x8 = round_s32(load(key), scale.inverse_f32x8);
    const __m256i odd_s32x8 = _mm256_slli_epi32(round_s32(load(key + 1), scale.inverse_f32x8), 16);
    store_s16(panel + key * kPanelColumns, _mm256_blend_epi16(even_s32x8, odd_s32x8, 0xAA));
  }
  _mm256_storeu_ps(scales, scale.scale_f32x8);
  return true;
}

// --- queries ------------------------------------------------------------------------------------------------------------

// 32 values from k on, `valid` of them, as u8; `padded` bytes are written, those past `valid` zero. A row that is not finite is
// read as zeros.
void quantize_query(const float* q, std::int64_t valid, std::int64_t padded, bool finite,
                    __m256 inverse_f32x8, std::uint8_t* out) {
  const __m256i zero_point_s32x8 = _mm256_set1_epi32(128);
  __m256i value_s32x8[4];
  for (int i = 0; i < 4; ++i) {
    const std::int64_t left = valid - 8 * i;
    const __m256i valid_s32x8 = lanes_below(left);
    __m256 x_f32x8 = _mm256_setzero_ps();
    if (finite && left > 0) x_f32x8 = _mm256_maskload_ps(q + 8 * i, valid_s32x8);
    const __m256i shifted_s32x8 = _mm256_add_epi32(round_s32(x_f32x8, inverse_f32x8), zero_point_s32x8);
    value_s32x8[i] = _mm256_and_si256(valid_s32x8, shifted_s32x8);
  }
  const __m256i low_s16x16 = _mm256_packs_epi32(value_s32x8[0], value_s32x8[1]);
  const __m256i high_s16x16 = _mm256_packs_epi32(value_s32x8[2], value_s32x8[3]);
  const __m256i order_i32x8 = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes_u8x32 =
      _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low_s16x16, high_s16x16), order_i32x8);
  if (padded >= 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes_u8x32);
    return;
  }
  alignas(32) std::uint8_t bytes[32];
  _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), bytes_u8x32);
  std::memcpy(out, bytes, static_cast<std::size_t>(padded));
}

}  // namespace

bool pack_keys_s8(const PackKeysArgs& args) {
  const std::int64_t panel_values = padded_depth(args.depth) * kPanelColumns;
  for (std::int64_t j = 0; j < panel_count(args.keys) * kPanelColumns; j += kHalf) {
    auto* panel = static_cast<std::int16_t*>(args.panels) + j / kPanelColumns * panel_values;
    const std::int64_t count = args.keys - j < kHalf ? args.keys - j : kHalf;
    const KeyRows keys = {args.k + j * args.k_stride, args.k_stride, count, args.depth};
    if (!pack_half(keys, panel + j % kPanelColumns * 2, args.scales + j, args.offsets + j)) return false;
  }
  return true;
}

bool pack_values_s8(const PackValuesArgs& args) {
  const std::int64_t panel_values = padded_depth(args.keys) * kPanelColumns;
  for (std::int64_t i = 0; i < panel_count(args.channels) * kPanelColumns; i += kHalf) {
    auto* panel = static_cast<std::int16_t*>(args.panels) + i / kPanelColumns * panel_values;
    if (!pack_channels(args, i, panel + i % kPanelColumns * 2, args.scales + i)) return false;
  }
  return true;
}

void quantize_queries_u8(const float* q, std::int64_t q_stride, std::int64_t row_count, std::int64_t depth,
                         std::uint8_t* out, std::int64_t out_stride, float* row_scales) {
  for (std::int64_t m = 0; m < row_count; ++m, q += q_stride, out += out_stride) {
    const std::uint32_t largest = largest_of_row(q, depth);
    const bool finite = largest < kInfinity;
    const Scales scale = symmetric_scales(_mm256_set1_epi32(finite ? static_cast<int>(largest) : 0));
    row_scales[m] = finite ? _mm256_cvtss_f32(scale.scale_f32x8) : __builtin_nanf("");
    for (std::int64_t k = 0; k < depth; k += 32) {
      quantize_query(q + k, depth - k, padded_depth(depth) - k, finite, scale.inverse_f32x8, out + k);
    }
  }
}

}  // namespace fastformers::avx2
