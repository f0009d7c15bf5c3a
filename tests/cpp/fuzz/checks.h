// SPDX-License-Identifier: MIT
// Runs one case on a table and says what is wrong with the result ("" when nothing is). Every check compares with a
// plain loop (models.h), bit for bit with the reference table, and looks at gaps and canaries.
//
// Bit-identical means the same bits, any NaN being like any other: which operand's payload and sign a NaN result takes
// is not fixed by IEEE 754, and nobody reads it.
#pragma once

#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "fuzz/fuzz_case.h"
#include "fuzz/guarded_memory.h"
#include "kernels/kernel_table.h"

namespace fuzz {

struct Tables {
  const fastformers::KernelTable& tested;
  const fastformers::KernelTable& reference;
};

std::string check_pack(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_gemm_s32(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_gemm_f32(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_range(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_quantize(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_layer_norm(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_softmax(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_gelu(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_attention(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_pack_f32(const Case& drawn, const Tables& tables, Arena& arena, Random& random);
std::string check_float_gemm(const Case& drawn, const Tables& tables, Arena& arena, Random& random);

// All of the above by drawn.op, plus: canaries around every buffer, and the control bits of MXCSR as before.
std::string check_case(const Case& drawn, const Tables& tables, Arena& arena);

template <typename... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream text;
  text.precision(9);
  (text << ... << parts);
  return text.str();
}

inline bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }
inline bool same_bits(std::int32_t a, std::int32_t b) { return a == b; }
inline bool same_bits(std::uint8_t a, std::uint8_t b) { return a == b; }

// Columns [first, last) of every row as in `wanted`, everything else in the buffer (gaps, other columns) as in `before`.
// All three have the same stride.
template <typename T>
std::string compare_output(const Matrix<T>& got, const std::vector<T>& wanted, const std::vector<T>& before,
                           std::int64_t first, std::int64_t last) {
  for (std::int64_t i = 0; i < got.count(); ++i) {
    const std::int64_t row = i / got.stride, column = i % got.stride;
    const bool written = column >= first && column < last;
    const T expected = written ? wanted[static_cast<std::size_t>(i)] : before[static_cast<std::size_t>(i)];
    // Unary plus prints u8 as a number.
    if (written ? same_bits(got.data[i], expected) : std::memcmp(&got.data[i], &expected, sizeof(T)) == 0)
      continue;
    return written ? message("row ", row, " column ", column, " is ", +got.data[i], ", reference gives ",
                             +expected)
                   : message("row ", row, " column ", column, " lies outside the result but was changed");
  }
  return "";
}

// 64-byte aligned memory for the reference table, whose buffers need no guarding.
inline void* aligned_bytes(fastformers::AlignedBuffer& buffer, std::int64_t bytes) {
  return buffer.reserve(static_cast<std::size_t>(bytes + 64));
}

}  // namespace fuzz
