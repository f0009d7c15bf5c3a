// SPDX-License-Identifier: MIT
// Start reading at linear(): it checks, decides how to split the work, and hands each thread a slice; linear_slice() walks
// a slice in row blocks: quantize a block into the thread's workspace, multiply it with the slice's panels.
#include "ops/linear.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/check.h"
#include "kernels/packed_layout.h"
#include "ops/row_quantizer.h"
#include "ops/thread_pool.h"
#include "ops/workspace.h"

namespace fastformers {
namespace {

// Rows of a block: enough to read each weight panel once for many rows, few enough that the quantized block stays in L2.
constexpr std::int64_t kBlockRows = 48;
constexpr std::int64_t kBlockBytes = 256 * 1024;
// Below this many multiply-accumulates for each thread, waking another costs more than it saves.
constexpr std::int64_t kMinMacsPerThread = 64 * 1000;
// From this many rows for each thread on, rows are split; below, panels are, and each thread quantizes all rows itself.
constexpr std::int64_t kMinRowsPerThread = 32;

std::atomic<const char*> g_last_used{"none"};

struct Range {
  std::int64_t first;
  std::int64_t last;
};

// Part `index` of `parts` nearly equal parts of [0, count).
Range part_of(std::int64_t count, std::int64_t parts, std::int64_t index) {
  return {count * index / parts, count * (index + 1) / parts};
}

struct Split {
  int tasks = 1;
  bool by_rows = true;

  Range rows(std::int64_t count, int task) const {
    return by_rows ? part_of(count, tasks, task) : Range{0, count};
  }
  Range panels(std::int64_t count, int task) const {
    return by_rows ? Range{0, count} : part_of(count, tasks, task);
  }
};

Split split_work(std::int64_t rows, const PackedWeight& weight, int threads, bool whole_rows) {
  const std::int64_t wanted = threads_for_call(threads);
  const std::int64_t macs = rows * weight.columns() * weight.depth();
  const std::int64_t useful = std::max<std::int64_t>(1, std::min(wanted, macs / kMinMacsPerThread));
  Split split;
  split.by_rows = whole_rows || rows >= useful * kMinRowsPerThread;
  const std::int64_t units = split.by_rows ? rows : panel_count(weight.columns());
  split.tasks = static_cast<int>(std::max<std::int64_t>(1, std::min(useful, units)));
  return split;
}

std::int64_t block_rows(std::int64_t rows, std::int64_t depth) {
  const std::int64_t fitting = std::max<std::int64_t>(6, kBlockBytes / padded_depth(depth) / 6 * 6);
  return std::min({rows, kBlockRows, fitting});
}

// Scratch of one row block.
struct Block {
  std::uint8_t* q;
  std::int64_t q_stride;
  float* low;
  float* high;
  RowParams params;
  void* gemm_scratch;
  float* out;  // only for linear_to_quantized
};

std::int64_t block_bytes(std::int64_t rows, const PackedWeight& weight, bool with_out) {
  const std::int64_t scratch = weight.kernels_in_use().gemm_scratch_bytes(rows, weight.depth());
  return Workspace::bytes_for<std::uint8_t>(rows * quantized_stride(weight.depth())) +
         5 * Workspace::bytes_for<float>(rows) + Workspace::bytes_for<char>(scratch) +
         (with_out ? Workspace::bytes_for<float>(rows * weight.columns()) : 0);
}

Block take_block(Workspace& workspace, std::int64_t rows, const PackedWeight& weight, bool with_out) {
  Block block{};
  block.q_stride = quantized_stride(weight.depth());
  block.q = workspace.take<std::uint8_t>(rows * block.q_stride);
  block.low = workspace.take<float>(rows);
  block.high = workspace.take<float>(rows);
  block.params.scales = workspace.take<float>(rows);
  block.params.inverse_scales = workspace.take<float>(rows);
  block.params.zero_points = workspace.take<std::int32_t>(rows);
  block.gemm_scratch = workspace.take<char>(weight.kernels_in_use().gemm_scratch_bytes(rows, weight.depth()));
  if (with_out) block.out = workspace.take<float>(rows * weight.columns());
  return block;
}

GemmArgs gemm_args(const QuantizedRows& x, const PackedWeight& weight, Range panels,
                   const LinearOptions& options, std::int64_t first_row, void* scratch, float* out,
                   std::int64_t out_stride) {
  GemmArgs args{};
  args.rows = x.q;
  args.rows_stride = x.stride;
  args.row_count = x.rows;
  args.depth = weight.depth();
  args.panels = weight.panels();
  args.columns = weight.columns();
  args.first_panel = panels.first;
  args.last_panel = panels.last;
  args.row_scales = x.scales;
  args.row_zero_points = x.zero_points;
  args.column_scales = weight.column_scales();
  args.column_sums = weight.column_sums();
  args.bias = options.bias;
  args.residual =
      options.residual != nullptr ? options.residual + first_row * options.residual_stride : nullptr;
  args.residual_stride = options.residual_stride;
  args.activation = options.activation;
  args.out = out;
  args.out_stride = out_stride;
  args.scratch = scratch;
  return args;
}

// visit(rows of the block, its scratch) for each block of the rows, one after the other in the same memory.
template <typename Visit>
void for_each_block(Range rows, const PackedWeight& weight, bool with_out, const Visit& visit) {
  const std::int64_t widest = with_out ? std::max(weight.depth(), weight.columns()) : weight.depth();
  const std::int64_t step = block_rows(rows.last - rows.first, widest);
  Workspace workspace(block_bytes(step, weight, with_out));
  const Block block = take_block(workspace, step, weight, with_out);
  for (std::int64_t row = rows.first; row < rows.last; row += step) {
    visit(Range{row, std::min(row + step, rows.last)}, block);
  }
}

QuantizedRows quantize_block(const KernelTable& kernels, const FloatRows& x, const PackedWeight& weight,
                             Range rows, const LinearOptions& options, const SharedRange& shared,
                             const Block& block) {
  const std::int64_t count = rows.last - rows.first;
  const RowsArgs args = {x.data + rows.first * x.stride, x.stride, count, weight.depth(), options.factors};
  quantize_rows(kernels, args, shared, block.low, block.high, block.params, block.q, block.q_stride);
  return {block.q, count, block.q_stride, block.params.scales, block.params.zero_points};
}

void linear_slice(const FloatRows& x, const PackedWeight& weight, const LinearOptions& options,
                  const SharedRange& shared, Range rows, Range panels, float* out, std::int64_t out_stride) {
  const KernelTable& kernels = weight.kernels_in_use();
  for_each_block(rows, weight, false, [&](Range now, const Block& block) {
    const QuantizedRows q = quantize_block(kernels, x, weight, now, options, shared, block);
    kernels.gemm_u8s8_f32(gemm_args(q, weight, panels, options, now.first, block.gemm_scratch,
                                    out + now.first * out_stride, out_stride));
  });
}

void check_rows(std::int64_t rows, std::int64_t stride, std::int64_t length, const char* name) {
  FF_CHECK(ShapeError, rows >= 0, name, " has a negative number of rows: ", rows);
  FF_CHECK(ShapeError, stride >= length || rows <= 1, name, " has row stride ", stride, ", shorter than its ",
           length, " columns");
}

void check_separate(const float* in, std::int64_t in_elements, const float* out, std::int64_t out_elements) {
  FF_CHECK(ShapeError, in + in_elements <= out || out + out_elements <= in, "out must not overlap x");
}

// out may be the residual itself, element for element, but not a shifted view of it.
void check_residual(const LinearOptions& options, std::int64_t rows, std::int64_t columns, const float* out,
                    std::int64_t out_stride) {
  if (options.residual == nullptr) return;
  check_rows(rows, options.residual_stride, columns, "residual");
  if (options.residual == out && (options.residual_stride == out_stride || rows <= 1)) return;
  const float* residual_end = options.residual + (rows - 1) * options.residual_stride + columns;
  FF_CHECK(
      ShapeError, residual_end <= out || out + (rows - 1) * out_stride + columns <= options.residual,
      "out overlaps the residual without being the same rows; pass the residual itself or another array");
}

SharedRange shared_range(const FloatRows& x, const PackedWeight& weight, const LinearOptions& options) {
  if (!options.per_tensor) return {};
  return range_of_matrix(weight.kernels_in_use(),
                         {x.data, x.stride, x.rows, weight.depth(), options.factors});
}

}  // namespace

void linear(const FloatRows& x, const PackedWeight& weight, const LinearOptions& options, float* out,
            std::int64_t out_stride) {
  check_rows(x.rows, x.stride, weight.depth(), "x");
  check_rows(x.rows, out_stride, weight.columns(), "out");
  const KernelTable& kernels = weight.kernels_in_use();
  if (x.rows == 0) return;
  check_separate(x.data, (x.rows - 1) * x.stride + weight.depth(), out,
                 (x.rows - 1) * out_stride + weight.columns());
  check_residual(options, x.rows, weight.columns(), out, out_stride);
  const SharedRange shared = shared_range(x, weight, options);
  const Split split = split_work(x.rows, weight, options.threads, false);
  parallel_tasks(split.tasks, [&](int task) {
    linear_slice(x, weight, options, shared, split.rows(x.rows, task),
                 split.panels(panel_count(weight.columns()), task), out, out_stride);
  });
  g_last_used.store(kernels.name, std::memory_order_relaxed);
}

void linear_from_quantized(const QuantizedRows& x, const PackedWeight& weight, const LinearOptions& options,
                           float* out, std::int64_t out_stride) {
  check_rows(x.rows, x.stride, padded_depth(weight.depth()), "q");
  check_rows(x.rows, out_stride, weight.columns(), "out");
  const KernelTable& kernels = weight.kernels_in_use();
  if (x.rows == 0) return;
  check_residual(options, x.rows, weight.columns(), out, out_stride);
  const Split split = split_work(x.rows, weight, options.threads, false);
  parallel_tasks(split.tasks, [&](int task) {
    const Range rows = split.rows(x.rows, task);
    const Range panels = split.panels(panel_count(weight.columns()), task);
    for_each_block(rows, weight, false, [&](Range now, const Block& block) {
      const QuantizedRows q = {x.q + now.first * x.stride, now.last - now.first, x.stride,
                               x.scales + now.first, x.zero_points + now.first};
      kernels.gemm_u8s8_f32(gemm_args(q, weight, panels, options, now.first, block.gemm_scratch,
                                      out + now.first * out_stride, out_stride));
    });
  });
  g_last_used.store(kernels.name, std::memory_order_relaxed);
}

void linear_to_quantized(const FloatRows& x, const PackedWeight& weight, const LinearOptions& options,
                         const float* next_factors, const MutableQuantizedRows& out) {
  check_rows(x.rows, x.stride, weight.depth(), "x");
  check_rows(x.rows, out.stride, padded_depth(weight.columns()), "q");
  const KernelTable& kernels = weight.kernels_in_use();
  if (x.rows == 0) return;
  const SharedRange shared = shared_range(x, weight, options);
  const Split split = split_work(x.rows, weight, options.threads, true);
  parallel_tasks(split.tasks, [&](int task) {
    const Range rows = split.rows(x.rows, task);
    const Range panels = {0, panel_count(weight.columns())};
    for_each_block(rows, weight, true, [&](Range now, const Block& block) {
      const QuantizedRows q = quantize_block(kernels, x, weight, now, options, shared, block);
      kernels.gemm_u8s8_f32(
          gemm_args(q, weight, panels, options, now.first, block.gemm_scratch, block.out, weight.columns()));
      const RowsArgs result = {block.out, weight.columns(), q.rows, weight.columns(), next_factors};
      const RowParams params = {out.scales + now.first, block.params.inverse_scales,
                                out.zero_points + now.first};
      quantize_rows(kernels, result, {}, block.low, block.high, params, out.q + now.first * out.stride,
                    out.stride);
    });
  });
  g_last_used.store(kernels.name, std::memory_order_relaxed);
}

void matmul_s32(const QuantizedRows& x, const PackedWeight& weight, int threads, std::int32_t* out,
                std::int64_t out_stride) {
  check_rows(x.rows, x.stride, padded_depth(weight.depth()), "q");
  check_rows(x.rows, out_stride, weight.columns(), "out");
  const KernelTable& kernels = weight.kernels_in_use();
  if (x.rows == 0) return;
  const Split split = split_work(x.rows, weight, threads, false);
  parallel_tasks(split.tasks, [&](int task) {
    const Range rows = split.rows(x.rows, task);
    const Range panels = split.panels(panel_count(weight.columns()), task);
    for_each_block(rows, weight, false, [&](Range now, const Block& block) {
      kernels.gemm_u8s8_s32({x.q + now.first * x.stride, x.stride, now.last - now.first, weight.depth(),
                             weight.panels(), weight.columns(), panels.first, panels.last,
                             out + now.first * out_stride, out_stride, block.gemm_scratch});
    });
  });
  g_last_used.store(kernels.name, std::memory_order_relaxed);
}

void quantize_matrix(const FloatRows& x, std::int64_t depth, const float* factors, bool per_tensor,
                     int threads, const MutableQuantizedRows& out) {
  FF_CHECK(ShapeError, depth >= 1 && depth <= kMaxDepth, "K must be between 1 and ", kMaxDepth, ", got ",
           depth);
  check_rows(x.rows, x.stride, depth, "x");
  check_rows(x.rows, out.stride, padded_depth(depth), "q");
  if (x.rows == 0) return;
  const KernelTable& kernels = *active_kernels().table;
  const SharedRange shared =
      per_tensor ? range_of_matrix(kernels, {x.data, x.stride, x.rows, depth, factors}) : SharedRange{};
  const std::int64_t wanted = threads_for_call(threads);
  const auto tasks = static_cast<int>(std::max<std::int64_t>(1, std::min(wanted, x.rows * depth / 65536)));
  parallel_tasks(tasks, [&](int task) {
    const Range rows = part_of(x.rows, tasks, task);
    const std::int64_t count = rows.last - rows.first;
    Workspace workspace(3 * Workspace::bytes_for<float>(count));
    float* low = workspace.take<float>(count);
    float* high = workspace.take<float>(count);
    const RowParams params = {out.scales + rows.first, workspace.take<float>(count),
                              out.zero_points + rows.first};
    quantize_rows(kernels, {x.data + rows.first * x.stride, x.stride, count, depth, factors}, shared, low,
                  high, params, out.q + rows.first * out.stride, out.stride);
  });
}

const char* last_used_isa() { return g_last_used.load(std::memory_order_relaxed); }

}  // namespace fastformers
