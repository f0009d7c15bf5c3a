// SPDX-License-Identifier: MIT
#include "ort/plan_text.h"

#include <sstream>

#include "base/check.h"
#include "encoder/plan_names.h"

namespace fastformers::ort {
namespace {

using encoder::kFunctions;
using encoder::kRows;
using encoder::PlanError;

constexpr std::int64_t kForm = 1;
constexpr std::int64_t kMostItems = 4096;

class Reader {
 public:
  explicit Reader(const std::string& text) : words_(text) {}

  template <typename Value>
  Value value(const char* what) {
    Value found{};
    FF_CHECK(PlanError, words_ >> found, "the plan's text ends, or holds no number, at ", what);
    return found;
  }
  bool truth(const char* what) { return value<int>(what) != 0; }
  std::int64_t count(const char* what) {
    const auto found = value<std::int64_t>(what);
    FF_CHECK(PlanError, found >= 0 && found <= kMostItems, "the plan says ", found, " ", what);
    return found;
  }
  template <typename Value, std::size_t kCount>
  Value named(const encoder::Named<Value> (&table)[kCount], const char* what) {
    return encoder::value_of(table, value<std::string>(what), what);
  }
  void end() {
    std::string rest;
    FF_CHECK(PlanError, !(words_ >> rest), "the plan's text goes on after its end with '", rest, "'");
  }

 private:
  std::istringstream words_;
};

encoder::LayerPlan read_layer(Reader& reader) {
  encoder::LayerPlan layer{};
  layer.heads = reader.value<std::int64_t>("heads");
  layer.head_size = reader.value<std::int64_t>("head_size");
  layer.intermediate = reader.value<std::int64_t>("intermediate");
  layer.window = reader.value<std::int64_t>("window");
  layer.rope_base = reader.value<double>("rope_base");
  return layer;
}

encoder::OutputPlan read_output(Reader& reader) {
  encoder::OutputPlan output{};
  output.name = reader.value<std::string>("output name");
  output.rows = reader.named(kRows, "rows");
  output.normalize = reader.truth("normalize");
  for (std::int64_t left = reader.count("steps"); left > 0; --left) {
    encoder::HeadStep step{};
    step.linear = reader.truth("linear");
    step.function = reader.named(kFunctions, "activation");
    step.norm = reader.truth("norm");
    step.features = reader.value<std::int64_t>("features");
    output.steps.push_back(step);
  }
  return output;
}

}  // namespace

encoder::Plan plan_from_text(const std::string& text) {
  Reader reader(text);
  FF_CHECK(PlanError, reader.value<std::string>("its first word") == "plan", "the text is no encoder plan");
  const auto form = reader.value<std::int64_t>("its form");
  FF_CHECK(PlanError, form == kForm, "the plan has form ", form, ", this library reads form ", kForm,
           ": use the fastformers that wrote the graph");
  encoder::Plan plan{};
  plan.hidden = reader.value<std::int64_t>("hidden");
  plan.embedding = reader.value<std::int64_t>("embedding");
  plan.vocab = reader.value<std::int64_t>("vocab");
  plan.types = reader.value<std::int64_t>("types");
  plan.positions = reader.value<std::int64_t>("positions");
  plan.position_offset = reader.value<std::int64_t>("position_offset");
  plan.max_tokens = reader.value<std::int64_t>("max_tokens");
  plan.pre_norm = reader.truth("pre_norm");
  plan.norm_epsilon = reader.value<float>("norm_epsilon");
  plan.function = reader.named(kFunctions, "activation");
  plan.gated = reader.truth("gated");
  for (std::int64_t left = reader.count("layers"); left > 0; --left)
    plan.layers.push_back(read_layer(reader));
  for (std::int64_t left = reader.count("outputs"); left > 0; --left)
    plan.outputs.push_back(read_output(reader));
  reader.end();
  return plan;
}

}  // namespace fastformers::ort
