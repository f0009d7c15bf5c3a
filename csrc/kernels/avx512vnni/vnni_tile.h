// SPDX-License-Identifier: MIT
// The inner loop of the integer matmuls: rows x panels of accumulators that stay in registers. Shared by gemm.cc and
// attention.cc, whose products differ only in where the accumulators start and what becomes of them.
// Everything here is in an anonymous namespace: an inline function would become a weak symbol carrying AVX-512 code.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

// Everything a tile needs, with pointers moved to its first row and panel.
struct Tile {
  const std::uint8_t* rows;
  std::int64_t rows_stride;
  const std::int8_t* panels;
  std::int64_t panel_bytes;
  std::int64_t groups;
  std::int64_t columns;  // valid columns from the tile's first one on
  // Weights that the next tiles read, to be brought into L2 meanwhile: so many cache lines in each burst.
  const std::int8_t* ahead = nullptr;
  std::int64_t ahead_lines = 0;
};

// Read-ahead comes in small bursts, one in so many depth groups: a prefetch in each step costs 4 % of the loop.
constexpr std::int64_t kBurstGroups = 8;

// sum += the four products of each lane. Written as assembly because GCC 12 gives the intrinsic's result a register of its
// own and copies it back, which spills the 24 accumulators: 42 % of the ceiling instead of 90 % at 768 x 768, M = 128
// (Zen 4).
template <bool kHalf = false>
__attribute__((always_inline)) inline void accumulate(__m512i& sum_i32x16, __m512i input_u8x64,
                                                      __m512i weight_s8x64) {
  if constexpr (kHalf) {  // the ymm halves: columns 0 to 7
    __asm__("vpdpbusd %t2, %t1, %t0" : "+v"(sum_i32x16) : "v"(input_u8x64), "v"(weight_s8x64));
  } else {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum_i32x16) : "v"(input_u8x64), "v"(weight_s8x64));
  }
}

// kHalf: the last panel has at most 8 valid columns, and a 256-bit instruction does for it at half the price. That is 2.5 %
// of N = 312 and 1.3 % of N = 600.
template <int kRows, int kPanels, bool kHalf>
__attribute__((always_inline)) inline void multiply(const Tile& tile, __m512i (&sum_i32x16)[kRows][kPanels]) {
  const std::uint8_t* rows = tile.rows;
  const std::int8_t* panels = tile.panels;
  const std::int64_t rows_stride = tile.rows_stride;
  const std::int64_t panel_bytes = tile.panel_bytes;
  const std::int8_t* ahead = tile.ahead;
  for (std::int64_t left = tile.groups; left > 0; left -= kBurstGroups) {
    const std::int64_t now = left < kBurstGroups ? left : kBurstGroups;
    for (std::int64_t line = tile.ahead_lines; line > 0; --line, ahead += 64)
      _mm_prefetch(ahead, _MM_HINT_T1);
    for (std::int64_t group = now; group > 0; --group) {
      __m512i weight_s8x64[kPanels];
      unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
        weight_s8x64[panel] = _mm512_load_si512(panels + panel * panel_bytes);
      });
      unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
        std::int32_t four;
        std::memcpy(&four, rows + row * rows_stride, sizeof four);
        const __m512i input_u8x64 = _mm512_set1_epi32(four);
        unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
          accumulate<kHalf && panel == kPanels - 1>(sum_i32x16[row][panel], input_u8x64, weight_s8x64[panel]);
        });
      });
      rows += kDepthGroup;
      panels += kDepthGroup * kPanelColumns;
    }
  }
}

}  // namespace
}  // namespace fastformers::avx512vnni
