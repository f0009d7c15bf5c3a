// SPDX-License-Identifier: MIT
// A loop written out by the compiler with constant indices. GCC unrolls "#pragma GCC unroll" loops only after it has
// decided which arrays live in registers, so a tile of accumulators would be stored to the stack in every step.
#pragma once

namespace fastformers {
namespace {

template <int kValue>
struct Constant {
  constexpr operator int() const { return kValue; }  // NOLINT: implicit, to be used as an index
};

// body(Constant<0>), ..., body(Constant<kCount - 1>). The body must be a lambda marked FF_INLINE_LAMBDA.
template <int kCount, int kFrom = 0, typename Body>
__attribute__((always_inline)) inline void unrolled(const Body& body) {
  if constexpr (kFrom < kCount) {
    body(Constant<kFrom>{});
    unrolled<kCount, kFrom + 1>(body);
  }
}

}  // namespace
}  // namespace fastformers

#define FF_INLINE_LAMBDA __attribute__((always_inline))
