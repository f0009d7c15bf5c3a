# SPDX-License-Identifier: MIT
"""What csrc/cpu/topology.cc concludes from the files of machines and containers other than this one.

Each test lays out the part of /proc and /sys that matters below a temporary folder; dump_topology prints what
the code made of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

KIB = 1024


class FakeMachine:
    """A folder that stands in for the root of a machine's file system."""

    def __init__(self, root: Path, program: Path) -> None:
        self.root = root
        self.program = program

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def add_cpus(self, siblings: list[str]) -> None:
        """Adds one logical CPU for each entry; the entry is its list of hardware threads of the same core."""
        self.write("/sys/devices/system/cpu/online", f"0-{len(siblings) - 1}\n")
        for cpu, threads in enumerate(siblings):
            self.write(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{threads}\n")

    def run(self, *affinity: int, threads: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "FASTFORMERS_NUM_THREADS"}
        if threads is not None:
            environment["FASTFORMERS_NUM_THREADS"] = threads
        command = [str(self.program), str(self.root), *map(str, affinity)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def topology(self, *affinity: int, threads: str | None = None) -> dict[str, Any]:
        answer = self.run(*affinity, threads=threads)
        assert answer.returncode == 0, answer.stderr
        read: dict[str, Any] = json.loads(answer.stdout)
        return read


@pytest.fixture(scope="session")
def program(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    built = tmp_path_factory.mktemp("topology") / "dump_topology"
    sources = [repository / "csrc/cpu/topology.cc", repository / "tests/cpp/topology/dump_topology.cc"]
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{repository / 'csrc'}", "-pthread"]
    subprocess.run([compiler, *flags, *map(str, sources), "-o", str(built)], check=True)
    return built


@pytest.fixture
def machine(tmp_path: Path, program: Path) -> FakeMachine:
    return FakeMachine(tmp_path, program)


def test_hardware_threads_of_a_core_count_once(machine: FakeMachine) -> None:
    machine.add_cpus(["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"])
    read = machine.topology(*range(8))
    assert (read["physical_cores"], read["logical_cpus"], read["default_threads"]) == (4, 8, 4)


def test_siblings_may_be_given_as_ranges(machine: FakeMachine) -> None:
    machine.add_cpus(["0-1", "0-1", "2-3", "2-3"])
    assert machine.topology(0, 1, 2, 3)["physical_cores"] == 2


def test_threads_are_pinned_to_a_core_each_before_two_share_one(machine: FakeMachine) -> None:
    machine.add_cpus(["0-1", "0-1", "2-3", "2-3"])
    assert machine.topology(3, 0, 1, 2, 9)["cpus_by_core"] == [0, 2, 9, 1, 3]  # of 9 nothing is known


def test_only_cores_in_the_affinity_mask_count(machine: FakeMachine) -> None:
    machine.add_cpus(["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"])
    read = machine.topology(5, 1, 2)
    assert read["affinity_cpus"] == [1, 2, 5]
    assert (read["physical_cores"], read["logical_cpus"], read["default_threads"]) == (2, 8, 2)


def test_without_sibling_files_each_cpu_is_a_core_and_a_note_says_so(machine: FakeMachine) -> None:
    read = machine.topology(0, 1, 2)
    assert read["physical_cores"] == 3
    assert any("siblings" in note for note in read["notes"])


@pytest.mark.parametrize("text", ["", "x", "3-1", "0,,1", "0-99999999999", "-1"])
def test_malformed_sibling_files_are_noted_not_believed(machine: FakeMachine, text: str) -> None:
    machine.add_cpus([text, "1"])
    read = machine.topology(0, 1)
    assert read["physical_cores"] == 2
    assert any("siblings" in note for note in read["notes"])


def test_no_limit_in_cgroup_v2(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/user.slice\n")
    machine.write("/sys/fs/cgroup/user.slice/cpu.max", "max 100000\n")
    assert machine.topology(0)["cgroup_quota"] is None


@pytest.mark.parametrize(("limit", "threads"), [("150000", 2), ("50000", 1), ("200000", 2), ("900000", 4)])
def test_quota_rounds_up_and_never_exceeds_the_cores(machine: FakeMachine, limit: str, threads: int) -> None:
    machine.add_cpus(["0", "1", "2", "3"])
    machine.write("/proc/self/cgroup", "0::/\n")
    machine.write("/sys/fs/cgroup/cpu.max", f"{limit} 100000\n")
    read = machine.topology(0, 1, 2, 3)
    assert read["cgroup_quota"] == int(limit) / 100000
    assert read["default_threads"] == threads


def test_tightest_limit_of_the_ancestors_wins(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/kubepods/pod7/app\n")
    machine.write("/sys/fs/cgroup/kubepods/cpu.max", "800000 100000\n")
    machine.write("/sys/fs/cgroup/kubepods/pod7/cpu.max", "250000 100000\n")
    machine.write("/sys/fs/cgroup/kubepods/pod7/app/cpu.max", "max 100000\n")
    assert machine.topology(*range(4))["cgroup_quota"] == 2.5


def test_path_of_the_host_is_not_needed_inside_a_container(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/docker/0123abc\n")
    machine.write("/sys/fs/cgroup/cpu.max", "100000 100000\n")
    assert machine.topology(0, 1)["cgroup_quota"] == 1.0


def test_path_outside_the_namespace_does_not_leave_the_mount(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/../../elsewhere\n")
    machine.write("/sys/fs/cgroup/cpu.max", "300000 100000\n")
    machine.write("/sys/elsewhere/cpu.max", "100000 100000\n")
    assert machine.topology(0, 1)["cgroup_quota"] == 3.0


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_cgroup_v1(machine: FakeMachine, mount: str) -> None:
    machine.write("/proc/self/cgroup", "3:cpuset:/\n2:cpu,cpuacct:/docker/a\n1:name=systemd:/\n0::/\n")
    machine.write(f"/sys/fs/cgroup/{mount}/docker/a/cpu.cfs_quota_us", "120000\n")
    machine.write(f"/sys/fs/cgroup/{mount}/docker/a/cpu.cfs_period_us", "100000\n")
    machine.write(f"/sys/fs/cgroup/{mount}/cpu.cfs_quota_us", "-1\n")
    machine.write(f"/sys/fs/cgroup/{mount}/cpu.cfs_period_us", "100000\n")
    assert machine.topology(0, 1)["cgroup_quota"] == 1.2


@pytest.mark.parametrize("text", ["", "100000", "abc 100000", "100000 0", "-5 100000", "100000 100000 x"])
def test_malformed_limits_are_no_limits(machine: FakeMachine, text: str) -> None:
    machine.write("/proc/self/cgroup", "0::/\nnonsense\n")
    machine.write("/sys/fs/cgroup/cpu.max", text)
    assert machine.topology(0, 1)["cgroup_quota"] is None


def test_caches_are_those_of_the_first_allowed_cpu(machine: FakeMachine) -> None:
    caches = [
        ("1", "Data", "48K"),
        ("1", "Instruction", "32K"),
        ("2", "Unified", "2048K"),
        ("3", "Unified", "36M"),
    ]
    for index, (level, kind, size) in enumerate(caches):
        folder = f"/sys/devices/system/cpu/cpu1/cache/index{index}"
        machine.write(f"{folder}/level", f"{level}\n")
        machine.write(f"{folder}/type", f"{kind}\n")
        machine.write(f"{folder}/size", f"{size}\n")
    read = machine.topology(1)
    assert (read["l1d_bytes"], read["l2_bytes"], read["l3_bytes"]) == (48 * KIB, 2048 * KIB, 36 * KIB * KIB)
    assert not any("cache" in note for note in read["notes"])


def test_name_vendor_and_memory(machine: FakeMachine) -> None:
    machine.write(
        "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: Maker\nmodel\t\t: 17\nmodel name\t: Fast 9000\n"
    )
    machine.write("/proc/meminfo", "MemTotal:       16384 kB\nMemFree:  1 kB\n")
    read = machine.topology(0)
    assert (read["model"], read["vendor"], read["memory_bytes"]) == ("Fast 9000", "Maker", 16384 * KIB)


def test_an_empty_machine_gives_fallbacks_and_a_note_for_each(machine: FakeMachine) -> None:
    read = machine.topology(0)
    assert (read["model"], read["l2_bytes"], read["memory_bytes"]) == ("unknown", 0, 0)
    assert read["default_threads"] == 1
    assert len(read["notes"]) == 5


def test_environment_overrides_the_derivation_and_says_so(machine: FakeMachine) -> None:
    machine.add_cpus(["0", "1"])
    read = machine.topology(0, 1, threads="7")
    assert read["default_threads"] == 7
    assert read["thread_reason"].startswith(
        "7: set by FASTFORMERS_NUM_THREADS (without it 2: 2 physical cores"
    )


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "3x", "99999"])
def test_wrong_thread_count_in_the_environment_is_an_error_that_names_it(
    machine: FakeMachine, value: str
) -> None:
    answer = machine.run(0, threads=value)
    assert answer.returncode == 2
    assert f'FASTFORMERS_NUM_THREADS="{value}" is not a whole number from 1 to 1024' in answer.stderr


def test_empty_thread_count_in_the_environment_counts_as_unset(machine: FakeMachine) -> None:
    machine.add_cpus(["0", "1"])
    assert machine.topology(0, 1, threads="")["thread_reason"].startswith("2: 2 physical cores")


def test_reason_names_both_limits(machine: FakeMachine) -> None:
    machine.add_cpus(["0-1", "0-1"])
    machine.write("/proc/self/cgroup", "0::/\n")
    machine.write("/sys/fs/cgroup/cpu.max", "50000 100000\n")
    expected = "1: 1 physical core in the affinity mask (2 logical CPUs), cgroup quota 0.5 CPUs"
    assert machine.topology(0, 1)["thread_reason"] == expected


def test_live_system_agrees_with_the_interpreter(program: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FASTFORMERS_NUM_THREADS"}
    live = subprocess.run([str(program)], env=environment, capture_output=True, text=True, check=True)
    assert set(json.loads(live.stdout)["affinity_cpus"]) == os.sched_getaffinity(0)
