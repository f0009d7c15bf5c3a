// SPDX-License-Identifier: MIT
// Loops are written for reading; only plain_products is laid out for speed (it is most of the time of a run).
#include "fuzz/models.h"

#include <algorithm>

namespace fuzz {

using fastformers::Activation;

std::vector<std::int64_t> plain_products(const Matrix<std::uint8_t>& q, const std::int8_t* weights,
                                         std::int64_t depth, std::int64_t first, std::int64_t last) {
  const std::int64_t columns = last - first;
  std::vector<std::int64_t> sums(static_cast<std::size_t>(q.rows * columns));
  for (std::int64_t m = 0; m < q.rows; ++m) {
    const std::uint8_t* row = &q.at(m, 0);
    for (std::int64_t n = 0; n < columns; ++n) {
      const std::int8_t* weight = weights + (first + n) * depth;
      std::int64_t sum = 0;
      for (std::int64_t k = 0; k < depth; ++k) sum += std::int64_t{row[k]} * weight[k];
      sums[static_cast<std::size_t>(m * columns + n)] = sum;
    }
  }
  return sums;
}

double plain_gelu(double x, Activation which) {
  if (which == Activation::kGeluErf) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  const double inner = std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * inner));
}

Bounded bounded_gelu(double x, Activation which) {
  if (std::isnan(x)) return {x, 0, true};
  if (std::isinf(x)) return x > 0 ? Bounded{x, 0, true} : Bounded{0, 2e-8, true};
  return {plain_gelu(x, which), 4e-7 * std::abs(x) + 2 * kTiny, true};
}

// s = row_scale * column_scale: relative error u. float(sum): u. The fused multiply-add rounds its result once: u of it.
// ReLU does not enlarge an error; GELU's slope is below 1.13. Adding the residual rounds once more.
Bounded bounded_epilogue(const EpilogueInputs& in) {
  const double scale = static_cast<double>(in.row_scale) * in.column_scale;
  const double product = static_cast<double>(in.corrected_sum) * scale;
  const double linear = product + in.bias;
  double error = 2.1 * kUnit * std::abs(product) + kTiny * std::abs(static_cast<double>(in.corrected_sum)) +
                 1.1 * kUnit * std::abs(linear) + kTiny;
  double value = linear;
  if (in.activation == Activation::kRelu) value = linear < 0 ? 0 : linear;
  if (in.activation == Activation::kGeluErf || in.activation == Activation::kGeluTanh) {
    const Bounded gelu = bounded_gelu(linear, in.activation);
    value = gelu.value;
    error = 1.13 * error + gelu.error;
  }
  value += in.residual;
  error += 1.1 * kUnit * std::abs(value) + kTiny;
  const auto overflows = [](double x) { return std::isfinite(x) && std::abs(x) > 0.999 * kLargestFloat; };
  return {value, error, !overflows(scale) && !overflows(product) && !overflows(linear) && !overflows(value)};
}

// A sum over 64 lanes chains depth / 64 additions and folds 6 times; dividing rounds once more: n = depth / 64 + 8
// operations of relative error u on the sum of magnitudes. With e the error of one deviation, the variance is off by at
// most 2 sigma e + e^2 + (n + 2) u variance (Cauchy-Schwarz on the cross term), which bounds rstd from both sides.
void bounded_layer_norm(const std::vector<float>& v, const float* gamma, const float* beta, double epsilon,
                        std::vector<Bounded>& out) {
  const auto depth = static_cast<double>(v.size());
  const double n = depth / 64 + 8;
  double sum = 0, magnitude = 0, largest = 0;
  for (const float value : v) {
    sum += value;
    magnitude += std::abs(static_cast<double>(value));
  }
  const double mean = sum / depth;
  double squares = 0;
  for (const float value : v) {
    squares += (value - mean) * (value - mean);
    largest = std::max(largest, std::abs(value - mean));
  }
  const double variance = squares / depth;
  const double rstd = 1 / std::sqrt(variance + epsilon);
  const double deviation_error = 1.1 * (n * kUnit * magnitude / depth + kUnit * largest) + kTiny;
  const double variance_error = 2 * std::sqrt(variance) * deviation_error +
                                deviation_error * deviation_error + (n + 2) * kUnit * variance +
                                depth * kTiny;
  const double rstd_high =
      1 / std::sqrt(std::max(variance - variance_error, 0.0) + epsilon) * (1 + 4 * kUnit);
  const bool overflows = std::isfinite(magnitude) && (magnitude > 1e38 || squares > 1e38 || rstd_high > 1e38);
  out.resize(v.size());
  for (std::size_t k = 0; k < v.size(); ++k) {
    const double normal = (v[k] - mean) * rstd;
    const double normal_error = deviation_error * rstd_high +
                                std::abs(v[k] - mean) * (rstd_high - rstd) * 1.5 +
                                2.2 * kUnit * std::abs(normal);
    const double value = normal * gamma[k] + beta[k];
    const double error =
        normal_error * std::abs(static_cast<double>(gamma[k])) + 1.1 * kUnit * std::abs(value) + kTiny;
    // An infinite gamma makes infinity of what float64 calls 0 and float32 a rounding error.
    const bool compared =
        !overflows && !std::isinf(gamma[k]) && !(std::isfinite(value) && std::abs(value) > 1e38);
    out[k] = {value, error, compared};
  }
}

// t = max - x is rounded once (absolute error u t, so relative error u t of exp) and reduced by a multiple of ln 2
// (again at most u t); the polynomial, the sum (depth / 64 + 7 operations) and the division add a few u. exp(x)
// below -87.3 gives 0, because 2^-126, the smallest float that is not denormal, is near.
void bounded_softmax(const float* x, std::int64_t depth, std::vector<Bounded>& out) {
  constexpr double kLargestFlushed = 1.22e-38;  // exp(-87.3)
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  bool poisoned = false;
  for (std::int64_t k = 0; k < depth; ++k) {
    poisoned = poisoned || std::isnan(x[k]);
    largest = std::max(largest, static_cast<double>(x[k]));
  }
  poisoned = poisoned || std::isinf(largest);
  out.assign(static_cast<std::size_t>(depth), {std::numeric_limits<double>::quiet_NaN(), 0, true});
  if (poisoned) return;
  for (std::int64_t k = 0; k < depth; ++k) sum += std::exp(x[k] - largest);
  for (std::int64_t k = 0; k < depth; ++k) {
    const double below = largest - x[k];
    const double value = std::exp(-below) / sum;
    const double relative = (2 * std::min(below, 110.0) + 16 + static_cast<double>(depth) / 64) * kUnit;
    out[static_cast<std::size_t>(k)] = {value, relative * value + kLargestFlushed, true};
  }
}

}  // namespace fuzz
