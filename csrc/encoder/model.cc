// SPDX-License-Identifier: MIT
#include "encoder/model.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "cpu/topology.h"
#include "kernels/packed_layout.h"
#include "ops/thread_pool.h"

namespace fastformers::encoder {
namespace {

constexpr std::int64_t kQkv = 3;
constexpr std::int64_t kMostAngles = std::int64_t{1} << 25;
// Of an intermediate value: its float and its u8.
constexpr std::int64_t kIntermediateBytes = 5;
constexpr std::int64_t kAssumedL2Bytes = 512 * 1024;  // where the system does not say

// Rows up to which a layer's weights cost more than its arithmetic, by the size of what a row passes after attention: measured
// on 2 threads, 16 tokens of BERT-base take 0.92 and 8 of MiniLM 0.90 of the time that sharing rows takes; 16 tokens of
// MiniLM, whose layer stays in L2, 1.08.
constexpr std::int64_t kColumnRowsInL2 = 8;
constexpr std::int64_t kColumnRowsBeyondL2 = 32;

std::int64_t l2_bytes() {
  const auto l2 = static_cast<std::int64_t>(cpu::read_topology().l2_bytes);
  return l2 > 0 ? l2 : kAssumedL2Bytes;
}

// Three quarters of L2 for the FFN's intermediates: 48 rows of BERT-base in 1 MiB, 96 in 2 MiB. Whole tiles of 6 rows.
std::int64_t rows_of_block(const Plan& plan) {
  std::int64_t widest = plan.hidden;
  for (const LayerPlan& layer : plan.layers) {
    widest = std::max(widest, layer.intermediate * (plan.gated ? 2 : 1));
  }
  return std::clamp<std::int64_t>(l2_bytes() * 3 / 4 / (kIntermediateBytes * widest) / 6 * 6, 12, 96);
}

std::int64_t rows_by_columns(const Plan& plan, std::int64_t block_rows) {
  std::int64_t largest = 0;
  for (const LayerPlan& layer : plan.layers) {
    const std::int64_t columns = layer.attention_width() + (plan.gated ? 3 : 2) * layer.intermediate;
    largest = std::max(largest, plan.hidden * columns);
  }
  return std::min(block_rows, largest > 2 * l2_bytes() ? kColumnRowsBeyondL2 : kColumnRowsInL2);
}

Embeddings make_embeddings(const Plan& plan, const TensorTable& tensors) {
  Embeddings made;
  const TensorView& word = find_tensor(tensors, "embeddings.word", {plan.vocab, plan.embedding});
  const std::int64_t count = plan.vocab * plan.embedding;
  if (word.type == TensorView::Type::kInt8) {
    made.word_s8.assign(word.s8(), word.s8() + count);
    const float* scales = find_floats(tensors, "embeddings.word.scale", {plan.vocab}).f32();
    made.word_scales.assign(scales, scales + plan.vocab);
  } else {
    check_finite(word, "embeddings.word");
    made.word.assign(word.f32(), word.f32() + count);
  }
  const auto table = [&](const char* name, std::int64_t rows) {
    if (rows == 0) return std::vector<float>();
    const float* values = find_floats(tensors, name, {rows, plan.embedding}).f32();
    return std::vector<float>(values, values + rows * plan.embedding);
  };
  made.position = table("embeddings.position", plan.positions);
  made.type = table("embeddings.type", plan.types);
  made.norm = maybe_norm(tensors, "embeddings.norm", plan.embedding);
  if (plan.embedding != plan.hidden) {
    made.projection.describe(tensors, "embeddings.projection", plan.hidden, plan.embedding);
  }
  return made;
}

std::vector<LinearLayer::Column> head_major_layout(const LayerPlan& plan, std::int64_t head_panels) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(plan.head_size));
  std::vector<LinearLayer::Column> layout;
  for (std::int64_t head = 0; head < plan.heads; ++head) {
    for (std::int64_t part = 0; part < kQkv; ++part) {
      for (std::int64_t i = 0; i < plan.head_size; ++i) {
        layout.push_back({(part * plan.heads + head) * plan.head_size + i, part == 0 ? scale : 1.0f});
      }
    }
    layout.resize(static_cast<std::size_t>((head + 1) * head_panels * kPanelColumns), {-1});
  }
  return layout;
}

// The angles as transformers computes them, in float32.
std::unique_ptr<Rotation> make_rotation(double base, std::int64_t head_size, std::int64_t tokens) {
  auto made = std::make_unique<Rotation>();
  for (std::int64_t position = 0; position < tokens; ++position) {
    for (std::int64_t i = 0; i < head_size; i += 2) {
      const float exponent = static_cast<float>(i) / static_cast<float>(head_size);
      const float frequency = 1.0f / std::pow(static_cast<float>(base), exponent);
      const float angle = static_cast<float>(position) * frequency;
      made->cosines.push_back(std::cos(angle));
      made->sines.push_back(std::sin(angle));
    }
  }
  return made;
}

void make_layer(Model& model, const TensorTable& tensors, std::size_t index) {
  const Plan& plan = model.plan;
  Layer& layer = model.layers[index];
  layer.plan = plan.layers[index];
  const std::string name = "layers." + std::to_string(index) + ".";
  const std::int64_t width = layer.plan.attention_width(), ffn = layer.plan.intermediate;
  if (width > 0) {
    layer.head_panels = panel_count(kQkv * layer.plan.head_size);
    layer.qkv.describe(tensors, name + "qkv", kQkv * width, plan.hidden);
    layer.qkv.lay_out(head_major_layout(layer.plan, layer.head_panels));
    layer.output.describe(tensors, name + "output", plan.hidden, width);
    if (maybe_tensor(tensors, name + "relative_bias") != nullptr) {
      const std::int64_t reach = 2 * plan.max_tokens - 1;
      const float* bias = find_floats(tensors, name + "relative_bias", {layer.plan.heads, reach}).f32();
      layer.relative_bias.assign(bias, bias + layer.plan.heads * reach);
    }
    if (layer.plan.rope_base > 0.0) {
      FF_CHECK(PlanError, plan.max_tokens * layer.plan.head_size <= kMostAngles, "rotary tables of ",
               plan.max_tokens, " tokens x ", layer.plan.head_size, " channels are larger than ", kMostAngles,
               "; lower max_tokens");
      std::unique_ptr<Rotation>& rotation = model.rotations[layer.plan.rope_base];
      if (!rotation) rotation = make_rotation(layer.plan.rope_base, layer.plan.head_size, plan.max_tokens);
      FF_CHECK(
          PlanError,
          static_cast<std::int64_t>(rotation->cosines.size()) == plan.max_tokens * layer.plan.head_size / 2,
          "layers with rope_base ", layer.plan.rope_base, " must have the same head size");
      layer.rotation = rotation.get();
    }
  } else {
    layer.output_bias = optional_vector(tensors, name + "output.bias", plan.hidden);
  }
  if (ffn > 0) {
    layer.up.describe(tensors, name + "up", plan.gated ? 2 * ffn : ffn, plan.hidden);
    layer.down.describe(tensors, name + "down", plan.hidden, ffn);
  } else {
    layer.down_bias = optional_vector(tensors, name + "down.bias", plan.hidden);
  }
  layer.attention_norm = plan.pre_norm ? maybe_norm(tensors, name + "attention_norm", plan.hidden)
                                       : find_norm(tensors, name + "attention_norm", plan.hidden);
  layer.ffn_norm = find_norm(tensors, name + "ffn_norm", plan.hidden);
}

// Only without rotation (a rotated key is no linear function of x alone) and with heads to speak of.
void make_first_token(Model& model, const TensorTable& tensors) {
  const std::size_t last = model.layers.size() - 1;
  const Layer& layer = model.layers[last];
  const LayerPlan& plan = layer.plan;
  if (plan.heads == 0 || layer.rotation != nullptr || plan.window >= 0) return;
  const std::string name = "layers." + std::to_string(last) + ".qkv";
  const std::int64_t width = plan.attention_width(), hidden = model.plan.hidden;
  const float scale = 1.0f / std::sqrt(static_cast<float>(plan.head_size));
  FirstTokenAttention& made = model.first_token;
  std::vector<LinearLayer::Column> query, key, value;
  for (std::int64_t n = 0; n < width; ++n) {
    query.push_back({n, scale});
    key.push_back({width + n});
  }
  made.value_width = panel_count(plan.head_size) * kPanelColumns;
  for (std::int64_t head = 0; head < plan.heads; ++head) {
    for (std::int64_t i = 0; i < plan.head_size; ++i)
      value.push_back({2 * width + head * plan.head_size + i});
    value.resize(static_cast<std::size_t>((head + 1) * made.value_width), {-1});
  }
  made.query.describe(tensors, name, kQkv * width, hidden);
  made.query.lay_out(std::move(query));
  made.value.describe(tensors, name, kQkv * width, hidden);
  made.value.lay_out(std::move(value));
  LinearLayer keys;
  keys.describe(tensors, name, kQkv * width, hidden);
  keys.lay_out(std::move(key));
  AlignedBuffer memory;
  keys.pack(model.kernels, memory.reserve(static_cast<std::size_t>(keys.packed_bytes(model.kernels))));
  made.key = keys.dense();
  made.present = true;
}

Output make_output(const Plan& plan, const OutputPlan& wanted, const TensorTable& tensors) {
  Output made;
  made.plan = wanted;
  std::int64_t width = plan.hidden;
  for (std::size_t i = 0; i < wanted.steps.size(); ++i) {
    const HeadStep& step = wanted.steps[i];
    const std::string name = "outputs." + wanted.name + "." + std::to_string(i) + ".";
    HeadStepWeights weights;
    weights.plan = step;
    if (step.linear) {
      weights.linear.describe(tensors, name + "linear", step.features, width);
    } else {
      FF_CHECK(PlanError, step.features == width, "step ", i, " of output ", wanted.name, " has ",
               step.features, " features and no linear layer, but gets ", width);
    }
    width = step.features;
    if (step.norm) weights.norm = find_norm(tensors, name + "norm", width);
    made.steps.push_back(std::move(weights));
  }
  made.columns = width;
  return made;
}

std::vector<LinearLayer*> linear_layers(Model& model) {
  std::vector<LinearLayer*> layers = {&model.embeddings.projection, &model.first_token.query,
                                      &model.first_token.value};
  for (Layer& layer : model.layers) {
    // With only first rows read, the last layer's keys and values are never computed.
    const bool unused = model.first_token.present && &layer == &model.layers.back();
    if (!unused) layers.push_back(&layer.qkv);
    layers.insert(layers.end(), {&layer.output, &layer.up, &layer.down});
  }
  for (Output& output : model.outputs) {
    for (HeadStepWeights& step : output.steps) layers.push_back(&step.linear);
  }
  return layers;
}

template <typename T>
std::int64_t bytes_of(const std::vector<T>& values) {
  return static_cast<std::int64_t>(values.size() * sizeof(T));
}

}  // namespace

std::unique_ptr<Model> make_model(const Plan& plan, const TensorTable& tensors, const IsaKernels& kernels,
                                  int threads) {
  auto model = std::make_unique<Model>();
  model->plan = plan;
  model->kernels = kernels;
  model->block_rows = rows_of_block(plan);
  model->column_rows = rows_by_columns(plan, model->block_rows);
  model->embeddings = make_embeddings(plan, tensors);
  model->layers.resize(plan.layers.size());
  for (std::size_t i = 0; i < plan.layers.size(); ++i) make_layer(*model, tensors, i);
  model->final_norm = maybe_norm(tensors, "final_norm", plan.hidden);
  for (const OutputPlan& output : plan.outputs) model->outputs.push_back(make_output(plan, output, tensors));
  model->only_first_rows = std::all_of(plan.outputs.begin(), plan.outputs.end(),
                                       [](const OutputPlan& output) { return output.rows == Rows::kFirst; });
  if (model->only_first_rows && !model->layers.empty()) make_first_token(*model, tensors);
  const std::vector<LinearLayer*> layers = linear_layers(*model);
  std::vector<std::int64_t> places;
  std::int64_t bytes = 0;
  for (const LinearLayer* layer : layers) {
    places.push_back(bytes);
    bytes += round_up(layer->packed_bytes(kernels), 64);
  }
  auto* memory = static_cast<unsigned char*>(model->packed.reserve(static_cast<std::size_t>(bytes)));
  parallel_tasks(std::max(1, threads), [&](int worker) {
    for (std::size_t i = static_cast<std::size_t>(worker); i < layers.size();
         i += static_cast<std::size_t>(std::max(1, threads))) {
      layers[i]->pack(kernels, memory + places[i]);
    }
  });
  return model;
}

std::int64_t Model::weight_bytes() const {
  std::int64_t bytes = bytes_of(embeddings.word) + bytes_of(embeddings.word_s8) +
                       bytes_of(embeddings.word_scales) + bytes_of(embeddings.position) +
                       bytes_of(embeddings.type) + bytes_of(first_token.key);
  bytes += static_cast<std::int64_t>(packed.capacity());
  for (const Layer& layer : layers) {
    for (const Norm* norm : {&layer.attention_norm, &layer.ffn_norm}) {
      bytes += bytes_of(norm->gamma) + bytes_of(norm->beta);
    }
    bytes += bytes_of(layer.relative_bias);
  }
  for (const auto& rotation : rotations) {
    bytes += bytes_of(rotation.second->cosines) + bytes_of(rotation.second->sines);
  }
  return bytes;
}

std::vector<std::string> Model::int8_matrices() const {
  std::vector<std::string> names;
  const auto add = [&](const LinearLayer& layer, const std::string& name) {
    if (layer.present() && layer.is_int8()) names.push_back(name);
  };
  add(embeddings.projection, "embeddings.projection");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string name = "layers." + std::to_string(i) + ".";
    add(layers[i].qkv, name + "qkv");
    add(layers[i].output, name + "output");
    add(layers[i].up, name + "up");
    add(layers[i].down, name + "down");
  }
  for (const Output& output : outputs) {
    for (std::size_t i = 0; i < output.steps.size(); ++i) {
      add(output.steps[i].linear, "outputs." + output.plan.name + "." + std::to_string(i) + ".linear");
    }
  }
  return names;
}

}  // namespace fastformers::encoder
