// SPDX-License-Identifier: MIT
#include "ort/linear_kernel.h"

#include <numeric>

#include "kernels/registry.h"
#include "ops/linear.h"

namespace fastformers::ort {
namespace {

struct NamedActivation {
  const char* name;
  Activation value;
};

constexpr NamedActivation kActivations[] = {{"none", Activation::kNone},
                                            {"relu", Activation::kRelu},
                                            {"gelu", Activation::kGeluErf},
                                            {"gelu_tanh", Activation::kGeluTanh}};

Activation activation_named(const std::string& name) {
  for (const NamedActivation& entry : kActivations) {
    if (name == entry.name) return entry.value;
  }
  throw std::invalid_argument("activation is '" + name + "'; known: none, relu, gelu, gelu_tanh");
}

std::vector<float> vector_of(const Constant<float>& values, std::int64_t count, const char* name) {
  if (values.data == nullptr) return {};
  FF_CHECK(ShapeError, values.shape == std::vector<std::int64_t>{count}, name, " must have ", count,
           " values");
  return {values.data, values.data + count};
}

}  // namespace

LinearKernel::LinearKernel(const Ort::ConstKernelInfo& info)
    : activation_(activation_named(info.GetAttribute<std::string>("activation"))) {
  const Constant<std::int8_t> weight = constant<std::int8_t>(info, 1, "weight");
  FF_CHECK(ShapeError, weight.shape.size() == 2, "weight must be [N, K], got ", weight.shape.size(),
           " dimensions");
  const std::int64_t columns = weight.shape[0], depth = weight.shape[1];
  const std::vector<float> scales = vector_of(constant<float>(info, 2, "scale"), columns, "scale");
  bias_ = vector_of(constant<float>(info, 3, "bias", true), columns, "bias");
  factors_ = vector_of(constant<float>(info, 4, "factors", true), depth, "factors");
  const IsaKernels kernels = active_kernels();
  const std::int64_t bytes = PackedWeight::nbytes_for(columns, depth, kernels);
  void* block = block_.reserve(static_cast<std::size_t>(bytes));
  weight_ = PackedWeight::pack(weight.data, scales.data(), columns, depth, kernels, block, bytes);
}

void LinearKernel::run(Ort::KernelContext& context) const {
  const Ort::ConstValue x = context.GetInput(0);
  std::vector<std::int64_t> shape = x.GetTensorTypeAndShapeInfo().GetShape();
  const std::int64_t depth = weight_.depth(), columns = weight_.columns();
  FF_CHECK(ShapeError, !shape.empty() && shape.back() == depth, "x must end in ", depth, " channels");
  const std::int64_t rows =
      std::accumulate(shape.begin(), shape.end() - 1, std::int64_t{1}, std::multiplies<>());
  shape.back() = columns;
  LinearOptions options;
  options.bias = bias_.empty() ? nullptr : bias_.data();
  options.factors = factors_.empty() ? nullptr : factors_.data();
  options.activation = activation_;
  float* y = context.GetOutput(0, shape).GetTensorMutableData<float>();
  linear({x.GetTensorData<float>(), rows, depth}, weight_, options, y, columns);
}

}  // namespace fastformers::ort
