// SPDX-License-Identifier: MIT
// Arithmetic of counts and ends. std::min and its like would be weak symbols with an instruction set's code in them.
#pragma once

#include <cstdint>

namespace fastformers {
namespace {

constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
constexpr std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// How many parts of at most `largest` make up the count.
constexpr std::int64_t parts(std::int64_t count, std::int64_t largest) {
  return (count + largest - 1) / largest;
}

}  // namespace
}  // namespace fastformers
