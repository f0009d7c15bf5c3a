// SPDX-License-Identifier: MIT
// Row operations between the matmuls, on the active instruction set: LayerNorm (plain, or residual + LayerNorm +
// equalise + quantize in one pass over the rows), softmax and GELU.
#pragma once

#include <cstdint>

#include "kernels/kernel_table.h"
#include "ops/linear.h"

namespace fastformers {

struct LayerNormOptions {
  const float* gamma;  // [depth]
  const float* beta;   // [depth]
  float epsilon;
  const float* residual = nullptr;  // [rows, depth], added before the norm
  std::int64_t residual_stride = 0;
  const float* factors = nullptr;  // [depth], multiply the result before it is quantized
  int threads = 0;
};

// out (float) is always written; quantized (when q is not null) gets the result times factors. out may equal x.
void layer_norm(const FloatRows& x, std::int64_t depth, const LayerNormOptions& options, float* out,
                std::int64_t out_stride, const MutableQuantizedRows& quantized);

void softmax(const FloatRows& x, std::int64_t depth, int threads, float* out, std::int64_t out_stride);

void gelu(const float* x, std::int64_t count, Activation which, int threads, float* out);

}  // namespace fastformers
