// SPDX-License-Identifier: MIT
#include "kernels/avx2/tables.h"

namespace fastformers::avx2 {

extern const KernelTable kTable;
const KernelTable kTable = {"avx2",
                            FF_KERNEL_FUNCTIONS(FF_KERNEL_ENTRY) FF_CEILING_FUNCTIONS(FF_KERNEL_ENTRY)};

}  // namespace fastformers::avx2
