// SPDX-License-Identifier: MIT
// 16-lane forms of the shared float operations (kernels/reference/scalar_math.h defines their bits).
// Everything here is static: an inline function would become a weak symbol carrying AVX-512 code.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/exp_constants.h"
#include "kernels/gelu_tables.h"
#include "kernels/kernel_table.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {

// The first `count` lanes, for 0 <= count; all of them from 16 on.
static inline __mmask16 lanes_below(std::int64_t count) {
  return count >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1u << count) - 1u);
}

// A plain store for whole vectors: masked ones take several times as long on Zen 4.
static inline void store_lanes(float* out, __m512 y_f32x16, __mmask16 valid) {
  if (valid == 0xFFFF) {
    _mm512_storeu_ps(out, y_f32x16);
  } else {
    _mm512_mask_storeu_ps(out, valid, y_f32x16);
  }
}

// The table of one GELU in six registers, so that a loop does not read it again from L1 for each vector.
struct GeluTable {
  __m512 power_f32x16[6];

  explicit GeluTable(Activation which) {
    const auto& table = which == Activation::kGeluTanh ? kGeluTanhTable : kGeluErfTable;
    unrolled<6>([&](auto power) FF_INLINE_LAMBDA { power_f32x16[power] = _mm512_load_ps(table[power]); });
  }
};

// GELU of several vectors in lockstep: one at a time is 40 cycles deep, and the scheduler holds about three of them.
template <int kCount>
static inline __attribute__((always_inline)) void gelu(__m512 (&x_f32x16)[kCount], const GeluTable& table) {
  const __m512 magic_f32x16 = _mm512_set1_ps(kRoundingMagic);
  const __m512i limit_u32x16 = _mm512_castps_si512(_mm512_set1_ps(kGeluLimit));
  const __m512i positive_u32x16 = _mm512_set1_epi32(0x7FFFFFFF);
  const __m512 per_unit_f32x16 = _mm512_set1_ps(kGeluSegmentsPerUnit);
  const __m512 width_f32x16 = _mm512_set1_ps(-kGeluSegmentWidth);
  __m512 shifted_f32x16[kCount], offset_f32x16[kCount], h_f32x16[kCount];
  const auto coefficient = [&](auto power, auto i) FF_INLINE_LAMBDA {
    const __m512i segment_i32x16 = _mm512_castps_si512(shifted_f32x16[i]);  // the lookup reads its low 4 bits
    return _mm512_permutexvar_ps(segment_i32x16, table.power_f32x16[power]);
  };
  unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
    // |x| and its limit as integers, which spares the two multiplication ports; NaN goes to the limit, as it should.
    const __m512i absolute_u32x16 = _mm512_and_si512(_mm512_castps_si512(x_f32x16[i]), positive_u32x16);
    const __m512 magnitude_f32x16 = _mm512_castsi512_ps(_mm512_min_epu32(absolute_u32x16, limit_u32x16));
    shifted_f32x16[i] = _mm512_fmadd_ps(magnitude_f32x16, per_unit_f32x16, magic_f32x16);
    offset_f32x16[i] =
        _mm512_fmadd_ps(_mm512_sub_ps(shifted_f32x16[i], magic_f32x16), width_f32x16, magnitude_f32x16);
    h_f32x16[i] = coefficient(Constant<5>{}, i);
  });
  unrolled<5>([&](auto step) FF_INLINE_LAMBDA {
    unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
      h_f32x16[i] = _mm512_fmadd_ps(h_f32x16[i], offset_f32x16[i], coefficient(Constant<4 - step>{}, i));
    });
  });
  unrolled<kCount>([&](auto i) FF_INLINE_LAMBDA {
    x_f32x16[i] = _mm512_sub_ps(_mm512_max_ps(_mm512_setzero_ps(), x_f32x16[i]), h_f32x16[i]);
  });
}

// out = GELU(in) + residual (or null) for kPanels vectors of one row, of which the first `columns` values are valid.
template <int kPanels>
static inline __attribute__((always_inline)) void gelu_row(const float* in, const float* residual, float* out,
                                                           std::int64_t columns, const GeluTable& table) {
  __m512 y_f32x16[kPanels];
  unrolled<kPanels>([&](auto i) FF_INLINE_LAMBDA { y_f32x16[i] = _mm512_load_ps(in + 16 * i); });
  gelu(y_f32x16, table);
  unrolled<kPanels>([&](auto i) FF_INLINE_LAMBDA {
    const __mmask16 valid = lanes_below(columns - 16 * i);
    if (residual != nullptr)
      y_f32x16[i] = _mm512_add_ps(y_f32x16[i], _mm512_maskz_loadu_ps(valid, residual + 16 * i));
    store_lanes(out + 16 * i, y_f32x16[i], valid);
  });
}

// max(x, 0) on the bits, when floor is 0: an integer maximum leaves the two multiplication ports to the matmul.
static inline __m512 relu_above(__m512 x_f32x16, std::int32_t floor) {
  return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(x_f32x16), _mm512_set1_epi32(floor)));
}

static inline __m512 exp_nonpositive(__m512 x_f32x16) {
  const __m512 magic_f32x16 = _mm512_set1_ps(kRoundingMagic);
  const __m512 shifted_f32x16 = _mm512_fmadd_ps(x_f32x16, _mm512_set1_ps(kLog2E), magic_f32x16);
  const __m512 power_f32x16 = _mm512_sub_ps(shifted_f32x16, magic_f32x16);
  __m512 r_f32x16 = _mm512_fmadd_ps(power_f32x16, _mm512_set1_ps(-kLn2High), x_f32x16);
  r_f32x16 = _mm512_fmadd_ps(power_f32x16, _mm512_set1_ps(-kLn2Low), r_f32x16);
  __m512 p_f32x16 = _mm512_set1_ps(kExp5);
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(kExp4));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(kExp3));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(kExp2));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(kExp1));
  p_f32x16 = _mm512_fmadd_ps(p_f32x16, r_f32x16, _mm512_set1_ps(kExp0));
  p_f32x16 = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(p_f32x16, r_f32x16), r_f32x16, r_f32x16),
                           _mm512_set1_ps(1.0f));
  const __m512i exponent_i32x16 = _mm512_slli_epi32(_mm512_castps_si512(shifted_f32x16), 23);
  const __m512i scaled_i32x16 = _mm512_add_epi32(_mm512_castps_si512(p_f32x16), exponent_i32x16);
  const __mmask16 keep = _mm512_cmp_ps_mask(x_f32x16, _mm512_set1_ps(kLeastExp), _CMP_NLT_UQ);
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
