// SPDX-License-Identifier: MIT
// The contract of the kernels: pure functions on pointers, one table per instruction set, the same inputs allowed
// and the same bits produced on all of them.
//
// Vocabulary: rows = M (tokens), depth = K (in_features), columns = N (out_features). Strides count elements.
//
// Exactness. Every float operation below is a single IEEE operation in a fixed order (products feeding a sum are fused
// where "fma" is written, nowhere else), sums over a row are taken in 64 lanes (element i in lane i mod 64) and folded
// in a fixed tree, so all tables give identical bits. Overflow: u8 x s8 products are at most 255 * 127 = 32,385 in
// magnitude; 65,536 of them sum to less than 2^31 = 2,147,483,648 (2,122,383,360), hence kMaxDepth. The same bound holds
// for the zero-point-corrected sum, since |q - zero_point| <= 255.
//
// No kernel allocates, throws, starts a thread or reads past the last element of a row it was given.
// Rounding mode must be to-nearest (the default of every process).
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastformers {

constexpr std::int64_t kMaxDepth = 65536;

enum class Activation : std::int32_t { kNone = 0, kRelu = 1, kGeluErf = 2, kGeluTanh = 3 };

// out[m, n] = act(fma(float(sum_k q[m, k] w[n, k] - zp[m] colsum[n]), row_scale[m] * column_scale[n], bias[n])) + residual[m, n]
struct GemmArgs {
  const std::uint8_t* rows;  // [row_count, >= padded_depth(depth)]; bytes past depth must be readable
  std::int64_t rows_stride;
  std::int64_t row_count;
  std::int64_t depth;
  const void* panels;        // packed weights, whole matrix, 64-byte aligned
  std::int64_t columns;      // of the whole matrix
  std::int64_t first_panel;  // the panels to compute: [first_panel, last_panel)
  std::int64_t last_panel;
  const float* row_scales;              // [row_count]; NaN (sign bit clear) makes the output row NaN
  const std::int32_t* row_zero_points;  // [row_count], in [0, 255]
  const float* column_scales;           // [16 * panel_count(columns)], padding zero
  const std::int32_t* column_sums;      // [16 * panel_count(columns)], padding zero
  const float* bias;                    // [columns] or null
  const float* residual;                // [row_count, columns] or null
  std::int64_t residual_stride;
  Activation activation;
  float* out;  // [row_count, columns]; may equal residual
  std::int64_t out_stride;
  void* scratch;  // gemm_scratch_bytes(row_count, depth) bytes, 64-byte aligned
};

// Raw accumulators: out[m, n] = sum_k q[m, k] w[n, k], exact.
struct GemmS32Args {
  const std::uint8_t* rows;
  std::int64_t rows_stride;
  std::int64_t row_count;
  std::int64_t depth;
  const void* panels;
  std::int64_t columns;
  std::int64_t first_panel;
  std::int64_t last_panel;
  std::int32_t* out;
  std::int64_t out_stride;
  void* scratch;
};

// Rows of float32 that are looked at or written as u8. `factors` ([depth] or null) multiply the inputs first.
struct RowsArgs {
  const float* x;  // [row_count, depth]
  std::int64_t x_stride;
  std::int64_t row_count;
  std::int64_t depth;
  const float* factors;
};

// y = fma((v - mean) * rstd, gamma, beta), v = x + residual, rstd = 1 / sqrt(mean of (v - mean)^2 + epsilon).
struct LayerNormArgs {
  const float* x;  // [row_count, depth]
  std::int64_t x_stride;
  const float* residual;  // [row_count, depth] or null
  std::int64_t residual_stride;
  std::int64_t row_count;
  std::int64_t depth;
  const float* gamma;  // [depth]
  const float* beta;   // [depth]
  float epsilon;
  float* out;  // [row_count, depth]; may equal x or residual
  std::int64_t out_stride;
  const float* factors;  // [depth] or null; used only for low and high
  float* low;            // [row_count] or null: range of y * factors, as range_f32_rows gives it
  float* high;
};

struct KernelTable {
  const char* name;

  // Bytes of the panels of a [columns, depth] matrix, and of the scratch a gemm over row_count rows needs.
  std::int64_t (*panels_bytes)(std::int64_t columns, std::int64_t depth);
  std::int64_t (*gemm_scratch_bytes)(std::int64_t row_count, std::int64_t depth);

  // weights s8 [columns, depth] row-major <-> panels (see packed_layout.h). unpack_s8 is the exact inverse.
  void (*pack_s8)(const std::int8_t* weights, std::int64_t columns, std::int64_t depth, void* panels);
  void (*unpack_s8)(const void* panels, std::int64_t columns, std::int64_t depth, std::int8_t* weights);

  void (*gemm_u8s8_f32)(const GemmArgs& args);
  void (*gemm_u8s8_s32)(const GemmS32Args& args);

  // low[m] = min(0, min_k x f), high[m] = max(0, max_k x f); both NaN if a product in the row is NaN or infinite.
  void (*range_f32_rows)(const RowsArgs& args, float* low, float* high);

  // q[m, k] = clamp(round_to_even(fma(x f, inverse_scale[m], float(zero_point[m]))), 0, 255); zeros up to padded_depth.
  // A NaN, and a value beyond int32, gives 0.
  void (*quantize_f32_u8_rows)(const RowsArgs& args, const float* inverse_scales,
                               const std::int32_t* zero_points, std::uint8_t* q, std::int64_t q_stride);

  void (*layer_norm_f32_rows)(const LayerNormArgs& args);

  // out = exp(x - max) / sum; a row with a NaN, a +inf or only -inf gives NaN. out may equal x.
  void (*softmax_f32_rows)(const float* x, std::int64_t x_stride, std::int64_t row_count, std::int64_t depth,
                           float* out, std::int64_t out_stride);

  // which: kGeluErf or kGeluTanh. out may equal x.
  void (*gelu_f32)(const float* x, std::int64_t count, Activation which, float* out);

  // Runs the u8 x s8 multiply-accumulate instruction on registers only and returns the number of operations
  // (2 per multiply-accumulate) done: the ceiling any matmul on this instruction set can reach. Null on reference.
  std::int64_t (*ceiling_u8s8)(std::int64_t iterations);

  // Loads bytes / 4096 * 4096 bytes once, in order, with the widest loads: the rate weights can be read at. data is
  // 64-byte aligned. Null on reference.
  void (*read_bytes)(const void* data, std::int64_t bytes);
};

}  // namespace fastformers
