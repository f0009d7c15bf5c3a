// SPDX-License-Identifier: MIT
#include "ops/attention.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/registry.h"
#include "ops/thread_pool.h"
#include "ops/workspace.h"

namespace fastformers {
namespace {

// An arena that only counts.
struct Counter {
  template <typename T>
  T* take(std::int64_t count) {
    bytes += Workspace::bytes_for<T>(count);
    return nullptr;
  }
  std::int64_t bytes = 0;
};

std::int64_t check(const AttentionArgs& args, std::int64_t out_stride) {
  const std::int64_t width = args.heads * args.head_size;
  FF_CHECK(ShapeError, args.heads >= 1 && args.head_size >= 1,
           "expected at least one head of one channel, got ", args.heads, " of ", args.head_size);
  FF_CHECK(ShapeError, args.window >= -1, "window is ", args.window, ", expected -1 or more");
  FF_CHECK(ShapeError, args.offsets[0] == 0, "offsets begin with ", args.offsets[0], ", expected 0");
  std::int64_t longest = 0;
  for (std::int64_t s = 0; s < args.sequences; ++s) {
    const std::int64_t tokens = args.offsets[s + 1] - args.offsets[s];
    FF_CHECK(ShapeError, tokens >= 1, "sequence ", s, " has ", tokens, " tokens, expected at least one");
    longest = std::max(longest, tokens);
  }
  FF_CHECK(ShapeError, args.relative_bias == nullptr || longest <= args.max_tokens, "a sequence has ",
           longest, " tokens, and the relative bias is for at most ", args.max_tokens);
  FF_CHECK(ShapeError, args.offsets[args.sequences] <= 1 || (args.stride >= 3 * width && out_stride >= width),
           "row strides ", args.stride, " and ", out_stride, " are shorter than the ", 3 * width, " and ",
           width, " columns");
  return longest;
}

void scale_rows(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t size, float scale,
                float* out) {
  for (std::int64_t m = 0; m < rows; ++m) {
    for (std::int64_t i = 0; i < size; ++i) out[m * size + i] = x[m * stride + i] * scale;
  }
}

}  // namespace

void attention(const AttentionArgs& args, float* out, std::int64_t out_stride) {
  const std::int64_t longest = check(args, out_stride);
  if (args.sequences == 0) return;
  const KernelTable& kernels = *active_kernels().table;
  const std::int64_t size = args.head_size, width = args.heads * size;
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  Counter counter;
  take_head_scratch(counter, kernels, size, longest);
  counter.take<float>(longest * size);
  const std::int64_t heads = args.heads * args.sequences;
  const int tasks = static_cast<int>(std::min<std::int64_t>(threads_for_call(args.threads), heads));
  parallel_tasks(tasks, [&](int task) {
    Workspace memory(counter.bytes);
    const HeadScratch scratch = take_head_scratch(memory, kernels, size, longest);
    auto* const queries = memory.take<float>(longest * size);
    for (std::int64_t which = heads * task / tasks; which < heads * (task + 1) / tasks; ++which) {
      const std::int64_t sequence = which / args.heads, head = which % args.heads;
      const std::int64_t first = args.offsets[sequence], tokens = args.offsets[sequence + 1] - first;
      const float* rows = args.qkv + first * args.stride + head * size;
      scale_rows(rows, args.stride, tokens, size, scale, queries);
      const float* bias = args.relative_bias;
      if (bias != nullptr) bias += head * (2 * args.max_tokens - 1) + args.max_tokens - 1;
      const HeadTask one = {queries,
                            size,
                            rows + width,
                            rows + 2 * width,
                            args.stride,
                            tokens,
                            tokens,
                            size,
                            bias,
                            args.window,
                            out + first * out_stride + head * size,
                            out_stride};
      attend_head(kernels, one, args.mode, scratch);
    }
  });
}

}  // namespace fastformers
