// SPDX-License-Identifier: MIT
#include "kernels/registry.h"

#include <atomic>
#include <cstdlib>

#include "base/check.h"

namespace fastformers {

namespace reference {
extern const KernelTable kTable;
}
#if defined(FASTFORMERS_HAVE_AVX2)
namespace avx2 {
extern const KernelTable kTable;
}
#endif
#if defined(FASTFORMERS_HAVE_AVX512VNNI)
namespace avx512vnni {
extern const KernelTable kTable;
}
#endif

namespace {

std::atomic<const IsaKernels*> g_active{nullptr};
std::atomic<const char*> g_source{"detected"};

std::string names_of(const std::vector<IsaKernels>& kernels) {
  std::string names;
  for (const IsaKernels& entry : kernels)
    names += (names.empty() ? "" : ", ") + std::string(entry.table->name);
  return names;
}

const IsaKernels* stored(const IsaKernels& wanted) {
  for (const IsaKernels& entry : built_kernels()) {
    if (entry.isa == wanted.isa) return &entry;
  }
  return nullptr;
}

const IsaKernels* choose() {
  const char* forced = std::getenv("FASTFORMERS_ISA");
  if (forced != nullptr && *forced != '\0') {
    const IsaKernels* entry = stored(find_kernels(forced));
    g_source = "FASTFORMERS_ISA";
    return entry;
  }
  return stored(supported_kernels().front());
}

}  // namespace

const std::vector<IsaKernels>& built_kernels() {
  static const std::vector<IsaKernels> kernels = {
#if defined(FASTFORMERS_HAVE_AVX512VNNI)
      {cpu::Isa::kAvx512Vnni, &avx512vnni::kTable},
#endif
#if defined(FASTFORMERS_HAVE_AVX2)
      {cpu::Isa::kAvx2, &avx2::kTable},
#endif
      {cpu::Isa::kReference, &reference::kTable},
  };
  return kernels;
}

std::vector<IsaKernels> supported_kernels() {
  const cpu::CpuidWords words = cpu::read_cpuid();
  std::vector<IsaKernels> supported;
  for (const IsaKernels& entry : built_kernels()) {
    if (cpu::supports(entry.isa, words)) supported.push_back(entry);
  }
  return supported;
}

IsaKernels find_kernels(const std::string& name) {
  for (const IsaKernels& entry : supported_kernels()) {
    if (name == entry.table->name) return entry;
  }
  for (const IsaKernels& entry : built_kernels()) {
    FF_CHECK(IsaError, name != entry.table->name, "instruction set '", name,
             "' is not supported by this CPU or operating system; supported here: ",
             names_of(supported_kernels()));
  }
  throw IsaError("unknown instruction set '" + name +
                 "'; built into this package: " + names_of(built_kernels()));
}

IsaKernels active_kernels() {
  const IsaKernels* active = g_active.load(std::memory_order_acquire);
  if (active == nullptr) {
    active = choose();
    g_active.store(active, std::memory_order_release);
  }
  return *active;
}

void set_active_isa(const std::string& name) {
  g_active.store(stored(find_kernels(name)), std::memory_order_release);
  g_source = "use_isa";
}

const char* active_isa_source() {
  active_kernels();
  return g_source.load();
}

}  // namespace fastformers
