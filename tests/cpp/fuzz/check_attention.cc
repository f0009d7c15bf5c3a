// SPDX-License-Identifier: MIT
// INT8 attention of one head: packing of keys and values, quantization of queries, and the attention itself.
#include <algorithm>
#include <cmath>
#include <limits>

#include "fuzz/checks.h"
#include "fuzz/models.h"
#include "kernels/packed_layout.h"

namespace fuzz {
namespace {

using namespace fastformers;  // NOLINT: the names of the contract under test

constexpr float kHuge = std::numeric_limits<float>::max();

// One side, keys or values, as a table packed it.
struct Packed {
  void* panels = nullptr;
  float* scales = nullptr;
  std::int32_t* offsets = nullptr;  // of keys only
};

// Everything a case needs, once for the tested table (guarded) and once for the reference.
struct Problem {
  Matrix<float> q, k, v;
  Packed keys, values;
  AlignedBuffer key_buffer, value_buffer, scratch_buffer;  // of the reference
  std::int8_t* canonical_keys = nullptr;                   // [keys, depth]
  std::int8_t* canonical_values = nullptr;                 // [channels, keys]
  std::vector<float> key_scales, value_scales;
  std::vector<std::int32_t> key_offsets;
  Matrix<std::uint8_t> q_u8;
  float* row_scales = nullptr;
  const float* bias = nullptr;
  std::int64_t bias_stride = 0;
};

// Now and then every row gets a size of its own, down to where its scale counts as zero and up to where scores overflow.
Matrix<float> take_floats(const Case& drawn, std::int64_t rows, std::int64_t columns, Fill fill, Arena& arena,
                          Random& random) {
  const auto matrix =
      take_matrix<float>(arena, rows, columns, columns + drawn.rows_gap, drawn.placement, random);
  fill_f32(matrix, fill, random);
  if (!random.percent(8)) return matrix;
  const int power = random.percent(70) ? -119 : 60;  // 127 times the least normal number is about 2^-119
  for (std::int64_t m = 0; m < rows; ++m) {
    const auto shift = static_cast<int>(random.between(-12, 12));
    for (std::int64_t k = 0; k < columns; ++k) matrix.at(m, k) = std::ldexp(matrix.at(m, k), power + shift);
  }
  return matrix;
}

// What was NaN or infinite becomes the largest number or a small one.
void make_finite(const Matrix<float>& x, Random& random) {
  for (std::int64_t m = 0; m < x.rows; ++m) {
    for (std::int64_t k = 0; k < x.columns; ++k) {
      if (!std::isfinite(x.at(m, k))) x.at(m, k) = random.pick({kHuge, -kHuge, 1.0f, 1e-42f});
    }
  }
}

template <typename T>
std::string compare_vectors(const char* what, const T* got, const std::vector<T>& wanted) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!same_bits(got[i], wanted[i]))
      return message(what, " ", i, " is ", +got[i], ", reference gives ", +wanted[i]);
  }
  return "";
}

// The canonical matrix of the reference, packed by pack_s8 of the tested table, is what the fused packing must have made.
std::string compare_panels(const Tables& tables, const char* what, const Packed& packed,
                           const std::int8_t* canonical, std::int64_t columns, std::int64_t depth) {
  const std::int64_t bytes = tables.tested.panels_bytes(columns, depth);
  AlignedBuffer wanted;
  void* panels = aligned_bytes(wanted, bytes);
  tables.tested.pack_s8(canonical, columns, depth, panels);
  const bool same = std::memcmp(panels, packed.panels, static_cast<std::size_t>(bytes)) == 0;
  return same ? "" : message("panels of ", what, " differ from those of the reference's integers");
}

Packed take_packed(const Case& drawn, const Tables& tables, Arena& arena, Random& random,
                   std::int64_t columns, std::int64_t depth) {
  const std::int64_t bytes = tables.tested.panels_bytes(columns, depth);
  const std::int64_t padded = panel_count(columns) * kPanelColumns;
  Packed packed;
  packed.panels = arena.take<std::uint8_t>(bytes, drawn.placement, random, 64);
  packed.scales = arena.take<float>(padded, drawn.placement, random);
  packed.offsets = arena.take<std::int32_t>(padded, drawn.placement, random);
  std::memset(packed.panels, kCanary, static_cast<std::size_t>(bytes));
  std::memset(packed.scales, kCanary, static_cast<std::size_t>(padded) * sizeof(float));
  std::memset(packed.offsets, kCanary, static_cast<std::size_t>(padded) * sizeof(std::int32_t));
  return packed;
}

// Packs on both tables; a refusal must be common to both. Refused inputs are made finite and packed again.
std::string pack_keys(const Case& drawn, const Tables& tables, Arena& arena, Random& random,
                      Problem& problem) {
  problem.keys = take_packed(drawn, tables, arena, random, drawn.columns, drawn.depth);
  const auto padded = static_cast<std::size_t>(panel_count(drawn.columns) * kPanelColumns);
  problem.key_scales.assign(padded, 0.0f);
  problem.key_offsets.assign(padded, 0);
  const std::int64_t bytes = tables.reference.panels_bytes(drawn.columns, drawn.depth);
  problem.canonical_keys = static_cast<std::int8_t*>(aligned_bytes(problem.key_buffer, bytes));
  for (bool accepted = false; !accepted;) {
    const Matrix<float>& k = problem.k;
    const PackKeysArgs wanted = {k.data,
                                 k.stride,
                                 k.rows,
                                 k.columns,
                                 problem.canonical_keys,
                                 problem.key_scales.data(),
                                 problem.key_offsets.data()};
    const PackKeysArgs tested = {
        k.data, k.stride, k.rows, k.columns, problem.keys.panels, problem.keys.scales, problem.keys.offsets};
    accepted = tables.reference.pack_keys_s8(wanted);
    if (tables.tested.pack_keys_s8(tested) != accepted)
      return message("pack_keys_s8 does not return ", accepted);
    if (!accepted) make_finite(k, random);
  }
  std::string wrong = compare_vectors("key scale", problem.keys.scales, problem.key_scales);
  if (wrong.empty()) wrong = compare_vectors("key offset", problem.keys.offsets, problem.key_offsets);
  if (!wrong.empty()) return wrong;
  return compare_panels(tables, "keys", problem.keys, problem.canonical_keys, drawn.columns, drawn.depth);
}

std::string pack_values(const Case& drawn, const Tables& tables, Arena& arena, Random& random,
                        Problem& problem) {
  problem.values = take_packed(drawn, tables, arena, random, drawn.channels, drawn.columns);
  problem.value_scales.assign(static_cast<std::size_t>(panel_count(drawn.channels) * kPanelColumns), 0.0f);
  const std::int64_t bytes = tables.reference.panels_bytes(drawn.channels, drawn.columns);
  problem.canonical_values = static_cast<std::int8_t*>(aligned_bytes(problem.value_buffer, bytes));
  for (bool accepted = false; !accepted;) {
    const Matrix<float>& v = problem.v;
    const PackValuesArgs wanted = {
        v.data, v.stride, v.rows, v.columns, problem.canonical_values, problem.value_scales.data()};
    const PackValuesArgs tested = {
        v.data, v.stride, v.rows, v.columns, problem.values.panels, problem.values.scales};
    accepted = tables.reference.pack_values_s8(wanted);
    if (tables.tested.pack_values_s8(tested) != accepted)
      return message("pack_values_s8 does not return ", accepted);
    if (!accepted) make_finite(v, random);
  }
  const std::string wrong = compare_vectors("value scale", problem.values.scales, problem.value_scales);
  if (!wrong.empty()) return wrong;
  return compare_panels(tables, "values", problem.values, problem.canonical_values, drawn.channels,
                        drawn.columns);
}

std::string quantize_queries(const Case& drawn, const Tables& tables, Arena& arena, Random& random,
                             Problem& problem) {
  const std::int64_t width = padded_depth(drawn.depth);
  const Matrix<float>& q = problem.q;
  problem.q_u8 = take_matrix<std::uint8_t>(arena, drawn.rows, width, width + drawn.residual_gap,
                                           drawn.placement, random);
  fill_random_bytes(problem.q_u8.data, problem.q_u8.count(), random);
  problem.row_scales = arena.take<float>(drawn.rows, drawn.placement, random);
  const std::vector<std::uint8_t> before = problem.q_u8.copy();
  std::vector<std::uint8_t> wanted = before;
  std::vector<float> wanted_scales(static_cast<std::size_t>(drawn.rows));
  tables.reference.quantize_queries_u8(q.data, q.stride, drawn.rows, drawn.depth, wanted.data(),
                                       problem.q_u8.stride, wanted_scales.data());
  tables.tested.quantize_queries_u8(q.data, q.stride, drawn.rows, drawn.depth, problem.q_u8.data,
                                    problem.q_u8.stride, problem.row_scales);
  const std::string wrong = compare_vectors("row scale", problem.row_scales, wanted_scales);
  return wrong.empty() ? compare_output(problem.q_u8, wanted, before, 0, width) : wrong;
}

// A table [rows, keys] with gaps, or one vector that every row reads one element earlier, as relative positions are.
void take_bias(const Case& drawn, Arena& arena, Random& random, Problem& problem) {
  if (!drawn.bias) return;
  if (drawn.residual) {
    problem.bias =
        take_vector(arena, drawn.columns + drawn.rows - 1, drawn.placement, drawn.floats_fill, random) +
        drawn.rows - 1;
    problem.bias_stride = -1;
    return;
  }
  const auto bias = take_matrix<float>(arena, drawn.rows, drawn.columns, drawn.columns + drawn.residual_gap,
                                       drawn.placement, random);
  fill_f32(bias, drawn.floats_fill, random);
  problem.bias = bias.data;
  problem.bias_stride = bias.stride;
}

AttendArgs attend_args(const Case& drawn, const Problem& problem, const Matrix<float>& out) {
  AttendArgs args{};
  args.q = problem.q_u8.data;
  args.q_stride = problem.q_u8.stride;
  args.row_scales = problem.row_scales;
  args.row_count = drawn.rows;
  args.depth = drawn.depth;
  args.channels = drawn.channels;
  args.keys = drawn.columns;
  args.key_panels = problem.keys.panels;
  args.key_scales = problem.keys.scales;
  args.key_offsets = problem.keys.offsets;
  args.value_panels = problem.values.panels;
  args.value_scales = problem.values.scales;
  args.bias = problem.bias;
  args.bias_stride = problem.bias_stride;
  args.first_query = drawn.first_query;
  args.window = drawn.window;
  args.out = out.data;
  args.out_stride = out.stride;
  return args;
}

// Attention in float64 over the same integers, and how far the contract may be from it. With e = 255 * 2^x and
// |P - e| <= 1/2 + e (7.5e-5 + |error of x|), sum P v / sum P moves by at most sum |P - e| * 2 max|v| / sum e: it is
// sum e v / sum e plus sum (P - e) (v - out) / sum e.
struct Model {
  std::vector<double> x;  // log2 of the unnormalised probability, 0 for the largest
  double x_error = 0;     // of every x
};

Model model_of_row(const Case& drawn, const Problem& problem, std::int64_t m, std::int64_t first,
                   std::int64_t last) {
  Model model;
  double largest = -HUGE_VAL;
  for (std::int64_t j = first; j < last; ++j) {
    std::int64_t sum = 0;
    for (std::int64_t k = 0; k < drawn.depth; ++k) {
      sum += (std::int64_t{problem.q_u8.at(m, k)} - 128) * problem.canonical_keys[j * drawn.depth + k];
    }
    const double t =
        static_cast<double>(sum) * static_cast<double>(problem.key_scales[static_cast<std::size_t>(j)]);
    const double product = t * static_cast<double>(problem.row_scales[m]);
    const double bias =
        problem.bias != nullptr ? static_cast<double>(problem.bias[m * problem.bias_stride + j]) : 0.0;
    model.x.push_back((product + bias) * 1.4426950408889634);
    largest = std::max(largest, model.x.back());
    // A dozen roundings of the score and of the largest one; a factor of t that is denormal.
    const double error = 32 * kUnit * (std::abs(product) + std::abs(bias)) + 2 * kTiny * (std::abs(t) + 1);
    const bool finite = std::abs(t) < kLargestFloat && std::abs(product + bias) < kLargestFloat;
    model.x_error = std::max(model.x_error, finite ? error : HUGE_VAL);
  }
  for (double& x : model.x) x -= largest;
  return model;
}

std::string compare_row(const Case& drawn, const Problem& problem, const Matrix<float>& out, std::int64_t m) {
  const std::int64_t position = drawn.first_query + m;
  const bool all = drawn.window < 0;
  const std::int64_t first = all ? 0 : std::max<std::int64_t>(0, position - drawn.window);
  const std::int64_t last = all ? drawn.columns : std::min(drawn.columns, position + drawn.window + 1);
  const Model model = model_of_row(drawn, problem, m, first, last);
  if (!(model.x_error < 0.1)) return "";  // so large that only the comparison with the reference speaks
  double total = 0, error = 0;
  for (const double x : model.x) {
    total += 255 * std::exp2(x);
    error += 0.5 + 255 * std::exp2(x) * (1e-4 + model.x_error);
  }
  for (std::int64_t i = 0; i < drawn.channels; ++i) {
    const auto scale = static_cast<double>(problem.value_scales[static_cast<std::size_t>(i)]);
    const std::int8_t* values = problem.canonical_values + i * drawn.columns;
    double sum = 0;
    for (std::int64_t j = first; j < last; ++j) {
      sum += 255 * std::exp2(model.x[static_cast<std::size_t>(j - first)]) * values[j];
    }
    const Bounded wanted = {sum / total * scale, 2 * 127 * (scale * error / total + kTiny * total),
                            scale < kLargestFloat / 1e6};
    if (wanted.admits(out.at(m, i))) continue;
    return message("row ", m, " channel ", i, " is ", out.at(m, i), ", float64 gives ", wanted.value, " +- ",
                   wanted.error);
  }
  return "";
}

std::string compare_with_model(const Case& drawn, const Problem& problem, const Matrix<float>& out) {
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    if (std::isnan(problem.row_scales[m]) && !std::isnan(out.at(m, 0)))
      return message("row ", m, " has a NaN scale but is ", out.at(m, 0));
    if (std::isnan(problem.row_scales[m])) continue;
    const std::string wrong = compare_row(drawn, problem, out, m);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string attend(const Case& drawn, const Tables& tables, Arena& arena, Random& random, Problem& problem) {
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    if (!random.percent(3)) continue;
    problem.row_scales[m] = random.pick({0.0f, std::numeric_limits<float>::quiet_NaN(), 1e-40f, 1e30f});
  }
  const auto out = take_matrix<float>(arena, drawn.rows, drawn.channels, drawn.channels + drawn.out_gap,
                                      drawn.placement, random);
  fill_f32(out, Fill::kUniform, random);
  const std::vector<float> before = out.copy();
  AttendArgs args = attend_args(drawn, problem, out);
  const std::int64_t bytes = tables.tested.attend_scratch_bytes(drawn.rows, drawn.columns);
  auto* scratch = arena.take<std::uint8_t>(bytes, drawn.placement, random, 64);
  std::memset(scratch, kCanary, static_cast<std::size_t>(bytes));
  args.scratch = scratch;
  tables.tested.attend_u8s8(args);

  std::vector<float> wanted = before;
  AttendArgs reference_args = args;
  reference_args.key_panels = problem.canonical_keys;
  reference_args.value_panels = problem.canonical_values;
  reference_args.out = wanted.data();
  reference_args.scratch =
      aligned_bytes(problem.scratch_buffer, tables.reference.attend_scratch_bytes(drawn.rows, drawn.columns));
  tables.reference.attend_u8s8(reference_args);
  const std::string wrong = compare_output(out, wanted, before, 0, drawn.channels);
  if (!wrong.empty()) return wrong;
  return compare_with_model(drawn, problem, out);
}

}  // namespace

std::string check_attention(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  // Shrinking may take away the keys that the last row sees, which no caller may.
  if (drawn.window >= 0 && drawn.first_query + drawn.rows > drawn.columns + drawn.window) return "";
  Problem problem;
  problem.q = take_floats(drawn, drawn.rows, drawn.depth, drawn.rows_fill, arena, random);
  problem.k = take_floats(drawn, drawn.columns, drawn.depth, drawn.floats_fill, arena, random);
  const Fill value_fill = random.percent(10) ? Fill::kHostile : drawn.weights_fill;
  problem.v = take_floats(drawn, drawn.columns, drawn.channels, value_fill, arena, random);
  take_bias(drawn, arena, random, problem);
  std::string wrong = pack_keys(drawn, tables, arena, random, problem);
  if (wrong.empty()) wrong = pack_values(drawn, tables, arena, random, problem);
  if (wrong.empty()) wrong = quantize_queries(drawn, tables, arena, random, problem);
  return wrong.empty() ? attend(drawn, tables, arena, random, problem) : wrong;
}

}  // namespace fuzz
