// SPDX-License-Identifier: MIT
// Token ids to the residual stream: the sum of the tables' rows, its norm, and where the tables are narrower than the model
// a projection.
#include "encoder/execution.h"

namespace fastformers::encoder {
namespace {

void word_row(const Embeddings& tables, std::int64_t id, std::int64_t width, float* out) {
  if (!tables.word_s8.empty()) {
    const std::int8_t* row = tables.word_s8.data() + id * width;
    const float scale = tables.word_scales[static_cast<std::size_t>(id)];
    for (std::int64_t i = 0; i < width; ++i) out[i] = static_cast<float>(row[i]) * scale;
    return;
  }
  const float* row = tables.word.data() + id * width;
  for (std::int64_t i = 0; i < width; ++i) out[i] = row[i];
}

void add_row(const std::vector<float>& table, std::int64_t row, std::int64_t width, float* out) {
  if (table.empty()) return;
  const float* values = table.data() + row * width;
  for (std::int64_t i = 0; i < width; ++i) out[i] += values[i];
}

void sum_rows(const Execution& run, std::int64_t first, std::int64_t rows, float* out) {
  const Plan& plan = run.model.plan;
  const Embeddings& tables = run.model.embeddings;
  for (std::int64_t t = first; t < first + rows; ++t, out += plan.embedding) {
    word_row(tables, run.batch.ids[t], plan.embedding, out);
    add_row(tables.type, run.batch.types != nullptr ? run.batch.types[t] : 0, plan.embedding, out);
    const std::int64_t position = run.workspace.positions[static_cast<std::size_t>(t)];
    add_row(tables.position, plan.position_offset + position, plan.embedding, out);
  }
}

}  // namespace

void embed(const Execution& run, Team::Member& member, int index) {
  const Plan& plan = run.model.plan;
  const Embeddings& tables = run.model.embeddings;
  const SharedBuffers& shared = run.workspace.shared();
  const RowScratch scratch = run.workspace.rows(index);
  const RowBlocks blocks(run.batch.tokens(), run.model.block_rows, run.members);
  member.phase(blocks.count, [&](int block) {
    const std::int64_t row = blocks.first(block), rows = blocks.size(block);
    float* x = shared.x + row * plan.hidden;
    float* narrow = tables.projection.present() ? scratch.embedding : x;
    sum_rows(run, row, rows, narrow);
    const RowView view = {x, nullptr, shared.normed != nullptr ? shared.normed + row * plan.hidden : nullptr,
                          shared.x_q.from_row(row)};
    // The norm of a plain post-norm model can quantize its rows for the first layer in the same pass.
    const LinearLayer* reader = quantized_reader(run, 0);
    const bool direct = tables.norm.present() && !tables.projection.present() && !plan.pre_norm;
    if (tables.norm.present()) {
      norm_rows(run, tables.norm, narrow, rows, narrow, direct ? reader : nullptr, view.x_q);
    }
    if (direct && !run.model.layers.empty()) return;
    if (tables.projection.present()) {
      Input input = {narrow, plan.embedding, rows, scratch.embedding_q, false};
      tables.projection.prepare(run.kernels(), input);
      tables.projection.run(run.kernels(), input, {}, scratch.gemm, x, plan.hidden);
    }
    enter_layer(run, 0, view, rows);
  });
}

}  // namespace fastformers::encoder
