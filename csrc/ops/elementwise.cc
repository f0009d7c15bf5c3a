// SPDX-License-Identifier: MIT
#include "ops/elementwise.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/packed_layout.h"
#include "kernels/registry.h"
#include "ops/row_quantizer.h"
#include "ops/thread_pool.h"
#include "ops/workspace.h"

namespace fastformers {
namespace {

// Elements worth a thread of their own.
constexpr std::int64_t kMinElementsPerThread = 32768;
constexpr std::int64_t kNormBlockRows = 16;  // a block's output is still in L1/L2 when it is quantized

int tasks_for(std::int64_t elements, std::int64_t units, int threads) {
  const std::int64_t wanted = threads_for_call(threads);
  return static_cast<int>(
      std::max<std::int64_t>(1, std::min({wanted, units, elements / kMinElementsPerThread})));
}

void check_matrix(const FloatRows& x, std::int64_t depth, std::int64_t out_stride) {
  FF_CHECK(ShapeError, x.rows >= 0 && depth >= 1, "expected at least one column, got shape [", x.rows, ", ",
           depth, "]");
  FF_CHECK(ShapeError, x.rows <= 1 || (x.stride >= depth && out_stride >= depth), "row strides ", x.stride,
           " and ", out_stride, " are shorter than the ", depth, " columns");
}

void norm_block(const KernelTable& kernels, LayerNormArgs args, std::int64_t first, std::int64_t count,
                const MutableQuantizedRows& quantized) {
  args.x += first * args.x_stride;
  if (args.residual != nullptr) args.residual += first * args.residual_stride;
  args.out += first * args.out_stride;
  args.row_count = count;
  if (quantized.q == nullptr) {
    kernels.layer_norm_f32_rows(args);
    return;
  }
  float low[kNormBlockRows], high[kNormBlockRows], inverse[kNormBlockRows];
  args.low = low;
  args.high = high;
  kernels.layer_norm_f32_rows(args);
  const RowParams params = {quantized.scales + first, inverse, quantized.zero_points + first};
  params_from_ranges(low, high, count, params);
  kernels.quantize_f32_u8_rows({args.out, args.out_stride, count, args.depth, args.factors}, inverse,
                               params.zero_points, quantized.q + first * quantized.stride, quantized.stride);
}

}  // namespace

void layer_norm(const FloatRows& x, std::int64_t depth, const LayerNormOptions& options, float* out,
                std::int64_t out_stride, const MutableQuantizedRows& quantized) {
  check_matrix(x, depth, out_stride);
  FF_CHECK(ShapeError, quantized.q == nullptr || quantized.stride >= padded_depth(depth) || x.rows <= 1,
           "q has row stride ", quantized.stride, ", needs ", padded_depth(depth));
  FF_CHECK(ShapeError, std::isfinite(options.epsilon) && options.epsilon >= 0.0f,
           "epsilon must be finite and not negative, got ", options.epsilon);
  if (x.rows == 0) return;
  const KernelTable& kernels = *active_kernels().table;
  const LayerNormArgs args = {x.data,          x.stride, options.residual, options.residual_stride,
                              x.rows,          depth,    options.gamma,    options.beta,
                              options.epsilon, out,      out_stride,       options.factors,
                              nullptr,         nullptr};
  const int tasks = tasks_for(x.rows * depth, x.rows, options.threads);
  parallel_tasks(tasks, [&](int task) {
    const std::int64_t last = x.rows * (task + 1) / tasks;
    for (std::int64_t row = x.rows * task / tasks; row < last; row += kNormBlockRows) {
      norm_block(kernels, args, row, std::min(kNormBlockRows, last - row), quantized);
    }
  });
}

void softmax(const FloatRows& x, std::int64_t depth, int threads, float* out, std::int64_t out_stride) {
  check_matrix(x, depth, out_stride);
  const KernelTable& kernels = *active_kernels().table;
  const int tasks = tasks_for(x.rows * depth, x.rows, threads);
  parallel_tasks(tasks, [&](int task) {
    const std::int64_t first = x.rows * task / tasks, last = x.rows * (task + 1) / tasks;
    kernels.softmax_f32_rows(x.data + first * x.stride, x.stride, last - first, depth,
                             out + first * out_stride, out_stride);
  });
}

void gelu(const float* x, std::int64_t count, Activation which, int threads, float* out) {
  const KernelTable& kernels = *active_kernels().table;
  const int tasks = tasks_for(count, count, threads);
  parallel_tasks(tasks, [&](int task) {
    const std::int64_t first = count * task / tasks, last = count * (task + 1) / tasks;
    kernels.gelu_f32(x + first, last - first, which, out + first);
  });
}

}  // namespace fastformers
