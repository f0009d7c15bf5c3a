// SPDX-License-Identifier: MIT
// Row ranges, row quantization, and the dispatch over all checks.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "fuzz/checks.h"
#include "fuzz/models.h"
#include "kernels/packed_layout.h"

namespace fuzz {
namespace {

using namespace fastformers;  // NOLINT: the names of the contract under test

constexpr unsigned kMxcsrFlags = 0x3F;  // sticky exception flags, which arithmetic sets; the rest is control

struct Rows {
  Matrix<float> x;
  RowsArgs args;
};

Rows make_rows(const Case& drawn, Arena& arena, Random& random) {
  Rows rows;
  rows.x = take_matrix<float>(arena, drawn.rows, drawn.depth, drawn.depth + drawn.rows_gap, drawn.placement,
                              random);
  fill_f32(rows.x, drawn.rows_fill, random);
  const float* factors =
      drawn.factors ? take_vector(arena, drawn.depth, drawn.placement, drawn.floats_fill, random) : nullptr;
  rows.args = {rows.x.data, rows.x.stride, drawn.rows, drawn.depth, factors};
  return rows;
}

// x f in float32: the product of two floats is exact in float64, so this rounds once.
float scaled(const Rows& rows, std::int64_t m, std::int64_t k) {
  const double factor = rows.args.factors != nullptr ? rows.args.factors[k] : 1.0f;
  return static_cast<float>(rows.x.at(m, k) * factor);
}

struct Range {
  float low = 0;
  float high = 0;
};

Range plain_range(const Rows& rows, std::int64_t m) {
  Range range;
  for (std::int64_t k = 0; k < rows.x.columns; ++k) {
    const float value = scaled(rows, m, k);
    if (!std::isfinite(value))
      return {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::quiet_NaN()};
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  return range;
}

// What a caller would pass, and now and then nonsense.
void fill_quantization(const Case& drawn, const Rows& rows, float* inverse_scales, std::int32_t* zero_points,
                       Random& random) {
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    const Range range = plain_range(rows, m);
    inverse_scales[m] = 255.0f / (range.high - range.low);
    const float zero_point = std::nearbyint(-range.low * inverse_scales[m]);
    zero_points[m] = zero_point >= 0 && zero_point <= 255 ? static_cast<std::int32_t>(zero_point) : 0;
    if (random.percent(10))
      inverse_scales[m] = random.percent(50) ? pick_hostile(random) : random.uniform(-3e9f, 3e9f);
    if (random.percent(10)) zero_points[m] = static_cast<std::int32_t>(random.below(256));
  }
}

// round(p * inverse + zero point) in float64 may be off by the float32 rounding of the fma: 2^-17 below 256, where the
// clamp to [0, 255] begins. Beyond int32, and for NaN, the contract gives 0; near that bound either answer may follow.
bool admits_byte(float product, float inverse_scale, std::int32_t zero_point, std::uint8_t got) {
  const double exact = static_cast<double>(product) * inverse_scale + zero_point;
  if (!(std::abs(exact) < 2147483900.0)) return got == 0;
  if (std::abs(exact) > 2147483400.0) return true;
  return std::abs(got - std::min(std::max(exact, 0.0), 255.0)) <= 0.5 + 0x1p-16;
}

std::string check_mxcsr(const Case& drawn, const Tables& tables, Arena& arena) {
  const unsigned before = _mm_getcsr();
  Random random(drawn.seed ^ 0x5DEECE66Dull);
  using Check = std::string (*)(const Case&, const Tables&, Arena&, Random&);
  constexpr Check kChecks[kOpCount] = {check_pack,     check_gemm_s32,   check_gemm_f32, check_range,
                                       check_quantize, check_layer_norm, check_softmax,  check_gelu,
                                       check_pack_f32, check_float_gemm, check_attention};
  std::string wrong = kChecks[static_cast<int>(drawn.op)](drawn, tables, arena, random);
  if (wrong.empty() && (_mm_getcsr() & ~kMxcsrFlags) != (before & ~kMxcsrFlags)) wrong = "MXCSR was changed";
  return wrong;
}

}  // namespace

std::string check_range(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const Rows rows = make_rows(drawn, arena, random);
  auto* low = arena.take<float>(drawn.rows, drawn.placement, random);
  auto* high = arena.take<float>(drawn.rows, drawn.placement, random);
  tables.tested.range_f32_rows(rows.args, low, high);
  std::vector<float> wanted_low(static_cast<std::size_t>(drawn.rows)), wanted_high = wanted_low;
  tables.reference.range_f32_rows(rows.args, wanted_low.data(), wanted_high.data());
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    const Range plain = plain_range(rows, m);
    const bool nan = std::isnan(plain.low) && std::isnan(low[m]) && std::isnan(high[m]);
    if (!nan && (low[m] != plain.low || high[m] != plain.high)) {
      return message("row ", m, " range is ", low[m], "..", high[m], ", plain loop gives ", plain.low, "..",
                     plain.high);
    }
    const auto at = static_cast<std::size_t>(m);
    if (!same_bits(low[m], wanted_low[at]) || !same_bits(high[m], wanted_high[at])) {
      return message("row ", m, " range is ", low[m], "..", high[m], ", reference gives ", wanted_low[at],
                     "..", wanted_high[at]);
    }
  }
  return "";
}

std::string check_quantize(const Case& drawn, const Tables& tables, Arena& arena, Random& random) {
  const Rows rows = make_rows(drawn, arena, random);
  auto* inverse_scales = arena.take<float>(drawn.rows, drawn.placement, random);
  auto* zero_points = arena.take<std::int32_t>(drawn.rows, drawn.placement, random);
  fill_quantization(drawn, rows, inverse_scales, zero_points, random);
  const std::int64_t width = padded_depth(drawn.depth);
  const auto q =
      take_matrix<std::uint8_t>(arena, drawn.rows, width, width + drawn.out_gap, drawn.placement, random);
  std::memset(q.data, kCanary, static_cast<std::size_t>(q.count()));
  const std::vector<std::uint8_t> before = q.copy();
  std::vector<std::uint8_t> wanted = before;
  tables.tested.quantize_f32_u8_rows(rows.args, inverse_scales, zero_points, q.data, q.stride);
  tables.reference.quantize_f32_u8_rows(rows.args, inverse_scales, zero_points, wanted.data(), q.stride);
  const std::string wrong = compare_output(q, wanted, before, 0, width);
  if (!wrong.empty()) return wrong;
  for (std::int64_t m = 0; m < drawn.rows; ++m) {
    for (std::int64_t k = 0; k < width; ++k) {
      const bool right = k < drawn.depth
                             ? admits_byte(scaled(rows, m, k), inverse_scales[m], zero_points[m], q.at(m, k))
                             : q.at(m, k) == 0;
      if (!right)
        return message("row ", m, " byte ", k, " is ", +q.at(m, k), ", which float64 does not allow");
    }
  }
  return "";
}

std::string check_case(const Case& drawn, const Tables& tables, Arena& arena) {
  arena.clear();
  std::string wrong = check_mxcsr(drawn, tables, arena);
  if (wrong.empty() && !arena.canaries_intact()) wrong = "bytes before or after a buffer were changed";
  return wrong;
}

}  // namespace fuzz
