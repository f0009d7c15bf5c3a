// SPDX-License-Identifier: MIT
// fastformers::Encoder: the whole encoder in one node, with the same bits as the engine's.
//
//   inputs      input_ids int64 [batch, length]; attention_mask int64 [batch, length], 1 for a token; token_type_ids int64 [batch,
//               length], optional; then the tensors of the plan, float or int8, initializers, in the order of `tensor_names`
//   outputs     as `output_names` names them, float: [batch, length, features] (zeros where there is padding) for rows "all",
//               [batch, features] for "first" and "mean"
//   attributes  plan: see plan_text.h; tensor_names and output_names: names, separated by spaces; products: of attention, "auto",
//               "float32" or "int8"
#pragma once

#include "encoder/encoder.h"
#include "ort/operator.h"

namespace fastformers::ort {

class EncoderKernel {
 public:
  static constexpr const char* kName = "Encoder";
  static constexpr std::array<Port, 4> kInputs = {
      {{kInt64}, {kInt64}, {kInt64, INPUT_OUTPUT_OPTIONAL}, {kAny, INPUT_OUTPUT_VARIADIC}}};
  static constexpr std::array<Port, 1> kOutputs = {{{kFloat, INPUT_OUTPUT_VARIADIC}}};

  explicit EncoderKernel(const Ort::ConstKernelInfo& info);
  void run(Ort::KernelContext& context) const;

 private:
  encoder::Plan plan_;
  std::unique_ptr<encoder::Encoder> encoder_;
  std::vector<int> outputs_;
};

}  // namespace fastformers::ort
