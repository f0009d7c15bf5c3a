// SPDX-License-Identifier: MIT
// Computes  LayerNorm (with residual and, on demand, the range of the result times factors), softmax, GELU.
// Layout    row-major float32; row sums in 64 lanes = 8 vectors, folded as the reference does.
// Registers 8 sums and a handful of constants.
// Bound     L1 bandwidth; GELU by its six gathers.
#include <immintrin.h>

#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {
namespace {

struct RowSum {
  __m256 lanes_f32x8[8];
  RowSum() {
    for (__m256& lane : lanes_f32x8) lane = _mm256_setzero_ps();
  }
};

// visit(k, lane group, mask of valid elements) over a row in vectors of 8.
template <typename Visit>
__attribute__((always_inline)) inline void for_each_vector(std::int64_t depth, const Visit& visit) {
  std::int64_t k = 0;
  for (; k + 64 <= depth; k += 64) {
    unrolled<8>([&](auto i) FF_INLINE_LAMBDA { visit(k + 8 * i, i, _mm256_set1_epi32(-1)); });
  }
  for (int i = 0; k < depth; k += 8, ++i) visit(k, i, lanes_below(depth - k));
}

void layer_norm_row(const LayerNormArgs& args, std::int64_t m) {
  const float* x = args.x + m * args.x_stride;
  const float* residual = args.residual != nullptr ? args.residual + m * args.residual_stride : nullptr;
  float* out = args.out + m * args.out_stride;
  const auto count = static_cast<float>(args.depth);
  RowSum sum;
  for_each_vector(args.depth, [&](std::int64_t k, int i, __m256i valid_s32x8) {
    __m256 v_f32x8 = _mm256_maskload_ps(x + k, valid_s32x8);
    if (residual != nullptr) v_f32x8 = _mm256_add_ps(v_f32x8, _mm256_maskload_ps(residual + k, valid_s32x8));
    _mm256_maskstore_ps(out + k, valid_s32x8, v_f32x8);
    sum.lanes_f32x8[i] = _mm256_add_ps(sum.lanes_f32x8[i], v_f32x8);  // lanes past the end are 0
  });
  const __m256 mean_f32x8 = _mm256_set1_ps(fold_lanes(sum.lanes_f32x8) / count);
  RowSum squares;
  for_each_vector(args.depth, [&](std::int64_t k, int i, __m256i valid_s32x8) {
    const __m256 difference_f32x8 = _mm256_sub_ps(_mm256_maskload_ps(out + k, valid_s32x8), mean_f32x8);
    const __m256 centred_f32x8 = _mm256_and_ps(_mm256_castsi256_ps(valid_s32x8), difference_f32x8);
    squares.lanes_f32x8[i] = _mm256_fmadd_ps(centred_f32x8, centred_f32x8, squares.lanes_f32x8[i]);
  });
  const float variance = fold_lanes(squares.lanes_f32x8) / count;
  const __m128 root_f32x4 = _mm_sqrt_ss(_mm_set_ss(variance + args.epsilon));
  const __m256 rstd_f32x8 = _mm256_set1_ps(1.0f / _mm_cvtss_f32(root_f32x4));
  for_each_vector(args.depth, [&](std::int64_t k, int, __m256i valid_s32x8) {
    const __m256 centred_f32x8 = _mm256_sub_ps(_mm256_maskload_ps(out + k, valid_s32x8), mean_f32x8);
    const __m256 y_f32x8 = _mm256_fmadd_ps(_mm256_mul_ps(centred_f32x8, rstd_f32x8),
                                           _mm256_maskload_ps(args.gamma + k, valid_s32x8),
                                           _mm256_maskload_ps(args.beta + k, valid_s32x8));
    _mm256_maskstore_ps(out + k, valid_s32x8, y_f32x8);
  });
  if (args.low != nullptr) {
    range_f32_rows({out, args.depth, 1, args.depth, args.factors}, args.low + m, args.high + m);
  }
}

// The largest element, or NaN when the row holds a NaN.
float largest_of(const float* x, std::int64_t depth) {
  const __m256 lowest_f32x8 = _mm256_set1_ps(-__builtin_inff());
  __m256 largest_f32x8 = lowest_f32x8;
  __m256 nan_f32x8 = _mm256_setzero_ps();
  for_each_vector(depth, [&](std::int64_t k, int, __m256i valid_s32x8) {
    const __m256 x_f32x8 = _mm256_blendv_ps(lowest_f32x8, _mm256_maskload_ps(x + k, valid_s32x8),
                                            _mm256_castsi256_ps(valid_s32x8));
    largest_f32x8 = _mm256_max_ps(x_f32x8, largest_f32x8);
    nan_f32x8 = _mm256_or_ps(nan_f32x8, _mm256_cmp_ps(x_f32x8, x_f32x8, _CMP_UNORD_Q));
  });
  if (_mm256_movemask_ps(nan_f32x8) != 0) return __builtin_nanf("");
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, largest_f32x8);
  float largest = lanes[0];
  for (const float lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

void softmax_row(const float* x, std::int64_t depth, float* out) {
  const float largest = largest_of(x, depth);
  const __m256 largest_f32x8 = _mm256_set1_ps(largest);
  RowSum sum;
  for_each_vector(depth, [&](std::int64_t k, int i, __m256i valid_s32x8) {
    const __m256 e_f32x8 =
        exp_nonpositive(_mm256_sub_ps(_mm256_maskload_ps(x + k, valid_s32x8), largest_f32x8));
    _mm256_maskstore_ps(out + k, valid_s32x8, e_f32x8);
    sum.lanes_f32x8[i] =
        _mm256_add_ps(sum.lanes_f32x8[i], _mm256_and_ps(_mm256_castsi256_ps(valid_s32x8), e_f32x8));
  });
  const __m256 inverse_f32x8 = _mm256_set1_ps(1.0f / fold_lanes(sum.lanes_f32x8) + (largest - largest));
  for_each_vector(depth, [&](std::int64_t k, int, __m256i valid_s32x8) {
    _mm256_maskstore_ps(out + k, valid_s32x8,
                        _mm256_mul_ps(_mm256_maskload_ps(out + k, valid_s32x8), inverse_f32x8));
  });
}

}  // namespace

void layer_norm_f32_rows(const LayerNormArgs& args) {
  for (std::int64_t m = 0; m < args.row_count; ++m) layer_norm_row(args, m);
}

void softmax_f32_rows(const float* x, std::int64_t x_stride, std::int64_t row_count, std::int64_t depth,
                      float* out, std::int64_t out_stride) {
  for (std::int64_t m = 0; m < row_count; ++m) softmax_row(x + m * x_stride, depth, out + m * out_stride);
}

void gelu_f32(const float* x, std::int64_t count, Activation which, float* out) {
  for (std::int64_t i = 0; i < count; i += 8) {
    const __m256i valid_s32x8 = lanes_below(count - i);
    _mm256_maskstore_ps(out + i, valid_s32x8, activate(_mm256_maskload_ps(x + i, valid_s32x8), which));
  }
}

}  // namespace fastformers::avx2
