// SPDX-License-Identifier: MIT
#include "kernels/avx512vnni/tables.h"

namespace fastformers::avx512vnni {

extern const KernelTable kTable;
const KernelTable kTable = {"avx512vnni",
                            FF_KERNEL_FUNCTIONS(FF_KERNEL_ENTRY) FF_CEILING_FUNCTIONS(FF_KERNEL_ENTRY)};

}  // namespace fastformers::avx512vnni
