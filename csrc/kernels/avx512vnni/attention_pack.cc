// SPDX-License-Identifier: MIT
// Computes  float queries, keys and values of one head -> integers with one scale each row, key and channel (kernel_table.h).
// Layout    queries row-major u8; keys and values in panels of 16 columns x groups of 4 depth (packed_layout.h). A column is a
//           key, or a channel, whose depth is the keys: four rows of 16 channels are one group.
// Registers keys: 16 maxima, folded together; then 4 keys x 16 depth at a time, whose bytes vpackssdw and vpacksswb leave as
//           4 groups of 4 keys, one in each 128-bit lane; eight vshufi32x4 make 16 keys of it.
//           values: 4 channel maxima; then 4 vectors of 4 neighbouring keys, the same packs, and a vpshufb.
//             vmulps, vcvtps2dq, vpackssdw, vshufi32x4, vpmaxud  1 to 2 per cycle (Zen 4)
// Bound     vector ALU while the floats are in L1 (keys 4.6 cycles for 16 of them, values 3.5, a query row of 64 23; Emerald
//           Rapids), else reading them, twice, because the scale comes first: 6.5 cycles for 16 when the rows are 9 KiB apart.
//           Prefetching value rows made that 6.4 from 7.7.
// Quantizing needs no clamp: inverse is a normal number within 2 ulp of 127 / max|x|, so |x * inverse| rounds to 127 at most.
#include <immintrin.h>

#include <cstring>

#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vec_math.h"
#include "kernels/extents.h"
#include "kernels/packed_layout.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {
namespace {

constexpr std::uint32_t kInfinity = 0x7F800000u;
constexpr float kLeastNormal = 0x1p-126f;
constexpr std::int64_t kGroupBytes = kDepthGroup * kPanelColumns;

// The bits of |x|: as integers they sort as the magnitudes do, NaN and infinity last.
__attribute__((always_inline)) inline __m512i magnitude_bits(__m512 x_f32x16) {
  return _mm512_and_si512(_mm512_castps_si512(x_f32x16), _mm512_set1_epi32(0x7FFFFFFF));
}

struct Scales {
  __m512 scale_f32x16;
  __m512 inverse_f32x16;
};

Scales symmetric_scales(__m512i largest_u32x16) {
  const __m512 scale_f32x16 =
      _mm512_mul_ps(_mm512_castsi512_ps(largest_u32x16), _mm512_set1_ps(1.0f / 127.0f));
  const __mmask16 normal = _mm512_cmp_ps_mask(scale_f32x16, _mm512_set1_ps(kLeastNormal), _CMP_NLT_UQ);
  return {_mm512_maskz_mov_ps(normal, scale_f32x16),
          _mm512_maskz_div_ps(normal, _mm512_set1_ps(1.0f), scale_f32x16)};
}

__attribute__((always_inline)) inline __m512i round_s32(__m512 x_f32x16, __m512 inverse_f32x16) {
  return _mm512_cvtps_epi32(_mm512_mul_ps(x_f32x16, inverse_f32x16));
}

// Four vectors of 16 values in [-128, 127] -> in 128-bit lane l: values 4l .. 4l + 3 of the first, the second, the third
// and the fourth.
__attribute__((always_inline)) inline __m512i narrow_s8(const __m512i (&value_s32x16)[4]) {
  return _mm512_packs_epi16(_mm512_packs_epi32(value_s32x16[0], value_s32x16[1]),
                            _mm512_packs_epi32(value_s32x16[2], value_s32x16[3]));
}

// --- keys ---------------------------------------------------------------------------------------------------------------

// Up to 16 keys of a panel, read as zeros when they are not there. Four rows share a pointer, so that all 16 have an address
// without arithmetic.
struct KeyRows {
  const float* four[4];
  std::int64_t stride;
  std::int64_t count;
  std::int64_t depth;

  __attribute__((always_inline)) __m512 load(int i, int j, std::int64_t k, __mmask16 valid) const {
    return 4 * i + j < count ? _mm512_maskz_loadu_ps(valid, four[i] + j * stride + k) : _mm512_setzero_ps();
  }
};

// Four vectors -> in every 128-bit lane, the maximum of that lane of the first, the second, the third and the fourth.
__attribute__((always_inline)) inline __m512i fold_four(const __m512i (&x_u32x16)[4]) {
  const __m512i low_u32x16 = _mm512_max_epu32(_mm512_unpacklo_epi32(x_u32x16[0], x_u32x16[1]),
                                              _mm512_unpackhi_epi32(x_u32x16[0], x_u32x16[1]));
  const __m512i high_u32x16 = _mm512_max_epu32(_mm512_unpacklo_epi32(x_u32x16[2], x_u32x16[3]),
                                               _mm512_unpackhi_epi32(x_u32x16[2], x_u32x16[3]));
  return _mm512_max_epu32(_mm512_unpacklo_epi64(low_u32x16, high_u32x16),
                          _mm512_unpackhi_epi64(low_u32x16, high_u32x16));
}

// Lane j: the largest magnitude of key j.
__attribute__((always_inline)) inline __m512i largest_of_keys(const KeyRows& keys) {
  __m512i largest_u32x16[4][4] = {};
  const auto widen = [&](std::int64_t k, __mmask16 valid) FF_INLINE_LAMBDA {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      unrolled<4>([&](auto j) FF_INLINE_LAMBDA {
        largest_u32x16[i][j] =
            _mm512_max_epu32(largest_u32x16[i][j], magnitude_bits(keys.load(i, j, k, valid)));
      });
    });
  };
  std::int64_t k = 0;
  for (; k + 16 <= keys.depth; k += 16) widen(k, 0xFFFF);
  if (k < keys.depth) widen(k, lanes_below(keys.depth - k));
  __m512i four_u32x16[4];
  unrolled<4>([&](auto i) FF_INLINE_LAMBDA { four_u32x16[i] = fold_four(largest_u32x16[i]); });
  const __m512i low_u32x16 = _mm512_max_epu32(_mm512_shuffle_i32x4(four_u32x16[0], four_u32x16[1], 0x44),
                                              _mm512_shuffle_i32x4(four_u32x16[0], four_u32x16[1], 0xEE));
  const __m512i high_u32x16 = _mm512_max_epu32(_mm512_shuffle_i32x4(four_u32x16[2], four_u32x16[3], 0x44),
                                               _mm512_shuffle_i32x4(four_u32x16[2], four_u32x16[3], 0xEE));
  return _mm512_max_epu32(_mm512_shuffle_i32x4(low_u32x16, high_u32x16, 0x88),
                          _mm512_shuffle_i32x4(low_u32x16, high_u32x16, 0xDD));
}

// 16 keys x 16 depth from k on: the panel's groups k / 4 .. k / 4 + 3.
__attribute__((always_inline)) inline void quantize_keys(const KeyRows& keys, std::int64_t k, __mmask16 valid,
                                                         const float* inverses, __m512i (&group_s8x64)[4]) {
  __m512i four_s8x64[4];  // 4 keys each; lane l is group l
  unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
    __m512i value_s32x16[4];
    unrolled<4>([&](auto j) FF_INLINE_LAMBDA {
      value_s32x16[j] = round_s32(keys.load(i, j, k, valid), _mm512_set1_ps(inverses[4 * i + j]));
    });
    four_s8x64[i] = narrow_s8(value_s32x16);
  });
  const __m512i low01_s8x64 = _mm512_shuffle_i32x4(four_s8x64[0], four_s8x64[1], 0x44);
  const __m512i low23_s8x64 = _mm512_shuffle_i32x4(four_s8x64[2], four_s8x64[3], 0x44);
  const __m512i high01_s8x64 = _mm512_shuffle_i32x4(four_s8x64[0], four_s8x64[1], 0xEE);
  const __m512i high23_s8x64 = _mm512_shuffle_i32x4(four_s8x64[2], four_s8x64[3], 0xEE);
  group_s8x64[0] = _mm512_shuffle_i32x4(low01_s8x64, low23_s8x64, 0x88);
  group_s8x64[1] = _mm512_shuffle_i32x4(low01_s8x64, low23_s8x64, 0xDD);
  group_s8x64[2] = _mm512_shuffle_i32x4(high01_s8x64, high23_s8x64, 0x88);
  group_s8x64[3] = _mm512_shuffle_i32x4(high01_s8x64, high23_s8x64, 0xDD);
}

// One panel; returns false when one of its keys is not finite.
__attribute__((always_inline)) inline bool pack_panel(const KeyRows& keys, std::int8_t* panel, float* scales,
                                                      std::int32_t* offsets) {
  const __m512i largest_u32x16 = largest_of_keys(keys);
  if (_mm512_cmpge_epu32_mask(largest_u32x16, _mm512_set1_epi32(kInfinity)) != 0) return false;
  const Scales scale = symmetric_scales(largest_u32x16);
  alignas(64) float inverses[16];
  _mm512_store_ps(inverses, scale.inverse_f32x16);
  // 128 times the sum of a key's values: the u8 operand is 128 everywhere.
  const __m512i zero_point_u8x64 = _mm512_set1_epi8(static_cast<char>(128));
  __m512i sum_i32x16 = _mm512_setzero_si512();
  __m512i group_s8x64[4];
  const auto store = [&](std::int64_t k, auto i) FF_INLINE_LAMBDA {
    sum_i32x16 = _mm512_dpbusd_epi32(sum_i32x16, zero_point_u8x64, group_s8x64[i]);
    _mm512_store_si512(panel + k * kPanelColumns + i * kGroupBytes, group_s8x64[i]);
  };
  std::int64_t k = 0;
  for (; k + 16 <= keys.depth; k += 16) {
    quantize_keys(keys, k, 0xFFFF, inverses, group_s8x64);
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA { store(k, i); });
  }
  if (k < keys.depth) {
    quantize_keys(keys, k, lanes_below(keys.depth - k), inverses, group_s8x64);
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      if (k + i * kDepthGroup < keys.depth) store(k, i);
    });
  }
  _mm512_storeu_ps(scales, scale.scale_f32x16);
  _mm512_storeu_si512(offsets, _mm512_sub_epi32(_mm512_setzero_si512(), sum_i32x16));
  return true;
}

// --- values -------------------------------------------------------------------------------------------------------------

constexpr int kMostPanels = 4;

// 16 kPanels channels, the last 16 of which may be fewer.
struct ValueColumns {
  const float* first;
  std::int64_t stride;
  std::int64_t keys;
  __mmask16 last_valid;
};

template <int kPanels>
__attribute__((always_inline)) inline __m512 load_values(const ValueColumns& values, std::int64_t key,
                                                         int panel) {
  const float* at = values.first + key * values.stride + 16 * panel;
  return panel == kPanels - 1 ? _mm512_maskz_loadu_ps(values.last_valid, at) : _mm512_loadu_ps(at);
}

// Rows lie apart, often on pages of their own, where the hardware does not prefetch.
constexpr std::int64_t kAhead = 8;

template <int kPanels>
__attribute__((always_inline)) inline void prefetch_values(const ValueColumns& values, std::int64_t key) {
  const float* row = values.first + smaller(key, values.keys - 1) * values.stride;
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA { _mm_prefetch(row + 16 * panel, _MM_HINT_T0); });
}

// Keys [key, key + kKeys) as group key / 4 of each panel.
template <int kPanels, int kKeys>
__attribute__((always_inline)) inline void pack_group(const ValueColumns& values, std::int64_t key,
                                                      const __m512 (&inverse_f32x16)[kPanels],
                                                      std::int8_t* panels, std::int64_t panel_bytes) {
  const __m512i transposed_u8x64 =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    __m512i value_s32x16[4];
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      value_s32x16[i] = i < kKeys
                            ? round_s32(load_values<kPanels>(values, key + i, panel), inverse_f32x16[panel])
                            : _mm512_setzero_si512();
    });
    const __m512i group_s8x64 = _mm512_shuffle_epi8(narrow_s8(value_s32x16), transposed_u8x64);
    _mm512_store_si512(panels + panel * panel_bytes + key * kPanelColumns, group_s8x64);
  });
}

template <int kPanels>
bool pack_values(const ValueColumns& values, std::int8_t* panels, std::int64_t panel_bytes, float* scales) {
  __m512i largest_u32x16[kPanels];
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA { largest_u32x16[panel] = _mm512_setzero_si512(); });
  for (std::int64_t key = 0; key < values.keys; ++key) {
    prefetch_values<kPanels>(values, key + kAhead);
    unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
      const __m512i bits_u32x16 = magnitude_bits(load_values<kPanels>(values, key, panel));
      largest_u32x16[panel] = _mm512_max_epu32(largest_u32x16[panel], bits_u32x16);
    });
  }
  __mmask16 refused = 0;
  __m512 inverse_f32x16[kPanels];
  unrolled<kPanels>([&](auto panel) FF_INLINE_LAMBDA {
    refused |= _mm512_cmpge_epu32_mask(largest_u32x16[panel], _mm512_set1_epi32(kInfinity));
    const Scales scale = symmetric_scales(largest_u32x16[panel]);
    inverse_f32x16[panel] = scale.inverse_f32x16;
    _mm512_storeu_ps(scales + 16 * panel, scale.scale_f32x16);
  });
  if (refused != 0) return false;
  std::int64_t key = 0;
  for (; key + 4 <= values.keys; key += 4) {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA { prefetch_values<kPanels>(values, key + kAhead + i); });
    pack_group<kPanels, 4>(values, key, inverse_f32x16, panels, panel_bytes);
  }
  switch (values.keys - key) {
    case 1:
      pack_group<kPanels, 1>(values, key, inverse_f32x16, panels, panel_bytes);
      break;
    case 2:
      pack_group<kPanels, 2>(values, key, inverse_f32x16, panels, panel_bytes);
      break;
    case 3:
      pack_group<kPanels, 3>(values, key, inverse_f32x16, panels, panel_bytes);
      break;
    default:
      break;
  }
  return true;
}

constexpr bool (*kPackValues[kMostPanels + 1])(const ValueColumns&, std::int8_t*, std::int64_t, float*) = {
    nullptr, pack_values<1>, pack_values<2>, pack_values<3>, pack_values<4>};

// --- queries ------------------------------------------------------------------------------------------------------------

// The first `count` bytes, a multiple of 4, by plain stores: a masked one is microcode on Zen 4.
__attribute__((always_inline)) inline void store_front(std::uint8_t* out, __m512i bytes_u8x64,
                                                       std::int64_t count) {
  if (count >= 64) {
    _mm512_storeu_si512(out, bytes_u8x64);
    return;
  }
  __m256i half_u8x32 = _mm512_castsi512_si256(bytes_u8x64);
  if ((count & 32) != 0) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), half_u8x32);
    half_u8x32 = _mm512_extracti64x4_epi64(bytes_u8x64, 1);
    out += 32;
  }
  __m128i quarter_u8x16 = _mm256_castsi256_si128(half_u8x32);
  if ((count & 16) != 0) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), quarter_u8x16);
    quarter_u8x16 = _mm256_extracti128_si256(half_u8x32, 1);
    out += 16;
  }
  if ((count & 8) != 0) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), quarter_u8x16);
    quarter_u8x16 = _mm_unpackhi_epi64(quarter_u8x16, quarter_u8x16);
    out += 8;
  }
  if ((count & 4) != 0) {
    const int four = _mm_cvtsi128_si32(quarter_u8x16);
    std::memcpy(out, &four, sizeof four);
  }
}

// The last values of every row, up to 64 in kVectors vectors: whatever follows from their number, worked out once.
template <int kVectors>
struct Tail {
  __mmask16 last_valid;
  __mmask64 kept;
  std::int64_t bytes;  // to write, those past the values zero

  explicit Tail(std::int64_t count)
      : last_valid(lanes_below(count - 16 * (kVectors - 1))),
        kept(count < 64 ? (1ull << count) - 1 : ~0ull),
        bytes(padded_depth(count)) {}

  __attribute__((always_inline)) __m512 load(const float* q, int i) const {
    if (i >= kVectors) return _mm512_setzero_ps();
    return i == kVectors - 1 ? _mm512_maskz_loadu_ps(last_valid, q + 16 * i) : _mm512_loadu_ps(q + 16 * i);
  }
};

template <int kVectors>
__attribute__((always_inline)) inline std::uint32_t largest_of_row(const float* q, std::int64_t whole,
                                                                   const Tail<kVectors>& tail) {
  __m512i largest_u32x16[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  const auto widen = [&](auto i, __m512 x_f32x16) FF_INLINE_LAMBDA {
    largest_u32x16[i % 2] = _mm512_max_epu32(largest_u32x16[i % 2], magnitude_bits(x_f32x16));
  };
  for (std::int64_t k = 0; k < whole; k += 64) {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA { widen(i, _mm512_loadu_ps(q + k + 16 * i)); });
  }
  unrolled<kVectors>([&](auto i) FF_INLINE_LAMBDA { widen(i, tail.load(q + whole, i)); });
  return _mm512_reduce_max_epu32(_mm512_max_epu32(largest_u32x16[0], largest_u32x16[1]));
}

// Four vectors -> 64 bytes in order, 128 added.
__attribute__((always_inline)) inline __m512i shifted_u8(const __m512i (&value_s32x16)[4], __mmask64 kept) {
  const __m512i order_i32x16 = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_maskz_add_epi8(kept, _mm512_permutexvar_epi32(order_i32x16, narrow_s8(value_s32x16)),
                               _mm512_set1_epi8(static_cast<char>(128)));
}

template <int kVectors>
__attribute__((always_inline)) inline void quantize_row(const float* q, std::int64_t whole,
                                                        const Tail<kVectors>& tail, __m512 inverse_f32x16,
                                                        std::uint8_t* out) {
  __m512i value_s32x16[4];
  for (std::int64_t k = 0; k < whole; k += 64) {
    unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
      value_s32x16[i] = round_s32(_mm512_loadu_ps(q + k + 16 * i), inverse_f32x16);
    });
    _mm512_storeu_si512(out + k, shifted_u8(value_s32x16, ~0ull));
  }
  unrolled<4>([&](auto i) FF_INLINE_LAMBDA {
    value_s32x16[i] =
        i < kVectors ? round_s32(tail.load(q + whole, i), inverse_f32x16) : _mm512_setzero_si512();
  });
  store_front(out + whole, shifted_u8(value_s32x16, tail.kept), tail.bytes);
}

// A row that is not finite: zeros with scale NaN.
void refuse_row(std::int64_t depth, std::uint8_t* out, float* row_scale) {
  std::memset(out, 128, static_cast<std::size_t>(depth));
  std::memset(out + depth, 0, static_cast<std::size_t>(padded_depth(depth) - depth));
  *row_scale = __builtin_nanf("");
}

struct Queries {
  const float* q;
  std::int64_t q_stride;
  std::int64_t row_count;
  std::int64_t depth;
  std::uint8_t* out;
  std::int64_t out_stride;
  float* row_scales;
};

template <int kVectors>
void quantize_rows(const Queries& rows) {
  const std::int64_t whole = (rows.depth - 1) / 64 * 64;
  const Tail<kVectors> tail(rows.depth - whole);
  for (std::int64_t m = 0; m < rows.row_count; ++m) {
    const float* q = rows.q + m * rows.q_stride;
    std::uint8_t* out = rows.out + m * rows.out_stride;
    const std::uint32_t largest = largest_of_row(q, whole, tail);
    if (largest >= kInfinity) {
      refuse_row(rows.depth, out, rows.row_scales + m);
      continue;
    }
    float magnitude;
    std::memcpy(&magnitude, &largest, sizeof magnitude);
    const float scale = magnitude * (1.0f / 127.0f);
    const bool zero = scale < kLeastNormal;
    rows.row_scales[m] = zero ? 0.0f : scale;
    quantize_row(q, whole, tail, _mm512_set1_ps(zero ? 0.0f : 1.0f / scale), out);
  }
}

constexpr void (*kQuantizeRows[5])(const Queries&) = {nullptr, quantize_rows<1>, quantize_rows<2>,
                                                      quantize_rows<3>, quantize_rows<4>};

}  // namespace

bool pack_keys_s8(const PackKeysArgs& args) {
  const std::int64_t panel_bytes = padded_depth(args.depth) * kPanelColumns;
  for (std::int64_t j = 0; j < args.keys; j += kPanelColumns) {
    auto* panel = static_cast<std::int8_t*>(args.panels) + j / kPanelColumns * panel_bytes;
    const float* first = args.k + j * args.k_stride;
    const std::int64_t count = smaller(args.keys - j, kPanelColumns);
    KeyRows keys = {{first, first, first, first}, args.k_stride, kPanelColumns, args.depth};
    for (std::int64_t i = 1; 4 * i < count; ++i) keys.four[i] = first + 4 * i * args.k_stride;
    bool finite;
    if (count == kPanelColumns) {  // written out without a question about each key
      finite = pack_panel(keys, panel, args.scales + j, args.offsets + j);
    } else {
      keys.count = count;
      finite = pack_panel(keys, panel, args.scales + j, args.offsets + j);
    }
    if (!finite) return false;
  }
  return true;
}

bool pack_values_s8(const PackValuesArgs& args) {
  const std::int64_t panel_bytes = padded_depth(args.keys) * kPanelColumns;
  const std::int64_t count = panel_count(args.channels);
  std::int64_t panel = 0;
  for (std::int64_t left = (count + kMostPanels - 1) / kMostPanels; left > 0; --left) {
    const std::int64_t panels = (count - panel + left - 1) / left;
    const std::int64_t channel = panel * kPanelColumns;
    const std::int64_t in_last = args.channels - channel - (panels - 1) * kPanelColumns;
    const ValueColumns values = {args.v + channel, args.v_stride, args.keys, lanes_below(in_last)};
    auto* out = static_cast<std::int8_t*>(args.panels) + panel * panel_bytes;
    if (!kPackValues[panels](values, out, panel_bytes, args.scales + channel)) return false;
    panel += panels;
  }
  return true;
}

void quantize_queries_u8(const float* q, std::int64_t q_stride, std::int64_t row_count, std::int64_t depth,
                         std::uint8_t* out, std::int64_t out_stride, float* row_scales) {
  kQuantizeRows[((depth - 1) % 64) / 16 + 1]({q, q_stride, row_count, depth, out, out_stride, row_scales});
}

}  // namespace fastformers::avx512vnni
