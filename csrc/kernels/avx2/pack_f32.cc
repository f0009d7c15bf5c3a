// SPDX-License-Identifier: MIT
// Computes  float [columns, depth] -> panels of 16 columns: a transposition of 16 x depth blocks. Weights pass through it
//           once, the keys of attention in every call.
// Layout    one k of a panel is two ymm; lane n comes from row n of w. Rows past `columns` give zeros.
// Registers four ymm of two 128-bit lanes: 4 k of rows j and 4 + j, then two rounds of unpacking; twice for a panel.
//             vinsertf128 ymm mem  1 ALU + 1 load;   vunpck?p? ymm  1 or 2 per cycle
// Bound     ALU: 4 insertions and 8 unpackings for 4 k of 8 columns.
#include <immintrin.h>

#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

constexpr std::int64_t kStep = 4;  // k that are transposed at once
constexpr std::int64_t kHalf = kPanelColumns / 2;

// The first two and the last two floats of each 128-bit lane of both.
__m256 low_halves(__m256 a_f32x8, __m256 b_f32x8) {
  return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a_f32x8), _mm256_castps_pd(b_f32x8)));
}

__m256 high_halves(__m256 a_f32x8, __m256 b_f32x8) {
  return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a_f32x8), _mm256_castps_pd(b_f32x8)));
}

// Four k of up to 8 rows. kWhole: all 8 rows and all four k exist.
template <bool kWhole>
__attribute__((always_inline)) inline void transpose(const float* w, std::int64_t w_stride, std::int64_t rows,
                                                     std::int64_t depth, float* out) {
  const __m128i valid_s32x4 = _mm256_castsi256_si128(lanes_below(depth));
  const auto load = [&](std::int64_t row) FF_INLINE_LAMBDA {
    if constexpr (kWhole) return _mm_loadu_ps(w + row * w_stride);
    return row < rows ? _mm_maskload_ps(w + row * w_stride, valid_s32x4) : _mm_setzero_ps();
  };
  __m256 w_f32x8[4], pair_f32x8[4];
  unrolled<4>([&](auto j) FF_INLINE_LAMBDA {
    w_f32x8[j] = _mm256_insertf128_ps(_mm256_castps128_ps256(load(j)), load(4 + j), 1);
  });
  unrolled<2>([&](auto j) FF_INLINE_LAMBDA {
    pair_f32x8[j] = _mm256_unpacklo_ps(w_f32x8[2 * j], w_f32x8[2 * j + 1]);
    pair_f32x8[2 + j] = _mm256_unpackhi_ps(w_f32x8[2 * j], w_f32x8[2 * j + 1]);
  });
  unrolled<4>([&](auto k) FF_INLINE_LAMBDA {
    if (!kWhole && k >= depth) return;
    const __m256 first_f32x8 = pair_f32x8[k / 2 * 2];
    const __m256 second_f32x8 = pair_f32x8[k / 2 * 2 + 1];
    _mm256_storeu_ps(out + k * kPanelColumns, k % 2 == 0 ? low_halves(first_f32x8, second_f32x8)
                                                         : high_halves(first_f32x8, second_f32x8));
  });
}

// Columns n to n + 8 of a panel.
void pack_half(const float* row, std::int64_t w_stride, std::int64_t rows, std::int64_t depth, float* half) {
  std::int64_t k = 0;
  for (; rows >= kHalf && k + kStep <= depth; k += kStep) {
    transpose<true>(row + k, w_stride, rows, kStep, half + k * kPanelColumns);
  }
  for (; k < depth; k += kStep)
    transpose<false>(row + k, w_stride, rows, depth - k, half + k * kPanelColumns);
}

}  // namespace

void pack_f32(const float* w, std::int64_t w_stride, std::int64_t columns, std::int64_t depth,
              float* panels) {
  for (std::int64_t n = 0; n < columns; n += kPanelColumns, panels += depth * kPanelColumns) {
    pack_half(w + n * w_stride, w_stride, columns - n, depth, panels);
    pack_half(w + (n + kHalf) * w_stride, w_stride, columns - n - kHalf, depth, panels + kHalf);
  }
}

}  // namespace fastformers::avx2
