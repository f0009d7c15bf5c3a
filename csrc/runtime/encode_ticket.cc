// SPDX-License-Identifier: MIT
#include "runtime/encode_ticket.h"

namespace fastformers::runtime {

EncodeTicket::EncodeTicket(const encoder::Encoder& encoder, RaggedInput input, std::vector<int> outputs,
                           Clock::time_point deadline, std::int64_t tag)
    : Ticket(static_cast<std::int64_t>(input.ids.size()), deadline, tag),
      encoder_(encoder),
      input_(std::move(input)),
      outputs_(std::move(outputs)) {
  const encoder::Batch batch = input_.batch();
  encoder_.check(batch);
  for (const int output : outputs_) {
    results_.push_back({encoder_.output_rows(output, batch), encoder_.output_columns(output), nullptr});
  }
}

void EncodeTicket::run(int threads) {
  std::vector<float*> values;
  for (Result& result : results_) {
    result.values = std::make_unique<AlignedBuffer>();
    const auto count = static_cast<std::size_t>(result.rows * result.columns);
    values.push_back(static_cast<float*>(result.values->reserve(count * sizeof(float))));
  }
  encoder_.forward(input_.batch(), outputs_, values.data(), threads);
}

}  // namespace fastformers::runtime
