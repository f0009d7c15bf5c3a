// SPDX-License-Identifier: MIT
// What the machine is and which kernels are in use.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/gil.h"
#include "bindings/register.h"
#include "cpu/isa.h"
#include "cpu/topology.h"
#include "kernels/registry.h"
#include "ops/ceiling.h"
#include "ops/linear.h"
#include "ops/thread_pool.h"

namespace py = pybind11;

namespace fastformers::bindings {
namespace {

std::vector<std::string> names(const std::vector<IsaKernels>& kernels) {
  std::vector<std::string> result;
  for (const IsaKernels& entry : kernels) result.emplace_back(entry.table->name);
  return result;
}

py::dict cpu_facts() {
  const cpu::Topology topology = cpu::read_topology();
  const cpu::CpuidWords words = cpu::read_cpuid();
  py::dict facts;
  facts["model"] = topology.model;
  facts["vendor"] = topology.vendor;
  facts["built_isas"] = names(built_kernels());
  facts["supported_isas"] = names(supported_kernels());
  facts["active_isa"] = active_kernels().table->name;
  facts["isa_source"] = active_isa_source();
  facts["physical_cores"] = topology.physical_cores;
  facts["affinity_cpus"] = topology.affinity_cpus;
  facts["logical_cpus"] = topology.logical_cpus;
  facts["cgroup_quota"] = topology.cgroup_quota;
  facts["default_threads"] = cpu::default_threads(topology);
  facts["thread_reason"] = cpu::explain_default_threads(topology);
  facts["l1d_bytes"] = topology.l1d_bytes;
  facts["l2_bytes"] = topology.l2_bytes;
  facts["l3_bytes"] = topology.l3_bytes;
  facts["memory_bytes"] = topology.memory_bytes;
  facts["os_saves_avx"] = cpu::os_saves_avx(words);
  facts["os_saves_avx512"] = cpu::os_saves_avx512(words);
  facts["notes"] = topology.notes;
  return facts;
}

}  // namespace

void register_machine(py::module_& module) {
  using release_gil = py::call_guard<GilRelease>;
  module.def("built_isas", [] { return names(built_kernels()); });
  module.def("supported_isas", [] { return names(supported_kernels()); });
  module.def("active_isa", [] { return active_kernels().table->name; });
  module.def("set_active_isa", &set_active_isa, py::arg("name"), py::pos_only());
  module.def("last_used_isa", &last_used_isa);
  module.def("cpu_facts", &cpu_facts);
  module.def("cpus_by_core", [] { return cpu::cpus_by_core(cpu::read_topology()); });
  module.def("default_threads", [] { return cpu::default_threads(cpu::read_topology()); });
  module.def("num_threads", &num_threads);
  module.def("set_num_threads", &set_num_threads, py::arg("threads"), py::pos_only());
  module.def("pool_workers", &pool_workers);
  module.def("ceiling_gops", &ceiling_gops, py::arg("isa"), py::arg("threads"), py::arg("seconds"),
             release_gil());
  module.def("ceiling_gflops", &ceiling_gflops, py::arg("isa"), py::arg("threads"), py::arg("seconds"),
             release_gil());
  module.def("read_bandwidth_gbps", &read_bandwidth_gbps, py::arg("nbytes"), py::arg("seconds"),
             release_gil());
}

}  // namespace fastformers::bindings
