// SPDX-License-Identifier: MIT
// From the range of a row to its u8 parameters, and rows of float32 to rows of u8.
//   scale = high / 255 - low / 255    zero_point = round(-low / scale)    q = clamp(round(x / scale + zero_point), 0, 255)
// with low <= 0 <= high, so zero is exact. A row with NaN or Inf gets scale NaN; a row whose scale would be denormal
// (all zeros, or all below about 3e-36) gets scale 0 and yields the bias.
#pragma once

#include <cstdint>

#include "kernels/kernel_table.h"

namespace fastformers {

// Bytes from one quantized row to the next: whole cache lines, and not a power of two, since rows that far apart would all
// fall into the same few cache sets.
constexpr std::int64_t quantized_stride(std::int64_t depth) {
  const std::int64_t stride = (depth + 63) / 64 * 64;
  return stride % 512 == 0 ? stride + 64 : stride;
}

// Parameters of `count` rows, structure of arrays.
struct RowParams {
  float* scales;
  float* inverse_scales;
  std::int32_t* zero_points;
};

// One range for all rows of a matrix (the paper's per-tensor scheme), or none: each row has its own.
struct SharedRange {
  bool used = false;
  float low = 0.0f;
  float high = 0.0f;
};

SharedRange range_of_matrix(const KernelTable& kernels, const RowsArgs& args);

void params_from_ranges(const float* low, const float* high, std::int64_t count, const RowParams& params);

// Quantizes args.row_count rows; low and high are scratch of row_count floats each.
void quantize_rows(const KernelTable& kernels, const RowsArgs& args, const SharedRange& shared, float* low,
                   float* high, const RowParams& params, std::uint8_t* q, std::int64_t q_stride);

}  // namespace fastformers
