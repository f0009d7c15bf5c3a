// SPDX-License-Identifier: MIT
// Computes  nothing: the loops whose speed is this machine's limit for matmuls.
// Layout    registers only, and one linear stream of 64-byte loads.
// Registers 12 accumulators and 2 operands; 8 sums.
// Bound     vpdpbusd throughput; vfmadd231ps throughput; load bandwidth of the cache level that holds the data.
#include <immintrin.h>

#include "kernels/avx512vnni/tables.h"
#include "kernels/avx512vnni/vnni_tile.h"
#include "kernels/unrolled.h"

namespace fastformers::avx512vnni {

// 12 independent chains: enough to cover latency 5 on two ports. accumulate() of the matmul and not the intrinsic, which
// GCC 12 surrounds with two copies of registers: 545 GOPS instead of 735 on Ice Lake.
std::int64_t ceiling_u8s8(std::int64_t iterations) {
  constexpr int kChains = 12;
  __m512i sum_i32x16[kChains];
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA { sum_i32x16[i] = _mm512_set1_epi32(i); });
  __m512i input_u8x64 = _mm512_set1_epi32(0x01020304);
  __m512i weight_s8x64 = _mm512_set1_epi32(0x04030201);
  __asm__ volatile("" : "+v"(input_u8x64), "+v"(weight_s8x64));
  for (std::int64_t iteration = 0; iteration < iterations; ++iteration) {
    unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA { accumulate(sum_i32x16[i], input_u8x64, weight_s8x64); });
  }
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA {
    if constexpr (i > 0) sum_i32x16[0] = _mm512_add_epi32(sum_i32x16[0], sum_i32x16[i]);
  });
  __asm__ volatile("" : : "v"(sum_i32x16[0]));
  return iterations * kChains * 64 * 2;
}

// The same chains of fused multiply-adds; the sums grow by 1/4 a step, far from infinity.
std::int64_t ceiling_f32(std::int64_t iterations) {
  constexpr int kChains = 12;
  __m512 sum_f32x16[kChains];
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA { sum_f32x16[i] = _mm512_set1_ps(static_cast<float>(i)); });
  __m512 input_f32x16 = _mm512_set1_ps(0.5f);
  __m512 weight_f32x16 = _mm512_set1_ps(0.5f);
  __asm__ volatile("" : "+v"(input_f32x16), "+v"(weight_f32x16));
  for (std::int64_t iteration = 0; iteration < iterations; ++iteration) {
    unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA {
      sum_f32x16[i] = _mm512_fmadd_ps(input_f32x16, weight_f32x16, sum_f32x16[i]);
    });
  }
  unrolled<kChains>([&](auto i) FF_INLINE_LAMBDA {
    if constexpr (i > 0) sum_f32x16[0] = _mm512_add_ps(sum_f32x16[0], sum_f32x16[i]);
  });
  __asm__ volatile("" : : "v"(sum_f32x16[0]));
  return iterations * kChains * 16 * 2;
}

void read_bytes(const void* data, std::int64_t bytes) {
  const auto* at = static_cast<const unsigned char*>(data);
  const unsigned char* end = at + bytes / 4096 * 4096;
  for (; at < end; at += 512) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const __m512i bytes_u8x64 = _mm512_load_si512(at + 64 * i);
      __asm__ volatile("" : : "v"(bytes_u8x64));
    }
  }
}

}  // namespace fastformers::avx512vnni
