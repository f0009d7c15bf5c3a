// SPDX-License-Identifier: MIT
// LayerNorm, softmax and GELU over rows, with the 64-lane sums that every instruction set reproduces.
#include <cmath>

#include "kernels/reference/scalar_math.h"
#include "kernels/reference/tables.h"

namespace fastformers::reference {
namespace {

void layer_norm_row(const LayerNormArgs& args, std::int64_t m) {
  const float* x = args.x + m * args.x_stride;
  const float* residual = args.residual != nullptr ? args.residual + m * args.residual_stride : nullptr;
  float* out = args.out + m * args.out_stride;
  const auto count = static_cast<float>(args.depth);
  float lanes[64] = {};
  for (std::int64_t k = 0; k < args.depth; ++k) {
    out[k] = residual != nullptr ? x[k] + residual[k] : x[k];
    lanes[k % 64] += out[k];
  }
  const float mean = fold_lanes(lanes) / count;
  for (float& lane : lanes) lane = 0.0f;
  for (std::int64_t k = 0; k < args.depth; ++k) {
    const float centred = out[k] - mean;
    lanes[k % 64] = std::fmaf(centred, centred, lanes[k % 64]);
  }
  const float rstd = 1.0f / std::sqrt(fold_lanes(lanes) / count + args.epsilon);
  for (std::int64_t k = 0; k < args.depth; ++k) {
    out[k] = std::fmaf((out[k] - mean) * rstd, args.gamma[k], args.beta[k]);
  }
  if (args.low != nullptr) {
    range_f32_rows({out, args.depth, 1, args.depth, args.factors}, args.low + m, args.high + m);
  }
}

void softmax_row(const float* x, std::int64_t depth, float* out) {
  float largest = -INFINITY;
  bool has_nan = false;
  for (std::int64_t k = 0; k < depth; ++k) {
    largest = max_second(x[k], largest);
    has_nan = has_nan || std::isnan(x[k]);
  }
  if (has_nan) largest = NAN;
  float lanes[64] = {};
  for (std::int64_t k = 0; k < depth; ++k) {
    out[k] = exp_nonpositive(x[k] - largest);
    lanes[k % 64] += out[k];
  }
  // largest - largest is 0, or NaN when the row holds a NaN or +inf or nothing but -inf.
  const float inverse = 1.0f / fold_lanes(lanes) + (largest - largest);
  for (std::int64_t k = 0; k < depth; ++k) out[k] *= inverse;
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
  for (std::int64_t i = 0; i < count; ++i) out[i] = activate(x[i], which);
}

}  // namespace fastformers::reference
