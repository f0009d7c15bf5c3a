// SPDX-License-Identifier: MIT
// The part of a layer that works row by row: output projection, FFN, residuals and norms of a block of rows, which stay in
// cache from one step to the next. Norms write the quantized rows that the next matmul reads.
#include <algorithm>
#include <cstring>

#include "encoder/execution.h"

namespace fastformers::encoder {
namespace {

// Rows whose floats are still in L1 when they are quantized.
constexpr std::int64_t kNormRows = 8;

// A block that is absent (nothing reads quantized rows) stays so.
QuantizedBlock rows_from(const QuantizedBlock& block, std::int64_t row) {
  return block.q != nullptr ? block.from_row(row) : block;
}

// out = x + bias, [rows, hidden]: what is left of a part that was pruned away.
void add_bias(const RowTeam& team, const std::vector<float>& bias, const float* x, std::int64_t rows,
              float* out) {
  const std::int64_t hidden = team.run.model.plan.hidden;
  for_rows(team, rows, [&](std::int64_t first, std::int64_t count) {
    for (std::int64_t m = first; m < first + count; ++m) {
      for (std::int64_t i = 0; i < hidden; ++i) {
        out[m * hidden + i] =
            bias.empty() ? x[m * hidden + i] : x[m * hidden + i] + bias[static_cast<std::size_t>(i)];
      }
    }
  });
}

// The activation of an FFN that its first matmul can do; kNone when `activate` has to follow.
Activation fused_in_up(const Plan& plan) {
  return plan.gated ? Activation::kNone : fused_activation(plan.function);
}

// up = function(up), or in a gated FFN up = function(a) * b in the places of a.
void activate(const Execution& run, std::int64_t rows, std::int64_t ffn, float* up) {
  if (!run.model.plan.gated) return apply_function(run.kernels(), run.model.plan.function, up, rows * ffn);
  for (std::int64_t m = 0; m < rows; ++m) {
    float* a = up + m * 2 * ffn;
    const float* b = a + ffn;
    apply_function(run.kernels(), run.model.plan.function, a, ffn);
    for (std::int64_t i = 0; i < ffn; ++i) a[i] *= b[i];
  }
}

void share_norm(const RowTeam& team, const Norm& norm, const float* in, std::int64_t rows, float* out,
                const LinearLayer* reader, const QuantizedBlock& quantized) {
  const auto width = static_cast<std::int64_t>(norm.gamma.size());
  for_rows(team, rows, [&](std::int64_t first, std::int64_t count) {
    norm_rows(team.run, norm, in + first * width, count, out + first * width, reader,
              rows_from(quantized, first));
  });
}

// sum = x + attention's output projection.
void project_attention(const RowTeam& team, const Layer& layer, const RowView& view, std::int64_t rows,
                       float* sum) {
  const std::int64_t hidden = team.run.model.plan.hidden;
  if (!layer.output.present()) return add_bias(team, layer.output_bias, view.x, rows, sum);
  const Input input = {view.context, layer.plan.attention_width(), rows, team.scratch.context_q, false};
  multiply(team, layer.output, input, {Activation::kNone, view.x, hidden, &layer.up}, sum, hidden);
}

// out = residual + ffn(input), [rows, hidden].
void feed_forward(const RowTeam& team, std::size_t index, const LinearLayer* next, const Input& input,
                  const float* residual, float* out) {
  const Layer& layer = team.run.model.layers[index];
  const Plan& plan = team.run.model.plan;
  if (!layer.up.present()) {
    add_bias(team, layer.down_bias, residual, input.rows, out);
    return note(team.watch, index, Operation::kDown);
  }
  const std::int64_t columns = layer.up.columns();
  float* up = team.scratch.up;
  multiply(team, layer.up, input, {fused_in_up(plan), nullptr, 0, &layer.down}, up, columns);
  if (fused_in_up(plan) == Activation::kNone) {
    for_rows(team, input.rows, [&](std::int64_t first, std::int64_t rows) {
      activate(team.run, rows, layer.plan.intermediate, up + first * columns);
    });
  }
  note(team.watch, index, Operation::kUp);
  const Input wide = {up, columns, input.rows, team.scratch.up_q, false};
  multiply(team, layer.down, wide, {Activation::kNone, residual, plan.hidden, next}, out, plan.hidden);
  note(team.watch, index, Operation::kDown);
}

}  // namespace

void norm_rows(const Execution& run, const Norm& norm, const float* in, std::int64_t rows, float* out,
               const LinearLayer* reader, const QuantizedBlock& quantized) {
  const KernelTable& kernels = run.kernels();
  const auto width = static_cast<std::int64_t>(norm.gamma.size());
  const bool quantize = reader != nullptr && reader->is_int8();
  LayerNormArgs args{};
  args.x_stride = args.out_stride = args.depth = width;
  args.gamma = norm.gamma.data();
  args.beta = norm.beta.data();
  args.epsilon = run.model.plan.norm_epsilon;
  args.factors = quantize ? reader->factors() : nullptr;
  for (std::int64_t row = 0; row < rows; row += kNormRows) {
    const QuantizedBlock block = quantize ? quantized.from_row(row) : QuantizedBlock{};
    args.x = in + row * width;
    args.out = out + row * width;
    args.row_count = std::min(kNormRows, rows - row);
    args.low = block.low;
    args.high = block.high;
    kernels.layer_norm_f32_rows(args);
    if (!quantize) continue;
    params_from_ranges(block.low, block.high, args.row_count,
                       {block.scales, block.inverse_scales, block.zero_points});
    kernels.quantize_f32_u8_rows({args.out, width, args.row_count, width, args.factors}, block.inverse_scales,
                                 block.zero_points, block.q, block.stride);
  }
}

const LinearLayer* quantized_reader(const Execution& run, std::size_t next) {
  if (next >= run.model.layers.size()) return nullptr;
  // The last layer of first tokens reads floats.
  if (run.is_last(next) && run.model.first_token.present) return nullptr;
  const LinearLayer& qkv = run.model.layers[next].qkv;
  return qkv.present() && qkv.is_int8() ? &qkv : nullptr;
}

void enter_layer(const Execution& run, std::size_t next, const RowView& view, std::int64_t rows) {
  const Model& model = run.model;
  const std::int64_t hidden = model.plan.hidden;
  if (next >= model.layers.size()) {
    if (model.final_norm.present()) norm_rows(run, model.final_norm, view.x, rows, view.x, nullptr, {});
    return;
  }
  const LinearLayer* reader = quantized_reader(run, next);
  const float* read = view.x;
  if (model.plan.pre_norm) {
    read = view.normed;
    if (model.layers[next].attention_norm.present()) {
      norm_rows(run, model.layers[next].attention_norm, view.x, rows, view.normed, reader, view.x_q);
      return;
    }
    std::memcpy(view.normed, view.x, static_cast<std::size_t>(rows * hidden) * sizeof(float));
  }
  if (reader == nullptr) return;
  Input input = {read, hidden, rows, view.x_q, false};
  reader->prepare(run.kernels(), input);
}

void finish_layer(const RowTeam& team, std::size_t index, const RowView& view, std::int64_t rows,
                  const LinearLayer* next) {
  const Execution& run = team.run;
  const Layer& layer = run.model.layers[index];
  const bool pre_norm = run.model.plan.pre_norm, last = run.is_last(index);
  const std::int64_t hidden = run.model.plan.hidden;
  const LinearLayer* up = layer.up.present() ? &layer.up : nullptr;
  const Input attended = {team.scratch.attended, hidden, rows, team.scratch.attended_q,
                          up != nullptr && up->is_int8()};
  float* sum = pre_norm ? view.x : team.scratch.sum;
  project_attention(team, layer, view, rows, sum);
  note(team.watch, index, Operation::kOutput);
  share_norm(team, pre_norm ? layer.ffn_norm : layer.attention_norm, sum, rows, team.scratch.attended, up,
             team.scratch.attended_q);
  note(team.watch, index, Operation::kNorms);
  feed_forward(team, index, next, attended, pre_norm ? view.x : team.scratch.attended, sum);
  if (!pre_norm) {
    share_norm(team, layer.ffn_norm, sum, rows, view.x, quantized_reader(run, index + 1), view.x_q);
    note(team.watch, index, Operation::kNorms);
  }
  if (!pre_norm && !last) return;
  for_rows(team, rows, [&](std::int64_t first, std::int64_t count) {
    const RowView part = {view.x + first * hidden, nullptr,
                          view.normed != nullptr ? view.normed + first * hidden : nullptr,
                          rows_from(view.x_q, first)};
    enter_layer(run, index + 1, part, count);
  });
  note(team.watch, index, Operation::kNorms);
}

}  // namespace fastformers::encoder
