// SPDX-License-Identifier: MIT
// Computes  out[m, n] = act(sum_k a[m, k] b[k, n] + bias[n]) + residual[m, n], the sum one chain of fma over ascending k
//           from 0, so that every tile shape and every instruction set gives the same bits.
// Layout    a row-major, read as floats broadcast to a zmm; b in panels of 16 columns, one k a zmm (pack_f32), or a
//           row-major matrix in place. The last panel, where it is partial, is read through a mask. Blocks: float_blocks.h.
// Registers a tile of R rows x P panels keeps R * P <= 24 accumulators, P vectors of b and a broadcast: at most
//           24 + 4 + 1 of the 32 zmm. Widths: 4 panels x 6 rows, 3 x 8, 2 x 12, 1 x 12; one row: up to 8 panels, as each is
//           a chain of its own and only several of them cover the latency.
//             vfmadd231ps zmm   latency 4, 1 per cycle (Zen 4; 2 per cycle on cores with two 512-bit ports)
//             vbroadcastss mem  a load, no ALU;   vmovups zmm mem  1 per cycle
// Bound     vfmadd231ps: one k of a 6 x 4 tile is 24 of them against 10 loads and a prefetch. Up to about 8 rows are bound
//           by reading b.
// A tile also prefetches one panel of what comes next: without, the first tile of a group of panels waits for L3, and at
// M = 64 768 x 768 reaches 92 % of the ceiling instead of 97 %, 3072 x 768 86 % instead of 95 % (Xeon, two 512-bit ports).
#include <immintrin.h>

#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/float_blocks.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

constexpr int kMaxTilePanels = 8;  // of one row; of more rows 4
constexpr std::int64_t kMaxTileRows[kMaxTilePanels + 1] = {0, 12, 12, 8, 6, 1, 1, 1, 1};  // by panels

// 120 x 1024 of a and 1024 x 64 of b are 480 + 256 KiB of L2.
constexpr std::int64_t kRowBlock = 120;
constexpr std::int64_t kDepthBlock = 1024;
constexpr std::int64_t kPartialStride = 4 * kPanelColumns;  // a tile of more panels has one row

// kPartial: not all columns of the last panel exist.
template <int kRows, int kPanels, bool kPartial>
__attribute__((always_inline)) inline void multiply(const FloatTile& tile,
                                                    __m512 (&sum_f32x16)[kRows][kPanels]) {
  const float* a = tile.a;
  const float* b = tile.b;
  const float* prefetch = tile.prefetch;
  const std::int64_t a_stride = tile.a_stride;
  const std::int64_t panel_stride = tile.panel_stride;
  const std::int64_t row_stride = tile.row_stride;
  const __mmask16 valid = lanes_below(tile.columns - (kPanels - 1) * kPanelColumns);
  for (std::int64_t k = tile.depth; k > 0; --k) {
    __m512 b_f32x16[kPanels];
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const float* at = b + panel * panel_stride;
      b_f32x16[panel] =
          kPartial && panel == kPanels - 1 ? _mm512_maskz_loadu_ps(valid, at) : _mm512_loadu_ps(at);
    });
    if (kRows * kPanels > 12 && prefetch != nullptr) {
      _mm_prefetch(reinterpret_cast<const char*>(prefetch), _MM_HINT_T1);
      prefetch += row_stride;
    }
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      const __m512 a_f32x16 = _mm512_set1_ps(a[row * a_stride]);
      unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
        sum_f32x16[row][panel] = _mm512_fmadd_ps(a_f32x16, b_f32x16[panel], sum_f32x16[row][panel]);
      });
    });
    a += 1;
    b += row_stride;
  }
}

// One row of one panel: bias, ReLU, residual, store.
__attribute__((always_inline)) inline void store(__m512 y_f32x16, const FloatFinish& finish, std::int64_t row,
                                                 std::int64_t column, __m512 bias_f32x16, __mmask16 valid,
                                                 __mmask16 stored) {
  y_f32x16 = _mm512_add_ps(y_f32x16, bias_f32x16);
  if (finish.relu) y_f32x16 = _mm512_max_ps(_mm512_setzero_ps(), y_f32x16);
  if (finish.residual != nullptr) {
    const float* residual = finish.residual + row * finish.residual_stride + column;
    y_f32x16 = _mm512_add_ps(y_f32x16, _mm512_maskz_loadu_ps(valid, residual));
  }
  store_lanes(finish.out + row * finish.out_stride + column, y_f32x16, stored);
}

template <int kRows, int kPanels, bool kPartial>
void run_tile(const FloatTile& tile, const FloatFinish& finish) {
  __m512 sum_f32x16[kRows][kPanels];
  unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      constexpr std::int64_t place = row * kPartialStride + panel * kPanelColumns;
      sum_f32x16[row][panel] =
          finish.start != nullptr ? _mm512_load_ps(finish.start + place) : _mm512_setzero_ps();
    });
  });
  multiply<kRows, kPanels, kPartial>(tile, sum_f32x16);
  const bool plain = finish.is_plain();
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    const std::int64_t column = panel * kPanelColumns;
    const bool partial = kPartial && panel == kPanels - 1;
    const __mmask16 valid = partial ? lanes_below(tile.columns - column) : static_cast<__mmask16>(0xFFFF);
    const __mmask16 stored = finish.to_sums ? static_cast<__mmask16>(0xFFFF) : valid;
    if (plain) {  // the scores of attention have a small depth: what is not done here counts
      unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
        store_lanes(finish.out + row * finish.out_stride + column, sum_f32x16[row][panel], stored);
      });
      return;
    }
    // x + 0 is not x for x = -0, but x + -0 is.
    const __m512 bias_f32x16 =
        finish.bias != nullptr ? _mm512_maskz_loadu_ps(valid, finish.bias + column) : _mm512_set1_ps(-0.0f);
    unrolled<kRows>([&](auto row) FF_INLINE_LAMBDA {
      store(sum_f32x16[row][panel], finish, row, column, bias_f32x16, valid, stored);
    });
  });
}

// What FloatTiles asks of an instruction set.
struct Shapes {
  static constexpr int kWidest = kMaxTilePanels;
  static constexpr auto& kMaxRows = kMaxTileRows;

  template <int kRows, int kPanels, bool kPartial>
  static constexpr FloatTileFunction run = run_tile<kRows, kPanels, kPartial>;
};

constexpr FloatTiles<Shapes> kTiles;

// What FloatBlocks asks of an instruction set.
struct Avx512 {
  static constexpr std::int64_t kRowBlock = avx512vnni::kRowBlock;
  static constexpr std::int64_t kDepthBlock = avx512vnni::kDepthBlock;
  static constexpr std::int64_t kPartialStride = avx512vnni::kPartialStride;

  // The widest group whose number of passes over b is least: 8 rows are one pass of 8 x 3, not two of 4 x 4.
  static std::int64_t widest_group(std::int64_t row_count) {
    if (row_count == 1) return kMaxTilePanels;
    return row_count == 7 || row_count == 8 ? 3 : 4;
  }

  static std::int64_t tallest_tile(std::int64_t panels) { return kMaxTileRows[panels]; }

  static void run_tile(const FloatTile& tile, std::int64_t rows, std::int64_t panels,
                       const FloatFinish& finish) {
    kTiles.at[tile.columns < panels * kPanelColumns][panels][rows](tile, finish);
  }

  static void finish_gelu(Activation activation, std::int64_t rows, std::int64_t columns,
                          const FloatFinish& finish) {
    const GeluTable table(activation);
    for (std::int64_t m = 0; m < rows; ++m) {
      const float* in = finish.start + m * kPartialStride;
      const float* residual =
          finish.residual != nullptr ? finish.residual + m * finish.residual_stride : nullptr;
      float* out = finish.out + m * finish.out_stride;
      const auto finish_panels = [&](auto panels, std::int64_t n) FF_INLINE_LAMBDA {
        gelu_row<panels>(in + n, residual != nullptr ? residual + n : nullptr, out + n, columns - n, table);
      };
      std::int64_t n = 0;
      for (; n + 3 * kPanelColumns < columns; n += 4 * kPanelColumns) finish_panels(Constant<4>{}, n);
      for (; n < columns; n += kPanelColumns) finish_panels(Constant<1>{}, n);
    }
  }
};

}  // namespace

void gemm_f32(const GemmF32Args& args) { FloatBlocks<Avx512>(args).run(); }

}  // namespace fastformers::avx512vnni
