// SPDX-License-Identifier: MIT
// Self-attention of a layer, one head of one chunk of sequences at a time: a thread projects the rows to that head's queries,
// keys and values, attends, and writes the head's columns of the context. Scores exist for a few query rows at a time.
//
// INT8 or float32 products: see kernel_table.h for the first; the second multiplies keys packed as float panels.
#include <algorithm>
#include <cmath>

#include "encoder/execution.h"
#include "kernels/packed_layout.h"

namespace fastformers::encoder {
namespace {

// Sequences of at least this many tokens use INT8 products by default (bench/workloads/encoder measures both).
constexpr std::int64_t kMinInt8Tokens = 16;

// One head of one sequence.
struct HeadTask {
  const Layer& layer;
  std::int64_t head;
  float* q;  // [tokens, head_size], stride between rows; keys and values follow in the same rows
  float* k;
  float* v;
  std::int64_t stride;
  std::int64_t tokens;
  std::int64_t queries;  // the first so many tokens ask
  float* out;
  std::int64_t out_stride;

  std::int64_t size() const { return layer.plan.head_size; }
  // bias[j] for key j and query 0; one further to the left for each next query.
  const float* bias(std::int64_t max_tokens) const {
    if (layer.relative_bias.empty()) return nullptr;
    return layer.relative_bias.data() + head * (2 * max_tokens - 1) + max_tokens - 1;
  }
};

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

void fill_nan(const HeadTask& task) {
  for (std::int64_t m = 0; m < task.queries; ++m) {
    std::fill_n(task.out + m * task.out_stride, task.size(), NAN);
  }
}

void attend_int8(const Execution& run, const HeadTask& task, const AttentionScratch& scratch) {
  const KernelTable& kernels = run.kernels();
  const std::int64_t size = task.size();
  const bool finite = kernels.pack_keys_s8({task.k, task.stride, task.tokens, size, scratch.key_panels,
                                            scratch.key_scales, scratch.key_offsets}) &&
                      kernels.pack_values_s8({task.v, task.stride, task.tokens, size, scratch.value_panels,
                                              scratch.value_scales});
  if (!finite) return fill_nan(task);
  AttendArgs args{};
  args.q = scratch.q;
  args.q_stride = quantized_stride(size);
  args.row_scales = scratch.q_scales;
  args.depth = args.channels = size;
  args.keys = task.tokens;
  args.key_panels = scratch.key_panels;
  args.key_scales = scratch.key_scales;
  args.key_offsets = scratch.key_offsets;
  args.value_panels = scratch.value_panels;
  args.value_scales = scratch.value_scales;
  args.bias_stride = -1;
  args.window = task.layer.plan.window;
  args.out_stride = task.out_stride;
  args.scratch = scratch.attend;
  const float* bias = task.bias(run.model.plan.max_tokens);
  const std::int64_t step = query_rows(task.tokens);
  for (std::int64_t row = 0; row < task.queries; row += step) {
    args.row_count = std::min(step, task.queries - row);
    args.first_query = row;
    args.bias = bias != nullptr ? bias - row : nullptr;
    args.out = task.out + row * task.out_stride;
    kernels.quantize_queries_u8(task.q + row * task.stride, task.stride, args.row_count, size, scratch.q,
                                args.q_stride, scratch.q_scales);
    kernels.attend_u8s8(args);
  }
}

// Adds the relative bias and hides the keys outside the window.
void adjust_scores(const HeadTask& task, const float* bias, std::int64_t first, std::int64_t rows,
                   float* scores) {
  const std::int64_t window = task.layer.plan.window;
  for (std::int64_t m = 0; m < rows; ++m, scores += task.tokens) {
    const std::int64_t position = first + m;
    for (std::int64_t j = 0; bias != nullptr && j < task.tokens; ++j) scores[j] += bias[j - position];
    if (window < 0) continue;
    std::fill(scores, scores + std::max<std::int64_t>(0, position - window), -INFINITY);
    std::fill(scores + std::min(task.tokens, position + window + 1), scores + task.tokens, -INFINITY);
  }
}

void attend_float(const Execution& run, const HeadTask& task, const AttentionScratch& scratch) {
  const KernelTable& kernels = run.kernels();
  const std::int64_t size = task.size(), tokens = task.tokens;
  kernels.pack_f32(task.k, task.stride, tokens, size, scratch.float_keys);
  GemmF32Args scores{};
  scores.a_stride = task.stride;
  scores.depth = size;
  scores.b = scratch.float_keys;
  scores.b_panel_stride = kPanelColumns * size;
  scores.b_row_stride = kPanelColumns;
  scores.columns = tokens;
  scores.out = scratch.float_scores;
  scores.out_stride = tokens;
  GemmF32Args mix{};
  mix.a = scratch.float_scores;
  mix.a_stride = tokens;
  mix.depth = tokens;
  mix.b = task.v;
  mix.b_panel_stride = kPanelColumns;
  mix.b_row_stride = task.stride;
  mix.columns = size;
  mix.out_stride = task.out_stride;
  const float* bias = task.bias(run.model.plan.max_tokens);
  const std::int64_t step = query_rows(tokens);
  for (std::int64_t row = 0; row < task.queries; row += step) {
    const std::int64_t rows = std::min(step, task.queries - row);
    scores.a = task.q + row * task.stride;
    scores.row_count = mix.row_count = rows;
    kernels.gemm_f32(scores);
    adjust_scores(task, bias, row, rows, scratch.float_scores);
    kernels.softmax_f32_rows(scratch.float_scores, tokens, rows, tokens, scratch.float_scores, tokens);
    mix.out = task.out + row * task.out_stride;
    kernels.gemm_f32(mix);
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

void attend_chunk(const Execution& run, const Layer& layer, std::int64_t head, const Chunk& chunk,
                  bool first_queries, const AttentionScratch& scratch) {
  const std::int64_t* offsets = run.batch.offsets;
  const std::int64_t first_row = offsets[chunk.first_sequence];
  const std::int64_t stride = layer.head_panels * kPanelColumns, size = layer.plan.head_size;
  const std::int64_t width = layer.plan.attention_width();
  project(run, layer, head, first_row, offsets[chunk.last_sequence] - first_row, scratch);
  for (std::int64_t s = chunk.first_sequence; s < chunk.last_sequence; ++s) {
    const std::int64_t tokens = offsets[s + 1] - offsets[s];
    float* rows = scratch.qkv + (offsets[s] - first_row) * stride;
    float* context = run.workspace.shared().context + (first_queries ? s : offsets[s]) * width;
    const HeadTask task = {layer,
                           head,
                           rows,
                           rows + size,
                           rows + 2 * size,
                           stride,
                           tokens,
                           first_queries ? 1 : tokens,
                           context + head * size,
                           width};
    if (layer.rotation != nullptr) {
      rotate_rows(*layer.rotation, task.queries, size, task.q, stride);
      rotate_rows(*layer.rotation, tokens, size, task.k, stride);
    }
    const bool int8 = run.attention == AttentionMode::kInt8 ||
                      (run.attention == AttentionMode::kAuto && tokens >= kMinInt8Tokens);
    int8 ? attend_int8(run, task, scratch) : attend_float(run, task, scratch);
  }
}

}  // namespace

void attend(const Execution& run, std::size_t index, bool first_queries, Team::Member& member,
            int member_index) {
  const Layer& layer = run.model.layers[index];
  const std::vector<Chunk>& chunks = run.workspace.chunks;
  const AttentionScratch scratch = run.workspace.attention(member_index);
  const auto chunk_count = static_cast<int>(chunks.size());
  member.phase(static_cast<int>(layer.plan.heads) * chunk_count, [&](int task) {
    attend_chunk(run, layer, task / chunk_count, chunks[static_cast<std::size_t>(task % chunk_count)],
                 first_queries, scratch);
  });
}

}  // namespace fastformers::encoder
