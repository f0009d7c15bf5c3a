// SPDX-License-Identifier: MIT
// 16-lane forms of the shared float operations (kernels/reference/scalar_math.h defines their bits).
// Everything here is static: an inline function would become a weak symbol carrying AVX-512 code.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/gelu_tables.h"
#include "kernels/kernel_table.h"

namespace fastformers::avx512vnni {

// The first `count` lanes, for 0 <= count; all of them from 16 on.
static inline __mmask16 lanes_below(std::int64_t count) {
  return count >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1u << count) - 1u);
}

static inline __m512 lookup(const float table[32], __m512i segment_i32x16) {
  return _mm512_permutex2var_ps(_mm512_load_ps(table), segment_i32x16, _mm512_load_ps(table + 16));
}

static inline __m512 gelu(__m512 x_f32x16, const float table[5][32]) {
  const __m512 magic_f32x16 = _mm512_set1_ps(kGeluRoundingMagic);
  const __m512 magnitude_f32x16 = _mm512_min_ps(_mm512_abs_ps(x_f32x16), _mm512_set1_ps(kGeluLimit));
  const __m512 shifted_f32x16 =
      _mm512_fmadd_ps(magnitude_f32x16, _mm512_set1_ps(kGeluSegmentsPerUnit), magic_f32x16);
  const __m512i segment_i32x16 = _mm512_castps_si512(shifted_f32x16);  // the lookup reads its low 5 bits
  const __m512 offset_f32x16 = _mm512_fmadd_ps(_mm512_sub_ps(shifted_f32x16, magic_f32x16),
                                               _mm512_set1_ps(-kGeluSegmentWidth), magnitude_f32x16);
  __m512 h_f32x16 = lookup(table[4], segment_i32x16);
  h_f32x16 = _mm512_fmadd_ps(h_f32x16, offset_f32x16, lookup(table[3], segment_i32x16));
  h_f32x16 = _mm512_fmadd_ps(h_f32x16, offset_f32x16, lookup(table[2], segment_i32x16));
  h_f32x16 = _mm512_fmadd_ps(h_f32x16, offset_f32x16, lookup(table[1], segment_i32x16));
  h_f32x16 = _mm512_fmadd_ps(h_f32x16, offset_f32x16, lookup(table[0], segment_i32x16));
  return _mm512_sub_ps(_mm512_max_ps(_mm512_setzero_ps(), x_f32x16), h_f32x16);
}

// max(x, 0) on the bits, when floor is 0: an integer maximum leaves the two multiplication ports to the matmul.
static inline __m512 relu_above(__m512 x_f32x16, std::int32_t floor) {
  return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(x_f32x16), _mm512_set1_epi32(floor)));
}

static inline __m512 activate(__m512 x_f32x16, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x_f32x16;
    case Activation::kRelu:
      return relu_above(x_f32x16, 0);
    case Activation::kGeluErf:
      return gelu(x_f32x16, kGeluErfTable);
    case Activation::kGeluTanh:
      return gelu(x_f32x16, kGeluTanhTable);
  }
  return x_f32x16;
}

static inline __m512 exp_nonpositive(__m512 x_f32x16) {
  const __m512 magic_f32x16 = _mm512_set1_ps(12582912.0f);
  const __m512 shifted_f32x16 = _mm512_fmadd_ps(x_f32x16, _mm512_set1_ps(1.44269504f), magic_f32x16);
  const __m512 power_f32x16 = _mm512_sub_ps(shifted_f32x16, magic_f32x16);
  __m512 r_f32x16 = _mm512_fmadd_ps(power_f32x16, _mm512_set1_ps(-0.693145752f), x_f32x16);
  r_f32x16 = _mm512_fmadd_ps(power_f32x16, _mm512_set1_ps(-1.42860677e-6f), r_f32x16);
  __m512 p_f32x16 = _mm512_set1_ps(1.98756915e-4f);
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(1.39819994e-3f));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(8.33345205e-3f));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(4.16657962e-2f));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(1.66666657e-1f));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(0.5f));
  p_f32x16 = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(p_f32x16, r_f32x16), r_f32x16, r_f32x16),
                           _mm512_set1_ps(1.0f));
  const __m512i exponent_i32x16 = _mm512_slli_epi32(_mm512_castps_si512(shifted_f32x16), 23);
  const __m512i scaled_i32x16 = _mm512_add_epi32(_mm512_castps_si512(p_f32x16), exponent_i32x16);
  const __mmask16 keep = _mm512_cmp_ps_mask(x_f32x16, _mm512_set1_ps(-87.3f), _CMP_NLT_UQ);
  return _mm512_maskz_mov_ps(keep, _mm512_castsi512_ps(scaled_i32x16));
}

// 16 -> 8 -> 4 -> 2 -> 1, lane i with lane i + half: the tree of the reference.
static inline float fold(__m512 sum_f32x16) {
  const __m256 half_f32x8 =
      _mm256_add_ps(_mm512_castps512_ps256(sum_f32x16), _mm512_extractf32x8_ps(sum_f32x16, 1));
  const __m128 quarter_f32x4 =
      _mm_add_ps(_mm256_castps256_ps128(half_f32x8), _mm256_extractf128_ps(half_f32x8, 1));
  const __m128 pair_f32x4 = _mm_add_ps(quarter_f32x4, _mm_movehl_ps(quarter_f32x4, quarter_f32x4));
  return _mm_cvtss_f32(_mm_add_ss(pair_f32x4, _mm_movehdup_ps(pair_f32x4)));
}

// The four 16-lane accumulators of a row sum.
static inline float fold_lanes(const __m512 (&sum_f32x16)[4]) {
  return fold(_mm512_add_ps(_mm512_add_ps(sum_f32x16[0], sum_f32x16[1]),
                            _mm512_add_ps(sum_f32x16[2], sum_f32x16[3])));
}

}  // namespace fastformers::avx512vnni
