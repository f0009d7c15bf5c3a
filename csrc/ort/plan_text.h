// SPDX-License-Identifier: MIT
// An encoder plan as one string attribute: words separated by spaces, in the order of encoder/plan.h.
//
//   plan 1  <hidden> <embedding> <vocab> <types> <positions> <position_offset> <max_tokens> <pre_norm> <norm_epsilon> <function>
//           <gated>  <layer count> {<heads> <head_size> <intermediate> <window> <rope_base>}
//           <output count> {<name> <rows> <normalize> <step count> {<linear> <function> <norm> <features>}}
//
// fastformers/export writes it; truth values are 0 and 1, functions and rows have their names of encoder_plan.py.
#pragma once

#include <string>

#include "encoder/plan.h"

namespace fastformers::ort {

// Throws PlanError for text that is no plan, or of a newer form.
encoder::Plan plan_from_text(const std::string& text);

}  // namespace fastformers::ort
