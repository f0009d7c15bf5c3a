// SPDX-License-Identifier: MIT
// A ragged batch for the shared encoder as one ticket: owns its inputs and outputs, so that no memory of the caller is needed
// while it waits.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "encoder/encoder.h"
#include "runtime/ticket.h"

namespace fastformers::runtime {

// Sequences back to back, as encoder::Batch has them; types may be empty: all 0.
struct RaggedInput {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> types;
  std::vector<std::int64_t> offsets;

  encoder::Batch batch() const {
    return {ids.data(), types.empty() ? nullptr : types.data(), offsets.data(),
            static_cast<std::int64_t>(offsets.size()) - 1};
  }
};

class EncodeTicket final : public Ticket {
 public:
  struct Result {
    std::int64_t rows;
    std::int64_t columns;
    std::unique_ptr<AlignedBuffer> values;  // float32 [rows, columns]
  };

  // Throws ShapeError for a batch that the encoder refuses. The encoder must outlive the pool that runs the ticket.
  EncodeTicket(const encoder::Encoder& encoder, RaggedInput input, std::vector<int> outputs,
               Clock::time_point deadline, std::int64_t tag);

  void run(int threads) override;

  // In the order of the outputs; meaningful once the outcome is kDone.
  const std::vector<Result>& results() const { return results_; }

 private:
  const encoder::Encoder& encoder_;
  const RaggedInput input_;
  const std::vector<int> outputs_;
  std::vector<Result> results_;
};

}  // namespace fastformers::runtime
