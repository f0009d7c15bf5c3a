// SPDX-License-Identifier: MIT
// LayerNorm, softmax and GELU.
#include <algorithm>
#include <cmath>
#include <limits>

#include "fuzz/checks.h"
#include "fuzz/models.h"

namespace fuzz {
namespace {

using namespace fastformers;  // NOLINT: the names of the contract under test

std::string compare_row(const Matrix<float>& got, std::int64_t m, const std::vector<Bounded>& model) {
  for (std::int64_t k = 0; k < got.columns; ++k) {
    const Bounded& wanted = model[static_cast<std::size_t>(k)];
    if (wanted.admits(got.at(m, k))) continue;
    return message("row ", m, " element ", k, " is ", got.at(m, k), ", float64 gives ", wanted.value, " +- ",
                   wanted.error);
  }
  return "";
}

struct LayerNormCase {
  Matrix<float> x;
  Matrix<float> residual;
  Matrix<float> out;
  const float* gamma;
  const float* beta;
  const float* factors = nullptr;
  float* low = nullptr;
  float* high = nullptr;
  float epsilon;
};

LayerNormCase make_layer_norm(const Case& drawn, Arena& arena, Random& random) {
  LayerNormCase in{};
  const auto take = [&](std::int64_t gap) {
    const auto matrix =
        take_matrix<float>(arena, drawn.rows, drawn.depth, drawn.depth + gap, drawn.placement, random);
    fill_f32(matrix, drawn.rows_fill, random);
    return matrix;
  };
  in.x = take(drawn.rows_gap);
  if (drawn.residual) in.residual = take(drawn.residual_gap);
  in.out = take(drawn.out_gap);
  if (drawn.out_aliases_input) in.out = drawn.residual && random.percent(50) ? in.residual : in.x;
  in.gamma = take_vector(arena, drawn.depth, drawn.placement, drawn.floats_fill, random);
  in.beta = take_vector(arena, drawn.depth, drawn.placement, drawn.floats_fill, random);
  in.epsilon = random.pick({1e-12f, 1e-6f, 1e-5f});
  if (random.percent(60)) {
    in.low = arena.take<float>(drawn.rows, drawn.placement, random);
    in.high = arena.take<float>(drawn.rows, drawn.placement, random);
    if (drawn.factors)
      in.factors = take_vector(arena, drawn.depth, drawn.placement, drawn.floats_fill, random);
  }
  return in;
}

LayerNormArgs layer_norm_args(const Case& drawn, const LayerNormCase& in) {
  LayerNormArgs args{};
  args.x = in.x.data;
  args.x_stride = in.x.stride;
  args.residual = in.residual.data;
  args.residual_stride = in.residual.stride;
  args.row_count = drawn.rows;
  args.depth = drawn.depth;
  args.gamma = in.gamma;
  args.beta = in.beta;
  args.epsilon = in.epsilon;
  args.out = in.out.data;
  args.out_stride = in.out.stride;
  args.factors = in.factors;
  args.low = in.low;
  args.high = in.high;
  return args;
}

// The float32 sums x + residual, taken before a call that may overwrite either.
std::vector<std::vector<float>> summed_rows(const Case& drawn, const LayerNormCase& in) {
  std::vector<std::vector<float>> rows(static_cast<std::size_t>(drawn.rows));
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    for (std::int64_t k = 0; k < drawn.depth; ++k) {
      rows[static_cast<std::size_t>(m)].push_back(drawn.residual ? in.x.at(m, k) + in.residual.at(m, k)
                                                                 : in.x.at(m, k));
    }
  }
  return rows;
}

std::string compare_range(const Case& drawn, const LayerNormCase& in) {
  for (std::int64_t m = 0; in.low != nullptr && m < drawn.rows; ++m) {
    float low = 0, high = 0;
    bool finite = true;
    for (std::int64_t k = 0; k < drawn.depth; ++k) {
      const float y = in.factors != nullptr ? in.out.at(m, k) * in.factors[k] : in.out.at(m, k);
      finite = finite && std::isfinite(y);
      low = std::min(low, y);
      high = std::max(high, y);
    }
    const bool right =
        finite ? in.low[m] == low && in.high[m] == high : std::isnan(in.low[m]) && std::isnan(in.high[m]);
    if (!right)
      return message("row ", m, " range is ", in.low[m], "..", in.high[m], ", not ", low, "..", high);
  }
  return "";
}

}  // namespace

std::string check_layer_norm(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const LayerNormCase in = make_layer_norm(drawn, arena, random);
  const std::vector<float> before = in.out.copy();
  const std::vector<std::vector<float>> rows = summed_rows(drawn, in);
  LayerNormArgs reference_args = layer_norm_args(drawn, in);
  std::vector<float> wanted = before;
  std::vector<float> wanted_low(static_cast<std::size_t>(drawn.rows)), wanted_high = wanted_low;
  reference_args.out = wanted.data();
  if (in.out.data == in.x.data) reference_args.x = wanted.data();
  if (in.out.data == in.residual.data) reference_args.residual = wanted.data();
  if (in.low != nullptr) reference_args.low = wanted_low.data();
  if (in.low != nullptr) reference_args.high = wanted_high.data();
  tables.reference.layer_norm_f32_rows(reference_args);
  tables.tested.layer_norm_f32_rows(layer_norm_args(drawn, in));

  std::string wrong = compare_output(in.out, wanted, before, 0, drawn.depth);
  std::vector<Bounded> model;
  for (std::int64_t m = 0; m < drawn.rows && wrong.empty(); ++m) {
    bounded_layer_norm(rows[static_cast<std::size_t>(m)], in.gamma, in.beta, in.epsilon, model);
    wrong = compare_row(in.out, m, model);
    const auto at = static_cast<std::size_t>(m);
    if (in.low != nullptr &&
        (!same_bits(in.low[m], wanted_low[at]) || !same_bits(in.high[m], wanted_high[at]))) {
      wrong = message("row ", m, " range differs from the reference's");
    }
  }
  return wrong.empty() ? compare_range(drawn, in) : wrong;
}

std::string check_softmax(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const auto x = take_matrix<float>(arena, drawn.rows, drawn.depth, drawn.depth + drawn.rows_gap,
                                    drawn.placement, random);
  fill_f32(x, drawn.rows_fill, random);
  if (random.percent(30)) {  // an attention mask, sometimes over the whole row
    for (std::int64_t m = 0; m < x.rows; ++m) {
      for (std::int64_t k = random.below(x.columns + 1); k < x.columns; ++k) {
        x.at(m, k) = -std::numeric_limits<float>::infinity();
      }
    }
  }
  Matrix<float> out = x;
  if (!drawn.out_aliases_input) {
    out = take_matrix<float>(arena, drawn.rows, drawn.depth, drawn.depth + drawn.out_gap, drawn.placement,
                             random);
    fill_f32(out, Fill::kUniform, random);
  }
  const std::vector<float> before = out.copy();
  const std::vector<float> logits = x.copy();
  std::vector<float> wanted = before;
  tables.reference.softmax_f32_rows(logits.data(), x.stride, x.rows, x.columns, wanted.data(), out.stride);
  tables.tested.softmax_f32_rows(x.data, x.stride, x.rows, x.columns, out.data, out.stride);
  std::string wrong = compare_output(out, wanted, before, 0, drawn.depth);
  std::vector<Bounded> model;
  for (std::int64_t m = 0; m < drawn.rows && wrong.empty(); ++m) {
    bounded_softmax(logits.data() + m * x.stride, drawn.depth, model);
    wrong = compare_row(out, m, model);
  }
  return wrong;
}

std::string check_gelu(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const Activation which = random.percent(50) ? Activation::kGeluErf : Activation::kGeluTanh;
  const std::int64_t count = random.percent(5) ? 0 : drawn.depth;
  const auto x = take_matrix<float>(arena, 1, count, count, drawn.placement, random);
  fill_f32(x, drawn.rows_fill, random);
  Matrix<float> out = x;
  if (!drawn.out_aliases_input) out = take_matrix<float>(arena, 1, count, count, drawn.placement, random);
  const std::vector<float> inputs = x.copy();
  std::vector<float> wanted(inputs.size());
  tables.reference.gelu_f32(inputs.data(), count, which, wanted.data());
  tables.tested.gelu_f32(x.data, count, which, out.data);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const Bounded model = bounded_gelu(inputs[at], which);
    if (!same_bits(out.data[i], wanted[at])) {
      return message("gelu(", inputs[at], ") is ", out.data[i], ", reference gives ", wanted[at]);
    }
    if (!model.admits(out.data[i])) {
      return message("gelu(", inputs[at], ") is ", out.data[i], ", float64 gives ", model.value, " +- ",
                     model.error);
    }
  }
  return "";
}

}  // namespace fuzz
