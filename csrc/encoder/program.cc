// SPDX-License-Identifier: MIT
// The order of steps of a forward call, as every thread walks it.
#include <algorithm>
#include <cstring>

#include "encoder/execution.h"

namespace fastformers::encoder {
namespace {

// Output projection, FFN and norms of all tokens, in row blocks.
void finish_all_rows(const Execution& run, std::size_t layer, Team::Member& member, int index) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden;
  const std::int64_t width = run.model.layers[layer].plan.attention_width();
  const RowBlocks blocks(run.batch.tokens(), run.members);
  const RowScratch scratch = run.workspace.rows(index);
  member.phase(blocks.count, [&](int block) {
    const std::int64_t row = blocks.first(block);
    const RowView view = {shared.x + row * hidden, shared.context + row * width,
                          shared.normed != nullptr ? shared.normed + row * hidden : nullptr,
                          shared.x_q.from_row(row)};
    finish_layer(run, layer, view, blocks.size(block), scratch);
  });
}

// The same for the first token of each sequence, whose rows are gathered; nothing else is read after this layer.
void finish_first_rows(const Execution& run, std::size_t layer, Team::Member& member, int index) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden;
  const std::int64_t width = run.model.layers[layer].plan.attention_width();
  const RowBlocks blocks(run.batch.sequences, run.members);
  const RowScratch scratch = run.workspace.rows(index);
  member.phase(blocks.count, [&](int block) {
    const std::int64_t first = blocks.first(block), rows = blocks.size(block);
    for (std::int64_t s = first; s < first + rows; ++s) {
      std::memcpy(shared.first_x + s * hidden, shared.x + run.batch.offsets[s] * hidden,
                  static_cast<std::size_t>(hidden) * sizeof(float));
    }
    const RowView view = {shared.first_x + first * hidden, shared.context + first * width, nullptr, {}};
    finish_layer(run, layer, view, rows, scratch);
  });
}

}  // namespace

RowBlocks::RowBlocks(std::int64_t row_count, int members) : rows(row_count) {
  const std::int64_t needed = (rows + kBlockRows - 1) / kBlockRows;
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
