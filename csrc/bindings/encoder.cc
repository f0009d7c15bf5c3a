// SPDX-License-Identifier: MIT
// The whole-encoder executor as a Python object: a plan and named arrays in, ragged batches through.
#include "encoder/encoder.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "encoder/plan_names.h"
#include "encoder/profile.h"

namespace py = pybind11;

namespace fastformers::bindings {
namespace {

using encoder::Batch;
using encoder::Encoder;
using encoder::HeadStep;
using encoder::kAttentionModes;
using encoder::kFunctions;
using encoder::kRows;
using encoder::LayerPlan;
using encoder::name_of;
using encoder::OutputPlan;
using encoder::Plan;
using encoder::PlanError;
using encoder::Profile;
using encoder::StopWatch;
using encoder::TensorTable;
using encoder::TensorView;
using encoder::value_of;

using Ids = py::array_t<std::int32_t, py::array::c_style>;
using Offsets = py::array_t<std::int64_t, py::array::c_style>;

// fastformers.encoder_plan has checked the plan's values; what is missing or of another type here is a bug of the caller.
template <typename T>
T field(const py::dict& values, const char* name) {
  FF_CHECK(PlanError, values.contains(name), "the plan lacks '", name, "'");
  try {
    return values[name].cast<T>();
  } catch (const py::cast_error&) {
    throw PlanError("the plan's '" + std::string(name) + "' is " +
                    py::repr(values[name]).cast<std::string>() + ", of the wrong type");
  }
}

LayerPlan layer_of(const py::dict& values) {
  return {field<std::int64_t>(values, "heads"), field<std::int64_t>(values, "head_size"),
          field<std::int64_t>(values, "intermediate"), field<std::int64_t>(values, "window"),
          field<double>(values, "rope_base")};
}

HeadStep step_of(const py::dict& values) {
  return {field<bool>(values, "linear"),
          value_of(kFunctions, field<std::string>(values, "activation"), "activation"),
          field<bool>(values, "norm"), field<std::int64_t>(values, "features")};
}

OutputPlan output_of(const py::dict& values) {
  OutputPlan output{field<std::string>(values, "name"),
                    value_of(kRows, field<std::string>(values, "rows"), "rows"),
                    {},
                    field<bool>(values, "normalize")};
  for (const py::dict& step : field<std::vector<py::dict>>(values, "steps"))
    output.steps.push_back(step_of(step));
  return output;
}

Plan plan_of(const py::dict& values) {
  Plan plan{};
  plan.hidden = field<std::int64_t>(values, "hidden");
  plan.embedding = field<std::int64_t>(values, "embedding");
  plan.vocab = field<std::int64_t>(values, "vocab");
  plan.types = field<std::int64_t>(values, "types");
  plan.positions = field<std::int64_t>(values, "positions");
  plan.position_offset = field<std::int64_t>(values, "position_offset");
  plan.max_tokens = field<std::int64_t>(values, "max_tokens");
  plan.pre_norm = field<bool>(values, "pre_norm");
  plan.norm_epsilon = field<float>(values, "norm_epsilon");
  plan.function = value_of(kFunctions, field<std::string>(values, "activation"), "activation");
  plan.gated = field<bool>(values, "gated");
  for (const py::dict& layer : field<std::vector<py::dict>>(values, "layers"))
    plan.layers.push_back(layer_of(layer));
  for (const py::dict& output : field<std::vector<py::dict>>(values, "outputs")) {
    plan.outputs.push_back(output_of(output));
  }
  return plan;
}

// Views of the arrays; `owners` keeps contiguous copies alive where one had to be made.
TensorTable tensors_of(const py::dict& arrays, std::vector<py::array>& owners) {
  TensorTable tensors;
  for (const auto& item : arrays) {
    const auto name = item.first.cast<std::string>();
    FF_CHECK(PlanError, py::isinstance<py::array>(item.second), "tensor ", name, " is not a NumPy array");
    const auto given = py::reinterpret_borrow<py::array>(item.second);
    TensorView view{};
    if (given.dtype().equal(py::dtype::of<float>())) {
      view.type = TensorView::Type::kFloat32;
      owners.push_back(py::array_t<float, py::array::c_style | py::array::forcecast>(given));
    } else {
      FF_CHECK(PlanError, given.dtype().equal(py::dtype::of<std::int8_t>()), "tensor ", name, " has dtype ",
               py::str(given.dtype()).cast<std::string>(), "; must be float32 or int8");
      view.type = TensorView::Type::kInt8;
      owners.push_back(py::array_t<std::int8_t, py::array::c_style | py::array::forcecast>(given));
    }
    view.data = owners.back().data();
    view.shape.assign(given.shape(), given.shape() + given.ndim());
    tensors.emplace(name, view);
  }
  return tensors;
}

std::unique_ptr<Encoder> make_encoder(const py::dict& plan_values, const py::dict& arrays, int threads,
                                      const std::string& attention) {
  const Plan plan = plan_of(plan_values);
  std::vector<py::array> owners;
  const TensorTable tensors = tensors_of(arrays, owners);
  const AttentionMode mode = value_of(kAttentionModes, attention, "attention");
  const GilRelease release;
  return std::make_unique<Encoder>(plan, tensors, mode, threads);
}

py::list run(const Encoder& self, const Ids& ids, const std::optional<Ids>& types, const Offsets& offsets,
             const std::vector<std::string>& outputs, int threads, Profile* profile) {
  FF_CHECK(ShapeError, ids.ndim() == 1, "ids must be one-dimensional, got ", ids.ndim(), " dimensions");
  FF_CHECK(ShapeError, offsets.ndim() == 1 && offsets.size() >= 1,
           "offsets must be one-dimensional with one more entry than there are sequences");
  FF_CHECK(ShapeError, !types || (types->ndim() == 1 && types->size() == ids.size()),
           "types must have one value for each of the ", ids.size(), " ids");
  FF_CHECK(ShapeError, offsets.data()[offsets.size() - 1] == ids.size(), "offsets end at ",
           offsets.data()[offsets.size() - 1], ", but there are ", ids.size(), " ids");
  const Batch batch = {ids.data(), types ? types->data() : nullptr, offsets.data(), offsets.size() - 1};
  self.check(batch);
  std::vector<int> indices;
  std::vector<float*> results;
  py::list arrays;
  for (const std::string& name : outputs) {
    const int index = self.output_index(name);
    py::array_t<float> result({self.output_rows(index, batch), self.output_columns(index)});
    indices.push_back(index);
    results.push_back(result.mutable_data());
    arrays.append(std::move(result));
  }
  const GilRelease release;
  self.forward(batch, indices, results.data(), threads, profile);
  return arrays;
}

py::list forward(const Encoder& self, const Ids& ids, const std::optional<Ids>& types, const Offsets& offsets,
                 const std::vector<std::string>& outputs, int threads) {
  return run(self, ids, types, offsets, outputs, threads, nullptr);
}

// The threads' notes in one table of seconds.
py::dict profile(const Encoder& self, const Ids& ids, const std::optional<Ids>& types, const Offsets& offsets,
                 const std::vector<std::string>& outputs, int threads) {
  Profile found;
  run(self, ids, types, offsets, outputs, threads, &found);
  const std::size_t operations = encoder::kOperationNames.size(), rows = self.model().layers.size() + 1;
  py::array_t<double> seconds({rows, operations});
  std::fill_n(seconds.mutable_data(), rows * operations, 0.0);
  for (const StopWatch& watch : found.watches) {
    for (std::size_t i = 0; i < rows * operations; ++i) {
      seconds.mutable_data()[i] += 1e-9 * static_cast<double>(watch.spent()[i]);
    }
  }
  py::dict made;
  made["operations"] = py::tuple(py::cast(encoder::kOperationNames));
  made["seconds"] = std::move(seconds);
  made["elapsed"] = found.elapsed;
  made["threads"] = found.watches.size();
  return made;
}

}  // namespace

void register_encoder(py::module_& module) {
  py::class_<Encoder>(module, "Encoder", py::is_final())
      .def(py::init(&make_encoder), py::arg("plan"), py::arg("tensors"), py::arg("threads") = 0,
           py::arg("attention") = "auto")
      .def("forward", &forward, py::arg("ids").noconvert(), py::arg("types").noconvert().none(true),
           py::arg("offsets").noconvert(), py::arg("outputs"), py::arg("threads") = 0)
      .def("profile", &profile, py::arg("ids").noconvert(), py::arg("types").noconvert().none(true),
           py::arg("offsets").noconvert(), py::arg("outputs"), py::arg("threads") = 0)
      .def_property_readonly("weight_bytes", [](const Encoder& self) { return self.model().weight_bytes(); })
      .def_property_readonly("int8_matrices",
                             [](const Encoder& self) { return self.model().int8_matrices(); })
      .def_property_readonly("attention",
                             [](const Encoder& self) { return name_of(kAttentionModes, self.attention()); })
      .def_property_readonly("workspace_bytes", &Encoder::workspace_bytes)
      .def_property_readonly("isa", [](const Encoder& self) { return self.model().kernels.table->name; })
      .def_property_readonly("layers", [](const Encoder& self) { return self.model().layers.size(); });
}

}  // namespace fastformers::bindings
