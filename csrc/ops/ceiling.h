// SPDX-License-Identifier: MIT
// The limits of this machine that matmul speeds are compared with.
#pragma once

#include <cstdint>
#include <string>

namespace fastformers {

// Billions of u8 x s8 operations (2 for each multiply-accumulate) per second that `threads` threads reach in a loop on
// registers only: the best of several repetitions within about `seconds`.
double ceiling_gops(const std::string& isa, int threads, double seconds);

// Billions of float32 operations (2 for each fused multiply-add), as above.
double ceiling_gflops(const std::string& isa, int threads, double seconds);

// GB/s at which one thread reads a buffer of this size again and again: the bandwidth of the cache level that holds it.
double read_bandwidth_gbps(std::int64_t bytes, double seconds);

}  // namespace fastformers
