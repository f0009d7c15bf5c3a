// SPDX-License-Identifier: MIT
#include "ops/row_quantizer.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace fastformers {
namespace {

constexpr std::int64_t kRangeBlock = 64;
// Floats looked at before they are quantized: 16 KiB, so that the second pass finds them in L1.
constexpr std::int64_t kGroupElements = 4096;

}  // namespace

// Branch-free, so that the compiler does four rows at once: one division a row is the costly part.
void params_from_ranges(const float* low, const float* high, std::int64_t count, const RowParams& params) {
  constexpr float kPer255 = 1.0f / 255.0f;
  for (std::int64_t m = 0; m < count; ++m) {
    const float scale = high[m] * kPer255 - low[m] * kPer255;
    const bool too_small = scale < FLT_MIN;  // false for NaN
    const float inverse = 1.0f / (too_small ? 1.0f : scale);
    const float zero_point = std::nearbyintf(-low[m] * inverse);
    params.scales[m] = too_small ? 0.0f : scale;
    params.inverse_scales[m] = inverse;
    // The comparison is false for NaN, so a row with NaN gets zero point 0.
    params.zero_points[m] =
        static_cast<std::int32_t>(zero_point > 0.0f ? (zero_point < 255.0f ? zero_point : 255.0f) : 0.0f);
  }
}

SharedRange range_of_matrix(const KernelTable& kernels, const RowsArgs& args) {
  SharedRange shared{true, 0.0f, 0.0f};
  float low[kRangeBlock], high[kRangeBlock];
  for (std::int64_t m = 0; m < args.row_count; m += kRangeBlock) {
    RowsArgs block = args;
    block.x += m * args.x_stride;
    block.row_count = std::min(kRangeBlock, args.row_count - m);
    kernels.range_f32_rows(block, low, high);
    for (std::int64_t i = 0; i < block.row_count; ++i) {
      if (std::isnan(low[i])) return {true, NAN, NAN};
      shared.low = std::min(shared.low, low[i]);
      shared.high = std::max(shared.high, high[i]);
    }
  }
  return shared;
}

void quantize_rows(const KernelTable& kernels, const RowsArgs& args, const SharedRange& shared, float* low,
                   float* high, const RowParams& params, std::uint8_t* q, std::int64_t q_stride) {
  const std::int64_t step = std::max<std::int64_t>(1, kGroupElements / args.depth);
  for (std::int64_t m = 0; m < args.row_count; m += step) {
    RowsArgs group = args;
    group.x += m * args.x_stride;
    group.row_count = std::min(step, args.row_count - m);
    if (shared.used) {
      std::fill_n(low, group.row_count, shared.low);
      std::fill_n(high, group.row_count, shared.high);
    } else {
      kernels.range_f32_rows(group, low, high);
    }
    params_from_ranges(low, high, group.row_count,
                       {params.scales + m, params.inverse_scales + m, params.zero_points + m});
    kernels.quantize_f32_u8_rows(group, params.inverse_scales + m, params.zero_points + m, q + m * q_stride,
                                 q_stride);
  }
}

}  // namespace fastformers
