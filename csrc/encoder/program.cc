// SPDX-License-Identifier: MIT
// The order of steps of a forward call, as every thread walks it.
#include <algorithm>

#include "encoder/execution.h"

namespace fastformers::encoder {
namespace {

// The first matrix that is read after a block of rows: this layer's again, or the next one's.
const LinearLayer* layer_after(const Execution& run, std::size_t layer, bool more_blocks) {
  if (more_blocks) return &run.model.layers[layer].output;
  return run.is_last(layer) ? nullptr : &run.model.layers[layer + 1].qkv;
}

// Output projection, FFN and norms of all tokens.
void finish_all_rows(const Execution& run, std::size_t layer, Team::Member& member, int index) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden;
  const std::int64_t width = run.model.layers[layer].plan.attention_width();
  share_rows(run, member, index, run.batch.tokens(),
             [&](const RowTeam& team, std::int64_t row, std::int64_t rows, bool more) {
               const RowView view = {shared.x + row * hidden, shared.context + row * width,
                                     shared.normed != nullptr ? shared.normed + row * hidden : nullptr,
                                     shared.x_q.from_row(row)};
               finish_layer(team, layer, view, rows, layer_after(run, layer, more));
             });
}

// The same for the first token of each sequence, whose rows are gathered; nothing else is read after this layer.
void finish_first_rows(const Execution& run, std::size_t layer, Team::Member& member, int index) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden;
  const std::int64_t width = run.model.layers[layer].plan.attention_width();
  share_rows(run, member, index, run.batch.sequences,
             [&](const RowTeam& team, std::int64_t first, std::int64_t rows, bool) {
               float* x = shared.first_x + first * hidden;
               for_rows(team, rows, [&](std::int64_t row, std::int64_t count) {
                 gather_first_rows(run, shared.x, first + row, count, x + row * hidden);
               });
               finish_layer(team, layer, {x, shared.context + first * width, nullptr, {}}, rows, nullptr);
             });
}

}  // namespace

RowBlocks::RowBlocks(std::int64_t row_count, std::int64_t most, int members) : rows(row_count) {
  const std::int64_t needed = (rows + most - 1) / most;
  count = static_cast<int>(std::min<std::int64_t>(rows, (needed + members - 1) / members * members));
}

void run_program(const Execution& run, Team::Member& member, int index) {
  StopWatch* watch = run.watch(index);
  const std::size_t outside = run.model.layers.size();
  if (watch != nullptr) watch->start();
  embed(run, member, index);
  note(watch, outside, Operation::kEmbedding);
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
  note(watch, outside, Operation::kHeads);
}

}  // namespace fastformers::encoder
