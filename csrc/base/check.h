// SPDX-License-Identifier: MIT
// Errors and checks. Everything a user can get wrong is checked once, above the kernels, with FF_CHECK; what
// only we can get wrong is an FF_DCHECK, which costs nothing in a release build. Kernels see only dcheck.h.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace fastformers {

// A shape, stride or size that the operation does not accept. Becomes ShapeError in Python.
struct ShapeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A weight, scale or factor that must be finite and is not. Becomes NonFiniteError in Python.
struct NonFiniteError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// An instruction set that is unknown, not supported here, or not the one the weights were packed for.
struct IsaError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

namespace internal {

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

}  // namespace internal

#define FF_CHECK(Error, condition, ...)                          \
  do {                                                           \
    if (!(condition)) {                                          \
      throw Error(::fastformers::internal::concat(__VA_ARGS__)); \
    }                                                            \
  } while (false)

}  // namespace fastformers
