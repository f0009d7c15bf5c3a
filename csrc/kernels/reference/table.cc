// SPDX-License-Identifier: MIT
#include "kernels/reference/tables.h"

namespace fastformers::reference {

extern const KernelTable kTable;
const KernelTable kTable = {
    "reference",
    panels_bytes,
    gemm_scratch_bytes,
    pack_s8,
    unpack_s8,
    gemm_u8s8_f32,
    gemm_u8s8_s32,
    range_f32_rows,
    quantize_f32_u8_rows,
    layer_norm_f32_rows,
    softmax_f32_rows,
    gelu_f32,
    pack_f32,
    gemm_f32,
    pack_keys_s8,
    pack_values_s8,
    quantize_queries_u8,
    attend_scratch_bytes,
    attend_u8s8,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace fastformers::reference
