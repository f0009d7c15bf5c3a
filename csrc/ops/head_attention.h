// SPDX-License-Identifier: MIT
// Attention of one head of one sequence, whose queries, keys and values are there: scores exist for a few query rows at a time,
// whatever the length. INT8 products (kernel_table.h says how) or float32 ones, by length alone unless told otherwise.
#pragma once

#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/packed_layout.h"
#include "ops/row_quantizer.h"

namespace fastformers {

// kAuto: INT8 products where they are faster, by length and head size alone, so that a sequence is treated the same in any batch.
enum class AttentionMode { kAuto, kFloat32, kInt8 };

struct HeadTask {
  const float* q;  // [queries, size], scaled
  std::int64_t q_stride;
  const float* k;  // [tokens, size]
  const float* v;
  std::int64_t stride;  // of keys and of values
  std::int64_t tokens;
  std::int64_t queries;  // the first so many tokens ask
  std::int64_t size;     // channels of the head
  const float* bias;    // bias[j] for key j and query 0, one further to the left for each next query; or null
  std::int64_t window;  // a query sees keys at most so far away; -1: all
  float* out;           // [queries, size]
  std::int64_t out_stride;
};

// A thread's memory for sequences of up to `keys` tokens and heads of up to `size` channels.
struct HeadScratch {
  std::uint8_t* q;
  float* q_scales;
  void* key_panels;
  float* key_scales;
  std::int32_t* key_offsets;
  void* value_panels;
  float* value_scales;
  void* attend;
  float* float_keys;
  float* float_scores;
};

// Query rows that go through scores and values together: what they need stays in L2.
std::int64_t query_rows(std::int64_t keys);

// Takes the pieces from an arena: anything with take<T>(count) that gives 64-byte aligned memory.
template <typename Arena>
HeadScratch take_head_scratch(Arena& arena, const KernelTable& kernels, std::int64_t size,
                              std::int64_t keys) {
  const std::int64_t rows = query_rows(keys);
  const std::int64_t padded_keys = panel_count(keys) * kPanelColumns;
  HeadScratch made{};
  made.q = arena.template take<std::uint8_t>(rows * quantized_stride(size));
  made.q_scales = arena.template take<float>(rows);
  made.key_panels = arena.template take<unsigned char>(kernels.panels_bytes(padded_keys, size));
  made.key_scales = arena.template take<float>(padded_keys);
  made.key_offsets = arena.template take<std::int32_t>(padded_keys);
  made.value_panels = arena.template take<unsigned char>(kernels.panels_bytes(size, keys));
  made.value_scales = arena.template take<float>(panel_count(size) * kPanelColumns);
  made.attend = arena.template take<unsigned char>(kernels.attend_scratch_bytes(rows, keys));
  made.float_keys = arena.template take<float>(padded_keys * size);
  made.float_scores = arena.template take<float>(rows * keys);
  return made;
}

// out = softmax(q k^T + bias) v; nothing here divides by sqrt(size).
void attend_head(const KernelTable& kernels, const HeadTask& task, AttentionMode mode,
                 const HeadScratch& scratch);

}  // namespace fastformers
