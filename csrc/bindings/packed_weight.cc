// SPDX-License-Identifier: MIT
// PackedWeight as a Python object: a checked view of a block of bytes, and whatever owns those bytes.
#include "ops/packed_weight.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "base/check.h"
#include "bindings/gil.h"
#include "bindings/packed_weight.h"
#include "bindings/pointers.h"
#include "bindings/register.h"

namespace py = pybind11;

namespace fastformers::bindings {
namespace {

// Exact dtype and C order are required, never converted: a silent copy would hide a bug of the caller.
using Int8Matrix = py::array_t<std::int8_t, py::array::c_style>;
using FloatVector = py::array_t<float, py::array::c_style>;
using Bytes = py::array_t<std::uint8_t, py::array::c_style>;

IsaKernels kernels_named(const std::optional<std::string>& isa) {
  return isa.has_value() ? find_kernels(*isa) : active_kernels();
}

OwnedPackedWeight pack(const Int8Matrix& weight, const FloatVector& scales, Bytes buffer,
                       const std::optional<std::string>& isa) {
  FF_CHECK(ShapeError, weight.ndim() == 2, "weight must be [N, K], got ", weight.ndim(), " dimensions");
  FF_CHECK(ShapeError, scales.ndim() == 1 && scales.shape(0) == weight.shape(0),
           "scales must have one value for each of the ", weight.shape(0), " columns, got ", scales.size());
  FF_CHECK(ShapeError, buffer.ndim() == 1, "buffer must be one-dimensional");
  const IsaKernels kernels = kernels_named(isa);
  void* block = buffer.mutable_data();
  const std::int64_t columns = weight.shape(0), depth = weight.shape(1);
  const std::int8_t* weights = weight.data();
  const float* column_scales = scales.data();
  const std::int64_t bytes = buffer.size();
  PackedWeight packed;
  {
    const GilRelease release;
    packed = PackedWeight::pack(weights, column_scales, columns, depth, kernels, block, bytes);
  }
  return {packed, buffer};
}

py::tuple unpack(const OwnedPackedWeight& self) {
  Int8Matrix weights({self.view.columns(), self.view.depth()});
  FloatVector scales(self.view.columns());
  self.view.unpack(weights.mutable_data(), scales.mutable_data());
  return py::make_tuple(weights, scales);
}

}  // namespace

void register_packed_weight(py::module_& module) {
  py::class_<OwnedPackedWeight>(module, "PackedWeight", py::is_final())
      .def_static(
          "nbytes_for",
          [](std::int64_t columns, std::int64_t depth, const std::optional<std::string>& isa) {
            return PackedWeight::nbytes_for(columns, depth, kernels_named(isa));
          },
          py::arg("columns"), py::arg("depth"), py::arg("isa") = py::none())
      .def_static("pack", &pack, py::arg("weight").noconvert(), py::arg("scales").noconvert(),
                  py::arg("buffer").noconvert(), py::arg("isa") = py::none())
      .def_static(
          "view",
          [](Address address, std::int64_t nbytes, py::object owner) {
            return OwnedPackedWeight{PackedWeight::view(pointer<void>(address), nbytes), std::move(owner)};
          },
          py::arg("address"), py::arg("nbytes"), py::arg("owner"))
      .def_property_readonly("isa", [](const OwnedPackedWeight& self) { return self.view.isa(); })
      .def_property_readonly("columns", [](const OwnedPackedWeight& self) { return self.view.columns(); })
      .def_property_readonly("depth", [](const OwnedPackedWeight& self) { return self.view.depth(); })
      .def_property_readonly("nbytes", [](const OwnedPackedWeight& self) { return self.view.nbytes(); })
      .def_property_readonly(
          "address",
          [](const OwnedPackedWeight& self) { return reinterpret_cast<Address>(self.view.block()); })
      .def("unpack", &unpack);
}

}  // namespace fastformers::bindings
