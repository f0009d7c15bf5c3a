// SPDX-License-Identifier: MIT
// The names that plans say their choices by, the same in Python, in artefacts and in ONNX graphs.
#pragma once

#include <cstddef>
#include <string>

#include "encoder/plan.h"
#include "ops/head_attention.h"

namespace fastformers::encoder {

template <typename Value>
struct Named {
  const char* name;
  Value value;
};

inline constexpr Named<Function> kFunctions[] = {
    {"none", Function::kNone},          {"relu", Function::kRelu}, {"gelu", Function::kGelu},
    {"gelu_tanh", Function::kGeluTanh}, {"tanh", Function::kTanh}, {"silu", Function::kSilu}};
inline constexpr Named<Rows> kRows[] = {{"all", Rows::kAll}, {"first", Rows::kFirst}, {"mean", Rows::kMean}};
inline constexpr Named<AttentionMode> kAttentionModes[] = {
    {"auto", AttentionMode::kAuto}, {"float32", AttentionMode::kFloat32}, {"int8", AttentionMode::kInt8}};

// The table holds every value.
template <typename Value, std::size_t kCount>
const char* name_of(const Named<Value> (&table)[kCount], Value value) {
  std::size_t i = 0;
  while (i + 1 < kCount && table[i].value != value) ++i;
  return table[i].name;
}

// Throws PlanError that lists the names of the table.
template <typename Value, std::size_t kCount>
Value value_of(const Named<Value> (&table)[kCount], const std::string& name, const char* what) {
  std::string names;
  for (const Named<Value>& entry : table) {
    if (name == entry.name) return entry.value;
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw PlanError(std::string(what) + " is '" + name + "'; known: " + names);
}

}  // namespace fastformers::encoder
