// SPDX-License-Identifier: MIT
// Computes  low/high of each row (0 included), and q = clamp(round(fma(x f, 1/scale, zp)), 0, 255).
// Layout    x row-major float32; q row-major u8, zero-filled up to padded_depth.
// Registers two running maxima; quantization 4 values + 3 constants.
//             vpmaxsd/vpmaxud  latency 1;   vfmadd, vcvtps2dq  2 per cycle;   vpackssdw, vpermd  1 to 2 per cycle
// Bound     loads.
#include <immintrin.h>

#include <cstring>

#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/range_bits.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

template <bool kFactors>
__attribute__((always_inline)) inline __m256 load_scaled(const float* row, const float* factors) {
  const __m256 x_f32x8 = _mm256_loadu_ps(row);
  return kFactors ? _mm256_mul_ps(x_f32x8, _mm256_loadu_ps(factors)) : x_f32x8;
}

template <bool kFactors>
__attribute__((always_inline)) inline __m256 load_scaled(const float* row, const float* factors,
                                                         __m256i valid_s32x8) {
  const __m256 x_f32x8 = _mm256_maskload_ps(row, valid_s32x8);
  return kFactors ? _mm256_mul_ps(x_f32x8, _mm256_maskload_ps(factors, valid_s32x8)) : x_f32x8;
}

// See range_bits.h.
struct BitRange {
  __m256i high_s32x8 = _mm256_set1_epi32(static_cast<int>(kStartOfHigh));
  __m256i low_u32x8 = _mm256_set1_epi32(static_cast<int>(kStartOfLow));
};

__attribute__((always_inline)) inline void widen(BitRange& range, __m256 x_f32x8) {
  const __m256i bits_s32x8 = _mm256_castps_si256(x_f32x8);
  range.high_s32x8 = _mm256_max_epi32(range.high_s32x8, bits_s32x8);
  range.low_u32x8 = _mm256_max_epu32(range.low_u32x8, bits_s32x8);
}

template <bool kFactors>
void range_row(const float* row, std::int64_t depth, const float* factors, float* low, float* high) {
  BitRange range;
  std::int64_t k = 0;
  for (; k + 8 <= depth; k += 8) widen(range, load_scaled<kFactors>(row + k, factors + k));
  if (k < depth) widen(range, load_scaled<kFactors>(row + k, factors + k, lanes_below(depth - k)));
  alignas(32) std::uint32_t highs[8], lows[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(highs), range.high_s32x8);
  _mm256_store_si256(reinterpret_cast<__m256i*>(lows), range.low_u32x8);
  std::uint32_t high_bits = kStartOfHigh, low_bits = kStartOfLow;
  for (int i = 0; i < 8; ++i) {
    high_bits = highs[i] > high_bits ? highs[i] : high_bits;  // none is negative
    low_bits = lows[i] > low_bits ? lows[i] : low_bits;
  }
  set_range(high_bits, low_bits, low, high);
}

// 32 floats as int32 in four vectors -> 32 bytes in order, saturated at 0 and 255.
__attribute__((always_inline)) inline __m256i narrow(const __m256i (&value_i32x8)[4]) {
  const __m256i low_i16x16 = _mm256_packs_epi32(value_i32x8[0], value_i32x8[1]);
  const __m256i high_i16x16 = _mm256_packs_epi32(value_i32x8[2], value_i32x8[3]);
  const __m256i order_i32x8 = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low_i16x16, high_i16x16), order_i32x8);
}

template <bool kFactors>
void quantize_row(const float* row, std::int64_t depth, const float* factors, float inverse_scale,
                  std::int32_t zero_point, std::uint8_t* q) {
  const __m256 inverse_f32x8 = _mm256_set1_ps(inverse_scale);
  const __m256 zero_f32x8 = _mm256_set1_ps(static_cast<float>(zero_point));
  __m256i value_i32x8[4];
  std::int64_t k = 0;
  for (; k + 32 <= depth; k += 32) {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      const __m256 x_f32x8 = load_scaled<kFactors>(row + k + 8 * i, factors + k + 8 * i);
      value_i32x8[i] = _mm256_cvtps_epi32(_mm256_fmadd_ps(x_f32x8, inverse_f32x8, zero_f32x8));
    });
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + k), narrow(value_i32x8));
  }
  if (k >= padded_depth(depth)) return;
  for (int i = 0; i < 4; ++i) {
    const __m256i valid_s32x8 = lanes_below(depth - k - 8 * i);
    const std::int64_t offset =
        k + 8 * i < depth ? k + 8 * i : 0;  // stay inside the row when no lane is valid
    const __m256 x_f32x8 = load_scaled<kFactors>(row + offset, factors + offset, valid_s32x8);
    value_i32x8[i] = _mm256_and_si256(
        valid_s32x8, _mm256_cvtps_epi32(_mm256_fmadd_ps(x_f32x8, inverse_f32x8, zero_f32x8)));
  }
  alignas(32) std::uint8_t bytes[32];
  _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), narrow(value_i32x8));
  std::memcpy(q + k, bytes, static_cast<std::size_t>(padded_depth(depth) - k));
}

}  // namespace

void range_f32_rows(const RowsArgs& args, float* low, float* high) {
  const auto row_range = args.factors != nullptr ? range_row<true> : range_row<false>;
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    row_range(args.x + m * args.x_stride, args.depth, args.factors, low + m, high + m);
  }
}

void quantize_f32_u8_rows(const RowsArgs& args, const float* inverse_scales, const std::int32_t* zero_points,
                          std::uint8_t* q, std::int64_t q_stride) {
  const auto row_bytes = args.factors != nullptr ? quantize_row<true> : quantize_row<false>;
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    row_bytes(args.x + m * args.x_stride, args.depth, args.factors, inverse_scales[m], zero_points[m],
              q + m * q_stride);
  }
}

}  // namespace fastformers::avx2
