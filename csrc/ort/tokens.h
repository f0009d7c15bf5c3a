// SPDX-License-Identifier: MIT
// From ONNX's padded batches to ragged ones and back: the mask says which tokens there are. Padding stands at the ends of a
// sequence only; a gap inside would change what the positions mean.
#pragma once

#include <cstdint>
#include <vector>

namespace fastformers::ort {

struct Tokens {
  std::int64_t batch;
  std::int64_t length;
  std::vector<std::int64_t> first;    // place of each sequence's first token in its row
  std::vector<std::int64_t> offsets;  // [batch + 1] of the ragged batch

  std::int64_t count(std::int64_t sequence) const {
    const auto s = static_cast<std::size_t>(sequence);
    return offsets[s + 1] - offsets[s];
  }
  std::int64_t total() const { return offsets.back(); }
  bool padded() const { return total() != batch * length; }
};

// Reads a mask of 0 and 1, [batch, length]; throws ShapeError for other numbers, a gap, or a row without tokens.
Tokens read_mask(const std::int64_t* mask, std::int64_t batch, std::int64_t length);

// values[batch, length] -> int32 of the tokens alone; throws ShapeError for one beyond int32.
std::vector<std::int32_t> take_tokens(const Tokens& tokens, const std::int64_t* values, const char* name);

// rows [total, columns] -> [batch, length, columns], zeros where there is padding.
void spread_rows(const Tokens& tokens, const float* rows, std::int64_t columns, float* out);
// The way back: [batch, length, columns] -> rows [total, columns].
void gather_rows(const Tokens& tokens, const float* values, std::int64_t columns, float* rows);

}  // namespace fastformers::ort
