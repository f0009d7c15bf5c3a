// SPDX-License-Identifier: MIT
#include "ort/tokens.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace fastformers::ort {

Tokens read_mask(const std::int64_t* mask, std::int64_t batch, std::int64_t length) {
  Tokens tokens{batch, length, {}, {0}};
  for (std::int64_t s = 0; s < batch; ++s, mask += length) {
    const std::int64_t* end = mask + length;
    const std::int64_t* first = std::find_if(mask, end, [](std::int64_t value) { return value != 0; });
    FF_CHECK(ShapeError, first != end, "attention_mask leaves no token of sequence ", s);
    const std::int64_t* last = std::find(first, end, 0);
    FF_CHECK(ShapeError, std::all_of(first, last, [](std::int64_t value) { return value == 1; }),
             "attention_mask holds other numbers than 0 and 1");
    FF_CHECK(ShapeError, std::all_of(last, end, [](std::int64_t value) { return value == 0; }),
             "attention_mask leaves out tokens inside sequence ", s,
             ": only padding at the ends can be left out");
    tokens.first.push_back(first - mask);
    tokens.offsets.push_back(tokens.offsets.back() + (last - first));
  }
  return tokens;
}

std::vector<std::int32_t> take_tokens(const Tokens& tokens, const std::int64_t* values, const char* name) {
  std::vector<std::int32_t> taken;
  taken.reserve(static_cast<std::size_t>(tokens.total()));
  for (std::int64_t s = 0; s < tokens.batch; ++s, values += tokens.length) {
    const std::int64_t* row = values + tokens.first[static_cast<std::size_t>(s)];
    for (std::int64_t i = 0; i < tokens.count(s); ++i) {
      FF_CHECK(ShapeError, row[i] >= 0 && row[i] <= std::numeric_limits<std::int32_t>::max(), name, " holds ",
               row[i], ", out of range");
      taken.push_back(static_cast<std::int32_t>(row[i]));
    }
  }
  return taken;
}

void spread_rows(const Tokens& tokens, const float* rows, std::int64_t columns, float* out) {
  std::fill_n(out, tokens.batch * tokens.length * columns, 0.0f);
  for (std::int64_t s = 0; s < tokens.batch; ++s) {
    const auto at = static_cast<std::size_t>(s);
    std::copy_n(rows + tokens.offsets[at] * columns, tokens.count(s) * columns,
                out + (s * tokens.length + tokens.first[at]) * columns);
  }
}

void gather_rows(const Tokens& tokens, const float* values, std::int64_t columns, float* rows) {
  for (std::int64_t s = 0; s < tokens.batch; ++s) {
    const auto at = static_cast<std::size_t>(s);
    std::copy_n(values + (s * tokens.length + tokens.first[at]) * columns, tokens.count(s) * columns,
                rows + tokens.offsets[at] * columns);
  }
}

}  // namespace fastformers::ort
