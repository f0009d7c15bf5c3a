// SPDX-License-Identifier: MIT
// Row range and row quantization, one element at a time.
#include <cmath>

#include "kernels/packed_layout.h"
#include "kernels/reference/scalar_math.h"
#include "kernels/reference/tables.h"

namespace fastformers::reference {
namespace {

// Beyond int32 the x86 conversion gives its "indefinite" value, which is negative, so the byte is 0.
std::uint8_t clamp_to_u8(float rounded) {
  if (!(rounded > 0.0f) || rounded >= 2147483648.0f) return 0;
  return static_cast<std::uint8_t>(rounded < 255.0f ? rounded : 255.0f);
}

}  // namespace

void range_f32_rows(const RowsArgs& args, float* low, float* high) {
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    const float* row = args.x + m * args.x_stride;
    float smallest = 0.0f, largest = 0.0f;
    bool finite = true;
    for (std::int64_t k = 0; k < args.depth; ++k) {
      const float value = args.factors != nullptr ? row[k] * args.factors[k] : row[k];
      finite = finite && std::isfinite(value);
      smallest = min_second(value, smallest);
      largest = max_second(value, largest);
    }
    low[m] = finite ? smallest : NAN;
    high[m] = finite ? largest : NAN;
  }
}

void quantize_f32_u8_rows(const RowsArgs& args, const float* inverse_scales, const std::int32_t* zero_points,
                          std::uint8_t* q, std::int64_t q_stride) {
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    const float* row = args.x + m * args.x_stride;
    std::uint8_t* out = q + m * q_stride;
    const auto zero_point = static_cast<float>(zero_points[m]);
    for (std::int64_t k = 0; k < args.depth; ++k) {
      const float value = args.factors != nullptr ? row[k] * args.factors[k] : row[k];
      const float rounded = std::nearbyintf(std::fmaf(value, inverse_scales[m], zero_point));
      out[k] = clamp_to_u8(rounded);
    }
    for (std::int64_t k = args.depth; k < padded_depth(args.depth); ++k) out[k] = 0;
  }
}

}  // namespace fastformers::reference
