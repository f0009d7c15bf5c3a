// SPDX-License-Identifier: MIT
// A linear layer as the executor holds it: packed INT8 or packed float32, by the type of its tensor. Columns can be laid out anew
// when it is packed (heads back to back, padded to panels).
#pragma once

#include <cstdint>
#include <vector>

#include "encoder/plan.h"
#include "kernels/registry.h"
#include "ops/packed_weight.h"
#include "ops/row_quantizer.h"

namespace fastformers::encoder {

// Memory for quantized rows and what goes with them.
struct QuantizedBlock {
  std::uint8_t* q = nullptr;
  std::int64_t stride = 0;
  float* scales = nullptr;
  float* inverse_scales = nullptr;
  std::int32_t* zero_points = nullptr;
  float* low = nullptr;
  float* high = nullptr;

  QuantizedBlock from_row(std::int64_t row) const;
};

// Input rows of a layer: floats, and (when `quantized`) the same as u8 under this layer's factors.
struct Input {
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  std::int64_t rows = 0;
  QuantizedBlock block;
  bool quantized = false;
};

class LinearLayer;

struct Epilogue {
  Activation activation = Activation::kNone;
  const float* residual = nullptr;
  std::int64_t residual_stride = 0;
  // The layer that runs next: its first weights are read into cache meanwhile.
  const LinearLayer* next = nullptr;
};

class LinearLayer {
 public:
  // Where column n of the packed matrix comes from: a row of the tensor, or -1 for a column of zeros; and what it is
  // multiplied by.
  struct Column {
    std::int64_t source;
    float gain = 1.0f;
  };

  // Reads tensors NAME.weight, .scale, .factors, .bias; throws PlanError when one is missing or of another shape than
  // [columns, depth]. Nothing is packed yet.
  void describe(const TensorTable& tensors, const std::string& name, std::int64_t columns,
                std::int64_t depth);
  void lay_out(std::vector<Column> layout) { layout_ = std::move(layout); }
  // Bytes that pack() fills.
  std::int64_t packed_bytes(const IsaKernels& kernels) const;
  // Packs for `kernels` into 64-byte aligned memory that outlives the layer; the costly part, safe to run for many layers
  // at once. The tensors are no longer looked at afterwards.
  void pack(const IsaKernels& kernels, void* memory);

  bool present() const { return columns_ > 0; }
  bool is_int8() const { return int8_; }
  std::int64_t columns() const { return columns_; }  // after lay_out
  std::int64_t depth() const { return depth_; }
  const float* factors() const { return factors_.empty() ? nullptr : factors_.data(); }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  // Where the panels start; null for a layer that is absent.
  const void* panels() const { return int8_ && present() ? packed_.panels() : block_; }

  // The weights as float32 [columns, depth] in the packed order, factors undone: what multiplies unscaled inputs.
  std::vector<float> dense() const;

  // Quantizes input.x into input.block if this layer needs it and it was not done; input.block must have room.
  void prepare(const KernelTable& kernels, Input& input) const;
  // out[rows, panels' columns] for panels [first_panel, last_panel); out points at the first of these columns. The residual,
  // too, starts there.
  void run(const KernelTable& kernels, const Input& input, std::int64_t first_panel, std::int64_t last_panel,
           const Epilogue& epilogue, void* gemm_scratch, float* out, std::int64_t out_stride) const;
  void run(const KernelTable& kernels, const Input& input, const Epilogue& epilogue, void* gemm_scratch,
           float* out, std::int64_t out_stride) const;

 private:
  void pack_int8(const IsaKernels& kernels, std::int64_t bytes);
  void pack_float(const IsaKernels& kernels);

  const TensorView* weight_ = nullptr;
  const TensorView* scale_ = nullptr;
  std::int64_t source_columns_ = 0;
  std::int64_t columns_ = 0;
  std::int64_t depth_ = 0;
  bool int8_ = false;
  std::vector<Column> layout_;
  std::vector<float> source_bias_;
  std::vector<float> bias_;
  std::vector<float> factors_;
  void* block_ = nullptr;  // PackedWeight block, or float panels
  PackedWeight packed_;
};

}  // namespace fastformers::encoder
