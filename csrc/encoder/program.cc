// SPDX-License-Identifier: MIT
// The order of steps of a forward call, as every thread walks it.
#include <algorithm>
#include <cstring>

#include "encoder/execution.h"

namespace fastformers::encoder {
namespace {

// The first matrix that is read after a row block: this layer's again, or the next one's.
const LinearLayer* layer_after(const Execution& run, std::size_t layer, bool more_blocks) {
  if (more_blocks) return &run.model.layers[layer].output;
  return run.is_last(layer) ? nullptr : &run.model.layers[layer + 1].qkv;
}

// Output projection, FFN and norms of all tokens, in row blocks.
void finish_all_rows(const Execution& run, std::size_t layer, Team::Member& member, int index) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden;
  const std::int64_t width = run.model.layers[layer].plan.attention_width();
  if (shares_columns(run, run.batch.tokens())) {
    const RowView all = {shared.x, shared.context, shared.normed, shared.x_q};
    finish_layer_by_columns(column_team(run, member, index), layer, all, run.batch.tokens(),
                            layer_after(run, layer, false));
    return;
  }
  const RowBlocks blocks(run.batch.tokens(), run.model.block_rows, run.members);
  const RowScratch scratch = run.workspace.rows(index);
  member.phase(blocks.count, [&](int block) {
    const std::int64_t row = blocks.first(block);
    const RowView view = {shared.x + row * hidden, shared.context + row * width,
                          shared.normed != nullptr ? shared.normed + row * hidden : nullptr,
                          shared.x_q.from_row(row)};
    finish_layer(run, layer, view, blocks.size(block),
                 layer_after(run, layer, block + run.members < blocks.count), scratch);
  });
}

// The same for the first token of each sequence, whose rows are gathered; nothing else is read after this layer.
void finish_first_rows(const Execution& run, std::size_t layer, Team::Member& member, int index) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden;
  const std::int64_t width = run.model.layers[layer].plan.attention_width();
  const RowBlocks blocks(run.batch.sequences, run.model.block_rows, run.members);
  const auto gather = [&](int block) {
    for (std::int64_t s = blocks.first(block); s < blocks.first(block + 1); ++s) {
      std::memcpy(shared.first_x + s * hidden, shared.x + run.batch.offsets[s] * hidden,
                  static_cast<std::size_t>(hidden) * sizeof(float));
    }
  };
  if (shares_columns(run, run.batch.sequences)) {
    member.phase(blocks.count, gather);
    finish_layer_by_columns(column_team(run, member, index), layer,
                            {shared.first_x, shared.context, nullptr, {}}, run.batch.sequences, nullptr);
    return;
  }
  const RowScratch scratch = run.workspace.rows(index);
  member.phase(blocks.count, [&](int block) {
    gather(block);
    const std::int64_t first = blocks.first(block), rows = blocks.size(block);
    const RowView view = {shared.first_x + first * hidden, shared.context + first * width, nullptr, {}};
    finish_layer(run, layer, view, rows, nullptr, scratch);
  });
}

}  // namespace

RowBlocks::RowBlocks(std::int64_t row_count, std::int64_t most, int members) : rows(row_count) {
  const std::int64_t needed = (rows + most - 1) / most;
  count = static_cast<int>(std::min<std::int64_t>(rows, (needed + members - 1) / members * members));
}

void run_program(const Execution& run, Team::Member& member, int index) {
  embed(run, member, index);
  for (std::size_t layer = 0; layer < run.model.layers.size(); ++layer) {
    const bool first_rows = run.model.only_first_rows && run.is_last(layer);
    if (first_rows && run.model.first_token.present) {
      attend_first_tokens(run, member, index);
    } else if (run.model.layers[layer].plan.heads > 0) {
      attend(run, layer, first_rows, member, index);
    }
    first_rows ? finish_first_rows(run, layer, member, index) : finish_all_rows(run, layer, member, index);
  }
  write_outputs(run, member, index);
}

}  // namespace fastformers::encoder
