// SPDX-License-Identifier: MIT
// Names of the kinds of attention products, as attributes say them.
#pragma once

#include <stdexcept>
#include <string>

#include "ops/head_attention.h"

namespace fastformers::ort {

inline AttentionMode attention_mode_named(const std::string& name) {
  if (name == "auto") return AttentionMode::kAuto;
  if (name == "float32") return AttentionMode::kFloat32;
  if (name == "int8") return AttentionMode::kInt8;
  throw std::invalid_argument("products is '" + name + "'; known: auto, float32, int8");
}

}  // namespace fastformers::ort
