// SPDX-License-Identifier: MIT
// What the operations mean, in plain loops over int64 and float64, and how far a float32 implementation of the
// contract in kernels/kernel_table.h may be from it. u = 2^-24 is the rounding error of one float32 operation.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "fuzz/guarded_memory.h"
#include "kernels/kernel_table.h"

namespace fuzz {

constexpr double kUnit = 0x1p-24;
constexpr double kLargestFloat = std::numeric_limits<float>::max();
constexpr double kTiny = 0x1p-149;  // what one operation may lose when its result is denormal

// A value and how far float32 may be from it. `checked` is false where float32 overflows and float64 does not: there
// only the comparison with the reference table speaks.
struct Bounded {
  double value = 0;
  double error = 0;
  bool checked = true;

  bool admits(float got) const {
    if (!checked) return true;
    if (std::isnan(value)) return std::isnan(got);
    if (std::isinf(value)) return static_cast<double>(got) == value;
    return std::abs(static_cast<double>(got) - value) <= error;
  }
};

// acc[m, n] = sum_k q[m, k] w[n, k] for the columns [first, last).
std::vector<std::int64_t> plain_products(const Matrix<std::uint8_t>& q, const std::int8_t* weights,
                                         std::int64_t depth, std::int64_t first, std::int64_t last);

double plain_gelu(double x, fastformers::Activation which);

// The result's rounding is u|x|; h(|x|) = |x| P(X > |x|) is a float32 quartic, off by a few 1e-8 where |x| > 1/4, and near
// zero it is |x| / 2 + O(x^2) with relative error of a few u: together below 4e-7 |x|. x = -inf: h is taken at
// its limit, below 2e-8.
Bounded bounded_gelu(double x, fastformers::Activation which);

// act(acc * (row_scale * column_scale) + bias) + residual.
struct EpilogueInputs {
  std::int64_t corrected_sum;
  float row_scale;
  float column_scale;
  float bias;
  fastformers::Activation activation;
  float residual;
};
Bounded bounded_epilogue(const EpilogueInputs& in);

// Rows of length depth; each appends nothing and resizes `out`.
void bounded_layer_norm(const std::vector<float>& v, const float* gamma, const float* beta, double epsilon,
                        std::vector<Bounded>& out);
void bounded_softmax(const float* x, std::int64_t depth, std::vector<Bounded>& out);

}  // namespace fuzz
