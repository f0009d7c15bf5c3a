// SPDX-License-Identifier: MIT
// Packed weights in one self-describing block of bytes: header, column scales, column sums, panels. The block may belong to
// anyone (a NumPy array, a torch tensor); PackedWeight is a checked view of it. Only canonical s8 weights and
// scales go to files; a block is made for the CPU at hand and refuses to run under another instruction set.
//
//   | header 64 B | column_scales f32 [16 P] | column_sums s32 [16 P] | panels |     P = panel_count(columns)
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/registry.h"

namespace fastformers {

class PackedWeight {
 public:
  // Bytes of a block for a [columns, depth] matrix; checks the limits (columns >= 1, 1 <= depth <= kMaxDepth).
  static std::int64_t nbytes_for(std::int64_t columns, std::int64_t depth, const IsaKernels& kernels);

  // Packs canonical weights s8 [columns, depth] and scales [columns] into block (64-byte aligned, nbytes_for bytes).
  // Throws ShapeError when a weight is -128 (outside [-127, 127]) or a scale is negative, NonFiniteError when it is not finite.
  static PackedWeight pack(const std::int8_t* weights, const float* scales, std::int64_t columns,
                           std::int64_t depth, const IsaKernels& kernels, void* block,
                           std::int64_t block_bytes);

  // A view of a block that pack() made; checks magic, version, sizes and that its instruction set was built.
  static PackedWeight view(const void* block, std::int64_t block_bytes);

  void unpack(std::int8_t* weights, float* scales) const;

  // The kernels to run it with; throws IsaError when the active instruction set is another one.
  const KernelTable& kernels_in_use() const;

  const char* isa() const { return kernels_.table->name; }
  std::int64_t columns() const { return columns_; }
  std::int64_t depth() const { return depth_; }
  const void* block() const { return block_; }
  std::int64_t nbytes() const { return nbytes_for(columns_, depth_, kernels_); }
  const float* column_scales() const;
  const std::int32_t* column_sums() const;
  const void* panels() const;

 private:
  const unsigned char* block_ = nullptr;
  std::int64_t columns_ = 0;
  std::int64_t depth_ = 0;
  IsaKernels kernels_{};
};

}  // namespace fastformers
