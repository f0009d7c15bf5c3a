// SPDX-License-Identifier: MIT
#include "encoder/tensors.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace fastformers::encoder {
namespace {

std::string text_of(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

}  // namespace

const TensorView* maybe_tensor(const TensorTable& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

const TensorView& find_tensor(const TensorTable& tensors, const std::string& name,
                              std::initializer_list<std::int64_t> shape) {
  const TensorView* tensor = maybe_tensor(tensors, name);
  const std::vector<std::int64_t> wanted(shape);
  FF_CHECK(PlanError, tensor != nullptr, "tensor ", name, " is missing; the plan needs it with shape ",
           text_of(wanted));
  FF_CHECK(PlanError, tensor->shape == wanted, "tensor ", name, " has shape ", text_of(tensor->shape),
           ", the plan needs ", text_of(wanted));
  return *tensor;
}

const TensorView& find_floats(const TensorTable& tensors, const std::string& name,
                              std::initializer_list<std::int64_t> shape) {
  const TensorView& tensor = find_tensor(tensors, name, shape);
  FF_CHECK(PlanError, tensor.type == TensorView::Type::kFloat32, "tensor ", name,
           " is int8, must be float32");
  check_finite(tensor, name);
  return tensor;
}

std::vector<float> optional_vector(const TensorTable& tensors, const std::string& name, std::int64_t length) {
  if (maybe_tensor(tensors, name) == nullptr) return {};
  const float* values = find_floats(tensors, name, {length}).f32();
  return {values, values + length};
}

void check_finite(const TensorView& tensor, const std::string& name) {
  std::int64_t count = 1;
  for (const std::int64_t size : tensor.shape) count *= size;
  // x - x is 0 for a finite x, else NaN, which any sum keeps; eight sums so that the compiler uses vectors.
  float sums[8] = {};
  const float* values = tensor.f32();
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += values[i + lane] - values[i + lane];
  }
  for (; i < count; ++i) sums[0] += values[i] - values[i];
  for (const float sum : sums) {
    if (sum == 0.0f) continue;
    const std::int64_t place =
        std::find_if(values, values + count, [](float x) { return !std::isfinite(x); }) - values;
    throw NonFiniteError("tensor " + name + " holds " + std::to_string(values[place]) + " at element " +
                         std::to_string(place) + "; all weights must be finite");
  }
}

Norm find_norm(const TensorTable& tensors, const std::string& name, std::int64_t width) {
  const float* gamma = find_floats(tensors, name + ".weight", {width}).f32();
  Norm norm;
  norm.gamma.assign(gamma, gamma + width);
  norm.beta = optional_vector(tensors, name + ".bias", width);
  if (norm.beta.empty()) norm.beta.assign(static_cast<std::size_t>(width), 0.0f);
  return norm;
}

Norm maybe_norm(const TensorTable& tensors, const std::string& name, std::int64_t width) {
  return maybe_tensor(tensors, name + ".weight") != nullptr ? find_norm(tensors, name, width) : Norm{};
}

}  // namespace fastformers::encoder
