// SPDX-License-Identifier: MIT
// Parses the small text files of /proc and /sys. A parser returns an empty optional when its text is absent
// or odd; the read_* functions put the fallbacks in and write the notes.
#include "cpu/topology.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace fastformers::cpu {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kCpuLimit = 8192;      // largest NR_CPUS that Linux can be built with on x86
constexpr int kMaxCacheIndices = 8;  // Linux numbers the caches of a CPU from index0 without gaps; 4 is usual

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<std::string> read_first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const std::string digits(text);
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(digits.c_str(), &end, 10);
  if (end == digits.c_str() || *end != '\0' || errno != 0) return std::nullopt;
  return value;
}

// "0-3,8" -> {0, 1, 2, 3, 8}; anything malformed gives an empty optional.
std::optional<std::vector<int>> parse_cpu_list(const std::string& text) {
  std::vector<int> cpus;
  std::stringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const std::size_t dash = part.find('-');
    const auto first = parse_integer(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_integer(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last >= kCpuLimit) return std::nullopt;
    for (std::int64_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
  }
  if (cpus.empty()) return std::nullopt;
  return cpus;
}

// "32K", "1M" -> bytes.
std::optional<std::int64_t> parse_cache_size(std::string text) {
  std::int64_t unit = 1;
  if (!text.empty() && text.back() == 'K') unit = 1024;
  if (!text.empty() && text.back() == 'M') unit = 1024 * 1024;
  if (unit != 1) text.pop_back();
  const auto count = parse_integer(text);
  if (!count || *count <= 0) return std::nullopt;
  return *count * unit;
}

// Value of the first "key : value" line of /proc/cpuinfo or "key: value kB" line of /proc/meminfo.
std::optional<std::string> field_of(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (line.compare(0, key.size(), key) != 0 || colon == std::string::npos) continue;
    if (line.find_first_not_of(" \t", key.size()) != colon) continue;  // a longer key that starts the same
    const std::size_t start = line.find_first_not_of(" \t", colon + 1);
    if (start != std::string::npos) return line.substr(start);
  }
  return std::nullopt;
}

std::vector<int> live_affinity() {
  cpu_set_t* mask = CPU_ALLOC(kCpuLimit);
  const std::size_t mask_bytes = CPU_ALLOC_SIZE(kCpuLimit);
  std::vector<int> cpus;
  if (mask != nullptr && sched_getaffinity(0, mask_bytes, mask) == 0) {
    for (int cpu = 0; cpu < kCpuLimit; ++cpu) {
      if (CPU_ISSET_S(cpu, mask_bytes, mask)) cpus.push_back(cpu);
    }
  }
  CPU_FREE(mask);
  return cpus;
}

void read_affinity(const SystemRoot& root, Topology& topology) {
  topology.affinity_cpus = root.affinity ? *root.affinity : live_affinity();
  std::sort(topology.affinity_cpus.begin(), topology.affinity_cpus.end());
  if (topology.affinity_cpus.empty()) {
    const int count = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    for (int cpu = 0; cpu < count; ++cpu) topology.affinity_cpus.push_back(cpu);
    topology.notes.push_back("affinity mask not readable: assumed every CPU is allowed");
  }
}

std::string cpu_folder(const SystemRoot& root, int cpu) {
  return root.prefix + "/sys/devices/system/cpu/cpu" + std::to_string(cpu);
}

void read_cores(const SystemRoot& root, Topology& topology) {
  const auto online = read_first_line(root.prefix + "/sys/devices/system/cpu/online");
  const auto online_cpus = online ? parse_cpu_list(*online) : std::nullopt;
  topology.logical_cpus = static_cast<int>((online_cpus ? *online_cpus : topology.affinity_cpus).size());

  std::map<int, int> cores;  // the smallest of a core's hardware threads -> the first that is allowed
  bool guessed = false;
  for (const int cpu : topology.affinity_cpus) {
    const auto line = read_first_line(cpu_folder(root, cpu) + "/topology/thread_siblings_list");
    const auto siblings = line ? parse_cpu_list(*line) : std::nullopt;
    guessed = guessed || !siblings;
    cores.emplace(siblings ? *std::min_element(siblings->begin(), siblings->end()) : cpu, cpu);
  }
  for (const auto& core : cores) topology.core_cpus.push_back(core.second);
  topology.physical_cores = static_cast<int>(cores.size());
  if (guessed) topology.notes.push_back("thread siblings not readable: counted each logical CPU as a core");
}

void read_caches(const SystemRoot& root, Topology& topology) {
  for (int index = 0; index < kMaxCacheIndices; ++index) {
    const std::string folder =
        cpu_folder(root, topology.affinity_cpus.front()) + "/cache/index" + std::to_string(index);
    const std::string level = read_first_line(folder + "/level").value_or("");
    const std::string type = read_first_line(folder + "/type").value_or("");
    const std::int64_t bytes = parse_cache_size(read_first_line(folder + "/size").value_or("")).value_or(0);
    if (level == "1" && type == "Data") topology.l1d_bytes = bytes;
    if (level == "2" && type != "Instruction") topology.l2_bytes = bytes;
    if (level == "3" && type != "Instruction") topology.l3_bytes = bytes;
  }
  if (topology.l1d_bytes == 0 || topology.l2_bytes == 0) {
    topology.notes.push_back("cache sizes not readable: sizes of 0 are unknown");
  }
}

void read_names_and_memory(const SystemRoot& root, Topology& topology) {
  const std::string cpuinfo = read_text(root.prefix + "/proc/cpuinfo").value_or("");
  topology.model = field_of(cpuinfo, "model name").value_or("unknown");
  topology.vendor = field_of(cpuinfo, "vendor_id").value_or("unknown");
  if (topology.model == "unknown") topology.notes.push_back("CPU model name not readable from /proc/cpuinfo");

  const std::string total =
      field_of(read_text(root.prefix + "/proc/meminfo").value_or(""), "MemTotal").value_or("");
  const auto kibibytes = parse_integer(total.substr(0, total.find(' ')));
  topology.memory_bytes = kibibytes ? *kibibytes * 1024 : 0;
  if (!kibibytes) topology.notes.push_back("total memory not readable from /proc/meminfo");
}

// --- cgroups ---------------------------------------------------------------------------------------------

std::optional<double> ratio(std::optional<std::int64_t> quota, std::optional<std::int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

// v2: "max 100000" (no limit) or "150000 100000" (1.5 CPUs).
std::optional<double> quota_v2(const std::string& folder) {
  const std::string line = read_first_line(folder + "/cpu.max").value_or("");
  const std::size_t space = line.find(' ');
  if (space == std::string::npos) return std::nullopt;
  return ratio(parse_integer(line.substr(0, space)), parse_integer(line.substr(space + 1)));
}

// v1: quota -1 = no limit.
std::optional<double> quota_v1(const std::string& folder) {
  return ratio(parse_integer(read_first_line(folder + "/cpu.cfs_quota_us").value_or("")),
               parse_integer(read_first_line(folder + "/cpu.cfs_period_us").value_or("")));
}

// Tightest quota of `path` and its ancestors below `mount`. Inside a container the path may be the host's and
// not exist here: the walk then ends at the mount point, which is the container's own group.
template <typename ReadQuota>
void tighten(const std::string& mount, std::string path, ReadQuota read_quota,
             std::optional<double>& tightest) {
  if (path.find("/..") != std::string::npos)
    path.clear();  // outside the cgroup namespace: only the mount is ours
  if (path == "/") path.clear();
  for (;;) {
    const std::optional<double> quota = read_quota(mount + path);
    if (quota && (!tightest || *quota < *tightest)) tightest = quota;
    if (path.empty()) return;
    path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
  }
}

bool names_cpu_controller(const std::string& controllers) {
  std::stringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) {
    if (name == "cpu") return true;
  }
  return false;
}

// Lines of /proc/self/cgroup: "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1); both may be present.
void read_quota(const SystemRoot& root, Topology& topology) {
  const auto membership = read_text(root.prefix + "/proc/self/cgroup");
  if (!membership) {
    topology.notes.push_back("/proc/self/cgroup not readable: assumed no CPU quota");
    return;
  }
  const std::string mounts = root.prefix + "/sys/fs/cgroup";
  std::istringstream lines(*membership);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      tighten(mounts, path, quota_v2, topology.cgroup_quota);
      tighten(mounts + "/unified", path, quota_v2, topology.cgroup_quota);
    } else if (names_cpu_controller(controllers)) {
      for (const char* mount : {"/cpu", "/cpu,cpuacct", "/cpuacct,cpu"}) {
        tighten(mounts + mount, path, quota_v1, topology.cgroup_quota);
      }
    }
  }
}

// --- thread count ----------------------------------------------------------------------------------------

int threads_by_topology(const Topology& topology) {
  const double cores = topology.physical_cores;
  const double quota = topology.cgroup_quota.value_or(cores);
  return std::max(1, static_cast<int>(std::min(cores, std::ceil(quota))));
}

std::optional<int> threads_by_environment() {
  const char* text = std::getenv("FASTFORMERS_NUM_THREADS");
  if (text == nullptr || *text == '\0') return std::nullopt;
  const auto value = parse_integer(text);
  if (!value || *value < 1 || *value > kMaxThreads) {
    throw std::invalid_argument("FASTFORMERS_NUM_THREADS=\"" + std::string(text) +
                                "\" is not a whole number from 1 to " + std::to_string(kMaxThreads) +
                                ": set it to a thread count, or unset it to let fastformers choose");
  }
  return static_cast<int>(*value);
}

std::string plural(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string describe_limits(const Topology& topology) {
  std::ostringstream text;
  text << plural(static_cast<std::size_t>(topology.physical_cores), "physical core")
       << " in the affinity mask";
  if (static_cast<std::size_t>(topology.physical_cores) != topology.affinity_cpus.size()) {
    text << " (" << plural(topology.affinity_cpus.size(), "logical CPU") << ")";
  }
  if (topology.cgroup_quota) {
    text << ", cgroup quota " << *topology.cgroup_quota << " CPUs";
  } else {
    text << ", no cgroup quota";
  }
  return text.str();
}

}  // namespace

Topology read_topology(const SystemRoot& root) {
  Topology topology;
  read_affinity(root, topology);
  read_cores(root, topology);
  read_caches(root, topology);
  read_names_and_memory(root, topology);
  read_quota(root, topology);
  return topology;
}

std::vector<int> cpus_by_core(const Topology& topology) {
  std::vector<int> cpus = topology.core_cpus;
  for (const int cpu : topology.affinity_cpus) {
    if (std::find(cpus.begin(), cpus.end(), cpu) == cpus.end()) cpus.push_back(cpu);
  }
  return cpus;
}

int default_threads(const Topology& topology) {
  return threads_by_environment().value_or(threads_by_topology(topology));
}

std::string explain_default_threads(const Topology& topology) {
  const std::string derived =
      std::to_string(threads_by_topology(topology)) + ": " + describe_limits(topology);
  const std::optional<int> forced = threads_by_environment();
  if (!forced) return derived;
  return std::to_string(*forced) + ": set by FASTFORMERS_NUM_THREADS (without it " + derived + ")";
}

bool pin_thread(pthread_t thread, int cpu) {
  if (cpu < 0 || cpu >= kCpuLimit) return false;
  cpu_set_t* mask = CPU_ALLOC(kCpuLimit);
  if (mask == nullptr) return false;
  const std::size_t mask_bytes = CPU_ALLOC_SIZE(kCpuLimit);
  CPU_ZERO_S(mask_bytes, mask);
  CPU_SET_S(static_cast<std::size_t>(cpu), mask_bytes, mask);
  const bool done = pthread_setaffinity_np(thread, mask_bytes, mask) == 0;
  CPU_FREE(mask);
  return done;
}

}  // namespace fastformers::cpu
