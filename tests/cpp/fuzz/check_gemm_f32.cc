// SPDX-License-Identifier: MIT
// The float matmul and its packing. The right side is packed panels or a row-major matrix in place, whose last row ends at
// the guard page as often as any other buffer: a partial panel that is read whole is a SIGSEGV.
#include <algorithm>

#include "fuzz/checks.h"
#include "fuzz/models.h"
#include "kernels/packed_layout.h"

namespace fuzz {
namespace {

using namespace fastformers;  // NOLINT: the names of the contract under test

// w [columns, depth] and how the arguments see it.
struct RightSide {
  const float* b = nullptr;
  std::int64_t panel_stride = 0;
  std::int64_t row_stride = 0;

  float at(std::int64_t k, std::int64_t n) const {
    return b[n / kPanelColumns * panel_stride + k * row_stride + n % kPanelColumns];
  }
};

RightSide in_place(const Case& drawn, Arena& arena, Random& random) {
  const std::int64_t gap = random.percent(30) ? 0 : random.between(1, 70);
  const auto matrix =
      take_matrix<float>(arena, drawn.depth, drawn.columns, drawn.columns + gap, drawn.placement, random);
  fill_f32(matrix, drawn.floats_fill, random);
  return {matrix.data, kPanelColumns, matrix.stride};
}

RightSide packed(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const auto w = take_matrix<float>(arena, drawn.columns, drawn.depth, drawn.depth, drawn.placement, random);
  fill_f32(w, drawn.floats_fill, random);
  auto* panels =
      arena.take<float>(panel_count(drawn.columns) * kPanelColumns * drawn.depth, drawn.placement, random);
  tables.tested.pack_f32(w.data, w.stride, drawn.columns, drawn.depth, panels);
  return {panels, kPanelColumns * drawn.depth, kPanelColumns};
}

GemmF32Args make_args(const Case& drawn, const Matrix<float>& a, const RightSide& right) {
  GemmF32Args args{};
  args.a = a.data;
  args.a_stride = a.stride;
  args.row_count = drawn.rows;
  args.depth = drawn.depth;
  args.b = right.b;
  args.b_panel_stride = right.panel_stride;
  args.b_row_stride = right.row_stride;
  args.columns = drawn.columns;
  args.activation = drawn.activation;
  return args;
}

// A chain of K fma is off by at most K u of the sum of magnitudes (1.01 for the powers of u), and each of its steps by
// kTiny where it is denormal. ReLU does not enlarge an error and GELU's slope is below 1.13.
Bounded model(const GemmF32Args& args, const RightSide& right, std::int64_t m, std::int64_t n,
              float residual) {
  double sum = 0, magnitude = 0;
  for (std::int64_t k = 0; k < args.depth; ++k) {
    const double product = static_cast<double>(args.a[m * args.a_stride + k]) * right.at(k, n);
    sum += product;
    magnitude += std::abs(product);
  }
  const auto steps = static_cast<double>(args.depth);
  const double linear = sum + (args.bias != nullptr ? args.bias[n] : 0.0f);
  double error = 1.01 * steps * (kUnit * magnitude + kTiny) + 1.1 * kUnit * std::abs(linear) + kTiny;
  double value = linear;
  if (args.activation == Activation::kRelu) value = linear < 0 ? 0 : linear;
  if (args.activation == Activation::kGeluErf || args.activation == Activation::kGeluTanh) {
    const Bounded gelu = bounded_gelu(linear, args.activation);
    value = gelu.value;
    error = 1.13 * error + gelu.error;
  }
  value += residual;
  error += 1.1 * kUnit * std::abs(value) + kTiny;
  // Infinities and what float32 overflows to are left to the comparison with the reference.
  const bool checked = std::isnan(magnitude) || (magnitude < 1e38 && std::abs(value) < 1e38);
  return {value, error, checked};
}

std::string compare_with_model(const Case& drawn, const GemmF32Args& args, const RightSide& right,
                               const Matrix<float>& out, const std::vector<float>& residual) {
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    for (std::int64_t n = 0; n < drawn.columns; ++n) {
      const auto at = static_cast<std::size_t>(m * args.residual_stride + n);
      const Bounded bounded = model(args, right, m, n, drawn.residual ? residual[at] : 0.0f);
      if (bounded.admits(out.at(m, n))) continue;
      return message("row ", m, " column ", n, " is ", out.at(m, n), ", float64 gives ", bounded.value,
                     " +- ", bounded.error);
    }
  }
  return "";
}

}  // namespace

std::string check_pack_f32(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const auto w = take_matrix<float>(arena, drawn.columns, drawn.depth, drawn.depth + drawn.rows_gap,
                                    drawn.placement, random);
  fill_f32(w, drawn.floats_fill, random);
  const std::int64_t count = panel_count(drawn.columns) * kPanelColumns * drawn.depth;
  auto* panels = arena.take<float>(count, drawn.placement, random);
  std::memset(panels, kCanary, static_cast<std::size_t>(count) * sizeof(float));
  tables.tested.pack_f32(w.data, w.stride, drawn.columns, drawn.depth, panels);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t panel = i / (kPanelColumns * drawn.depth);
    const std::int64_t k = i / kPanelColumns % drawn.depth;
    const std::int64_t n = panel * kPanelColumns + i % kPanelColumns;
    const float wanted = n < drawn.columns ? w.at(n, k) : 0.0f;
    // The very bits, those of a NaN too: packing moves and does not compute.
    if (std::memcmp(&panels[i], &wanted, sizeof wanted) == 0) continue;
    return message("panel ", panel, " k ", k, " column ", n, " is ", panels[i], ", not ", wanted);
  }
  return "";
}

std::string check_float_gemm(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const auto a = take_matrix<float>(arena, drawn.rows, drawn.depth, drawn.depth + drawn.rows_gap,
                                    drawn.placement, random);
  fill_f32(a, drawn.rows_fill, random);
  const RightSide right =
      drawn.in_place ? in_place(drawn, arena, random) : packed(drawn, tables, arena, random);
  GemmF32Args args = make_args(drawn, a, right);
  if (drawn.bias) args.bias = take_vector(arena, drawn.columns, drawn.placement, drawn.floats_fill, random);
  const auto out = take_matrix<float>(arena, drawn.rows, drawn.columns, drawn.columns + drawn.out_gap,
                                      drawn.placement, random);
  fill_f32(out, drawn.floats_fill, random);
  Matrix<float> residual = out;
  if (!drawn.out_aliases_input) {
    residual = take_matrix<float>(arena, drawn.rows, drawn.columns, drawn.columns + drawn.residual_gap,
                                  drawn.placement, random);
    fill_f32(residual, drawn.floats_fill, random);
  }
  if (drawn.residual) args.residual = residual.data;
  args.residual_stride = residual.stride;
  args.out = out.data;
  args.out_stride = out.stride;
  const std::vector<float> before = out.copy();
  const std::vector<float> added = residual.copy();
  tables.tested.gemm_f32(args);

  std::vector<float> wanted = before;
  GemmF32Args reference_args = args;
  reference_args.out = wanted.data();
  if (drawn.residual && drawn.out_aliases_input) reference_args.residual = wanted.data();
  tables.reference.gemm_f32(reference_args);
  std::string wrong = compare_output(out, wanted, before, 0, drawn.columns);
  if (wrong.empty()) wrong = compare_with_model(drawn, args, right, out, added);
  return wrong;
}

}  // namespace fuzz
