// SPDX-License-Identifier: MIT
// The extension module: one line for each function, and the errors. What each one means: python/fastformers/_core.pyi.
#include <pybind11/pybind11.h>

#include "base/check.h"
#include "bindings/register.h"
#include "encoder/plan.h"
#include "kernels/kernel_table.h"
#include "runtime/instance_pool.h"

namespace py = pybind11;

namespace {

// The core's errors become the package's own classes (fastformers.errors), so that callers see one hierarchy.
void register_errors() {
  py::register_exception_translator([](std::exception_ptr raised) {
    const auto set = [](const char* name, const char* message) {
      py::set_error(py::module_::import("fastformers.errors").attr(name), message);
    };
    try {
      if (raised) std::rethrow_exception(raised);
    } catch (const fastformers::ShapeError& error) {
      set("ShapeError", error.what());
    } catch (const fastformers::NonFiniteError& error) {
      set("NonFiniteError", error.what());
    } catch (const fastformers::IsaError& error) {
      set("IsaError", error.what());
    } catch (const fastformers::encoder::PlanError& error) {
      set("ConfigError", error.what());
    } catch (const fastformers::runtime::QueueFullError& error) {
      set("QueueFullError", error.what());
    } catch (const fastformers::runtime::ClosedError& error) {
      set("ClosedError", error.what());
    } catch (const fastformers::runtime::ForkError& error) {
      set("ForkError", error.what());
    }
  });
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.attr("VERSION") = FASTFORMERS_VERSION;
  module.attr("MAX_DEPTH") = fastformers::kMaxDepth;
  register_errors();
  fastformers::bindings::register_machine(module);
  fastformers::bindings::register_packed_weight(module);
  fastformers::bindings::register_compute(module);
  fastformers::bindings::register_encoder(module);
  fastformers::bindings::register_instances(module);
}
