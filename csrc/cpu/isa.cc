// SPDX-License-Identifier: MIT
#include "cpu/isa.h"

#include <cpuid.h>

namespace fastformers::cpu {
namespace {

constexpr std::uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28,
                        kF16c = 1u << 29;                                   // leaf 1 ecx
constexpr std::uint32_t kBmi1 = 1u << 3, kAvx2 = 1u << 5, kBmi2 = 1u << 8;  // leaf 7 ebx
constexpr std::uint32_t kAvx512f = 1u << 16, kAvx512dq = 1u << 17, kAvx512cd = 1u << 28, kAvx512bw = 1u << 30,
                        kAvx512vl = 1u << 31;    // leaf 7 ebx
constexpr std::uint32_t kAvx512vnni = 1u << 11;  // leaf 7 ecx
constexpr std::uint64_t kXmmYmmState = 0x6, kOpmaskZmmState = 0xE0;

bool has_all(std::uint32_t word, std::uint32_t bits) { return (word & bits) == bits; }

std::uint64_t read_xcr0() {
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

}  // namespace

CpuidWords read_cpuid() {
  CpuidWords words;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return words;
  words.leaf1_ecx = ecx;
  if ((ecx & kOsxsave) != 0) words.xcr0 = read_xcr0();
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
    words.leaf7_ebx = ebx;
    words.leaf7_ecx = ecx;
  }
  return words;
}

bool os_saves_avx(const CpuidWords& words) { return (words.xcr0 & kXmmYmmState) == kXmmYmmState; }

bool os_saves_avx512(const CpuidWords& words) {
  return os_saves_avx(words) && (words.xcr0 & kOpmaskZmmState) == kOpmaskZmmState;
}

bool supports(Isa isa, const CpuidWords& words) {
  const bool avx2 = has_all(words.leaf1_ecx, kFma | kOsxsave | kAvx | kF16c) &&
                    has_all(words.leaf7_ebx, kBmi1 | kAvx2 | kBmi2) && os_saves_avx(words);
  switch (isa) {
    case Isa::kReference:
      return true;
    case Isa::kAvx2:
      return avx2;
    case Isa::kAvx512Vnni:
      return avx2 && has_all(words.leaf7_ebx, kAvx512f | kAvx512dq | kAvx512cd | kAvx512bw | kAvx512vl) &&
             has_all(words.leaf7_ecx, kAvx512vnni) && os_saves_avx512(words);
  }
  return false;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return "reference";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
  }
  return "unknown";
}

}  // namespace fastformers::cpu
