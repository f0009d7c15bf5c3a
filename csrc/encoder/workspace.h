// SPDX-License-Identifier: MIT
// The memory one forward call works in: buffers that all its threads share, and scratch of each thread. Kept between calls, so
// that a warm call allocates nothing; given back after a call that was much larger than usual.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "encoder/encoder.h"
#include "encoder/linear_layer.h"
#include "ops/head_attention.h"

namespace fastformers::encoder {

// A workspace larger than this is freed after the call instead of kept.
constexpr std::int64_t kKeepBytes = std::int64_t{256} << 20;

// Hands out aligned pieces of a block of memory; without a block it only counts.
class Arena {
 public:
  explicit Arena(unsigned char* base) : base_(base) {}

  template <typename T>
  T* take(std::int64_t count) {
    unsigned char* piece = base_ != nullptr ? base_ + used_ : nullptr;
    used_ += round_up(count * static_cast<std::int64_t>(sizeof(T)), 64);
    return reinterpret_cast<T*>(piece);
  }
  QuantizedBlock take_quantized(std::int64_t rows, std::int64_t depth);

  std::int64_t used() const { return used_; }
  void rewind(std::int64_t used) { used_ = used; }

 private:
  unsigned char* base_;
  std::int64_t used_ = 0;
};

// Consecutive sequences whose rows go through a head's projection together.
struct Chunk {
  std::int64_t first_sequence;
  std::int64_t last_sequence;
};

// Sizes that a call's memory follows from.
struct Extent {
  std::int64_t tokens;
  std::int64_t sequences;
  std::int64_t longest;     // tokens of the longest sequence
  std::int64_t chunk_rows;  // tokens of the largest chunk
  int members;
};

struct SharedBuffers {
  float* x;            // [tokens, hidden] residual stream
  float* normed;       // [tokens, hidden], pre-norm only: what attention reads
  QuantizedBlock x_q;  // [tokens, hidden], for qkv
  float* context;      // [tokens, heads * head_size]
  float* first_x;      // [sequences, hidden] the last layer of first tokens
  float* first_in;     // [sequences, hidden]
  QuantizedBlock first_q;
  float* first_query;    // [sequences, heads * head_size]
  float* key_query;      // [sequences, heads, hidden]
  float* key_panels;     // [sequences] panels of key_query
  float* scores;         // [tokens, heads]
  float* probabilities;  // [heads, tokens]
  float* mixed;          // [sequences, heads, hidden]
};

struct AttentionScratch {
  float* qkv;  // [chunk rows, head columns]
  HeadScratch head;
  void* gemm;
};

struct RowScratch {
  QuantizedBlock context_q;
  float* sum;       // [block_rows, hidden]
  float* attended;  // [block_rows, hidden]
  QuantizedBlock attended_q;
  float* up;  // [block_rows, up columns]
  QuantizedBlock up_q;
  float* embedding;  // [block_rows, embedding]
  QuantizedBlock embedding_q;
  float* head[2];  // [block_rows, widest head step]
  QuantizedBlock head_q;
  void* gemm;
};

class Workspace {
 public:
  // Lays out memory for a call; keeps what it has when that is enough.
  void reserve(const Model& model, const Extent& extent);

  const SharedBuffers& shared() const { return shared_; }
  // Scratch of one thread for attention, or for rows: the same memory, used in turn.
  const AttentionScratch& attention(int member) const { return attention_[static_cast<std::size_t>(member)]; }
  const RowScratch& rows(int member) const { return rows_[static_cast<std::size_t>(member)]; }

  std::int64_t bytes() const { return static_cast<std::int64_t>(memory_.capacity()); }

  std::vector<std::int64_t> positions;  // of each token in its sequence; -1 is padding's
  std::vector<Chunk> chunks;

 private:
  AlignedBuffer memory_;
  SharedBuffers shared_{};
  std::vector<AttentionScratch> attention_;
  std::vector<RowScratch> rows_;
};

}  // namespace fastformers::encoder
