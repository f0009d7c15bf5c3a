// SPDX-License-Identifier: MIT
// INT8 attention of one head, one query row at a time; canonical layouts (keys [keys, depth], values [channels, keys]).
#include <cmath>
#include <cstring>

#include "kernels/attention_constants.h"
#include "kernels/exp_constants.h"
#include "kernels/packed_layout.h"
#include "kernels/reference/scalar_math.h"
#include "kernels/reference/tables.h"

namespace fastformers::reference {
namespace {

struct Scale {
  float scale;
  float inverse;
};

Scale symmetric_scale(float largest) {
  const float scale = largest * (1.0f / 127.0f);
  return scale < 0x1p-126f ? Scale{0.0f, 0.0f} : Scale{scale, 1.0f / scale};
}

std::int8_t round_s8(float x, float inverse) {
  const float rounded = std::nearbyintf(x * inverse);
  return static_cast<std::int8_t>(rounded > 127.0f ? 127.0f : (rounded < -127.0f ? -127.0f : rounded));
}

// The largest magnitude of `count` values `stride` apart; NaN if one of them is NaN or infinite.
float largest_magnitude(const float* x, std::int64_t stride, std::int64_t count) {
  float largest = 0.0f;
  for (std::int64_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(x[i * stride]);
    if (!std::isfinite(magnitude)) return NAN;
    largest = max_second(magnitude, largest);
  }
  return largest;
}

struct SeenKeys {
  std::int64_t first;
  std::int64_t last;  // one past the last
};

SeenKeys seen_keys(const AttendArgs& args, std::int64_t row) {
  if (args.window < 0) return {0, args.keys};
  const std::int64_t position = args.first_query + row;
  const std::int64_t first = position - args.window, last = position + args.window + 1;
  return {first < 0 ? 0 : first, last > args.keys ? args.keys : last};
}

// t[j] for the keys that are seen; returns the largest.
float scores_of_row(const AttendArgs& args, std::int64_t row, SeenKeys seen, float* t) {
  const std::uint8_t* q = args.q + row * args.q_stride;
  float largest = -INFINITY;
  for (std::int64_t j = seen.first; j < seen.last; ++j) {
    const std::int8_t* key = static_cast<const std::int8_t*>(args.key_panels) + j * args.depth;
    std::int32_t sum = args.key_offsets[j];
    for (std::int64_t k = 0; k < args.depth; ++k) sum += static_cast<std::int32_t>(q[k]) * key[k];
    t[j] = static_cast<float>(sum) * args.key_scales[j];
    if (args.bias != nullptr)
      t[j] = std::fmaf(t[j], args.row_scales[row], args.bias[row * args.bias_stride + j]);
    largest = max_second(t[j], largest);
  }
  return largest;
}

std::int32_t probability(float t, float factor, float largest) {
  const float x = max_second((t - largest) * factor, kLeastPower);  // at most 0; NaN gives kLeastPower
  const float shifted = x + kRoundingMagic;
  const float f = x - (shifted - kRoundingMagic);
  float p = std::fmaf(kPower3, f, kPower2);
  p = std::fmaf(p, f, kPower1);
  p = std::fmaf(p, f, kPower0);
  return static_cast<std::int32_t>(std::nearbyintf(float_of(bits_of(p) + (bits_of(shifted) << 23))));
}

}  // namespace

bool pack_keys_s8(const PackKeysArgs& args) {
  auto* out = static_cast<std::int8_t*>(args.panels);
  for (std::int64_t j = 0; j < panel_count(args.keys) * kPanelColumns; ++j) {
    args.scales[j] = 0.0f;
    args.offsets[j] = 0;
    if (j >= args.keys) continue;
    const float* k = args.k + j * args.k_stride;
    const float largest = largest_magnitude(k, 1, args.depth);
    if (std::isnan(largest)) return false;
    const Scale scale = symmetric_scale(largest);
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < args.depth; ++i)
      sum += out[j * args.depth + i] = round_s8(k[i], scale.inverse);
    args.scales[j] = scale.scale;
    args.offsets[j] = -128 * sum;
  }
  return true;
}

bool pack_values_s8(const PackValuesArgs& args) {
  auto* out = static_cast<std::int8_t*>(args.panels);
  for (std::int64_t i = 0; i < panel_count(args.channels) * kPanelColumns; ++i) {
    args.scales[i] = 0.0f;
    if (i >= args.channels) continue;
    const float largest = largest_magnitude(args.v + i, args.v_stride, args.keys);
    if (std::isnan(largest)) return false;
    const Scale scale = symmetric_scale(largest);
    for (std::int64_t j = 0; j < args.keys; ++j) {
      out[i * args.keys + j] = round_s8(args.v[j * args.v_stride + i], scale.inverse);
    }
    args.scales[i] = scale.scale;
  }
  return true;
}

void quantize_queries_u8(const float* q, std::int64_t q_stride, std::int64_t row_count, std::int64_t depth,
                         std::uint8_t* out, std::int64_t out_stride, float* row_scales) {
  for (std::int64_t m = 0; m < row_count; ++m, q += q_stride, out += out_stride) {
    const float largest = largest_magnitude(q, 1, depth);
    const Scale scale = symmetric_scale(std::isnan(largest) ? 0.0f : largest);
    row_scales[m] = std::isnan(largest) ? NAN : scale.scale;
    for (std::int64_t k = 0; k < padded_depth(depth); ++k) {
      out[k] =
          k < depth
              ? static_cast<std::uint8_t>(round_s8(std::isnan(largest) ? 0.0f : q[k], scale.inverse) + 128)
              : std::uint8_t{0};
    }
  }
}

std::int64_t attend_scratch_bytes(std::int64_t, std::int64_t keys) {
  return keys * static_cast<std::int64_t>(sizeof(float));
}

void attend_u8s8(const AttendArgs& args) {
  auto* t = static_cast<float*>(args.scratch);
  const auto* values = static_cast<const std::int8_t*>(args.value_panels);
  for (std::int64_t m = 0; m < args.row_count; ++m) {
    const SeenKeys seen = seen_keys(args, m);
    const float largest = scores_of_row(args, m, seen, t);
    const float factor = args.bias != nullptr ? kLog2E : args.row_scales[m] * kLog2E;
    std::int32_t total = 0;
    for (std::int64_t j = seen.first; j < seen.last; ++j) {
      const std::int32_t p = probability(t[j], factor, largest);
      total += p;
      t[j] = static_cast<float>(p);
    }
    const bool defined = total > 0 && !std::isnan(args.row_scales[m]);
    const float inverse = defined ? 1.0f / static_cast<float>(total) : NAN;
    for (std::int64_t i = 0; i < args.channels; ++i) {
      std::int32_t sum = 0;
      for (std::int64_t j = seen.first; j < seen.last; ++j) {
        sum += static_cast<std::int32_t>(t[j]) * values[i * args.keys + j];
      }
      args.out[m * args.out_stride + i] = static_cast<float>(sum) * (args.value_scales[i] * inverse);
    }
  }
}

}  // namespace fastformers::reference
