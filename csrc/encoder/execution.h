// SPDX-License-Identifier: MIT
// One forward call in progress: the batch, the memory, and the steps in the order they run. Each step is a file of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "encoder/encoder.h"
#include "encoder/workspace.h"
#include "ops/team.h"

namespace fastformers::encoder {

struct Execution {
  const Model& model;
  const Batch& batch;
  const std::vector<int>& outputs;
  float* const* results;
  AttentionMode attention;
  Workspace& workspace;
  int members;

  const KernelTable& kernels() const { return *model.kernels.table; }
  bool is_last(std::size_t layer) const { return layer + 1 == model.layers.size(); }
};

// Rows that go through output projection, FFN and norms of a layer together, wherever they lie.
struct RowView {
  float* x;              // residual stream [rows, hidden], read and written
  const float* context;  // [rows, heads * head_size]
  float* normed;         // pre-norm: what the next attention reads
  QuantizedBlock x_q;    // the same quantized
};

// Everything a thread does in a forward call.
void run_program(const Execution& run, Team::Member& member, int index);

void embed(const Execution& run, Team::Member& member, int index);
// Attention of a layer over all tokens; with first_queries only the first token of each sequence asks.
void attend(const Execution& run, std::size_t layer, bool first_queries, Team::Member& member, int index);
// The last layer's attention for first tokens only, without keys and values; fills context rows [sequences].
void attend_first_tokens(const Execution& run, Team::Member& member, int index);
// The rest of a layer for `rows` rows (at most block_rows), ending with what the next layer's attention reads. `next` (or
// null) is the layer whose weights are wanted after that.
void finish_layer(const Execution& run, std::size_t layer, const RowView& view, std::int64_t rows,
                  const LinearLayer* next, const RowScratch& scratch);
void write_outputs(const Execution& run, Team::Member& member, int index);

// One thread's part in steps whose columns the threads share; `shared` is the scratch that all of them write.
struct ColumnTeam {
  const Execution& run;
  Team::Member& member;
  const RowScratch& shared;
  void* gemm_scratch;
};

ColumnTeam column_team(const Execution& run, Team::Member& member, int index);
// Whether so few rows are shared by columns (see columns.cc).
bool shares_columns(const Execution& run, std::int64_t rows);
// As LinearLayer::prepare and run, each thread for its columns.
void multiply_by_columns(const ColumnTeam& team, const LinearLayer& layer, const Input& input,
                         const Epilogue& epilogue, float* out, std::int64_t out_stride);
// As finish_layer, by all threads together.
void finish_layer_by_columns(const ColumnTeam& team, std::size_t layer, const RowView& view,
                             std::int64_t rows, const LinearLayer* next);

// out = norm(in); when `reader` is INT8 the rows are quantized for it as well.
void norm_rows(const Execution& run, const Norm& norm, const float* in, std::int64_t rows, float* out,
               const LinearLayer* reader, const QuantizedBlock& quantized);
// What layer `next`'s attention reads, from the residual stream: quantized rows, in a pre-norm model normed ones. After the
// last layer: the final norm, in place.
void enter_layer(const Execution& run, std::size_t next, const RowView& view, std::int64_t rows);
// The layer whose attention reads what `layer` leaves, if it wants quantized rows; null otherwise.
const LinearLayer* quantized_reader(const Execution& run, std::size_t next);

// out = x + bias, [rows, width].
void add_bias(const std::vector<float>& bias, const float* x, std::int64_t rows, std::int64_t width,
              float* out);
// The activation of an FFN that its first matmul can do; kNone when activate_rows has to follow.
Activation fused_in_up(const Plan& plan);
// up = function(up), or in a gated FFN up = function(a) * b in the places of a; `rows` rows of the first matmul's results.
void activate_rows(const Execution& run, std::int64_t rows, std::int64_t ffn, float* up);

// Values in place.
void apply_function(const KernelTable& kernels, Function function, float* x, std::int64_t count);
// The activation that a matmul's epilogue can do for a function; kNone for one it cannot.
Activation fused_activation(Function function);

// Splits `rows` into blocks of at most `most` rows, as even as can be, their number a multiple of the members.
struct RowBlocks {
  RowBlocks(std::int64_t row_count, std::int64_t most, int members);
  std::int64_t first(int block) const { return rows * block / count; }
  std::int64_t size(int block) const { return first(block + 1) - first(block); }
  std::int64_t rows;
  int count;
};

}  // namespace fastformers::encoder
