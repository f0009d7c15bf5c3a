// SPDX-License-Identifier: MIT
// The inner loop of the integer matmuls: rows x one panel of accumulators that stay in registers. Shared by gemm.cc and
// attention.cc, whose products differ only in where the accumulators start and what becomes of them.
// Everything here is in an anonymous namespace: an inline function would become a weak symbol carrying AVX2 code.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/avx2/vec_math.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

constexpr std::int64_t kPairValues = 2 * kPanelColumns;  // s16 values of one depth pair of a panel

struct Tile {
  const std::int16_t* rows;  // widened
  std::int64_t rows_stride;
  const std::int16_t* panel;
  std::int64_t pairs;
  std::int64_t columns;  // valid columns from the tile's first one on
};

template <int kRows>
__attribute__((always_inline)) inline void multiply(const Tile& tile, __m256i (&sum_i32x8)[kRows][2]) {
  const std::int16_t* rows = tile.rows;
  const std::int16_t* panel = tile.panel;
  const std::int64_t rows_stride = tile.rows_stride;
  for (std::int64_t pair = tile.pairs; pair > 0; --pair) {
    const __m256i low_s16x16 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel));
    const __m256i high_s16x16 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel + kPanelColumns));
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      std::int32_t two;
      std::memcpy(&two, rows + row * rows_stride, sizeof two);
      const __m256i input_s16x16 = _mm256_set1_epi32(two);
      accumulate(sum_i32x8[row][0], input_s16x16, low_s16x16);
      accumulate(sum_i32x8[row][1], input_s16x16, high_s16x16);
    });
    rows += 2;
    panel += kPairValues;
  }
}

}  // namespace
}  // namespace fastformers::avx2
