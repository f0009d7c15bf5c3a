// SPDX-License-Identifier: MIT
// fastformers::Linear: y = activation(x W^T + bias) with W INT8, packed when the session is made; each row of x is quantized on
// the fly. The same bits as PackedLinear and the encoder.
//
//   inputs      x float [..., K]; weight int8 [N, K] in [-127, 127]; scale float [N]; bias float [N], optional;
//               factors float [K], optional: multiply x (equalisation). All but x are initializers.
//   output      y float [..., N]
//   attribute   activation: "none", "relu", "gelu" or "gelu_tanh"
#pragma once

#include "base/aligned_buffer.h"
#include "ops/packed_weight.h"
#include "ort/operator.h"

namespace fastformers::ort {

class LinearKernel {
 public:
  static constexpr const char* kName = "Linear";
  static constexpr std::array<Port, 5> kInputs = {
      {{kFloat}, {kInt8}, {kFloat}, {kFloat, INPUT_OUTPUT_OPTIONAL}, {kFloat, INPUT_OUTPUT_OPTIONAL}}};
  static constexpr std::array<Port, 1> kOutputs = {{{kFloat}}};

  explicit LinearKernel(const Ort::ConstKernelInfo& info);
  void run(Ort::KernelContext& context) const;

 private:
  AlignedBuffer block_;
  PackedWeight weight_;
  std::vector<float> bias_;
  std::vector<float> factors_;
  Activation activation_;
};

}  // namespace fastformers::ort
