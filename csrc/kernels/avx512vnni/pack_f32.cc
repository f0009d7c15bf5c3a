// SPDX-License-Identifier: MIT
// Computes  float [columns, depth] -> panels of 16 columns: a transposition of 16 x depth blocks. Weights pass through it
//           once, the keys of attention in every call.
// Layout    one k of a panel is a zmm; lane n comes from row n of w. Rows past `columns` give zeros.
// Registers four zmm of four 128-bit lanes: 4 k of rows j, 4 + j, 8 + j, 12 + j, then two rounds of unpacking.
//             vinsertf32x4 zmm mem  1 ALU + 1 load;   vunpck?p? zmm  1 per cycle
// Bound     ALU: 12 insertions and 8 unpackings for 4 k of 16 columns. Loading whole zmm and exchanging 128-bit lanes
//           afterwards would be 16 shuffles instead of the 8, all on one port.
#include <immintrin.h>

#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

constexpr std::int64_t kStep = 4;  // k that are transposed at once

// The first two and the last two floats of each 128-bit lane of both.
__m512 low_halves(__m512 a_f32x16, __m512 b_f32x16) {
  return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a_f32x16), _mm512_castps_pd(b_f32x16)));
}

__m512 high_halves(__m512 a_f32x16, __m512 b_f32x16) {
  return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a_f32x16), _mm512_castps_pd(b_f32x16)));
}

// Four k of up to 16 rows. kWhole: all 16 rows and all four k exist.
template <bool kWhole>
__attribute__((always_inline)) inline void transpose(const float* w, std::int64_t w_stride, std::int64_t rows,
                                                     std::int64_t depth, float* out) {
  const auto valid = static_cast<__mmask8>(lanes_below(depth));
  const auto load = [&](std::int64_t row) FF_INLINE_LAMBDA {
    if constexpr (kWhole) return _mm_loadu_ps(w + row * w_stride);
    return row < rows ? _mm_maskz_loadu_ps(valid, w + row * w_stride) : _mm_setzero_ps();
  };
  __m512 w_f32x16[4], pair_f32x16[4];
  unrolled<4>([&](auto j) FF_INLINE_LAMBDA {
    w_f32x16[j] = _mm512_castps128_ps512(load(j));
    w_f32x16[j] = _mm512_insertf32x4(w_f32x16[j], load(4 + j), 1);
    w_f32x16[j] = _mm512_insertf32x4(w_f32x16[j], load(8 + j), 2);
    w_f32x16[j] = _mm512_insertf32x4(w_f32x16[j], load(12 + j), 3);
  });
  unrolled<2>([&](auto j) FF_INLINE_LAMBDA {
    pair_f32x16[j] = _mm512_unpacklo_ps(w_f32x16[2 * j], w_f32x16[2 * j + 1]);
    pair_f32x16[2 + j] = _mm512_unpackhi_ps(w_f32x16[2 * j], w_f32x16[2 * j + 1]);
  });
  unrolled<4>([&](auto k) FF_INLINE_LAMBDA {
    if (!kWhole && k >= depth) return;
    const __m512 first_f32x16 = pair_f32x16[k / 2 * 2];
    const __m512 second_f32x16 = pair_f32x16[k / 2 * 2 + 1];
    _mm512_storeu_ps(out + k * kPanelColumns, k % 2 == 0 ? low_halves(first_f32x16, second_f32x16)
                                                         : high_halves(first_f32x16, second_f32x16));
  });
}

}  // namespace

void pack_f32(const float* w, std::int64_t w_stride, std::int64_t columns, std::int64_t depth,
              float* panels) {
  for (std::int64_t n = 0; n < columns; n += kPanelColumns) {
    const float* row = w + n * w_stride;
    const std::int64_t rows = columns - n;
    std::int64_t k = 0;
    for (; rows >= kPanelColumns && k + kStep <= depth; k += kStep) {
      transpose<true>(row + k, w_stride, rows, kStep, panels + k * kPanelColumns);
    }
    for (; k < depth; k += kStep)
      transpose<false>(row + k, w_stride, rows, depth - k, panels + k * kPanelColumns);
    panels += depth * kPanelColumns;
  }
}

}  // namespace fastformers::avx512vnni
