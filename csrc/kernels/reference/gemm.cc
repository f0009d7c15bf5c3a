// SPDX-License-Identifier: MIT
// The matmul as plain loops: the yardstick of every other folder, and the path of CPUs without AVX2.
#include <cmath>

#include "kernels/extents.h"
#include "kernels/packed_layout.h"
#include "kernels/reference/scalar_math.h"
#include "kernels/reference/tables.h"

namespace fastformers::reference {
namespace {

std::int32_t dot(const std::uint8_t* row, const std::int8_t* column, std::int64_t depth) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < depth; ++k) sum += static_cast<std::int32_t>(row[k]) * column[k];
  return sum;
}

}  // namespace

std::int64_t gemm_scratch_bytes(std::int64_t, std::int64_t) { return 0; }

void gemm_u8s8_s32(const GemmS32Args& args) {
  const auto* weights = static_cast<const std::int8_t*>(args.panels);
  const std::int64_t last_column = smaller(args.last_panel * kPanelColumns, args.columns);
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    for (std::int64_t n = args.first_panel * kPanelColumns; n < last_column; ++n) {
      args.out[m * args.out_stride + n] =
          dot(args.rows + m * args.rows_stride, weights + n * args.depth, args.depth);
    }
  }
}

void gemm_u8s8_f32(const GemmArgs& args) {
  const auto* weights = static_cast<const std::int8_t*>(args.panels);
  const std::int64_t last_column = smaller(args.last_panel * kPanelColumns, args.columns);
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    for (std::int64_t n = args.first_panel * kPanelColumns; n < last_column; ++n) {
      const std::int32_t sum = dot(args.rows + m * args.rows_stride, weights + n * args.depth, args.depth);
      const std::int32_t corrected = sum - args.row_zero_points[m] * args.column_sums[n];
      const float scale = args.row_scales[m] * args.column_scales[n];
      const float bias = args.bias != nullptr ? args.bias[n] : 0.0f;
      float y = activate(std::fmaf(static_cast<float>(corrected), scale, bias), args.activation);
      if (args.residual != nullptr) y += args.residual[m * args.residual_stride + n];
      args.out[m * args.out_stride + n] = y;
    }
  }
}

}  // namespace fastformers::reference
