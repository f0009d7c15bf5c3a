// SPDX-License-Identifier: MIT
// The part of a layer after attention when rows are few: threads share the columns of each matmul, not the rows, so that each
// reads its part of the weights instead of all of them. Steps that need whole rows (quantization, norms) share the rows. The
// same sums in the same order as rows.cc, hence the same bits.
#include <algorithm>
#include <cstring>

#include "encoder/execution.h"
#include "kernels/packed_layout.h"

namespace fastformers::encoder {
namespace {

// Panels that a tile of the kernels computes at once; a cut between tiles would leave a narrow one on each side.
constexpr std::int64_t kTilePanels = 4;

// A block that is absent (nothing reads quantized rows) stays so.
QuantizedBlock rows_from(const QuantizedBlock& block, std::int64_t row) {
  return block.q != nullptr ? block.from_row(row) : block;
}

// A step on whole rows, a few rows per task.
template <typename Step>
void for_rows(const ColumnTeam& team, std::int64_t rows, const Step& step) {
  const RowBlocks blocks(rows, rows, team.run.members);
  team.member.phase(blocks.count, [&](int block) { step(blocks.first(block), blocks.size(block)); });
}

void quantize(const ColumnTeam& team, const LinearLayer& layer, const Input& input) {
  if (!layer.is_int8() || input.quantized) return;
  for_rows(team, input.rows, [&](std::int64_t first, std::int64_t rows) {
    Input part = {input.x + first * input.x_stride, input.x_stride, rows, input.block.from_row(first), false};
    layer.prepare(team.run.kernels(), part);
  });
}

void norm(const ColumnTeam& team, const Norm& norm, const float* in, std::int64_t rows, float* out,
          const LinearLayer* reader, const QuantizedBlock& quantized) {
  const auto width = static_cast<std::int64_t>(norm.gamma.size());
  for_rows(team, rows, [&](std::int64_t first, std::int64_t count) {
    norm_rows(team.run, norm, in + first * width, count, out + first * width, reader,
              rows_from(quantized, first));
  });
}

void copy_with_bias(const ColumnTeam& team, const std::vector<float>& bias, const float* x, std::int64_t rows,
                    float* out) {
  const std::int64_t hidden = team.run.model.plan.hidden;
  for_rows(team, rows, [&](std::int64_t first, std::int64_t count) {
    add_bias(bias, x + first * hidden, count, hidden, out + first * hidden);
  });
}

void project_attention(const ColumnTeam& team, const Layer& layer, const RowView& view, std::int64_t rows,
                       float* sum) {
  const std::int64_t hidden = team.run.model.plan.hidden;
  if (!layer.output.present()) return copy_with_bias(team, layer.output_bias, view.x, rows, sum);
  const Input input = {view.context, layer.plan.attention_width(), rows, team.shared.context_q, false};
  multiply_by_columns(team, layer.output, input, {Activation::kNone, view.x, hidden, &layer.up}, sum, hidden);
}

void feed_forward(const ColumnTeam& team, const Layer& layer, const LinearLayer* next, const Input& input,
                  const float* residual, float* out) {
  const Plan& plan = team.run.model.plan;
  if (!layer.up.present()) return copy_with_bias(team, layer.down_bias, residual, input.rows, out);
  const std::int64_t columns = layer.up.columns();
  float* up = team.shared.up;
  multiply_by_columns(team, layer.up, input, {fused_in_up(plan), nullptr, 0, &layer.down}, up, columns);
  if (fused_in_up(plan) == Activation::kNone) {
    for_rows(team, input.rows, [&](std::int64_t first, std::int64_t rows) {
      activate_rows(team.run, rows, layer.plan.intermediate, up + first * columns);
    });
  }
  const Input wide = {up, columns, input.rows, team.shared.up_q, false};
  multiply_by_columns(team, layer.down, wide, {Activation::kNone, residual, plan.hidden, next}, out,
                      plan.hidden);
}

}  // namespace

ColumnTeam column_team(const Execution& run, Team::Member& member, int index) {
  return {run, member, run.workspace.rows(0), run.workspace.rows(index).gemm};
}

bool shares_columns(const Execution& run, std::int64_t rows) {
  return run.members > 1 && rows <= run.model.column_rows;
}

void multiply_by_columns(const ColumnTeam& team, const LinearLayer& layer, const Input& input,
                         const Epilogue& epilogue, float* out, std::int64_t out_stride) {
  quantize(team, layer, input);
  Input ready = input;
  ready.quantized = true;
  const std::int64_t panels = panel_count(layer.columns());
  const std::int64_t tiles = (panels + kTilePanels - 1) / kTilePanels;
  const auto tasks = static_cast<int>(std::min<std::int64_t>(tiles, team.run.members));
  team.member.phase(tasks, [&](int task) {
    const std::int64_t first = tiles * task / tasks * kTilePanels;
    const std::int64_t last = std::min(panels, tiles * (task + 1) / tasks * kTilePanels);
    const std::int64_t column = first * kPanelColumns;
    Epilogue part = epilogue;
    if (part.residual != nullptr) part.residual += column;
    layer.run(team.run.kernels(), ready, first, last, part, team.gemm_scratch, out + column, out_stride);
  });
}

void finish_layer_by_columns(const ColumnTeam& team, std::size_t index, const RowView& view,
                             std::int64_t rows, const LinearLayer* next) {
  const Execution& run = team.run;
  const RowScratch& shared = team.shared;
  const Layer& layer = run.model.layers[index];
  const LinearLayer* up = layer.up.present() ? &layer.up : nullptr;
  const Input attended = {shared.attended, run.model.plan.hidden, rows, shared.attended_q,
                          up != nullptr && up->is_int8()};
  const bool pre_norm = run.model.plan.pre_norm;
  float* sum = pre_norm ? view.x : shared.sum;
  project_attention(team, layer, view, rows, sum);
  norm(team, pre_norm ? layer.ffn_norm : layer.attention_norm, sum, rows, shared.attended, up,
       shared.attended_q);
  feed_forward(team, layer, next, attended, pre_norm ? view.x : shared.attended, sum);
  if (!pre_norm) norm(team, layer.ffn_norm, sum, rows, view.x, quantized_reader(run, index + 1), view.x_q);
  if (!pre_norm && index + 1 < run.model.layers.size()) return;
  const std::int64_t hidden = run.model.plan.hidden;
  for_rows(team, rows, [&](std::int64_t first, std::int64_t count) {
    const RowView part = {view.x + first * hidden, nullptr,
                          view.normed != nullptr ? view.normed + first * hidden : nullptr,
                          rows_from(view.x_q, first)};
    enter_layer(run, index + 1, part, count);
  });
}

}  // namespace fastformers::encoder
