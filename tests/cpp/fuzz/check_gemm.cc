// SPDX-License-Identifier: MIT
// Packing and the two matmuls.
#include <algorithm>
#include <limits>

#include "fuzz/checks.h"
#include "fuzz/models.h"
#include "kernels/packed_layout.h"

namespace fuzz {
namespace {

using namespace fastformers;  // NOLINT: the names of the contract under test

// The byte-for-byte picture of packed_layout.h. Layouts it does not draw give an empty vector.
std::vector<std::uint8_t> drawn_panels(const std::string& isa, const std::int8_t* weights,
                                       std::int64_t columns, std::int64_t depth) {
  const std::int64_t group = isa == "avx512vnni" ? 4 : 2;
  const std::int64_t item = isa == "avx512vnni" ? 1 : 2;
  if (isa != "avx512vnni" && isa != "avx2") return {};
  const std::int64_t padded = padded_depth(depth);
  std::vector<std::uint8_t> panels(
      static_cast<std::size_t>(panel_count(columns) * kPanelColumns * padded * item));
  for (std::int64_t n = 0; n < columns; ++n) {
    for (std::int64_t k = 0; k < depth; ++k) {
      const std::int64_t in_panel =
          (k / group) * kPanelColumns * group + (n % kPanelColumns) * group + k % group;
      const std::int64_t at = (n / kPanelColumns * kPanelColumns * padded + in_panel) * item;
      const std::int16_t value = weights[n * depth + k];
      std::memcpy(&panels[static_cast<std::size_t>(at)], &value, static_cast<std::size_t>(item));
    }
  }
  return panels;
}

// Everything both matmuls need, once for the tested table (guarded) and once for the reference.
struct Problem {
  Matrix<std::uint8_t> q;
  std::vector<std::int8_t> weights;
  void* panels = nullptr;
  void* scratch = nullptr;
  AlignedBuffer reference_panels;
  AlignedBuffer reference_scratch;
  std::int64_t first_panel = 0;
  std::int64_t last_panel = 0;
  std::int64_t first_column = 0;
  std::int64_t last_column = 0;

  std::vector<std::int64_t> products(std::int64_t depth) const {
    return plain_products(q, weights.data(), depth, first_column, last_column);
  }
};

void make_problem(const Case& drawn, const Tables& tables, Arena& arena, Random& random, Problem& problem) {
  const std::int64_t width = padded_depth(drawn.depth);
  problem.q =
      take_matrix<std::uint8_t>(arena, drawn.rows, width, width + drawn.rows_gap, drawn.placement, random);
  fill_u8(problem.q, drawn.depth, drawn.rows_fill, random);
  problem.weights.reserve(1);  // so that no matrix, however empty, is a null pointer
  problem.weights.resize(static_cast<std::size_t>(drawn.columns * drawn.depth));
  fill_s8(problem.weights.data(), drawn.columns, drawn.depth, drawn.weights_fill, random);
  const std::int64_t bytes = tables.tested.panels_bytes(drawn.columns, drawn.depth);
  problem.panels = arena.take<std::uint8_t>(bytes, drawn.placement, random, 64);
  tables.tested.pack_s8(problem.weights.data(), drawn.columns, drawn.depth, problem.panels);
  problem.scratch = arena.take<std::uint8_t>(tables.tested.gemm_scratch_bytes(drawn.rows, drawn.depth),
                                             drawn.placement, random, 64);
  tables.reference.pack_s8(
      problem.weights.data(), drawn.columns, drawn.depth,
      aligned_bytes(problem.reference_panels, tables.reference.panels_bytes(drawn.columns, drawn.depth)));
  aligned_bytes(problem.reference_scratch, tables.reference.gemm_scratch_bytes(drawn.rows, drawn.depth));
  const std::int64_t panels = panel_count(drawn.columns);
  problem.first_panel = panels * drawn.first_percent / 100;
  problem.last_panel = panels * drawn.last_percent / 100;
  problem.first_column = std::min(problem.first_panel * kPanelColumns, drawn.columns);
  problem.last_column = std::min(problem.last_panel * kPanelColumns, drawn.columns);
}

// Arguments for the reference: the same rows, its own panels, scratch and output.
template <typename Args>
Args for_reference(Args args, Problem& problem) {
  args.panels = problem.reference_panels.reserve(0);
  args.scratch = problem.reference_scratch.reserve(0);
  return args;
}

struct Epilogue {
  float* row_scales;
  std::int32_t* zero_points;
  float* column_scales;
  std::int32_t* column_sums;
  const float* bias;
  Matrix<float> residual;
  Matrix<float> out;
};

void fill_columns(const Case& drawn, const Problem& problem, Epilogue& epilogue, Random& random) {
  const std::int64_t padded = panel_count(drawn.columns) * kPanelColumns;
  for (std::int64_t n = 0; n < padded; ++n) {
    std::int32_t sum = 0;
    for (std::int64_t k = 0; n < drawn.columns && k < drawn.depth; ++k) {
      sum += problem.weights[static_cast<std::size_t>(n * drawn.depth + k)];
    }
    epilogue.column_sums[n] = sum;
    // A weight column of zeros has scale 0; scales of tiny weights may be denormal.
    const float scale =
        random.percent(3) ? random.pick({0.0f, 1e-41f, 1e-38f}) : random.uniform(1e-4f, 2e-2f);
    epilogue.column_scales[n] = n < drawn.columns ? scale : 0.0f;
  }
}

// The contract: a row scale is finite or a NaN with its sign bit clear, and a bias holds no other NaN (ReLU works on bits).
void keep_contract(float* values, std::int64_t count, bool allow_infinity) {
  for (std::int64_t i = 0; i < count; ++i) {
    const bool refused = std::isnan(values[i]) || (std::isinf(values[i]) && !allow_infinity);
    if (refused) values[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

Epilogue make_epilogue(const Case& drawn, const Problem& problem, Arena& arena, Random& random) {
  Epilogue epilogue{};
  const std::int64_t padded = panel_count(drawn.columns) * kPanelColumns;
  epilogue.row_scales = take_vector(arena, drawn.rows, drawn.placement, drawn.floats_fill, random);
  keep_contract(epilogue.row_scales, drawn.rows, false);
  epilogue.zero_points = arena.take<std::int32_t>(drawn.rows, drawn.placement, random);
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    epilogue.zero_points[m] = static_cast<std::int32_t>(random.percent(20) ? 255 : random.below(256));
  }
  epilogue.column_scales = arena.take<float>(padded, drawn.placement, random);
  epilogue.column_sums = arena.take<std::int32_t>(padded, drawn.placement, random);
  fill_columns(drawn, problem, epilogue, random);
  if (drawn.bias) {
    float* bias = take_vector(arena, drawn.columns, drawn.placement, drawn.floats_fill, random);
    keep_contract(bias, drawn.columns, true);
    epilogue.bias = bias;
  }
  epilogue.out = take_matrix<float>(arena, drawn.rows, drawn.columns, drawn.columns + drawn.out_gap,
                                    drawn.placement, random);
  fill_f32(epilogue.out, drawn.floats_fill, random);
  if (drawn.residual && drawn.out_aliases_input) epilogue.residual = epilogue.out;
  if (drawn.residual && !drawn.out_aliases_input) {
    epilogue.residual = take_matrix<float>(arena, drawn.rows, drawn.columns,
                                           drawn.columns + drawn.residual_gap, drawn.placement, random);
    fill_f32(epilogue.residual, drawn.floats_fill, random);
  }
  return epilogue;
}

GemmArgs gemm_args(const Case& drawn, const Problem& problem, const Epilogue& epilogue) {
  GemmArgs args{};
  args.rows = problem.q.data;
  args.rows_stride = problem.q.stride;
  args.row_count = drawn.rows;
  args.depth = drawn.depth;
  args.panels = problem.panels;
  args.columns = drawn.columns;
  args.first_panel = problem.first_panel;
  args.last_panel = problem.last_panel;
  args.row_scales = epilogue.row_scales;
  args.row_zero_points = epilogue.zero_points;
  args.column_scales = epilogue.column_scales;
  args.column_sums = epilogue.column_sums;
  args.bias = epilogue.bias;
  args.residual = epilogue.residual.data;
  args.residual_stride = epilogue.residual.stride;
  args.activation = drawn.activation;
  args.out = epilogue.out.data;
  args.out_stride = epilogue.out.stride;
  args.scratch = problem.scratch;
  return args;
}

std::string compare_with_model(const Case& drawn, const Problem& problem, const Epilogue& epilogue,
                               const std::vector<float>& residual) {
  const std::vector<std::int64_t> sums = problem.products(drawn.depth);
  std::size_t next = 0;
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    for (std::int64_t n = problem.first_column; n < problem.last_column; ++n) {
      const auto at = static_cast<std::size_t>(m * epilogue.residual.stride + n);
      const std::int64_t corrected =
          sums[next++] - std::int64_t{epilogue.zero_points[m]} * epilogue.column_sums[n];
      const Bounded model = bounded_epilogue({corrected, epilogue.row_scales[m], epilogue.column_scales[n],
                                              epilogue.bias != nullptr ? epilogue.bias[n] : 0.0f,
                                              drawn.activation, drawn.residual ? residual[at] : 0.0f});
      const float got = epilogue.out.at(m, n);
      if (std::isnan(epilogue.row_scales[m]) && !std::isnan(got)) {
        return message("row ", m, " has a NaN scale but column ", n, " is ", got);
      }
      if (!model.admits(got)) {
        return message("row ", m, " column ", n, " is ", got, ", float64 gives ", model.value, " +- ",
                       model.error);
      }
    }
  }
  return "";
}

// One row alone gives the bits it has among all the others.
std::string compare_single_row(const Case& drawn, const Tables& tables, GemmArgs args, Epilogue& epilogue,
                               const std::vector<float>& before, Random& random) {
  if (drawn.rows < 2) return "";
  const std::int64_t m = random.below(drawn.rows);
  std::vector<float> row(before.begin() + m * epilogue.out.stride,
                         before.begin() + m * epilogue.out.stride + drawn.columns);
  args.rows += m * args.rows_stride;
  args.row_count = 1;
  args.row_scales += m;
  args.row_zero_points += m;
  if (drawn.residual) args.residual += m * args.residual_stride;
  if (drawn.residual && drawn.out_aliases_input) args.residual = row.data();
  args.out = row.data();
  tables.tested.gemm_u8s8_f32(args);
  const std::int64_t last = std::min(args.last_panel * kPanelColumns, args.columns);
  for (std::int64_t n = args.first_panel * kPanelColumns; n < last; ++n) {
    if (same_bits(row[static_cast<std::size_t>(n)], epilogue.out.at(m, n))) continue;
    return message("row ", m, " column ", n, " is ", epilogue.out.at(m, n), " among ", drawn.rows,
                   " rows but ", row[static_cast<std::size_t>(n)], " alone");
  }
  return "";
}

}  // namespace

std::string check_pack(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const std::int64_t count = drawn.columns * drawn.depth;
  auto* weights = arena.take<std::int8_t>(count, drawn.placement, random);
  fill_s8(weights, drawn.columns, drawn.depth, drawn.weights_fill, random);
  const std::int64_t bytes = tables.tested.panels_bytes(drawn.columns, drawn.depth);
  auto* panels = arena.take<std::uint8_t>(bytes, drawn.placement, random, 64);
  std::memset(panels, kCanary, static_cast<std::size_t>(bytes));
  tables.tested.pack_s8(weights, drawn.columns, drawn.depth, panels);
  auto* unpacked = arena.take<std::int8_t>(count, drawn.placement, random);
  std::memset(unpacked, kCanary, static_cast<std::size_t>(count));
  tables.tested.unpack_s8(panels, drawn.columns, drawn.depth, unpacked);
  if (std::memcmp(weights, unpacked, static_cast<std::size_t>(count)) != 0)
    return "unpack_s8(pack_s8(w)) != w";
  const std::vector<std::uint8_t> drawing =
      drawn_panels(tables.tested.name, weights, drawn.columns, drawn.depth);
  if (drawing.empty()) return "";
  if (static_cast<std::int64_t>(drawing.size()) != bytes)
    return message("panels_bytes is ", bytes, ", not ", drawing.size());
  if (!std::equal(drawing.begin(), drawing.end(), panels))
    return "panels differ from the drawing in packed_layout.h";
  return "";
}

std::string check_gemm_s32(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  Problem problem;
  make_problem(drawn, tables, arena, random, problem);
  const auto out = take_matrix<std::int32_t>(arena, drawn.rows, drawn.columns, drawn.columns + drawn.out_gap,
                                             drawn.placement, random);
  std::memset(out.data, kCanary, static_cast<std::size_t>(out.count()) * sizeof(std::int32_t));
  const std::vector<std::int32_t> before = out.copy();
  std::vector<std::int32_t> exact = before;
  const std::vector<std::int64_t> sums = problem.products(drawn.depth);
  std::size_t next = 0;
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    for (std::int64_t n = problem.first_column; n < problem.last_column; ++n) {
      if (sums[next] != static_cast<std::int32_t>(sums[next])) return "the test drew a sum beyond int32";
      exact[static_cast<std::size_t>(m * out.stride + n)] = static_cast<std::int32_t>(sums[next++]);
    }
  }
  const GemmS32Args args = {problem.q.data, problem.q.stride, drawn.rows,          drawn.depth,
                            problem.panels, drawn.columns,    problem.first_panel, problem.last_panel,
                            out.data,       out.stride,       problem.scratch};
  tables.tested.gemm_u8s8_s32(args);
  return compare_output(out, exact, before, problem.first_column, problem.last_column);
}

std::string check_gemm_f32(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  Problem problem;
  make_problem(drawn, tables, arena, random, problem);
  Epilogue epilogue = make_epilogue(drawn, problem, arena, random);
  const std::vector<float> before = epilogue.out.copy();
  const std::vector<float> residual = epilogue.residual.copy();
  const GemmArgs args = gemm_args(drawn, problem, epilogue);
  tables.tested.gemm_u8s8_f32(args);

  std::vector<float> wanted = before;
  GemmArgs reference_args = for_reference(args, problem);
  reference_args.out = wanted.data();
  if (drawn.residual && drawn.out_aliases_input) reference_args.residual = wanted.data();
  tables.reference.gemm_u8s8_f32(reference_args);

  std::string wrong = compare_output(epilogue.out, wanted, before, problem.first_column, problem.last_column);
  if (wrong.empty()) wrong = compare_with_model(drawn, problem, epilogue, residual);
  if (wrong.empty()) wrong = compare_single_row(drawn, tables, args, epilogue, before, random);
  return wrong;
}

}  // namespace fuzz
