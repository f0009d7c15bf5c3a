// SPDX-License-Identifier: MIT
// The functions of this folder, collected by table.cc. Contracts: kernels/kernel_table.h.
#pragma once

#include "kernels/kernel_functions.h"

namespace fastformers::avx2 {

FF_KERNEL_FUNCTIONS(FF_DECLARE_KERNEL)
FF_CEILING_FUNCTIONS(FF_DECLARE_KERNEL)

}  // namespace fastformers::avx2
