// SPDX-License-Identifier: MIT
// Constants of the INT8 attention's softmax: p(f) = 255 * 2^f for f in [-0.5, 0.5], a polynomial of degree 3 with relative error
// below 7.5e-5 (minimax, fitted in float64). Probabilities are rounded to 1/255 right after, so that error is a 25th of a step.
#pragma once

namespace fastformers {
namespace {

constexpr float kPower0 = 254.98165893554688f;
constexpr float kPower1 = 176.78155517578125f;
constexpr float kPower2 = 61.865848541259766f;
constexpr float kPower3 = 14.068778038024902f;
constexpr float kLeastPower = -24.0f;  // 255 * 2^-24 rounds to 0

}  // namespace
}  // namespace fastformers
