// SPDX-License-Identifier: MIT
// The functions of this folder, collected by table.cc. Contracts: kernels/kernel_table.h.
#pragma once

#include "kernels/kernel_table.h"

namespace fastformers::avx512vnni {

std::int64_t panels_bytes(std::int64_t columns, std::int64_t depth);
std::int64_t gemm_scratch_bytes(std::int64_t row_count, std::int64_t depth);
void pack_s8(const std::int8_t* weights, std::int64_t columns, std::int64_t depth, void* panels);
void unpack_s8(const void* panels, std::int64_t columns, std::int64_t depth, std::int8_t* weights);
void gemm_u8s8_f32(const GemmArgs& args);
void gemm_u8s8_s32(const GemmS32Args& args);
void range_f32_rows(const RowsArgs& args, float* low, float* high);
void quantize_f32_u8_rows(const RowsArgs& args, const float* inverse_scales, const std::int32_t* zero_points,
                          std::uint8_t* q, std::int64_t q_stride);
void layer_norm_f32_rows(const LayerNormArgs& args);
void softmax_f32_rows(const float* x, std::int64_t x_stride, std::int64_t row_count, std::int64_t depth,
                      float* out, std::int64_t out_stride);
void gelu_f32(const float* x, std::int64_t count, Activation which, float* out);
void pack_f32(const float* w, std::int64_t w_stride, std::int64_t columns, std::int64_t depth, float* panels);
void gemm_f32(const GemmF32Args& args);
bool pack_keys_s8(const PackKeysArgs& args);
bool pack_values_s8(const PackValuesArgs& args);
void quantize_queries_u8(const float* q, std::int64_t q_stride, std::int64_t row_count, std::int64_t depth,
                         std::uint8_t* out, std::int64_t out_stride, float* row_scales);
std::int64_t attend_scratch_bytes(std::int64_t row_count, std::int64_t keys);
void attend_u8s8(const AttendArgs& args);
std::int64_t ceiling_u8s8(std::int64_t iterations);
std::int64_t ceiling_f32(std::int64_t iterations);
void read_bytes(const void* data, std::int64_t bytes);

}  // namespace fastformers::avx512vnni
