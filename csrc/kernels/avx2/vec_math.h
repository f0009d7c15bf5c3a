// SPDX-License-Identifier: MIT
// 8-lane forms of the shared float operations (kernels/reference/scalar_math.h defines their bits).
// Everything here is static: an inline function would become a weak symbol carrying AVX2 code.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/exp_constants.h"
#include "kernels/gelu_tables.h"
#include "kernels/kernel_table.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {

// All bits set in the first `count` lanes; all lanes from 8 on, none at 0 or below.
static inline __m256i lanes_below(std::int64_t count) {
  const auto clamped = static_cast<std::int32_t>(count > 8 ? 8 : count);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(clamped), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// sum += products of neighbouring s16 pairs. Assembly, because GCC 12 otherwise starts all products of a step before it
// adds any, runs out of the 16 registers and keeps the accumulators in memory.
static inline __attribute__((always_inline)) void accumulate(__m256i& sum_i32x8, __m256i input_s16x16,
                                                             __m256i weight_s16x16) {
  __m256i product_i32x8;
  __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
          : "+x"(sum_i32x8), "=&x"(product_i32x8)
          : "x"(input_s16x16), "x"(weight_s16x16));
}

// max(x, 0) on the bits, when floor is 0.
static inline __m256 relu_above(__m256 x_f32x8, std::int32_t floor) {
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(x_f32x8), _mm256_set1_epi32(floor)));
}

static inline __m256 gelu(__m256 x_f32x8, const float table[6][16]) {
  const __m256 magic_f32x8 = _mm256_set1_ps(kRoundingMagic);
  const __m256 absolute_f32x8 = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x_f32x8);
  const __m256 magnitude_f32x8 = _mm256_min_ps(absolute_f32x8, _mm256_set1_ps(kGeluLimit));
  const __m256 shifted_f32x8 =
      _mm256_fmadd_ps(magnitude_f32x8, _mm256_set1_ps(kGeluSegmentsPerUnit), magic_f32x8);
  const __m256i segment_i32x8 = _mm256_and_si256(_mm256_castps_si256(shifted_f32x8), _mm256_set1_epi32(15));
  const __m256 offset_f32x8 = _mm256_fmadd_ps(_mm256_sub_ps(shifted_f32x8, magic_f32x8),
                                              _mm256_set1_ps(-kGeluSegmentWidth), magnitude_f32x8);
  __m256 h_f32x8 = _mm256_i32gather_ps(table[5], segment_i32x8, 4);
  unrolled<5>([&](auto step) FF_INLINE_LAMBDA {
    h_f32x8 = _mm256_fmadd_ps(h_f32x8, offset_f32x8, _mm256_i32gather_ps(table[4 - step], segment_i32x8, 4));
  });
  return _mm256_sub_ps(_mm256_max_ps(_mm256_setzero_ps(), x_f32x8), h_f32x8);
}

static inline __m256 activate(__m256 x_f32x8, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x_f32x8;
    case Activation::kRelu:
      return relu_above(x_f32x8, 0);
    case Activation::kGeluErf:
      return gelu(x_f32x8, kGeluErfTable);
    case Activation::kGeluTanh:
      return gelu(x_f32x8, kGeluTanhTable);
  }
  return x_f32x8;
}

static inline __m256 exp_nonpositive(__m256 x_f32x8) {
  const __m256 magic_f32x8 = _mm256_set1_ps(kRoundingMagic);
  const __m256 shifted_f32x8 = _mm256_fmadd_ps(x_f32x8, _mm256_set1_ps(kLog2E), magic_f32x8);
  const __m256 power_f32x8 = _mm256_sub_ps(shifted_f32x8, magic_f32x8);
  __m256 r_f32x8 = _mm256_fmadd_ps(power_f32x8, _mm256_set1_ps(-kLn2High), x_f32x8);
  r_f32x8 = _mm256_fmadd_ps(power_f32x8, _mm256_set1_ps(-kLn2Low), r_f32x8);
  __m256 p_f32x8 = _mm256_set1_ps(kExp5);
  p_f32x8 = _mm256_fmadd_ps(p_f32x8, r_f32x8, _mm256_set1_ps(kExp4));
  p_f32x8 = _mm256_fmadd_ps(p_f32x8, r_f32x8, _mm256_set1_ps(kExp3));
  p_f32x8 = _mm256_fmadd_ps(p_f32x8, r_f32x8, _mm256_set1_ps(kExp2));
  p_f32x8 = _mm256_fmadd_ps(p_f32x8, r_f32x8, _mm256_set1_ps(kExp1));
  p_f32x8 = _mm256_fmadd_ps(p_f32x8, r_f32x8, _mm256_set1_ps(kExp0));
  p_f32x8 =
      _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(p_f32x8, r_f32x8), r_f32x8, r_f32x8), _mm256_set1_ps(1.0f));
  const __m256i exponent_i32x8 = _mm256_slli_epi32(_mm256_castps_si256(shifted_f32x8), 23);
  const __m256i scaled_i32x8 = _mm256_add_epi32(_mm256_castps_si256(p_f32x8), exponent_i32x8);
  const __m256 keep_f32x8 = _mm256_cmp_ps(x_f32x8, _mm256_set1_ps(kLeastExp), _CMP_NLT_UQ);
  return _mm256_and_ps(keep_f32x8, _mm256_castsi256_ps(scaled_i32x8));
}

// 8 -> 4 -> 2 -> 1, lane i with lane i + half: the tail of the reference's tree.
static inline float fold(__m256 sum_f32x8) {
  const __m128 quarter_f32x4 =
      _mm_add_ps(_mm256_castps256_ps128(sum_f32x8), _mm256_extractf128_ps(sum_f32x8, 1));
  const __m128 pair_f32x4 = _mm_add_ps(quarter_f32x4, _mm_movehl_ps(quarter_f32x4, quarter_f32x4));
  return _mm_cvtss_f32(_mm_add_ss(pair_f32x4, _mm_movehdup_ps(pair_f32x4)));
}

// The eight 8-lane accumulators of a row sum: vectors 2i and 2i + 1 are lanes 16i .. 16i + 15 of the reference.
static inline float fold_lanes(const __m256 (&sum_f32x8)[8]) {
  const __m256 low_f32x8 =
      _mm256_add_ps(_mm256_add_ps(sum_f32x8[0], sum_f32x8[2]), _mm256_add_ps(sum_f32x8[4], sum_f32x8[6]));
  const __m256 high_f32x8 =
      _mm256_add_ps(_mm256_add_ps(sum_f32x8[1], sum_f32x8[3]), _mm256_add_ps(sum_f32x8[5], sum_f32x8[7]));
  return fold(_mm256_add_ps(low_f32x8, high_f32x8));
}

}  // namespace fastformers::avx2
