// SPDX-License-Identifier: MIT
// The range of a row by integer maxima of its bits. As signed integers the positive floats keep their order and all negative ones
// are below zero; as unsigned integers the negative floats come after the positive ones, largest magnitude last. NaN and Inf sort
// beyond every finite number on either side, so finiteness needs no instruction of its own.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastformers {
namespace {

// Where both maxima start, as 0 belongs to every range: the bits of 0 and of -0.
constexpr std::uint32_t kStartOfHigh = 0, kStartOfLow = 0x80000000u;

inline float float_of(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// high_bits: the maximum as signed integers; low_bits: as unsigned ones.
inline void set_range(std::uint32_t high_bits, std::uint32_t low_bits, float* low, float* high) {
  constexpr std::uint32_t kInfinity = 0x7F800000u, kSign = 0x80000000u;
  const bool finite = high_bits < kInfinity && low_bits < (kInfinity | kSign);
  *low = finite ? float_of(low_bits) + 0.0f : __builtin_nanf("");  // -0 becomes +0
  *high = finite ? float_of(high_bits) : __builtin_nanf("");
}

}  // namespace
}  // namespace fastformers
