// SPDX-License-Identifier: MIT
// One random case: which operation, at which sizes, with which contents. A case follows from its seed alone
// (draw_case), unless shrink_case has simplified it; the contents follow from the seed and the fields.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "fuzz/fills.h"
#include "fuzz/guarded_memory.h"
#include "kernels/kernel_table.h"

namespace fuzz {

enum class Op {
  kPack,
  kGemmS32,
  kGemmF32,
  kRange,
  kQuantize,
  kLayerNorm,
  kSoftmax,
  kGelu,
  kPackF32,
  kFloatGemm,
  kAttention
};
constexpr int kOpCount = 11;
const char* op_name(Op op);

struct Case {
  std::uint64_t seed = 0;
  Op op = Op::kPack;
  std::int64_t rows = 1;          // M
  std::int64_t columns = 1;       // N; only of the matmuls and of packing. The keys of attention
  std::int64_t depth = 1;         // K, or the length of a row
  std::int64_t channels = 1;      // of attention's values
  std::int64_t window = -1;       // of attention
  std::int64_t first_query = 0;   // of attention
  std::int64_t rows_gap = 0;      // stride beyond what a row needs, in elements: of the input,
  std::int64_t residual_gap = 0;  // of the residual,
  std::int64_t out_gap = 0;       // of the output
  int first_percent = 0;          // the share of the panels that is computed
  int last_percent = 100;
  Placement placement = Placement::kEnd;
  Fill rows_fill = Fill::kUniform;
  Fill weights_fill = Fill::kUniform;
  Fill floats_fill = Fill::kUniform;  // of scales, bias, residual, gamma, beta, the right side of float_gemm
  bool bias = false;
  bool residual = false;
  bool factors = false;
  bool in_place = false;           // the right side of float_gemm: a row-major matrix and not packed panels
  bool out_aliases_input = false;  // out == residual (matmul, layer_norm) or out == x (softmax, gelu)
  fastformers::Activation activation = fastformers::Activation::kNone;
};

Case draw_case(std::uint64_t seed);
std::string describe(const Case& drawn);

// The simplest case found that still fails: sizes are halved, then lowered by one, then options are dropped.
Case shrink_case(Case failing, const std::function<bool(const Case&)>& fails);

}  // namespace fuzz
