// SPDX-License-Identifier: MIT
#include "ort/attention_kernel.h"

#include "encoder/plan_names.h"
#include "ops/attention.h"
#include "ort/tokens.h"

namespace fastformers::ort {

AttentionKernel::AttentionKernel(const Ort::ConstKernelInfo& info)
    : heads_(info.GetAttribute<std::int64_t>("heads")),
      head_size_(info.GetAttribute<std::int64_t>("head_size")),
      window_(info.GetAttribute<std::int64_t>("window")),
      mode_(encoder::value_of(encoder::kAttentionModes, info.GetAttribute<std::string>("products"),
                              "products")) {
  FF_CHECK(ShapeError, heads_ >= 1 && head_size_ >= 1, "expected at least one head of one channel, got ",
           heads_, " of ", head_size_);
  const Constant<float> bias = constant<float>(info, 2, "relative_bias", true);
  if (bias.data == nullptr) return;
  FF_CHECK(ShapeError, bias.shape.size() == 2 && bias.shape[0] == heads_ && bias.shape[1] % 2 == 1,
           "relative_bias must be [heads, 2 * max_tokens - 1]");
  relative_bias_.assign(bias.data, bias.data + bias.shape[0] * bias.shape[1]);
  max_tokens_ = (bias.shape[1] + 1) / 2;
}

void AttentionKernel::run(Ort::KernelContext& context) const {
  const Ort::ConstValue qkv = context.GetInput(0), mask = context.GetInput(1);
  const std::vector<std::int64_t> shape = qkv.GetTensorTypeAndShapeInfo().GetShape();
  const std::int64_t width = heads_ * head_size_;
  FF_CHECK(ShapeError, shape.size() == 3 && shape[2] == 3 * width, "qkv must be [batch, length, ", 3 * width,
           "]");
  FF_CHECK(ShapeError,
           (mask.GetTensorTypeAndShapeInfo().GetShape() == std::vector<std::int64_t>{shape[0], shape[1]}),
           "attention_mask must be [", shape[0], ", ", shape[1], "]");
  const Tokens tokens = read_mask(mask.GetTensorData<std::int64_t>(), shape[0], shape[1]);
  float* const out = context.GetOutput(0, {shape[0], shape[1], width}).GetTensorMutableData<float>();
  const float* rows = qkv.GetTensorData<float>();
  std::vector<float> packed, result;
  if (tokens.padded()) {
    packed.resize(static_cast<std::size_t>(tokens.total() * 3 * width));
    result.resize(static_cast<std::size_t>(tokens.total() * width));
    gather_rows(tokens, rows, 3 * width, packed.data());
    rows = packed.data();
  }
  float* const context_rows = tokens.padded() ? result.data() : out;
  AttentionArgs args{};
  args.qkv = rows;
  args.stride = 3 * width;
  args.offsets = tokens.offsets.data();
  args.sequences = tokens.batch;
  args.heads = heads_;
  args.head_size = head_size_;
  args.window = window_;
  args.relative_bias = relative_bias_.empty() ? nullptr : relative_bias_.data();
  args.max_tokens = max_tokens_;
  args.mode = mode_;
  attention(args, context_rows, width);
  if (tokens.padded()) spread_rows(tokens, result.data(), width, out);
}

}  // namespace fastformers::ort
