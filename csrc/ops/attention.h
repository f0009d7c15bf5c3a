// SPDX-License-Identifier: MIT
// Multi-head self-attention on its own: rows of queries, keys and values of a ragged batch in, context rows out. The encoder does
// not call it (it projects one head at a time); both share ops/head_attention.h, and so the bits.
#pragma once

#include <cstdint>

#include "ops/head_attention.h"

namespace fastformers {

struct AttentionArgs {
  // [tokens, 3 * heads * head_size]: all of q, then k, then v, heads in order; `stride` floats between rows.
  const float* qkv;
  std::int64_t stride;
  const std::int64_t*
      offsets;  // [sequences + 1], the first 0: sequence s is rows offsets[s] ... offsets[s + 1] - 1
  std::int64_t sequences;
  std::int64_t heads;
  std::int64_t head_size;
  std::int64_t window;  // a query sees keys at most so far away; -1: all
  const float*
      relative_bias;  // [heads, 2 * max_tokens - 1], entry j - i + max_tokens - 1 for query i and key j; or null
  std::int64_t max_tokens;  // with relative_bias: longest sequence
  AttentionMode mode;
  int threads;  // 0: num_threads()
};

// out[tokens, heads * head_size] = softmax(q k^T / sqrt(head_size) + bias) v, head by head; must not overlap qkv. A sequence's
// result depends on that sequence alone. Throws ShapeError.
void attention(const AttentionArgs& args, float* out, std::int64_t out_stride);

}  // namespace fastformers
