// SPDX-License-Identifier: MIT
// Self-attention of a layer, one head of one chunk of sequences at a time: a thread projects the rows to that head's queries,
// keys and values, attends (ops/head_attention.h), and writes the head's columns of the context.
#include <algorithm>

#include "encoder/execution.h"
#include "kernels/packed_layout.h"

namespace fastformers::encoder {
namespace {

// bias[j] for key j and query 0 of a head; null without.
const float* bias_of(const Layer& layer, std::int64_t head, std::int64_t max_tokens) {
  if (layer.relative_bias.empty()) return nullptr;
  return layer.relative_bias.data() + head * (2 * max_tokens - 1) + max_tokens - 1;
}

void rotate_rows(const Rotation& rotation, std::int64_t rows, std::int64_t size, float* x,
                 std::int64_t stride) {
  const std::int64_t half = size / 2;
  for (std::int64_t m = 0; m < rows; ++m, x += stride) {
    const float* cosine = rotation.cosines.data() + m * half;
    const float* sine = rotation.sines.data() + m * half;
    for (std::int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = a * cosine[i] - b * sine[i];
      x[i + half] = b * cosine[i] + a * sine[i];
    }
  }
}

// The head's columns of qkv for all rows of a chunk.
void project(const Execution& run, const Layer& layer, std::int64_t head, std::int64_t first_row,
             std::int64_t rows, const AttentionScratch& scratch) {
  const SharedBuffers& shared = run.workspace.shared();
  const std::int64_t hidden = run.model.plan.hidden, columns = layer.head_panels * kPanelColumns;
  const float* read = shared.normed != nullptr ? shared.normed : shared.x;
  for (std::int64_t row = 0; row < rows; row += run.model.block_rows) {
    const std::int64_t now = first_row + row;
    const Input input = {read + now * hidden, hidden, std::min(run.model.block_rows, rows - row),
                         shared.x_q.from_row(now), true};
    layer.qkv.run(run.kernels(), input, head * layer.head_panels, (head + 1) * layer.head_panels,
                  {Activation::kNone, nullptr, 0, &layer.output}, scratch.gemm, scratch.qkv + row * columns,
                  columns);
  }
}

void attend_chunk(const Execution& run, std::size_t index, std::int64_t head, const Chunk& chunk,
                  bool first_queries, const AttentionScratch& scratch, StopWatch* watch) {
  const Layer& layer = run.model.layers[index];
  const std::int64_t* offsets = run.batch.offsets;
  const std::int64_t first_row = offsets[chunk.first_sequence];
  const std::int64_t stride = layer.head_panels * kPanelColumns, size = layer.plan.head_size;
  const std::int64_t width = layer.plan.attention_width();
  project(run, layer, head, first_row, offsets[chunk.last_sequence] - first_row, scratch);
  note(watch, index, Operation::kQkv);
  for (std::int64_t s = chunk.first_sequence; s < chunk.last_sequence; ++s) {
    const std::int64_t tokens = offsets[s + 1] - offsets[s];
    float* rows = scratch.qkv + (offsets[s] - first_row) * stride;
    float* context = run.workspace.shared().context + (first_queries ? s : offsets[s]) * width;
    const HeadTask task = {rows,
                           stride,
                           rows + size,
                           rows + 2 * size,
                           stride,
                           tokens,
                           first_queries ? 1 : tokens,
                           size,
                           bias_of(layer, head, run.model.plan.max_tokens),
                           layer.plan.window,
                           context + head * size,
                           width};
    if (layer.rotation != nullptr) {
      rotate_rows(*layer.rotation, task.queries, size, rows, stride);
      rotate_rows(*layer.rotation, tokens, size, rows + size, stride);
    }
    attend_head(run.kernels(), task, run.attention, scratch.head);
  }
  note(watch, index, Operation::kAttention);
}

}  // namespace

void attend(const Execution& run, std::size_t index, bool first_queries, Team::Member& member,
            int member_index) {
  const Layer& layer = run.model.layers[index];
  const std::vector<Chunk>& chunks = run.workspace.chunks;
  const AttentionScratch scratch = run.workspace.attention(member_index);
  StopWatch* watch = run.watch(member_index);
  const auto chunk_count = static_cast<int>(chunks.size());
  member.phase(static_cast<int>(layer.plan.heads) * chunk_count, [&](int task) {
    attend_chunk(run, index, task / chunk_count, chunks[static_cast<std::size_t>(task % chunk_count)],
                 first_queries, scratch, watch);
  });
}

}  // namespace fastformers::encoder
