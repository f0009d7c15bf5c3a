// SPDX-License-Identifier: MIT
// The Python-side PackedWeight: the view and the object whose memory it looks at.
#pragma once

#include <pybind11/pybind11.h>

#include "ops/packed_weight.h"

namespace fastformers::bindings {

struct OwnedPackedWeight {
  PackedWeight view;
  pybind11::object owner;
};

}  // namespace fastformers::bindings
