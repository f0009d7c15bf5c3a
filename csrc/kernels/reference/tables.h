// SPDX-License-Identifier: MIT
// The functions of this folder, collected by table.cc. Contracts: kernels/kernel_table.h.
#pragma once

#include "kernels/kernel_functions.h"

namespace fastformers::reference {

FF_KERNEL_FUNCTIONS(FF_DECLARE_KERNEL)

}  // namespace fastformers::reference
