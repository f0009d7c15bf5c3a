// SPDX-License-Identifier: MIT
// The weights of an encoder, packed for one instruction set, as the executor walks them. Made once, then shared by every thread
// and instance; nothing in it changes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "encoder/linear_layer.h"
#include "encoder/plan.h"
#include "encoder/tensors.h"
#include "kernels/registry.h"

namespace fastformers::encoder {

struct Embeddings {
  std::vector<float> word;           // [vocab, embedding], or
  std::vector<std::int8_t> word_s8;  // the same with one scale a row
  std::vector<float> word_scales;
  std::vector<float> position;
  std::vector<float> type;
  Norm norm;
  LinearLayer projection;
};

// Rotary position embedding: cosines and sines [max_tokens, head_size / 2].
struct Rotation {
  std::vector<float> cosines;
  std::vector<float> sines;
};

// The columns of a layer's qkv matrix are laid out head by head, q | k | v, and each head's part starts at a panel:
// a thread computes the heads it attends to, and their queries, keys and values never leave its cache. The scale
// 1 / sqrt(head_size) is folded into the columns of q.
struct Layer {
  LayerPlan plan;
  std::int64_t head_panels = 0;  // panels of one head in qkv
  LinearLayer qkv;
  LinearLayer output;
  LinearLayer up;
  LinearLayer down;
  std::vector<float> output_bias;  // of a layer without heads
  std::vector<float> down_bias;    // of a layer without FFN
  Norm attention_norm;
  Norm ffn_norm;
  std::vector<float> relative_bias;  // [heads, 2 * max_tokens - 1]
  const Rotation* rotation = nullptr;
};

// The last layer when only each sequence's first token is read. With q its query, the scores q . (W_k x_j + b_k) equal
// (W_k^T q) . x_j plus a constant that softmax ignores, and sum_j p_j (W_v x_j + b_v) equals W_v (sum_j p_j x_j) + b_v: no key
// and no value is computed. Exact but for rounding, and all of it in float32 except the products with W_q and W_v.
struct FirstTokenAttention {
  bool present = false;
  LinearLayer query;       // [heads * head_size, hidden], scaled
  std::vector<float> key;  // float32 [heads * head_size, hidden]
  LinearLayer value;       // heads padded to panels: [heads * value_width, hidden]
  std::int64_t value_width = 0;
};

struct HeadStepWeights {
  HeadStep plan;
  LinearLayer linear;
  Norm norm;
};

struct Output {
  OutputPlan plan;
  std::vector<HeadStepWeights> steps;
  std::int64_t columns = 0;
};

struct Model {
  AlignedBuffer packed;  // the weights of all linear layers, in the order they are read
  Plan plan;
  IsaKernels kernels;
  Embeddings embeddings;
  std::vector<Layer> layers;
  FirstTokenAttention first_token;
  Norm final_norm;
  std::vector<Output> outputs;
  std::map<double, std::unique_ptr<Rotation>> rotations;
  bool only_first_rows = false;  // no output reads any other row
  // Rows that pass through a layer's matmuls together: as many as keep the FFN's intermediates in L2.
  std::int64_t block_rows = 0;
  // Up to so many rows, threads share a layer's columns instead of its rows.
  std::int64_t column_rows = 0;

  std::int64_t weight_bytes() const;
  // Names (without .weight) of the matrices that are held as INT8, in the order of computing.
  std::vector<std::string> int8_matrices() const;
};

// Checks every tensor against the plan, then packs on `threads` threads. Throws PlanError, ShapeError, NonFiniteError.
std::unique_ptr<Model> make_model(const Plan& plan, const TensorTable& tensors, const IsaKernels& kernels,
                                  int threads);

}  // namespace fastformers::encoder
