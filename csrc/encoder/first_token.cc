// SPDX-License-Identifier: MIT
// The last layer's attention when only first tokens are read: model.h (FirstTokenAttention) has the algebra.
#include <algorithm>
#include <cstring>

#include "encoder/execution.h"
#include "kernels/packed_layout.h"

namespace fastformers::encoder {
namespace {

// What the layer's attention reads, as floats.
const float* read_rows(const Execution& run) {
  const SharedBuffers& shared = run.workspace.shared();
  return shared.normed != nullptr ? shared.normed : shared.x;
}

// first_query = W_q x_0.
void project_queries(const RowTeam& team, std::int64_t first, std::int64_t rows) {
  const SharedBuffers& shared = team.run.workspace.shared();
  const std::int64_t hidden = team.run.model.plan.hidden;
  const std::int64_t width = team.run.model.layers.back().plan.attention_width();
  const Input input = {shared.first_in + first * hidden, hidden, rows, shared.first_q.from_row(first), false};
  multiply(team, team.run.model.first_token.query, input, {}, shared.first_query + first * width, width);
}

// key_query = W_k^T q of one head.
void project_keys(const Execution& run, std::int64_t head, std::int64_t first, std::int64_t rows) {
  const LayerPlan& layer = run.model.layers.back().plan;
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden;
  GemmF32Args args{};
  args.a_stride = layer.attention_width();
  args.row_count = rows;
  args.depth = layer.head_size;
  args.b_panel_stride = kPanelColumns;
  args.b_row_stride = args.columns = hidden;
  args.out_stride = layer.heads * hidden;
  args.a = shared.first_query + first * layer.attention_width() + head * layer.head_size;
  args.b = run.model.first_token.key.data() + head * layer.head_size * hidden;
  args.out = shared.key_query + (first * layer.heads + head) * hidden;
  run.kernels().gemm_f32(args);
}

// The panels that scores of a sequence are computed with.
void pack_keys(const Execution& run, std::int64_t s) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden, heads = run.model.layers.back().plan.heads;
  run.kernels().pack_f32(shared.key_query + s * heads * hidden, hidden, heads, hidden,
                         shared.key_panels + s * panel_count(heads) * kPanelColumns * hidden);
}

// scores[j, head] = x_j . key_query[head].
void score(const Execution& run, std::int64_t s, std::int64_t first, std::int64_t rows) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden, heads = run.model.layers.back().plan.heads;
  const std::int64_t row = run.batch.offsets[s] + first;
  GemmF32Args args{};
  args.a = read_rows(run) + row * hidden;
  args.a_stride = args.depth = hidden;
  args.row_count = rows;
  args.b = shared.key_panels + s * panel_count(heads) * kPanelColumns * hidden;
  args.b_panel_stride = kPanelColumns * hidden;
  args.b_row_stride = kPanelColumns;
  args.columns = args.out_stride = heads;
  args.out = shared.scores + row * heads;
  run.kernels().gemm_f32(args);
}

// probabilities[head, j] of one sequence, from scores[j, head] and the relative bias.
void weigh(const Execution& run, std::int64_t s) {
  const Layer& layer = run.model.layers.back();
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t heads = layer.plan.heads, first = run.batch.offsets[s];
  const std::int64_t tokens = run.batch.offsets[s + 1] - first, reach = 2 * run.model.plan.max_tokens - 1;
  const float* scores = shared.scores + first * heads;
  float* probabilities = shared.probabilities + first * heads;
  for (std::int64_t head = 0; head < heads; ++head) {
    float* row = probabilities + head * tokens;
    for (std::int64_t j = 0; j < tokens; ++j) row[j] = scores[j * heads + head];
    if (layer.relative_bias.empty()) continue;
    const float* bias = layer.relative_bias.data() + head * reach + run.model.plan.max_tokens - 1;
    for (std::int64_t j = 0; j < tokens; ++j) row[j] += bias[j];
  }
  run.kernels().softmax_f32_rows(probabilities, tokens, heads, tokens, probabilities, tokens);
}

// mixed[head] = sum_j probabilities[head, j] x_j, for some of the columns.
void mix(const Execution& run, std::int64_t s, std::int64_t first_panel, std::int64_t last_panel) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden, heads = run.model.layers.back().plan.heads;
  const std::int64_t first = run.batch.offsets[s], tokens = run.batch.offsets[s + 1] - first;
  const std::int64_t column = first_panel * kPanelColumns;
  GemmF32Args args{};
  args.a = shared.probabilities + first * heads;
  args.a_stride = args.depth = tokens;
  args.row_count = heads;
  args.b = read_rows(run) + first * hidden + column;
  args.b_panel_stride = kPanelColumns;
  args.b_row_stride = hidden;
  args.columns = std::min(hidden, last_panel * kPanelColumns) - column;
  args.out = shared.mixed + s * heads * hidden + column;
  args.out_stride = hidden;
  run.kernels().gemm_f32(args);
}

// context[head] = W_v mixed[head] + b_v for a block of sequences.
void project_values(const Execution& run, std::int64_t head, std::int64_t first, std::int64_t rows,
                    const RowScratch& scratch) {
  const LayerPlan& layer = run.model.layers.back().plan;
  const FirstTokenAttention& weights = run.model.first_token;
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden, size = layer.head_size, width = layer.attention_width();
  const std::int64_t panels = weights.value_width / kPanelColumns;
  Input input = {shared.mixed + (first * layer.heads + head) * hidden, layer.heads * hidden, rows,
                 scratch.attended_q, false};
  weights.value.prepare(run.kernels(), input);
  float* padded = scratch.attended;
  weights.value.run(run.kernels(), input, head * panels, (head + 1) * panels, {}, scratch.gemm, padded,
                    weights.value_width);
  for (std::int64_t s = 0; s < rows; ++s) {
    std::memcpy(shared.context + (first + s) * width + head * size, padded + s * weights.value_width,
                static_cast<std::size_t>(size) * sizeof(float));
  }
}

}  // namespace

void gather_first_rows(const Execution& run, const float* from, std::int64_t first, std::int64_t rows,
                       float* to) {
  const std::int64_t hidden = run.model.plan.hidden;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::memcpy(to + row * hidden, from + run.batch.offsets[first + row] * hidden,
                static_cast<std::size_t>(hidden) * sizeof(float));
  }
}

// Threads share heads and columns: most calls hold few sequences, and the weights are what there is to read.
void attend_first_tokens(const Execution& run, Team::Member& member, int index) {
  const RowTeam team = whole_team(run, member, index);
  const std::int64_t sequences = run.batch.sequences;
  const auto tasks = static_cast<int>(sequences);
  const std::size_t layer = run.model.layers.size() - 1;
  const auto heads = static_cast<int>(run.model.layers.back().plan.heads);
  const RowBlocks blocks(sequences, run.model.block_rows, 1);
  member.phase(blocks.count, [&](int block) {
    const std::int64_t first = blocks.first(block);
    gather_first_rows(run, read_rows(run), first, blocks.size(block),
                      run.workspace.shared().first_in + first * run.model.plan.hidden);
  });
  for (int block = 0; block < blocks.count; ++block) {
    project_queries(team, blocks.first(block), blocks.size(block));
  }
  member.phase(blocks.count * heads, [&](int task) {
    const int block = task / heads;
    project_keys(run, task % heads, blocks.first(block), blocks.size(block));
  });
  note(team.watch, layer, Operation::kQkv);
  member.phase(tasks, [&](int s) { pack_keys(run, s); });
  // Halves, so that two threads share a single sequence.
  member.phase(2 * tasks, [&](int task) {
    const std::int64_t s = task / 2, tokens = run.batch.offsets[s + 1] - run.batch.offsets[s];
    const std::int64_t first = task % 2 == 0 ? 0 : tokens / 2, last = task % 2 == 0 ? tokens / 2 : tokens;
    if (first < last) score(run, s, first, last - first);
  });
  member.phase(tasks, [&](int s) { weigh(run, s); });
  const std::int64_t panels = panel_count(run.model.plan.hidden);
  member.phase(2 * tasks, [&](int task) {
    const std::int64_t first = task % 2 == 0 ? 0 : panels / 2, last = task % 2 == 0 ? panels / 2 : panels;
    if (first < last) mix(run, task / 2, first, last);
  });
  note(team.watch, layer, Operation::kAttention);
  member.phase(blocks.count * heads, [&](int task) {
    const int block = task / heads;
    project_values(run, task % heads, blocks.first(block), blocks.size(block), run.workspace.rows(index));
  });
  note(team.watch, layer, Operation::kQkv);
}

}  // namespace fastformers::encoder
