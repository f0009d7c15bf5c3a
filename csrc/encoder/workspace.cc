// SPDX-License-Identifier: MIT
#include "encoder/workspace.h"

#include <algorithm>

#include "kernels/packed_layout.h"

namespace fastformers::encoder {
namespace {

std::int64_t padded(std::int64_t columns) { return panel_count(columns) * kPanelColumns; }

// The largest value of member(layer plan) over the layers.
template <typename Member>
std::int64_t widest(const Model& model, const Member& member) {
  std::int64_t most = 0;
  for (const LayerPlan& layer : model.plan.layers) most = std::max(most, member(layer));
  return most;
}

SharedBuffers lay_out_shared(Arena& arena, const Model& model, const Extent& extent) {
  const std::int64_t hidden = model.plan.hidden;
  SharedBuffers made{};
  made.x = arena.take<float>(extent.tokens * hidden);
  if (model.plan.pre_norm) made.normed = arena.take<float>(extent.tokens * hidden);
  made.x_q = arena.take_quantized(extent.tokens, hidden);
  const std::int64_t width = widest(model, [](const LayerPlan& layer) { return layer.attention_width(); });
  made.context = arena.take<float>(extent.tokens * std::max<std::int64_t>(1, width));
  if (!model.only_first_rows) return made;
  made.first_x = arena.take<float>(extent.sequences * hidden);
  if (!model.first_token.present) return made;
  const std::int64_t heads = model.plan.layers.back().heads;
  made.first_in = arena.take<float>(extent.sequences * hidden);
  made.first_q = arena.take_quantized(extent.sequences, hidden);
  made.first_query = arena.take<float>(extent.sequences * model.plan.layers.back().attention_width());
  made.key_query = arena.take<float>(extent.sequences * heads * hidden);
  made.key_panels = arena.take<float>(extent.sequences * padded(heads) * hidden);
  made.scores = arena.take<float>(extent.tokens * heads);
  made.probabilities = arena.take<float>(extent.tokens * heads);
  made.mixed = arena.take<float>(extent.sequences * heads * hidden);
  return made;
}

AttentionScratch lay_out_attention(Arena& arena, const Model& model, const Extent& extent) {
  const KernelTable& kernels = *model.kernels.table;
  const std::int64_t size = widest(model, [](const LayerPlan& layer) { return layer.head_size; });
  AttentionScratch made{};
  made.qkv = arena.take<float>(extent.chunk_rows * padded(3 * size));
  made.head = take_head_scratch(arena, kernels, size, extent.longest);
  made.gemm = arena.take<unsigned char>(kernels.gemm_scratch_bytes(model.block_rows, model.plan.hidden));
  return made;
}

RowScratch lay_out_rows(Arena& arena, const Model& model) {
  const Plan& plan = model.plan;
  const std::int64_t ffn = widest(model, [](const LayerPlan& layer) { return layer.intermediate; });
  const std::int64_t width = widest(model, [](const LayerPlan& layer) { return layer.attention_width(); });
  std::int64_t head = plan.hidden;
  for (const Output& output : model.outputs) {
    for (const HeadStepWeights& step : output.steps) head = std::max(head, step.plan.features);
  }
  RowScratch made{};
  made.context_q = arena.take_quantized(model.block_rows, width);
  made.sum = arena.take<float>(model.block_rows * plan.hidden);
  // The last layer of first tokens puts one head's values here.
  made.attended = arena.take<float>(model.block_rows * std::max(plan.hidden, model.first_token.value_width));
  made.attended_q = arena.take_quantized(model.block_rows, plan.hidden);
  made.up = arena.take<float>(model.block_rows * ffn * (plan.gated ? 2 : 1));
  made.up_q = arena.take_quantized(model.block_rows, ffn);
  made.embedding = arena.take<float>(model.block_rows * plan.embedding);
  made.embedding_q = arena.take_quantized(model.block_rows, plan.embedding);
  made.head[0] = arena.take<float>(model.block_rows * head);
  made.head[1] = arena.take<float>(model.block_rows * head);
  made.head_q = arena.take_quantized(model.block_rows, head);
  const std::int64_t deepest = std::max({plan.hidden, width, ffn, plan.embedding, head});
  made.gemm = arena.take<unsigned char>(model.kernels.table->gemm_scratch_bytes(model.block_rows, deepest));
  return made;
}

}  // namespace

QuantizedBlock Arena::take_quantized(std::int64_t rows, std::int64_t depth) {
  QuantizedBlock made;
  made.stride = quantized_stride(std::max<std::int64_t>(1, depth));
  made.q = take<std::uint8_t>(rows * made.stride);
  made.scales = take<float>(rows);
  made.inverse_scales = take<float>(rows);
  made.zero_points = take<std::int32_t>(rows);
  made.low = take<float>(rows);
  made.high = take<float>(rows);
  return made;
}

void Workspace::reserve(const Model& model, const Extent& extent) {
  Arena counted(nullptr), attention(nullptr), rows(nullptr);
  lay_out_shared(counted, model, extent);
  lay_out_attention(attention, model, extent);
  lay_out_rows(rows, model);
  const std::int64_t shared_bytes = counted.used(), member_bytes = std::max(attention.used(), rows.used());
  const std::int64_t bytes = shared_bytes + extent.members * member_bytes;
  auto* memory = static_cast<unsigned char*>(memory_.reserve(static_cast<std::size_t>(bytes)));
  Arena arena(memory);
  shared_ = lay_out_shared(arena, model, extent);
  attention_.clear();
  rows_.clear();
  for (int member = 0; member < extent.members; ++member) {
    arena.rewind(shared_bytes + member * member_bytes);
    attention_.push_back(lay_out_attention(arena, model, extent));
    arena.rewind(shared_bytes + member * member_bytes);
    rows_.push_back(lay_out_rows(arena, model));
  }
}

}  // namespace fastformers::encoder
