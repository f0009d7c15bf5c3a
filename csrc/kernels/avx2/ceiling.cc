// SPDX-License-Identifier: MIT
// Computes  nothing: the loops whose speed is this machine's limit for matmuls without VNNI.
// Layout    registers only, and one linear stream of 32-byte loads.
// Registers 12 accumulators, 2 operands and a product, as in the matmul.
// Bound     vpmaddwd + vpaddd throughput; vfmadd231ps throughput; load bandwidth of the cache level that holds the data.
#include <immintrin.h>

#include "kernels/avx2/tables.h"
#include "kernels/avx2/vec_math.h"
#include "kernels/unrolled.h"

namespace fastformers::avx2 {

std::int64_t ceiling_u8s8(std::int64_t iterations) {
  constexpr int kChains = 12;
  __m256i sum_i32x8[kChains];
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA { sum_i32x8[i] = _mm256_setzero_si256(); });
  const __m256i input_s16x16 = _mm256_set1_epi32(0x00010002);
  const __m256i weight_s16x16 = _mm256_set1_epi32(0x00030004);
  for (std::int64_t iteration = 0; iteration < iterations; ++iteration) {
    unrolled<kChains>([&](auto i)
                          FF_INLINE_LAMBDA { accumulate(sum_i32x8[i], input_s16x16, weight_s16x16); });
  }
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA {
    if constexpr (i > 0) sum_i32x8[0] = _mm256_add_epi32(sum_i32x8[0], sum_i32x8[i]);
  });
  __asm__ volatile("" : : "x"(sum_i32x8[0]));
  return iterations * kChains * 16 * 2;
}

// The sums grow by 1/4 a step, far from infinity.
std::int64_t ceiling_f32(std::int64_t iterations) {
  constexpr int kChains = 12;
  __m256 sum_f32x8[kChains];
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA { sum_f32x8[i] = _mm256_setzero_ps(); });
  __m256 input_f32x8 = _mm256_set1_ps(0.5f);
  __m256 weight_f32x8 = _mm256_set1_ps(0.5f);
  __asm__ volatile("" : "+x"(input_f32x8), "+x"(weight_f32x8));
  for (std::int64_t iteration = 0; iteration < iterations; ++iteration) {
    unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA {
      sum_f32x8[i] = _mm256_fmadd_ps(input_f32x8, weight_f32x8, sum_f32x8[i]);
    });
  }
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA {
    if constexpr (i > 0) sum_f32x8[0] = _mm256_add_ps(sum_f32x8[0], sum_f32x8[i]);
  });
  __asm__ volatile("" : : "x"(sum_f32x8[0]));
  return iterations * kChains * 8 * 2;
}

void read_bytes(const void* data, std::int64_t bytes) {
  const auto* at = static_cast<const unsigned char*>(data);
  const unsigned char* end = at + bytes / 4096 * 4096;
  for (; at < end; at += 256) {
    unrolled<8>([&](auto i) FF_INLINE_LAMBDA {
      const __m256i bytes_u8x32 = _mm256_load_si256(reinterpret_cast<const __m256i*>(at + 32 * i));
      __asm__ volatile("" : : "x"(bytes_u8x32));
    });
  }
}

}  // namespace fastformers::avx2
