// SPDX-License-Identifier: MIT
// Sizes lean towards the edges of tiles (6 rows, panels of 16 columns, blocks of 48 and 64) and towards the shapes of
// pruned and small models; a budget of multiply-accumulates keeps a case at a fraction of a millisecond.
#include "fuzz/fuzz_case.h"

#include <algorithm>
#include <sstream>
#include <vector>

namespace fuzz {
namespace {

using fastformers::Activation;

constexpr std::int64_t kLargestDepth = fastformers::kMaxDepth;

std::int64_t draw_size(Random& random) {
  const std::int64_t draw = random.below(100);
  if (draw < 40) return random.pick<std::int64_t>({1, 6, 12, 16, 32, 48, 64, 128}) + random.between(-1, 1);
  if (draw < 55) return random.pick<std::int64_t>({26, 78, 208, 234, 312, 600, 900});
  return random.between(0, 300);
}

std::int64_t draw_depth(Random& random) {
  const std::int64_t draw = random.below(1000);
  if (draw < 1) return kLargestDepth - random.pick<std::int64_t>({0, 1, 2, 3, 64});
  if (draw < 20) return random.between(301, 3072);
  return std::max<std::int64_t>(1, draw_size(random));
}

// Head sizes of models, and any other.
std::int64_t draw_head_size(Random& random) {
  if (random.percent(3)) return random.between(131, 700);
  return random.percent(60) ? random.pick<std::int64_t>({26, 32, 64, 128}) : random.between(1, 130);
}

// Windows narrower and wider than the sequence, queries anywhere in it; every row must see a key.
void draw_attention(Case& drawn, Random& random) {
  drawn.rows = random.percent(15) ? 1 : random.between(1, 50);
  drawn.columns = random.percent(30) ? random.pick<std::int64_t>({1, 15, 16, 17, 63, 64, 65, 128, 129, 256})
                                     : random.between(1, 300);
  drawn.depth = draw_head_size(random);
  drawn.channels = random.percent(60) ? drawn.depth : draw_head_size(random);
  const std::int64_t limit = random.percent(80) ? 100'000 : 1'000'000;
  while (drawn.rows * drawn.columns * (drawn.depth + drawn.channels) > limit) {
    std::int64_t& size = random.percent(50) ? drawn.rows : drawn.columns;
    size = (size + 1) / 2;
  }
  if (random.percent(50)) return;
  const std::int64_t window = random.percent(70) ? random.between(0, 70) : random.between(0, 310);
  const std::int64_t last_first = drawn.columns + window - drawn.rows;
  if (last_first < 0) return;
  drawn.window = window;
  drawn.first_query = random.below(last_first + 1);
}

std::int64_t draw_gap(Random& random) { return random.percent(50) ? 0 : random.between(1, 70); }

// Replaces sizes, in random order, by smaller draws until rows * columns * depth fits. Giant depths stay.
void fit_budget(Case& drawn, Random& random) {
  const std::int64_t draw = random.below(100);
  const std::int64_t budget = draw < 80 ? 60'000 : (draw < 98 ? 500'000 : 6'000'000);
  const bool matmul = drawn.op == Op::kGemmS32 || drawn.op == Op::kGemmF32 || drawn.op == Op::kFloatGemm;
  const bool pack = drawn.op == Op::kPack || drawn.op == Op::kPackF32;
  const bool giant = drawn.depth > 3072;
  const std::int64_t limit = giant ? 20 * kLargestDepth : (matmul ? budget : budget / 4);
  std::int64_t unused = 1;
  std::int64_t& rows = pack ? unused : drawn.rows;
  std::int64_t& columns = matmul || pack ? drawn.columns : unused;
  while (rows * columns * drawn.depth > limit) {
    std::int64_t* size = random.pick({&rows, &columns, giant ? &rows : &drawn.depth});
    const std::int64_t redrawn = std::max<std::int64_t>(1, draw_size(random));
    if (redrawn < *size) *size = redrawn;
  }
}

void draw_options(Case& drawn, Random& random) {
  drawn.rows_gap = draw_gap(random);
  drawn.residual_gap = draw_gap(random);
  drawn.out_gap = draw_gap(random);
  if (random.percent(30)) {
    drawn.first_percent = static_cast<int>(random.between(0, 100));
    drawn.last_percent = static_cast<int>(random.between(drawn.first_percent, 100));
  }
  drawn.placement = random.pick({Placement::kEnd, Placement::kEnd, Placement::kStart, Placement::kMiddle});
  const bool float_rows = drawn.op != Op::kGemmS32 && drawn.op != Op::kGemmF32;
  drawn.rows_fill = pick_fill(random, float_rows);
  drawn.weights_fill = pick_fill(random, false);
  drawn.floats_fill = pick_fill(random, true);
  drawn.bias = random.percent(60);
  drawn.residual = random.percent(40);
  drawn.factors = random.percent(50);
  drawn.in_place = random.percent(50);
  drawn.out_aliases_input = random.percent(30);
  drawn.activation =
      random.pick({Activation::kNone, Activation::kRelu, Activation::kGeluErf, Activation::kGeluTanh});
}

const char* fill_name(Fill fill) {
  constexpr const char* kNames[] = {"uniform", "extremes",  "all-most", "one-hot",
                                    "zeros",   "all-equal", "hostile"};
  return kNames[static_cast<int>(fill)];
}

// Every simplification of one step, most drastic first.
std::vector<Case> simpler_cases(const Case& failing) {
  std::vector<Case> simpler;
  const auto add = [&](auto change) {
    simpler.push_back(failing);
    change(simpler.back());
  };
  // Fewer keys could leave a row without any that it sees: first_query goes down with them.
  if (failing.window >= 0) add([](Case& c) { c.window = -1; });
  if (failing.first_query > 0) add([](Case& c) { c.first_query /= 2; });
  if (failing.op == Op::kAttention && failing.channels > 1) add([](Case& c) { c.channels /= 2; });
  for (std::int64_t Case::* size : {&Case::rows, &Case::columns, &Case::depth}) {
    if (failing.*size > 1) add([&](Case& c) { c.*size /= 2; });
    if (failing.*size > 1) add([&](Case& c) { c.*size -= 1; });
  }
  for (std::int64_t Case::* gap : {&Case::rows_gap, &Case::residual_gap, &Case::out_gap}) {
    if (failing.*gap != 0) add([&](Case& c) { c.*gap = 0; });
  }
  for (bool Case::* option :
       {&Case::bias, &Case::residual, &Case::factors, &Case::in_place, &Case::out_aliases_input}) {
    if (failing.*option) add([&](Case& c) { c.*option = false; });
  }
  for (Fill Case::* fill : {&Case::rows_fill, &Case::weights_fill, &Case::floats_fill}) {
    if (failing.*fill != Fill::kUniform) add([&](Case& c) { c.*fill = Fill::kUniform; });
  }
  if (failing.activation != Activation::kNone &&
      (failing.op == Op::kGemmF32 || failing.op == Op::kFloatGemm)) {
    add([](Case& c) { c.activation = Activation::kNone; });
  }
  return simpler;
}

}  // namespace

const char* op_name(Op op) {
  constexpr const char* kNames[] = {"pack",    "gemm_s32", "gemm_f32", "range",      "quantize", "layer_norm",
                                    "softmax", "gelu",     "pack_f32", "float_gemm", "attention"};
  return kNames[static_cast<int>(op)];
}

Case draw_case(std::uint64_t seed) {
  Random random(seed);
  Case drawn;
  drawn.seed = seed;
  drawn.op = random.pick({Op::kPack, Op::kGemmS32, Op::kGemmS32, Op::kGemmF32, Op::kGemmF32, Op::kGemmF32,
                          Op::kRange, Op::kQuantize, Op::kLayerNorm, Op::kSoftmax, Op::kGelu, Op::kPackF32,
                          Op::kFloatGemm, Op::kFloatGemm, Op::kFloatGemm, Op::kAttention, Op::kAttention});
  drawn.rows = random.percent(15) ? 1 : draw_size(random);
  drawn.columns = draw_size(random);
  drawn.depth = draw_depth(random);
  // Around the depth from which partial sums are stored and reloaded.
  if (drawn.op == Op::kFloatGemm && random.percent(5)) drawn.depth = random.between(1000, 3100);
  if (drawn.op == Op::kAttention) {
    draw_attention(drawn, random);
  } else {
    fit_budget(drawn, random);
  }
  draw_options(drawn, random);
  return drawn;
}

std::string describe(const Case& drawn) {
  constexpr const char* kPlacements[] = {"end", "start", "middle"};
  constexpr const char* kActivations[] = {"none", "relu", "gelu", "gelu_tanh"};
  std::ostringstream text;
  text << op_name(drawn.op) << " rows=" << drawn.rows << " columns=" << drawn.columns
       << " depth=" << drawn.depth << " channels=" << drawn.channels << " window=" << drawn.window
       << " first_query=" << drawn.first_query << " gaps=" << drawn.rows_gap << "," << drawn.residual_gap
       << "," << drawn.out_gap << " panels=" << drawn.first_percent << "%.." << drawn.last_percent << "%"
       << " placement=" << kPlacements[static_cast<int>(drawn.placement)]
       << " fills=" << fill_name(drawn.rows_fill) << "," << fill_name(drawn.weights_fill) << ","
       << fill_name(drawn.floats_fill) << " bias=" << drawn.bias << " residual=" << drawn.residual
       << " factors=" << drawn.factors << " in_place=" << drawn.in_place
       << " out_aliases_input=" << drawn.out_aliases_input
       << " activation=" << kActivations[static_cast<int>(drawn.activation)] << " seed=" << drawn.seed;
  return text.str();
}

Case shrink_case(Case failing, const std::function<bool(const Case&)>& fails) {
  constexpr int kMostAttempts = 400;
  int attempts = 0;
  for (bool progress = true; progress;) {
    progress = false;
    for (const Case& simpler : simpler_cases(failing)) {
      if (++attempts > kMostAttempts) return failing;
      if (!fails(simpler)) continue;
      failing = simpler;
      progress = true;
      break;
    }
  }
  return failing;
}

}  // namespace fuzz
