// SPDX-License-Identifier: MIT
// REQUIRE(condition): prints the claim, the line and the test that failed, and goes on; finish() gives the exit status.
// throws<Error>(call): whether a call ends with that error, to be required.
#pragma once

#include <cstdio>

namespace require {

struct Counts {
  int passed = 0;
  int failed = 0;
};

inline Counts& counts() {
  static Counts all;
  return all;
}

inline void check(bool holds, const char* claim, const char* file, int line, const char* test) {
  if (holds) {
    ++counts().passed;
    return;
  }
  ++counts().failed;
  std::fprintf(stderr, "%s:%d: %s: does not hold: %s\n", file, line, test, claim);
}

inline int finish() {
  std::printf("%d passed, %d failed\n", counts().passed, counts().failed);
  return counts().failed == 0 && counts().passed > 0 ? 0 : 1;
}

}  // namespace require

template <typename Error, typename Call>
bool throws(const Call& call) {
  try {
    call();
  } catch (const Error&) {
    return true;
  }
  return false;
}

#define REQUIRE(condition) ::require::check((condition), #condition, __FILE__, __LINE__, __func__)
