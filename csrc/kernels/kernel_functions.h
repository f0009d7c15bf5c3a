// SPDX-License-Identifier: MIT
// The functions of an instruction set's folder by name; KernelTable has their types and what they promise. A folder declares
// them in its own namespace (tables.h) and lists them (table.cc), both from here, so that no signature is written twice.
#pragma once

#include <type_traits>

#include "kernels/kernel_table.h"

// APPLY(name) for every function that all folders have, in KernelTable's order.
#define FF_KERNEL_FUNCTIONS(APPLY) \
  APPLY(panels_bytes)              \
  APPLY(gemm_scratch_bytes)        \
  APPLY(pack_s8)                   \
  APPLY(unpack_s8)                 \
  APPLY(gemm_u8s8_f32)             \
  APPLY(gemm_u8s8_s32)             \
  APPLY(range_f32_rows)            \
  APPLY(quantize_f32_u8_rows)      \
  APPLY(layer_norm_f32_rows)       \
  APPLY(softmax_f32_rows)          \
  APPLY(gelu_f32)                  \
  APPLY(pack_f32)                  \
  APPLY(gemm_f32)                  \
  APPLY(pack_keys_s8)              \
  APPLY(pack_values_s8)            \
  APPLY(quantize_queries_u8)       \
  APPLY(attend_scratch_bytes)      \
  APPLY(attend_u8s8)

// Those that follow in it where a machine's limit can be measured: everywhere but in reference.
#define FF_CEILING_FUNCTIONS(APPLY) APPLY(ceiling_u8s8) APPLY(ceiling_f32) APPLY(read_bytes)

#define FF_DECLARE_KERNEL(name) std::remove_pointer_t<decltype(KernelTable::name)> name;
#define FF_KERNEL_ENTRY(name) name,
