# SPDX-License-Identifier: MIT
"""Facts about this machine are complete and plain; findings follow from facts alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import pytest

from fastformers.benchmarking.machine import CpuFacts, Finding, MachineFacts, diagnose, machine_facts, verdict

CPU = CpuFacts(
    model="Fast 9000",
    vendor="Maker",
    built_isas=["avx512vnni", "avx2", "reference"],
    supported_isas=["avx512vnni", "avx2", "reference"],
    active_isa="avx512vnni",
    isa_source="detected",
    physical_cores=4,
    affinity_cpus=[0, 1, 2, 3],
    logical_cpus=4,
    cgroup_quota=None,
    default_threads=4,
    thread_reason="4: 4 physical cores in the affinity mask, no cgroup quota",
    l1d_bytes=32768,
    l2_bytes=1 << 20,
    l3_bytes=1 << 25,
    memory_bytes=1 << 34,
    os_saves_avx=True,
    os_saves_avx512=True,
    notes=[],
)
PACKAGES = {
    "fastformers-cpu": "0.1.0",
    "numpy": "2.0",
    "tokenizers": "0.20",
    "safetensors": "0.5",
    "torch": "2.13.0",
    "transformers": "5.0",
    "onnx": None,
    "onnxruntime": None,
}
FACTS = MachineFacts(
    cpu=CPU, core_error="", platform="Linux", python="3.11.0", packages=dict(PACKAGES), environment={}
)


def findings_with_cpu(**changes: object) -> list[Finding]:
    return diagnose(replace(FACTS, cpu=replace(CPU, **changes)))  # type: ignore[arg-type]  # any field


def the_finding(findings: list[Finding], words: str) -> Finding:
    (found,) = [finding for finding in findings if words in finding.message]
    return found


def test_facts_of_this_machine_are_plain_json() -> None:
    facts = machine_facts()
    assert facts.cpu is not None
    assert facts.core_error == ""
    assert json.loads(json.dumps(facts.to_dict())) == facts.to_dict()


def test_facts_of_this_machine_are_sound() -> None:
    cpu = machine_facts().cpu
    assert cpu is not None
    assert set(cpu.supported_isas) <= set(cpu.built_isas)
    assert cpu.active_isa in cpu.supported_isas
    assert "reference" in cpu.supported_isas
    assert 1 <= cpu.physical_cores <= len(cpu.affinity_cpus) <= cpu.logical_cpus
    assert cpu.thread_reason.startswith(f"{cpu.default_threads}: ")


def test_versions_come_from_the_installed_metadata() -> None:
    assert machine_facts().packages["numpy"] == version("numpy")


def test_asking_imports_no_optional_package() -> None:
    script = (
        "import sys; from fastformers.benchmarking.machine import machine_facts; machine_facts();"
        "sys.exit(bool({'torch', 'transformers', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_good_machine_has_one_ok_finding() -> None:
    findings = diagnose(FACTS)
    assert [finding.level for finding in findings] == ["ok"]
    assert verdict(findings) == "ok"


def test_verdict_is_the_gravest_level() -> None:
    assert verdict([Finding("note", ""), Finding("error", ""), Finding("warning", "")]) == "error"
    assert verdict([]) == "ok"


def test_no_vnni_is_a_note_not_an_alarm() -> None:
    findings = findings_with_cpu(supported_isas=["avx2", "reference"], active_isa="avx2")
    assert the_finding(findings, "AVX-512 VNNI").level == "note"


def test_forced_slower_path_is_a_warning_that_says_how_to_undo_it() -> None:
    found = the_finding(findings_with_cpu(active_isa="avx2", isa_source="FASTFORMERS_ISA"), "forces avx2")
    assert found.level == "warning"
    assert found.remedy == "unset FASTFORMERS_ISA"


def test_only_the_scalar_path_is_a_warning() -> None:
    findings = findings_with_cpu(supported_isas=["reference"], active_isa="reference")
    assert the_finding(findings, "no vector path").level == "warning"


def test_registers_not_saved_by_the_system_is_a_warning() -> None:
    findings = findings_with_cpu(supported_isas=["reference"], active_isa="reference", os_saves_avx=False)
    assert the_finding(findings, "does not save").level == "warning"


def test_path_that_was_not_compiled_is_a_warning() -> None:
    findings = findings_with_cpu(
        built_isas=["avx2", "reference"], supported_isas=["avx2", "reference"], active_isa="avx2"
    )
    assert the_finding(findings, "was not compiled in").level == "warning"


def test_quota_and_affinity_are_told() -> None:
    findings = findings_with_cpu(cgroup_quota=1.5, affinity_cpus=[0, 1], physical_cores=2, default_threads=2)
    assert the_finding(findings, "1.5 of 2 cores").level == "note"
    assert the_finding(findings, "2 of 4 logical CPUs").level == "note"


def test_more_threads_than_cores_is_a_warning() -> None:
    assert the_finding(findings_with_cpu(default_threads=9), "9 threads").level == "warning"


def test_guessed_facts_are_passed_on() -> None:
    assert the_finding(findings_with_cpu(notes=["cache sizes not readable"]), "cache sizes").level == "note"


def test_core_that_does_not_start_is_an_error() -> None:
    facts = replace(FACTS, cpu=None, core_error="No module named 'fastformers._core'")
    findings = diagnose(facts)
    assert verdict(findings) == "error"
    assert "--force-reinstall" in the_finding(findings, "_core").remedy


def test_facts_are_the_same_twice() -> None:
    """Files of measurements are resumed only where they are: nothing measured belongs into them."""
    assert machine_facts() == machine_facts()


def test_core_that_refuses_a_variable_is_an_error_that_points_there() -> None:
    facts = replace(FACTS, cpu=None, core_error="unknown isa", environment={"FASTFORMERS_ISA": "mmx"})
    assert "FASTFORMERS_*" in the_finding(diagnose(facts), "unknown isa").remedy


def test_missing_torch_is_a_note_with_the_extra_to_install() -> None:
    facts = replace(FACTS, packages={**PACKAGES, "torch": None, "transformers": None})
    found = the_finding(diagnose(facts), "torch and transformers not installed")
    assert found.level == "note"
    assert "fastformers-cpu[torch]" in found.remedy


@pytest.mark.parametrize("package", ["numpy", "tokenizers", "safetensors"])
def test_missing_required_package_is_an_error(package: str) -> None:
    facts = replace(FACTS, packages={**PACKAGES, package: None})
    assert the_finding(diagnose(facts), f"{package} is not installed").level == "error"
