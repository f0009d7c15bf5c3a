// SPDX-License-Identifier: MIT
// FF_DCHECK: assertion of a caller's promise inside kernels; compiled only in debug and sanitizer builds.
#pragma once

#if defined(FASTFORMERS_DEBUG_CHECKS)
#define FF_DCHECK(condition)            \
  do {                                  \
    if (!(condition)) __builtin_trap(); \
  } while (false)
#else
#define FF_DCHECK(condition) static_cast<void>(0)
#endif
