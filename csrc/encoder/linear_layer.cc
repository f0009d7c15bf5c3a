// SPDX-License-Identifier: MIT
#include "encoder/linear_layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "encoder/tensors.h"
#include "kernels/packed_layout.h"

namespace fastformers::encoder {

QuantizedBlock QuantizedBlock::from_row(std::int64_t row) const {
  return {q + row * stride,  stride,    scales + row, inverse_scales + row,
          zero_points + row, low + row, high + row};
}

void LinearLayer::describe(const TensorTable& tensors, const std::string& name, std::int64_t columns,
                           std::int64_t depth) {
  weight_ = &find_tensor(tensors, name + ".weight", {columns, depth});
  int8_ = weight_->type == TensorView::Type::kInt8;
  source_columns_ = columns_ = columns;
  depth_ = depth;
  FF_CHECK(PlanError, depth <= kMaxDepth, name, " has K = ", depth, ", the limit is ", kMaxDepth);
  source_bias_ = optional_vector(tensors, name + ".bias", columns);
  if (int8_) {
    scale_ = &find_floats(tensors, name + ".scale", {columns});
    factors_ = optional_vector(tensors, name + ".factors", depth);
  } else {
    check_finite(*weight_, name + ".weight");
  }
}

std::int64_t LinearLayer::packed_bytes(const IsaKernels& kernels) const {
  if (!present()) return 0;
  const auto columns = layout_.empty() ? source_columns_ : static_cast<std::int64_t>(layout_.size());
  if (int8_) return PackedWeight::nbytes_for(columns, depth_, kernels);
  return panel_count(columns) * kPanelColumns * depth_ * static_cast<std::int64_t>(sizeof(float));
}

void LinearLayer::pack(const IsaKernels& kernels, void* memory) {
  if (!present()) return;
  block_ = memory;
  if (layout_.empty()) {
    for (std::int64_t n = 0; n < source_columns_; ++n) layout_.push_back({n});
  }
  columns_ = static_cast<std::int64_t>(layout_.size());
  if (!source_bias_.empty()) {
    bias_.assign(layout_.size(), 0.0f);
    for (std::size_t n = 0; n < layout_.size(); ++n) {
      const Column& column = layout_[n];
      if (column.source >= 0) bias_[n] = source_bias_[static_cast<std::size_t>(column.source)] * column.gain;
    }
  }
  int8_ ? pack_int8(kernels, packed_bytes(kernels)) : pack_float(kernels);
  weight_ = scale_ = nullptr;
}

void LinearLayer::pack_int8(const IsaKernels& kernels, std::int64_t bytes) {
  std::vector<std::int8_t> rows(static_cast<std::size_t>(columns_ * depth_), 0);
  std::vector<float> scales(layout_.size(), 0.0f);
  for (std::size_t n = 0; n < layout_.size(); ++n) {
    const Column& column = layout_[n];
    if (column.source < 0) continue;
    std::memcpy(rows.data() + static_cast<std::int64_t>(n) * depth_, weight_->s8() + column.source * depth_,
                static_cast<std::size_t>(depth_));
    scales[n] = scale_->f32()[column.source] * column.gain;
  }
  packed_ = PackedWeight::pack(rows.data(), scales.data(), columns_, depth_, kernels, block_, bytes);
}

void LinearLayer::pack_float(const IsaKernels& kernels) {
  std::vector<float> rows(static_cast<std::size_t>(columns_ * depth_), 0.0f);
  for (std::size_t n = 0; n < layout_.size(); ++n) {
    const Column& column = layout_[n];
    if (column.source < 0) continue;
    const float* source = weight_->f32() + column.source * depth_;
    float* row = rows.data() + static_cast<std::int64_t>(n) * depth_;
    for (std::int64_t k = 0; k < depth_; ++k) row[k] = source[k] * column.gain;
  }
  kernels.table->pack_f32(rows.data(), depth_, columns_, depth_, static_cast<float*>(block_));
}

std::vector<float> LinearLayer::dense() const {
  std::vector<float> rows(static_cast<std::size_t>(columns_ * depth_), 0.0f);
  if (int8_) {
    std::vector<std::int8_t> weights(rows.size());
    std::vector<float> scales(static_cast<std::size_t>(columns_));
    packed_.unpack(weights.data(), scales.data());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::size_t n = i / static_cast<std::size_t>(depth_), k = i % static_cast<std::size_t>(depth_);
      const float value = static_cast<float>(weights[i]) * scales[n];
      rows[i] = factors_.empty() ? value : value * factors_[k];
    }
    return rows;
  }
  const auto* panels = static_cast<const float*>(block_);
  for (std::int64_t n = 0; n < columns_; ++n) {
    const float* column = panels + n / kPanelColumns * kPanelColumns * depth_ + n % kPanelColumns;
    for (std::int64_t k = 0; k < depth_; ++k) {
      rows[static_cast<std::size_t>(n * depth_ + k)] = column[k * kPanelColumns];
    }
  }
  return rows;
}

void LinearLayer::prepare(const KernelTable& kernels, Input& input) const {
  if (!int8_ || input.quantized) return;
  const QuantizedBlock& block = input.block;
  quantize_rows(kernels, {input.x, input.x_stride, input.rows, depth_, factors()}, {}, block.low, block.high,
                {block.scales, block.inverse_scales, block.zero_points}, block.q, block.stride);
  input.quantized = true;
}

void LinearLayer::run(const KernelTable& kernels, const Input& input, const Epilogue& epilogue,
                      void* gemm_scratch, float* out, std::int64_t out_stride) const {
  run(kernels, input, 0, panel_count(columns_), epilogue, gemm_scratch, out, out_stride);
}

void LinearLayer::run(const KernelTable& kernels, const Input& input, std::int64_t first_panel,
                      std::int64_t last_panel, const Epilogue& epilogue, void* gemm_scratch, float* out,
                      std::int64_t out_stride) const {
  const std::int64_t first_column = first_panel * kPanelColumns;
  if (int8_) {
    GemmArgs args{};
    args.rows = input.block.q;
    args.rows_stride = input.block.stride;
    args.row_count = input.rows;
    args.depth = depth_;
    args.panels = packed_.panels();
    args.columns = columns_;
    args.first_panel = first_panel;
    args.last_panel = last_panel;
    args.row_scales = input.block.scales;
    args.row_zero_points = input.block.zero_points;
    args.column_scales = packed_.column_scales();
    args.column_sums = packed_.column_sums();
    args.bias = bias();
    args.residual = epilogue.residual != nullptr ? epilogue.residual - first_column : nullptr;
    args.residual_stride = epilogue.residual_stride;
    args.activation = epilogue.activation;
    args.out = out - first_column;
    args.out_stride = out_stride;
    args.scratch = gemm_scratch;
    args.next_panels = epilogue.next != nullptr ? epilogue.next->panels() : nullptr;
    kernels.gemm_u8s8_f32(args);
    return;
  }
  GemmF32Args args{};
  args.a = input.x;
  args.a_stride = input.x_stride;
  args.row_count = input.rows;
  args.depth = depth_;
  args.b = static_cast<const float*>(block_) + first_column * depth_;
  args.b_panel_stride = kPanelColumns * depth_;
  args.b_row_stride = kPanelColumns;
  args.columns = std::min(last_panel * kPanelColumns, columns_) - first_column;
  args.bias = bias() != nullptr ? bias() + first_column : nullptr;
  args.residual = epilogue.residual;
  args.residual_stride = epilogue.residual_stride;
  args.activation = epilogue.activation;
  args.out = out;
  args.out_stride = out_stride;
  kernels.gemm_f32(args);
}

}  // namespace fastformers::encoder
