// SPDX-License-Identifier: MIT
// Heads: from the residual stream's rows to what the caller asked for.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "encoder/execution.h"

namespace fastformers::encoder {
namespace {

void mean_row(const Execution& run, std::int64_t s, float* out) {
  const std::int64_t hidden = run.model.plan.hidden;
  const std::int64_t first = run.batch.offsets[s], last = run.batch.offsets[s + 1];
  std::fill_n(out, hidden, 0.0f);
  for (std::int64_t t = first; t < last; ++t) {
    const float* row = run.workspace.shared().x + t * hidden;
    for (std::int64_t i = 0; i < hidden; ++i) out[i] += row[i];
  }
  const float inverse = 1.0f / static_cast<float>(last - first);
  for (std::int64_t i = 0; i < hidden; ++i) out[i] *= inverse;
}

// Row `row` of an output, before its steps.
void read_row(const Execution& run, Rows rows, std::int64_t row, float* out) {
  const std::int64_t hidden = run.model.plan.hidden;
  const SharedBuffers& shared = run.workspace.shared();
  if (rows == Rows::kMean) return mean_row(run, row, out);
  const float* source = shared.x + row * hidden;
  if (rows == Rows::kFirst) {
    const bool gathered = run.model.only_first_rows && !run.model.layers.empty();
    source = gathered ? shared.first_x + row * hidden : shared.x + run.batch.offsets[row] * hidden;
  }
  std::memcpy(out, source, static_cast<std::size_t>(hidden) * sizeof(float));
}

void normalize(float* row, std::int64_t width) {
  float sums[8] = {};
  for (std::int64_t i = 0; i < width; ++i) sums[i % 8] += row[i] * row[i];
  const float sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  const float inverse = 1.0f / std::max(std::sqrt(sum), 1e-12f);
  for (std::int64_t i = 0; i < width; ++i) row[i] *= inverse;
}

Activation fused_in_step(const HeadStep& step) {
  return step.linear ? fused_activation(step.function) : Activation::kNone;
}

// What follows a step's matmul, in place.
void finish_step(const Execution& run, const HeadStepWeights& step, std::int64_t rows, float* x) {
  if (fused_in_step(step.plan) == Activation::kNone) {
    apply_function(run.kernels(), step.plan.function, x, rows * step.plan.features);
  }
  if (step.plan.norm) norm_rows(run, step.norm, x, rows, x, nullptr, {});
}

// Rows [first, first + rows) of an output.
void write_rows(const RowTeam& team, const Output& output, std::int64_t first, std::int64_t rows,
                float* result) {
  const Execution& run = team.run;
  std::int64_t width = run.model.plan.hidden;
  float* out = result + first * output.columns;
  float* now = output.steps.empty() ? out : team.scratch.head[0];
  float* other = team.scratch.head[1];
  for_rows(team, rows, [&](std::int64_t row, std::int64_t count) {
    for (std::int64_t m = row; m < row + count; ++m)
      read_row(run, output.plan.rows, first + m, now + m * width);
  });
  for (const HeadStepWeights& step : output.steps) {
    if (step.plan.linear) {
      const Input input = {now, width, rows, team.scratch.head_q, false};
      multiply(team, step.linear, input, {fused_in_step(step.plan), nullptr, 0}, other, step.plan.features);
      std::swap(now, other);
    }
    width = step.plan.features;
    for_rows(team, rows,
             [&](std::int64_t row, std::int64_t count) { finish_step(run, step, count, now + row * width); });
  }
  for_rows(team, rows, [&](std::int64_t row, std::int64_t count) {
    for (std::int64_t m = row; output.plan.normalize && m < row + count; ++m)
      normalize(now + m * width, width);
    if (now == out) return;
    std::memcpy(out + row * width, now + row * width,
                static_cast<std::size_t>(count * width) * sizeof(float));
  });
}

}  // namespace

void write_outputs(const Execution& run, Team::Member& member, int index) {
  for (std::size_t i = 0; i < run.outputs.size(); ++i) {
    const Output& output = run.model.outputs[static_cast<std::size_t>(run.outputs[i])];
    const std::int64_t count = output.plan.rows == Rows::kAll ? run.batch.tokens() : run.batch.sequences;
    share_rows(run, member, index, count,
               [&](const RowTeam& team, std::int64_t first, std::int64_t rows, bool) {
                 write_rows(team, output, first, rows, run.results[i]);
               });
  }
}

}  // namespace fastformers::encoder
