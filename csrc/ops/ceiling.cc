// SPDX-License-Identifier: MIT
#include "ops/ceiling.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "kernels/registry.h"
#include "ops/thread_pool.h"

namespace fastformers {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Repeats work() until `seconds` are over and returns its shortest time. The shortest and not the median: a limit is what
// the hardware can do, and other load on the machine only ever adds.
template <typename Work>
double shortest(double seconds, const Work& work) {
  const auto start = Clock::now();
  double best = 1e30;
  do {
    const auto begin = Clock::now();
    work();
    best = std::min(best, seconds_since(begin));
  } while (seconds_since(start) < seconds);
  return best;
}

using Loop = std::int64_t (*)(std::int64_t iterations);

// Billions of operations per second of one of a table's register-only loops.
double operation_rate(const std::string& isa, Loop KernelTable::* member, int threads, double seconds) {
  const Loop loop = find_kernels(isa).table->*member;
  FF_CHECK(IsaError, loop != nullptr, "'", isa, "' is plain C++ and has no instruction to measure");
  threads = threads_for_call(threads);
  constexpr std::int64_t kIterations = 20000;
  const std::int64_t operations = loop(kIterations);
  const double best = shortest(seconds, [&] { parallel_tasks(threads, [&](int) { loop(kIterations); }); });
  return static_cast<double>(operations) * threads / best * 1e-9;
}

}  // namespace

double ceiling_gops(const std::string& isa, int threads, double seconds) {
  return operation_rate(isa, &KernelTable::ceiling_u8s8, threads, seconds);
}

double ceiling_gflops(const std::string& isa, int threads, double seconds) {
  return operation_rate(isa, &KernelTable::ceiling_f32, threads, seconds);
}

double read_bandwidth_gbps(std::int64_t bytes, double seconds) {
  FF_CHECK(ShapeError, bytes >= 4096, "at least 4096 bytes are needed, got ", bytes);
  AlignedBuffer buffer;
  void* data = buffer.reserve(static_cast<std::size_t>(bytes));
  std::memset(data, 1, static_cast<std::size_t>(bytes));
  const KernelTable& kernels = *active_kernels().table;
  FF_CHECK(IsaError, kernels.read_bytes != nullptr, "'", kernels.name, "' is plain C++ and has no read loop");
  const std::int64_t passes = std::max<std::int64_t>(1, (std::int64_t{4} << 20) / bytes);
  const double best = shortest(seconds, [&] {
    for (std::int64_t pass = 0; pass < passes; ++pass) kernels.read_bytes(data, bytes);
  });
  return static_cast<double>(bytes / 4096 * 4096) * static_cast<double>(passes) / best * 1e-9;
}

}  // namespace fastformers
