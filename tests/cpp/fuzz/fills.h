// SPDX-License-Identifier: MIT
// What the buffers of a case hold. Gaps between rows and the bytes behind a quantized row's depth are filled with
// the values that would hurt most if a kernel used them (NaN, random bytes).
#pragma once

#include <cstdint>
#include <limits>

#include "fuzz/guarded_memory.h"
#include "fuzz/random.h"

namespace fuzz {

enum class Fill { kUniform, kExtremes, kAllMost, kOneHot, kZeros, kAllEqual, kHostile };

inline Fill pick_fill(Random& random, bool floats) {
  const std::int64_t draw = random.below(100);
  if (draw < 10) return floats ? Fill::kHostile : Fill::kAllMost;
  if (draw < 25) return Fill::kExtremes;
  if (draw < 30) return Fill::kAllMost;
  if (draw < 37) return Fill::kOneHot;
  if (draw < 42) return Fill::kZeros;
  if (draw < 50) return Fill::kAllEqual;
  return Fill::kUniform;
}

inline float pick_hostile(Random& random) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float value = random.pick({kNan, -kNan, kInf, -kInf, 1e-42f, std::numeric_limits<float>::denorm_min(),
                                   0.0f, 3e38f, 1e-38f, 2147483648.0f, 16777217.0f, 0.5f});
  return random.percent(50) ? value : -value;
}

inline void fill_random_bytes(std::uint8_t* bytes, std::int64_t count, Random& random) {
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const std::uint64_t word = random.next();
    std::memcpy(bytes + i, &word, 8);
  }
  for (; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(random.next());
}

// [rows, depth] of u8; everything else in the buffer becomes random bytes.
inline void fill_u8(const Matrix<std::uint8_t>& q, std::int64_t depth, Fill fill, Random& random) {
  fill_random_bytes(q.data, q.count(), random);
  if (fill == Fill::kUniform || depth == 0) return;
  const auto constant = static_cast<std::uint8_t>(random.next());
  for (std::int64_t m = 0; m < q.rows; ++m) {
    std::uint8_t* row = &q.at(m, 0);
    for (std::int64_t k = 0; k < depth; ++k) {
      if (fill == Fill::kExtremes) row[k] = (row[k] & 1) != 0 ? 255 : 0;
      if (fill == Fill::kAllMost || fill == Fill::kHostile) row[k] = 255;
      if (fill == Fill::kAllEqual) row[k] = constant;
      if (fill == Fill::kZeros || fill == Fill::kOneHot) row[k] = 0;
    }
    if (fill == Fill::kOneHot) row[random.below(depth)] = random.percent(50) ? 255 : 1;
  }
}

// Weights [columns, depth], dense, in [-127, 127].
inline void fill_s8(std::int8_t* weights, std::int64_t columns, std::int64_t depth, Fill fill,
                    Random& random) {
  const std::int64_t count = columns * depth;
  fill_random_bytes(reinterpret_cast<std::uint8_t*>(weights), count, random);
  const std::int8_t sign = random.percent(50) ? 1 : -1;
  const auto constant = static_cast<std::int8_t>(random.between(-127, 127));
  for (std::int64_t i = 0; i < count; ++i) {
    if (weights[i] == -128) weights[i] = 127;
    if (fill == Fill::kExtremes) weights[i] = weights[i] < 0 ? -127 : 127;
    if (fill == Fill::kAllMost || fill == Fill::kHostile) weights[i] = static_cast<std::int8_t>(127 * sign);
    if (fill == Fill::kAllEqual) weights[i] = constant;
    if (fill == Fill::kZeros || fill == Fill::kOneHot) weights[i] = 0;
  }
  for (std::int64_t n = 0; n < columns && fill == Fill::kOneHot; ++n) {
    weights[n * depth + random.below(depth)] = static_cast<std::int8_t>(127 * sign);
  }
}

// Floats of a size drawn once (1e-3 .. 1e3) around an offset drawn once, NaN in the gaps.
inline void fill_f32(const Matrix<float>& x, Fill fill, Random& random) {
  const float size = random.pick({1e-3f, 0.1f, 1.0f, 1.0f, 4.0f, 30.0f, 1e3f});
  const float offset = random.percent(30) ? random.uniform(-3.0f, 3.0f) * size : 0.0f;
  const float constant = random.uniform(-size, size);
  for (std::int64_t i = 0; i < x.count(); ++i) x.data[i] = std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t m = 0; m < x.rows; ++m) {
    float* row = &x.at(m, 0);
    const bool hostile_row = fill == Fill::kHostile && random.percent(50);
    for (std::int64_t k = 0; k < x.columns; ++k) {
      const float draw = random.uniform(-size, size) + offset;
      row[k] = draw;
      if (fill == Fill::kExtremes) row[k] = draw < 0 ? -size : size;
      if (fill == Fill::kAllMost) row[k] = size;
      if (fill == Fill::kAllEqual) row[k] = constant;
      if (fill == Fill::kZeros || fill == Fill::kOneHot) row[k] = 0.0f;
      if (hostile_row && random.percent(5)) row[k] = pick_hostile(random);
    }
    if (x.columns > 0 && fill == Fill::kOneHot) row[random.below(x.columns)] = size;
    if (x.columns > 0 && hostile_row) row[random.below(x.columns)] = pick_hostile(random);
  }
}

inline float* take_vector(Arena& arena, std::int64_t count, Placement placement, Fill fill, Random& random) {
  const Matrix<float> vector = take_matrix<float>(arena, 1, count, count, placement, random);
  fill_f32(vector, fill, random);
  return vector.data;
}

}  // namespace fuzz
