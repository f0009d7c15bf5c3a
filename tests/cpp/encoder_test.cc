// SPDX-License-Identifier: MIT
// The whole encoder and the team that runs it: a sequence's result has the same bits whatever its batch mates, its place, the
// threads and the callers beside it, on every instruction set. Also run under the address and thread sanitizers.
#include "encoder/encoder.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "kernels/registry.h"
#include "ops/team.h"
#include "require.h"

namespace {

using namespace fastformers::encoder;
using fastformers::AttentionMode;
using fastformers::Team;

// --- a small random model -----------------------------------------------------------------------------------------------

struct Shape {
  std::vector<LayerPlan> layers;
  Rows rows = Rows::kFirst;
  bool int8 = true;
  bool pre_norm = false;
  bool gated = false;
  bool relative_bias = false;
};

constexpr std::int64_t kHidden = 40, kVocab = 50, kMaxTokens = 80, kClasses = 3;

class RandomModel {
 public:
  explicit RandomModel(const Shape& shape) {
    plan = {kHidden,
            kHidden,
            kVocab,
            2,
            kMaxTokens,
            0,
            kMaxTokens,
            shape.pre_norm,
            1e-12f,
            Function::kGelu,
            shape.gated,
            shape.layers,
            {{"logits", shape.rows, {{true, Function::kTanh, false, kClasses}}, false}}};
    floats("embeddings.word", {kVocab, kHidden});
    floats("embeddings.position", {kMaxTokens, kHidden});
    floats("embeddings.type", {2, kHidden});
    norm("embeddings.norm");
    for (std::size_t i = 0; i < shape.layers.size(); ++i) layer(shape, i);
    linear("outputs.logits.0.linear", kClasses, kHidden, false);
  }

  Plan plan{};
  TensorTable tensors;

  // The numbers behind a float tensor, to be changed before an encoder is made.
  std::vector<float>& values_of(const std::string& name) {
    for (std::vector<float>& values : values_) {
      if (values.data() == tensors.at(name).data) return values;
    }
    std::abort();
  }

 private:
  void layer(const Shape& shape, std::size_t index) {
    const LayerPlan& layer = shape.layers[index];
    const std::string name = "layers." + std::to_string(index) + ".";
    const std::int64_t width = layer.attention_width(), ffn = layer.intermediate;
    if (width > 0) {
      linear(name + "qkv", 3 * width, kHidden, shape.int8);
      linear(name + "output", kHidden, width, shape.int8);
      if (shape.relative_bias) floats(name + "relative_bias", {layer.heads, 2 * kMaxTokens - 1});
    }
    if (ffn > 0) {
      linear(name + "up", shape.gated ? 2 * ffn : ffn, kHidden, shape.int8);
      linear(name + "down", kHidden, ffn, shape.int8);
    }
    norm(name + "attention_norm");
    norm(name + "ffn_norm");
  }

  void linear(const std::string& name, std::int64_t columns, std::int64_t depth, bool int8) {
    if (!int8) {
      floats(name + ".weight", {columns, depth});
      return floats(name + ".bias", {columns});
    }
    std::uniform_int_distribution<int> draw(-127, 127);
    bytes_.emplace_back(static_cast<std::size_t>(columns * depth));
    for (std::int8_t& value : bytes_.back()) value = static_cast<std::int8_t>(draw(random_));
    tensors[name + ".weight"] = {TensorView::Type::kInt8, bytes_.back().data(), {columns, depth}};
    floats(name + ".scale", {columns}, 0.002f, 0.004f);
    floats(name + ".bias", {columns});
    floats(name + ".factors", {depth}, 0.5f, 2.0f);
  }

  void norm(const std::string& name) {
    floats(name + ".weight", {kHidden}, 0.9f, 1.1f);
    floats(name + ".bias", {kHidden}, -0.1f, 0.1f);
  }

  void floats(const std::string& name, std::vector<std::int64_t> shape, float low = -0.3f,
              float high = 0.3f) {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    std::uniform_real_distribution<float> draw(low, high);
    values_.emplace_back(count);
    for (float& value : values_.back()) value = draw(random_);
    tensors[name] = {TensorView::Type::kFloat32, values_.back().data(), std::move(shape)};
  }

  std::mt19937 random_{7};
  std::vector<std::vector<float>> values_;
  std::vector<std::vector<std::int8_t>> bytes_;
};

struct Sequences {
  explicit Sequences(const std::vector<std::int64_t>& lengths) : offsets{0} {
    std::mt19937 random(11);
    for (const std::int64_t length : lengths) {
      offsets.push_back(offsets.back() + length);
      for (std::int64_t t = 0; t < length; ++t) {
        ids.push_back(static_cast<std::int32_t>(random() % kVocab));
        types.push_back(static_cast<std::int32_t>(random() % 2));
      }
    }
  }
  Batch batch() const {
    return {ids.data(), types.data(), offsets.data(), static_cast<std::int64_t>(offsets.size()) - 1};
  }

  std::vector<std::int32_t> ids, types;
  std::vector<std::int64_t> offsets;
};

std::vector<float> run(const Encoder& encoder, const Batch& batch, int threads) {
  encoder.check(batch);
  std::vector<float> result(
      static_cast<std::size_t>(encoder.output_rows(0, batch) * encoder.output_columns(0)));
  float* const results[] = {result.data()};
  encoder.forward(batch, {0}, results, threads);
  return result;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool all_finite(const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

const std::vector<std::int64_t> kLengths = {5, 1, 33, 17, 80, 2, 64};

std::vector<float> alone(const Encoder& encoder, const Sequences& sequences) {
  std::vector<float> joined;
  for (std::size_t s = 0; s + 1 < sequences.offsets.size(); ++s) {
    const std::int64_t first = sequences.offsets[s];
    const std::int64_t offsets[] = {0, sequences.offsets[s + 1] - first};
    const std::vector<float> one =
        run(encoder, {sequences.ids.data() + first, sequences.types.data() + first, offsets, 1}, 1);
    joined.insert(joined.end(), one.begin(), one.end());
  }
  return joined;
}

std::vector<Shape> shapes() {
  const LayerPlan plain{4, 10, 96, -1, 0.0}, wide{2, 26, 50, -1, 0.0};
  const LayerPlan no_heads{0, 10, 96, -1, 0.0}, no_ffn{4, 10, 0, -1, 0.0};
  const LayerPlan rotated{4, 10, 48, -1, 10000.0}, local{4, 10, 48, 4, 10000.0};
  std::vector<Shape> all;
  for (const Rows rows : {Rows::kFirst, Rows::kAll, Rows::kMean}) {
    for (const bool int8 : {true, false}) {
      all.push_back({{plain, wide}, rows, int8});
      all.push_back({{plain, plain}, rows, int8, false, false, true});
      all.push_back({{no_heads, no_ffn, plain}, rows, int8});
      all.push_back({{plain, no_heads}, rows, int8});
      all.push_back({{rotated, local, rotated}, rows, int8, true, true});
    }
  }
  return all;
}

// --- claims -------------------------------------------------------------------------------------------------------------

void a_result_depends_on_its_sequence_alone() {
  const Sequences sequences(kLengths);
  for (const Shape& shape : shapes()) {
    const RandomModel model(shape);
    for (const AttentionMode mode : {AttentionMode::kFloat32, AttentionMode::kInt8, AttentionMode::kAuto}) {
      const Encoder encoder(model.plan, model.tensors, mode, 1);
      const std::vector<float> together = run(encoder, sequences.batch(), 1);
      REQUIRE(all_finite(together));
      REQUIRE(same_bits(together, alone(encoder, sequences)));
      REQUIRE(same_bits(together, run(encoder, sequences.batch(), 2)));
      REQUIRE(same_bits(together, run(encoder, sequences.batch(), 5)));
    }
  }
}

// Wide enough that 8 tokens are worth a second thread, few enough that threads share columns.
void few_rows_give_the_same_bits_however_threads_share_them() {
  const LayerPlan wide{4, 10, 900, -1, 0.0}, odd{2, 26, 650, -1, 0.0}, rotated{4, 10, 900, 4, 10000.0};
  const LayerPlan no_heads{0, 10, 900, -1, 0.0};
  const std::vector<std::int64_t> lengths[] = {{8}, {5, 3}, {1, 1, 1, 1, 1, 1, 1}};
  for (const Rows rows : {Rows::kFirst, Rows::kAll, Rows::kMean}) {
    for (const bool int8 : {true, false}) {
      for (const Shape& shape : {Shape{{wide, odd}, rows, int8}, Shape{{odd, no_heads}, rows, int8},
                                 Shape{{rotated, rotated}, rows, int8, true, true}}) {
        const RandomModel model(shape);
        const Encoder encoder(model.plan, model.tensors, AttentionMode::kAuto, 1);
        for (const std::vector<std::int64_t>& some : lengths) {
          const Sequences sequences(some);
          const std::vector<float> expected = run(encoder, sequences.batch(), 1);
          REQUIRE(all_finite(expected));
          for (const int threads : {2, 3, 4}) {
            REQUIRE(same_bits(expected, run(encoder, sequences.batch(), threads)));
          }
        }
      }
    }
  }
}

// Scores of 1e15 and more: the largest one of a row still gets all of its weight.
void huge_scores_stay_finite() {
  const Sequences sequences(kLengths);
  RandomModel model({{{4, 10, 96, -1, 0.0}, {4, 10, 96, -1, 0.0}}, Rows::kAll});
  for (float& scale : model.values_of("layers.0.qkv.scale")) scale *= 1e6f;
  for (const AttentionMode mode : {AttentionMode::kFloat32, AttentionMode::kInt8}) {
    const Encoder encoder(model.plan, model.tensors, mode, 1);
    REQUIRE(all_finite(run(encoder, sequences.batch(), 1)));
  }
}

void instruction_sets_agree() {
  const Sequences sequences(kLengths);
  for (const Shape& shape : shapes()) {
    const RandomModel model(shape);
    for (const AttentionMode mode : {AttentionMode::kFloat32, AttentionMode::kInt8}) {
      fastformers::set_active_isa("reference");
      const std::vector<float> expected =
          run(Encoder(model.plan, model.tensors, mode, 1), sequences.batch(), 1);
      for (const fastformers::IsaKernels& kernels : fastformers::supported_kernels()) {
        fastformers::set_active_isa(kernels.table->name);
        REQUIRE(same_bits(expected, run(Encoder(model.plan, model.tensors, mode, 1), sequences.batch(), 2)));
      }
    }
  }
}

void many_callers_at_once() {
  const Sequences sequences(kLengths);
  const RandomModel model({{{4, 10, 96, -1, 0.0}, {4, 10, 96, -1, 0.0}}});
  const Encoder encoder(model.plan, model.tensors, AttentionMode::kAuto, 2);
  const std::vector<float> expected = run(encoder, sequences.batch(), 1);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 20; ++i)
        wrong += !same_bits(expected, run(encoder, sequences.batch(), 1 + caller % 2));
    });
  }
  for (std::thread& caller : callers) caller.join();
  REQUIRE(wrong == 0);
}

void a_warm_call_allocates_no_more() {
  const Sequences sequences(kLengths);
  const RandomModel model({{{4, 10, 96, -1, 0.0}}});
  const Encoder encoder(model.plan, model.tensors, AttentionMode::kAuto, 1);
  run(encoder, sequences.batch(), 2);
  const std::int64_t bytes = encoder.workspace_bytes();
  for (int i = 0; i < 10; ++i) run(encoder, sequences.batch(), 2);
  REQUIRE(bytes > 0);
  REQUIRE(encoder.workspace_bytes() == bytes);
}

void wrong_input_is_refused() {
  const RandomModel model({{{4, 10, 96, -1, 0.0}}});
  const Encoder encoder(model.plan, model.tensors, AttentionMode::kAuto, 1);
  const std::int32_t ids[] = {1, static_cast<std::int32_t>(kVocab), -1, 3}, types[] = {0, 0, 0, 2};
  const std::int64_t one[] = {0, 1}, two[] = {0, 2}, empty[] = {0, 1, 1}, shifted[] = {1, 2};
  using fastformers::ShapeError;
  REQUIRE(throws<ShapeError>([&] { encoder.check({ids, nullptr, two, 1}); }));
  REQUIRE(throws<ShapeError>([&] { encoder.check({ids + 2, nullptr, one, 1}); }));
  REQUIRE(throws<ShapeError>([&] { encoder.check({ids + 3, types + 3, one, 1}); }));
  REQUIRE(throws<ShapeError>([&] { encoder.check({ids, nullptr, empty, 2}); }));
  REQUIRE(throws<ShapeError>([&] { encoder.check({ids, nullptr, shifted, 1}); }));
  const std::vector<std::int32_t> long_ids(static_cast<std::size_t>(kMaxTokens) + 1, 1);
  const std::int64_t too_long[] = {0, kMaxTokens + 1};
  REQUIRE(throws<ShapeError>([&] { encoder.check({long_ids.data(), nullptr, too_long, 1}); }));
  REQUIRE(throws<PlanError>([&] { encoder.output_index("embedding"); }));
  TensorTable incomplete = model.tensors;
  incomplete.erase("layers.0.up.weight");
  REQUIRE(throws<PlanError>([&] { Encoder(model.plan, incomplete, AttentionMode::kAuto, 1); }));
}

// Plain ints: the team itself must order one phase's writes before the next phase's reads.
void phases_follow_each_other() {
  for (const int members : {1, 2, 3}) {
    for (int round = 0; round < 50; ++round) {
      Team team(members);
      std::vector<int> values(64, 0);
      std::atomic<int> wrong{0};
      std::vector<std::thread> threads;
      for (int i = 0; i < members; ++i) {
        threads.emplace_back([&] {
          Team::Member member(team);
          for (int phase = 0; phase < 20; ++phase) {
            const int tasks = 1 + phase % 7;
            member.phase(tasks, [&](int task) {
              for (int at = task; at < 64; at += tasks)
                wrong += values[static_cast<std::size_t>(at)]++ != phase;
            });
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      REQUIRE(wrong == 0);
      REQUIRE(values == std::vector<int>(64, 20));
    }
  }
}

void one_member_finishes_for_all() {
  Team team(3);
  int done = 0;
  Team::Member first(team);
  for (int phase = 0; phase < 4; ++phase) first.phase(5, [&](int) { ++done; });
  REQUIRE(done == 20);
  Team::Member late(team);
  for (int phase = 0; phase < 4; ++phase) late.phase(5, [&](int) { ++done; });
  REQUIRE(done == 20);
}

}  // namespace

int main() {
  phases_follow_each_other();
  one_member_finishes_for_all();
  a_result_depends_on_its_sequence_alone();
  few_rows_give_the_same_bits_however_threads_share_them();
  huge_scores_stay_finite();
  many_callers_at_once();
  a_warm_call_allocates_no_more();
  wrong_input_is_refused();
  instruction_sets_agree();
  return require::finish();
}
