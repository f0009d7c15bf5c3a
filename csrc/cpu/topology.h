// SPDX-License-Identifier: MIT
// What this process may use of the machine: cores, CPU-time quota, caches, memory, and the thread count.
//
// Facts come from the affinity mask, the cgroup tree (v2 and v1), /proc and /sys. A fact that cannot be read
// is replaced by a documented fallback and recorded in `Topology::notes`: nothing here throws because of a
// missing or odd file.
// All paths are read below a prefix, so that tests can lay out the tree of another machine.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fastformers::cpu {

// Where to read from: the live system by default, or a copy of another machine's files in tests.
struct SystemRoot {
  std::string prefix;                        // put before "/proc/..." and "/sys/..."; empty = the live system
  std::optional<std::vector<int>> affinity;  // instead of the mask of the calling thread
};

struct Topology {
  std::string model;               // "model name" of /proc/cpuinfo; "unknown" when absent
  std::string vendor;              // "vendor_id" of /proc/cpuinfo; "unknown" when absent
  std::vector<int> affinity_cpus;  // logical CPUs the calling thread may run on, ascending
  int logical_cpus = 1;            // logical CPUs online on the machine, allowed or not
  int physical_cores = 1;      // distinct cores among affinity_cpus: hardware threads of a core count once
  std::vector<int> core_cpus;  // the first allowed CPU of each of these cores
  std::optional<double>
      cgroup_quota;            // CPUs' worth of time per second; the tightest of the cgroup and its ancestors
  std::int64_t l1d_bytes = 0;  // caches as the first allowed CPU sees them; L3 may be shared; 0 = unknown
  std::int64_t l2_bytes = 0;
  std::int64_t l3_bytes = 0;
  std::int64_t memory_bytes = 0;   // MemTotal of the machine; 0 = unknown
  std::vector<std::string> notes;  // one sentence for each fact that had to be guessed
};

// Reads all facts once; about a hundred small files. Thread-safe.
Topology read_topology(const SystemRoot& root = {});

// The allowed CPUs in the order to pin threads to: one of each core before the second of any.
std::vector<int> cpus_by_core(const Topology& topology);

// max(1, min(physical cores in the affinity mask, ceil(cgroup quota))), unless the environment variable
// FASTFORMERS_NUM_THREADS holds a whole number in [1, 1024], which then wins; an empty value counts as unset.
// Throws std::invalid_argument, naming the value, when the variable holds anything else.
int default_threads(const Topology& topology);

// One line a person can follow, e.g. "2: 4 physical cores in the affinity mask, cgroup quota 1.5 CPUs".
// Throws as default_threads does.
std::string explain_default_threads(const Topology& topology);

// Lets a thread run on one CPU only; false when the system refuses (a CPU that is offline or not allowed any more).
bool pin_thread(pthread_t thread, int cpu);

}  // namespace fastformers::cpu
