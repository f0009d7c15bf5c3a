// SPDX-License-Identifier: MIT
#include "kernels/avx2/tables.h"

namespace fastformers::avx2 {

bool pack_keys_s8(const PackKeysArgs&) { return false; }
bool pack_values_s8(const PackValuesArgs&) { return false; }
void quantize_queries_u8(const float*, std::int64_t, std::int64_t, std::int64_t, std::uint8_t*, std::int64_t,
                         float*) {}
std::int64_t attend_scratch_bytes(std::int64_t, std::int64_t) { return 0; }
void attend_u8s8(const AttendArgs&) {}

}  // namespace fastformers::avx2
