// SPDX-License-Identifier: MIT
// The scalar forms of the shared float operations. They define the bits every instruction set must produce.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/exp_constants.h"
#include "kernels/gelu_tables.h"
#include "kernels/kernel_table.h"

namespace fastformers::reference {

// The vector minimum and maximum of x86: the second operand when either is NaN or both are zero.
static inline float min_second(float a, float b) { return a < b ? a : b; }
static inline float max_second(float a, float b) { return a > b ? a : b; }

static inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// ReLU on the bits, as a signed integer maximum with 0: negative numbers and -0 give +0, a positive NaN stays NaN. (The
// NaN of a row with NaN or Inf is positive; a bias or residual must be finite.)
static inline float relu(float x) { return static_cast<std::int32_t>(bits_of(x)) > 0 ? x : 0.0f; }

// max(x, 0) - h(|x|), see gelu_tables.h. Absolute error below 3e-8 + 1 ulp of the result.
static inline float gelu(float x, const float table[6][16]) {
  const float magnitude = min_second(std::fabs(x), kGeluLimit);
  const float shifted = std::fmaf(magnitude, kGeluSegmentsPerUnit, kRoundingMagic);
  const std::uint32_t segment = bits_of(shifted) & 15;
  const float offset = std::fmaf(shifted - kRoundingMagic, -kGeluSegmentWidth, magnitude);
  float h = table[5][segment];
  for (int power = 4; power >= 0; --power) h = std::fmaf(h, offset, table[power][segment]);
  return max_second(0.0f, x) - h;
}

static inline float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return relu(x);
    case Activation::kGeluErf:
      return gelu(x, kGeluErfTable);
    case Activation::kGeluTanh:
      return gelu(x, kGeluTanhTable);
  }
  return x;
}

// exp(x) for x <= 0; below -87.3 the result is 0 (it would be denormal). NaN stays NaN. Error below 1.5 ulp.
static inline float exp_nonpositive(float x) {
  const float shifted = std::fmaf(x, kLog2E, kRoundingMagic);
  const float power = shifted - kRoundingMagic;
  float r = std::fmaf(power, -kLn2High, x);
  r = std::fmaf(power, -kLn2Low, r);
  float p = kExp5;
  p = std::fmaf(p, r, kExp4);
  p = std::fmaf(p, r, kExp3);
  p = std::fmaf(p, r, kExp2);
  p = std::fmaf(p, r, kExp1);
  p = std::fmaf(p, r, kExp0);
  p = std::fmaf(p * r, r, r) + 1.0f;
  if (x < kLeastExp) return 0.0f;
  return float_of(bits_of(p) + (bits_of(shifted) << 23));
}

// The 64 lanes of a row sum (element i in lane i mod 64) folded in the fixed tree: 64 -> 16 -> 8 -> 4 -> 2 -> 1.
static inline float fold_lanes(const float lanes[64]) {
  float fold[16];
  for (int i = 0; i < 16; ++i) fold[i] = (lanes[i] + lanes[16 + i]) + (lanes[32 + i] + lanes[48 + i]);
  for (int width = 8; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) fold[i] += fold[i + width];
  }
  return fold[0];
}

}  // namespace fastformers::reference
