// SPDX-License-Identifier: MIT
// Addresses arrive from Python as plain integers (ndarray.ctypes.data, Tensor.data_ptr()); 0 means absent.
#pragma once

#include <cstdint>

namespace fastformers::bindings {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace fastformers::bindings
