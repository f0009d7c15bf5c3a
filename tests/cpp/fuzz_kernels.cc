// SPDX-License-Identifier: MIT
// Random tests of the kernel tables. Case i of a run has the seed `--seed` + i, and everything about it follows from
// that number: a failing case prints its own seed, and `--seed THAT --cases 1` runs it again.
//
// usage: fuzz_kernels [--isa all|NAME[,NAME...]] [--op all|NAME] [--cases N] [--seed S] [--minutes M]
//   --isa      `all`: every instruction set this machine supports. A named one that cannot run is a failure.
//   --op       only the cases of one operation (attention, gemm_f32, ...); the others are drawn but not run or counted
//   --cases    cases per instruction set (default 20,000)
//   --minutes  stop each instruction set after M minutes instead; runs with far apart seeds cover different cases
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "fuzz/checks.h"
#include "fuzz/fuzz_case.h"
#include "kernels/registry.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// GCC's UBSan runtime has a death callback of its own that cannot be set: let it abort, and the signal handler speak.
#if defined(__SANITIZE_ADDRESS__)
extern "C" __attribute__((visibility("default"))) const char* __ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}
#endif

namespace {

using fuzz::Case;
using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> isas;
  std::string op = "all";
  std::uint64_t cases = 20'000;
  std::uint64_t seed = 1;
  double minutes = 0;  // 0: count cases instead
};

struct Tally {
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  std::array<std::uint64_t, fuzz::kOpCount> by_op{};
};

constexpr std::uint64_t kMostReports =
    5;  // failures of one instruction set that are shrunk and printed in full

// --- a crash inside a kernel must say which case it was -------------------------------------------------------------

char g_running[1024];

void remember(const std::string& isa, const Case& drawn) {
  std::snprintf(g_running, sizeof g_running,
                "fuzz_kernels: died in %s %s\nreproduce: --isa %s --seed %" PRIu64 " --cases 1\n",
                isa.c_str(), fuzz::describe(drawn).c_str(), isa.c_str(), drawn.seed);
}

void print_running() {
  if (write(STDERR_FILENO, g_running, std::char_traits<char>::length(g_running)) < 0) _exit(3);
}

void on_fatal_signal(int number) {
  print_running();
  const char* name = number == SIGSEGV ? "signal: SIGSEGV (a guard page was touched)\n"
                                       : "signal: SIGILL, SIGBUS, SIGFPE or SIGABRT\n";
  if (write(STDERR_FILENO, name, std::char_traits<char>::length(name)) < 0) _exit(3);
  _exit(2);
}

void install_crash_reports() {
  for (const int number : {SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGABRT}) signal(number, on_fatal_signal);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_set_death_callback(print_running);
#endif
}

// --- running ------------------------------------------------------------------------------------------------------

void report(const std::string& isa, const Case& drawn, const fuzz::Tables& tables, fuzz::Arena& arena) {
  const auto fails = [&](const Case& simpler) {
    remember(isa + " (shrinking)", simpler);
    return !fuzz::check_case(simpler, tables, arena).empty();
  };
  const std::string wrong = fuzz::check_case(drawn, tables, arena);
  const Case shrunk = fuzz::shrink_case(drawn, fails);
  const std::string still_wrong = fuzz::check_case(shrunk, tables, arena);
  std::printf("FAILED %s: %s\n  case:   %s\n  shrunk: %s\n          %s\n  reproduce: --isa %s --seed %" PRIu64
              " --cases 1\n",
              isa.c_str(), wrong.c_str(), fuzz::describe(drawn).c_str(), fuzz::describe(shrunk).c_str(),
              still_wrong.c_str(), isa.c_str(), drawn.seed);
}

Tally run(const Options& options, const std::string& isa) {
  const fuzz::Tables tables = {*fastformers::find_kernels(isa).table,
                               *fastformers::find_kernels("reference").table};
  fuzz::Arena arena;
  Tally tally;
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const auto done = [&] {
    return options.minutes > 0 ? seconds() >= 60 * options.minutes
                               : tally.passed + tally.failed >= options.cases;
  };
  for (std::uint64_t i = 0; !done(); ++i) {
    const Case drawn = fuzz::draw_case(options.seed + i);
    if (options.op != "all" && options.op != fuzz::op_name(drawn.op)) continue;
    remember(isa, drawn);
    ++tally.by_op[static_cast<std::size_t>(drawn.op)];
    if (fuzz::check_case(drawn, tables, arena).empty()) {
      ++tally.passed;
    } else if (++tally.failed <= kMostReports) {
      report(isa, drawn, tables, arena);
    }
  }
  const std::uint64_t cases = tally.passed + tally.failed;
  std::printf("%s: %" PRIu64 " cases, %.0f cases/s (", isa.c_str(), cases,
              static_cast<double>(cases) / seconds());
  for (int op = 0; op < fuzz::kOpCount; ++op) {
    std::printf("%s%s %" PRIu64, op == 0 ? "" : ", ", fuzz::op_name(static_cast<fuzz::Op>(op)),
                tally.by_op[static_cast<std::size_t>(op)]);
  }
  std::printf("); %" PRIu64 " failed\n", tally.failed);
  std::fflush(stdout);
  return tally;
}

// --- command line ---------------------------------------------------------------------------------------------------

std::vector<std::string> isas_of(const std::string& argument) {
  std::vector<std::string> names;
  if (argument == "all") {
    for (const fastformers::IsaKernels& entry : fastformers::supported_kernels())
      names.push_back(entry.table->name);
    return names;
  }
  std::size_t start = 0;
  for (std::size_t comma = 0; comma != std::string::npos; start = comma + 1) {
    comma = argument.find(',', start);
    names.push_back(argument.substr(start, comma == std::string::npos ? comma : comma - start));
  }
  return names;
}

std::string op_named(const std::string& name) {
  bool known = name == "all";
  std::string names = "all";
  for (int op = 0; op < fuzz::kOpCount; ++op) {
    const std::string candidate = fuzz::op_name(static_cast<fuzz::Op>(op));
    known = known || name == candidate;
    names += " " + candidate;
  }
  if (!known) throw std::invalid_argument("no operation is called " + name + "; choose from " + names);
  return name;
}

std::uint64_t whole_number(const std::string& option, const std::string& text) {
  std::size_t used = 0;
  const std::uint64_t value = std::stoull(text, &used);
  if (used != text.size()) throw std::invalid_argument(option + " needs a whole number, got " + text);
  return value;
}

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  options.isas = isas_of("all");
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& option = arguments[i];
    if (i + 1 == arguments.size()) throw std::invalid_argument(option + " needs a value");
    const std::string& value = arguments[i + 1];
    if (option == "--isa") {
      options.isas = isas_of(value);
    } else if (option == "--op") {
      options.op = op_named(value);
    } else if (option == "--cases") {
      options.cases = whole_number(option, value);
    } else if (option == "--seed") {
      options.seed = whole_number(option, value);
    } else if (option == "--minutes") {
      options.minutes = std::stod(value);
    } else {
      throw std::invalid_argument("unknown option " + option +
                                  "; choose from --isa --op --cases --seed --minutes");
    }
  }
  return options;
}

}  // namespace

int main(int argument_count, char** arguments) {
  Tally total;
  try {
    const Options options = parse({arguments + 1, arguments + argument_count});
    install_crash_reports();
    for (const std::string& isa : options.isas) {
      const Tally tally = run(options, isa);
      total.passed += tally.passed;
      total.failed += tally.failed;
      if (tally.passed + tally.failed == 0) throw std::invalid_argument("no case was run for " + isa);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz_kernels: %s\n", error.what());
    return 2;
  }
  std::printf("%" PRIu64 " passed, %" PRIu64 " failed\n", total.passed, total.failed);
  return total.failed == 0 ? 0 : 1;
}
