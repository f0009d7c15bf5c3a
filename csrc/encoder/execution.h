// SPDX-License-Identifier: MIT
// One forward call in progress: the batch, the memory, and the steps in the order they run. Each step is a file of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "encoder/encoder.h"
#include "encoder/profile.h"
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
  Profile* profile;  // or null

  const KernelTable& kernels() const { return *model.kernels.table; }
  bool is_last(std::size_t layer) const { return layer + 1 == model.layers.size(); }
  // Of one thread; null when nobody asked.
  StopWatch* watch(int index) const {
    return profile != nullptr ? &profile->watches[static_cast<std::size_t>(index)] : nullptr;
  }
};

// Splits `rows` into blocks of at most `most` rows, as even as can be, their number a multiple of the members.
struct RowBlocks {
  RowBlocks(std::int64_t row_count, std::int64_t most, int members);
  std::int64_t first(int block) const { return rows * block / count; }
  std::int64_t size(int block) const { return first(block + 1) - first(block); }
  std::int64_t rows;
  int count;
};

// Rows that go through output projection, FFN and norms of a layer together, wherever they lie.
struct RowView {
  float* x;              // residual stream [rows, hidden], read and written
  const float* context;  // [rows, heads * head_size]
  float* normed;         // pre-norm: what the next attention reads
  QuantizedBlock x_q;    // the same quantized; absent where nothing reads it
};

// Everything a thread does in a forward call.
void run_program(const Execution& run, Team::Member& member, int index);

void embed(const Execution& run, Team::Member& member, int index);
// Attention of a layer over all tokens; with first_queries only the first token of each sequence asks.
void attend(const Execution& run, std::size_t layer, bool first_queries, Team::Member& member, int index);
// The last layer's attention for first tokens only, without keys and values; fills context rows [sequences].
void attend_first_tokens(const Execution& run, Team::Member& member, int index);
void write_outputs(const Execution& run, Team::Member& member, int index);

// One thread's part in work on rows that `members` threads do together: they share the columns of matmuls, and the rows of
// steps that need whole ones. A team of one is how a row block is worked on.
struct RowTeam {
  const Execution& run;
  Team::Member& member;
  int members;
  const RowScratch& scratch;  // all of them write it
  void* gemm_scratch;         // this thread's own
  StopWatch* watch;           // likewise, or null
};

// All threads of the call.
RowTeam whole_team(const Execution& run, Team::Member& member, int index);

// Calls work(team, first, rows, more) until all rows are done: once, by all threads, when rows are so few that what a thread
// needs most is its own part of the weights; in row blocks of one thread each otherwise. `more`: this thread has another
// block to come.
template <typename Work>
void share_rows(const Execution& run, Team::Member& member, int index, std::int64_t rows, const Work& work) {
  if (run.members > 1 && rows <= run.model.column_rows) {
    return work(whole_team(run, member, index), std::int64_t{0}, rows, false);
  }
  const RowBlocks blocks(rows, run.model.block_rows, run.members);
  const RowScratch& scratch = run.workspace.rows(index);
  member.phase(blocks.count, [&](int block) {
    Team alone(1);
    Team::Member self(alone);
    work(RowTeam{run, self, 1, scratch, scratch.gemm, run.watch(index)}, blocks.first(block),
         blocks.size(block), block + run.members < blocks.count);
  });
}

// step(first, rows): a step on whole rows, shared by the team.
template <typename Step>
void for_rows(const RowTeam& team, std::int64_t rows, const Step& step) {
  const RowBlocks blocks(rows, rows, team.members);
  team.member.phase(blocks.count, [&](int block) { step(blocks.first(block), blocks.size(block)); });
}

// As LinearLayer::prepare and run, each thread for its columns.
void multiply(const RowTeam& team, const LinearLayer& layer, const Input& input, const Epilogue& epilogue,
              float* out, std::int64_t out_stride);
// The rest of a layer for `rows` rows (at most block_rows), ending with what the next layer's attention reads. `next` (or
// null) is the layer whose weights are wanted after that.
void finish_layer(const RowTeam& team, std::size_t layer, const RowView& view, std::int64_t rows,
                  const LinearLayer* next);
// to[row] = the row in `from` of the first token of sequence first + row.
void gather_first_rows(const Execution& run, const float* from, std::int64_t first, std::int64_t rows,
                       float* to);

// out = norm(in); when `reader` is INT8 the rows are quantized for it as well.
void norm_rows(const Execution& run, const Norm& norm, const float* in, std::int64_t rows, float* out,
               const LinearLayer* reader, const QuantizedBlock& quantized);
// What layer `next`'s attention reads, from the residual stream: quantized rows, in a pre-norm model normed ones. After the
// last layer: the final norm, in place.
void enter_layer(const Execution& run, std::size_t next, const RowView& view, std::int64_t rows);
// The layer whose attention reads what `layer` leaves, if it wants quantized rows; null otherwise.
const LinearLayer* quantized_reader(const Execution& run, std::size_t next);

// Values in place.
void apply_function(const KernelTable& kernels, Function function, float* x, std::int64_t count);
// The activation that a matmul's epilogue can do for a function; kNone for one it cannot.
Activation fused_activation(Function function);

}  // namespace fastformers::encoder
