// SPDX-License-Identifier: MIT
// Computes  LayerNorm (with residual and, on demand, the range of the result times factors), softmax, GELU.
// Layout    row-major float32; row sums in 64 lanes = 4 vectors, folded as the reference does.
// Registers 4 sums and a handful of constants.
// Bound     vaddps latency for the sums (4 chains cover it), L1 bandwidth for the rest.
#include <immintrin.h>

#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

// visit(k, lane group, mask of valid elements) over a row in vectors of 16.
template <typename Visit>
__attribute__((always_inline)) inline void for_each_vector(std::int64_t depth, const Visit& visit) {
  std::int64_t k = 0;
  for (; k + 64 <= depth; k += 64) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) visit(k + 16 * i, i, static_cast<__mmask16>(0xFFFF));
  }
  for (int i = 0; k < depth; k += 16, ++i) visit(k, i, lanes_below(depth - k));
}

void layer_norm_row(const LayerNormArgs& args, std::int64_t m) {
  const float* x = args.x + m * args.x_stride;
  const float* residual = args.residual != nullptr ? args.residual + m * args.residual_stride : nullptr;
  float* out = args.out + m * args.out_stride;
  const auto count = static_cast<float>(args.depth);
  __m512 sum_f32x16[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for_each_vector(args.depth, [&](std::int64_t k, int i, __mmask16 valid) {
    __m512 v_f32x16 = _mm512_maskz_loadu_ps(valid, x + k);
    if (residual != nullptr) v_f32x16 = _mm512_add_ps(v_f32x16, _mm512_maskz_loadu_ps(valid, residual + k));
    _mm512_mask_storeu_ps(out + k, valid, v_f32x16);
    sum_f32x16[i] = _mm512_mask_add_ps(sum_f32x16[i], valid, sum_f32x16[i], v_f32x16);
  });
  const __m512 mean_f32x16 = _mm512_set1_ps(fold_lanes(sum_f32x16) / count);
  for (__m512& sum : sum_f32x16) sum = _mm512_setzero_ps();
  for_each_vector(args.depth, [&](std::int64_t k, int i, __mmask16 valid) {
    const __m512 centred_f32x16 = _mm512_sub_ps(_mm512_maskz_loadu_ps(valid, out + k), mean_f32x16);
    sum_f32x16[i] = _mm512_mask3_fmadd_ps(centred_f32x16, centred_f32x16, sum_f32x16[i], valid);
  });
  const float variance = fold_lanes(sum_f32x16) / count;
  const __m128 root_f32x4 = _mm_sqrt_ss(_mm_set_ss(variance + args.epsilon));
  const __m512 rstd_f32x16 = _mm512_set1_ps(1.0f / _mm_cvtss_f32(root_f32x4));
  for_each_vector(args.depth, [&](std::int64_t k, int, __mmask16 valid) {
    const __m512 centred_f32x16 = _mm512_sub_ps(_mm512_maskz_loadu_ps(valid, out + k), mean_f32x16);
    const __m512 y_f32x16 = _mm512_fmadd_ps(_mm512_mul_ps(centred_f32x16, rstd_f32x16),
                                            _mm512_maskz_loadu_ps(valid, args.gamma + k),
                                            _mm512_maskz_loadu_ps(valid, args.beta + k));
    _mm512_mask_storeu_ps(out + k, valid, y_f32x16);
  });
  if (args.low != nullptr) {
    range_f32_rows({out, args.depth, 1, args.depth, args.factors}, args.low + m, args.high + m);
  }
}

void softmax_row(const float* x, std::int64_t depth, float* out) {
  const __m512 lowest_f32x16 = _mm512_set1_ps(-__builtin_inff());
  __m512 largest_f32x16 = lowest_f32x16;
  __mmask16 nan_lanes = 0;
  for_each_vector(depth, [&](std::int64_t k, int, __mmask16 valid) {
    const __m512 x_f32x16 = _mm512_mask_loadu_ps(lowest_f32x16, valid, x + k);
    largest_f32x16 = _mm512_max_ps(x_f32x16, largest_f32x16);
    nan_lanes |= _mm512_cmp_ps_mask(x_f32x16, x_f32x16, _CMP_UNORD_Q);
  });
  const float largest = nan_lanes != 0 ? __builtin_nanf("") : _mm512_reduce_max_ps(largest_f32x16);
  largest_f32x16 = _mm512_set1_ps(largest);
  __m512 sum_f32x16[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  for_each_vector(depth, [&](std::int64_t k, int i, __mmask16 valid) {
    const __m512 e_f32x16 =
        exp_nonpositive(_mm512_sub_ps(_mm512_maskz_loadu_ps(valid, x + k), largest_f32x16));
    _mm512_mask_storeu_ps(out + k, valid, e_f32x16);
    sum_f32x16[i] = _mm512_mask_add_ps(sum_f32x16[i], valid, sum_f32x16[i], e_f32x16);
  });
  const __m512 inverse_f32x16 = _mm512_set1_ps(1.0f / fold_lanes(sum_f32x16) + (largest - largest));
  for_each_vector(depth, [&](std::int64_t k, int, __mmask16 valid) {
    _mm512_mask_storeu_ps(out + k, valid,
                          _mm512_mul_ps(_mm512_maskz_loadu_ps(valid, out + k), inverse_f32x16));
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
  const GeluTable table(which);
  __m512 y_f32x16[4];
  for (std::int64_t i = 0; i < count; i += 64) {
    __mmask16 valid[4];
    unrolled<4>([&](auto j) FF_INLINE_LAMBDA {
      const std::int64_t left = count - i - 16 * j;
      valid[j] = left > 0 ? lanes_below(left) : static_cast<__mmask16>(0);
      y_f32x16[j] = _mm512_maskz_loadu_ps(valid[j], x + i + 16 * j);
    });
    gelu(y_f32x16, table);
    unrolled<4>([&](auto j) FF_INLINE_LAMBDA { store_lanes(out + i + 16 * j, y_f32x16[j], valid[j]); });
  }
}

}  // namespace fastformers::avx512vnni
