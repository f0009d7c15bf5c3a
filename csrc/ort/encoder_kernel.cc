// SPDX-License-Identifier: MIT
#include "ort/encoder_kernel.h"

#include <sstream>

#include "encoder/plan_names.h"
#include "ort/plan_text.h"
#include "ort/tokens.h"

namespace fastformers::ort {
namespace {

using encoder::PlanError;
using encoder::TensorView;

constexpr std::size_t kFirstTensor = 3;  // input_ids, attention_mask and token_type_ids come before
using Shape = std::vector<std::int64_t>;

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

TensorView view_of(const Ort::ConstKernelInfo& info, std::size_t index, const std::string& name) {
  int is_constant = 0;
  const Ort::ConstValue value = info.GetTensorConstantInput(index, &is_constant);
  FF_CHECK(PlanError, is_constant != 0, "tensor ", name,
           " must be an initializer: it is packed when the session is made");
  const Ort::TensorTypeAndShapeInfo facts = value.GetTensorTypeAndShapeInfo();
  const ONNXTensorElementDataType type = facts.GetElementType();
  FF_CHECK(PlanError, type == kFloat || type == kInt8, "tensor ", name, " must be float or int8");
  return {type == kInt8 ? TensorView::Type::kInt8 : TensorView::Type::kFloat32, value.GetTensorRawData(),
          facts.GetShape()};
}

}  // namespace

EncoderKernel::EncoderKernel(const Ort::ConstKernelInfo& info)
    : plan_(plan_from_text(info.GetAttribute<std::string>("plan"))) {
  const std::vector<std::string> names = words(info.GetAttribute<std::string>("tensor_names"));
  FF_CHECK(PlanError, info.GetInputCount() == kFirstTensor + names.size(), "the node has ",
           info.GetInputCount(), " inputs; ", kFirstTensor, " and ", names.size(), " tensors were expected");
  encoder::TensorTable tensors;
  for (std::size_t i = 0; i < names.size(); ++i) {
    tensors.emplace(names[i], view_of(info, kFirstTensor + i, names[i]));
  }
  encoder_ = std::make_unique<encoder::Encoder>(
      plan_, tensors,
      encoder::value_of(encoder::kAttentionModes, info.GetAttribute<std::string>("products"), "products"), 0);
  for (const std::string& name : words(info.GetAttribute<std::string>("output_names"))) {
    outputs_.push_back(encoder_->output_index(name));
  }
  FF_CHECK(PlanError, info.GetOutputCount() == outputs_.size(), "the node has ", info.GetOutputCount(),
           " outputs and names ", outputs_.size());
}

void EncoderKernel::run(Ort::KernelContext& context) const {
  const Ort::ConstValue ids = context.GetInput(0), mask = context.GetInput(1), types = context.GetInput(2);
  const Shape shape = ids.GetTensorTypeAndShapeInfo().GetShape();
  FF_CHECK(ShapeError, shape.size() == 2 && shape[1] >= 1, "input_ids must be [batch, length]");
  FF_CHECK(ShapeError, mask.GetTensorTypeAndShapeInfo().GetShape() == shape, "attention_mask must be [",
           shape[0], ", ", shape[1], "], as input_ids is");
  const Tokens tokens = read_mask(mask.GetTensorData<std::int64_t>(), shape[0], shape[1]);
  const std::vector<std::int32_t> packed_ids =
      take_tokens(tokens, ids.GetTensorData<std::int64_t>(), "input_ids");
  std::vector<std::int32_t> packed_types;
  if (types) {
    FF_CHECK(ShapeError, types.GetTensorTypeAndShapeInfo().GetShape() == shape, "token_type_ids must be [",
             shape[0], ", ", shape[1], "], as input_ids is");
    packed_types = take_tokens(tokens, types.GetTensorData<std::int64_t>(), "token_type_ids");
  }
  const encoder::Batch batch = {packed_ids.data(), types ? packed_types.data() : nullptr,
                                tokens.offsets.data(), tokens.batch};
  encoder_->check(batch);
  std::vector<std::vector<float>> unspread(outputs_.size());
  std::vector<float*> results, spread;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const auto& output = plan_.outputs[static_cast<std::size_t>(outputs_[i])];
    const std::int64_t columns = encoder_->output_columns(outputs_[i]);
    const bool all = output.rows == encoder::Rows::kAll;
    const Shape out_shape = all ? Shape{shape[0], shape[1], columns} : Shape{shape[0], columns};
    float* const out = context.GetOutput(i, out_shape).GetTensorMutableData<float>();
    const bool spreads = all && tokens.padded();
    if (spreads) unspread[i].resize(static_cast<std::size_t>(tokens.total() * columns));
    results.push_back(spreads ? unspread[i].data() : out);
    spread.push_back(spreads ? out : nullptr);
  }
  encoder_->forward(batch, outputs_, results.data(), 0);
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if (spread[i] != nullptr) {
      spread_rows(tokens, results[i], encoder_->output_columns(outputs_[i]), spread[i]);
    }
  }
}

}  // namespace fastformers::ort
