// SPDX-License-Identifier: MIT
// Prints, as one JSON object, the topology read below a prefix: test_topology.py looks through it.
// Usage: dump_topology PREFIX [CPU...]   (the CPUs stand in for the affinity mask)
#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include "cpu/topology.h"

namespace {

void print_list(const std::vector<int>& values) {
  const char* separator = "";
  for (const int value : values) {
    std::cout << separator << value;
    separator = ", ";
  }
}

void print_topology(const fastformers::cpu::Topology& topology) {
  std::cout << "{\"model\": \"" << topology.model << "\", \"vendor\": \"" << topology.vendor
            << "\", \"affinity_cpus\": [";
  print_list(topology.affinity_cpus);
  std::cout << "], \"cpus_by_core\": [";
  print_list(fastformers::cpu::cpus_by_core(topology));
  std::cout << "], \"logical_cpus\": " << topology.logical_cpus
            << ", \"physical_cores\": " << topology.physical_cores << ", \"cgroup_quota\": ";
  if (topology.cgroup_quota) {
    std::cout << *topology.cgroup_quota;
  } else {
    std::cout << "null";
  }
  std::cout << ", \"l1d_bytes\": " << topology.l1d_bytes << ", \"l2_bytes\": " << topology.l2_bytes
            << ", \"l3_bytes\": " << topology.l3_bytes << ", \"memory_bytes\": " << topology.memory_bytes
            << ", \"default_threads\": " << fastformers::cpu::default_threads(topology)
            << ", \"thread_reason\": \"" << fastformers::cpu::explain_default_threads(topology)
            << "\", \"notes\": [";
  const char* separator = "";
  for (const std::string& note : topology.notes) {
    std::cout << separator << "\"" << note << "\"";
    separator = ", ";
  }
  std::cout << "]}\n";
}

}  // namespace

int main(int argument_count, char** arguments) {
  fastformers::cpu::SystemRoot root;
  if (argument_count > 1) root.prefix = arguments[1];
  if (argument_count > 2) root.affinity.emplace();
  for (int index = 2; index < argument_count; ++index) root.affinity->push_back(std::atoi(arguments[index]));
  try {
    print_topology(fastformers::cpu::read_topology(root));
  } catch (const std::invalid_argument& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
  return 0;
}
