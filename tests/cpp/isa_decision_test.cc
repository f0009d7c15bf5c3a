// SPDX-License-Identifier: MIT
// Which instruction sets follow from which CPUID and XCR0 words, and which thread count from which machine.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/check.h"
#include "cpu/isa.h"
#include "cpu/topology.h"
#include "kernels/registry.h"
#include "require.h"

namespace {

using namespace fastformers::cpu;  // NOLINT: the names under test

// Bit positions from the processor manuals, on purpose not those of cpu/isa.cc.
constexpr std::uint32_t bit(int position) { return 1u << position; }
constexpr int kFma = 12, kOsxsave = 27, kAvx = 28, kF16c = 29;                                   // leaf 1 ecx
constexpr int kBmi1 = 3, kAvx2 = 5, kBmi2 = 8, kF = 16, kDq = 17, kCd = 28, kBw = 30, kVl = 31;  // leaf 7 ebx
constexpr int kVnni = 11;                                                                        // leaf 7 ecx
constexpr std::uint64_t kXmm = 2, kYmm = 4, kOpmask = 0x20, kZmmLow = 0x40, kZmmHigh = 0x80;

CpuidWords everything() {
  CpuidWords words;
  words.leaf1_ecx = bit(kFma) | bit(kOsxsave) | bit(kAvx) | bit(kF16c);
  words.leaf7_ebx =
      bit(kBmi1) | bit(kAvx2) | bit(kBmi2) | bit(kF) | bit(kDq) | bit(kCd) | bit(kBw) | bit(kVl);
  words.leaf7_ecx = bit(kVnni);
  words.xcr0 = 1 | kXmm | kYmm | kOpmask | kZmmLow | kZmmHigh;
  return words;
}

void everything_is_supported_when_cpu_and_os_have_it() {
  REQUIRE(supports(Isa::kReference, everything()));
  REQUIRE(supports(Isa::kAvx2, everything()));
  REQUIRE(supports(Isa::kAvx512Vnni, everything()));
}

void nothing_but_the_reference_without_words() {
  REQUIRE(supports(Isa::kReference, CpuidWords{}));
  REQUIRE(!supports(Isa::kAvx2, CpuidWords{}));
  REQUIRE(!supports(Isa::kAvx512Vnni, CpuidWords{}));
}

void operating_system_must_save_the_registers() {
  for (const std::uint64_t missing : {kXmm, kYmm}) {
    CpuidWords words = everything();
    words.xcr0 &= ~missing;
    REQUIRE(!os_saves_avx(words));
    REQUIRE(!os_saves_avx512(words));
    REQUIRE(!supports(Isa::kAvx2, words));
    REQUIRE(!supports(Isa::kAvx512Vnni, words));
  }
  for (const std::uint64_t missing : {kOpmask, kZmmLow, kZmmHigh}) {
    CpuidWords words = everything();
    words.xcr0 &= ~missing;
    REQUIRE(os_saves_avx(words));
    REQUIRE(!os_saves_avx512(words));
    REQUIRE(supports(Isa::kAvx2, words));
    REQUIRE(!supports(Isa::kAvx512Vnni, words));
  }
}

void every_feature_the_kernels_use_is_needed() {
  for (const int missing : {kFma, kOsxsave, kAvx, kF16c}) {
    CpuidWords words = everything();
    words.leaf1_ecx &= ~bit(missing);
    REQUIRE(!supports(Isa::kAvx2, words));
    REQUIRE(!supports(Isa::kAvx512Vnni, words));
  }
  for (const int missing : {kBmi1, kAvx2, kBmi2}) {
    CpuidWords words = everything();
    words.leaf7_ebx &= ~bit(missing);
    REQUIRE(!supports(Isa::kAvx2, words));
    REQUIRE(!supports(Isa::kAvx512Vnni, words));
  }
  for (const int missing : {kF, kDq, kCd, kBw, kVl}) {
    CpuidWords words = everything();
    words.leaf7_ebx &= ~bit(missing);
    REQUIRE(supports(Isa::kAvx2, words));
    REQUIRE(!supports(Isa::kAvx512Vnni, words));
  }
  CpuidWords without_vnni = everything();
  without_vnni.leaf7_ecx &= ~bit(kVnni);
  REQUIRE(supports(Isa::kAvx2, without_vnni));
  REQUIRE(!supports(Isa::kAvx512Vnni, without_vnni));
}

// --- registry -------------------------------------------------------------------------------------------------------

void every_entry_of_every_table_is_there() {
  for (const fastformers::IsaKernels& entry : fastformers::built_kernels()) {
    const fastformers::KernelTable& table = *entry.table;
    REQUIRE(std::string(table.name) == isa_name(entry.isa));
    REQUIRE(table.panels_bytes && table.gemm_scratch_bytes && table.pack_s8 && table.unpack_s8);
    REQUIRE(table.gemm_u8s8_f32 && table.gemm_u8s8_s32 && table.range_f32_rows && table.quantize_f32_u8_rows);
    REQUIRE(table.layer_norm_f32_rows && table.softmax_f32_rows && table.gelu_f32);
    REQUIRE(table.pack_f32 && table.gemm_f32);
    REQUIRE((table.ceiling_u8s8 == nullptr) == (entry.isa == Isa::kReference));
    REQUIRE((table.ceiling_f32 == nullptr) == (entry.isa == Isa::kReference));
  }
  REQUIRE(fastformers::built_kernels().back().isa == Isa::kReference);
  REQUIRE(fastformers::supported_kernels().back().isa == Isa::kReference);
}

std::string error_of(const std::string& isa) {
  try {
    fastformers::set_active_isa(isa);
  } catch (const fastformers::IsaError& error) {
    return error.what();
  }
  return "";
}

void unknown_names_list_the_choices() {
  const std::string error = error_of("sse9");
  REQUIRE(error.find("sse9") != std::string::npos);
  for (const fastformers::IsaKernels& entry : fastformers::built_kernels()) {
    REQUIRE(error.find(entry.table->name) != std::string::npos);
    const bool supported = supports(entry.isa, read_cpuid());
    REQUIRE(error_of(entry.table->name).empty() == supported);
  }
  REQUIRE(error_of("reference").empty());
  REQUIRE(std::string(fastformers::active_kernels().table->name) == "reference");
  REQUIRE(std::string(fastformers::active_isa_source()) == "use_isa");
}

// --- thread count ---------------------------------------------------------------------------------------------------

// A made-up machine below a temporary folder, removed at the end.
class Machine {
 public:
  Machine() {
    std::string pattern = (std::filesystem::temp_directory_path() / "isa_decision_test_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
    root_.prefix = pattern;
    write("/proc/self/cgroup", "0::/\n");
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine() { std::filesystem::remove_all(root_.prefix); }

  Machine& write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.prefix + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return *this;
  }

  // CPUs 0 .. cores - 1, and with `threads_per_core` 2 their siblings cores .. 2 cores - 1; all allowed.
  Machine& cores(int count, int threads_per_core = 1) {
    root_.affinity.emplace();
    for (int cpu = 0; cpu < count * threads_per_core; ++cpu) {
      const int core = cpu % count;
      const std::string siblings =
          std::to_string(core) + (threads_per_core == 2 ? "," + std::to_string(core + count) : "");
      write("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
            siblings + "\n");
      root_.affinity->push_back(cpu);
    }
    return *this;
  }

  Machine& allow(const std::vector<int>& cpus) {
    root_.affinity = cpus;
    return *this;
  }

  int threads() const { return default_threads(read_topology(root_)); }

 private:
  SystemRoot root_;
};

void threads_follow_cores_affinity_and_siblings() {
  REQUIRE(Machine().cores(8).threads() == 8);
  REQUIRE(Machine().cores(8).allow({3}).threads() == 1);
  REQUIRE(Machine().cores(8).allow({1, 5, 7}).threads() == 3);
  REQUIRE(Machine().cores(4, 2).threads() == 4);
  REQUIRE(Machine().cores(4, 2).allow({1, 5}).threads() == 1);  // both threads of core 1
  REQUIRE(Machine().cores(4, 2).allow({1, 6}).threads() == 2);
}

void threads_follow_cgroup_v2() {
  REQUIRE(Machine().cores(8).write("/sys/fs/cgroup/cpu.max", "150000 100000\n").threads() == 2);
  REQUIRE(Machine().cores(8).write("/sys/fs/cgroup/cpu.max", "max 100000\n").threads() == 8);
  REQUIRE(Machine().cores(8).write("/sys/fs/cgroup/cpu.max", "20000 100000\n").threads() == 1);
  Machine nested;
  nested.cores(8).write("/proc/self/cgroup", "0::/pods/one/app\n");
  nested.write("/sys/fs/cgroup/pods/one/app/cpu.max", "max 100000\n");
  nested.write("/sys/fs/cgroup/pods/one/cpu.max", "300000 100000\n");
  nested.write("/sys/fs/cgroup/pods/cpu.max", "600000 100000\n");
  REQUIRE(nested.threads() == 3);
}

void threads_follow_cgroup_v1() {
  Machine machine;
  machine.cores(8).write("/proc/self/cgroup", "4:memory:/box\n3:cpu,cpuacct:/box\n");
  machine.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  machine.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
  REQUIRE(machine.threads() == 8);
  machine.write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "150000\n");
  REQUIRE(machine.threads() == 2);
}

void environment_wins_and_nonsense_is_refused() {
  Machine machine;
  machine.cores(8);
  setenv("FASTFORMERS_NUM_THREADS", "3", 1);
  REQUIRE(machine.threads() == 3);
  for (const char* nonsense : {"0", "-1", "two", "4097", "2.5"}) {
    setenv("FASTFORMERS_NUM_THREADS", nonsense, 1);
    bool refused = false;
    try {
      machine.threads();
    } catch (const std::invalid_argument& error) {
      refused = std::string(error.what()).find(nonsense) != std::string::npos;
    }
    REQUIRE(refused);
  }
  setenv("FASTFORMERS_NUM_THREADS", "", 1);  // an empty value counts as unset
  REQUIRE(machine.threads() == 8);
  unsetenv("FASTFORMERS_NUM_THREADS");
}

}  // namespace

int main() {
  unsetenv("FASTFORMERS_NUM_THREADS");
  unsetenv("FASTFORMERS_ISA");
  everything_is_supported_when_cpu_and_os_have_it();
  nothing_but_the_reference_without_words();
  operating_system_must_save_the_registers();
  every_feature_the_kernels_use_is_needed();
  every_entry_of_every_table_is_there();
  unknown_names_list_the_choices();
  threads_follow_cores_affinity_and_siblings();
  threads_follow_cgroup_v2();
  threads_follow_cgroup_v1();
  environment_wins_and_nonsense_is_refused();
  return require::finish();
}
