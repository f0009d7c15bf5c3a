// SPDX-License-Identifier: MIT
#include "ops/head_attention.h"

#include <algorithm>
#include <cmath>

namespace fastformers {
namespace {

// Sequences of at least this many tokens use INT8 products by default (bench/kernels/attention.py measures it;
// csrc/README.md has the table).
constexpr std::int64_t kMinInt8Tokens = 16;

constexpr std::int64_t kScoreBytes = 5;  // a float score and a u8 probability
constexpr std::int64_t kMostQueryRows = 48;
constexpr std::int64_t kScoresBudget = 192 * 1024;

void fill_nan(const HeadTask& task) {
  for (std::int64_t m = 0; m < task.queries; ++m) {
    std::fill_n(task.out + m * task.out_stride, task.size, NAN);
  }
}

void attend_int8(const KernelTable& kernels, const HeadTask& task, const HeadScratch& scratch) {
  const std::int64_t size = task.size;
  const bool finite = kernels.pack_keys_s8({task.k, task.stride, task.tokens, size, scratch.key_panels,
                                            scratch.key_scales, scratch.key_offsets}) &&
                      kernels.pack_values_s8({task.v, task.stride, task.tokens, size, scratch.value_panels,
                                              scratch.value_scales});
  if (!finite) return fill_nan(task);
  AttendArgs args{};
  args.q = scratch.q;
  args.q_stride = quantized_stride(size);
  args.row_scales = scratch.q_scales;
  args.depth = args.channels = size;
  args.keys = task.tokens;
  args.key_panels = scratch.key_panels;
  args.key_scales = scratch.key_scales;
  args.key_offsets = scratch.key_offsets;
  args.value_panels = scratch.value_panels;
  args.value_scales = scratch.value_scales;
  args.bias_stride = -1;
  args.window = task.window;
  args.out_stride = task.out_stride;
  args.scratch = scratch.attend;
  const std::int64_t step = query_rows(task.tokens);
  for (std::int64_t row = 0; row < task.queries; row += step) {
    args.row_count = std::min(step, task.queries - row);
    args.first_query = row;
    args.bias = task.bias != nullptr ? task.bias - row : nullptr;
    args.out = task.out + row * task.out_stride;
    kernels.quantize_queries_u8(task.q + row * task.q_stride, task.q_stride, args.row_count, size, scratch.q,
                                args.q_stride, scratch.q_scales);
    kernels.attend_u8s8(args);
  }
}

// Adds the relative bias and hides the keys outside the window.
void adjust_scores(const HeadTask& task, std::int64_t first, std::int64_t rows, float* scores) {
  const std::int64_t window = task.window;
  for (std::int64_t m = 0; m < rows; ++m, scores += task.tokens) {
    const std::int64_t position = first + m;
    for (std::int64_t j = 0; task.bias != nullptr && j < task.tokens; ++j) {
      scores[j] += task.bias[j - position];
    }
    if (window < 0) continue;
    std::fill(scores, scores + std::max<std::int64_t>(0, position - window), -INFINITY);
    std::fill(scores + std::min(task.tokens, position + window + 1), scores + task.tokens, -INFINITY);
  }
}

void attend_float(const KernelTable& kernels, const HeadTask& task, const HeadScratch& scratch) {
  const std::int64_t size = task.size, tokens = task.tokens;
  kernels.pack_f32(task.k, task.stride, tokens, size, scratch.float_keys);
  GemmF32Args scores{};
  scores.a_stride = task.q_stride;
  scores.depth = size;
  scores.b = scratch.float_keys;
  scores.b_panel_stride = kPanelColumns * size;
  scores.b_row_stride = kPanelColumns;
  scores.columns = tokens;
  scores.out = scratch.float_scores;
  scores.out_stride = tokens;
  GemmF32Args mix{};
  mix.a = scratch.float_scores;
  mix.a_stride = tokens;
  mix.depth = tokens;
  mix.b = task.v;
  mix.b_panel_stride = kPanelColumns;
  mix.b_row_stride = task.stride;
  mix.columns = size;
  mix.out_stride = task.out_stride;
  const std::int64_t step = query_rows(tokens);
  for (std::int64_t row = 0; row < task.queries; row += step) {
    const std::int64_t rows = std::min(step, task.queries - row);
    scores.a = task.q + row * task.q_stride;
    scores.row_count = mix.row_count = rows;
    kernels.gemm_f32(scores);
    adjust_scores(task, row, rows, scratch.float_scores);
    kernels.softmax_f32_rows(scratch.float_scores, tokens, rows, tokens, scratch.float_scores, tokens);
    mix.out = task.out + row * task.out_stride;
    kernels.gemm_f32(mix);
  }
}

}  // namespace

std::int64_t query_rows(std::int64_t keys) {
  const std::int64_t fitting = kScoresBudget / (kScoreBytes * keys) / 6 * 6;
  return std::clamp<std::int64_t>(fitting, 6, kMostQueryRows);
}

void attend_head(const KernelTable& kernels, const HeadTask& task, AttentionMode mode,
                 const HeadScratch& scratch) {
  const bool int8 =
      mode == AttentionMode::kInt8 || (mode == AttentionMode::kAuto && task.tokens >= kMinInt8Tokens);
  int8 ? attend_int8(kernels, task, scratch) : attend_float(kernels, task, scratch);
}

}  // namespace fastformers
