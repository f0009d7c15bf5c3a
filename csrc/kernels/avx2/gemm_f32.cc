// SPDX-License-Identifier: MIT
#include <cmath>

#include "kernels/avx2/tables.h"
#include "kernels/packed_layout.h"

namespace fastformers::avx2 {

void gemm_f32(const GemmF32Args& args) {
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    const float* a = args.a + m * args.a_stride;
    for (std::int64_t n = 0; n < args.columns; ++n) {
      const float* b = args.b + n / kPanelColumns * args.b_panel_stride + n % kPanelColumns;
      float sum = 0.0f;
      for (std::int64_t k = 0; k < args.depth; ++k) sum = std::fmaf(a[k], b[k * args.b_row_stride], sum);
      float y = args.bias != nullptr ? sum + args.bias[n] : sum;
      if (args.activation == Activation::kRelu) y = 0.0f > y ? 0.0f : y;
      if (args.activation == Activation::kGeluErf || args.activation == Activation::kGeluTanh) {
        gelu_f32(&y, 1, args.activation, &y);
      }
      if (args.residual != nullptr) y += args.residual[m * args.residual_stride + n];
      args.out[m * args.out_stride + n] = y;
    }
  }
}

}  // namespace fastformers::avx2
