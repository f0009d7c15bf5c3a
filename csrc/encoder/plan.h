// SPDX-License-Identifier: MIT
// What an encoder computes, as data: the C++ side of python/fastformers/encoder_plan.py, which explains every field and names
// the tensors. No model family is known here.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace fastformers::encoder {

// A plan or tensor that contradicts itself. Becomes ConfigError in Python.
struct PlanError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

enum class Function { kNone, kRelu, kGelu, kGeluTanh, kTanh, kSilu };
enum class Rows { kAll, kFirst, kMean };

struct LayerPlan {
  std::int64_t heads;
  std::int64_t head_size;
  std::int64_t intermediate;
  std::int64_t window;  // -1: none
  double rope_base;     // 0: none

  std::int64_t attention_width() const { return heads * head_size; }
};

struct HeadStep {
  bool linear;
  Function function;
  bool norm;
  std::int64_t features;
};

struct OutputPlan {
  std::string name;
  Rows rows;
  std::vector<HeadStep> steps;
  bool normalize;
};

struct Plan {
  std::int64_t hidden;
  std::int64_t embedding;
  std::int64_t vocab;
  std::int64_t types;
  std::int64_t positions;
  // Row of the first token's position; the row before it, if there is one, is the padding id's.
  std::int64_t position_offset;
  std::int64_t max_tokens;
  bool pre_norm;
  float norm_epsilon;
  Function function;
  bool gated;
  std::vector<LayerPlan> layers;
  std::vector<OutputPlan> outputs;
};

// A borrowed row-major array, valid while an Encoder is being made.
struct TensorView {
  enum class Type { kFloat32, kInt8 };
  Type type;
  const void* data;
  std::vector<std::int64_t> shape;

  const float* f32() const { return static_cast<const float*>(data); }
  const std::int8_t* s8() const { return static_cast<const std::int8_t*>(data); }
};

using TensorTable = std::map<std::string, TensorView>;

}  // namespace fastformers::encoder
