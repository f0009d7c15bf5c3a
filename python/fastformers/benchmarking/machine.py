# SPDX-License-Identifier: MIT
"""What this machine offers to fastformers, and what of it deserves a person's attention.

The facts come from the compiled core (processor, caches, cores, quota) and from the metadata of installed
packages: no optional package is imported, so that asking works when one is broken and takes milliseconds.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from fastformers._optional import DISTRIBUTION, how_to_install

__all__ = [
    "CpuFacts",
    "Finding",
    "Level",
    "MachineFacts",
    "diagnose",
    "machine_facts",
    "verdict",
]

Level = Literal["ok", "note", "warning", "error"]

_SEVERITY: tuple[Level, ...] = ("ok", "note", "warning", "error")
_REQUIRED_PACKAGES = ("numpy", "tokenizers", "safetensors")
_OPTIONAL_PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "nncf", "ctranslate2")
_FASTEST_ISA = "avx512vnni"
_SLOWEST_ISA = "reference"


@dataclass(frozen=True)
class CpuFacts:
    """The processor as the compiled core sees it.

    Attributes:
        model: marketing name.
        vendor: vendor string of CPUID.
        built_isas: kernel paths compiled in, best first.
        supported_isas: those of them that this CPU and its operating system can run, best first.
        active_isa: the path in use.
        isa_source: who chose it: ``"detected"``, ``"FASTFORMERS_ISA"`` or ``"use_isa"``.
        physical_cores: cores in the affinity mask; the hardware threads of a core count once.
        affinity_cpus: numbers of the logical CPUs that this process may run on.
        logical_cpus: logical CPUs of the machine, allowed or not.
        cgroup_quota: CPU seconds per second that the container may use; ``None`` without a limit.
        default_threads: threads used unless told otherwise.
        thread_reason: how that number came about.
        l1d_bytes: level 1 data cache of a core; 0 when unknown, as for the next three.
        l2_bytes: level 2 cache of a core.
        l3_bytes: level 3 cache that a core sees, shared or not.
        memory_bytes: memory of the machine.
        os_saves_avx: the operating system keeps the 256-bit registers across context switches.
        os_saves_avx512: the same for the 512-bit registers.
        notes: what had to be guessed.
    """

    model: str
    vendor: str
    built_isas: list[str]
    supported_isas: list[str]
    active_isa: str
    isa_source: str
    physical_cores: int
    affinity_cpus: list[int]
    logical_cpus: int
    cgroup_quota: float | None
    default_threads: int
    thread_reason: str
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    memory_bytes: int
    os_saves_avx: bool
    os_saves_avx512: bool
    notes: list[str]


@dataclass(frozen=True)
class MachineFacts:
    """Processor, operating system and software that a measurement was made with.

    Attributes:
        cpu: the processor, or ``None`` when the compiled core refused to start.
        core_error: why it refused; empty when it did not.
        platform: operating system, its version and the C library.
        python: version of the interpreter.
        packages: distribution name to version; ``None`` for one that is not installed.
        environment: the ``FASTFORMERS_*`` variables that are set.
    """

    cpu: CpuFacts | None
    core_error: str
    platform: str
    python: str
    packages: dict[str, str | None]
    environment: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Returns all facts as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know about this machine.

    Attributes:
        level: ``"ok"`` and ``"note"`` need no action, ``"warning"`` costs speed, ``"error"`` stops work.
        message: what was found.
        remedy: what to do about it; empty when there is nothing to do.
    """

    level: Level
    message: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Returns the three fields as plain JSON values."""
        return asdict(self)


def machine_facts() -> MachineFacts:
    """Collects what is known about this machine; raises nothing, also when the compiled core cannot start.

    Returns:
        The facts. Sizes are in bytes.

    Example:
        >>> machine_facts().packages["numpy"] is not None
        True
    """
    cpu, core_error = _cpu_facts()
    return MachineFacts(
        cpu=cpu,
        core_error=core_error,
        platform=platform.platform(),
        python=platform.python_version(),
        packages={
            name: _version_of(name) for name in (DISTRIBUTION, *_REQUIRED_PACKAGES, *_OPTIONAL_PACKAGES)
        },
        environment={name: value for name, value in os.environ.items() if name.startswith("FASTFORMERS_")},
    )


def diagnose(facts: MachineFacts) -> list[Finding]:
    """Judges the facts.

    Args:
        facts: what :func:`machine_facts` returned.

    Returns:
        At least one finding, in the order in which a person would want to read them.
    """
    return [*_findings_about_core(facts), *_findings_about_packages(facts)]


def verdict(findings: list[Finding]) -> Level:
    """Returns the gravest level among the findings, ``"ok"`` when there is none."""
    return max((finding.level for finding in findings), key=_SEVERITY.index, default="ok")


def _cpu_facts() -> tuple[CpuFacts | None, str]:
    try:
        from fastformers import kernels

        return CpuFacts(**kernels.cpu_facts()), ""
    except (ImportError, ValueError) as error:  # not built for this Python, or a wrong FASTFORMERS_* value
        return None, f"{error}"


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _findings_about_core(facts: MachineFacts) -> Iterator[Finding]:
    if facts.cpu is None:
        yield Finding(
            "error",
            f"the compiled core did not start: {facts.core_error}",
            "correct the FASTFORMERS_* variables listed above, or unset them"
            if facts.environment
            else f"install again for this Python: python -m pip install --force-reinstall {DISTRIBUTION}",
        )
        return
    yield from _findings_about_isa(facts.cpu)
    yield from _findings_about_threads(facts.cpu)
    yield from (Finding("note", note) for note in facts.cpu.notes)


def _findings_about_isa(cpu: CpuFacts) -> Iterator[Finding]:
    best = cpu.supported_isas[0]
    if cpu.active_isa != best:
        yield Finding(
            "warning",
            f"{cpu.isa_source} forces {cpu.active_isa}: the answers of {best}, but slower",
            f"unset {cpu.isa_source}" if cpu.isa_source == "FASTFORMERS_ISA" else f"use_isa({best!r})",
        )
    elif best == _FASTEST_ISA:
        yield Finding("ok", f"INT8 kernels run on {best}, the fastest path there is")
    elif not cpu.os_saves_avx:
        yield Finding(
            "warning",
            f"the operating system does not save the vector registers: {best} is the best that can run",
            "enable AVX in the hypervisor or the kernel (XSAVE)",
        )
    elif best == _SLOWEST_ISA:
        yield Finding("warning", "no vector path runs here: right answers, but slowly", "use a CPU with AVX2")
    else:
        yield Finding("note", f"INT8 kernels run on {best}; with AVX-512 VNNI they would be faster")
    if _FASTEST_ISA not in cpu.built_isas:
        yield Finding(
            "warning",
            f"{_FASTEST_ISA} was not compiled in (built: {', '.join(cpu.built_isas)})",
            "build again with g++ >= 11 or clang >= 14",
        )


def _findings_about_threads(cpu: CpuFacts) -> Iterator[Finding]:
    if cpu.default_threads > cpu.physical_cores:
        yield Finding(
            "warning",
            f"{cpu.default_threads} threads on {cpu.physical_cores} physical cores will wait for each other",
            "lower or unset FASTFORMERS_NUM_THREADS",
        )
    if cpu.cgroup_quota is not None and cpu.cgroup_quota < cpu.physical_cores:
        yield Finding(
            "note",
            f"the container may use {cpu.cgroup_quota:g} of {cpu.physical_cores} cores; threads follow",
            "raise the container's CPU limit to use more",
        )
    if len(cpu.affinity_cpus) < cpu.logical_cpus:
        yield Finding(
            "note",
            f"this process may run on {len(cpu.affinity_cpus)} of {cpu.logical_cpus} logical CPUs",
            "start it without taskset, or give the container more CPUs, to use more",
        )


def _findings_about_packages(facts: MachineFacts) -> Iterator[Finding]:
    for name in _REQUIRED_PACKAGES:
        if facts.packages[name] is None:
            yield Finding("error", f"{name} is not installed", f"python -m pip install {DISTRIBUTION}")
    absent = [name for name in ("torch", "transformers") if facts.packages[name] is None]
    if absent:
        yield Finding(
            "note",
            f"{' and '.join(absent)} not installed: ff.kernels works, quantize_ and the demo do not",
            how_to_install("torch"),
        )
