// SPDX-License-Identifier: MIT
// Which instruction sets this processor *and* its operating system support. Detection (reading CPUID and XCR0)
// and decision (which Isa follows from those words) are apart, so that the decision is tested with made-up words.
// "Was it built?" is another question; kernels/registry.h answers it.
#pragma once

#include <cstdint>

namespace fastformers::cpu {

// In order of preference, last is best.
enum class Isa : std::uint8_t { kReference = 0, kAvx2 = 1, kAvx512Vnni = 2 };
constexpr int kIsaCount = 3;

// The words of CPUID and XCR0 the decision reads.
struct CpuidWords {
  std::uint32_t leaf1_ecx = 0;
  std::uint32_t leaf7_ebx = 0;
  std::uint32_t leaf7_ecx = 0;
  std::uint64_t xcr0 = 0;  // 0 when the OS does not enable XSAVE
};

CpuidWords read_cpuid();
bool os_saves_avx(const CpuidWords& words);
bool os_saves_avx512(const CpuidWords& words);
bool supports(Isa isa, const CpuidWords& words);

const char* isa_name(Isa isa);

}  // namespace fastformers::cpu
