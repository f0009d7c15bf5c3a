// SPDX-License-Identifier: MIT
// A whole encoder in one call: token ids in, the outputs of its plan out. Sequences of any lengths lie back to back (a ragged
// batch); no padded row exists. A sequence's result depends on that sequence alone: not on its batch mates, its place in
// the batch, the threads, or the instruction set.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "encoder/model.h"
#include "encoder/plan.h"
#include "ops/head_attention.h"

namespace fastformers::encoder {

class Workspace;
struct Profile;

// Token ids of all sequences, back to back; sequence s is ids[offsets[s]] ... ids[offsets[s + 1] - 1].
struct Batch {
  const std::int32_t* ids;
  const std::int32_t* types;    // or null: all 0
  const std::int64_t* offsets;  // [sequences + 1], the first 0
  std::int64_t sequences;

  std::int64_t tokens() const { return offsets[sequences]; }
};

class Encoder {
 public:
  // Checks and packs; the tensors are not looked at afterwards. threads: 0 for num_threads().
  Encoder(const Plan& plan, const TensorTable& tensors, AttentionMode attention, int threads);
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Index of an output; throws PlanError that lists the names.
  int output_index(const std::string& name) const;
  std::int64_t output_rows(int output, const Batch& batch) const;
  std::int64_t output_columns(int output) const;

  // Throws ShapeError for ids, types or lengths out of range; call once for each batch, before forward.
  void check(const Batch& batch) const;
  // results[i] gets output outputs[i]: float32 [output_rows, output_columns]. Safe from many threads at once. An empty
  // `profile`, if given, is filled; noting the times slows the call down a little.
  void forward(const Batch& batch, const std::vector<int>& outputs, float* const* results, int threads,
               Profile* profile = nullptr) const;

  const Model& model() const { return *model_; }
  AttentionMode attention() const { return attention_; }
  // Scratch memory kept between calls, of all threads that ever called at once.
  std::int64_t workspace_bytes() const;

 private:
  std::unique_ptr<Workspace> take_workspace() const;
  void return_workspace(std::unique_ptr<Workspace> workspace) const;

  std::unique_ptr<Model> model_;
  AttentionMode attention_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace fastformers::encoder
