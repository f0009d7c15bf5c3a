// SPDX-License-Identifier: MIT
// Looks tensors up by name and checks type, shape and finiteness; every error names the tensor.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "encoder/plan.h"

namespace fastformers::encoder {

// Null when absent.
const TensorView* maybe_tensor(const TensorTable& tensors, const std::string& name);
// Throws PlanError when absent or of another shape.
const TensorView& find_tensor(const TensorTable& tensors, const std::string& name,
                              std::initializer_list<std::int64_t> shape);
// The same for float32 that must be finite (NonFiniteError).
const TensorView& find_floats(const TensorTable& tensors, const std::string& name,
                              std::initializer_list<std::int64_t> shape);
// A copy of a float32 vector, empty when absent.
std::vector<float> optional_vector(const TensorTable& tensors, const std::string& name, std::int64_t length);

void check_finite(const TensorView& tensor, const std::string& name);

// gamma and beta of a norm (beta zeros when absent).
struct Norm {
  std::vector<float> gamma;
  std::vector<float> beta;

  bool present() const { return !gamma.empty(); }
};

Norm find_norm(const TensorTable& tensors, const std::string& name, std::int64_t width);
// Not present when NAME.weight is absent.
Norm maybe_norm(const TensorTable& tensors, const std::string& name, std::int64_t width);

}  // namespace fastformers::encoder
