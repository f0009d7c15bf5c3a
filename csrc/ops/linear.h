// SPDX-License-Identifier: MIT
// The INT8 linear operation: float rows in, float (or quantized) rows out, activations quantized on the fly.
// Blocking, threads and checks live here; a row's result depends on nothing but that row, whatever the
// row count, strides, position, threads or instruction set (per-tensor ranges excepted).
#pragma once

#include <cstdint>

#include "kernels/kernel_table.h"
#include "ops/packed_weight.h"

namespace fastformers {

// A matrix of rows; stride counts elements between rows.
struct FloatRows {
  const float* data;
  std::int64_t rows;
  std::int64_t stride;
};

// u8 rows with their parameters. Row bytes past depth, up to padded_depth, must be readable.
struct QuantizedRows {
  const std::uint8_t* q;
  std::int64_t rows;
  std::int64_t stride;
  const float* scales;
  const std::int32_t* zero_points;
};

struct MutableQuantizedRows {
  std::uint8_t* q;
  std::int64_t stride;  // >= padded_depth of the row length
  float* scales;
  std::int32_t* zero_points;
};

// What follows the products, and how the inputs are quantized. Absent pointers are null.
struct LinearOptions {
  const float* bias = nullptr;      // [N]
  const float* factors = nullptr;   // [K], multiply the inputs (equalisation)
  const float* residual = nullptr;  // [M, N], added last
  std::int64_t residual_stride = 0;
  Activation activation = Activation::kNone;
  bool per_tensor = false;
  int threads = 0;  // 0: num_threads()
};

// out[M, N] may equal residual; it must not overlap x. M = 0 is a no-op.
void linear(const FloatRows& x, const PackedWeight& weight, const LinearOptions& options, float* out,
            std::int64_t out_stride);

// The same from rows that are quantized already; factors and per_tensor are not looked at.
void linear_from_quantized(const QuantizedRows& x, const PackedWeight& weight, const LinearOptions& options,
                           float* out, std::int64_t out_stride);

// Float rows in, quantized rows of the activated result out, for the next matmul (next_factors: its equalisation).
void linear_to_quantized(const FloatRows& x, const PackedWeight& weight, const LinearOptions& options,
                         const float* next_factors, const MutableQuantizedRows& out);

// Raw exact accumulators, out[M, N] = sum_k q w.
void matmul_s32(const QuantizedRows& x, const PackedWeight& weight, int threads, std::int32_t* out,
                std::int64_t out_stride);

// Row quantization on its own.
void quantize_matrix(const FloatRows& x, std::int64_t depth, const float* factors, bool per_tensor,
                     int threads, const MutableQuantizedRows& out);

// Name of the instruction set the last matmul of this process ran on; "none" before the first.
const char* last_used_isa();

}  // namespace fastformers
