// SPDX-License-Identifier: MIT
// Which kernel tables were built, and which one is in use. Authority, highest first: set_active_isa (code),
// FASTFORMERS_ISA (environment), detection (the best one that is built and supported).
#pragma once

#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/kernel_table.h"

namespace fastformers {

struct IsaKernels {
  cpu::Isa isa;
  const KernelTable* table;
};

// Built into this binary, best first.
const std::vector<IsaKernels>& built_kernels();
// Built and supported by this CPU and OS, best first. Never empty: the reference runs everywhere.
std::vector<IsaKernels> supported_kernels();

// The kernels in use. Throws IsaError when FASTFORMERS_ISA names an unknown or unsupported one.
IsaKernels active_kernels();
void set_active_isa(const std::string& name);
// "detected", "FASTFORMERS_ISA" or "use_isa".
const char* active_isa_source();

// The kernels of the ISA called `name`; throws IsaError listing the choices when unknown or unsupported.
IsaKernels find_kernels(const std::string& name);

}  // namespace fastformers
