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

// sum = x + attention's output projection.
void project_attention(const Execution& run, const Layer& layer, const RowView& view, std::int64_t rows,
                       const RowScratch& scratch, float* sum) {
  const std::int64_t hidden = run.model.plan.hidden;
  if (!layer.output.present()) {
    add_bias(layer.output_bias, view.x, rows, hidden, sum);
    return;
  }
  Input input = {view.context, layer.plan.attention_width(), rows, scratch.context_q, false};
  layer.output.prepare(run.kernels(), input);
  layer.output.run(run.kernels(), input, {Activation::kNone, view.x, hidden, &layer.up}, scratch.gemm, sum,
                   hidden);
}

// out = residual + ffn(input), [rows, hidden].
void feed_forward(const Execution& run, const Layer& layer, const LinearLayer* next, Input input,
                  const float* residual, const RowScratch& scratch, float* out) {
  const Plan& plan = run.model.plan;
  const KernelTable& kernels = run.kernels();
  if (!layer.up.present()) {
    add_bias(layer.down_bias, residual, input.rows, plan.hidden, out);
    return;
  }
  const std::int64_t columns = layer.up.columns();
  layer.up.prepare(kernels, input);
  layer.up.run(kernels, input, {fused_in_up(plan), nullptr, 0, &layer.down}, scratch.gemm, scratch.up,
               columns);
  if (fused_in_up(plan) == Activation::kNone)
    activate_rows(run, input.rows, layer.plan.intermediate, scratch.up);
  Input wide = {scratch.up, columns, input.rows, scratch.up_q, false};
  layer.down.prepare(kernels, wide);
  layer.down.run(kernels, wide, {Activation::kNone, residual, plan.hidden, next}, scratch.gemm, out,
                 plan.hidden);
}

}  // namespace

void add_bias(const std::vector<float>& bias, const float* x, std::int64_t rows, std::int64_t width,
              float* out) {
  for (std::int64_t m = 0; m < rows; ++m) {
    for (std::int64_t i = 0; i < width; ++i) {
      out[m * width + i] =
          bias.empty() ? x[m * width + i] : x[m * width + i] + bias[static_cast<std::size_t>(i)];
    }
  }
}

Activation fused_in_up(const Plan& plan) {
  return plan.gated ? Activation::kNone : fused_activation(plan.function);
}

void activate_rows(const Execution& run, std::int64_t rows, std::int64_t ffn, float* up) {
  if (!run.model.plan.gated) return apply_function(run.kernels(), run.model.plan.function, up, rows * ffn);
  for (std::int64_t m = 0; m < rows; ++m) {
    float* a = up + m * 2 * ffn;
    const float* b = a + ffn;
    apply_function(run.kernels(), run.model.plan.function, a, ffn);
    for (std::int64_t i = 0; i < ffn; ++i) a[i] *= b[i];
  }
}

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

void finish_layer(const Execution& run, std::size_t index, const RowView& view, std::int64_t rows,
                  const LinearLayer* next, const RowScratch& scratch) {
  const Plan& plan = run.model.plan;
  const Layer& layer = run.model.layers[index];
  const LinearLayer* up = layer.up.present() ? &layer.up : nullptr;
  Input attended = {scratch.attended, plan.hidden, rows, scratch.attended_q, up != nullptr && up->is_int8()};
  if (plan.pre_norm) {
    project_attention(run, layer, view, rows, scratch, view.x);
    norm_rows(run, layer.ffn_norm, view.x, rows, scratch.attended, up, scratch.attended_q);
    feed_forward(run, layer, next, attended, view.x, scratch, view.x);
    enter_layer(run, index + 1, view, rows);
    return;
  }
  project_attention(run, layer, view, rows, scratch, scratch.sum);
  norm_rows(run, layer.attention_norm, scratch.sum, rows, scratch.attended, up, scratch.attended_q);
  feed_forward(run, layer, next, attended, scratch.attended, scratch, scratch.sum);
  norm_rows(run, layer.ffn_norm, scratch.sum, rows, view.x, quantized_reader(run, index + 1), view.x_q);
  if (index + 1 >= run.model.layers.size()) enter_layer(run, index + 1, view, rows);
}

}  // namespace fastformers::encoder
