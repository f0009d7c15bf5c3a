// SPDX-License-Identifier: MIT
// Constants of exp(x) = 2^n exp(r), n = round(x log2 e), r = x - n ln 2 in [-0.35, 0.35], exp(r) = 1 + r + r^2 p(r). Shared by every
// instruction set, so that all of them give the same bits.
#pragma once

namespace fastformers {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
constexpr float kLn2High = 0.693145752f;       // few bits, so that n * kLn2High is exact
constexpr float kLn2Low = 1.42860677e-6f;
constexpr float kExp0 = 0.5f;  // p, lowest power first
constexpr float kExp1 = 1.66666657e-1f;
constexpr float kExp2 = 4.16657962e-2f;
constexpr float kExp3 = 8.33345205e-3f;
constexpr float kExp4 = 1.39819994e-3f;
constexpr float kExp5 = 1.98756915e-4f;
constexpr float kLeastExp = -87.3f;  // below it the result would be denormal

}  // namespace
}  // namespace fastformers
