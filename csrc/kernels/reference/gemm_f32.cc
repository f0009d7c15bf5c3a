// SPDX-License-Identifier: MIT
// The float32 matmul as plain loops: one fma chain over the depth for each output.
#include <cmath>
#include <cstring>

#include "kernels/packed_layout.h"
#include "kernels/reference/scalar_math.h"
#include "kernels/reference/tables.h"

namespace fastformers::reference {
namespace {

// Here ReLU keeps a NaN of either sign (x86 makes negative ones of inf - inf and 0 * inf): unlike in the INT8 matmul, where
// a row scale says which rows are NaN, nothing else would tell of an overflow.
float activate_f32(float y, Activation activation) {
  return activation == Activation::kRelu ? max_second(0.0f, y) : activate(y, activation);
}

}  // namespace

void pack_f32(const float* w, std::int64_t w_stride, std::int64_t columns, std::int64_t depth,
              float* panels) {
  const std::int64_t count = panel_count(columns) * kPanelColumns * depth;
  std::memset(panels, 0, static_cast<std::size_t>(count) * sizeof(float));
  for (std::int64_t n = 0; n < columns; ++n) {
    float* column = panels + n / kPanelColumns * kPanelColumns * depth + n % kPanelColumns;
    for (std::int64_t k = 0; k < depth; ++k) column[k * kPanelColumns] = w[n * w_stride + k];
  }
}

void gemm_f32(const GemmF32Args& args) {
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    const float* a = args.a + m * args.a_stride;
    for (std::int64_t n = 0; n < args.columns; ++n) {
      const float* b = args.b + n / kPanelColumns * args.b_panel_stride + n % kPanelColumns;
      float sum = 0.0f;
      for (std::int64_t k = 0; k < args.depth; ++k) sum = std::fmaf(a[k], b[k * args.b_row_stride], sum);
      float y = activate_f32(args.bias != nullptr ? sum + args.bias[n] : sum, args.activation);
      if (args.residual != nullptr) y += args.residual[m * args.residual_stride + n];
      args.out[m * args.out_stride + n] = y;
    }
  }
}

}  // namespace fastformers::reference
