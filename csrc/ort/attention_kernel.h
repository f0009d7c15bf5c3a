// SPDX-License-Identifier: MIT
// fastformers::Attention: multi-head self-attention of stacked queries, keys and values; padding is not computed.
//
//   inputs      qkv float [batch, length, 3 * heads * head_size]: all of q, then k, then v, heads in order;
//               attention_mask int64 [batch, length], 1 for a token; relative_bias float [heads, 2 * max_tokens - 1], optional, an
//               initializer: entry j - i + max_tokens - 1 is added to the score of query i and key j
//   output      context float [batch, length, heads * head_size], zeros where there is padding
//   attributes  heads, head_size; window: a query sees keys at most so far away, -1 for all; products: "auto", "float32" or
//               "int8"
#pragma once

#include "ops/head_attention.h"
#include "ort/operator.h"

namespace fastformers::ort {

class AttentionKernel {
 public:
  static constexpr const char* kName = "Attention";
  static constexpr std::array<Port, 3> kInputs = {{{kFloat}, {kInt64}, {kFloat, INPUT_OUTPUT_OPTIONAL}}};
  static constexpr std::array<Port, 1> kOutputs = {{{kFloat}}};

  explicit AttentionKernel(const Ort::ConstKernelInfo& info);
  void run(Ort::KernelContext& context) const;

 private:
  std::int64_t heads_;
  std::int64_t head_size_;
  std::int64_t window_;
  AttentionMode mode_;
  std::vector<float> relative_bias_;
  std::int64_t max_tokens_ = 0;
};

}  // namespace fastformers::ort
