// SPDX-License-Identifier: MIT
// Computes  low/high of each row (0 included), and q = clamp(round(fma(x f, 1/scale, zp)), 0, 255).
// Layout    x row-major float32; q row-major u8, zero-filled up to padded_depth.
// Registers two running maxima; quantization 4 values + 3 constants.
//             vpmaxsd/vpmaxud  latency 1, 2 per cycle;   vfmadd, vcvtps2dq, vpackssdw, vpermd  1 per cycle (Zen 4)
// Bound     loads: L1 when the caller goes through few rows at a time (ops/row_quantizer.cc does).
#include <immintrin.h>

#include <cstring>

#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/range_bits.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

template <bool kFactors>
__attribute__((always_inline)) inline __m512 load_scaled(const float* row, const float* factors,
                                                         __mmask16 valid) {
  const __m512 x_f32x16 = _mm512_maskz_loadu_ps(valid, row);
  return kFactors ? _mm512_mul_ps(x_f32x16, _mm512_maskz_loadu_ps(valid, factors)) : x_f32x16;
}

// See range_bits.h.
struct BitRange {
  __m512i high_s32x16 = _mm512_set1_epi32(static_cast<int>(kStartOfHigh));
  __m512i low_u32x16 = _mm512_set1_epi32(static_cast<int>(kStartOfLow));
};

__attribute__((always_inline)) inline void widen(BitRange& range, __m512 x_f32x16) {
  const __m512i bits_s32x16 = _mm512_castps_si512(x_f32x16);
  range.high_s32x16 = _mm512_max_epi32(range.high_s32x16, bits_s32x16);
  range.low_u32x16 = _mm512_max_epu32(range.low_u32x16, bits_s32x16);
}

template <bool kFactors>
void range_row(const float* row, std::int64_t depth, const float* factors, float* low, float* high) {
  BitRange range;
  std::int64_t k = 0;
  for (; k + 64 <= depth; k += 64) {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      widen(range, load_scaled<kFactors>(row + k + 16 * i, factors + k + 16 * i, 0xFFFF));
    });
  }
  for (; k < depth; k += 16) {
    widen(range, load_scaled<kFactors>(row + k, factors + k, lanes_below(depth - k)));
  }
  const auto high_bits = static_cast<std::uint32_t>(_mm512_reduce_max_epi32(range.high_s32x16));
  const std::uint32_t low_bits = _mm512_reduce_max_epu32(range.low_u32x16);
  set_range(high_bits, low_bits, low, high);
}

// 64 floats as int32 in four vectors -> 64 bytes in order, saturated at 0 and 255.
__attribute__((always_inline)) inline __m512i narrow(const __m512i (&value_i32x16)[4]) {
  const __m512i order_i32x16 = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low_i16x32 = _mm512_packs_epi32(value_i32x16[0], value_i32x16[1]);
  const __m512i high_i16x32 = _mm512_packs_epi32(value_i32x16[2], value_i32x16[3]);
  return _mm512_permutexvar_epi32(order_i32x16, _mm512_packus_epi16(low_i16x32, high_i16x32));
}

template <bool kFactors>
void quantize_row(const float* row, std::int64_t depth, const float* factors, float inverse_scale,
                  std::int32_t zero_point, std::uint8_t* q) {
  const __m512 inverse_f32x16 = _mm512_set1_ps(inverse_scale);
  const __m512 zero_f32x16 = _mm512_set1_ps(static_cast<float>(zero_point));
  __m512i value_i32x16[4];
  std::int64_t k = 0;
  for (; k + 64 <= depth; k += 64) {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      const __m512 x_f32x16 = load_scaled<kFactors>(row + k + 16 * i, factors + k + 16 * i, 0xFFFF);
      value_i32x16[i] = _mm512_cvtps_epi32(_mm512_fmadd_ps(x_f32x16, inverse_f32x16, zero_f32x16));
    });
    _mm512_storeu_si512(q + k, narrow(value_i32x16));
  }
  if (k >= padded_depth(depth)) return;
  for (int i = 0; i < 4; ++i) {
    const std::int64_t left = depth - k - 16 * i;
    const __mmask16 valid = left > 0 ? lanes_below(left) : static_cast<__mmask16>(0);
    const __m512 x_f32x16 = load_scaled<kFactors>(row + k + 16 * i, factors + k + 16 * i, valid);
    value_i32x16[i] = _mm512_maskz_cvtps_epi32(valid, _mm512_fmadd_ps(x_f32x16, inverse_f32x16, zero_f32x16));
  }
  const __mmask64 stored = ~0ull >> (64 - (padded_depth(depth) - k));
  _mm512_mask_storeu_epi8(q + k, stored, narrow(value_i32x16));
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

}  // namespace fastformers::avx512vnni
