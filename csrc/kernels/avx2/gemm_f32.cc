// SPDX-License-Identifier: MIT
// Computes  out[m, n] = act(sum_k a[m, k] b[k, n] + bias[n]) + residual[m, n], the sum one chain of fma over ascending k
//           from 0, so that every tile shape and every instruction set gives the same bits.
// Layout    a row-major, read as floats broadcast to a ymm; b in panels of 16 columns, one k two ymm (pack_f32), or a
//           row-major matrix in place. The last 8 columns, where they are partial, are read through a mask, and what lies
//           past them is not multiplied. Blocks: float_blocks.h.
// Registers a tile of R rows x H halves of a panel keeps R * H <= 12 accumulators. 6 rows x 1 panel: 2 vectors of b, a
//           broadcast and the mask, 16 ymm. 3 rows x 2 panels, 1 x 4: the rows' broadcasts and one vector of b, so that few
//           rows have 8 chains and more.
//             vfmadd231ps ymm   latency 4 or 5, 2 per cycle;   vbroadcastss mem, vmovups mem  2 per cycle
// Bound     vfmadd231ps: one k of a 6-row tile is 12 of them against 8 loads and a prefetch. Up to about 8 rows are bound by
//           reading b.
#include <immintrin.h>

#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/float_blocks.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

constexpr int kHalfColumns = 8;
constexpr int kMaxTileHalves = 8;
constexpr std::int64_t kMaxTileRows[kMaxTileHalves + 1] = {0, 6, 6, 3, 3, 1, 1, 1, 1};  // by halves

// 120 x 1024 of a and 1024 x 16 of b are 480 + 64 KiB of L2.
constexpr std::int64_t kRowBlock = 120;
constexpr std::int64_t kDepthBlock = 1024;
constexpr std::int64_t kPartialStride = 2 * kPanelColumns;  // a tile of more panels has one row

// kMasked: not all of the last 8 columns exist.
template <int kHalves, bool kMasked>
__attribute__((always_inline)) inline __m256 load_half(const float* b, std::int64_t panel_stride, int half,
                                                       __m256i valid_s32x8) {
  const float* at = b + half / 2 * panel_stride + half % 2 * kHalfColumns;
  return kMasked && half == kHalves - 1 ? _mm256_maskload_ps(at, valid_s32x8) : _mm256_loadu_ps(at);
}

template <int kRows, int kHalves, bool kMasked>
__attribute__((always_inline)) inline void multiply(const FloatTile& tile,
                                                    __m256 (&sum_f32x8)[kRows][kHalves]) {
  const float* a = tile.a;
  const float* b = tile.b;
  const float* prefetch = tile.prefetch;
  const std::int64_t a_stride = tile.a_stride;
  const std::int64_t panel_stride = tile.panel_stride;
  const std::int64_t row_stride = tile.row_stride;
  const __m256i valid_s32x8 = lanes_below(tile.columns - (kHalves - 1) * kHalfColumns);
  for (std::int64_t k = tile.depth; k > 0; --k) {
    if constexpr (kHalves <= 2) {
      __m256 b_f32x8[kHalves];
      unrolled<kHalves>([&](auto half) FF_INLINE_LAMBDA {
        b_f32x8[half] = load_half<kHalves, kMasked>(b, panel_stride, half, valid_s32x8);
      });
      if (kRows > 3 && prefetch != nullptr) {
        _mm_prefetch(reinterpret_cast<const char*>(prefetch), _MM_HINT_T1);
        prefetch += row_stride;
      }
      unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
        const __m256 a_f32x8 = _mm256_broadcast_ss(a + row * a_stride);
        unrolled<kHalves>([&](auto half) FF_INLINE_LAMBDA {
          sum_f32x8[row][half] = _mm256_fmadd_ps(a_f32x8, b_f32x8[half], sum_f32x8[row][half]);
        });
      });
    } else {
      __m256 a_f32x8[kRows];
      unrolled<kRows>([&](auto row)
                          FF_INLINE_LAMBDA { a_f32x8[row] = _mm256_broadcast_ss(a + row * a_stride); });
      unrolled<kHalves>([&](auto half) FF_INLINE_LAMBDA {
        const __m256 b_f32x8 = load_half<kHalves, kMasked>(b, panel_stride, half, valid_s32x8);
        unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
          sum_f32x8[row][half] = _mm256_fmadd_ps(a_f32x8[row], b_f32x8, sum_f32x8[row][half]);
        });
      });
    }
    a += 1;
    b += row_stride;
  }
}

// 8 columns of one row: bias, ReLU, residual, store. A plain store for whole vectors: masked ones take ten times as long on
// Zen.
template <bool kMasked>
__attribute__((always_inline)) inline void add_and_store(__m256 y_f32x8, const FloatFinish& finish,
                                                         std::int64_t row, std::int64_t column,
                                                         __m256i valid_s32x8) {
  const auto load = [&](const float* at) FF_INLINE_LAMBDA {
    return kMasked ? _mm256_maskload_ps(at, valid_s32x8) : _mm256_loadu_ps(at);
  };
  if (finish.bias != nullptr) y_f32x8 = _mm256_add_ps(y_f32x8, load(finish.bias + column));
  if (finish.relu) y_f32x8 = _mm256_max_ps(_mm256_setzero_ps(), y_f32x8);
  if (finish.residual != nullptr) {
    y_f32x8 = _mm256_add_ps(y_f32x8, load(finish.residual + row * finish.residual_stride + column));
  }
  float* out = finish.out + row * finish.out_stride + column;
  if (kMasked && !finish.to_sums) {
    _mm256_maskstore_ps(out, valid_s32x8, y_f32x8);
  } else {
    _mm256_storeu_ps(out, y_f32x8);
  }
}

template <int kRows, int kHalves, bool kMasked>
void run_tile(const FloatTile& tile, const FloatFinish& finish) {
  __m256 sum_f32x8[kRows][kHalves];
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    unrolled<kHalves>([&](auto half) FF_INLINE_LAMBDA {
      constexpr std::int64_t place = row * kPartialStride + half * kHalfColumns;
      sum_f32x8[row][half] =
          finish.start != nullptr ? _mm256_load_ps(finish.start + place) : _mm256_setzero_ps();
    });
  });
  multiply<kRows, kHalves, kMasked>(tile, sum_f32x8);
  if (!kMasked &&
      finish.is_plain()) {  // the scores of attention have a small depth: what is not done here counts
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      float* out = finish.out + row * finish.out_stride;
      unrolled<kHalves>([&](auto half) FF_INLINE_LAMBDA {
        _mm256_storeu_ps(out + half * kHalfColumns, sum_f32x8[row][half]);
      });
    });
    return;
  }
  const __m256i valid_s32x8 = lanes_below(tile.columns - (kHalves - 1) * kHalfColumns);
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    unrolled<kHalves>([&](auto half) FF_INLINE_LAMBDA {
      constexpr bool masked = kMasked && half == kHalves - 1;
      add_and_store<masked>(sum_f32x8[row][half], finish, row, half * kHalfColumns, valid_s32x8);
    });
  });
}

// What FloatTiles asks of an instruction set.
struct Shapes {
  static constexpr int kWidest = kMaxTileHalves;
  static constexpr auto& kMaxRows = kMaxTileRows;

  template <int kRows, int kHalves, bool kMasked>
  static constexpr FloatTileFunction run = run_tile<kRows, kHalves, kMasked>;
};

constexpr FloatTiles<Shapes> kTiles;

// What FloatBlocks asks of an instruction set.
struct Avx2 {
  static constexpr std::int64_t kRowBlock = avx2::kRowBlock;
  static constexpr std::int64_t kDepthBlock = avx2::kDepthBlock;
  static constexpr std::int64_t kPartialStride = avx2::kPartialStride;

  static std::int64_t widest_group(std::int64_t row_count) {
    if (row_count == 1) return 4;
    return row_count <= 3 ? 2 : 1;
  }

  static std::int64_t tallest_tile(std::int64_t panels) { return kMaxTileRows[2 * panels]; }

  static void run_tile(const FloatTile& tile, std::int64_t rows, std::int64_t, const FloatFinish& finish) {
    kTiles.at[tile.columns % kHalfColumns != 0][parts(tile.columns, kHalfColumns)][rows](tile, finish);
  }

  static void finish_gelu(Activation activation, std::int64_t rows, std::int64_t columns,
                          const FloatFinish& finish) {
    for (std::int64_t m = 0; m < rows; ++m) {
      for (std::int64_t n = 0; n < columns; n += kHalfColumns) {
        const __m256i valid_s32x8 = lanes_below(columns - n);
        const __m256 x_f32x8 = _mm256_load_ps(finish.start + m * kPartialStride + n);
        const __m256 y_f32x8 = activate(x_f32x8, activation);
        if (columns - n >= kHalfColumns) {
          add_and_store<false>(y_f32x8, finish, m, n, valid_s32x8);
        } else {
          add_and_store<true>(y_f32x8, finish, m, n, valid_s32x8);
        }
      }
    }
  }
};

}  // namespace

void gemm_f32(const GemmF32Args& args) { FloatBlocks<Avx2>(args).run(); }

}  // namespace fastformers::avx2
