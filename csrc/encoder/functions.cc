// SPDX-License-Identifier: MIT
// Activations that no matmul epilogue offers, and the mapping to those that do. Plain multiplications and additions, no fma: the
// compiler vectorises them for the oldest CPU that runs this package, and the bits are the same on all.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "encoder/execution.h"
#include "kernels/exp_constants.h"

namespace fastformers::encoder {
namespace {

// exp(-x) for x in [0, 87]; relative error below 3e-7.
inline float exp_negative(float x) {
  x = x < 87.0f ? x : 87.0f;
  const float shifted = x * -kLog2E + kRoundingMagic;
  const float power = shifted - kRoundingMagic;
  const float r = (-x - power * kLn2High) - power * kLn2Low;
  float p = kExp5;
  p = p * r + kExp4;
  p = p * r + kExp3;
  p = p * r + kExp2;
  p = p * r + kExp1;
  p = p * r + kExp0;
  p = p * r * r + r + 1.0f;
  std::int32_t bits, exponent;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&exponent, &shifted, sizeof exponent);
  bits += static_cast<std::int32_t>(static_cast<std::uint32_t>(exponent) << 23);
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

// tanh(x) = sign(x) (1 - e) / (1 + e), e = exp(-2 |x|). Absolute error below 2e-7; NaN stays NaN.
void tanh_values(float* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(x[i]);
    const float e = exp_negative(magnitude + magnitude);
    const float y = std::copysign((1.0f - e) / (1.0f + e), x[i]);
    x[i] = magnitude == magnitude ? y : x[i];
  }
}

// silu(x) = x / (1 + exp(-x)) = x e / (1 + e) for negative x, e = exp(-|x|).
void silu_values(float* x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float e = exp_negative(std::fabs(x[i]));
    x[i] = x[i] * (x[i] < 0.0f ? e : 1.0f) / (1.0f + e);
  }
}

}  // namespace

Activation fused_activation(Function function) {
  switch (function) {
    case Function::kRelu:
      return Activation::kRelu;
    case Function::kGelu:
      return Activation::kGeluErf;
    case Function::kGeluTanh:
      return Activation::kGeluTanh;
    default:
      return Activation::kNone;
  }
}

void apply_function(const KernelTable& kernels, Function function, float* x, std::int64_t count) {
  switch (function) {
    case Function::kNone:
      return;
    case Function::kRelu:
      for (std::int64_t i = 0; i < count; ++i) x[i] = x[i] < 0.0f ? 0.0f : x[i];
      return;
    case Function::kGelu:
    case Function::kGeluTanh:
      kernels.gelu_f32(x, count, fused_activation(function), x);
      return;
    case Function::kTanh:
      tanh_values(x, count);
      return;
    case Function::kSilu:
      silu_values(x, count);
      return;
  }
}

}  // namespace fastformers::encoder
