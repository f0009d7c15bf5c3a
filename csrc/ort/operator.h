// SPDX-License-Identifier: MIT
// What our ONNX Runtime operators have in common: how one is described, and errors as statuses instead of exceptions (an
// exception must not cross the C interface).
#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"

namespace fastformers::ort {

// Domain of all operators: "fastformers::Linear" in a graph is domain "fastformers", type "Linear".
constexpr const char* kDomain = "fastformers";

struct Port {
  ONNXTensorElementDataType type;
  OrtCustomOpInputOutputCharacteristic kind = INPUT_OUTPUT_REQUIRED;
};

constexpr ONNXTensorElementDataType kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr ONNXTensorElementDataType kInt8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
constexpr ONNXTensorElementDataType kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
constexpr ONNXTensorElementDataType kAny = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;

// Runs `work`; what it throws becomes a status with the same words.
template <typename Work>
OrtStatusPtr as_status(const Work& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const Ort::Exception& error) {
    return Ort::GetApi().CreateStatus(error.GetOrtErrorCode(), error.what());
  } catch (const std::invalid_argument& error) {
    return Ort::GetApi().CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  } catch (const std::exception& error) {
    return Ort::GetApi().CreateStatus(ORT_FAIL, error.what());
  }
}

// Kernel: constructed from Ort::ConstKernelInfo, with run(Ort::KernelContext&) const; kName, kInputs and kOutputs describe it.
template <typename Kernel>
struct Operator : Ort::CustomOpBase<Operator<Kernel>, Operator<Kernel>, true> {
  const char* GetName() const { return Kernel::kName; }
  std::size_t GetInputTypeCount() const { return Kernel::kInputs.size(); }
  ONNXTensorElementDataType GetInputType(std::size_t index) const { return Kernel::kInputs[index].type; }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t index) const {
    return Kernel::kInputs[index].kind;
  }
  bool GetVariadicInputHomogeneity() const { return false; }
  std::size_t GetOutputTypeCount() const { return Kernel::kOutputs.size(); }
  ONNXTensorElementDataType GetOutputType(std::size_t index) const { return Kernel::kOutputs[index].type; }
  OrtCustomOpInputOutputCharacteristic GetOutputCharacteristic(std::size_t index) const {
    return Kernel::kOutputs[index].kind;
  }

  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** made) const {
    return as_status([&] {
      auto kernel = std::make_unique<Operator>();
      kernel->kernel_ = std::make_unique<Kernel>(Ort::ConstKernelInfo(info));
      *made = kernel.release();
    });
  }
  OrtStatusPtr ComputeV2(OrtKernelContext* raw) const {
    return as_status([&] {
      Ort::KernelContext context(raw);
      kernel_->run(context);
    });
  }

 private:
  std::unique_ptr<Kernel> kernel_;  // of an object made by CreateKernelV2
};

// A weight: an initializer of the graph, valid while the session lives.
template <typename T>
struct Constant {
  const T* data = nullptr;  // null: the input is absent
  std::vector<std::int64_t> shape;
};

// Input `index`, which must be an initializer of type T; throws std::invalid_argument when it is computed by the graph.
template <typename T>
Constant<T> constant(const Ort::ConstKernelInfo& info, std::size_t index, const char* name,
                     bool optional = false) {
  int is_constant = 0;
  const Ort::ConstValue value =
      index < info.GetInputCount() ? info.GetTensorConstantInput(index, &is_constant) : Ort::ConstValue();
  if (is_constant == 0) {
    FF_CHECK(std::invalid_argument, optional, "input ", index, " (", name,
             ") must be an initializer: it is packed when the session is made");
    return {};
  }
  return {value.GetTensorData<T>(), value.GetTensorTypeAndShapeInfo().GetShape()};
}

}  // namespace fastformers::ort
