// SPDX-License-Identifier: MIT
#include "ops/packed_weight.h"

#include <cmath>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "kernels/packed_layout.h"

namespace fastformers {
namespace {

constexpr std::uint32_t kMagic = 0x57504646;  // "FFPW"
constexpr std::uint32_t kVersion = 1;
constexpr std::int64_t kHeaderBytes = 64;
constexpr std::int64_t kMaxColumns = std::int64_t{1} << 24;

struct Header {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint32_t isa;
  std::uint32_t reserved;
  std::int64_t columns;
  std::int64_t depth;
};
static_assert(sizeof(Header) <= kHeaderBytes);

std::int64_t column_bytes(std::int64_t columns) { return panel_count(columns) * kPanelColumns * 4; }

void check_limits(std::int64_t columns, std::int64_t depth) {
  FF_CHECK(ShapeError, columns >= 1 && columns <= kMaxColumns,
           "N (columns, out_features) must be between 1 and ", kMaxColumns, ", got ", columns);
  FF_CHECK(ShapeError, depth >= 1 && depth <= kMaxDepth, "K (depth, in_features) must be between 1 and ",
           kMaxDepth, ", got ", depth, "; a larger K could overflow the int32 accumulators: split the layer");
}

// Without a check inside, so that the compiler adds 16 at a time: BERT-base has 85 million.
std::int32_t sum_of(const std::int8_t* values, std::int64_t count) {
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += values[i];
  return sum;
}

}  // namespace

std::int64_t PackedWeight::nbytes_for(std::int64_t columns, std::int64_t depth, const IsaKernels& kernels) {
  check_limits(columns, depth);
  return kHeaderBytes + 2 * column_bytes(columns) + kernels.table->panels_bytes(columns, depth);
}

PackedWeight PackedWeight::pack(const std::int8_t* weights, const float* scales, std::int64_t columns,
                                std::int64_t depth, const IsaKernels& kernels, void* block,
                                std::int64_t block_bytes) {
  const std::int64_t needed = nbytes_for(columns, depth, kernels);
  FF_CHECK(ShapeError, block_bytes >= needed, "buffer has ", block_bytes, " bytes, packing needs ", needed);
  FF_CHECK(ShapeError, reinterpret_cast<std::uintptr_t>(block) % kCacheLineBytes == 0,
           "buffer must be aligned to 64 bytes");
  auto* bytes = static_cast<unsigned char*>(block);
  std::memset(bytes, 0, static_cast<std::size_t>(kHeaderBytes + 2 * column_bytes(columns)));
  auto* column_scales = reinterpret_cast<float*>(bytes + kHeaderBytes);
  auto* column_sums = reinterpret_cast<std::int32_t*>(bytes + kHeaderBytes + column_bytes(columns));
  for (std::int64_t n = 0; n < columns; ++n) {
    FF_CHECK(NonFiniteError, std::isfinite(scales[n]), "scale of column ", n, " is ", scales[n],
             "; it must be finite");
    FF_CHECK(ShapeError, scales[n] >= 0.0f, "scale of column ", n, " is negative: ", scales[n]);
    column_scales[n] = scales[n];
    const std::int8_t* row = weights + n * depth;
    column_sums[n] = sum_of(row, depth);
    const auto* outside =
        static_cast<const std::int8_t*>(std::memchr(row, -128, static_cast<std::size_t>(depth)));
    FF_CHECK(ShapeError, outside == nullptr, "weight [", n, ", ", outside - row,
             "] is -128; weights must lie in [-127, 127]");
  }
  const Header header = {kMagic, kVersion, static_cast<std::uint32_t>(kernels.isa), 0, columns, depth};
  std::memcpy(bytes, &header, sizeof header);
  kernels.table->pack_s8(weights, columns, depth, bytes + kHeaderBytes + 2 * column_bytes(columns));
  return view(block, block_bytes);
}

PackedWeight PackedWeight::view(const void* block, std::int64_t block_bytes) {
  Header header;
  FF_CHECK(ShapeError, block != nullptr && block_bytes >= kHeaderBytes, "packed weight of ", block_bytes,
           " bytes is too short to hold a header");
  FF_CHECK(ShapeError, reinterpret_cast<std::uintptr_t>(block) % kCacheLineBytes == 0,
           "packed weight must be aligned to 64 bytes");
  std::memcpy(&header, block, sizeof header);
  FF_CHECK(ShapeError, header.magic == kMagic && header.version == kVersion,
           "these bytes are not a packed weight of this version; pack the canonical weights again");
  PackedWeight weight;
  for (const IsaKernels& entry : built_kernels()) {
    if (static_cast<std::uint32_t>(entry.isa) == header.isa) weight.kernels_ = entry;
  }
  FF_CHECK(IsaError, weight.kernels_.table != nullptr, "packed for instruction set number ", header.isa,
           ", which this build does not have; pack the canonical weights again");
  const std::int64_t needed = nbytes_for(header.columns, header.depth, weight.kernels_);
  FF_CHECK(ShapeError, block_bytes >= needed, "packed weight needs ", needed, " bytes, has ", block_bytes);
  weight.block_ = static_cast<const unsigned char*>(block);
  weight.columns_ = header.columns;
  weight.depth_ = header.depth;
  return weight;
}

void PackedWeight::unpack(std::int8_t* weights, float* scales) const {
  kernels_.table->unpack_s8(panels(), columns_, depth_, weights);
  std::memcpy(scales, column_scales(), static_cast<std::size_t>(columns_) * sizeof(float));
}

const KernelTable& PackedWeight::kernels_in_use() const {
  const IsaKernels active = active_kernels();
  FF_CHECK(IsaError, active.isa == kernels_.isa, "this weight was packed for ", isa(), ", but ",
           active.table->name, " is in use; pack it again under ", active.table->name,
           " or go back with use_isa('", isa(), "')");
  return *active.table;
}

const float* PackedWeight::column_scales() const {
  return reinterpret_cast<const float*>(block_ + kHeaderBytes);
}

const std::int32_t* PackedWeight::column_sums() const {
  return reinterpret_cast<const std::int32_t*>(block_ + kHeaderBytes + column_bytes(columns_));
}

const void* PackedWeight::panels() const { return block_ + kHeaderBytes + 2 * column_bytes(columns_); }

}  // namespace fastformers
