// SPDX-License-Identifier: MIT
#include "encoder/encoder.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "encoder/execution.h"
#include "encoder/profile.h"
#include "encoder/workspace.h"
#include "kernels/registry.h"
#include "ops/thread_pool.h"

namespace fastformers::encoder {
namespace {

// Below this many multiply-accumulates a second thread costs more than it saves.
constexpr std::int64_t kMinMacsPerThread = 256 * 1000;
// Short sequences are projected together up to this many rows, so that a head's weights are read once for all of them.
constexpr std::int64_t kChunkRows = 96;

std::int64_t macs_per_token(const Plan& plan) {
  std::int64_t macs = 0;
  for (const LayerPlan& layer : plan.layers) {
    macs += plan.hidden * (4 * layer.attention_width() + (plan.gated ? 3 : 2) * layer.intermediate);
  }
  return macs;
}

void make_chunks(const Batch& batch, std::vector<Chunk>& chunks) {
  chunks.clear();
  for (std::int64_t s = 0; s < batch.sequences; ++s) {
    if (!chunks.empty() && batch.offsets[s + 1] - batch.offsets[chunks.back().first_sequence] <= kChunkRows) {
      chunks.back().last_sequence = s + 1;
    } else {
      chunks.push_back({s, s + 1});
    }
  }
}

// A position table that does not begin at row 0 follows RoBERTa's rule: the row before its first belongs to the padding
// id, and tokens of that id, which a text may hold ("<pad>"), are not counted.
void number_tokens(const Plan& plan, const Batch& batch, std::vector<std::int64_t>& positions) {
  positions.resize(static_cast<std::size_t>(batch.tokens()));
  const std::int64_t padding = plan.position_offset - 1;
  for (std::int64_t s = 0; s < batch.sequences; ++s) {
    std::int64_t number = 0;
    for (std::int64_t t = batch.offsets[s]; t < batch.offsets[s + 1]; ++t) {
      positions[static_cast<std::size_t>(t)] = batch.ids[t] == padding ? -1 : number++;
    }
  }
}

Extent extent_of(const Batch& batch, const std::vector<Chunk>& chunks, int members) {
  Extent extent{batch.tokens(), batch.sequences, 0, 0, members};
  for (std::int64_t s = 0; s < batch.sequences; ++s) {
    extent.longest = std::max(extent.longest, batch.offsets[s + 1] - batch.offsets[s]);
  }
  for (const Chunk& chunk : chunks) {
    extent.chunk_rows =
        std::max(extent.chunk_rows, batch.offsets[chunk.last_sequence] - batch.offsets[chunk.first_sequence]);
  }
  return extent;
}

}  // namespace

Encoder::Encoder(const Plan& plan, const TensorTable& tensors, AttentionMode attention, int threads)
    : model_(make_model(plan, tensors, active_kernels(), threads_for_call(threads))), attention_(attention) {}

Encoder::~Encoder() = default;

int Encoder::output_index(const std::string& name) const {
  std::string names;
  for (std::size_t i = 0; i < model_->outputs.size(); ++i) {
    if (model_->outputs[i].plan.name == name) return static_cast<int>(i);
    names += (i > 0 ? ", " : "") + model_->outputs[i].plan.name;
  }
  throw PlanError("this encoder has no output '" + name + "'; it has: " + names);
}

std::int64_t Encoder::output_rows(int output, const Batch& batch) const {
  const bool all = model_->outputs[static_cast<std::size_t>(output)].plan.rows == Rows::kAll;
  return all ? batch.tokens() : batch.sequences;
}

std::int64_t Encoder::output_columns(int output) const {
  return model_->outputs[static_cast<std::size_t>(output)].columns;
}

void Encoder::check(const Batch& batch) const {
  const Plan& plan = model_->plan;
  FF_CHECK(ShapeError, batch.offsets[0] == 0, "offsets must start at 0, got ", batch.offsets[0]);
  for (std::int64_t s = 0; s < batch.sequences; ++s) {
    const std::int64_t length = batch.offsets[s + 1] - batch.offsets[s];
    FF_CHECK(ShapeError, length >= 1, "sequence ", s, " has ", length, " tokens; at least one is needed");
    FF_CHECK(ShapeError, length <= plan.max_tokens, "sequence ", s, " has ", length,
             " tokens, the model takes ", plan.max_tokens, " at most; truncate it");
  }
  for (std::int64_t t = 0; t < batch.tokens(); ++t) {
    FF_CHECK(ShapeError, batch.ids[t] >= 0 && batch.ids[t] < plan.vocab, "token id ", batch.ids[t],
             " at place ", t, " is outside the vocabulary of ", plan.vocab);
    if (batch.types == nullptr) continue;
    FF_CHECK(ShapeError, batch.types[t] >= 0 && batch.types[t] < std::max<std::int64_t>(1, plan.types),
             "token type ", batch.types[t], " at place ", t, " is not below ",
             std::max<std::int64_t>(1, plan.types));
  }
}

std::unique_ptr<Workspace> Encoder::take_workspace() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.empty()) return std::make_unique<Workspace>();
  std::unique_ptr<Workspace> workspace = std::move(idle_.back());
  idle_.pop_back();
  return workspace;
}

void Encoder::return_workspace(std::unique_ptr<Workspace> workspace) const {
  if (workspace->bytes() > kKeepBytes) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(workspace));
}

std::int64_t Encoder::workspace_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::int64_t bytes = 0;
  for (const auto& workspace : idle_) bytes += workspace->bytes();
  return bytes;
}

void Encoder::forward(const Batch& batch, const std::vector<int>& outputs, float* const* results, int threads,
                      Profile* profile) const {
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t wanted = threads_for_call(threads);
  if (batch.sequences == 0) return;
  const std::int64_t macs = batch.tokens() * macs_per_token(model_->plan);
  const int members = static_cast<int>(std::clamp<std::int64_t>(macs / kMinMacsPerThread, 1, wanted));
  std::unique_ptr<Workspace> workspace = take_workspace();
  make_chunks(batch, workspace->chunks);
  workspace->reserve(*model_, extent_of(batch, workspace->chunks, members));
  number_tokens(model_->plan, batch, workspace->positions);
  if (profile != nullptr)
    profile->watches.assign(static_cast<std::size_t>(members), StopWatch(model_->layers.size()));
  const Execution run{*model_, batch, outputs, results, attention_, *workspace, members, profile};
  Team team(members);
  parallel_tasks(members, [&](int index) {
    StopWatch* watch = run.watch(index);
    Team::Member member(team, watch != nullptr ? watch->waited() : nullptr);
    run_program(run, member, index);
  });
  if (profile != nullptr) {
    profile->elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return_workspace(std::move(workspace));
}

}  // namespace fastformers::encoder
