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
  void* scratch;                      // gemm_scratch_bytes(row_count, depth) bytes, 64-byte aligned
  const void* next_panels = nullptr;  // what is multiplied with next, to be read ahead; changes no result
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
  const void* next_panels = nullptr;  // what is multiplied with next, to be read ahead; changes no result
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

// Float32 matmul: out[m, n] = act(sum + bias[n]) + residual[m, n], where sum is a chain of fma over ascending k that starts at 0,
// the same on every instruction set whatever the tile. ReLU is max(x, 0) with NaN staying NaN and -0 staying -0.
struct GemmF32Args {
  const float* a;  // [row_count, depth]
  std::int64_t a_stride;
  std::int64_t row_count;
  std::int64_t depth;
  // Element (k, n) lies at b + n / 16 * b_panel_stride + k * b_row_stride + n % 16. Panels of pack_f32: 16 * depth and 16;
  // a row-major [depth, columns] matrix in place: 16 and its row stride. Nothing past `columns` is read.
  const float* b;
  std::int64_t b_panel_stride;
  std::int64_t b_row_stride;
  std::int64_t columns;
  const float* bias;      // [columns] or null
  const float* residual;  // [row_count, columns] or null
  std::int64_t residual_stride;
  Activation activation;
  float* out;  // [row_count, columns]; may equal residual, must not overlap a or b
  std::int64_t out_stride;
};

// INT8 attention of one head of one sequence. Keys are s8 with one scale for each key, values s8 with one scale for each
// channel, queries u8 = s8 + 128 with one scale for each row. All are symmetric:
//   scale = max|x| * (1 / 127), inverse = 1 / scale, q = clamp(round_to_even(x * inverse), -127, 127);
//   a scale below FLT_MIN counts as 0 and gives q = 0.
// Key panels are packed as a weight matrix with columns = keys, depth = head size; value panels as one with columns =
// channels, depth = keys (packed_layout.h; panels_bytes gives their size, all padding is zero).
struct PackKeysArgs {
  const float* k;  // [keys, depth]
  std::int64_t k_stride;
  std::int64_t keys;
  std::int64_t depth;
  void* panels;
  float* scales;          // [16 * panel_count(keys)], padding zero
  std::int32_t* offsets;  // [16 * panel_count(keys)]: -128 * sum_k of the key's s8 values, padding zero
};

struct PackValuesArgs {
  const float* v;  // [keys, channels]
  std::int64_t v_stride;
  std::int64_t keys;
  std::int64_t channels;
  void* panels;
  float* scales;  // [16 * panel_count(channels)], padding zero
};

// Query row m stands at position first_query + m of its sequence and sees the keys j with |first_query + m - j| <= window (all of
// them when window < 0; at least one always). With S = float(sum_k q k + offset[j]) * key_scale[j]:
//   t[j] = S                                 and c = row_scale[m] * 1.44269504f     without bias
//   t[j] = fma(S, row_scale[m], bias[m, j])  and c = 1.44269504f                    with bias
//   x[j] = max((t[j] - max_j t[j]) * c, -24)                                         a power of two; NaN counts as -24
//   n = round_to_even(x), f = x - n, P[j] = round_to_even(2^n * p(f)), 0 to 255; 0 for keys that are not seen
//   p(f) = 255 * 2^f as fma(fma(fma(c3, f, c2), f, c1), f, c0), the constants of attention_constants.h
//   out[m, i] = float(sum_j P[j] v[j, i]) * (value_scale[i] * (1 / float(sum_j P[j])))
// A row whose scale is NaN, or whose sum of P is 0 (t overflowed), gives NaN.
struct AttendArgs {
  const std::uint8_t* q;  // [row_count, >= padded_depth(depth)]
  std::int64_t q_stride;
  const float* row_scales;  // [row_count]
  std::int64_t row_count;
  std::int64_t depth;     // head size of queries and keys
  std::int64_t channels;  // head size of values
  std::int64_t keys;
  const void* key_panels;
  const float* key_scales;
  const std::int32_t* key_offsets;
  const void* value_panels;
  const float* value_scales;
  const float* bias;  // bias[m * bias_stride + j] for 0 <= j < keys, or null; bias_stride may be negative
  std::int64_t bias_stride;
  std::int64_t first_query;
  std::int64_t window;
  float* out;  // [row_count, channels]
  std::int64_t out_stride;
  void* scratch;  // attend_scratch_bytes(row_count, keys) bytes, 64-byte aligned
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

  // w [columns, depth] row-major -> float panels of 16 columns, [panel][k][16], padding zero; 16 * panel_count(columns) * depth
  // floats in all.
  void (*pack_f32)(const float* w, std::int64_t w_stride, std::int64_t columns, std::int64_t depth,
                   float* panels);
  void (*gemm_f32)(const GemmF32Args& args);

  // Both return false when an input is NaN or infinite; what they wrote is then not to be used.
  bool (*pack_keys_s8)(const PackKeysArgs& args);
  bool (*pack_values_s8)(const PackValuesArgs& args);
  // Bytes past depth, up to padded_depth, are zero. A row with NaN or infinity gets scale NaN.
  void (*quantize_queries_u8)(const float* q, std::int64_t q_stride, std::int64_t row_count,
                              std::int64_t depth, std::uint8_t* out, std::int64_t out_stride,
                              float* row_scales);
  std::int64_t (*attend_scratch_bytes)(std::int64_t row_count, std::int64_t keys);
  void (*attend_u8s8)(const AttendArgs& args);

  // Runs the u8 x s8 multiply-accumulate instruction on registers only and returns the number of operations
  // (2 per multiply-accumulate) done: the ceiling any matmul on this instruction set can reach. Null on reference.
  std::int64_t (*ceiling_u8s8)(std::int64_t iterations) = nullptr;

  // The same with the float32 fused multiply-add: the ceiling of gemm_f32.
  std::int64_t (*ceiling_f32)(std::int64_t iterations) = nullptr;

  // Loads bytes / 4096 * 4096 bytes once, in order, with the widest loads: the rate weights can be read at. data is
  // 64-byte aligned. Null on reference.
  void (*read_bytes)(const void* data, std::int64_t bytes) = nullptr;
};

}  // namespace fastformers
