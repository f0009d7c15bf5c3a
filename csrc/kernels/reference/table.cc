// SPDX-License-Identifier: MIT
#include "kernels/reference/tables.h"

namespace fastformers::reference {

extern const KernelTable kTable;
const KernelTable kTable = {"reference", FF_KERNEL_FUNCTIONS(FF_KERNEL_ENTRY)};

}  // namespace fastformers::reference
