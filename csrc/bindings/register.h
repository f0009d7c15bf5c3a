// SPDX-License-Identifier: MIT
// The groups of bindings, each in its own file.
#pragma once

#include <pybind11/pybind11.h>

namespace fastformers::bindings {

void register_machine(pybind11::module_& module);
void register_packed_weight(pybind11::module_& module);
void register_compute(pybind11::module_& module);
void register_encoder(pybind11::module_& module);
void register_instances(pybind11::module_& module);

}  // namespace fastformers::bindings
